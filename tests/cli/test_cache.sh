# test_cache.sh -- the kernel cache from the command: who compiles, what the folder holds, what `mxgen cache` does to it.
source "$(dirname "$0")/common.sh"
recipe=recipes/tiny_dense.lua
cache=$MXGEN_CACHE_DIR

expect 0 cache ls && prints "0 entries"
[ -e "$cache" ] && fail "ls made the folder"
expect 0 cache clear && prints "removed 0 files"
refused 2 cache lst && says "did you mean 'mxgen cache ls'?"
refused 2 cache
refused 2 cache ls --size 1GiB && says "trim"
refused 2 cache trim --size 1XB && says "'1XB' is not a size"
refused 2 cache trim --size 99999999999999999999 && says "is not a size"
MXGEN_CACHE=maybe refused 2 $recipe --arch sm_90a --out "$work/no" && says "off, ro, rw"
MXGEN_JIT=maybe refused 2 $recipe --arch sm_90a --out "$work/no" && says "on nor off"
MXGEN_JIT=off refused 3 $recipe --arch sm_90a --out "$work/no" && says "MX0515" && says "mx_"
MXGEN_CACHE=ro MXGEN_JIT=off refused 3 $recipe --arch sm_90a --out "$work/no"
MXGEN_LIBCUDA=/nowhere refused 3 $recipe --arch native --out "$work/no" && says "MX0521" && says "name one instead"
MXGEN_LIBCUDA=/nowhere refused 3 $recipe --arch sm_90a,native --out "$work/no"
refused 2 $recipe --arch natives --out "$work/no" && says "no architecture 'natives'"
leaves_nothing "$work/no"

"$mxgen" doctor | grep -q '^nvrtc *not found' && {
  echo "no NVRTC: the rest is skipped"
  [ "$failures" = 0 ] || exit 1
  exit 77
}

# native: the GPUs that this process sees, here those of a driver without any.
native() { MXGEN_LIBCUDA=$MXG_FAKE_CUDA FAKE_CUDA_CAPABILITY=$1 expect 0 $recipe --no-cache --out "$work/native" --arch "$2"; }
archs() { find "$1" -name '*.cubin' | sed -E 's/.*\.(sm_[0-9a-z]*)\.cubin/\1/' | sort -u | tr '\n' ' '; }
if [ -n "${MXG_FAKE_CUDA:-}" ]; then
  native 90,80 native && [ "$(archs "$work/native")" = "sm_80 sm_90a " ] || fail "native is $(archs "$work/native")"
  native 90 sm_89,native,sm_90a && [ "$(archs "$work/native")" = "sm_89 sm_90a " ] || fail "a list is $(archs "$work/native")"
  MXGEN_LIBCUDA=$MXG_FAKE_CUDA FAKE_CUDA_CAPABILITY=90 expect 0 bench code --arch native --only "dequantize, columns" && ! grep -q sm_80 "$work/out" &&
    prints sm_90a
  MXGEN_LIBCUDA=$MXG_FAKE_CUDA FAKE_CUDA_CAPABILITY=80 refused 3 bench kernels --early && says MX0832
fi

# used CACHED COMPILED: what the last generate said.
used() { prints "cubins: $1 from the cache, $2 compiled"; }
MXGEN_CACHE=off expect 0 $recipe --arch sm_90a --out "$work/off"
n=$(find "$work/off/kernels" -name '*.cubin' | wc -l)
[ "$n" -gt 0 ] || fail "no cubins"
used 0 "$n"
rm -rf "$cache"
expect 0 $recipe --arch sm_90a --no-cache --out "$work/none" && used 0 "$n"
[ -e "$cache" ] && fail "--no-cache made the folder"
MXGEN_CACHE=ro expect 0 $recipe --arch sm_90a --out "$work/ro" && used 0 "$n"
[ -e "$cache" ] && fail "a read-only cache made the folder"
expect 0 $recipe --arch sm_90a --out "$work/cold" && used 0 "$n"
[ "$(stat -c %a "$cache")" = 700 ] || fail "the folder's mode is $(stat -c %a "$cache")"
for how in "" MXGEN_CACHE=ro MXGEN_JIT=off "MXGEN_CACHE=rw MXGEN_JIT=on"; do
  rm -rf "$work/warm"
  (failures=0
   for word in $how; do export "${word?}"; done; expect 0 $recipe --arch sm_90a --out "$work/warm" && used "$n" 0
   [ "$failures" = 0 ]) || fail "warm with '$how'"
  diff -r -x "*.d" "$work/cold" "$work/warm" >&2 || fail "warm and cold differ with '$how'"
done
diff -r -x "*.d" "$work/cold" "$work/off" >&2 || fail "with and without the cache differ"
diff -r -x "*.d" "$work/cold" "$work/ro" >&2 || fail "with and without the cache differ"

