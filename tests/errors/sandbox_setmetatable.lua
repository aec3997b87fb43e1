-- MX0105 at 2:1, 12 wide: setmetatable: recipes cannot use metatables
setmetatable({}, { __gc = function() while true do end end })
