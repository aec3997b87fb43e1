# test_flow.sh -- shard, run and verify: real safetensors from one spread to another.
source "$(dirname "$0")/common.sh"

same() { diff -rq "$1" "$2" >&2 || fail "$1 and $2 differ"; }

for recipe in tiny_dense tiny_moe; do
  dir=$work/$recipe
  mkdir "$dir"
  expect 0 shard recipes/$recipe.lua --random 42 --out "$dir/source" --keep-original "$dir/original"
  expect 0 check recipes/$recipe.lua --weights "$dir/source"
  expect 0 check recipes/$recipe.lua --weights "$dir/source" --json && parses "check --weights --json"
  expect 0 run recipes/$recipe.lua --weights "$dir/source" --out "$dir/target" --checksums
  sed -n '/^ *rank /,/^$/p' "$work/out" | sed '1d;/^$/d' | sort >"$dir/checks"
  expect 0 check recipes/$recipe.lua --weights "$dir/target" --side target
  expect 0 verify recipes/$recipe.lua --weights "$dir/target" --random 42 --checksums && golden verify_$recipe
  sed -n '/^ *rank /,/^$/p' "$work/out" | sed '1d;/^$/d' | sort >"$dir/checks2"
  [ -s "$dir/checks" ] && cmp "$dir/checks" "$dir/checks2" >&2 || fail "checksums of run and verify differ"
  expect 0 verify recipes/$recipe.lua --weights "$dir/target" --original "$dir/original"
  expect 0 verify recipes/$recipe.lua --weights "$dir/target" --original "$dir/original" --json && parses "verify --json"

  # The original, from its folder or from its seed, on one thread or more: the same bytes.
  expect 0 shard recipes/$recipe.lua --from "$dir/original" --out "$dir/source2" --threads 1
  same "$dir/source" "$dir/source2"
  # A bundle runs like its recipe.
  expect 0 recipes/$recipe.lua --source-only --out "$dir/generated"
  expect 0 run "$dir/generated/$recipe.mxb" --weights "$dir/source" --out "$dir/target2" --threads 3 --json
  parses "run --json"
  same "$dir/target" "$dir/target2"
  refused 2 run "$dir/generated/$recipe.mxb" --set layers=1 --weights "$dir/source" --out "$dir/target3"
  # Over an earlier result of the same spread, beside a file of the user.
  echo '{}' >"$dir/target2/config.json"
  expect 0 run recipes/$recipe.lua --weights "$dir/source" --out "$dir/target2"
  [ -f "$dir/target2/config.json" ] || fail "a file beside the result was lost"
  rm "$dir/target2/config.json"
  same "$dir/target" "$dir/target2"
done

# Ranks that only repeat whole tensors are left out, unless asked for.
dir=$work/tiny_dense
expect 0 run recipes/tiny_dense.lua --weights "$dir/source" --out "$dir/default" && prints "not written (--all-ranks)"
[ "$(ls "$dir/default")" = "$(printf 'model.safetensors.index.json\nrank-00000.safetensors')" ] || fail "default ranks"
expect 0 run recipes/tiny_dense.lua --weights "$dir/source" --out "$dir/all" --all-ranks
cmp "$dir/all/rank-00000.safetensors" "$dir/all/rank-00001.safetensors" || fail "replicas differ"
expect 0 verify recipes/tiny_dense.lua --weights "$dir/all" --random 42
expect 0 run recipes/tiny_dense.lua --weights "$dir/source" --out "$dir/one" --target-ranks 1
[ "$(ls "$dir/one" | grep rank)" = rank-00001.safetensors ] || fail "--target-ranks 1"
expect 0 verify recipes/tiny_dense.lua --weights "$dir/one" --random 42
refused 1 run recipes/tiny_dense.lua --weights "$dir/source" --out "$dir/none" --target-ranks 0,7 && says "rank 7"
refused 2 run recipes/tiny_dense.lua --weights "$dir/source" --out "$dir/none" --target-ranks 0..1
leaves_nothing "$dir/none"
expect 0 run recipes/tiny_moe.lua --weights "$work/tiny_moe/source" --out "$work/part" --target-ranks 1-2
expect 0 verify recipes/tiny_moe.lua --weights "$work/part" --random 42 && prints "only 2 of 4 target ranks"
# Rank files of another spread would be taken for a part of this one.
refused 1 run recipes/tiny_dense.lua --weights "$dir/source" --out "$work/part" && says "rank-00001"

