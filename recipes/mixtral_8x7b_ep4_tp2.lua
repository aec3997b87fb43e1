-- model:  Mixtral 8x7B (32 layers, hidden 4096, 8 experts of 14336, 32 query heads in 8 groups of 128 rows,
--         vocabulary 32000).
-- ranks:  source 8 (tp 4, dp 2; ep 4, etp 2: experts are split by rows and columns too), target 2 of them as ep 2.
-- intent: MXFP8 experts, spread over experts and inside each, become BF16 under Hugging Face names, half of them
--         on each rank.
local mx = require "mx"

local L = mx.param("layers", 32)
local H, F, V, D, E = 4096, 14336, 32000, 128, 8

local m = mx.model "mixtral_8x7b"
m:tensor("embed", { V, H })
for i = 0, L - 1 do
  local b = m:scope("layers.%d", i)
  b:tensor("attn.norm", { H })
  b:fused("attn.qkv", { { "q", 32 * D }, { "k", 8 * D }, { "v", 8 * D } }, H):interleave(8)
  b:tensor("attn.out", { H, 32 * D })
  b:tensor("mlp.norm", { H })
  b:tensor("moe.router", { E, H })
  b:fused("moe.experts.gate_up", { { "gate", F }, { "up", F } }, H, E)
  b:tensor("moe.experts.down", { E, H, F })
end
m:tensor("norm", { H })
m:tensor("head", { V, H })

local bf16 = mx.bf16()

return {
  version = 1, name = "mixtral_8x7b_ep4_tp2", model = m,
  source = {
    mesh   = mx.megatron { tp = 4, ep = 4, etp = 2, world = 8 },
    format = {
      mx.rule(mx.mxfp8 { elem = "e4m3", block = 32, scale = "rceil" }, "**.experts.*", "**.attn.{qkv,out}"),
      mx.rule(bf16, "**"),
    },
    layout = {
      mx.rule(mx.whole(), "**norm", "**.router"),
      mx.rule(mx.split { expert = "ep", col = "etp" }, "**.experts.down"),
      mx.rule(mx.split { expert = "ep", row = "etp" }, "**.experts.gate_up"),
      mx.rule(mx.split { col = "tp" }, "**.attn.out"),
      mx.rule(mx.split { row = "tp" }, "**"),
    },
  },
  target = {
    mesh   = mx.mesh { { "ep", 2 } },
    format = { mx.rule(bf16, "**") },
    layout = { mx.rule(mx.split { expert = "ep" }, "**.experts.*"), mx.rule(mx.whole(), "**") },
    names  = mx.hf.mixtral(),
  },
  schedule = { bucket = "512MiB", slots = 2, staging = "2GiB", node = 8 },
}
