# test_recipe.sh -- check, plan, explain, generate and show on the tiny recipes.
source "$(dirname "$0")/common.sh"

for recipe in tiny_dense tiny_moe; do
  expect 0 check recipes/$recipe.lua && golden check_$recipe
  expect 0 check recipes/$recipe.lua --json && parses "check --json"
  expect 0 plan recipes/$recipe.lua && prints "plan $recipe"
  expect 0 plan recipes/$recipe.lua --json && parses "plan --json"
  expect 0 plan recipes/$recipe.lua --full
done
expect 0 check recipes/glm_4_5_air_tp4.lua && golden check_glm_4_5_air_tp4
expect 0 check recipes/tiny_dense.lua --set layers=4 && prints "27 tensors"
expect 0 explain recipes/tiny_moe.lua layers.1.moe.experts.down && golden explain_tiny_moe
refused 1 explain recipes/tiny_moe.lua layers.1.moe.experts.dwon && says "did you mean 'layers.1.moe.experts.down'?"

# What costs as much as BF16, or more: BF16 itself, and FP32.
expect 0 explain recipes/tiny_moe.lua norm && prints "bf16 would be 1024: 1.000;"
expect 0 explain recipes/tiny_moe.lua layers.1.moe.bias && prints "bf16 would be 64: 2.000;"
sed 's/mx.rule(fp8, "layers/mx.rule(mx.fp32(), "layers/' recipes/tiny_dense.lua >"$work/wide.lua"
expect 0 plan "$work/wide.lua" && prints "wire  2129920 bytes in all, 1097728 as bf16: 1.940"

# Without NVRTC: a clear refusal that leaves nothing, and the sources alone all the same.
MXGEN_NVRTC=/nowhere refused 3 recipes/tiny_dense.lua --out "$work/none" && says "--source-only"
leaves_nothing "$work/none"
MXGEN_NVRTC=/nowhere expect 0 recipes/tiny_dense.lua --out "$work/sources" --source-only
[ "$(grep -c '^mx_' "$work/out")" = 3 ] || fail "--source-only does not show three kernels"
[ -f "$work/sources/tiny_dense.mxb" ] || fail "no bundle"
expect 0 show "$work/sources/tiny_dense.mxb" && prints "tiny_dense"
expect 0 show "$work/sources/tiny_dense.mxb" --json && parses "show --json"
expect 0 recipes/tiny_dense.lua --dump=mp && prints "tiny_dense"
expect 0 recipes/tiny_dense.lua --dump=s && prints "#define"
[ -e tiny_dense.mxgen ] && fail "a dump wrote files"

# Two generates give the same bytes; what did not change keeps its time.
expect 0 recipes/tiny_dense.lua --out "$work/again" --source-only
sed -i "s#$work/again#$work/sources#" "$work/again/tiny_dense.d"
diff -r "$work/sources" "$work/again" >&2 || fail "two generates differ"
touch -d '2001-01-01' "$work/again/plan.txt"
expect 0 recipes/tiny_dense.lua --out "$work/again" --source-only
[ "$(stat -c %Y "$work/again/plan.txt")" = "$(date -d '2001-01-01' +%s)" ] || fail "an unchanged file lost its time"
grep -q "^$work/again/tiny_dense.mxb: recipes/tiny_dense.lua$" "$work/again/tiny_dense.d" || fail "DEPFILE"

# A failure keeps the old folder; a folder of somebody else is not replaced.
sed 's/version = 1,/version = 1, nonsense = 1,/' recipes/tiny_dense.lua >"$work/broken.lua"
refused 1 "$work/broken.lua" --out "$work/again" --source-only && says "nothing was written"
diff -q "$work/again/plan.txt" "$work/sources/plan.txt" >/dev/null || fail "a failed generate changed the old folder"
mkdir "$work/mine" && echo keep >"$work/mine/thesis.tex"
refused 1 recipes/tiny_dense.lua --out "$work/mine" --source-only && says "thesis.tex"
[ "$(cat "$work/mine/thesis.tex")" = keep ] || fail "a file of the user was lost"
refused 1 recipes/tiny_dense.lua --out "$work/mine/thesis.tex" --source-only
mkdir -p "$work/cuda/kernels" && echo keep >"$work/cuda/kernels/mine.cu" # names as in an output folder, but no plan
refused 1 recipes/tiny_dense.lua --out "$work/cuda" --source-only && says "'kernels'"
[ "$(cat "$work/cuda/kernels/mine.cu")" = keep ] || fail "a folder of the user was lost"
mkdir -p "$work/made/embed" # as ninja does for a file that it waits for
expect 0 recipes/tiny_dense.lua --out "$work/made" --source-only --embed weights

# Cubins, where there is NVRTC; each kernel's folder compiles alone, where there is nvcc.
if "$mxgen" doctor | grep -q '^nvrtc *not found'; then
  echo "no NVRTC: cubins are not tested"
else
  expect 0 recipes/tiny_dense.lua --out "$work/cubins" --arch sm_90a && prints "sm_90a"
  [ "$(ls "$work"/cubins/kernels/*.sm_90a.cubin | wc -l)" = 3 ] || fail "not three cubins"
  expect 0 show "$work/cubins/tiny_dense.mxb" --json && parses "show --json" && prints '"registers": '
  expect 0 recipes/tiny_dense.lua --arch sm_90a --out "$work/cubins" --json && parses "generate --json"
  if nvcc=$(command -v nvcc); then
    folder=$(ls -d "$work"/cubins/kernels/mx_move_*/)
    (cd "$folder" && "$nvcc" -arch=sm_90a -cubin -o "$work/alone.cubin" move.cu) || fail "the folder does not compile alone"
  fi
fi
finish