# One scale a stored tensor, where shards end in padding and one is nothing else; and of vectors.
cat >"$work/pad.lua" <<'LUA'
local mx = require "mx"
local m = mx.model "pad"
m:tensor("a", { 100, 64 })
m:tensor("experts", { 2, 100, 64 })
m:tensor("vector", { 100 })
local wide = mx.rule(mx.mxfp8 { elem = "e4m3", scale = "rceil", otherwise = mx.bf16() }, "**")
local fp8 = mx.rule(mx.fp8 { elem = "e4m3" }, "**")
local turn = mx.param("turn", false)
return {
  version = 1, model = m,
  source = { mesh = mx.mesh { { "tp", 2 } }, format = { turn and fp8 or wide },
             layout = { mx.rule(mx.split { row = "tp", pad_rows = 32 }, "**") } },
  target = { mesh = mx.mesh { { "tp", 3 } }, format = { turn and wide or fp8 },
             layout = { mx.rule(mx.split { row = "tp", pad_rows = 64 }, "**") } },
}
LUA
for turn in false true; do
  dir=$work/pad-$turn
  expect 0 shard "$work/pad.lua" --set turn=$turn --random 1 --out "$dir/source"
  expect 0 run "$work/pad.lua" --set turn=$turn --weights "$dir/source" --out "$dir/target" --all-ranks
  expect 0 verify "$work/pad.lua" --set turn=$turn --weights "$dir/target" --random 1
done

# Weights that are there are not lost: those that are read, and the checkpoints of others.
cat >"$work/turn.lua" <<'LUA'
local mx = require "mx"
local m, side = mx.model "turn", mx.mesh { { "tp", 2 } }
m:tensor("a", { 64, 64 })
return {
  version = 1, model = m,
  source = { mesh = side, format = { mx.rule(mx.mxfp8 { elem = "e4m3", scale = "rceil" }, "**") },
             layout = { mx.rule(mx.split { row = "tp" }, "**") } },
  target = { mesh = side, format = { mx.rule(mx.bf16(), "**") }, layout = { mx.rule(mx.split { col = "tp" }, "**") } },
}
LUA
dir=$work/turn
expect 0 shard "$dir.lua" --random 1 --out "$dir/source" --keep-original "$dir/original"
cp -r "$dir/source" "$dir/before"
ln -s source "$dir/link"
for place in source source/ link; do
  refused 1 run "$dir.lua" --weights "$dir/source" --out "$dir/$place" && says "the one that is read"
done
same "$dir/before" "$dir/source"
refused 1 shard "$dir.lua" --from "$dir/original" --out "$dir/original" && says "the one that is read"
mkdir "$dir/theirs"
echo keep >"$dir/theirs/model-00001-of-00001.safetensors"
echo keep >"$dir/theirs/model.safetensors.index.json"
refused 1 run "$dir.lua" --weights "$dir/source" --out "$dir/theirs" && says "model-00001-of-00001.safetensors"
refused 1 shard "$dir.lua" --random 1 --out "$dir/none" --keep-original "$dir/theirs" && says "of another result"
refused 1 shard "$dir.lua" --random 1 --out "$dir/none" --keep-original "$dir/none/" && says "in one folder"
leaves_nothing "$dir/none"
[ "$(cat "$dir/theirs/"*)" = "$(printf 'keep\nkeep')" ] || fail "another's checkpoint was changed"

# Nor does an index stay that was of files that are replaced by parts of tensors.
sed '/target = /s/mx.split { col = "tp" }/mx.whole()/' "$dir.lua" >"$work/whole.lua"
for turn in first again; do expect 0 run "$work/whole.lua" --weights "$dir/source" --out "$dir/target" --all-ranks; done
cp -r "$dir/target" "$dir/indexed"
refused 1 run "$dir.lua" --weights "$dir/source" --out "$dir/target" && says "holds model.safetensors.index.json"
same "$dir/indexed" "$dir/target"
rm "$dir/target/model.safetensors.index.json"
expect 0 run "$dir.lua" --weights "$dir/source" --out "$dir/target"

# Other sources and targets: an original in MXFP8, its own target.
expect 0 shard recipes/tiny_moe.lua --from "$work/tiny_moe/target" --out "$work/from_mxfp8"
expect 0 run recipes/tiny_moe.lua --weights "$work/from_mxfp8" --out "$work/to_mxfp8"
expect 0 verify recipes/tiny_moe.lua --weights "$work/to_mxfp8" --original "$work/tiny_moe/target"
finish
