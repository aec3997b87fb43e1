/* hf_config.c -- see hf_config.h: config.json. The headers are hf_measure.c's. */
#include "hf_config.h"

#include "error.h"
#include "json.h"
#include "memory.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { most_bytes = 1 << 20, most_values = 64 };
static const uint64_t most = (uint64_t)1 << 31;

static const struct {
  const char *name, *architecture;
} families[] = {{"llama", "LlamaForCausalLM"},
                {"qwen3", "Qwen3ForCausalLM"},
                {"qwen3_moe", "Qwen3MoeForCausalLM"},
                {"glm4_moe", "Glm4MoeForCausalLM"},
                {"deepseek_v3", "DeepseekV3ForCausalLM"},
                {"mixtral", "MixtralForCausalLM"}};

const char *mxg_hf_family_name(mxg_hf_family family) { return families[family].name; }

/* The values of the file that mean something, by key. */
enum { is_number = 1, is_truth = 2, is_list = 4, is_other = 8 };

typedef struct value {
  const char *key;
  uint64_t number;
  int line, column;
  unsigned kind;
  bool there, truth; /* a null is not there */
} value;

typedef struct reader {
  mxg_json json;
  const char *path, *model_type, *architecture, *name;
  value values[most_values];
  unsigned count;
} reader;

static const struct {
  const char *key;
  unsigned kinds;
} known[] = {{"hidden_size", is_number},
             {"intermediate_size", is_number},
             {"num_hidden_layers", is_number},
             {"num_attention_heads", is_number},
             {"num_key_value_heads", is_number},
             {"head_dim", is_number},
             {"vocab_size", is_number},
             {"tie_word_embeddings", is_truth},
             {"attention_bias", is_truth},
             {"mlp_bias", is_truth},
             {"moe_intermediate_size", is_number},
             {"num_experts", is_number},
             {"n_routed_experts", is_number},
             {"num_local_experts", is_number},
             {"n_shared_experts", is_number},
             {"first_k_dense_replace", is_number},
             {"decoder_sparse_step", is_number},
             {"mlp_only_layers", is_list},
             {"moe_layer_freq", is_number | is_list},
             {"use_qk_norm", is_truth},
             {"q_lora_rank", is_number},
             {"kv_lora_rank", is_number},
             {"qk_nope_head_dim", is_number},
             {"qk_rope_head_dim", is_number},
             {"v_head_dim", is_number},
             {"num_nextn_predict_layers", is_number}};

static unsigned kinds_of(const char *key) {
  for (unsigned i = 0; i < sizeof known / sizeof *known; i++)
    if (!strcmp(known[i].key, key)) return known[i].kinds;
  return 0;
}

static mxg_status refuse(const reader *in, mxg_error *err) {
  int line, column;
  mxg_json_place(&in->json, &line, &column);
  mxg_fail(err, MXG_ERR_INPUT, 230, "not a model's configuration: %s", in->json.why ? in->json.why : "malformed");
  mxg_error_place(err, in->path, line, column, 0);
  return MXG_ERR_INPUT;
}

static bool read_value(reader *in, const char *key) {
  for (unsigned i = 0; i < in->count; i++)
    if (!strcmp(in->values[i].key, key)) {
      in->json.why = "a key comes twice";
      return false;
    }
  value *v = &in->values[in->count++];
  *v = (value){.key = key};
  char c = mxg_json_peek(&in->json);
  mxg_json_place(&in->json, &v->line, &v->column);
  if (mxg_json_null(&in->json)) return true;
  v->there = true;
  if (c >= '0' && c <= '9') {
    v->kind = is_number;
    if (!mxg_json_u64(&in->json, &v->number)) return false;
    if (v->number <= most) return true;
    in->json.why = "a number is too large";
    return false;
  }
  v->kind = c == 't' || c == 'f' ? is_truth : c == '[' ? is_list : is_other;
  v->truth = c == 't';
  const char *begin = in->json.at;
  if (!mxg_json_skip(&in->json)) return false;
  if (c == '[') /* a list is true when something is in it */
    for (; begin < in->json.at; begin++) v->truth = v->truth || isdigit((unsigned char)*begin);
  return true;
}

