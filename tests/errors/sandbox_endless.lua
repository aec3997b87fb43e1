-- MX0102 at 4:0, 0 wide: the recipe does not end: it ran for more than 50 million instructions
local i = 0
while true do
  i = i + 1
end
