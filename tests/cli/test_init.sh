# test_init.sh -- recipes from Hugging Face configurations: those of published models (configs/), and small ones whose
# weights are made, moved and verified.
source "$(dirname "$0")/common.sh"
configs=$cli/configs

# init_check CONFIG SOURCE TARGET: the recipe passes check, and two writes are equal.
init_check() {
  expect 0 init "$configs/$1.json" --source "$2" --target "$3" || return 1
  cp "$work/out" "$work/$1.lua"
  [ -s "$work/err" ] && fail "init $1: something on stderr"
  expect 0 init "$configs/$1.json" --source "$2" --target "$3" --out "$work/again.lua" && [ ! -s "$work/out" ] || fail "init --out"
  cmp "$work/$1.lua" "$work/again.lua" || fail "two writes differ"
  rm -f "$work/again.lua"
  awk 'length > 120 { exit 1 }' "$work/$1.lua" || fail "init $1: a line is longer than 120"
  expect 0 check "$work/$1.lua"
}
init_check llama3_8b tp=8,pp=4 tp=2
init_check llama3_8b tp=2 whole
init_check llama3_2_1b tp=4,pp=2 whole
init_check qwen3_8b tp=4 whole
init_check qwen3_30b_a3b tp=2,ep=4,etp=2 ep=8
init_check qwen3_30b_a3b tp=4,ep=8 whole
init_check glm_4_5 tp=8,ep=16,pp=4 ep=8
init_check glm_4_5_air tp=4,ep=4 whole
init_check deepseek_v3 tp=8,ep=32,pp=4 ep=64
init_check mixtral_8x7b tp=4,ep=4,etp=2 ep=2
grep -q 'm:tied("head", "embed")' "$work/llama3_2_1b.lua" || fail "tied embeddings"

# The tensors are those of the recipes written by hand.
tensors() { expect 0 "$1" --dump=m && sed -nE 's/ pad=[0-9]+//; s/^tensor +//p' "$work/out"; } # padding is the writer's choice
hand() { # OURS RECIPE
  tensors "$work/$1.lua" >"$work/ours"
  tensors "recipes/$2.lua" >"$work/hand"
  [ "$(wc -l <"$work/hand")" -gt 50 ] || fail "the tensors of $2 cannot be read"
  diff "$work/hand" "$work/ours" >&2 || fail "init $1 and recipes/$2 have other tensors"
}
hand llama3_8b llama3_8b_tp2
hand qwen3_30b_a3b qwen3_30b_a3b_tp4_ep8
hand glm_4_5_air glm_4_5_air_tp4
hand deepseek_v3 deepseek_v3_tp8_pp4_ep32_to_ep64
hand mixtral_8x7b mixtral_8x7b_ep4_tp2

# Small models of each family: made, moved, verified; then the recipe again from the weights' headers, also when the
# configuration beside them is wrong.
small='"vocab_size": 250, "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 8, "intermediate_size": 192'
few='"num_key_value_heads": 4, "head_dim": 32'
weights() { # FAMILY SOURCE TARGET REST
  local dir=$work/small/$1
  mkdir -p "$dir"
  echo "{\"model_type\": \"$1\", $small, $4}" >"$dir/config.json"
  expect 0 init "$dir/config.json" --source "$2" --target "$3" --out "$dir.lua" || return 1
  expect 0 shard "$dir.lua" --random 7 --out "$dir-source" --keep-original "$dir-original" || return 1
  expect 0 run "$dir.lua" --weights "$dir-source" --out "$dir-target"
  expect 0 verify "$dir.lua" --weights "$dir-target" --original "$dir-original"
  cp "$dir/config.json" "$dir-original/"
  expect 0 init --from-weights "$dir-original" --source "$2" --target "$3" || return 1
  diff <(tail -n +2 "$dir.lua") <(tail -n +2 "$work/out") >&2 || fail "$1: the headers give another recipe"
  [ -s "$work/err" ] && fail "$1: a warning about equal shapes"
  sed -i -E 's/"vocab_size": 250/"vocab_size": 999/; s/"hidden_size": 128/"hidden_size": 64/; s/("num_hidden_layers"): 2/\1: 3/' "$dir-original/config.json"
  expect 0 init --from-weights "$dir-original" --source "$2" --target "$3" && says "3 value(s)"
  diff <(tail -n +2 "$dir.lua") <(tail -n +2 "$work/out") >&2 || fail "$1: a wrong configuration is believed"
}
moe='"moe_intermediate_size": 64'
latent='"q_lora_rank": 96, "kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32'
weights llama tp=2 whole "$few"
weights qwen3 tp=2,pp=2 tp=4 "$few, \"tie_word_embeddings\": true"
weights qwen3_moe tp=2,ep=4 whole "$few, $moe, \"num_experts\": 4"
weights glm4_moe tp=2,ep=2 ep=4 "$few, $moe, \"n_routed_experts\": 4, \"n_shared_experts\": 1, \"first_k_dense_replace\": 1, \"attention_bias\": true, \"use_qk_norm\": true"
weights deepseek_v3 tp=2,ep=2 whole "$latent, $moe, \"n_routed_experts\": 4, \"n_shared_experts\": 2, \"first_k_dense_replace\": 1"
weights mixtral tp=2,ep=2,etp=2 whole "$few, \"num_local_experts\": 4"
rm "$work/small/llama-original/"*.safetensors*
refused 1 init --from-weights "$work/small/llama-original"

