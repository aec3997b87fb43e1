# test_install.sh -- installs to a folder and uses it from outside the tree: exported symbols, headers alone, both examples
# through CMake and through pkg-config, and what makes a recipe generate again. Third argument: the build folder; fourth:
# compiler flags of the build (sanitizers).
source "$(dirname "$0")/common.sh"
build=$3
export CFLAGS=${4:-}
[ -e "$build/libmxrt.so" ] || { echo "built without shared libraries"; exit 77; }
cc=${CC:-cc}
unset DESTDIR

# Without the libraries of the tests the build is configured without tests, and says so; where tests are asked for it is an error.
printf '#!/bin/sh\ncase "$*" in *cmocka*) exit 1 ;; esac\nexec pkg-config "$@"\n' >"$work/no-cmocka"
chmod +x "$work/no-cmocka"
configure() { cmake -G Ninja -S "$root" -B "$work/configured" -DPKG_CONFIG_EXECUTABLE="$work/no-cmocka" "$@" >"$work/log" 2>&1; }
configure || { tail "$work/log" >&2; fail "cannot be configured without cmocka"; }
grep -q 'The tests are not built: cmocka' "$work/log" || fail "a build without tests does not say so"
configure -DMXGEN_TESTS=ON && fail "tests without cmocka"
grep -q -- '-DMXGEN_TESTS=OFF' "$work/log" || fail "the error without cmocka does not name the option"
rm -rf "$work/configured"

prefix=$work/prefix
cmake --install "$build" --prefix "$prefix" >"$work/log" 2>&1 || { tail "$work/log" >&2; fail "install"; finish; }
lib=$(dirname "$(find "$prefix" -name libmxrt.so)")
export PKG_CONFIG_PATH=$lib/pkgconfig LD_LIBRARY_PATH=$lib
[ -x "$prefix/bin/mxgen" ] || fail "no bin/mxgen"

# Exactly the functions of the public headers are exported, as the compiler sees them, and the names are versioned.
exports() { nm -D --defined-only "$1" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort; }
declares() { # HEADER...: what a program sees, less what the first header alone declares
  printf '#include "%s"\n' "$1" | "$cc" -E -P -I"$prefix/include" - | tr ';{}' '\n' |
    sed -nE 's/^.*[ *](mxg_[a-z0-9_]+)\(.*$/\1/p' | sort -u
}
diff <(declares mxrt.h) <(exports "$lib/libmxrt.so") >&2 || fail "libmxrt exports other names than mxrt.h declares"
diff <(comm -13 <(declares mxrt.h) <(declares mxgen.h)) <(exports "$lib/libmxgen.so") >&2 ||
  fail "libmxgen exports other names than mxgen.h declares"
[ "$(exports "$lib/libmxrt.so" | wc -l)" -ge 12 ] || fail "libmxrt exports too little"
for name in mxrt mxgen; do
  so=$("$mxgen" --version | sed -E 's/mxgen (0\.[0-9]+|[0-9]+).*/\1/') # the minor version too, while the major one is 0
  objdump -p "$lib/lib$name.so" | grep -qE "SONAME +lib$name\.so\.${so/./\\.}$" || fail "SONAME of lib$name"
done
objdump -p "$lib/libmxrt.so" | grep NEEDED | grep -qiE 'lua|nvrtc' && fail "libmxrt needs Lua or NVRTC"

# Each header alone, as C11 and as C++11, without warnings.
for header in mxrt mxgen; do
  printf '#include "%s.h"\n' $header >"$work/alone.c"
  "$cc" -std=c11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -I"$prefix/include" "$work/alone.c" || fail "$header.h in C"
  c++ -x c++ -std=c++11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -I"$prefix/include" "$work/alone.c" ||
    fail "$header.h in C++"
done

