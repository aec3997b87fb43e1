-- MX0103 at 5:0, 0 wide: the recipe needs more than 64 MiB
local mx = require "mx"
local whole = mx.whole()
for i = 1, 1e9 do
  mx.rule(whole, "x")
end
