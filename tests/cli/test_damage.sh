# test_damage.sh -- a bundle with any byte flipped is refused or harmless; a cut one is refused.
source "$(dirname "$0")/common.sh"

expect 0 recipes/tiny_dense.lua --set layers=1 --source-only --out "$work/g"
expect 0 shard recipes/tiny_dense.lua --set layers=1 --random 1 --out "$work/source"
bundle=$work/g/tiny_dense.mxb
size=$(stat -c %s "$bundle")
python3 - "$bundle" "$work" <<'PYTHON'
import sys
data = open(sys.argv[1], "rb").read()
for i in range(60):
    at = i * (len(data) - 1) // 59
    flipped = bytearray(data)
    flipped[at] ^= 1 << i % 8
    open(f"{sys.argv[2]}/flipped-{at}.mxb", "wb").write(flipped)
PYTHON
for flipped in "$work"/flipped-*.mxb; do
  refused 1 show "$flipped"
done
for count in 0 1 8 100 $((size / 2)) $((size - 1)); do
  head -c "$count" "$bundle" >"$work/cut.mxb"
  refused 1 show "$work/cut.mxb"
  refused 1 run "$work/cut.mxb" --weights "$work/source" --out "$work/result"
done
refused 1 show recipes/tiny_dense.lua
refused 1 show "$work/nowhere.mxb"
refused 1 show "$work"
leaves_nothing "$work/result"
expect 0 run "$bundle" --weights "$work/source" --out "$work/result"
finish
