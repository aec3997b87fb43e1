# test_manual.sh -- the manual and the completion: made from the tables, complete, and clean to formatters.
source "$(dirname "$0")/common.sh"

page() { # FILE ARGUMENTS...: also $work/plain, what a reader sees
  expect 0 help "${@:2}"
  cp "$work/out" "$work/$1"
  sed -E 's/\\f[BIR]//g; s/\\-/-/g; s/\\\(rs/\\/g; s/\\&//g; s/\\\(aq/'"'"'/g; s/\\\(ga/`/g; s/\\\(dq/"/g; s/\\\(ha/^/g; s/\\\(ti/~/g' "$work/out" \
    >"$work/plain"
  if command -v groff >/dev/null; then
    groff -ww -man -Tascii "$work/$1" >"$work/formatted" 2>"$work/warnings" || fail "groff: $1"
    [ -s "$work/warnings" ] && fail "groff warns of $1: $(head -3 "$work/warnings")"
    [ "$(wc -l <"$work/formatted")" -gt 50 ] || fail "$1 is nearly empty"
  fi
  if command -v man >/dev/null; then
    LC_ALL=C.UTF-8 MANROFFSEQ= man --warnings -l "$work/$1" >/dev/null 2>"$work/warnings" || fail "man: $1"
    [ -s "$work/warnings" ] && fail "man warns of $1: $(head -3 "$work/warnings")"
  fi
}
has() { grep -qF -- "$1" "$work/plain" || fail "$2 does not name '$1'"; }
has_line() { grep -qxF -- "$1" "$work/plain" || fail "$2 has no line '$1'"; }

page mxgen.1 --roff mxgen
verbs=$("$mxgen" help | sed -nE '/^verbs/,/^$/s/^  ([a-z]+) .*/\1/p')
[ "$(wc -w <<<"$verbs")" -ge 10 ] || fail "the verbs cannot be read"
options=0
for verb in $verbs; do
  [ "$verb" = help ] && continue
  grep -qE "^\.SS \"mxgen $verb" "$work/plain" || fail "mxgen.1 has no verb $verb"
  for option in $("$mxgen" help "$verb" | sed -nE '/^options/,$s/^ .* (--[a-z-]+).*/\1/p'); do
    awk -v head=".SS \"mxgen $verb" 'index($0, head) == 1 { on = 1; next } /^\.S[SH] / { on = 0 } on' "$work/plain" |
      grep -qE -- "^(-., )?$option( |\$)" || fail "mxgen.1: $verb has no $option"
    options=$((options + 1))
  done
done
[ "$options" -gt 40 ] || fail "only $options options were looked for"
for name in MXGEN_NVRTC MXGEN_LIBCUDA NO_COLOR; do has_line "$name" mxgen.1; done

page mxgen-recipe.5 --roff mxgen-recipe
keys=$(sed -nE 's/^    \{"([a-z0-9_]+)", "([a-z0-9_]+)", MXG_TYPE.*/\1.\2/p' gen/recipe/schema.c)
[ "$(wc -w <<<"$keys")" -gt 50 ] || fail "the schema cannot be read"
expect 0 help recipe && cp "$work/out" "$work/text"
for key in $keys; do
  case ${key%.*} in
    recipe | side | schedule) title=${key%.*} ;;
    hf) title="mx.hf.<family>" ;;
    *) title=mx.${key%.*} ;;
  esac
  awk -v head=".SS \"$title\"" '$0 == head { on = 1; next } /^\.S[SH] / { on = 0 } on' "$work/plain" | grep -qxF "${key#*.}" ||
    fail "mxgen-recipe.5: no $key"
  awk -v head="  $title" '$0 == head { on = 1; next } /^  [^ ]/ { on = 0 } on' "$work/text" | grep -qxF "    ${key#*.}" ||
    fail "help recipe: no $key"
