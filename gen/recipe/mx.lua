-- mx.lua -- what a recipe gets from `require "mx"`. Trusted code: constructors are C (recipe.c, declare.c) and check
-- their table against schema.c at once; helpers here only combine them. `core` is what C offers and recipes never see.
local core = ...
local format, match = string.format, string.match
local check, fail, freeze = core.check, core.fail, core.freeze
local ipairs = ipairs

local mx = {}

-- mx.param(name, default): the default, or what `--set name=value` gives. Integers, texts and booleans.
mx.param = core.param

-- mx.model(name): the tensors. Methods of a model and of its scopes:
--   :tensor(name, { n } | { rows, cols } | { experts, rows, cols })
--   :fused(name, { { "q", rows }, { "k", rows }, ... }, cols [, experts])   a vector without cols
--   :tied(name, other)           the same shape, and the other's values
--   :scope(format, ...)          names below are joined with "."
-- and of a tensor, each returning it:
--   :interleave(groups)          stored by query group: group 0 of q, of k, of v, then group 1
--   :pad_rows(n)                 where its rows are split, a shard is padded to a multiple of n
mx.model = core.model

-- Formats. `scale` of mxfp8 has no default: it names the rule by which scales are chosen.
--   mx.mxfp8 { elem = "e4m3" | "e5m2", block = 32 | {1,32} | {32,1} | {32,32},
--              direction = "rowwise" | "columnwise" | "both", scale = "floor" | "rceil" | "ceil" | "even",
--              nan = "block" | "element", scales = "compact" | "padded" | "swizzled", scale_dtype = "u8" | "e8m0",
--              otherwise = format }
--   mx.fp8 { elem, nan, otherwise }                     one FP32 scale a stored tensor
--   mx.fp8_block { elem, block = 128, scale = "fp32" | a rule, nan, otherwise }
--   mx.bf16(), mx.fp16(), mx.fp32()
mx.mxfp8, mx.fp8, mx.fp8_block = core.mxfp8, core.fp8, core.fp8_block
mx.bf16, mx.fp16, mx.fp32 = core.bf16, core.fp16, core.fp32

-- mx.rule(format or layout, pattern, ...): `*` inside one dotted segment, `**` across, {a,b} alternatives.
mx.rule = core.rule

-- Layouts: mx.whole(), and mx.split { row =, col =, expert = axis or axes, order = "parts" | "grouped", pad_rows = n }.
mx.whole, mx.split = core.whole, core.split

-- mx.mesh { { "pp", 4 }, { "dp", 2 }, { "tp", 8 } }: named axes over the ranks, outermost first.
mx.mesh = core.mesh

-- mx.stages { axis = "pp", { patterns of stage 0 }, { patterns of stage 1 }, ... }
mx.stages = core.stages

-- mx.names { scale = "_scale_inv", { pattern, "template" }, { pattern, q = "template", k = ..., v = ... } }
-- {1} is what the pattern's first star matched; {e} the expert, whose presence keeps experts apart.
mx.names = core.names

-- mx.megatron { tp =, pp =, ep =, etp =, dp = or world = }: both meshes of Megatron, dense (pp, dp, tp) and experts
-- (pp, edp, ep, etp), over the same ranks. etp is tp unless given, as in Megatron.
function mx.megatron(t)
  local o = check("megatron", t)
  local tp, pp, ep = o.tp, o.pp, o.ep
  local etp = o.etp or tp
  local dp = o.dp
  if o.world then
    if o.world % (pp * tp) ~= 0 then
      fail(format("megatron.world: %d ranks are not a multiple of pp * tp = %d", o.world, pp * tp), "world")
    end
    local of_world = o.world // (pp * tp)
    if dp and dp ~= of_world then
      fail(format("megatron.dp: pp * dp * tp = %d, not world = %d", pp * dp * tp, o.world), "dp",
        "leave out one of dp and world")
    end
    dp = of_world
  end
  dp = dp or 1
  local world = pp * dp * tp
  if world % (pp * ep * etp) ~= 0 then
    fail(format("megatron.ep: %d ranks are not a multiple of pp * ep * etp = %d", world, pp * ep * etp), "ep",
      o.etp and "the ranks of one stage, dp * tp, are shared by edp * ep * etp"
        or "etp is tp unless given; write `etp = 1` for experts that are not split by rows or columns")
  end
  local edp = world // (pp * ep * etp)
  return {
    core.mesh { { "pp", pp }, { "dp", dp }, { "tp", tp } },
    core.mesh { { "pp", pp }, { "edp", edp }, { "ep", ep }, { "etp", etp } },
  }
end

