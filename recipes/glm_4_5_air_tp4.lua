-- model:  GLM-4.5-Air (46 layers, the first dense with ffn 10944; 128 experts of 1408 and a shared one; hidden 4096,
--         96 query heads in 8 groups of 128 rows with biases, vocabulary 151552).
-- ranks:  source 4 (tp 4; ep 4, etp 1), target the same 4 as ep 4, dense tensors whole.
-- intent: MXFP8 kept as MXFP8 under Hugging Face names. 10944 columns over tp 4 leave 2736, which 32 does not divide:
--         the down projection of the dense layer falls back to BF16 on the source side, and stays BF16 on the target.
local mx = require "mx"

local L = mx.param("layers", 46)
local H, F, FE, E, V, D = 4096, 10944, 1408, 128, 151552, 128
local HEADS, GROUPS, DENSE = 96, 8, 1

local m = mx.model "glm_4_5_air"
m:tensor("embed", { V, H }):pad_rows(128)
for i = 0, L - 1 do
  local b = m:scope("layers.%d", i)
  b:tensor("attn.norm", { H })
  b:fused("attn.qkv", { { "q", HEADS * D }, { "k", GROUPS * D }, { "v", GROUPS * D } }, H):interleave(GROUPS)
  b:fused("attn.qkv_bias", { { "q", HEADS * D }, { "k", GROUPS * D }, { "v", GROUPS * D } }):interleave(GROUPS)
  b:tensor("attn.out", { H, HEADS * D })
  b:tensor("mlp.norm", { H })
  if i < DENSE then
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

local bf16, fp32 = mx.bf16(), mx.fp32()
local fp8 = mx.mxfp8 { elem = "e4m3", block = 32, scale = "rceil", otherwise = bf16 }

-- A model cut to its dense layers has no experts, and every pattern must match something.
local cut = L <= DENSE
local function formats(...)
  local high = mx.rule(bf16, "embed", "head", "**norm", "**.qkv_bias", ...)
  if cut then return { high, mx.rule(fp8, "layers.**") } end
  return { mx.rule(fp32, "**.moe.bias"), mx.rule(bf16, "**.router"), high, mx.rule(fp8, "layers.**") }
end

local source_layout = {
  mx.rule(mx.whole(), "**norm"),
  mx.rule(mx.split { col = "tp" }, "**.attn.out", "**.down"),
  mx.rule(mx.split { row = "tp" }, "**"),
}
local target_layout = { mx.rule(mx.whole(), "**") }
if not cut then
  source_layout = {
    mx.rule(mx.whole(), "**norm", "**.router", "**.moe.bias"),
    mx.rule(mx.split { expert = "ep" }, "**.experts.*"),
    source_layout[2], source_layout[3],
  }
  target_layout = { mx.rule(mx.split { expert = "ep" }, "**.experts.*"), mx.rule(mx.whole(), "**") }
end

return {
  version = 1, name = "glm_4_5_air_tp4", model = m,
  source = {
    mesh   = mx.megatron { tp = 4, ep = 4, etp = 1, world = 4 },
    format = formats(),
    layout = source_layout,
  },
  target = {
    mesh   = mx.mesh { { "ep", 4 } },
    format = formats("**.mlp.down"),
    layout = target_layout,
    names  = mx.hf.glm4_moe { scale = "_scale_inv" },
  },
  schedule = { bucket = "512MiB", slots = 2, staging = "2GiB" },
}
