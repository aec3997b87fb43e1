-- MX0104 at 3:0, 0 wide: layers must be even
local layers = 3
assert(layers % 2 == 0, "layers must be even")