-- mx.even_stages { axis =, layers =, scope = "layers.%d", stages = n or counts = { 16, 16, 15, 14 },
-- first = { patterns }, last = { patterns } }: whole layers to stages in order; where it is not even, the
-- first stages get one more.
function mx.even_stages(t)
  local o = check("even_stages", t)
  if not match(o.scope, "^[^%%]*%%d[^%%]*$") then
    fail('even_stages.scope: one %d stands for the layer, as in "layers.%d"', "scope")
  end
  local counts = o.counts
  if not counts then
    if not o.stages then fail("even_stages: one of stages and counts is needed", "axis") end
    counts = {}
    for s = 1, o.stages do counts[s] = o.layers // o.stages + (s <= o.layers % o.stages and 1 or 0) end
  end
  local sum = 0
  for _, n in ipairs(counts) do sum = sum + n end
  if sum ~= o.layers then fail(format("even_stages.counts: %d layers in all, not %d", sum, o.layers), "counts") end
  if o.stages and o.stages ~= #counts then
    fail(format("even_stages.stages: %d, and there are %d counts", o.stages, #counts), "stages")
  end
  local stages, layer = { axis = o.axis }, 0
  for s, n in ipairs(counts) do
    local patterns = {}
    if s == 1 then for _, p in ipairs(o.first or {}) do patterns[#patterns + 1] = p end end
    for _ = 1, n do
      patterns[#patterns + 1] = format(o.scope, layer) .. ".**"
      layer = layer + 1
    end
    if s == #counts then for _, p in ipairs(o.last or {}) do patterns[#patterns + 1] = p end end
    stages[s] = patterns
  end
  return core.stages(stages)
end

-- mx.hf.<family> { scale = "_scale" | "_scale_inv" }: the tensor names of published checkpoints, for models whose
-- tensors are named as below. An entry for a tensor that a model does not declare is skipped; a tensor without an entry
-- is an error. Parts and experts become tensors of their own, as the checkpoints have them.
--   all        embed  norm  head  layers.N.attn.norm  layers.N.attn.out  layers.N.mlp.norm
--   llama      attn.qkv (q, k, v)  mlp.gate_up (gate, up)  mlp.down
--   qwen3      llama's, and attn.q_norm  attn.k_norm
--   qwen3_moe  qwen3's, and moe.router  moe.experts.gate_up  moe.experts.down
--   glm4_moe   qwen3_moe's, and attn.qkv_bias  moe.bias  moe.shared.gate_up  moe.shared.down
--   deepseek_v3  attn.{q_a,q_a_norm,q_b,kv_a,kv_a_norm,kv_b}  mlp.*  moe.* as in glm4_moe
--   mixtral    llama's attention, and moe.router  moe.experts.gate_up  moe.experts.down
local layer, hf_layer = "layers.*.", "model.layers.{1}."

local function one(name, hf_name) return { layer .. name, hf_layer .. hf_name } end

local function gate_up(name, hf_name, gate, up)
  return { layer .. name, gate = hf_layer .. hf_name .. gate .. ".weight", up = hf_layer .. hf_name .. up .. ".weight" }
end

local function qkv(name, kind)
  local self_attn = hf_layer .. "self_attn."
  return { layer .. name, q = self_attn .. "q_proj." .. kind, k = self_attn .. "k_proj." .. kind,
    v = self_attn .. "v_proj." .. kind }
end

local ends = {
  { "embed", "model.embed_tokens.weight" },
  { "norm", "model.norm.weight" },
  { "head", "lm_head.weight" },
  one("attn.norm", "input_layernorm.weight"),
  one("attn.out", "self_attn.o_proj.weight"),
  one("mlp.norm", "post_attention_layernorm.weight"),
}
local attention = { qkv("attn.qkv", "weight") }
local attention_norms = { one("attn.q_norm", "self_attn.q_norm.weight"), one("attn.k_norm", "self_attn.k_norm.weight") }
local attention_bias = { qkv("attn.qkv_bias", "bias") }
local latent_attention = {
  one("attn.q_a", "self_attn.q_a_proj.weight"),
  one("attn.q_a_norm", "self_attn.q_a_layernorm.weight"),
  one("attn.q_b", "self_attn.q_b_proj.weight"),
  one("attn.kv_a", "self_attn.kv_a_proj_with_mqa.weight"),
  one("attn.kv_a_norm", "self_attn.kv_a_layernorm.weight"),
  one("attn.kv_b", "self_attn.kv_b_proj.weight"),
}
local mlp = { gate_up("mlp.gate_up", "mlp.", "gate_proj", "up_proj"), one("mlp.down", "mlp.down_proj.weight") }
local experts = {
  one("moe.router", "mlp.gate.weight"),
  gate_up("moe.experts.gate_up", "mlp.experts.{e}.", "gate_proj", "up_proj"),
  one("moe.experts.down", "mlp.experts.{e}.down_proj.weight"),
}
local shared_experts = {
  one("moe.bias", "mlp.gate.e_score_correction_bias"),
  gate_up("moe.shared.gate_up", "mlp.shared_experts.", "gate_proj", "up_proj"),
  one("moe.shared.down", "mlp.shared_experts.down_proj.weight"),
}
local mixtral_experts = {
  one("moe.router", "block_sparse_moe.gate.weight"),
  gate_up("moe.experts.gate_up", "block_sparse_moe.experts.{e}.", "w1", "w3"),
  one("moe.experts.down", "block_sparse_moe.experts.{e}.w2.weight"),
}

local function family(...)
  local lists = { ... }
  return function(t)
    local names = { scale = check("hf", t).scale }
    for _, list in ipairs(lists) do
      for _, entry in ipairs(list) do names[#names + 1] = entry end
    end
    return core.helper_names(names)
  end
end

mx.hf = freeze({
  llama = family(ends, attention, mlp),
  qwen3 = family(ends, attention, attention_norms, mlp),
  qwen3_moe = family(ends, attention, attention_norms, mlp, experts),
  glm4_moe = family(ends, attention, attention_norms, attention_bias, mlp, experts, shared_experts),
  deepseek_v3 = family(ends, latent_attention, mlp, experts, shared_experts),
  mixtral = family(ends, attention, mixtral_experts),
}, "mx.hf")

return freeze(mx, "mx")
