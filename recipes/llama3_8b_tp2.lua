-- model:  Llama 3 8B (32 layers, hidden 4096, ffn 14336, 32 query heads in 8 groups of 128 rows, vocabulary 128256).
-- ranks:  source and target the same 2 (`tp`), tensor parallel to whole tensors.
-- intent: MXFP8 weights of a trainer become BF16 tensors under Hugging Face names on both ranks. The first and the last
--         layer, the embedding and the head are kept in BF16.
local mx = require "mx"

local m, L, TP = include "models/llama3_8b.lua", mx.param("layers", 32), mx.param("tp", 2)
local fp8, bf16 = mx.mxfp8 { elem = "e4m3", block = 32, scale = "rceil" }, mx.bf16()
local ends = L > 2 and ("layers.{0,%d}.**"):format(L - 1) or "layers.0.**"    -- a cut model keeps a layer in MXFP8

return {
  version = 1, name = "llama3_8b_tp" .. TP, model = m,
  source = {
    mesh   = mx.mesh { { "tp", TP } },
    format = { mx.rule(bf16, "embed", "head", "**norm", ends), mx.rule(fp8, "layers.**") },
    layout = {
      mx.rule(mx.whole(), "**norm"),
      mx.rule(mx.split { col = "tp" }, "**.attn.out", "**.mlp.down"),
      mx.rule(mx.split { row = "tp" }, "**"),
    },
  },
  target = {
    mesh   = mx.mesh { { "copy", TP } },
    format = { mx.rule(bf16, "**") },
    layout = { mx.rule(mx.whole(), "**") },
    names  = mx.hf.llama(),
  },
  schedule = { bucket = "512MiB", slots = 2, staging = "2GiB" },
}
