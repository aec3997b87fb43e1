# test_input.sh -- bad recipes and bad weights: one diagnostic with its place, exit code 1, nothing written.
source "$(dirname "$0")/common.sh"

out=$work/result
# bad_recipe FILE CODE: by check, generate and shard alike.
bad_recipe() {
  refused 1 check "$1" && says "error[$2]" && says "--> $1"
  refused 1 "$1" --out "$out" --source-only && says "error[$2]" && says "nothing was written"
  refused 1 shard "$1" --random 1 --out "$out" && says "error[$2]"
  leaves_nothing "$out"
}
# edit SED-EXPRESSION: a recipe that is tiny_dense but for that.
edit() {
  sed -e "$1" recipes/tiny_dense.lua >"$work/edited.lua"
  cmp -s recipes/tiny_dense.lua "$work/edited.lua" && fail "the edit changes nothing: $1"
}
code() { sed -n 's/^error\[\(MX[0-9]*\)\].*/\1/p' "$work/err"; }
# edited SED-EXPRESSION WORDS: the diagnostic says the words.
edited() {
  edit "$1"
  refused 1 check "$work/edited.lua" && says "$2" && bad_recipe "$work/edited.lua" "$(code)"
}
# The same for recipes that take their time until they are stopped: by generate alone.
slow() {
  edit "$1"
  refused 1 "$work/edited.lua" --out "$out" --source-only && says "$2" && says "nothing was written"
  leaves_nothing "$out"
}
edited 's/schedule = {/schedule = { buckets = 1,/' "did you mean 'bucket'?"            # unknown key
edited 's/bucket = "64KiB"/bucket = {}/' "bucket"                                       # wrong type
edited 's/"\*\*norm"), mx.rule(fp8/"**nrom"), mx.rule(fp8/' "**nrom"                    # pattern without a match
edited 's/mx.rule(mx.split { row = "tp" }, "\*\*"),//' "layout"                         # tensor without a rule
edited 's/row = "tp"/row = "tq"/' "tq"                                                  # axis that does not exist
edited 's/tp = 2, pp = 2/tp = 3, pp = 2/' "multiple"                                     # split that does not divide
edited 's/local H, F, V, D = 128, 192, 250, 32/local H, F, V, D = 128, 144, 250, 32/' "block" # a shard cuts a block
edited 's/staging = "1MiB"/staging = "1KiB"/' "staging"                                 # a cap that the plan passes
slow 's/^local m = .*/while true do end/' "instructions" # endless
slow 's/^local m = .*/local t = {} for i = 1, 1e9 do t[i] = { i, i .. "x" } end/' "64 MiB" # memory bomb
edited 's/name = "tiny_dense", model/name = "..\/tiny_dense", model/' "name"            # output name with ../
edited 's/^local m = .*/os.execute("true")/' "os"
printf '\033Lua\x54\x00\x19\x93\r\n\x1a\n' >"$work/bytecode.lua"
refused 1 check "$work/bytecode.lua"
refused 1 "$work/bytecode.lua" --out "$out"
refused 1 check "$work/no_such.lua" && says "no_such.lua"
refused 1 check "$work"
leaves_nothing "$out"

