-- model:  Qwen3-30B-A3B (48 layers, hidden 2048, 128 experts of 768, 32 query heads in 4 groups of 128 rows,
--         vocabulary 151936).
-- ranks:  source 2 (tp 2, experts split by tensor parallelism too: etp 2; `ep` for all), target the same 2 (ep 2).
-- intent: a reshard. Half of every expert becomes half of the experts, in BF16 under Hugging Face names: a rank receives
--         only the missing halves of its own experts, and of dense tensors, which it wants whole, the other half.
local mx = require "mx"

local m, N = include "models/qwen3_30b_a3b.lua", mx.param("ep", 2)
local fp8, bf16 = mx.mxfp8 { elem = "e4m3", block = 32, scale = "rceil" }, mx.bf16()

return {
  version = 1, name = ("qwen3_30b_a3b_tp%d_to_ep%d"):format(N, N), model = m,
  source = {
    mesh   = mx.megatron { tp = N, ep = 1, etp = N, world = N },
    format = { mx.rule(bf16, "embed", "head", "**norm", "**.router"), mx.rule(fp8, "layers.**") },
    layout = {
      mx.rule(mx.whole(), "**norm", "**.router"),
      mx.rule(mx.split { row = "etp" }, "**.experts.gate_up"),
      mx.rule(mx.split { col = "etp" }, "**.experts.down"),
      mx.rule(mx.split { col = "tp" }, "**.attn.out"),
      mx.rule(mx.split { row = "tp" }, "**"),
    },
  },
  target = {
    mesh   = mx.mesh { { "ep", N } },
    format = { mx.rule(bf16, "**") },
    layout = { mx.rule(mx.split { expert = "ep" }, "**.experts.*"), mx.rule(mx.whole(), "**") },
    names  = mx.hf.qwen3_moe(),
  },
  schedule = { bucket = "512MiB", slots = 2, staging = "2GiB", node = N },
}
