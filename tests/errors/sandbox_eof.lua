-- MX0101 at 3:0, 0 wide: unexpected symbol near <eof>
local x = {
