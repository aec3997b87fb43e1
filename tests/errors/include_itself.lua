-- MX0110 at 2:19, 20 wide: the recipe includes itself
local a = include "include_itself.lua"