# ---- weights ----
expect 0 shard recipes/tiny_dense.lua --random 3 --out "$work/source"
# bad_weights WORDS: of $work/bad, by check and run.
bad_weights() {
  expect 1 check recipes/tiny_dense.lua --weights "$work/bad" && says "$1" || fail "weights: $1"
  [ "$(grep -c '^error\[' "$work/err")" = 1 ] || fail "check: not one diagnostic: $(cat "$work/err")"
  refused 1 run recipes/tiny_dense.lua --weights "$work/bad" --out "$out" && says "$1"
  leaves_nothing "$out"
  rm -rf "$work/bad"
}
damage() { # PYTHON that changes `data`, a bytearray, `header`, a dict, of rank 1
  cp -r "$work/source" "$work/bad"
  python3 - "$work/bad/rank-00001.safetensors" "$1" <<'PYTHON' || fail "damage: $1"
import json, struct, sys
path, change = sys.argv[1], sys.argv[2]
file = open(path, "rb").read()
count = struct.unpack("<Q", file[:8])[0]
header, data, length = json.loads(file[8:8 + count]), bytearray(file[8 + count:]), None
names = [name for name in header if name != "__metadata__"]
scope = {"header": header, "data": data, "names": names, "length": None}
exec(change, scope)
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
out = struct.pack("<Q", scope["length"] if scope["length"] is not None else len(text)) + text + bytes(data)
open(path, "wb").write(out)
PYTHON
}
damage 'del data[-100:]' && bad_weights "rank-00001.safetensors"                                   # truncated
damage 'length = 1 << 40' && bad_weights "rank-00001.safetensors"                                  # lying length
damage 'header[names[1]]["data_offsets"] = header[names[0]]["data_offsets"]; header[names[1]]["shape"] = header[names[0]]["shape"]; header[names[1]]["dtype"] = header[names[0]]["dtype"]' && bad_weights "rank-00001"  # overlap
damage 'header[names[-1]]["data_offsets"][1] += 1 << 50' && bad_weights "rank-00001"               # oversized
damage 'header[names[0]]["shape"] = [1 << 62, 1 << 62]' && bad_weights "rank-00001"                # overflow
damage 'data += b"\0\0\0"' && bad_weights "rank-00001"                                             # a tail that nobody owns
damage 'n = [n for n in names if header[n]["dtype"] == "F8_E4M3"][0]; header[n]["dtype"] = "F8_E4M3FNUZ"' && bad_weights "F8_E4M3FNUZ"
damage 'n = [n for n in names if n.endswith("_scale")][0]; header["other"] = header.pop(n)' && bad_weights "scale"
damage 'n = [n for n in names if "qkv" in n][0]; header[n]["shape"].reverse()' && bad_weights "shape"
damage 'n = [n for n in names if header[n]["dtype"] == "BF16"][0]; header[n]["dtype"] = "F16"' && bad_weights "wants"
damage 'header["lost"] = header.pop(names[0])' && bad_weights "missing"
cp -r "$work/source" "$work/bad" && rm "$work/bad/rank-00003.safetensors" && bad_weights "rank"
cp -r "$work/source" "$work/bad" && : >"$work/bad/rank-00002.safetensors" && bad_weights "rank-00002"
cp -r "$work/source" "$work/bad" && rm "$work/bad/rank-00002.safetensors" && mkfifo "$work/bad/rank-00002.safetensors" &&
  bad_weights "rank-00002"
mkdir "$work/bad" && echo '{"metadata": {}, "weight_map": {"a": "../../etc/passwd"}}' >"$work/bad/model.safetensors.index.json" &&
  bad_weights "model.safetensors.index.json"
mkdir "$work/bad" && bad_weights "bad"

# A misaligned file is right by the format's rules, and read.
cp -r "$work/source" "$work/odd"
python3 - "$work/odd/rank-00001.safetensors" <<'PYTHON'
import struct, sys
file = open(sys.argv[1], "rb").read()
count = struct.unpack("<Q", file[:8])[0]
open(sys.argv[1], "wb").write(struct.pack("<Q", count + 1) + file[8:8 + count] + b" " + file[8 + count:])
PYTHON
expect 0 run recipes/tiny_dense.lua --weights "$work/source" --out "$work/even_result"
expect 0 run recipes/tiny_dense.lua --weights "$work/odd" --out "$work/odd_result"
diff -r "$work/even_result" "$work/odd_result" >&2 || fail "a misaligned source gives other bytes"

# No quantised tensor at all where the recipe has some is an error by itself.
expect 0 run recipes/tiny_dense.lua --weights "$work/source" --out "$work/target"
expect 1 check recipes/tiny_dense.lua --weights "$work/target" --side source && says "quantised"
# Originals that are not what the recipe needs.
refused 1 shard recipes/tiny_dense.lua --from "$work/source" --out "$out"
refused 1 shard recipes/tiny_dense.lua --from "$work/nowhere" --out "$out"
refused 1 shard recipes/tiny_moe.lua --from "$work/target" --out "$out"
leaves_nothing "$out"
finish
