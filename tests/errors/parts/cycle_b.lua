return { include "parts/cycle_a.lua" }
