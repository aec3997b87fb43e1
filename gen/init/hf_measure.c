/* hf_measure.c -- see hf_config.h: the shapes of a Hugging Face checkpoint, from its safetensors headers. */
#include "checkpoint.h"
#include "error.h"
#include "hf_config.h"

#include <stdarg.h>
#include <stdio.h>

typedef struct measure {
  const mxg_checkpoint *files;
  uint32_t *differ;
  mxg_error *err;
} measure;

static const mxg_st_tensor *look(const measure *m, const char *format, ...) __attribute__((format(printf, 2, 3)));
static const mxg_st_tensor *look(const measure *m, const char *format, ...) {
  char name[256];
  va_list list;
  va_start(list, format);
  vsnprintf(name, sizeof name, format, list);
  va_end(list);
  mxg_found found;
  return mxg_checkpoint_find(m->files, MXG_NONE, name, &found) ? found.tensor : NULL;
}

static uint64_t rows(const mxg_st_tensor *tensor) { return tensor->shape[0]; }
static uint64_t cols(const mxg_st_tensor *tensor) { return tensor->ndim > 1 ? tensor->shape[1] : 1; }

static void set(const measure *m, uint64_t *value, uint64_t now) {
  if (*value != now) ++*m->differ;
  *value = now;
}

static mxg_status missing(const measure *m, const char *name) {
  mxg_fail(m->err, MXG_ERR_INPUT, 230, "the headers have no %s", name);
  mxg_error_place(m->err, mxg_checkpoint_path(m->files), 0, 0, 0);
  mxg_error_help(m->err, "a whole checkpoint under Hugging Face names is needed beside config.json");
  return MXG_ERR_INPUT;
}

static mxg_status odd(const measure *m, const char *name) {
  mxg_fail(m->err, MXG_ERR_INPUT, 230, "%s has a shape that the configuration does not explain", name);
  mxg_error_place(m->err, mxg_checkpoint_path(m->files), 0, 0, 0);
  return MXG_ERR_INPUT;
}

#define ATTENTION "model.layers.0.self_attn."

static mxg_status measure_attention(mxg_hf_config *c, const measure *m) {
  const mxg_st_tensor *q = look(m, ATTENTION "q_proj.weight"), *k = look(m, ATTENTION "k_proj.weight");
  const mxg_st_tensor *norm = look(m, ATTENTION "q_norm.weight");
  if (!q || q->ndim != 2) return missing(m, ATTENTION "q_proj.weight");
  if (!k || k->ndim != 2) return missing(m, ATTENTION "k_proj.weight");
  if (norm && norm->ndim == 1) set(m, &c->head_dim, rows(norm));
  if (!c->head_dim || rows(q) % c->head_dim || rows(k) % c->head_dim || !rows(k) || rows(q) % rows(k))
    return odd(m, ATTENTION "q_proj.weight");
  set(m, &c->heads, rows(q) / c->head_dim);
  set(m, &c->groups, rows(k) / c->head_dim);
  bool bias = look(m, ATTENTION "q_proj.bias") != NULL;
  if ((bias && c->family != MXG_HF_GLM4_MOE) || (norm && c->family == MXG_HF_LLAMA))
    return odd(m, bias ? ATTENTION "q_proj.bias" : ATTENTION "q_norm.weight");
  if (bias != c->attention_bias) ++*m->differ;
  if ((norm != NULL) != c->attention_norms) ++*m->differ;
  c->attention_bias = bias;
  c->attention_norms = norm != NULL;
  return MXG_OK;
}

static mxg_status measure_latent(mxg_hf_config *c, const measure *m) {
  const mxg_st_tensor *q_a = look(m, ATTENTION "q_a_proj.weight"), *q_b = look(m, ATTENTION "q_b_proj.weight");
  const mxg_st_tensor *kv_a = look(m, ATTENTION "kv_a_proj_with_mqa.weight");
  const mxg_st_tensor *norm = look(m, ATTENTION "kv_a_layernorm.weight"), *out = look(m, ATTENTION "o_proj.weight");
  if (!q_a || q_a->ndim != 2) return missing(m, ATTENTION "q_a_proj.weight");
  if (!q_b || q_b->ndim != 2) return missing(m, ATTENTION "q_b_proj.weight");
  if (!kv_a || kv_a->ndim != 2) return missing(m, ATTENTION "kv_a_proj_with_mqa.weight");
  if (!norm || norm->ndim != 1) return missing(m, ATTENTION "kv_a_layernorm.weight");
  if (!out || out->ndim != 2) return missing(m, ATTENTION "o_proj.weight");
  set(m, &c->q_rank, rows(q_a));
  set(m, &c->kv_rank, rows(norm));
  if (rows(kv_a) <= c->kv_rank || cols(out) % c->heads || rows(q_b) % c->heads)
    return odd(m, ATTENTION "kv_a_proj_with_mqa.weight");
  set(m, &c->rope, rows(kv_a) - c->kv_rank);
  set(m, &c->value, cols(out) / c->heads);
  if (rows(q_b) / c->heads <= c->rope) return odd(m, ATTENTION "q_b_proj.weight");
  set(m, &c->nope, rows(q_b) / c->heads - c->rope);
  return MXG_OK;
}