static bool read_member(reader *in) {
  const char *key;
  if (!mxg_json_key(&in->json, &key)) return false;
  char c = mxg_json_peek(&in->json);
  if (!strcmp(key, "model_type") && in->model_type) {
    in->json.why = "a key comes twice";
    return false;
  }
  if (!strcmp(key, "model_type") && c == '"') return mxg_json_string(&in->json, &in->model_type);
  if (!strcmp(key, "_name_or_path") && c == '"') return mxg_json_string(&in->json, &in->name);
  if (!strcmp(key, "architectures") && c == '[') {
    bool first = true, more;
    if (!mxg_json_expect(&in->json, '[')) return false;
    for (unsigned i = 0;; i++) {
      if (!mxg_json_next(&in->json, &first, ']', &more)) return false;
      if (!more) return true;
      if (i || mxg_json_peek(&in->json) != '"') {
        if (!mxg_json_skip(&in->json)) return false;
      } else if (!mxg_json_string(&in->json, &in->architecture)) {
        return false;
      }
    }
  }
  return kinds_of(key) ? read_value(in, key) : mxg_json_skip(&in->json);
}

static bool read_object(reader *in) {
  bool first = true, more = true;
  if (!mxg_json_expect(&in->json, '{')) return false;
  while (mxg_json_next(&in->json, &first, '}', &more)) {
    if (!more) return mxg_json_end(&in->json);
    if (!read_member(in)) return false;
  }
  return false;
}

/* ---- from values to the model ---- */

static const value *find(const reader *in, const char *key) {
  for (unsigned i = 0; i < in->count; i++)
    if (!strcmp(in->values[i].key, key) && in->values[i].there) return &in->values[i];
  return NULL;
}

static uint64_t number(const reader *in, const char *key, uint64_t otherwise) {
  const value *v = find(in, key);
  return v ? v->number : otherwise;
}

static bool truth(const reader *in, const char *key) {
  const value *v = find(in, key);
  return v && v->truth;
}

static mxg_status need(uint64_t *out, const reader *in, const char *key, mxg_error *err) {
  const value *v = find(in, key);
  *out = v ? v->number : 0;
  if (*out) return MXG_OK;
  mxg_fail(err, MXG_ERR_INPUT, 230, v ? "%s is 0" : "the configuration has no %s", key);
  mxg_error_place(err, in->path, v ? v->line : 0, v ? v->column : 0, 0);
  return MXG_ERR_INPUT;
}

/* A value of another kind would be taken for one that is absent. */
static mxg_status check_kinds(const reader *in, mxg_error *err) {
  for (unsigned i = 0; i < in->count; i++) {
    const value *v = &in->values[i];
    unsigned kinds = kinds_of(v->key);
    if (!v->there || (v->kind & kinds)) continue;
    mxg_fail(err, MXG_ERR_INPUT, 230, "%s is not %s", v->key,
             kinds & is_number  ? "a whole number"
             : kinds & is_truth ? "true or false"
                                : "a list");
    mxg_error_place(err, in->path, v->line, v->column, 0);
    return MXG_ERR_INPUT;
  }
  return MXG_OK;
}

static mxg_status not_covered(const reader *in, const mxg_hf_config *config, const char *what, mxg_error *err) {
  mxg_fail(err, MXG_ERR_INPUT, 230, "%s: a model of family %s with it has tensors that mx.hf.%s does not name", what,
           families[config->family].name, families[config->family].name);
  mxg_error_place(err, in->path, 0, 0, 0);
  mxg_error_help(err, "write the recipe by hand, with mx.names");
  return MXG_ERR_INPUT;
}

