-- MX0104 at 3:13, 5 wide: attempt to index a nil value (field 'field')
local t = {}
local x = t.field.other
