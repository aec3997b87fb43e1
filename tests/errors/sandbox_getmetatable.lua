-- MX0105 at 2:1, 12 wide: getmetatable: recipes cannot use metatables
getmetatable("").__index = nil
