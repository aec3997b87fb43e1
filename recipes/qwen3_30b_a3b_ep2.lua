-- model:  Qwen3-30B-A3B (48 layers, hidden 2048, 128 experts of 768, 32 query heads in 4 groups of 128 rows,
--         vocabulary 151936).
-- ranks:  source 2 (tp 2, ep 2, etp 1; `ep` for both), target the same 2, each with whole tensors.
-- intent: MXFP8 weights of a trainer become BF16 tensors under Hugging Face names, on two GPUs of one host: the measure
--         of what many small tensors cost.
local mx = require "mx"

local m, N = include "models/qwen3_30b_a3b.lua", mx.param("ep", 2)
local fp8, bf16 = mx.mxfp8 { elem = "e4m3", block = 32, scale = "rceil" }, mx.bf16()

return {
  version = 1, name = "qwen3_30b_a3b_ep" .. N, model = m,
  source = {
    mesh   = mx.megatron { tp = N, ep = N, etp = 1, world = N },
    format = { mx.rule(bf16, "embed", "head", "**norm", "**.router"), mx.rule(fp8, "layers.**") },
    layout = {
      mx.rule(mx.whole(), "**norm", "**.router"),
      mx.rule(mx.split { expert = "ep" }, "**.experts.*"),
      mx.rule(mx.split { col = "tp" }, "**.attn.out"),
      mx.rule(mx.split { row = "tp" }, "**"),
    },
  },
  target = {
    mesh   = mx.mesh { { "copy", N } },
    format = { mx.rule(bf16, "**") },
    layout = { mx.rule(mx.whole(), "**") },
    names  = mx.hf.qwen3_moe(),
  },
  schedule = { bucket = "512MiB", slots = 2, staging = "2GiB", node = N },
}
