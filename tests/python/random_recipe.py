"""Random recipes over a small dense and expert model, for tests that move what they say: any format and layout on either
side, sizes that blocks divide and others, and source and target ranks of any number. Only the standard library is needed.

    recipe(random.Random(seed), most_ranks=None) -> text

A recipe is always right. With most_ranks both sides together have no more ranks than that. Run as a program, it prints
one:

    random_recipe.py SEED [MOST_RANKS]"""
import math
import random
import sys

MODEL = """local mx = require "mx"
local L, H, F, FE, E, V, D = 2, %(H)d, %(F)d, %(FE)d, %(E)d, %(V)d, %(D)d
local HEADS, GROUPS = %(HEADS)d, %(GROUPS)d
local m = mx.model "random"
m:tensor("embed", { V, H }):pad_rows(%(pad)d)
for i = 0, L - 1 do
  local b = m:scope("layers.%%d", i)
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


class Sizes:
    """Of a model, and of the axes that divide them: powers of two, or with a factor of three."""

    def __init__(self, rng):
        self.thirds = rng.random() < 0.3
        most = 6 if self.thirds else 4
        self.tp, self.ep = ([1, 2, 3, 6], [1, 2, 3]) if self.thirds else ([1, 2, 4], [1, 2, 4])
        groups = rng.choice([most, most, 2 * most])
        even = rng.random() < 0.5
        times = 3 if self.thirds else 1
        self.of = {
            "H": times * rng.choice([64, 128, 256][:4 - times] if even else [4, 36, 68, 100, 132]),
            "F": times * rng.choice([128, 384] if even else [4, 20, 132, 196]),
            "FE": times * rng.choice([64, 128] if even else [8, 28, 64, 132]),
            "E": rng.choice([most, most, 2 * most]) * (1 if even else rng.choice([1, 1, 3])),
            "V": rng.choice([250, 1, 33, 128]),
            "D": 32 if even else rng.choice([1, 6, 16, 33]),
            "HEADS": groups * rng.choice([1, 2, 3]),
            "GROUPS": groups,
            "pad": times * rng.choice([1, 16, 32]),
        }


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


def mesh(rng, sizes):
    """(ranks, what the recipe says of it, axes of experts' rows, stages)"""
    tp, ep, pp, dp = rng.choice(sizes.tp), rng.choice(sizes.ep), rng.choice([1, 1, 2]), rng.choice([1, 1, 2, 3])
    if rng.random() < 0.5:  # one mesh of named axes
        axes = [f'{{ "pp", {pp} }}', f'{{ "ep", {ep} }}', f'{{ "tp", {tp} }}']
        axes.insert(rng.randrange(4), f'{{ "dp", {dp} }}')
        return pp * ep * tp * dp, f'mx.mesh {{ {", ".join(axes)} }}', "tp", pp
    etp = rng.choice([1, 1, 2, tp])  # two meshes over the same ranks
    ranks = pp * math.lcm(tp, ep * etp) * dp
    return ranks, f"mx.megatron {{ tp = {tp}, pp = {pp}, ep = {ep}, etp = {etp}, world = {ranks} }}", "etp", pp


def side(rng, first_rank, sizes, most_ranks):
    rules, high = formats(rng)
    ranks, text, etp, pp = mesh(rng, sizes)
    while most_ranks and first_rank + ranks > most_ranks:
        ranks, text, etp, pp = mesh(rng, sizes)
    lines = [f"mesh = {text}"]
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
        if rng.random() < 0.2:
            layout.append(f'mx.rule(mx.split {{ row = {{ "dp", "tp" }} }}, "embed")')
        layout.append(f'mx.rule(mx.split {{ row = "tp"{order} }}, "**")')
    else:
        layout.append('mx.rule(mx.whole(), "**")')
    lines.append("layout = { " + ",\n      ".join(layout) + " }")
    lines.append(f"first_rank = {first_rank}")
    return lines, ranks


def names(rng, tied):
    suffix = rng.choice(["_scale", "_scale_inv"])
    apart = ".e{e}" if rng.random() < 0.5 else ""
    rules = ['{ "embed", "model.embed.weight" }', '{ "norm", "model.norm.weight" }']
    if tied:
        rules += ['{ "head", "lm_head.weight" }', '{ "copy", "copy.weight" }']
    rules += ['{ "layers.*.attn.qkv", q = "m.{1}.q.weight", k = "m.{1}.k.weight", v = "m.{1}.v.weight" }',
              f'{{ "layers.*.moe.experts.gate_up", gate = "m.{{1}}{apart}.gate.weight", '
              f'up = "m.{{1}}{apart}.up.weight" }}',
              f'{{ "layers.*.moe.experts.down", "m.{{1}}{apart}.down.weight" }}',
              '{ "layers.*.mlp.gate_up", gate = "m.{1}.gate.weight", up = "m.{1}.up.weight" }',
              '{ "layers.**", "m.{1}.weight" }']
    return f'names = mx.names {{ scale = "{suffix}",\n      ' + ",\n      ".join(rules) + " }"


def schedule(rng):
    bucket = rng.choice(["16KiB", "64KiB", "1MiB"])
    groups = ', groups = "layer"' if rng.random() < 0.3 else ""
    return f'schedule = {{ bucket = "{bucket}", slots = {rng.choice([1, 2, 3])}, staging = "64MiB"{groups} }}'


def recipe(rng, most_ranks=None):
    sizes = Sizes(rng)
    source, ranks = side(rng, 0, sizes, most_ranks)
    first = rng.choice([0, 0, 1, ranks])
    if most_ranks and first >= most_ranks:
        first = 0
    target, _ = side(rng, first, sizes, most_ranks)
    if rng.random() < 0.6:
        target.append(names(rng, 'tied = "both"' in "\n".join(target)))
    text = MODEL % sizes.of + 'return {\n  version = 1, name = "random", model = m,\n'
    for name, lines in (("source", source), ("target", target)):
        text += f"  {name} = {{\n    " + ",\n    ".join(lines) + ",\n  },\n"
    return text + f"  {schedule(rng)},\n}}\n"


if __name__ == "__main__":
    print(recipe(random.Random(int(sys.argv[1])), int(sys.argv[2]) if len(sys.argv) > 2 else None), end="")