# An image without NVRTC that ships a warm cache; without MXGEN_JIT=off a missing NVRTC is still said.
MXGEN_JIT=off MXGEN_NVRTC=/nowhere expect 0 $recipe --arch sm_90a --out "$work/image" && used "$n" 0
diff -r -x "*.d" "$work/cold" "$work/image" >&2 || fail "without NVRTC another bundle"
MXGEN_NVRTC=/nowhere refused 3 $recipe --arch sm_90a --out "$work/no"
MXGEN_JIT=off refused 3 $recipe --arch sm_80 --out "$work/no" && says "MX0515" && says "sm_80"

# A warm generate loads no NVRTC.
if command -v strace >/dev/null && strace -o /dev/null true 2>/dev/null; then
  ASAN_OPTIONS=detect_leaks=0 strace -f -e trace=mmap,openat -o "$work/trace" "$mxgen" $recipe --arch sm_90a --out "$work/warm" >/dev/null
  grep -E 'openat.*libnvrtc' "$work/trace" | grep -v ENOENT | grep -v O_NONBLOCK >&2 && fail "NVRTC was opened to be loaded"
else
  echo "no strace: not seen that a warm generate loads no NVRTC"
fi

# One entry damaged: that kernel alone is compiled, a warning says so, the next generate is quiet.
entry=$(find "$cache" -name '*.mxk' -size +2k | sort | head -1)
printf X | dd of="$entry" bs=1 seek=500 conv=notrunc 2>/dev/null
expect 0 cache ls && prints damaged
expect 0 $recipe --arch sm_90a --out "$work/warm" && used $((n - 1)) 1 && says "damaged kernel cache entry"
diff -r -x "*.d" "$work/cold" "$work/warm" >&2 || fail "a damaged entry was used"
expect 0 $recipe --arch sm_90a --out "$work/warm" && used "$n" 0
[ -s "$work/err" ] && fail "something on stderr: $(cat "$work/err")"

# Templates that were edited, and another architecture, are other kernels.
cp -r templates "$work/templates"
echo '// edited' >>"$work/templates/mx_abi.h"
MXGEN_TEMPLATES=$work/templates expect 0 $recipe --arch sm_90a --out "$work/warm" && used 0 "$n"
expect 0 $recipe --arch sm_80 --out "$work/warm" && used 0 "$n"

expect 0 cache ls --json && parses "cache ls --json"
python3 - "$work/out" "$n" <<'PY' || fail "cache ls --json"
import json, sys
cache = json.load(open(sys.argv[1]))
kernels = [e for e in cache["entries"] if e["arch"] != "-"]
assert len(kernels) == 3 * int(sys.argv[2]), kernels
assert all(e["state"] == "good" and e["bytes"] > 1000 and e["kernel"].startswith("mx_") for e in kernels), kernels
assert cache["bytes"] == sum(e["bytes"] for e in cache["entries"])
PY
expect 0 doctor && prints "$cache"

# trim keeps what was used last.
find "$cache" -name '*.mxk' -exec touch -a -d '2001-01-01' {} +
expect 0 $recipe --arch sm_90a --out "$work/warm" && used "$n" 0
kept=$(find "$cache" -name '*.mxk' -newerat 2002-01-01 -printf '%s\n' | awk '{ s += $1 } END { print s }')
touch "$cache/.$(printf '%064d' 0).mxk.1-1.tmp"
expect 0 cache trim --size "$kept" --json && parses "cache trim --json"
expect 0 $recipe --arch sm_90a --out "$work/warm" && used "$n" 0
expect 0 $recipe --arch sm_80 --out "$work/warm" && used 0 "$n"
touch "$cache/mine"
expect 0 cache clear && prints "0 entries"
[ "$(find "$cache" -name '*.mxk' -o -name '*.tmp' | wc -l)" = 0 ] || fail "clear left $(ls -A "$cache")"
[ -e "$cache/mine" ] || fail "clear removed what is not the cache's"
expect 0 cache ls && prints "0 entries"

# No place for a cache, a file in its place, a folder that all may write to: a warning, and the same bundle.
for place in "$work/off/plan.txt" "$work/open"; do
  mkdir -p "$work/open" && chmod 777 "$work/open"
  MXGEN_CACHE_DIR=$place expect 0 $recipe --arch sm_90a --out "$work/warm" && used 0 "$n" && says "is not used"
  diff -r -x "*.d" "$work/cold" "$work/warm" >&2 || fail "another bundle without a cache"
  MXGEN_CACHE_DIR=$place refused 3 cache ls && says "is not used"
done
unset MXGEN_CACHE_DIR
env -u XDG_CACHE_HOME -u HOME "$mxgen" $recipe --arch sm_90a --out "$work/warm" >"$work/out" 2>"$work/err" || fail "no HOME"
used 0 "$n"
says "no place for a kernel cache"
HOME=$work/home XDG_CACHE_HOME='' expect 0 $recipe --arch sm_90a --out "$work/warm" && used 0 "$n"
[ -d "$work/home/.cache/mxgen" ] || fail "not in ~/.cache/mxgen"
HOME=$work/home XDG_CACHE_HOME=$work/xdg expect 0 $recipe --arch sm_90a --out "$work/warm" && used 0 "$n"
[ -d "$work/xdg/mxgen" ] || fail "not in XDG_CACHE_HOME"
finish
