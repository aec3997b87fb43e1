-- MX0103 at 5:0, 0 wide: the recipe needs more than 64 MiB
local mx = require "mx"
local m = mx.model "many"
for i = 1, 1e9 do
  m:scope("layers.%d", i):tensor("x", { 1 })
end
