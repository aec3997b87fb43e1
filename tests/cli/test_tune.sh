# test_tune.sh -- what a schedule is expected to take, and the file beside a recipe: who reads it, and what is said of one that
# does not fit. Measuring needs a GPU: tests/gpu/tune.sh.
source "$(dirname "$0")/common.sh"
recipe=recipes/llama3_8b_tp2.lua

expect 0 plan $recipe --set layers=2 --predict && prints "copy us" && prints "rates of two H200" && prints "transport  "
[ "$(grep -cE '^ +[01] +all ' "$work/out")" = 2 ] || fail "not one line a rank: $(cat "$work/out")"
expect 0 plan $recipe --set layers=2 --predict --rank 1
grep -qE '^ +1 +bucket 0 ' "$work/out" || fail "no group of rank 1"
grep -qE '^ +0 ' "$work/out" && fail "another rank"
expect 0 plan $recipe --set layers=2 --predict --full --json && parses "plan --predict --json"
python3 - "$work/out" <<'PY' || fail "plan --predict --json"
import json, sys
plan = json.load(open(sys.argv[1]))
rates, rows = plan["rates"], plan["expected"]
ranks = [r for r in rows if r["group"] == "all"]
assert len(ranks) == 2
for rank in ranks:
    groups = [r for r in rows if r["rank"] == rank["rank"] and r is not rank]
    assert groups
    for key in ("received_bytes", "converted_bytes"):
        assert sum(int(b[key]) for b in groups) == int(rank[key])
    floor = max(int(rank["received_bytes"]) / rates["copy_pull_gb_s"], int(rank["converted_bytes"]) / rates["memory_gb_s"]) * 1e-3
    assert abs(float(rank["floor_us"]) - floor) < 0.2, (rank, floor)
    assert all(float(rank["floor_us"]) <= float(rank[t + "_us"]) for t in ("copy", "direct", "nccl"))
PY
refused 2 plan $recipe --predict --rank 9 && says "ranks 0 to 1"
refused 2 tune
refused 2 tune a.mxb && says "takes a recipe"
refused 2 tune $recipe --bucket 1 && says "--bucket"
if "$mxgen" doctor | grep -q '^driver *not found'; then
  refused 3 tune $recipe && says "MX0521"
  [ -e recipes/llama3_8b_tp2.tune ] && fail "a file without a GPU"
fi

# A file for a recipe of ours, as mxgen tune writes it.
cp recipes/tiny_dense.lua "$work/r.lua"
# write KEY=VALUE...: the file, with these lines in place of what fits.
write() {
  python3 - "$work" "$("$mxgen" --version | cut -d' ' -f2)" "$@" <<'PY'
import hashlib, struct, sys
work, version, *changes = sys.argv[1:]
digest = hashlib.sha256(open(work + "/r.lua", "rb").read()).digest()
fields = {"mxgen": version, "recipe": hashlib.sha256(struct.pack("<Q", 32) + digest).hexdigest(), "gpus": "2",
          "gpu": "NVIDIA Test", "capability": "9.0", "cuda": "13.0", "copy_pull": "200000000000", "kernel_pull": "0",
          "transport": "copy", "chunk": "16777216", "streams": "3", "bucket": "1048576",
          "kernel": "dequantize 128 8", "measured copy": "10000", "measured direct": "20040",
          "because": "copy 10.0 us, direct 20.0 us on 2 of NVIDIA Test"}
fields.update(change.split("=", 1) for change in changes)
text = "mxgen tune %s\n" % fields.pop("format", "2")
text += "".join("%s %s\n" % line for line in fields.items())
text += "end %s\n" % hashlib.sha256(text.encode()).hexdigest()[:16]
open(work + "/r.tune", "w").write(text)
PY
}
# ignored WORDS: the last run went well, and warned once, with these words.
ignored() {
  [ "$(grep -c 'r.tune is not used' "$work/err")" = 1 ] && says "$1" || fail "no warning that says '$1'"
}

