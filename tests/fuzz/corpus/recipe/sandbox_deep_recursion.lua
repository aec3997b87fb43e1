-- MX0104 at 2:0, 0 wide: stack overflow
local function f(n) return 1 + f(n + 1) end
return f(0)