static mxg_status choose_family(mxg_hf_config *config, const reader *in, mxg_error *err) {
  for (unsigned i = 0; i < MXG_HF_FAMILIES; i++)
    if (in->model_type && !strcmp(in->model_type, families[i].name)) {
      config->family = (mxg_hf_family)i;
      return MXG_OK;
    }
  for (unsigned i = 0; i < MXG_HF_FAMILIES; i++)
    if (in->architecture && !strcmp(in->architecture, families[i].architecture)) {
      config->family = (mxg_hf_family)i;
      return MXG_OK;
    }
  const char *given = in->architecture ? in->architecture : in->model_type;
  if (given)
    mxg_fail(err, MXG_ERR_INPUT, 231, "'%.100s' is not an architecture that mxgen init knows", given);
  else
    mxg_fail(err, MXG_ERR_INPUT, 231,
             "the configuration names no architecture: model_type and architectures are missing");
  mxg_error_place(err, in->path, 0, 0, 0);
  char list[256] = "";
  for (unsigned i = 0; i < MXG_HF_FAMILIES; i++) {
    size_t used = strlen(list);
    snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", families[i].name);
  }
  mxg_error_help(err, "these are known: %s; for others write the recipe by hand (mxgen help recipe)", list);
  return MXG_ERR_INPUT;
}

/* "Qwen/Qwen3-30B-A3B" -> "qwen3-30b-a3b"; anything unfit, and a path of somebody's disk, gives the family. */
static void choose_name(mxg_hf_config *config, const char *given) {
  const char *slash = given ? strrchr(given, '/') : NULL, *last = slash ? slash + 1 : given ? given : "";
  size_t n = strlen(last);
  bool good = n > 0 && n < sizeof config->name && isalpha((unsigned char)*last) && given[0] != '/' && given[0] != '.';
  for (size_t i = 0; good && i < n; i++) {
    unsigned char c = (unsigned char)last[i];
    config->name[i] = (char)(c == '.' ? '_' : tolower(c));
    good = isalnum(c) || c == '-' || c == '_' || c == '.';
  }
  if (good)
    config->name[n] = 0;
  else
    snprintf(config->name, sizeof config->name, "%s", families[config->family].name);
}

static mxg_status read_attention(mxg_hf_config *c, const reader *in, mxg_error *err) {
  MXG_TRY(need(&c->heads, in, "num_attention_heads", err));
  if (c->family == MXG_HF_DEEPSEEK_V3) {
    if (!find(in, "q_lora_rank")) return not_covered(in, c, "q_lora_rank null", err);
    MXG_TRY(need(&c->q_rank, in, "q_lora_rank", err));
    MXG_TRY(need(&c->kv_rank, in, "kv_lora_rank", err));
    MXG_TRY(need(&c->nope, in, "qk_nope_head_dim", err));
    MXG_TRY(need(&c->rope, in, "qk_rope_head_dim", err));
    return need(&c->value, in, "v_head_dim", err);
  }
  c->groups = number(in, "num_key_value_heads", c->heads);
  c->head_dim = number(in, "head_dim", c->hidden / c->heads);
  if (!c->groups || c->heads % c->groups || !c->head_dim) {
    mxg_fail(err, MXG_ERR_INPUT, 230, "%llu query heads of %llu rows in %llu groups are no attention",
             (unsigned long long)c->heads, (unsigned long long)c->head_dim, (unsigned long long)c->groups);
    mxg_error_place(err, in->path, 0, 0, 0);
    return MXG_ERR_INPUT;
  }
  c->attention_norms = c->family == MXG_HF_QWEN3 || c->family == MXG_HF_QWEN3_MOE ||
                       (c->family == MXG_HF_GLM4_MOE && truth(in, "use_qk_norm"));
  return MXG_OK;
}

