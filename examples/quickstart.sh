#!/usr/bin/env bash
# quickstart.sh -- the main job on a machine without a GPU: a recipe becomes CUDA source, cubins and a schedule, and the schedule
# moves a spread-out MXFP8 checkpoint with Llama-3-8B's layer shapes to Hugging Face BF16 tensors, on host ranks. Then the
# result is verified.
#
#   examples/quickstart.sh [FOLDER]     FOLDER for the checkpoints, default build/quickstart (some GB are written and removed)
set -euo pipefail
source "$(dirname "$0")/setup.sh"
cd "$mxg_root"
work=${1:-$mxg_root/build/quickstart}
recipe=recipes/llama3_8b_tp2.lua
cut=(--set layers=3) # the first and the last layer are BF16 in this recipe, the one between is MXFP8

mxg_build_packages
mxg_step "building"
mxg_build release -DMXGEN_TESTS=OFF
mxgen=$mxg_root/build/release/mxgen
mxg_nvrtc "$mxgen"
rm -rf "$work"
mkdir -p "$work"
trap 'rm -rf "$work/source" "$work/target"' EXIT

mxg_step "generate: recipe -> CUDA source, cubins, plan, bundle"
"$mxgen" "$recipe" "${cut[@]}" --out "$work/generated"

mxg_step "plan: what will move"
"$mxgen" plan "$recipe" "${cut[@]}"

mxg_step "shard: a random model as the source side keeps it (MXFP8, tp=2, interleaved QKV, padded vocabulary)"
"$mxgen" shard "$recipe" "${cut[@]}" --random 42 --out "$work/source"

mxg_step "run: the schedule on host ranks"
"$mxgen" run "$recipe" "${cut[@]}" --weights "$work/source" --out "$work/target"

mxg_step "verify: every element against the original"
"$mxgen" verify "$recipe" "${cut[@]}" --weights "$work/target" --random 42

mxg_step "done: generated code in ${work#"$mxg_root"/}/generated"
