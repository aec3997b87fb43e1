-- MX0105 at 3:4, 4 wide: mx.rule: recipes cannot change 'mx'
local mx = require "mx"
mx.rule = nil
