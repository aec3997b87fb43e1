-- MX0103 at 3:0, 0 wide: a text of the recipe is longer than 64 KiB
local a = "x"
while true do a = a .. a end
