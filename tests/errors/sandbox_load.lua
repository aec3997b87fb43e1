-- MX0105 at 2:11, 4 wide: load: recipes cannot load code; `include "file.lua"` reads a file beside the recipe
local f = load("return 1")
