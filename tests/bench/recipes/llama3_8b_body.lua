-- model:  the 32 layers of Llama 3 8B without embedding, head and norms: 6.979e9 elements.
-- ranks:  source and target the same 2 (or `tp`), tensor parallel to whole tensors.
-- intent: every tensor MXFP8, so that the figures stand beside those of PyTorch for the same work
--         (peers_gather.py): interleaved QKV and gate/up split by rows, output and down by columns.
--         --set keep=true: whole tensors in MXFP8, which are moved and not converted.
local mx = require "mx"

local L, H, F, D = mx.param("layers", 32), 4096, 14336, 128
local tp = mx.param("tp", 2)
local fp8 = mx.mxfp8 { elem = "e4m3", block = 32, scale = "rceil" }
local m = mx.model "llama3_8b_body"
for i = 0, L - 1 do
  local b = m:scope("layers.%d", i)
  b:fused("attn.qkv", { { "q", 32 * D }, { "k", 8 * D }, { "v", 8 * D } }, H):interleave(8)
  b:tensor("attn.out", { H, 32 * D })
  b:fused("mlp.gate_up", { { "gate", F }, { "up", F } }, H)
  b:tensor("mlp.down", { H, F })
end

return {
  version = 1, name = "llama3_8b_body", model = m,
  source = {
    mesh   = mx.mesh { { "tp", tp } },
    format = { mx.rule(fp8, "**") },
    layout = {
      mx.rule(mx.split { col = "tp" }, "**.attn.out", "**.mlp.down"),
      mx.rule(mx.split { row = "tp" }, "**"),
    },
  },
  target = {
    mesh   = mx.mesh { { "copy", tp } },
    format = { mx.rule(mx.param("keep", false) and fp8 or mx.bf16(), "**") },
    layout = { mx.rule(mx.whole(), "**") },
    names  = mx.hf.llama(),
  },
  schedule = { bucket = "512MiB", slots = 2, staging = "2GiB" },
}
