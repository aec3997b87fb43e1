-- model:  a dense model of two layers with the structure of the large ones: interleaved q, k, v; gate and up; a
--         vocabulary that the ranks do not divide; tied embeddings.
-- ranks:  source 4 (pp 2, tp 2), target the first 2 of them, each with whole tensors.
-- intent: MXFP8 to BF16 under Hugging Face names; small enough to read every byte.
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
m:tied("head", "embed")

local bf16 = mx.bf16()
local fp8 = mx.mxfp8 { elem = "e4m3", block = 32, scale = "rceil" }

return {
  version = 1, name = "tiny_dense", model = m,
  source = {
    mesh   = mx.megatron { tp = 2, pp = 2 },
    stages = mx.even_stages {
      axis = "pp", layers = L, scope = "layers.%d", stages = 2, first = { "embed" }, last = { "norm", "head" },
    },
    format = { mx.rule(bf16, "embed", "head", "**norm"), mx.rule(fp8, "layers.**") },
    layout = {
      mx.rule(mx.whole(), "**norm"),
      mx.rule(mx.split { col = "tp" }, "**.attn.out", "**.mlp.down"),
      mx.rule(mx.split { row = "tp" }, "**"),
    },
  },
  target = {
    mesh   = mx.mesh { { "copy", 2 } },
    format = { mx.rule(bf16, "**") },
    layout = { mx.rule(mx.whole(), "**") },
    names  = mx.hf.llama(),
  },
  schedule = { bucket = "64KiB", staging = "1MiB" },
}
