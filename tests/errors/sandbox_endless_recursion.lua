-- MX0102 at 2:0, 0 wide: the recipe does not end: it ran for more than 50 million instructions
local function f(n) return f(n + 1) end
return f(0)
