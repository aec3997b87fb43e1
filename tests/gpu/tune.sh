#!/usr/bin/env bash
# tune.sh -- `mxgen tune` on this machine's GPUs: the table, the file, that generate and the runtime take it and say so, and
# that bytes stay right with it. Exit 77 where there is no GPU.
#
#   tests/gpu/tune.sh MXGEN SOURCE_FOLDER
set -u
mxgen=$1 root=$2
source "$(dirname "$0")/common.sh"

cp "$root/tests/bench/recipes/one_row.lua" "$work/r.lua"
"$mxgen" tune "$work/r.lua" --repeats 5 >"$work/out" 2>"$work/err"
case $? in
3) cat "$work/err"; exit 77 ;;
0) ;;
*) cat "$work/out" "$work/err"; exit 1 ;;
esac
cat "$work/out"
grep -q ' best$' "$work/out" || { echo "FAILED: no best trial"; failed=1; }
grep -q ' [0-9]* threads ' "$work/out" || { echo "FAILED: no kernel was tried in another shape"; failed=1; }
expect 0 "tuned: " plan "$work/r.lua"
expect 0 " measured " plan "$work/r.lua" --predict
expect 0 "auto: tuned: \|auto: copy: tuned: \|auto: direct: tuned: " bench "$work/r.lua" --transport auto --repeats 5
grep -q 'is not used' "$work/err" && { echo "FAILED: a fresh file does not fit: $(cat "$work/err")"; failed=1; }
# stale, and foreign: a warning, and the cost model's choice
cp "$work/r.tune" "$work/kept"
echo "-- edited" >>"$work/r.lua"
expect 0 "is not the one that was tuned" bench "$work/r.lua" --transport auto --repeats 5
cp "$root/tests/bench/recipes/one_row.lua" "$work/r.lua"
python3 - "$work" <<'PY'
import hashlib, re, sys
text = open(sys.argv[1] + "/kept").read()
body = re.sub(r"(?m)^gpu .*$", "gpu NVIDIA Other", text[:text.rindex("end ")])
open(sys.argv[1] + "/r.tune", "w").write(body + "end %s\n" % hashlib.sha256(body.encode()).hexdigest()[:16])
PY
expect 0 "tuned on NVIDIA Other" bench "$work/r.lua" --transport auto --repeats 5
expect 0 "us expected of copy" bench "$work/r.lua" --transport auto --repeats 5
exit $failed
