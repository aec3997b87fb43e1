-- A dense model with the structure of the large ones: interleaved q, k, v; gate and up; a vocabulary that two ranks do not
-- divide evenly. Larger with --set layers=32 or --set width=8.
local mx = require "mx"

local L, W = mx.param("layers", 4), mx.param("width", 1)
local H, F, V, D = 512 * W, 1536 * W, 4098, 64           -- hidden, ffn, vocabulary, rows of a head
local HEADS, GROUPS = 8 * W, 4

local m = mx.model "dense_tp2"
m:tensor("embed", { V, H }):pad_rows(4)
for i = 0, L - 1 do
  local b = m:scope("layers.%d", i)
  b:tensor("attn.norm", { H })
  b:fused("attn.qkv", { { "q", HEADS * D }, { "k", GROUPS * D }, { "v", GROUPS * D } }, H):interleave(GROUPS)
  b:tensor("attn.out", { H, HEADS * D })
  b:tensor("mlp.norm", { H })
  b:fused("mlp.gate_up", { { "gate", F }, { "up", F } }, H)
  b:tensor("mlp.down", { H, F })
end
m:tensor("norm", { H })
m:tensor("head", { V, H }):pad_rows(4)

return m
