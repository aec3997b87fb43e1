-- MX0101 at 2:11, 1 wide: unexpected symbol near '='
local x = = 1
