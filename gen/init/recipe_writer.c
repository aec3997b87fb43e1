/* recipe_writer.c -- see recipe_writer.h. */
#include "recipe_writer.h"

#include "error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long long ull;

enum { most_ranks = 1 << 20 };

/* ---- sides ---- */

static uint64_t common_divisor(uint64_t a, uint64_t b) {
  while (b) {
    uint64_t rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

static mxg_status complete(mxg_spread *s, const char *text, const char *what, mxg_error *err) {
  if (!s->tp) s->tp = 1;
  if (!s->pp) s->pp = 1;
  if (!s->ep) s->ep = 1;
  if (!s->etp) s->etp = 1;
  uint64_t expert_ranks = s->ep * s->etp, stage = s->dp ? s->dp * s->tp : s->world / s->pp;
  if (!s->dp && !s->world) stage = s->tp / common_divisor(s->tp, expert_ranks) * expert_ranks;
  bool fits = (!s->world || s->world == stage * s->pp) && stage && stage % s->tp == 0 && stage % expert_ranks == 0;
  s->world = stage * s->pp;
  s->dp = stage / s->tp;
  if (fits && s->world <= most_ranks) return MXG_OK;
  mxg_fail(err, MXG_ERR_USAGE, 904, "--%s %.100s: these sizes do not share one set of ranks", what, text);
  mxg_error_help(
      err,
      "the ranks of one stage are dp * tp, and a multiple of ep * etp; leave out dp and world to have them chosen");
  return MXG_ERR_USAGE;
}

mxg_status mxg_spread_read(mxg_spread *out, const char *text, const char *what, mxg_error *err) {
  static const char *const axes[] = {"tp", "pp", "ep", "etp", "dp", "world"};
  *out = (mxg_spread){0};
  if (!strcmp(text, "whole")) {
    out->whole = true;
    return MXG_OK;
  }
  uint64_t *const sizes[] = {&out->tp, &out->pp, &out->ep, &out->etp, &out->dp, &out->world};
  enum { axis_count = sizeof axes / sizeof *axes };
  for (const char *at = text; *at;) {
    size_t n = strcspn(at, "="), end = strcspn(at, ",");
    unsigned axis = 0;
    while (axis < axis_count && (strlen(axes[axis]) != n || strncmp(axes[axis], at, n) != 0)) axis++;
    char *stop = NULL;
    uint64_t size = n < end && at[n + 1] >= '0' && at[n + 1] <= '9' ? strtoull(at + n + 1, &stop, 10) : 0;
    if (axis == axis_count || stop != at + end || !size || size > most_ranks || *sizes[axis] ||
        (at[end] == ',' && !at[end + 1])) {
      mxg_fail(err, MXG_ERR_USAGE, 904, "--%s %.100s: '%.*s' is no part of a side", what, text,
               (int)(end < 60 ? end : 60), at);
      mxg_error_help(err, "write whole, or sizes of tp, pp, ep, etp, dp and world, each once: --%s tp=4,ep=8", what);
      return MXG_ERR_USAGE;
    }
    *sizes[axis] = size;
    at += end + (at[end] == ',');
  }
  return complete(out, text, what, err);
}

static mxg_status does_not_divide(const char *side, const char *axis, uint64_t size, uint64_t count, const char *what,
                                  mxg_error *err) {
  mxg_fail(err, MXG_ERR_INPUT, 232, "%s: %s = %llu does not divide the model's %llu %s", side, axis, (ull)size,
           (ull)count, what);
  mxg_error_help(err, "give another %s to --%s", axis, side);
  return MXG_ERR_INPUT;
}

static mxg_status check_side(const mxg_hf_config *c, const mxg_spread *s, const char *side, mxg_error *err) {
  if (s->whole) return MXG_OK;
  bool latent = c->family == MXG_HF_DEEPSEEK_V3;
  if (latent && c->heads % s->tp) return does_not_divide(side, "tp", s->tp, c->heads, "attention heads", err);
  if (!latent && c->groups % s->tp) return does_not_divide(side, "tp", s->tp, c->groups, "query groups", err);
  if (c->dense && c->ffn % s->tp)
    return does_not_divide(side, "tp", s->tp, c->ffn, "rows of the feed-forward layer", err);
  if (c->shared_ffn % s->tp) return does_not_divide(side, "tp", s->tp, c->shared_ffn, "rows of the shared expert", err);
  if (c->hidden % s->tp) return does_not_divide(side, "tp", s->tp, c->hidden, "hidden columns", err);
  if (s->pp > c->layers) {
    mxg_fail(err, MXG_ERR_INPUT, 232, "%s: pp = %llu is more than the model's %llu layers", side, (ull)s->pp,
             (ull)c->layers);
    mxg_error_help(err, "give another pp to --%s", side);
    return MXG_ERR_INPUT;
  }
  if (c->experts % s->ep) return does_not_divide(side, "ep", s->ep, c->experts, "experts", err);
  if (c->expert_ffn % s->etp) return does_not_divide(side, "etp", s->etp, c->expert_ffn, "rows of an expert", err);
  if (!c->experts && (s->ep > 1 || s->etp > 1)) {
    mxg_fail(err, MXG_ERR_INPUT, 232, "%s: ep and etp are for experts, and the model has none", side);
    mxg_error_help(err, "give only tp, pp, dp or world to --%s", side);
    return MXG_ERR_INPUT;
  }
  return MXG_OK;
}

/* ---- the model ---- */

static void put_attention(mxg_text *t, const mxg_hf_config *c) {
  mxg_text_puts(t, "  b:tensor(\"attn.norm\", { H })\n");
  if (c->family == MXG_HF_DEEPSEEK_V3) {
    mxg_text_puts(t, "  b:tensor(\"attn.q_a\", { Q_RANK, H })\n"
                     "  b:tensor(\"attn.q_a_norm\", { Q_RANK })\n"
                     "  b:tensor(\"attn.q_b\", { HEADS * (NOPE + ROPE), Q_RANK })\n"
                     "  b:tensor(\"attn.kv_a\", { KV_RANK + ROPE, H })\n"
                     "  b:tensor(\"attn.kv_a_norm\", { KV_RANK })\n"
                     "  b:tensor(\"attn.kv_b\", { HEADS * (NOPE + VALUE), KV_RANK })\n"
                     "  b:tensor(\"attn.out\", { H, HEADS * VALUE })\n");
    return;
  }
  static const char parts[] = "{ { \"q\", HEADS * D }, { \"k\", GROUPS * D }, { \"v\", GROUPS * D } }";
  mxg_text_format(t, "  b:fused(\"attn.qkv\", %s, H):interleave(GROUPS)\n", parts);
  if (c->attention_bias) mxg_text_format(t, "  b:fused(\"attn.qkv_bias\", %s):interleave(GROUPS)\n", parts);
  if (c->attention_norms) mxg_text_puts(t, "  b:tensor(\"attn.q_norm\", { D })\n  b:tensor(\"attn.k_norm\", { D })\n");
  mxg_text_puts(t, "  b:tensor(\"attn.out\", { H, HEADS * D })\n");
}

static void put_mlp(mxg_text *t, const char *in) {
  mxg_text_format(t,
                  "%sb:fused(\"mlp.gate_up\", { { \"gate\", F }, { \"up\", F } }, H)\n"
                  "%sb:tensor(\"mlp.down\", { H, F })\n",
                  in, in);
}

static void put_experts(mxg_text *t, const mxg_hf_config *c, const char *in) {
  mxg_text_format(t, "%sb:tensor(\"moe.router\", { E, H })\n", in);
  if (c->shared_ffn) mxg_text_format(t, "%sb:tensor(\"moe.bias\", { E })\n", in);
  mxg_text_format(t,
                  "%sb:fused(\"moe.experts.gate_up\", { { \"gate\", FE }, { \"up\", FE } }, H, E)\n"
                  "%sb:tensor(\"moe.experts.down\", { E, H, FE })\n",
                  in, in);
  if (c->shared_ffn)
    mxg_text_format(t,
                    "%sb:fused(\"moe.shared.gate_up\", { { \"gate\", FS }, { \"up\", FS } }, H)\n"
                    "%sb:tensor(\"moe.shared.down\", { H, FS })\n",
                    in, in);
}

static void put_local(mxg_text *t, const char *line, const char *meaning) {
  mxg_text_format(t, "%-56s -- %s\n", line, meaning);
}

static void put_model(mxg_text *t, const mxg_hf_config *c) {
  char line[160];
  snprintf(line, sizeof line, "local L, H, V = %llu, %llu, %llu", (ull)c->layers, (ull)c->hidden, (ull)c->vocabulary);
  put_local(t, line, "layers, hidden, vocabulary");
  if (c->family == MXG_HF_DEEPSEEK_V3) {
    snprintf(line, sizeof line, "local HEADS, NOPE, ROPE, VALUE = %llu, %llu, %llu, %llu", (ull)c->heads, (ull)c->nope,
             (ull)c->rope, (ull)c->value);
    put_local(t, line, "heads, and rows of one head's parts");
    snprintf(line, sizeof line, "local Q_RANK, KV_RANK = %llu, %llu", (ull)c->q_rank, (ull)c->kv_rank);
    put_local(t, line, "of the latent attention");
  } else {
    snprintf(line, sizeof line, "local HEADS, GROUPS, D = %llu, %llu, %llu", (ull)c->heads, (ull)c->groups,
             (ull)c->head_dim);
    put_local(t, line, "query heads, in groups; rows of a head");
  }
  snprintf(line, sizeof line, "local F = %llu", (ull)c->ffn);
  if (c->dense) put_local(t, line, "rows of the feed-forward layers");
  snprintf(line, sizeof line, "local E, FE = %llu, %llu", (ull)c->experts, (ull)c->expert_ffn);
  if (c->experts) put_local(t, line, "experts, rows of one");
  snprintf(line, sizeof line, "local FS = %llu", (ull)c->shared_ffn);
  if (c->shared_ffn) put_local(t, line, "rows of the shared experts together");
  snprintf(line, sizeof line, "local DENSE = %llu", (ull)c->dense);
  if (c->dense && c->experts) put_local(t, line, "first layers, without experts");

  mxg_text_format(t, "\nlocal m = mx.model \"%s\"\nm:tensor(\"embed\", { V, H }):pad_rows(128)\nfor i = 0, L - 1 do\n",
                  c->name);
  mxg_text_puts(t, "  local b = m:scope(\"layers.%d\", i)\n");
  put_attention(t, c);
  mxg_text_puts(t, "  b:tensor(\"mlp.norm\", { H })\n");
  if (c->dense && c->experts) {
    mxg_text_puts(t, "  if i < DENSE then\n");
    put_mlp(t, "    ");
    mxg_text_puts(t, "  else\n");
    put_experts(t, c, "    ");
    mxg_text_puts(t, "  end\n");
  } else if (c->experts) {
    put_experts(t, c, "  ");
  } else {
    put_mlp(t, "  ");
  }
  mxg_text_puts(t, "end\nm:tensor(\"norm\", { H })\n");
  mxg_text_puts(t, c->tied ? "m:tied(\"head\", \"embed\")\n" : "m:tensor(\"head\", { V, H }):pad_rows(128)\n");
}

/* ---- the sides ---- */

static void put_mesh(mxg_text *t, const mxg_hf_config *c, const mxg_spread *s, uint64_t ranks) {
  if (s->whole) {
    mxg_text_format(t, "    mesh   = mx.mesh { { \"copy\", %llu } },\n", (ull)ranks);
    return;
  }
  mxg_text_format(t, "    mesh   = mx.megatron { tp = %llu, pp = %llu", (ull)s->tp, (ull)s->pp);
  if (c->experts) mxg_text_format(t, ", ep = %llu, etp = %llu", (ull)s->ep, (ull)s->etp);
  if (!c->experts) mxg_text_puts(t, ", etp = 1"); /* the second mesh needs one, and nothing is spread over it */
  mxg_text_format(t, ", world = %llu },\n", (ull)s->world);
  if (s->pp > 1)
    mxg_text_format(t,
                    "    stages = mx.even_stages {\n"
                    "      axis = \"pp\", layers = L, scope = \"layers.%%d\", stages = %llu, first = { \"embed\" }, "
                    "last = { \"norm\", \"head\" },\n    },\n",
                    (ull)s->pp);
}

static void put_layout(mxg_text *t, const mxg_hf_config *c, const mxg_spread *s) {
  if (s->whole) {
    mxg_text_puts(t, "    layout = { mx.rule(mx.whole(), \"**\") },\n");
    return;
  }
  bool latent = c->family == MXG_HF_DEEPSEEK_V3;
  mxg_text_format(t, "    layout = {\n      mx.rule(mx.whole(), \"**norm\"%s%s%s),\n",
                  c->experts ? ", \"**.router\"" : "", c->shared_ffn ? ", \"**.moe.bias\"" : "",
                  latent ? ", \"**.attn.q_a\", \"**.attn.kv_a\"" : "");
  if (c->experts && s->etp > 1)
    mxg_text_puts(t, "      mx.rule(mx.split { expert = \"ep\", row = \"etp\" }, \"**.experts.gate_up\"),\n"
                     "      mx.rule(mx.split { expert = \"ep\", col = \"etp\" }, \"**.experts.down\"),\n");
  else if (c->experts)
    mxg_text_puts(t, "      mx.rule(mx.split { expert = \"ep\" }, \"**.experts.*\"),\n");
  mxg_text_format(t, "      mx.rule(mx.split { col = \"tp\" }, \"**.attn.out\"%s%s),\n",
                  c->dense ? ", \"**.mlp.down\"" : "", c->shared_ffn ? ", \"**.shared.down\"" : "");
  mxg_text_puts(t, "      mx.rule(mx.split { row = \"tp\" }, \"**\"),\n    },\n");
}

static void put_sides(mxg_text *t, const mxg_hf_config *c, const mxg_spread *source, const mxg_spread *target) {
  uint64_t world = source->world ? source->world : target->world ? target->world : 1;
  mxg_text_puts(t, "\n-- A tensor whose shard would cut a block of 32 is kept in BF16; `mxgen plan` shows which. "
                   "Change formats here.\n"
                   "local bf16 = mx.bf16()\n"
                   "local fp8 = mx.mxfp8 { elem = \"e4m3\", block = 32, scale = \"rceil\", otherwise = bf16 }\n");
  mxg_text_format(t, "\nreturn {\n  version = 1, name = \"%s\", model = m,\n\n", c->name);
  mxg_text_puts(t, "  -- How the weights are stored and spread.\n  source = {\n");
  put_mesh(t, c, source, world);
  mxg_text_puts(t, "    format = {                                   -- the first rule that matches decides\n");
  if (c->shared_ffn) mxg_text_puts(t, "      mx.rule(mx.fp32(), \"**.moe.bias\"),\n");
  mxg_text_format(t, "      mx.rule(bf16, \"embed\", \"head\", \"**norm\"%s%s),\n",
                  c->attention_bias ? ", \"**.qkv_bias\"" : "", c->experts ? ", \"**.router\"" : "");
  mxg_text_puts(t, "      mx.rule(fp8, \"layers.**\"),\n    },\n");
  put_layout(t, c, source);
  mxg_text_puts(t, "  },\n\n  -- How they are wanted.\n  target = {\n");
  put_mesh(t, c, target, world);
  if (c->shared_ffn)
    mxg_text_puts(t, "    format = { mx.rule(mx.fp32(), \"**.moe.bias\"), mx.rule(bf16, \"**\") },\n");
  else
    mxg_text_puts(t, "    format = { mx.rule(bf16, \"**\") },\n");
  put_layout(t, c, target);
  mxg_text_format(t, "    names  = mx.hf.%s(),\n  },\n\n", mxg_hf_family_name(c->family));
  mxg_text_puts(t, "  schedule = { bucket = \"512MiB\", slots = 2, staging = \"2GiB\" },\n}\n");
}

static void put_spread(mxg_text *t, const mxg_hf_config *c, const mxg_spread *s, uint64_t world) {
  if (s->whole) {
    mxg_text_format(t, "%llu, each with whole tensors", (ull)world);
    return;
  }
  mxg_text_format(t, "%llu (tp %llu, pp %llu, dp %llu", (ull)s->world, (ull)s->tp, (ull)s->pp, (ull)s->dp);
  if (c->experts) mxg_text_format(t, "; ep %llu, etp %llu", (ull)s->ep, (ull)s->etp);
  mxg_text_puts(t, ")");
}

mxg_status mxg_recipe_write(mxg_text *text, const mxg_hf_config *config, const mxg_spread *source,
                            const mxg_spread *target, const char *from, mxg_error *err) {
  MXG_TRY(check_side(config, source, "source", err));
  MXG_TRY(check_side(config, target, "target", err));
  uint64_t world = source->world ? source->world : target->world ? target->world : 1;
  mxg_text_format(text, "-- model:  %s, family %s; shapes from %s.\n-- ranks:  source ", config->name,
                  mxg_hf_family_name(config->family), from);
  put_spread(text, config, source, world);
  mxg_text_puts(text, "; target ");
  put_spread(text, config, target, world);
  mxg_text_puts(
      text, ".\n-- intent: MXFP8 weights become BF16 under Hugging Face names. Written by mxgen init; edit freely.\n");
  if (config->extra_layers)
    mxg_text_format(text, "--         The %llu layer(s) that predict further tokens are not in it.\n",
                    (ull)config->extra_layers);
  mxg_text_puts(text, "local mx = require \"mx\"\n\n");
  put_model(text, config);
  put_sides(text, config, source, target);
  return text->failed ? mxg_fail_nomem(err) : MXG_OK;
}
