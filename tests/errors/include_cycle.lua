-- MX0110 at parts/cycle_b.lua:1:18, 19 wide: the recipe includes itself
-- note: include_cycle.lua -> 
local a = include "parts/cycle_a.lua"
