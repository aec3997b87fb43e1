-- MX0204 at 15:13, 1 wide: recipe.version: 2 is not 1
local mx = require "mx"
local m = mx.model "bad"
m:tensor("embed", { 256, 64 })
for i = 0, 1 do
  local b = m:scope("layers.%d", i)
  b:tensor("norm", { 64 })
  b:fused("qkv", { { "q", 128 }, { "k", 64 }, { "v", 64 } }, 64):interleave(2)
  b:tensor("down", { 64, 96 })
end
local fp8 = mx.mxfp8 { elem = "e4m3", block = 32, scale = "rceil" }
local bf16 = mx.bf16()
local whole = { mx.rule(mx.whole(), "**") }
return {
  version = 2, model = m, compression = "none",
  source = {
    mesh = mx.mesh { { "tp", 2 } },
    format = { mx.rule(bf16, "**norm", "embed"), mx.rule(fp8, "**") },
    layout = whole,
  },
  target = {
    mesh = mx.mesh { { "tp", 2 } },
    format = { mx.rule(bf16, "**") },
    layout = whole,
  },
}
