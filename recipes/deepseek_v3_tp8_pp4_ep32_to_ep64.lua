-- model:  DeepSeek-V3 (61 layers, the first 3 dense with ffn 18432; 256 experts of 2048 and a shared one; hidden 7168,
--         latent attention with 128 heads, vocabulary 129280).
-- ranks:  source 128 (pp 4 with 16, 16, 16 and 13 layers, tp 8, dp 4; ep 32, etp 1), target 64 other ranks (ep 64): 4
--         experts each, dense tensors whole on every one.
-- intent: from a trainer to a rollout engine beside it, MXFP8 kept as MXFP8 under Hugging Face names. Driven by the
--         destination: a rank receives its four experts and the dense weights, and nothing else.
local mx = require "mx"

local L = mx.param("layers", 61)
local H, F, FE, E, V = 7168, 18432, 2048, 256, 129280
local HEADS, NOPE, ROPE, VALUE = 128, 128, 64, 128           -- heads, and rows of one head's parts
local Q_RANK, KV_RANK, DENSE = 1536, 512, 3

local m = mx.model "deepseek_v3"
m:tensor("embed", { V, H }):pad_rows(128)
for i = 0, L - 1 do
  local b = m:scope("layers.%d", i)
  b:tensor("attn.norm", { H })
  b:tensor("attn.q_a", { Q_RANK, H })
  b:tensor("attn.q_a_norm", { Q_RANK })
  b:tensor("attn.q_b", { HEADS * (NOPE + ROPE), Q_RANK })
  b:tensor("attn.kv_a", { KV_RANK + ROPE, H })
  b:tensor("attn.kv_a_norm", { KV_RANK })
  b:tensor("attn.kv_b", { HEADS * (NOPE + VALUE), KV_RANK })
  b:tensor("attn.out", { H, HEADS * VALUE })
  b:tensor("mlp.norm", { H })
  if i < DENSE and i < L - 1 then                            -- a cut model keeps an expert layer
    b:fused("mlp.gate_up", { { "gate", F }, { "up", F } }, H)
    b:tensor("mlp.down", { H, F })
  else
    b:tensor("moe.router", { E, H })
    b:tensor("moe.bias", { E })
    b:fused("moe.experts.gate_up", { { "gate", FE }, { "up", FE } }, H, E)
    b:tensor("moe.experts.down", { E, H, FE })
    b:fused("moe.shared.gate_up", { { "gate", FE }, { "up", FE } }, H)
    b:tensor("moe.shared.down", { H, FE })
  end
end
m:tensor("norm", { H })
m:tensor("head", { V, H }):pad_rows(128)

local counts = L == 61 and { 16, 16, 16, 13 } or nil
local formats = {
  mx.rule(mx.fp32(), "**.moe.bias"),
  mx.rule(mx.bf16(), "embed", "head", "**norm", "**.router"),
  mx.rule(mx.mxfp8 { elem = "e4m3", block = 32, scale = "rceil" }, "layers.**"),
}

return {
  version = 1, name = "deepseek_v3_tp8_pp4_ep32_to_ep64", model = m,
  source = {
    mesh   = mx.megatron { tp = 8, pp = 4, ep = 32, etp = 1, world = 128 },
    stages = mx.even_stages {
      axis = "pp", layers = L, scope = "layers.%d", stages = 4, counts = counts,
      first = { "embed" }, last = { "norm", "head" },
    },
    format = formats,
    layout = {
      mx.rule(mx.whole(), "**norm", "**.router", "**.moe.bias", "**.attn.q_a", "**.attn.kv_a"),
      mx.rule(mx.split { expert = "ep" }, "**.experts.*"),
      mx.rule(mx.split { col = "tp" }, "**.attn.out", "**.down"),
      mx.rule(mx.split { row = "tp" }, "**"),
    },
  },
  target = {
    mesh       = mx.mesh { { "ep", 64 } },
    first_rank = 128,
    format     = formats,
    layout     = { mx.rule(mx.split { expert = "ep" }, "**.experts.*"), mx.rule(mx.whole(), "**") },
    names      = mx.hf.deepseek_v3 { scale = "_scale_inv" },
  },
  schedule = { bucket = "512MiB", slots = 2, staging = "2GiB", node = 8 },
}
