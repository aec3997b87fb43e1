-- model:  an expert model of two layers: the first dense, the second with eight routed experts and a shared one.
-- ranks:  source 8 (pp 2, tp 2, ep 2, etp 1), target 4 (ep 4, dense tensors whole).
-- intent: MXFP8 kept as MXFP8 under Hugging Face names, experts from ep 2 to ep 4; the router stays in FP32.
local mx = require "mx"

local L = mx.param("layers", 2)
local H, F, FE, E, V, D = 128, 192, 64, 8, 256, 32   -- hidden, dense ffn, expert ffn, experts, vocabulary, head
local HEADS, GROUPS = 4, 2

local m = mx.model "tiny_moe"
m:tensor("embed", { V, H })
for i = 0, L - 1 do
  local b = m:scope("layers.%d", i)
  b:tensor("attn.norm", { H })
  b:fused("attn.qkv", { { "q", HEADS * D }, { "k", GROUPS * D }, { "v", GROUPS * D } }, H):interleave(GROUPS)
  b:tensor("attn.q_norm", { D })
  b:tensor("attn.k_norm", { D })
  b:tensor("attn.out", { H, HEADS * D })
  b:tensor("mlp.norm", { H })
  if i == 0 then
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
m:tensor("head", { V, H })

local fp8 = mx.mxfp8 { elem = "e4m3", block = 32, scale = "rceil" }
local formats = {
  mx.rule(mx.fp32(), "**.moe.{router,bias}"),
  mx.rule(mx.bf16(), "embed", "head", "**norm"),
  mx.rule(fp8, "layers.**"),
}

return {
  version = 1, name = "tiny_moe", model = m,
  source = {
    mesh   = mx.megatron { tp = 2, pp = 2, ep = 2, etp = 1, world = 8 },
    stages = mx.even_stages {
      axis = "pp", layers = L, scope = "layers.%d", stages = 2, first = { "embed" }, last = { "norm", "head" },
    },
    format = formats,
    layout = {
      mx.rule(mx.whole(), "**norm", "**.moe.{router,bias}"),
      mx.rule(mx.split { expert = "ep" }, "**.moe.experts.*"),
      mx.rule(mx.split { col = "tp" }, "**.attn.out", "**.down"),
      mx.rule(mx.split { row = "tp" }, "**"),
    },
  },
  target = {
    mesh   = mx.mesh { { "ep", 4 } },
    format = formats,
    layout = { mx.rule(mx.split { expert = "ep" }, "**.experts.*"), mx.rule(mx.whole(), "**") },
    names  = mx.hf.glm4_moe { scale = "_scale_inv" },
  },
  schedule = { bucket = "64KiB", staging = "1MiB", node = 4 },
}
