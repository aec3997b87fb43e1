-- model:  tiny_dense (model.lua beside this file).
-- ranks:  source 2, tensor parallel; target the same 2, each with whole tensors.
-- intent: MXFP8 weights of a trainer become BF16 tensors under Hugging Face names.
local mx = require "mx"

local bf16, fp8 = mx.bf16(), mx.mxfp8 { elem = "e4m3", block = 32, scale = "rceil" }

return {
  version = 1, name = "tiny_dense", model = include "model.lua",
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
    mesh   = mx.mesh { { "copy", 2 } },
    format = { mx.rule(bf16, "**") },
    layout = { mx.rule(mx.whole(), "**") },
    names  = mx.hf.llama(),
  },
}
