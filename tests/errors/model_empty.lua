-- MX0210 at 7:16, 5 wide: the model 'empty' has no tensors
local mx = require "mx"
local m = mx.model "empty"
local all = { mx.rule(mx.bf16(), "**") }
local whole = { mx.rule(mx.whole(), "**") }
return {
  version = 1, model = m,
  source = {
    mesh = mx.mesh { { "tp", 2 } },
    format = all,
    layout = whole,
  },
  target = {
    mesh = mx.mesh { { "tp", 2 } },
    format = all,
    layout = whole,
  },
}