# Both examples, as they were installed, with find_package. What one build prints, all must print.
cp -R "$prefix/share/mxgen/examples/build_time" "$prefix/share/mxgen/examples/jit_init" "$work/" || fail "no installed examples"
for name in build_time jit_init; do [ -s "$work/$name/README.md" ] || fail "$name has no README.md"; done
archs=NONE
"$prefix/bin/mxgen" doctor | grep -q '^nvrtc *not found' || archs=sm_90a
want=""
same_checksum() { # PROGRAM...
  local got
  got=$("$@" 2>"$work/err") || { fail "$*: $(cat "$work/err")"; return; }
  grep -qE '^digest [0-9a-f]{64}$' <<<"$got" || fail "$*: no digest"
  got=$(sed -n 's/^checksum //p' <<<"$got")
  [ -n "$want" ] || want=$got
  [ ${#got} = 16 ] && [ "$got" = "$want" ] || fail "$*: checksum '$got', not '$want'"
}
make_example() { # NAME OPTION...
  local name=$1
  shift
  cmake -G Ninja -S "$work/$name" -B "$work/$name/build" -DCMAKE_PREFIX_PATH="$prefix" "$@" >"$work/log" 2>&1 &&
    cmake --build "$work/$name/build" >>"$work/log" 2>&1 || { tail -20 "$work/log" >&2; fail "cannot build $name"; }
}
make_example build_time "-DARCHS=$archs"
same_checksum "$work/build_time/build/build_time"
make_example jit_init
same_checksum "$work/jit_init/build/jit_init" "$work/build_time/tiny_dense.lua"
[ "$archs" = NONE ] || same_checksum "$work/jit_init/build/jit_init" "$work/build_time/tiny_dense.lua" sm_90a
if [ -n "${MXG_FAKE_CUDA:-}" ] && [ "$archs" != NONE ]; then
  MXGEN_LIBCUDA=$MXG_FAKE_CUDA same_checksum "$work/jit_init/build/jit_init" "$work/build_time/tiny_dense.lua" native
fi

# What their READMEs say, command by command, by somebody who has only the prefix. No NVRTC: without what needs it.
mkdir "$work/reader"
for name in build_time jit_init; do
  sed -n 's/^    //p' "$prefix/share/mxgen/examples/$name/README.md" | sed "s|^PREFIX=.*|PREFIX=$prefix|; /^digest /d; /^checksum /d" \
    >"$work/commands"
  [ "$archs" = NONE ] || [ -z "${MXG_FAKE_CUDA:-}" ] || fake=$MXG_FAKE_CUDA
  [ -n "${fake:-}" ] || sed -i '/ native$/d' "$work/commands"
  (cd "$work/reader" && unset LD_LIBRARY_PATH PKG_CONFIG_PATH && MXGEN_LIBCUDA=${fake:-} bash -e "$work/commands") >"$work/log" 2>&1 ||
    { tail "$work/log" >&2; fail "the commands of $name/README.md"; }
  [ "$(grep -c "^checksum $want\$" "$work/log")" = "$(grep -c '^build/' "$work/commands")" ] || fail "$name/README.md: not the checksum"
  rm -rf "$work/reader"/*
done

# The same with the static libraries: the programs need neither of ours when they run.
mkdir "$work/static"
cat >"$work/static/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.20)
project(static LANGUAGES C)
set(CMAKE_C_STANDARD 11)
find_package(mxgen REQUIRED)
add_executable(build_time ../build_time/main.c)
mxgen_add_recipe(build_time ../build_time/tiny_dense.lua ARCHS NONE SETS layers=2)
target_link_libraries(build_time PRIVATE mxgen::runtime_static)
add_executable(jit_init ../jit_init/main.c)
target_link_libraries(jit_init PRIVATE mxgen::generator_static)
END
make_example static
(unset LD_LIBRARY_PATH
 same_checksum "$work/static/build/build_time"
 same_checksum "$work/static/build/jit_init" "$work/build_time/tiny_dense.lua"
 exit "$failures") || fail "static libraries through CMake"
for name in build_time jit_init; do
  objdump -p "$work/static/build/$name" | grep NEEDED | grep -E 'libmx(rt|gen)' && fail "static $name needs a shared library of ours"
done

# A project of C++ alone: what is generated is compiled as C++.
mkdir "$work/cxx"
cat >"$work/cxx/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.20)
project(cxx LANGUAGES CXX)
find_package(mxgen REQUIRED)
add_executable(cxx main.cpp)
mxgen_add_recipe(cxx ../build_time/tiny_dense.lua ARCHS NONE SETS layers=2)
target_compile_options(cxx PRIVATE -Wall -Wextra -Wpedantic -Werror)
target_link_libraries(cxx PRIVATE mxgen::runtime)
END
cat >"$work/cxx/main.cpp" <<'END'
#include "mxgen_tiny_dense.h"
#include <mxrt.h>
#include <stdio.h>
int main() {
  mxg_bundle *bundle;
  if (mxg_bundle_read(&bundle, mxgen_tiny_dense, mxgen_tiny_dense_bytes, "embedded", NULL) != MXG_OK) return 1;
  printf("digest %s\n", mxg_bundle_digest(bundle));
  mxg_bundle_free(bundle);
}
END
CXXFLAGS=$CFLAGS make_example cxx
"$work/cxx/build/cxx" | grep -qE '^digest [0-9a-f]{64}$' || fail "a project of C++ alone"

# As a part of another project, which is only configured here: the same names, no tests, nothing installed, no build type,
# warnings or folders of ours; glibc's <error.h> is glibc's.
mkdir "$work/part"
cat >"$work/part/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.25)
project(part LANGUAGES C)
add_subdirectory("$root" mxgen)
add_executable(part part.c)
mxgen_add_recipe(part ../build_time/tiny_dense.lua ARCHS NONE)
target_link_libraries(part PRIVATE mxgen::runtime mxgen::generator)
add_executable(part_static part.c)
target_link_libraries(part_static PRIVATE mxgen::runtime_static mxgen::generator_static)
END
printf '#include <error.h>\n#include <mxgen.h>\nint main(void) { error(0, 0, "%%s", mxg_version()); return 0; }\n' >"$work/part/part.c"
cmake -G Ninja -S "$work/part" -B "$work/part/build" >"$work/log" 2>&1 &&
  ninja -C "$work/part/build" CMakeFiles/part_static.dir/part.c.o >>"$work/log" 2>&1 || { tail "$work/log" >&2; fail "add_subdirectory"; }
[ ! -e "$work/part/build/mxgen/tests" ] || fail "add_subdirectory: tests"
grep -q libmxrt "$work/part/build/mxgen/cmake_install.cmake" && fail "add_subdirectory: install rules"
grep -qE '^CMAKE_BUILD_TYPE:[A-Z]+=.' "$work/part/build/CMakeCache.txt" && fail "add_subdirectory: a build type"
grep -A6 '^build CMakeFiles/part.*part.c.o:' "$work/part/build/build.ninja" | grep -qE -- '-W|/runtime|-std' && fail "add_subdirectory: flags of ours"

# Again only after a change: nothing, an included file, the recipe, mxgen itself.
runs() { # how often a build with GENERATOR in FOLDER generates
  cmake --build "$1" >"$work/log" 2>&1 || { tail -20 "$work/log" >&2; fail "building again"; }
  grep -c 'Generating tiny_dense from' "$work/log"
}
tree=$work/build_time/build
for generator in Ninja "Unix Makefiles"; do
  if [ "$generator" != Ninja ]; then
    command -v make >/dev/null || continue
    tree=$work/build_time/make
    cmake -G "$generator" -S "$work/build_time" -B "$tree" -DCMAKE_PREFIX_PATH="$prefix" -DARCHS=NONE >/dev/null || fail "$generator"
    [ "$(runs "$tree")" = 1 ] || fail "$generator: the first build does not generate once"
  fi
  [ "$(runs "$tree")" = 0 ] || fail "$generator: generated again without a change"
  before=$("$tree/build_time" | sed -n 's/^digest //p')
  sleep 0.1
  sed -i 's/F, V, D = 128, 192/F, V, D = 128, 256/' "$work/build_time/model.lua"
  [ "$(runs "$tree")" = 1 ] || fail "$generator: the included file changed, and it was not generated once"
  [ "$("$tree/build_time" | sed -n 's/^digest //p')" != "$before" ] || fail "$generator: the program has the old bundle"
  [ "$(runs "$tree")" = 0 ] || fail "$generator: generated twice after one change"
  sed -i 's/F, V, D = 128, 256/F, V, D = 128, 192/' "$work/build_time/model.lua"
  [ "$(runs "$tree")" = 1 ] || fail "$generator: changed back, and it was not generated once"
  [ "$("$tree/build_time" | sed -n 's/^digest //p')" = "$before" ] || fail "$generator: not the first bundle again"
  echo "-- a comment" >>"$work/build_time/tiny_dense.lua" # another time, the same bundle
  [ "$(runs "$tree")" = 1 ] || fail "$generator: the recipe changed, and it was not generated once"
  [ "$(runs "$tree")" = 0 ] || fail "$generator: generated again after a change that changes no byte"
  touch "$prefix/bin/mxgen"
  [ "$(runs "$tree")" = 1 ] || fail "$generator: mxgen changed, and it was not generated once"
  [ "$(runs "$tree")" = 0 ] || fail "$generator: generated again after mxgen had changed"
done
echo 'nonsense' >>"$work/build_time/model.lua"
cmake --build "$tree" >"$work/log" 2>&1 && fail "a wrong recipe did not stop the build"
grep -q 'model.lua:' "$work/log" || fail "the build does not show the recipe's place"
cp "$prefix/share/mxgen/examples/build_time/model.lua" "$work/build_time/"

# The same by hand, with pkg-config, shared and static.
"$prefix/bin/mxgen" "$work/build_time/tiny_dense.lua" --source-only --set layers=2 --embed mxgen_tiny_dense --out "$work/by_hand" \
  >/dev/null || fail "generate --embed"
embed=$work/by_hand/embed
strict="-std=c11 -Wall -Wextra -Wpedantic -Werror"
"$cc" $strict $CFLAGS -I"$embed" -o "$work/by_hand/main" "$work/build_time/main.c" "$embed/mxgen_tiny_dense.c" \
  $(pkg-config --cflags --libs mxrt) || fail "pkg-config mxrt"
same_checksum "$work/by_hand/main"
"$cc" $strict $CFLAGS -o "$work/by_hand/jit" "$work/jit_init/main.c" $(pkg-config --cflags --libs mxgen) || fail "pkg-config mxgen"
same_checksum "$work/by_hand/jit" "$work/build_time/tiny_dense.lua"
static() { pkg-config --static --libs "$1" | sed -E 's/-l(mxgen|mxrt)/-l:lib\1.a/g'; } # not the shared ones beside them
"$cc" $strict $CFLAGS -o "$work/by_hand/static" "$work/jit_init/main.c" $(pkg-config --cflags mxgen) $(static mxgen) || fail "pkg-config --static mxgen"
(unset LD_LIBRARY_PATH && same_checksum "$work/by_hand/static" "$work/build_time/tiny_dense.lua" && exit "$failures") || fail "static"

"$cc" $strict $CFLAGS -I"$embed" -o "$work/by_hand/static_main" "$work/build_time/main.c" "$embed/mxgen_tiny_dense.c" \
  $(pkg-config --cflags mxrt) $(static mxrt) || fail "pkg-config --static mxrt"
(unset LD_LIBRARY_PATH && same_checksum "$work/by_hand/static_main" && exit "$failures") || fail "static runtime"
for name in mxrt mxgen; do
  flags=$(pkg-config --cflags $name | xargs)
  [ "$(realpath -m "${flags#-I}")" = "$(realpath "$prefix/include")" ] || fail "pkg-config --cflags $name is more than our folder: $flags"
done

# The Python module of the installed examples finds the libraries by itself; its structs are those of the installed headers.
python=${MXG_PYTHON:-python3}
pytorch=$prefix/share/mxgen/pytorch
for file in mxgen_torch.py export.py reconcile.py dense.lua dense_tp2.lua dense_reconcile_tp2.lua README.md; do
  [ -s "$pytorch/$file" ] || fail "no $pytorch/$file"
done
if [ -z "$CFLAGS" ] && "$python" -c 'import numpy' 2>/dev/null; then
  "$cc" $strict -I"$prefix/include" -o "$work/struct_probe" tests/python/struct_probe.c || fail "struct_probe"
  (unset LD_LIBRARY_PATH && PYTHONDONTWRITEBYTECODE=1 "$python" tests/python/test_pytorch.py - "$work/struct_probe" "$pytorch") >&2 ||
    fail "the installed Python module"
fi

# The manual and the completion.
for page in man1/mxgen.1 man5/mxgen-recipe.5 man3/libmxgen.3; do
  [ -s "$prefix/share/man/$page" ] || fail "no $page"
done
for name in $(declares mxgen.h); do
  [ "$(cat "$prefix/share/man/man3/$name.3" 2>/dev/null)" = ".so man3/libmxgen.3" ] || fail "no page $name.3"
done
if command -v man >/dev/null; then
  [ "$(MANPATH=$prefix/share/man man -P cat 3 mxg_generate 2>/dev/null | grep -c 'mxg_status mxg_generate(')" -ge 1 ] || fail "man 3 mxg_generate"
fi
[ -s "$prefix/share/bash-completion/completions/mxgen" ] || fail "no completion"

# An installed tree may be moved.
mv "$prefix" "$work/moved" && prefix=$work/moved
rm -rf "$work/build_time/build" && make_example build_time -DARCHS=NONE
PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name mxrt.pc)") pkg-config --cflags mxrt | grep -q "$work/moved" || fail "mxrt.pc is not relative"

refused 2 "$work/build_time/tiny_dense.lua" --source-only --out "$work/none" --embed '9x;system' && says "cannot be the name"
leaves_nothing "$work/none"
finish
