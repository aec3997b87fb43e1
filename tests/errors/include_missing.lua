-- MX0106 at 2:19, 18 wide: cannot read 'parts/absent.lua': No such file or directory
local a = include "parts/absent.lua"
