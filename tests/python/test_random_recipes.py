#!/usr/bin/env python3
"""Random recipes over a small dense and a small expert model: any format and layout on either side. Each is checked, sharded from a
random model, run on host ranks and verified against the original. Only the standard library is needed.

    test_random_recipes.py MXGEN [COUNT [SEED]]     default: 24 recipes from seed 1; a failure prints the recipe"""
import os
import random
import subprocess
import sys
import tempfile

MODEL = """local mx = require "mx"
local L, H, F, FE, E, V, D = 2, 256, 384, 128, 8, 250, 32
local HEADS, GROUPS = 8, 4
local m = mx.model "random"
m:tensor("embed", { V, H }):pad_rows(16)
for i = 0, L - 1 do
  local b = m:scope("layers.%d", i)
  b:tensor("attn.norm", { H })
  b:fused("attn.qkv", { { "q", HEADS * D }, { "k", GROUPS * D }, { "v", GROUPS * D } }, H):interleave(GROUPS)
  b:tensor("attn.out", { H, HEADS * D })
  b:tensor("mlp.norm", { H })
  if i == 0 then
    b:fused("mlp.gate_up", { { "gate", F }, { "up", F } }, H)
    b:tensor("mlp.down", { H, F })
  else
    b:tensor("moe.router", { E, H })
    b:fused("moe.experts.gate_up", { { "gate", FE }, { "up", FE } }, H, E)
    b:tensor("moe.experts.down", { E, H, FE })
  end
end
m:tensor("norm", { H })
m:tied("head", "embed")
m:tied("copy", "embed")
"""

def mxfp8(rng):
    block = rng.choice(["32", "{ 32, 1 }", "{ 32, 32 }", "32", "32"])
    options = [f'elem = "{rng.choice(["e4m3", "e4m3", "e5m2"])}"', f"block = {block}",
               f'scale = "{rng.choice(["floor", "rceil", "rceil", "ceil", "even"])}"',
               f'nan = "{rng.choice(["block", "element"])}"', "otherwise = mx.bf16()"]
    if block == "32":
        options.append(f'direction = "{rng.choice(["rowwise", "rowwise", "columnwise", "both"])}"')
    if block != "{ 32, 32 }":
        options.append(f'scales = "{rng.choice(["compact", "padded", "swizzled"])}"')
    if rng.random() < 0.3:
        options.append('scale_dtype = "e8m0"')
    return "mx.mxfp8 { " + ", ".join(options) + " }"


def scaled(rng):
    kind = rng.random()
    if kind < 0.6:
        return mxfp8(rng)
    elem = rng.choice(["e4m3", "e5m2"])
    if kind < 0.75:
        return f'mx.fp8 {{ elem = "{elem}" }}'
    return (f'mx.fp8_block {{ elem = "{elem}", scale = "{rng.choice(["fp32", "fp32", "rceil", "floor"])}", '
            "otherwise = mx.bf16() }")


def plain(rng):
    return rng.choice(["mx.bf16()", "mx.bf16()", "mx.fp16()", "mx.fp32()"])


def formats(rng):
    """High precision where it is usual, and anything elsewhere."""
    high = plain(rng)
    rules = [f'mx.rule({high}, "embed", "**norm", "**.router")']
    if rng.random() < 0.4:
        rules.append(f'mx.rule({scaled(rng)}, "**.attn.out", "**.down")')
    rules.append(f'mx.rule({scaled(rng) if rng.random() < 0.75 else plain(rng)}, "layers.**")')
    return rules, high


