-- Llama 3 8B: 32 layers, hidden 4096, ffn 14336, 32 query heads in 8 groups of 128 rows, vocabulary 128256.
-- Shapes of the published configuration. `layers` cuts it.
local mx = require "mx"

local L = mx.param("layers", 32)
local H, F, V, D = 4096, 14336, 128256, 128

local m = mx.model "llama3_8b"
m:tensor("embed", { V, H }):pad_rows(128)
for i = 0, L - 1 do
  local b = m:scope("layers.%d", i)
  b:tensor("attn.norm", { H })
  b:fused("attn.qkv", { { "q", 32 * D }, { "k", 8 * D }, { "v", 8 * D } }, H):interleave(8)
  b:tensor("attn.out", { H, 32 * D })
  b:tensor("mlp.norm", { H })
  b:fused("mlp.gate_up", { { "gate", F }, { "up", F } }, H)
  b:tensor("mlp.down", { H, F })
end
m:tensor("norm", { H })
m:tensor("head", { V, H }):pad_rows(128)

return m
