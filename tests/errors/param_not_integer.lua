-- MX0204 at 4:35, 1 wide: parameter 'layers' is an integer, not 'two'
-- set: layers=two
local mx = require "mx"
local layers = mx.param("layers", 2)
return {}
