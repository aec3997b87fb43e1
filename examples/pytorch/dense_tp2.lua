-- model:  dense.lua.
-- ranks:  the same 2 on both sides; source split over them (tp 2), target whole on each.
-- intent: MXFP8 to BF16 under Hugging Face names, started and waited for by layer.
local mx = require "mx"

local m = include "dense.lua"
local fp8, bf16 = mx.mxfp8 { elem = "e4m3", block = 32, scale = "rceil" }, mx.bf16()

return {
  version = 1, name = "dense_tp2", model = m,
  source = {
    mesh   = mx.mesh { { "tp", 2 } },
    format = { mx.rule(bf16, "embed", "head", "**norm"), mx.rule(fp8, "layers.**") },
    layout = {
      mx.rule(mx.whole(), "**norm"),
      mx.rule(mx.split { col = "tp" }, "**.attn.out", "**.mlp.down"),
      mx.rule(mx.split { row = "tp" }, "**"),
    },
  },
  target = {
    mesh   = mx.mesh { { "dp", 2 } },
    format = { mx.rule(bf16, "**") },
    layout = { mx.rule(mx.whole(), "**") },
    names  = mx.hf.llama(),
  },
  schedule = { groups = "layer", bucket = "256MiB", staging = "1GiB" },
}
