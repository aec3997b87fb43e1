# test_places.sh -- streams and places that fail: closed and full stdout, pipes, folders that may not be written, signals.
source "$(dirname "$0")/common.sh"

stdout_fails() { # ARGUMENTS...: exit code 3 and one diagnostic
  local code=0
  "$mxgen" "$@" >&- 2>"$work/err" || code=$?
  [ "$code" = 3 ] && [ "$(wc -l <"$work/err")" = 1 ] || fail "stdout closed: $1: exit code $code: $(cat "$work/err")"
  says "standard output"
  [ -c /dev/full ] || return 0
  code=0
  "$mxgen" "$@" >/dev/full 2>"$work/err" || code=$?
  [ "$code" = 3 ] && [ "$(wc -l <"$work/err")" = 1 ] || fail "stdout full: $1: exit code $code: $(cat "$work/err")"
  says "standard output"
}
stdout_fails check recipes/tiny_dense.lua
stdout_fails recipes/tiny_dense.lua --source-only --out "$work/generated" # the files are there; nobody denies it
[ -f "$work/generated/tiny_dense.mxb" ] || fail "stdout closed: no result"
(set -o pipefail; "$mxgen" plan recipes/tiny_moe.lua --full 2>"$work/err" | head -1 >/dev/null) || fail "a pipe that closes early"
[ -s "$work/err" ] && fail "a pipe that closes early: $(cat "$work/err")"
expect 0 shard recipes/tiny_dense.lua --random 1 --out "$work/source"
"$mxgen" run recipes/tiny_dense.lua --weights "$work/source" --out "$work/target" <&- >"$work/out" 2>&- || fail "stdin and stderr closed"
expect 0 verify recipes/tiny_dense.lua --weights "$work/target" --random 1

# Nothing on stderr, and no escape sequences, where it is no terminal.
expect 0 run recipes/tiny_dense.lua --weights "$work/source" --out "$work/target"
[ -s "$work/err" ] && fail "stderr is not empty: $(cat "$work/err")"
refused 1 check recipes/no_such_recipe.lua
grep -q $'\033' "$work/err" && fail "colour where there is no terminal"

# Places.
refused 1 run recipes/tiny_dense.lua --weights "$work/source" --out "$work/source/rank-00000.safetensors"
refused 1 run recipes/tiny_dense.lua --weights "$work/source" --out /dev/null/x
refused 1 run recipes/tiny_dense.lua --weights "$work/source" --out "$work/source/rank-00000.safetensors/x"
expect 0 run recipes/tiny_dense.lua --weights "$work/source" --out "$work/a/b/c/"
expect 0 run recipes/tiny_dense.lua --weights "$work/source" --out "$work/a/../a/b/c"
mkdir "$work/closed" "$work/open" && chmod 555 "$work/closed"
if [ "$(id -u)" != 0 ]; then
  refused 3 run recipes/tiny_dense.lua --weights "$work/source" --out "$work/closed/x"
  refused 3 recipes/tiny_dense.lua --source-only --out "$work/closed/x"
elif command -v setpriv >/dev/null; then
  cp "$mxgen" "$work/mxgen" && cp recipes/tiny_dense.lua "$work/" && chmod -R a+rX "$work" 
  for place in "$work/closed/x" "$work/closed"; do
    code=0
    (cd "$work" && setpriv --reuid=65534 --regid=65534 --clear-groups "$work/mxgen" run "$work/tiny_dense.lua" --weights "$work/source" \
      --out "$place" >"$work/out" 2>"$work/err") || code=$?
    [ "$code" = 3 ] || fail "a folder that may not be written: exit code $code: $(cat "$work/err")"
    grep -q '^error\[MX0910\]' "$work/err" || fail "a folder that may not be written: $(cat "$work/err")"
  done
fi
[ -z "$(ls "$work/closed")" ] || fail "something in the closed folder"

# A signal in the middle leaves nothing. The work is made large enough that the signal comes first.
interrupt() { # SIGNAL CODE PLACE ARGUMENTS...
  local signal=$1 want=$2 place=$3 code=0 layers
  shift 3
  for layers in 64 256 1024; do
    rm -rf "$place"
    "$mxgen" "$@" --set layers=$layers --out "$place" >"$work/out" 2>"$work/err" &
    local pid=$! tries=0
    until compgen -G "$place*.tmp-*" >/dev/null || ! kill -0 $pid 2>/dev/null || [ $((tries += 1)) -gt 2000 ]; do sleep 0.002; done
    kill -"$signal" $pid 2>/dev/null
    code=0
    wait $pid || code=$?
    [ "$code" = 0 ] || break # else it was done before the signal came
  done
  [ "$code" = "$want" ] || fail "$1 interrupted by $signal: exit code $code, not $want: $(cat "$work/err")"
  leaves_nothing "$place"
}
interrupt TERM 143 "$work/cut" shard recipes/tiny_dense.lua --random 1
interrupt TERM 143 "$work/cut" recipes/tiny_dense.lua --source-only
expect 0 shard recipes/tiny_dense.lua --set layers=256 --random 1 --out "$work/many"
"$mxgen" run recipes/tiny_dense.lua --set layers=256 --weights "$work/many" --out "$work/cut" --threads 1 >/dev/null 2>&1 &
pid=$!
until compgen -G "$work/cut.tmp-*" >/dev/null || ! kill -0 $pid 2>/dev/null; do sleep 0.002; done
kill -TERM $pid 2>/dev/null
code=0
wait $pid || code=$?
[ "$code" = 0 ] || leaves_nothing "$work/cut" # 0: it was done before the signal came
[ "$code" = 0 ] || [ "$code" = 143 ] || fail "run interrupted: exit code $code"
finish
