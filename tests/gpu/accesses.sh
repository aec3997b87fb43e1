#!/usr/bin/env bash
# accesses.sh -- that generated kernels reach global memory by 16 bytes at a time where their formats allow it, and nothing in local
# memory, read from the disassembly of every benchmark kernel on three architectures. Needs NVRTC and nvdisasm (or MXGEN_NVDISASM);
# exit 77 without.
#
#   tests/gpu/accesses.sh MXGEN
set -u
mxgen=$1
nvdisasm=${MXGEN_NVDISASM:-$(command -v nvdisasm || echo /usr/local/cuda/bin/nvdisasm)}
[ -x "$nvdisasm" ] || { echo "skipped: no nvdisasm"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$mxgen" bench code --arch sm_80,sm_90a,sm_100a --out "$work/cubins" --json >"$work/lines" 2>"$work/err"
code=$?
[ $code = 3 ] && { cat "$work/err"; exit 77; }
[ $code = 0 ] || { cat "$work/err"; exit 1; }

# What each family must hold: 16-byte loads where 16 bytes are read at once, 16-byte stores where they are written at once. Strips of
# columns are 8 bytes wide, and quantising halves what a lane writes.
failed=0 seen=0
for cubin in "$work"/cubins/*.cubin; do
  "$nvdisasm" -c "$cubin" >"$work/text" 2>"$work/err" || { cat "$work/err"; exit 1; }
  name=$(basename "$cubin")
  loads=$(grep -cE 'LDG\.E[.A-Z0-9]*\.128' "$work/text") stores=$(grep -cE 'STG\.E[.A-Z0-9]*\.128' "$work/text")
  narrow=$(grep -cE 'LDG\.E[.A-Z0-9]*\.64' "$work/text") half=$(grep -cE 'STG\.E[.A-Z0-9]*\.64' "$work/text")
  local=$(grep -cE '\b(LDL|STL)\b' "$work/text")
  case $name in
  mx_move_*) good=$((loads > 0 && stores > 0)) ;;
  mx_dequantize_*) good=$((stores > 0)) ;;
  mx_quantize_rowwise_* | mx_quantize_both_*) good=$((loads > 0)) ;;
  mx_quantize_columnwise_* | mx_quantize_square_*) good=$((loads > 0 || narrow > 0)) ;;
  *) good=0 ;;
  esac
  seen=$((seen + 1))
  [ "$good" = 1 ] && [ "$local" = 0 ] && continue
  echo "FAILED  $name: $loads loads and $stores stores of 16 bytes, $narrow and $half of 8, $local local"
  failed=1
done
echo "$seen kernels"
[ $seen -gt 0 ] || exit 1
exit $failed
