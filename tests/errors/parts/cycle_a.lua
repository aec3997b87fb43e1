return include "parts/cycle_b.lua"
