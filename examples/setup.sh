# setup.sh -- sourced by examples/quickstart.sh and tests/run.sh: installs what the build needs and is not there.
#
# Debian packages by apt as root or with sudo; elsewhere it prints exactly what to install and stops. NVRTC comes from a CUDA
# toolkit, from PyTorch, or, where there is neither, from the NVRTC wheel in build/venv.

mxg_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

mxg_step() { printf '\n== %s\n' "$*"; }

# mxg_packages PACKAGE...: Debian packages that are not installed yet.
mxg_packages() {
  local missing=() package
  if ! command -v dpkg-query >/dev/null 2>&1; then
    command -v cmake >/dev/null && pkg-config --exists lua5.4 libxxhash 2>/dev/null && return 0
    echo "This is not a Debian system. Install by hand, then run this again:" >&2
    echo "  a C11 and C++17 compiler, CMake >= 3.25, Ninja, pkg-config, Python 3, and the development files of" >&2
    echo "  Lua 5.4 (pkg-config lua5.4) and xxHash, and for the tests cmocka and Jansson" >&2
    return 1
  fi
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  mxg_step "installing: ${missing[*]}"
  local as=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
      echo "Neither root nor sudo. Have somebody run: apt-get install ${missing[*]}" >&2
      return 1
    fi
    as=(sudo)
  fi
  "${as[@]}" apt-get update -qq
  "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null
}

# Only what is missing is asked for: a compiler that is there under another package's name is good enough.
mxg_build_packages() {
  local wanted=(pkg-config liblua5.4-dev libxxhash-dev)
  command -v cc >/dev/null && command -v c++ >/dev/null || wanted+=(build-essential)
  command -v cmake >/dev/null || wanted+=(cmake)
  command -v ninja >/dev/null || wanted+=(ninja-build)
  command -v python3 >/dev/null || wanted+=(python3)
  mxg_packages "${wanted[@]}" "$@"
}

# mxg_venv PACKAGE...: a Python environment in build/venv with these packages from PyPI; prints its python.
mxg_venv() {
  local venv=$mxg_root/build/venv
  if [ ! -x "$venv/bin/python3" ]; then
    mkdir -p "$mxg_root/build"
    python3 -m venv "$venv" >/dev/null 2>&1 || {
      rm -rf "$venv"
      mxg_packages python3-venv >&2
      /usr/bin/python3 -m venv "$venv"
    }
  fi
  "$venv/bin/python3" -m pip install -q --disable-pip-version-check "$@" >&2
  echo "$venv/bin/python3"
}

# mxg_nvrtc MXGEN: makes sure that the command finds NVRTC.
mxg_nvrtc() {
  "$1" doctor --json | python3 -c 'import json,sys; sys.exit(0 if json.load(sys.stdin)["nvrtc"]["found"] else 1)' && return 0
  mxg_step "no NVRTC here: taking the wheel into build/venv"
  mxg_venv nvidia-cuda-nvrtc >/dev/null
  MXGEN_NVRTC=$(find "$mxg_root/build/venv" -name 'libnvrtc.so.*' | sort | head -n 1)
  export MXGEN_NVRTC
}

# mxg_build PRESET [OPTION...]: configures and builds quietly; prints the log only on failure.
mxg_build() {
  local preset=$1 log=$mxg_root/build/$1.log
  shift
  mkdir -p "$mxg_root/build"
  if ! (cd "$mxg_root" && cmake --preset "$preset" -G Ninja "$@" && cmake --build --preset "$preset") >"$log" 2>&1; then
    tail -n 60 "$log" >&2
    return 1
  fi
}