done
for name in param model mxfp8 fp8 fp8_block bf16 rule whole split mesh stages names megatron even_stages; do
  has "mx.$name" mxgen-recipe.5
  grep -qF "mx.$name" "$work/text" || fail "help recipe: no mx.$name"
done

page libmxgen.3 --roff libmxgen "$root/runtime/mxrt.h" "$root/gen/mxgen.h"
functions=$(cat runtime/mxrt.h gen/mxgen.h | sed -nE 's/^[a-z].*[ *](mxg_[a-z0-9_]+)\(.*/\1/p')
[ "$(wc -w <<<"$functions")" -ge 12 ] || fail "the headers cannot be read"
for name in $functions; do has "$name(" libmxgen.3; done
codes=$(find runtime -name codes.def -exec sed -n 's/^X(\([0-9]*\),.*/\1/p' {} +)
for code in $codes; do has "MX$(printf %04d "$code") " libmxgen.3; done
refused 1 help --roff libmxgen /nowhere/mxrt.h && says "/nowhere/mxrt.h"
refused 2 help --roff nonsense && says "no page"

# Completion, as bash does it.
expect 0 help --completion bash && cp "$work/out" "$work/completion"
complete_words() { # WORD...: completes the last
  bash -c 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _mxgen; echo "${COMPREPLY[*]}"' - "$work/completion" "$@"
}
cd "$work" && touch a_recipe.lua
[ "$(complete_words mxgen che)" = check ] || fail "completion of a verb: $(complete_words mxgen che)"
[ "$(complete_words mxgen a_re)" = a_recipe.lua ] || fail "completion of a recipe"
[ "$(complete_words mxgen check --wei)" = --weights ] || fail "completion of an option"
[ "$(complete_words mxgen check a_re)" = a_recipe.lua ] || fail "completion of an operand"
[ "$(complete_words mxgen a_recipe.lua --emb)" = --embed ] || fail "completion of generate's options without its name"
[ -z "$(complete_words mxgen check --set a_re)" ] || fail "completion of a value that is no file"
completes() { # WANT WORD...: what the last word becomes
  local got
  got=$(complete_words "${@:2}")
  [ "$got" = "$1" ] || fail "completion of ${*:2}: '$got', not '$1'"
}
mkdir a_folder
completes "ls trim clear" mxgen cache ""
completes trim mxgen cache t
completes "" mxgen cache a_re
completes "kernels" mxgen bench ker
completes a_recipe.lua mxgen bench a_re
completes direct mxgen run a_recipe.lua --transport d
completes host mxgen run a_recipe.lua --transport h
completes "" mxgen bench a_recipe.lua --transport h
completes "auto all" mxgen bench a_recipe.lua --transport a
completes native mxgen a_recipe.lua --arch n
completes "sm_90 sm_90a" mxgen generate a_recipe.lua --arch sm_9
completes "sm_80,native" mxgen a_recipe.lua --arch sm_80,n
completes "sm_80,native" mxgen a_recipe.lua --arch = sm_80,n
completes target mxgen check a_recipe.lua --side t
completes a_recipe.lua mxgen init --out a_re
completes a_recipe.lua mxgen init config.json -o a_re
completes a_folder mxgen init --from-weights a_
completes a_folder mxgen run a_recipe.lua -w a_
completes "" mxgen help nonsense
# What is offered is taken: no verb refuses it as a value of the option.
for transport in $(complete_words mxgen run --transport ""); do
  "$mxgen" run a_recipe.lua --weights none --out none --transport "$transport" 2>&1 | grep -q 'MX0904' && fail "run --transport $transport"
done
for transport in $(complete_words mxgen bench --transport ""); do
  "$mxgen" help bench | grep -A1 -e '--transport' | grep -qw "$transport" || fail "bench --transport $transport"
done
for arch in $(complete_words mxgen a_recipe.lua --arch ""); do
  "$mxgen" a_recipe.lua --arch "$arch" --out none 2>&1 | grep -q 'MX0503' && fail "--arch $arch"
done
finish