static mxg_status measure_mlp(mxg_hf_config *c, const measure *m) {
  bool mixtral = c->family == MXG_HF_MIXTRAL;
  uint64_t dense = 0, experts = 0;
  while (dense < c->layers && look(m, "model.layers.%llu.mlp.gate_proj.weight", (unsigned long long)dense)) dense++;
  if (dense) {
    const mxg_st_tensor *gate = look(m, "model.layers.0.mlp.gate_proj.weight");
    if (gate->ndim != 2) return odd(m, "model.layers.0.mlp.gate_proj.weight");
    set(m, &c->ffn, rows(gate));
  }
  if (c->experts) set(m, &c->dense, dense);
  if (!c->experts) c->dense = dense; /* all of them, as the layers' count says */
  if (c->family < MXG_HF_QWEN3_MOE)
    return dense == c->layers ? MXG_OK : missing(m, "mlp.gate_proj.weight of every layer");
  if (dense && c->family != MXG_HF_GLM4_MOE && c->family != MXG_HF_DEEPSEEK_V3)
    return odd(m, "model.layers.0.mlp.gate_proj.weight");
  if (dense == c->layers) return missing(m, "layer with experts");
  const mxg_st_tensor *first = NULL;
  for (;; experts++) {
    char name[128];
    snprintf(name, sizeof name,
             mixtral ? "model.layers.%llu.block_sparse_moe.experts.%llu.w1.weight"
                     : "model.layers.%llu.mlp.experts.%llu.gate_proj.weight",
             (unsigned long long)dense, (unsigned long long)experts);
    const mxg_st_tensor *expert = look(m, "%s", name);
    if (!expert) break;
    if (!first) first = expert;
  }
  if (!first || first->ndim != 2) return missing(m, "gate projection of an expert");
  set(m, &c->experts, experts);
  set(m, &c->expert_ffn, rows(first));
  if (mixtral) c->ffn = c->expert_ffn;
  if (!c->shared_ffn) return MXG_OK;
  const mxg_st_tensor *shared =
      look(m, "model.layers.%llu.mlp.shared_experts.gate_proj.weight", (unsigned long long)dense);
  if (!shared || shared->ndim != 2) return missing(m, "mlp.shared_experts.gate_proj.weight");
  set(m, &c->shared_ffn, rows(shared));
  return MXG_OK;
}

static mxg_status measure_all(mxg_hf_config *c, const measure *m) {
  const mxg_st_tensor *embed = look(m, "model.embed_tokens.weight");
  if (!embed || embed->ndim != 2) return missing(m, "model.embed_tokens.weight");
  set(m, &c->vocabulary, rows(embed));
  set(m, &c->hidden, cols(embed));
  uint64_t layers = 0; /* a layer with eh_proj predicts further tokens and is none of the model's */
  while (look(m, "model.layers.%llu.input_layernorm.weight", (unsigned long long)layers) &&
         !look(m, "model.layers.%llu.eh_proj.weight", (unsigned long long)layers))
    layers++;
  if (!layers) return missing(m, "model.layers.0.input_layernorm.weight");
  set(m, &c->layers, layers);
  bool tied = !look(m, "lm_head.weight");
  if (tied != c->tied) ++*m->differ;
  c->tied = tied;
  MXG_TRY(c->family == MXG_HF_DEEPSEEK_V3 ? measure_latent(c, m) : measure_attention(c, m));
  return measure_mlp(c, m);
}

mxg_status mxg_hf_config_measure(mxg_hf_config *config, const char *folder, uint32_t *differ, mxg_error *err) {
  mxg_checkpoint *files = NULL;
  *differ = 0;
  MXG_TRY(mxg_checkpoint_open(&files, folder, err));
  const measure m = {files, differ, err};
  mxg_status status = measure_all(config, &m);
  mxg_checkpoint_close(files);
  return status;
}
