#!/usr/bin/env bash
# gather.sh -- the figures of whole schedules on this machine's GPUs: each transport beside the link's own rate in the same run, targets
# compared with the host transport's. Nothing is asserted. Five to eight minutes on two GPUs with everything.
#
#   tests/bench/gather.sh MXGEN [right | one | model | tune]...      default: right one model
#
# right  every tiny recipe over chunks and streams, two single tensors, Llama 3 8B cut to four layers; all checked
# one    a tensor of 4096 x 14336, split by rows and by columns
# model  Llama 3 8B and Qwen3 30B A3B whole, the layers of Llama alone, and Qwen3 from tensor to expert parallelism
# tune   chunk and stream sweeps of `one` and `model`, unchecked, and a trace of each in the folder $OUT (default: .)
set -u
mxgen=$1
shift
root=$(cd "$(dirname "$0")/../.." && pwd)
out=${OUT:-.}
[ $# -gt 0 ] || set -- right one model

say() {
  echo
  echo "# mxgen bench ${*#"$root/"}"
  "$mxgen" bench "$@" 2>&1 | grep -v -e '^$' -e '^median, least' -e '^earlier' -e '^the fastest' -e "^transport's"
}

echo "# $("$mxgen" --version)  $(date -u +%Y-%m-%d)"
command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
one="$root/tests/bench/recipes"
llama="$root/recipes/llama3_8b_tp2.lua"
for what in "$@"; do
  case $what in
  right)
    for recipe in tiny_dense tiny_moe; do
      for chunk in 1 4096 0; do
        for streams in 1 3; do say "$root/recipes/$recipe.lua" --repeats 100 --chunk $chunk --streams $streams; done
        say "$root/recipes/$recipe.lua" --repeats 20 --chunk $chunk --no-graph
      done
    done
    say "$one/one_row.lua" --repeats 20 --chunk 1000000
    say "$one/one_col.lua" --repeats 20 --chunk 1000000
    say "$llama" --set layers=4 --repeats 5
    ;;
  one)
    for recipe in one_row one_col; do
      say "$one/$recipe.lua" --repeats 200
      say "$one/$recipe.lua" --repeats 200 --no-graph
    done
    ;;
  model)
    say "$llama" --repeats 20
    say "$llama" --repeats 20 --no-graph --no-check
    say "$root/recipes/qwen3_30b_a3b_ep2.lua" --set layers=4 --repeats 5
    say "$root/recipes/qwen3_30b_a3b_ep2.lua" --repeats 10 --no-check
    say "$one/llama3_8b_body.lua" --repeats 20 --no-check
    say "$root/recipes/qwen3_30b_a3b_tp2_to_ep2.lua" --repeats 10 --no-check
    ;;
  tune)
    for recipe in one_row one_col; do
      for streams in 1 2 3; do
        for mib in 3 6 12 32; do
          say "$one/$recipe.lua" --no-check --repeats 200 --transport copy --streams $streams --chunk $((mib << 20))
        done
      done
      say "$one/$recipe.lua" --no-check --repeats 5 --transport copy --trace "$out/$recipe.json"
    done
    for streams in 1 2 3 4; do
      for mib in 8 16 32 64 128; do
        say "$llama" --no-check --repeats 10 --transport copy --streams $streams --chunk $((mib << 20))
      done
    done
    say "$llama" --no-check --repeats 5 --transport copy --trace "$out/llama.json"
    ;;
  *)
    echo "gather.sh: no '$what'" >&2
    exit 2
    ;;
  esac
done
