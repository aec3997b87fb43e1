# test_wrong.sh -- verify finds what is wrong: a flipped element, a flipped scale, other weights, another file.
source "$(dirname "$0")/common.sh"

# poke FILE TENSOR OFFSET BYTE: overwrites a byte of a tensor's data.
poke() {
  python3 - "$@" <<'PYTHON'
import json, struct, sys
path, name, offset, value = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4], 0)
with open(path, "r+b") as file:
    count = struct.unpack("<Q", file.read(8))[0]
    begin = json.loads(file.read(count))[name]["data_offsets"][0]
    file.seek(8 + count + begin + offset)
    old = file.read(1)[0]
    assert old != value, "the byte is that already"
    file.seek(8 + count + begin + offset)
    file.write(bytes([value]))
PYTHON
}

for recipe in tiny_dense tiny_moe; do
  expect 0 shard recipes/$recipe.lua --random 5 --out "$work/$recipe.source"
  expect 0 run recipes/$recipe.lua --weights "$work/$recipe.source" --out "$work/$recipe"
  expect 0 verify recipes/$recipe.lua --weights "$work/$recipe" --random 5
done
broken() { # RECIPE TENSOR OFFSET BYTE [RANK]
  rm -rf "$work/broken" && cp -r "$work/$1" "$work/broken"
  poke "$work/broken/rank-0000${5:-0}.safetensors" "$2" "$3" "$4" || fail "poke $2"
  expect 5 verify recipes/$1.lua --weights "$work/broken" --random 5
  says "MX0850" && says "'${2%_scale_inv}'"
  prints "WRONG: "
  expect 5 verify recipes/$1.lua --weights "$work/broken" --random 5 --json
  parses "verify --json"
}
broken tiny_dense model.embed_tokens.weight 1 0x7f                                    # exact tensors: any change
broken tiny_dense model.layers.1.mlp.down_proj.weight 101 0xc1                        # beyond the bound
broken tiny_dense model.norm.weight 1 0x7f
broken tiny_moe model.layers.1.mlp.experts.5.up_proj.weight 77 0x7f 2                 # a NaN
broken tiny_moe model.layers.1.mlp.experts.7.down_proj.weight_scale_inv 3 0xff 3      # a NaN of a whole block
broken tiny_moe model.layers.0.self_attn.o_proj.weight_scale_inv 2 0x90               # a scale far off

expect 5 verify recipes/tiny_dense.lua --weights "$work/tiny_dense" --random 6
# The source side in place of the target, a missing file, an empty folder.
refused 1 verify recipes/tiny_dense.lua --weights "$work/tiny_dense.source" --random 5
mkdir "$work/empty"
refused 1 verify recipes/tiny_dense.lua --weights "$work/empty" --random 5
refused 1 verify recipes/tiny_dense.lua --weights "$work/nowhere" --random 5
refused 1 verify recipes/tiny_dense.lua --weights "$work/tiny_dense" --original "$work/empty"
finish
