-- MX0103 at 3:0, 0 wide: the recipe needs more than 64 MiB
local t = {}
for i = 1, 1e9 do t[i] = { i } end
