/* hf_config.h -- what a Hugging Face folder says of a model: config.json, and the shapes in safetensors headers. Owns
** their keys and names; the recipe made of it is recipe_writer's. */
#ifndef MXG_HF_CONFIG_H
#define MXG_HF_CONFIG_H

#include "mxrt.h"

typedef enum mxg_hf_family {
  MXG_HF_LLAMA,
  MXG_HF_QWEN3,
  MXG_HF_QWEN3_MOE,
  MXG_HF_GLM4_MOE,
  MXG_HF_DEEPSEEK_V3,
  MXG_HF_MIXTRAL,
  MXG_HF_FAMILIES
} mxg_hf_family;

const char *mxg_hf_family_name(mxg_hf_family family); /* as in mx.hf: "qwen3_moe" */

/* Counts of elements; 0: the model has none. Each at most 2^31 and, where a family needs it, not 0. */
typedef struct mxg_hf_config {
  mxg_hf_family family;
  char name[64]; /* fit for mx.model: from _name_or_path, else the family */
  uint64_t layers, hidden, ffn, vocabulary;
  uint64_t heads, groups, head_dim;                /* not deepseek_v3 */
  uint64_t experts, expert_ffn, shared_ffn, dense; /* dense: the first layers, without experts */
  uint64_t q_rank, kv_rank, nope, rope, value;     /* deepseek_v3 */
  uint64_t extra_layers;                           /* for predicting further tokens: not in the recipe */
  bool tied, attention_bias, attention_norms;
} mxg_hf_config;

/* Reads a config.json. MXG_ERR_INPUT 230: not such a file, or a model that its family's names do not cover; 231: an
** architecture that is not known. */
mxg_status mxg_hf_config_load(mxg_hf_config *out, const char *path, mxg_error *err);

/* Puts the shapes that the headers in `folder` have in the place of those of the configuration. *differ: how many
** values changed. */
mxg_status mxg_hf_config_measure(mxg_hf_config *config, const char *folder, uint32_t *differ, mxg_error *err);

#endif
