# test_processes.sh -- `mxgen run` in several processes, and its transports, on a machine without a GPU.
source "$(dirname "$0")/common.sh"
unset RANK WORLD_SIZE LOCAL_RANK MASTER_ADDR MASTER_PORT MXGEN_PORT MXGEN_LISTENER MXGEN_CHILD
export CUDA_VISIBLE_DEVICES= # also where there is one

recipe=recipes/tiny_moe.lua
expect 0 shard $recipe --random 5 --out "$work/src"
expect 0 run $recipe -w "$work/src" -o "$work/one" --all-ranks --checksums
grep -v '^time\|^read\|^wrote' "$work/out" >"$work/one.out"

# The same files and the same report from processes that the command starts.
for n in 1 2 3; do
  expect 0 run $recipe -w "$work/src" -o "$work/n$n" --all-ranks --checksums --processes $n
  diff -r "$work/one" "$work/n$n" >&2 || fail "$n processes wrote other files"
  grep -v '^time\|^read\|^wrote' "$work/out" | diff "$work/one.out" - >&2 || fail "$n processes report something else"
done
expect 0 run $recipe -w "$work/src" -o "$work/json" --all-ranks --processes 2 --json && parses "run --processes"

# And from processes that a launcher starts: only the first of them speaks.
# Below the ports that systems give to connections, and with nobody there: the job's is the next one, or `port` + 7.
while port=$((10000 + RANDOM % 20000)); (: </dev/tcp/127.0.0.1/$((port + 1)) || : </dev/tcp/127.0.0.1/$((port + 7))) 2>/dev/null; do :; done
pids=()
for r in 1 0; do
  RANK=$r WORLD_SIZE=2 LOCAL_RANK=$r MASTER_ADDR=127.0.0.1 MASTER_PORT=$port "$mxgen" run $recipe -w "$work/src" \
    -o "$work/launched" --all-ranks >"$work/launched.$r" 2>"$work/launched.err.$r" &
  pids+=($!)
done
wait "${pids[0]}" || fail "process 1 of a launcher: $(cat "$work/launched.err.1")"
wait "${pids[1]}" || fail "process 0 of a launcher: $(cat "$work/launched.err.0")"
diff -r "$work/one" "$work/launched" >&2 || fail "the launcher's processes wrote other files"
grep -q '^wrote' "$work/launched.0" || fail "process 0 says nothing"
[ -s "$work/launched.1" ] && fail "process 1 speaks"

# A process of another job is sent away and told why; the others go on without it.
RANK=0 WORLD_SIZE=2 MXGEN_PORT=$((port + 7)) "$mxgen" run $recipe -w "$work/src" -o "$work/x" >/dev/null 2>&1 &
RANK=3 WORLD_SIZE=4 MXGEN_PORT=$((port + 7)) refused 2 run $recipe -w "$work/src" -o "$work/x" &&
  says "process 0 waits for 2 processes, this one (process 3) is of a job of 4"
kill -9 $! 2>/dev/null
wait 2>/dev/null
leaves_nothing "$work/x"

# Failures: one process answers for all, nothing is left.
expect 1 run $recipe -w "$work/none" -o "$work/x" --processes 2
says "MX0670"
says "nothing was written"
leaves_nothing "$work/x"
expect 2 run $recipe -w "$work/src" -o "$work/x" --processes 9 && says "more processes (9) than ranks"
leaves_nothing "$work/x"
refused 2 run $recipe -w "$work/src" -o "$work/x" --processes 0 && says "--processes"

# Transports.
refused 2 run $recipe -w "$work/src" -o "$work/x" --transport fast && says "none of host, copy, direct, nccl and auto"
refused 2 run $recipe -w "$work/src" -o "$work/x" --trace "$work/t" && says "--trace"
for transport in copy direct; do
  refused 3 run $recipe -w "$work/src" -o "$work/x" --transport $transport && says "MX052"
done
leaves_nothing "$work/x"
expect 0 run $recipe -w "$work/src" -o "$work/auto" --all-ranks --transport auto && prints "transport host: "
diff -r "$work/one" "$work/auto" >&2 || fail "auto wrote other files"
expect 3 bench recipes/tiny_dense.lua --processes 2 && says "MX0670"
finish
