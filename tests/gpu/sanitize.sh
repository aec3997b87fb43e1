#!/usr/bin/env bash
# sanitize.sh -- compute-sanitizer's memcheck, racecheck and initcheck over every generated kernel, one run of each, and over the
# transports' small schedules, whose memory is the device's own. Exit 77 where there is no GPU or no compute-sanitizer.
#
#   tests/gpu/sanitize.sh MXGEN TESTS_FOLDER SOURCE_FOLDER     TESTS_FOLDER holds test_kernels_gpu and its like
set -u
mxgen=$1 tests=$2 root=$3
command -v compute-sanitizer >/dev/null || { echo "skipped: no compute-sanitizer"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export MXGEN_CACHE_DIR=$work/kernel-cache MXGEN_TEST_QUICK=1
"$tests/test_both_gpu" >"$work/out" 2>&1
if [ $? = 77 ]; then
  cat "$work/out"
  exit 77
fi

# In the background: the tools are slow, and none of it is timed.
check() {
  local tool=$1 name=$2 start=$SECONDS out=$work/$1.$2
  shift 2
  if timeout 200 compute-sanitizer --tool "$tool" --error-exitcode 9 "$@" >"$out" 2>&1; then
    echo "clean   $tool  $name  $((SECONDS - start)) s"
  else
    echo "FAILED  $tool  $name"
    grep -m 20 -e '=========' -e ERROR "$out"
    touch "$work/failed"
  fi
}

for name in tiny_dense tiny_moe; do
  "$mxgen" shard "$root/recipes/$name.lua" --random 3 --out "$work/$name" >/dev/null || touch "$work/failed"
done
for tool in memcheck racecheck initcheck; do
  for name in kernels both recipes; do
    check $tool $name "$tests/test_${name}_gpu" &
  done
  for name in tiny_dense tiny_moe; do
    for transport in copy direct; do
      check $tool $name.$transport "$mxgen" run "$root/recipes/$name.lua" --weights "$work/$name" \
        --out "$work/$name.$tool.$transport" --all-ranks --transport $transport &
    done
  done
done
wait
[ ! -e "$work/failed" ]