# What is refused, and how.
config() { echo "{$1}" >"$work/c.json"; }
config '"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"'
refused 1 init "$work/c.json" && says "GPT2LMHeadModel"
for family in llama qwen3 qwen3_moe glm4_moe deepseek_v3 mixtral; do says "$family"; done
config '"vocab_size": 3' && refused 1 init "$work/c.json" && says "names no architecture"
config '"model_type": "llama", "hidden_size": 128' && refused 1 init "$work/c.json" && says "no num_hidden_layers"
config "\"model_type\": \"llama\", $small, \"attention_bias\": true" && refused 1 init "$work/c.json" && says "attention_bias"
config "\"model_type\": \"llama\", $small, \"head_dim\": 0" && refused 1 init "$work/c.json" && says "no attention"
config "\"model_type\": \"llama\", $small, \"vocab_size\": 3" && refused 1 init "$work/c.json" && says "twice"
wrong_kind() { # FAMILY MEMBER TEXT: a value of another kind is not taken for one that is absent
  config "\"model_type\": \"$1\", $small, $2" && refused 1 init "$work/c.json" && says "$3" && says "c.json:1:"
}
wrong_kind llama '"head_dim": "128"' "head_dim is not a whole number"
wrong_kind llama '"num_key_value_heads": -4' "num_key_value_heads is not a whole number"
wrong_kind llama '"tie_word_embeddings": "true"' "tie_word_embeddings is not true or false"
wrong_kind glm4_moe '"use_qk_norm": 1' "use_qk_norm is not true or false"
wrong_kind deepseek_v3 '"first_k_dense_replace": "3"' "first_k_dense_replace is not a whole number"
wrong_kind qwen3_moe '"mlp_only_layers": 3' "mlp_only_layers is not a list"
config '"model_type": "llama", "num_hidden_layers": 0' && refused 1 init "$work/c.json" && says "num_hidden_layers is 0"
config '"model_type": "llama", "model_type": "qwen3"' && refused 1 init "$work/c.json" && says "twice"
mkfifo "$work/fifo" && refused 1 init "$work/fifo" && says "not a regular file"
config "\"model_type\": \"llama\", $small, \"head_dim\": 99999999999" && refused 1 init "$work/c.json" && says "too large"
config "\"model_type\": \"deepseek_v3\", $small, \"q_lora_rank\": null" && refused 1 init "$work/c.json" && says "q_lora_rank"
config "\"model_type\": \"qwen3_moe\", $small, $moe, \"num_experts\": 4, \"mlp_only_layers\": [1]" && refused 1 init "$work/c.json" && says "mlp_only_layers"
echo '{"model_type": "llama", ' >"$work/c.json" && refused 1 init "$work/c.json" && says "c.json:"
refused 1 init "$work/none.json"
refused 1 init "$work" && says "it is a folder" && says "--from-weights $work"
refused 1 init --from-weights "$work" && says "beside the weights"
refused 1 init --from-weights "$work/nowhere" && says "the folder of weights: No such file" && says "--> $work/nowhere" &&
  says "a folder that holds config.json"
refused 1 init --from-weights "$work/c.json" && says "it is a file"
refused 2 init && says "--from-weights"
refused 2 init "$configs/llama3_8b.json" --from-weights "$work"
for side in tp tp= tp=0 tp=4,tp=4 tq=4 tp=4x tp=4, tp=-1 tp=99999999999999999999 tp=3,world=4 tp=4,ep=8,etp=1,dp=1; do
  refused 2 init "$configs/qwen3_30b_a3b.json" --source "$side" && says "--source"
done
refused 1 init "$configs/llama3_8b.json" --source tp=16 && says "8 query groups"
refused 1 init "$configs/llama3_8b.json" --source pp=64 && says "more than the model's 32 layers"
refused 1 init "$configs/llama3_8b.json" --target ep=2 && says "has none"
refused 1 init "$configs/qwen3_30b_a3b.json" --source ep=3 && says "128 experts"
echo keep >"$work/mine.lua"
refused 1 init "$configs/llama3_8b.json" --out "$work/mine.lua" && says "there already"
[ "$(cat "$work/mine.lua")" = keep ] || fail "an edited recipe was replaced"
finish
