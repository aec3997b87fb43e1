-- MX0104 at 3:0, 0 wide: table.unpack: more than 255 values
local t = {}
return table.unpack(t, 1, 1e7)
