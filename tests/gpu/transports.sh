#!/usr/bin/env bash
# transports.sh -- every transport with a device against the host's, bit for bit, on this machine's GPUs: `mxgen bench` checks what
# poisoned targets hold after single runs and after timed ones. Exit 77 where there is no GPU.
#
#   tests/gpu/transports.sh MXGEN SOURCE_FOLDER [small | models | nccl | late]...      default: all of them
#
# small   tiny recipes over chunks, streams and ways to start, single tensors, all layouts of scales
# models  all shipped recipes but the one of 192 ranks, cut to two layers; ranks share GPUs where there are too few
# nccl    with GPUs for all ranks: captured and not, in rounds of any size, and over sockets alone
# late    a deadline that no run of this size keeps: one error with rank and step, the recorder's lines, and no hang
set -u
mxgen=$1 root=$2
shift 2
[ $# -gt 0 ] || set -- small models nccl late
source "$(dirname "$0")/common.sh"
one="$root/tests/bench/recipes/one" llama="$root/recipes/llama3_8b_tp2.lua"

"$mxgen" bench "$root/recipes/tiny_dense.lua" --repeats 1 >"$work/out" 2>"$work/err"
if [ $? = 3 ]; then
  cat "$work/err"
  exit 77
fi

small() {
  for recipe in tiny_dense tiny_moe; do
    for chunk in 1 3000 65536 0; do
      for streams in 1 2 5; do
        expect 0 "floor" bench "$root/recipes/$recipe.lua" --repeats 100 --chunk $chunk --streams $streams
      done
      expect 0 "floor" bench "$root/recipes/$recipe.lua" --repeats 10 --chunk $chunk --no-graph
    done
  done
  expect 0 "floor" bench "${one}_row.lua" --repeats 10
  expect 0 "floor" bench "${one}_col.lua" --repeats 10 --chunk 1000000
  expect 0 "floor" bench "$root/tests/unit/moves.lua" --repeats 20
  expect 0 "floor" bench "$root/tests/unit/moves.lua" --repeats 20 --chunk 1
}

models() {
  for recipe in llama3_8b_tp2 llama3_8b_tp8 llama3_8b_reconcile_tp2 mixtral_8x7b_ep4_tp2 glm_4_5_air_tp4 qwen3_30b_a3b_ep2 \
    qwen3_30b_a3b_fp8_block qwen3_30b_a3b_tp2_to_ep2 qwen3_30b_a3b_tp4_ep8; do
    expect 0 "floor" bench "$root/recipes/$recipe.lua" --set layers=2 --repeats 100
  done
  expect 0 "floor" bench "$root/tests/bench/recipes/llama3_8b_body.lua" --set layers=3 --set keep=true --repeats 100
}

nccl() {
  if ! "$mxgen" bench "${one}_row.lua" --transport nccl --repeats 1 >"$work/out" 2>"$work/err"; then
    grep -q "MX0524\|MX0525\|MX0653" "$work/err" || { echo "FAILED: --transport nccl"; cat "$work/err"; failed=1; }
    return
  fi
  for recipe in "${one}_row.lua" "${one}_col.lua"; do
    expect 0 "all-gather" bench "$recipe" --transport nccl --repeats 20
    expect 0 "all-gather" bench "$recipe" --transport nccl --repeats 10 --chunk 3000000 --no-graph
  done
  for chunk in 0 1000000 60000000; do
    expect 0 "all-gather" bench "$llama" --set layers=3 --transport nccl --repeats 5 --chunk $chunk
  done
  export NCCL_P2P_DISABLE=1 NCCL_SHM_DISABLE=1 NCCL_SOCKET_IFNAME=lo
  expect 0 "all-gather" bench "${one}_col.lua" --transport nccl --repeats 2
  expect 0 "all-gather" bench "$llama" --set layers=3 --transport nccl --repeats 2 --timeout 60000
  unset NCCL_P2P_DISABLE NCCL_SHM_DISABLE NCCL_SOCKET_IFNAME
  expect 6 "step" bench "$llama" --set layers=8 --no-check --repeats 400 --timeout 40 --transport nccl
}

late() { expect 6 "step" bench "$llama" --set layers=8 --no-check --repeats 400 --timeout 1; }

for part in "$@"; do
  case $part in
  small | models | nccl | late) $part ;;
  *) echo "transports.sh: no '$part'" >&2; exit 2 ;;
  esac
done
exit $failed
