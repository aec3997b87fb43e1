-- MX0102 at 4:0, 0 wide: the recipe does not end: it reached 50 million instructions or 2 seconds
local i = 0
while true do
  i = i + 1
end
