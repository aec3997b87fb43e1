-- MX0205 at 0:0, 0 wide: the recipe has no parameter 'layer' (did you mean 'layers'?)
-- help: its parameters are layers, wide
-- set: layer=2
local mx = require "mx"
local layers, wide = mx.param("layers", 2), mx.param("wide", false)
return {}
