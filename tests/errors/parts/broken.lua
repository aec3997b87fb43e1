local mx = require "mx"
return mx.mxfp8 { elem = "e4m3", scale = 3 }
