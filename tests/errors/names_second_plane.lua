-- MX0218 at 5:10, 14 wide: two source arrays are named 'w_columnwise'
local mx = require "mx"
local m = mx.model "bad"
m:tensor("w", { 64, 64 })
m:tensor("w_columnwise", { 64 })
local bf16 = mx.bf16()
local whole = { mx.rule(mx.whole(), "**") }
return {
  version = 1, model = m,
  source = {
    mesh = mx.mesh { { "tp", 2 } },
    format = { mx.rule(mx.mxfp8 { elem = "e4m3", direction = "both", scale = "rceil" }, "w"), mx.rule(bf16, "**") },
    layout = whole,
  },
  target = {
    mesh = mx.mesh { { "tp", 2 } },
    format = { mx.rule(bf16, "**") },
    layout = whole,
  },
}
