-- MX0204 at 4:31, 5 wide: parameter 'wide' is true or false, not '1'
-- set: wide=1
local mx = require "mx"
local wide = mx.param("wide", false)
return {}
