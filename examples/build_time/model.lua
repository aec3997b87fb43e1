-- A dense model of a few layers with the structure of the large ones: interleaved q, k, v; gate and up.
local mx = require "mx"

local L = mx.param("layers", 2)
local H, F, V, D = 128, 192, 250, 32            -- hidden, ffn, vocabulary, rows of a head
local HEADS, GROUPS = 8, 4

local m = mx.model "tiny_dense"
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
