-- MX0101 at parts/syntax.lua:1:9, 1 wide: unexpected symbol near ','
local a = include "parts/syntax.lua"
