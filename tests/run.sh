#!/usr/bin/env bash
# run.sh -- all tests: the release build, and the whole suite again under the address and undefined-behaviour sanitizers.
#
#   tests/run.sh [-L LABEL]     arguments go to ctest: -L unit, -L golden, ...
set -euo pipefail
source "$(dirname "$0")/../examples/setup.sh"
cd "$mxg_root"
mxg_build_packages libcmocka-dev libjansson-dev
python=$(mxg_venv numpy ml_dtypes) # for the checks that share no code with the project

mxg_step "building release"
mxg_build release -DMXGEN_TESTS=ON -DPython3_EXECUTABLE="$python"
mxg_nvrtc "$mxg_root/build/release/mxgen"
mxg_step "testing release"
ctest --preset release -j2 "$@"

mxg_step "building with sanitizers"
mxg_build asan -DMXGEN_TESTS=ON -DPython3_EXECUTABLE="$python"
mxg_step "testing with sanitizers"
ctest --preset asan -j2 "$@"
