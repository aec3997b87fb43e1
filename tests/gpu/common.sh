# common.sh -- sourced by the scripts of this folder: a folder for the work, a kernel cache that is never the user's, and what
# the command must do. Wants $mxgen.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export MXGEN_CACHE_DIR=${MXG_TEST_CACHE:-$work/kernel-cache}
failed=0

# expect CODE WORDS ARGUMENTS...: what mxgen does with the arguments.
expect() {
  local code=$1 words=$2
  shift 2
  local begin=$SECONDS
  timeout 120 "$mxgen" "$@" >"$work/out" 2>"$work/err"
  local got=$?
  if [ "$got" != "$code" ] || ! grep -q -- "$words" "$work/out" "$work/err"; then
    echo "FAILED (exit $got, not $code; or not: $words): mxgen $*"
    cat "$work/out" "$work/err"
    failed=1
  fi
  echo "$((SECONDS - begin)) s: mxgen $*"
}
