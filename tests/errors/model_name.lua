-- MX0211 at 3:20, 8 wide: model: the name '../bad' has an empty segment
local mx = require "mx"
local m = mx.model "../bad"