def side(rng, first_rank):
    tp, ep, pp = rng.choice([1, 2, 4]), rng.choice([1, 2, 4]), rng.choice([1, 1, 2])
    rules, high = formats(rng)
    lines = []
    if rng.random() < 0.5:  # one mesh of named axes
        ranks = pp * ep * tp
        lines.append(f'mesh = mx.mesh {{ {{ "pp", {pp} }}, {{ "ep", {ep} }}, {{ "tp", {tp} }} }}')
        etp = "tp"
    else:  # two meshes over the same ranks
        inner = ep * rng.choice([1, 2])
        ranks = pp * max(tp, inner) * (1 if max(tp, inner) % min(tp, inner) == 0 else min(tp, inner))
        lines.append(f"mesh = mx.megatron {{ tp = {tp}, pp = {pp}, ep = {ep}, etp = {inner // ep}, world = {ranks} }}")
        etp = "etp"
    if pp > 1:
        lines.append('stages = mx.even_stages { axis = "pp", layers = L, scope = "layers.%d", stages = 2, '
                     'first = { "embed" }, last = { "norm", "head", "copy" } }')
    tied = rng.choice(["once", "both"])
    lines.append(f'tied = "{tied}"')
    if tied == "both":
        rules.insert(0, f'mx.rule({high}, "head", "copy")')
    lines.append("format = { " + ",\n      ".join(rules) + " }")
    experts = rng.choice(['expert = "ep"', f'expert = "ep", row = "{etp}"', f'expert = "ep", col = "{etp}"'])
    layout = ['mx.rule(mx.whole(), "**norm", "**.router")']
    layout.append(f'mx.rule(mx.split {{ {experts} }}, "**.moe.experts.*")')
    order = rng.choice(["", ', order = "parts"'])
    if rng.random() < 0.8:
        layout.append('mx.rule(mx.split { col = "tp" }, "**.attn.out", "**.mlp.down")')
        layout.append(f'mx.rule(mx.split {{ row = "tp"{order} }}, "**")')
    else:
        layout.append('mx.rule(mx.whole(), "**")')
    lines.append("layout = { " + ",\n      ".join(layout) + " }")
    lines.append(f"first_rank = {first_rank}")
    return lines, ranks


def recipe(rng):
    source, ranks = side(rng, 0)
    target, _ = side(rng, rng.choice([0, 0, 1, ranks]))
    suffix = rng.choice(["_scale", "_scale_inv"])
    if rng.random() < 0.6:
        apart = ".e{e}" if rng.random() < 0.5 else ""
        tied = "" if 'tied = "both"' in "\n".join(target) else None
        rules = ['{ "embed", "model.embed.weight" }', '{ "norm", "model.norm.weight" }']
        if tied is not None:
            rules += ['{ "head", "lm_head.weight" }', '{ "copy", "copy.weight" }']
        rules += ['{ "layers.*.attn.qkv", q = "m.{1}.q.weight", k = "m.{1}.k.weight", v = "m.{1}.v.weight" }',
                  f'{{ "layers.*.moe.experts.gate_up", gate = "m.{{1}}{apart}.gate.weight", up = "m.{{1}}{apart}.up.weight" }}',
                  f'{{ "layers.*.moe.experts.down", "m.{{1}}{apart}.down.weight" }}',
                  '{ "layers.*.mlp.gate_up", gate = "m.{1}.gate.weight", up = "m.{1}.up.weight" }',
                  '{ "layers.**", "m.{1}.weight" }']
        target.append(f'names = mx.names {{ scale = "{suffix}",\n      ' + ",\n      ".join(rules) + " }")
    bucket = rng.choice(["16KiB", "64KiB", "1MiB"])
    text = MODEL + 'return {\n  version = 1, name = "random", model = m,\n'
    for name, lines in (("source", source), ("target", target)):
        text += f"  {name} = {{\n    " + ",\n    ".join(lines) + ",\n  },\n"
    return text + f'  schedule = {{ bucket = "{bucket}", slots = {rng.choice([1, 2, 3])}, staging = "64MiB" }},\n}}\n'


def fail(text, step, done):
    sys.exit(f"{text}\n{step} failed with {done.returncode}\n{done.stdout}{done.stderr}")


def main():
    mxgen = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 24
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    moved = 0
    for number in range(seed, seed + count):
        rng = random.Random(number)
        text = recipe(rng)
        with tempfile.TemporaryDirectory() as folder:
            path, source, target = (os.path.join(folder, n) for n in ("random.lua", "source", "target"))
            with open(path, "w", encoding="ascii") as stream:
                stream.write(text)

            def command(*words):
                return subprocess.run([mxgen, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

            for step in (("check", path), ("shard", path, "--random", str(number), "--out", source),
                         ("run", path, "--weights", source, "--out", target, "--all-ranks"),
                         ("verify", path, "--weights", target, "--random", str(number))):
                done = command(*step)
                if done.returncode:
                    fail(f"-- recipe {number}\n{text}", step[0], done)
            moved += 1
    print(f"{moved} random recipes checked, sharded, run and verified")


if __name__ == "__main__":
    main()
