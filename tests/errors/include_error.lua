-- MX0203 at parts/broken.lua:2:42, 1 wide: mxfp8.scale: expected floor, rceil, ceil or even, got an integer
local a = include "parts/broken.lua"
