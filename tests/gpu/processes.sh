#!/usr/bin/env bash
# processes.sh -- one process a GPU: schedules measured and run on files, compared with the host's bytes; processes that are killed
# and stopped in the middle. Exit 77 with fewer GPUs than two.
#
#   tests/gpu/processes.sh MXGEN LOST SOURCE_FOLDER [TURNS]
set -u
mxgen=$1 lost=$2 root=$3 turns=${4:-6}
source "$(dirname "$0")/common.sh"

"$mxgen" bench "$root/recipes/tiny_dense.lua" --repeats 1 >"$work/out" 2>"$work/err"
if [ $? = 3 ] || grep -q 'ranks on 1 of' "$work/out"; then
  cat "$work/out" "$work/err"
  exit 77
fi

# Measured, and compared byte for byte by the command itself.
for recipe in recipes/tiny_dense tests/bench/recipes/one_row tests/bench/recipes/one_col; do
  expect 0 "floor" bench "$root/$recipe.lua" --repeats 20 --processes 2
done
expect 0 "floor" bench "$root/recipes/tiny_dense.lua" --repeats 20 --processes 2 --no-graph
expect 0 "floor" bench "$root/recipes/llama3_8b_tp2.lua" --set layers=3 --repeats 3 --processes 2

# Files: one process with all ranks, and one process a rank.
for recipe in tiny_dense tiny_moe; do
  lua=$root/recipes/$recipe.lua src=$work/$recipe.src
  expect 0 "wrote" shard "$lua" --random 3 --out "$src"
  expect 0 "wrote" run "$lua" --weights "$src" --out "$work/$recipe.host" --all-ranks
  for transport in copy direct auto; do
    for processes in 0 2; do
      out=$work/$recipe.$transport.$processes
      option=() && [ $processes != 0 ] && option=(--processes $processes --trace "$work/trace")
      expect 0 "transport" run "$lua" --weights "$src" --out "$out" --all-ranks --transport $transport "${option[@]}"
      diff -r "$work/$recipe.host" "$out" || failed=1
    done
    python3 -c "import json, sys; t = json.load(open(sys.argv[1])); assert {e['pid'] for e in t} >= {0, 1}" "$work/trace" ||
      { echo "FAILED: the trace of $transport"; failed=1; }
  done
done
# A deadline that no run keeps.
expect 6 "did not finish" bench "$root/recipes/llama3_8b_tp2.lua" --set layers=8 --no-check --repeats 400 --timeout 700 \
  --processes 2

# killed PROCESSES ARGUMENTS...: one of the processes of a bench that would run for long is killed: the command says so, and ends.
# Large programs fill the driver's queues sooner than small ones, and a full queue would hold the host.
killed() {
  local processes=$1
  shift
  timeout 40 "$mxgen" bench "$@" --no-check --repeats 100000 --processes "$processes" --timeout 20000 >"$work/out" 2>"$work/err" &
  local parent=$!
  sleep 6
  kill -9 "$(pgrep -P "$(pgrep -P $parent)" | tail -1)"
  local begin=$SECONDS
  wait $parent
  [ $? = 6 ] && grep -q 'was killed by signal 9' "$work/err" && grep -q 'is lost' "$work/err" && [ $((SECONDS - begin)) -lt 5 ] ||
    { echo "FAILED: a killed process, $((SECONDS - begin)) s: $*"; cat "$work/err"; failed=1; }
}
killed 2 "$root/recipes/llama3_8b_tp2.lua" --set layers=3
for transport in copy direct; do
  killed 2 "$root/tests/bench/recipes/llama3_8b_body.lua" --transport $transport
  [ "$(nvidia-smi -L 2>/dev/null | grep -c ^GPU)" -ge 4 ] &&
    killed 4 "$root/tests/bench/recipes/llama3_8b_body.lua" --set tp=4 --transport $transport
done

# A launcher whose processes see one GPU each.
for r in 0 1; do
  RANK=$r WORLD_SIZE=2 LOCAL_RANK=0 MASTER_ADDR=localhost MASTER_PORT=29500 CUDA_VISIBLE_DEVICES=$r \
    timeout 60 "$mxgen" bench "$root/recipes/tiny_dense.lua" --repeats 10 >"$work/out.$r" 2>"$work/err.$r" &
done
wait
grep -q floor "$work/out.0" || { echo "FAILED: one GPU a process:"; cat "$work/err.0" "$work/err.1"; failed=1; }

# Loss: a small schedule, which is mostly meetings, and one that is mostly under way.
arch=(${MXGEN_TEST_ARCH:+--arch "$MXGEN_TEST_ARCH"})
expect 0 "wrote" "$root/recipes/tiny_dense.lua" --out "$work/small" "${arch[@]}"
expect 0 "wrote" "$root/tests/bench/recipes/llama3_8b_body.lua" --set layers=2 --out "$work/large" "${arch[@]}"
for bundle in "$work"/small/*.mxb "$work"/large/*.mxb; do
  for transport in copy direct; do
    timeout 300 "$lost" "$bundle" $transport "$turns" || { echo "FAILED: lost $bundle $transport"; failed=1; }
  done
done
# NCCL takes one rank a GPU: the large one only.
if "$mxgen" bench "$root/tests/bench/recipes/one_row.lua" --transport nccl --repeats 1 --processes 2 >"$work/out" 2>"$work/err"; then
  for bundle in "$work"/large/*.mxb; do
    timeout 300 "$lost" "$bundle" nccl "$turns" || { echo "FAILED: lost $bundle nccl"; failed=1; }
  done
else
  grep -q "MX0524\|MX0525" "$work/err" || { echo "FAILED: --transport nccl --processes 2"; cat "$work/err"; failed=1; }
fi
exit $failed
