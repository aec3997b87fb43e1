-- MX0106 at 2:19, 7 wide: 'parts' is not a regular file
local a = include "parts"
