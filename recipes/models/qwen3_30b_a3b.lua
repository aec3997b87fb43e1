-- Qwen3-30B-A3B: 48 layers, hidden 2048, 128 experts of 768, 32 query heads in 4 groups of 128 rows, vocabulary 151936.
-- Shapes of the published configuration. `layers` cuts it.
local mx = require "mx"

local L = mx.param("layers", 48)
local H, FE, E, V, D = 2048, 768, 128, 151936, 128
local HEADS, GROUPS = 32, 4

local m = mx.model "qwen3_30b_a3b"
m:tensor("embed", { V, H }):pad_rows(128)
for i = 0, L - 1 do
  local b = m:scope("layers.%d", i)
  b:tensor("attn.norm", { H })
  b:fused("attn.qkv", { { "q", HEADS * D }, { "k", GROUPS * D }, { "v", GROUPS * D } }, H):interleave(GROUPS)
  b:tensor("attn.q_norm", { D })
  b:tensor("attn.k_norm", { D })
  b:tensor("attn.out", { H, HEADS * D })
  b:tensor("mlp.norm", { H })
  b:tensor("moe.router", { E, H })
  b:fused("moe.experts.gate_up", { { "gate", FE }, { "up", FE } }, H, E)
  b:tensor("moe.experts.down", { E, H, FE })
end
m:tensor("norm", { H })
m:tensor("head", { V, H }):pad_rows(128)

return m