expect 0 "$work/r.lua" --source-only --out "$work/plain"
write
if "$mxgen" doctor | grep -q '^driver *not found'; then
  expect 0 plan "$work/r.lua" && prints "transport  copy: tuned: copy 10.0 us, direct 20.0 us on 2 of NVIDIA Test"
  [ -s "$work/err" ] && fail "a warning: $(cat "$work/err")"
  prints " chunk 16777216 streams 3 bucket 1048576 kernels dequantize 128 threads 8 bytes"
  grep -q 'mx_dequantize_' "$work/out" || fail "no kernel that the file is about"
  grep 'mx_dequantize_' "$work/out" >"$work/tuned_kernels"
  expect 0 plan "$work/r.lua" --no-tune
  grep 'mx_dequantize_' "$work/out" | cmp -s - "$work/tuned_kernels" && fail "kernels do not know of the file"
  expect 0 plan "$work/r.lua" --predict && prints "rates of r.tune, GB/s while all GPUs receive: copy engines 200.0, kernels 337.0"
  prints "measured: us of a run"
  grep -qE '^ +- +run .* 10\.0 .* 20\.0 ' "$work/out" || fail "no measured times beside those of the model: $(cat "$work/out")"
  expect 0 plan "$work/r.lua" --predict --json && parses "plan --predict --json"
  python3 - "$work/out" <<'PY' || fail "plan --predict --json does not say what was measured"
import json, sys
rows = json.load(open(sys.argv[1]))["expected"]
run = [r for r in rows if r["group"] == "run"]
assert len(run) == 1 and run[0]["copy_measured_us"] == "10.0" and run[0]["direct_measured_us"] == "20.0", run
assert "nccl_measured_us" not in run[0]
for t in ("copy_us", "direct_us", "nccl_us", "floor_us"):
    assert float(run[0][t]) == max(float(r[t]) for r in rows if r["group"] == "all")
assert all(r["copy_measured_us"] == "-" for r in rows if r["group"] != "run")
PY
  expect 0 "$work/r.lua" --source-only --out "$work/tuned" && prints "tuned: copy 10.0 us"
  cmp -s "$work/plain/tiny_dense.mxb" "$work/tuned/tiny_dense.mxb" && fail "the bundle does not know"
  grep -q 'r\.tune' "$work/tuned/tiny_dense.d" || fail "make is not told of the file"
  expect 0 show "$work/tuned/tiny_dense.mxb" && prints "tuned: copy 10.0 us"
  expect 0 show "$work/tuned/tiny_dense.mxb" --json && parses "show --json" && prints '"transport": "copy"'
fi
expect 0 plan "$work/r.lua" --no-tune && prints "us expected of copy"
expect 0 "$work/r.lua" --source-only --no-tune --out "$work/untuned"
cmp "$work/plain/tiny_dense.mxb" "$work/untuned/tiny_dense.mxb" || fail "--no-tune makes another bundle"

# Whatever does not fit is a warning, and the bundle is the one without a file.
expect 0 plan "$work/r.lua" --set layers=1 && ignored "without --set"
write mxgen=9.9.9
expect 0 plan "$work/r.lua" && ignored "it is from mxgen 9.9.9"
write format=3
expect 0 plan "$work/r.lua" && ignored "too new: it has format 3"
write format=1
expect 0 plan "$work/r.lua" && ignored "too old: it has format 1"
write kernel="dequantize 100 8"
expect 0 plan "$work/r.lua" && ignored "a shape that no kernel can have"
write kernel="dequantise 128 8"
expect 0 plan "$work/r.lua" && ignored "a family of kernels that there is not"
write transport=teleport
expect 0 plan "$work/r.lua" && ignored "a transport that there is not"
write chunk=012
expect 0 plan "$work/r.lua" && ignored "no number"
write
sed -i 's/^streams 3/streams 4/' "$work/r.tune"
expect 0 plan "$work/r.lua" && ignored "damaged, or was edited"
write
echo "-- edited" >>"$work/r.lua"
expect 0 plan "$work/r.lua" && ignored "the recipe, or what it includes, is not the one that was tuned"
expect 0 "$work/r.lua" --source-only --out "$work/stale" && ignored "is not the one that was tuned"
finish
