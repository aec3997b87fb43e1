#!/usr/bin/env bash
# run.sh -- the figures that need no GPU: planner, compiler and host transport, each beside its target or ceiling. Nothing is asserted.
#
#   tests/bench/run.sh [BUILD]     BUILD: a built tree, default build/release
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=${1:-$root/build/release}
mxgen=$build/mxgen
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export MXGEN_CACHE_DIR=$work/cache # never the user's, and empty wherever a figure says cold
unset MXGEN_CACHE MXGEN_JIT

# measure COMMAND...: wall seconds and peak MiB of one process, the median of five.
measure() {
  python3 - "$@" <<'PY'
import os, statistics, subprocess, sys, time
wall, peak = [], []
for _ in range(5):
    begin = time.perf_counter()
    child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    message = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    wall.append(time.perf_counter() - begin)
    peak.append(usage.ru_maxrss / 1024)
    if status:
        sys.exit(message.decode())
print(f"{statistics.median(wall):8.3f} s  ({min(wall):.3f} to {max(wall):.3f})  {max(peak):7.0f} MiB")
PY
}

echo "# $("$mxgen" --version)  $(nproc) cores  $(date -u +%Y-%m-%d)"
echo
echo "check, plan and emit of deepseek_v3 (target: under 2 s and 500 MiB; linear in layers)"
for layers in 61 122 244; do
  printf '  %4d layers  ' "$layers"
  measure "$mxgen" "$root/recipes/deepseek_v3_tp8_pp4_ep32_to_ep64.lua" --set layers=$layers --source-only --out "$work/dsv3"
done
echo
echo "all kernels of qwen3_30b_a3b for one architecture, cold (target: under 3 s on 2 cores)"
printf '  sm_90a       '
measure sh -c "rm -rf '$work/qwen' '$work/cache' && '$mxgen' '$root/recipes/qwen3_30b_a3b_tp4_ep8.lua' --arch sm_90a --out '$work/qwen'"
printf '  the same, warm '
measure "$mxgen" "$root/recipes/qwen3_30b_a3b_tp4_ep8.lua" --arch sm_90a --out "$work/qwen"
echo
echo "generate in the process, qwen3_30b_a3b for one architecture (targets: cold under 1500 ms, warm under 30 ms)"
rm -rf "$work/cache"
"$build/tests/bench/bench_jit" "$root/recipes/qwen3_30b_a3b_tp4_ep8.lua" sm_90a
echo
echo "host conversion beside memcpy of the same bytes, all cores (target for MXFP8 to BF16: at least 0.5)"
"$build/tests/bench/bench_host_convert"
