-- MX0105 at 3:14, 5 wide: pcall: recipes cannot catch errors
repeat
  local ok = pcall(function() while true do end end)
until false
