-- MX0206 at 11:63, 7 wide: format rule 2: pattern 'embed' matches no tensor left by the rules above it
-- note: 1 tensor matches and is taken above; the first is embed, by '*bed'
local mx = require "mx"
local m = mx.model "bad"
m:tensor("embed", { 256, 64 })
local whole = { mx.rule(mx.whole(), "**") }
return {
  version = 1, model = m,
  source = {
    mesh = mx.mesh { { "tp", 2 } }, layout = whole,
    format = { mx.rule(mx.bf16(), "*bed"), mx.rule(mx.fp16(), "embed") },
  },
  target = { mesh = mx.mesh { { "tp", 2 } }, layout = whole, format = { mx.rule(mx.bf16(), "**") } },
}
