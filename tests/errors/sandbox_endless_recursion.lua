-- MX0102 at 2:0, 0 wide: the recipe does not end: it reached 50 million instructions or 2 seconds
local function f(n) return f(n + 1) end
return f(0)
