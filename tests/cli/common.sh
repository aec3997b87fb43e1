# common.sh -- what the tests of the command share. Sourced with the path of mxgen and of the repository.
set -u
mxgen=$1
root=$2
cli=$root/tests/cli
work=$(mktemp -d "${TMPDIR:-/tmp}/mxg-cli-XXXXXX")
trap 'chmod -R u+w "$work" 2>/dev/null; rm -rf "$work"' EXIT
failures=0
unset MXGEN_TEMPLATES MXGEN_LIBCUDA MXGEN_NCCL MXGEN_CACHE MXGEN_JIT
export MXGEN_CACHE_DIR=$work/kernel-cache # never the user's
export LC_ALL=C
cd "$root"

fail() {
  echo "FAIL: $*" >&2
  failures=$((failures + 1))
}

# expect CODE ARGUMENTS...: runs mxgen; its output is in $work/out and $work/err.
expect() {
  local want=$1 got=0
  shift
  "$mxgen" "$@" >"$work/out" 2>"$work/err" || got=$?
  [ "$got" = "$want" ] && return 0
  fail "mxgen $*: exit code $got, not $want"
  head -20 "$work/err" >&2
  return 1
}

# refused CODE ARGUMENTS...: the same, and there is exactly one diagnostic, nothing on stdout.
refused() {
  expect "$@" || return 1
  [ "$(grep -c '^error\[MX[0-9]\{4\}\]: ' "$work/err")" = 1 ] || fail "mxgen ${*:2}: not one diagnostic: $(cat "$work/err")"
  [ -s "$work/out" ] && fail "mxgen ${*:2}: something on stdout"
  return 0
}

# says TEXT: the diagnostic of the last run has it.
says() { grep -qF -- "$1" "$work/err" || fail "the diagnostic does not say '$1': $(cat "$work/err")"; }
prints() { grep -qF -- "$1" "$work/out" || fail "stdout does not say '$1'"; }

# golden NAME: stdout of the last run is golden/NAME, but for line numbers of recipes.
golden() {
  sed -E 's/\.lua:[0-9]+/.lua:N/g' "$work/out" >"$work/golden"
  if [ -n "${MXG_UPDATE:-}" ]; then
    cp "$work/golden" "$cli/golden/$1"
  elif ! diff -u "$cli/golden/$1" "$work/golden" >&2; then
    fail "stdout is not golden/$1"
  fi
}

parses() { python3 -m json.tool "$work/out" >/dev/null || fail "stdout is not JSON: $1"; }

# leaves_nothing DIR: no result and nothing temporary beside its place.
leaves_nothing() {
  local name
  for name in "$1" "$1".*; do
    [ -e "$name" ] && fail "left behind: $name"
  done
  return 0
}

finish() {
  [ "$failures" = 0 ] || exit 1
  exit 0
}
