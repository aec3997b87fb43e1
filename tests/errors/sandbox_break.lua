-- MX0101 at 4:0, 0 wide: break outside loop at line 4
local function f()
  local a = 1
  break
end

local b = 2
return f
