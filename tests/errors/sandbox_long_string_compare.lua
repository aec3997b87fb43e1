-- MX0103 at 3:0, 0 wide: a text of the recipe is longer than 64 KiB
local s = "x"
for i = 1, 16 do s = s .. s end
return s