static mxg_status read_experts(mxg_hf_config *c, const reader *in, mxg_error *err) {
  bool shared = c->family == MXG_HF_GLM4_MOE || c->family == MXG_HF_DEEPSEEK_V3;
  if (c->family == MXG_HF_MIXTRAL) {
    MXG_TRY(need(&c->experts, in, "num_local_experts", err));
    c->expert_ffn = c->ffn;
    return MXG_OK;
  }
  MXG_TRY(need(&c->experts, in, shared ? "n_routed_experts" : "num_experts", err));
  MXG_TRY(need(&c->expert_ffn, in, "moe_intermediate_size", err));
  if (number(in, "decoder_sparse_step", 1) != 1) return not_covered(in, c, "decoder_sparse_step", err);
  if (number(in, "moe_layer_freq", 1) != 1) return not_covered(in, c, "moe_layer_freq", err);
  const value *only = find(in, "mlp_only_layers");
  if (only && only->truth) return not_covered(in, c, "mlp_only_layers", err);
  if (!shared) return MXG_OK;
  c->shared_ffn = number(in, "n_shared_experts", 0) * c->expert_ffn;
  c->dense = number(in, "first_k_dense_replace", 0);
  if (!c->shared_ffn) return not_covered(in, c, "no shared experts", err);
  if (c->dense >= c->layers) return not_covered(in, c, "first_k_dense_replace: no layer with experts", err);
  return MXG_OK;
}

static mxg_status make_config(mxg_hf_config *c, const reader *in, mxg_error *err) {
  MXG_TRY(choose_family(c, in, err));
  MXG_TRY(check_kinds(in, err));
  choose_name(c, in->name);
  MXG_TRY(need(&c->layers, in, "num_hidden_layers", err));
  MXG_TRY(need(&c->hidden, in, "hidden_size", err));
  MXG_TRY(need(&c->vocabulary, in, "vocab_size", err));
  if (c->family != MXG_HF_QWEN3_MOE || find(in, "intermediate_size"))
    MXG_TRY(need(&c->ffn, in, "intermediate_size", err));
  MXG_TRY(read_attention(c, in, err));
  if (c->family >= MXG_HF_QWEN3_MOE) MXG_TRY(read_experts(c, in, err));
  if (!c->experts) c->dense = c->layers;
  c->tied = truth(in, "tie_word_embeddings");
  c->attention_bias = truth(in, "attention_bias");
  c->extra_layers = number(in, "num_nextn_predict_layers", 0);
  if (c->attention_bias && c->family != MXG_HF_GLM4_MOE) return not_covered(in, c, "attention_bias", err);
  if (truth(in, "mlp_bias")) return not_covered(in, c, "mlp_bias", err);
  return MXG_OK;
}

static mxg_status read_file(char **out, size_t *count, const char *path, mxg_error *err) {
  struct stat info;
  bool there = stat(path, &info) == 0;
  FILE *in = there && S_ISREG(info.st_mode) ? fopen(path, "rb") : NULL;
  if (there && S_ISDIR(info.st_mode)) {
    mxg_fail(err, MXG_ERR_IO, 910, "cannot read the configuration: it is a folder");
    mxg_error_place(err, path, 0, 0, 0);
    mxg_error_help(err, "name the config.json in it, or --from-weights %.400s", path);
    return MXG_ERR_IO;
  }
  if (!in || info.st_size > most_bytes) {
    int native = in ? EFBIG : errno ? errno : EINVAL;
    if (in) fclose(in);
    mxg_fail(err, MXG_ERR_IO, 910, "cannot read the configuration: %s",
             there && !in && !S_ISREG(info.st_mode) ? "it is not a regular file" : strerror(native));
    mxg_error_place(err, path, 0, 0, 0);
    if (err) err->native = native;
    return MXG_ERR_IO;
  }
  *out = mxg_alloc(most_bytes + 1);
  *count = *out ? fread(*out, 1, most_bytes, in) : 0;
  fclose(in);
  return *out ? MXG_OK : mxg_fail_nomem(err);
}

mxg_status mxg_hf_config_load(mxg_hf_config *out, const char *path, mxg_error *err) {
  memset(out, 0, sizeof *out);
  char *bytes = NULL;
  size_t count;
  errno = 0;
  MXG_TRY(read_file(&bytes, &count, path, err));
  reader in = {.path = path};
  mxg_json_begin(&in.json, bytes, count);
  mxg_status status = read_object(&in) ? make_config(out, &in, err) : refuse(&in, err);
  mxg_free(bytes);
  return status;
}
