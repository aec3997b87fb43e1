# test_help.sh -- help, version, and what the command says to words it does not know.
source "$(dirname "$0")/common.sh"

expect 0 help && golden help
expect 0 --help && golden help
expect 0 --version && grep -qxE 'mxgen [0-9]+\.[0-9]+\.[0-9]+' "$work/out" || fail "--version"
for verb in generate check plan explain shard run verify show bench tune init doctor cache; do
  expect 0 help $verb && golden help_$verb
  expect 0 $verb --help && golden help_$verb
done

refused 2 && says "mxgen help"
refused 2 chekc recipe.lua && says "did you mean 'mxgen check'?"
refused 2 frobnicate && says "mxgen help"
refused 2 help planz && says "did you mean 'mxgen plan'?"
refused 2 help plan check
refused 2 check --jsno recipes/tiny_dense.lua && says "did you mean '--json'?"
refused 2 check -x recipes/tiny_dense.lua && says "'-x'"
refused 2 check --json=yes recipes/tiny_dense.lua && says "takes no value"
refused 2 check --weights && says "needs a value"
refused 2 check --side target recipes/tiny_dense.lua && says "--weights"
refused 2 check && says "needs RECIPE"
refused 2 check recipes/tiny_dense.lua again && says "'again'"
refused 2 check recipes/tiny_dense.lua --set layers && says "--set name=value"
refused 2 recipes/tiny_dense.lua --arch sm_91 --out "$work/g" && says "sm_90"
refused 2 recipes/tiny_dense.lua --arch sm_90a --source-only --out "$work/g"
refused 2 recipes/tiny_dense.lua --dump=q && says "'q'"
refused 2 recipes/tiny_dense.lua --threads=-1 && says "not a number"
refused 2 shard recipes/tiny_dense.lua --out "$work/g" && says "--random SEED"
refused 2 shard recipes/tiny_dense.lua --random 1x --out "$work/g" && says "'1x'"
refused 2 run recipes/tiny_dense.lua --out "$work/g" && says "--weights"
refused 2 verify recipes/tiny_dense.lua --weights "$work/g" && says "--original DIR"
leaves_nothing "$work/g"

expect 0 explain MX0203 && prints "MX0203: "
expect 0 explain mx0904 && prints "MX0904: "
expect 0 explain 0904 --json && parses "explain --json"
refused 2 explain MX9999
refused 2 explain nonsense

# Every code that mxgen can show is explained.
for code in $(sed -n 's/^X(\([0-9]*\),.*/\1/p' runtime/base/codes.def); do
  expect 0 explain "MX$(printf %04d "$code")"
done

expect 0 doctor && prints "mxgen "
expect 0 doctor --json && parses "doctor --json"
MXGEN_NVRTCC=1 expect 0 doctor && says "did you mean MXGEN_NVRTC?"
MXGEN_NVRTC=/nowhere/libnvrtc.so expect 0 doctor && prints "/nowhere/libnvrtc.so"
MXGEN_LIBCUDA=/nowhere/libcuda.so expect 0 doctor && prints "MXGEN_LIBCUDA"
stub=$(ls /usr/local/cuda/lib*/stubs/libcuda.so 2>/dev/null | head -1)
if [ -n "$stub" ]; then
  MXGEN_LIBCUDA=$stub expect 0 doctor && prints "stub"
fi
finish
