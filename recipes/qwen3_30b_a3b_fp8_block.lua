-- model:  Qwen3-30B-A3B.
-- ranks:  source 8 (tp 4, dp 2; ep 8, etp 1), target the same 8 as ep 8, dense tensors whole.
-- intent: for an engine that wants block FP8: MXFP8 is quantised anew to 128x128 blocks with FP32 scales, under Hugging
--         Face names with the suffix that such checkpoints use. Experts stay where they are.
local mx = require "mx"

local m = include "models/qwen3_30b_a3b.lua"
local bf16 = mx.bf16()
local high = mx.rule(bf16, "embed", "head", "**norm", "**.router")

return {
  version = 1, name = "qwen3_30b_a3b_fp8_block", model = m,
  source = {
    mesh   = mx.megatron { tp = 4, ep = 8, etp = 1, world = 8 },
    format = { high, mx.rule(mx.mxfp8 { elem = "e4m3", block = 32, scale = "rceil" }, "layers.**") },
    layout = {
      mx.rule(mx.whole(), "**norm", "**.router"),
      mx.rule(mx.split { expert = "ep" }, "**.experts.*"),
      mx.rule(mx.split { col = "tp" }, "**.attn.out"),
      mx.rule(mx.split { row = "tp" }, "**"),
    },
  },
  target = {
    mesh   = mx.mesh { { "ep", 8 } },
    format = { high, mx.rule(mx.fp8_block { elem = "e4m3", block = 128 }, "layers.**") },
    layout = { mx.rule(mx.split { expert = "ep" }, "**.experts.*"), mx.rule(mx.whole(), "**") },
    names  = mx.hf.qwen3_moe { scale = "_scale_inv" },
  },
  schedule = { bucket = "512MiB", slots = 2, staging = "2GiB", node = 8 },
}
