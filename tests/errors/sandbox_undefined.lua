-- MX0109 at 3:10, 4 wide: 'piar' is not defined
local function outer(pair)
  return piar
end
return outer {}
