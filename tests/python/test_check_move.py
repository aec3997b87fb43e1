#!/usr/bin/env python3
"""Tests the checker: a move made with scalar loops must be found equal, and every kind of damage must be found.

The maker below knows nothing of numpy's layouts or of ml_dtypes: elements are chosen by trying all 256 codes, scales by
trying all 255 bytes, rows by walking the layout one by one. Takes a few seconds."""
import json
import math
import os
import random
import struct
import sys
import tempfile

try:
    import check_move
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

H, GROUPS, FFN, EXPERTS, VOCAB, TP, EP = 64, 2, 64, 4, 10, 2, 2


def decode(code, elem):
    """An fp8 code's value, from the definition."""
    bits, bias = (3, 7) if elem == "e4m3" else (2, 15)
    exponent, fraction = (code & 0x7F) >> bits, code & ((1 << bits) - 1)
    if elem == "e4m3" and code & 0x7F == 0x7F:
        return math.nan
    if elem == "e5m2" and exponent == 31:
        return math.nan if fraction else math.inf
    value = math.ldexp(fraction, 1 - bias - bits) if exponent == 0 else math.ldexp((1 << bits) + fraction,
                                                                                  exponent - bias - bits)
    return -value if code & 0x80 else value


TABLES = {elem: [decode(code, elem) for code in range(128)] for elem in ("e4m3", "e5m2")}
CODES = {elem: [c for c in range(128) if math.isfinite(TABLES[elem][c])] for elem in TABLES}


def nearest(value, elem):
    """Nearest code, ties to the even one, saturating; the sign of zero is kept."""
    magnitude, table = abs(value), TABLES[elem]
    best = min(CODES[elem], key=lambda c: (abs(table[c] - magnitude), c & 1))
    return best | (0x80 if math.copysign(1, value) < 0 else 0)


def block_scale(values, how):
    """The scale byte of one block, by search."""
    largest = max(abs(v) for v in values)
    top = {"e4m3": 448.0, "e5m2": 57344.0}[how["elem"]]
    emax = {"e4m3": 8, "e5m2": 15}[how["elem"]]
    if largest == 0:
        return 0
    if how["rule"] == "rceil":
        return next(s for s in range(255) if largest <= top * 2.0 ** (s - 127))
    if how["rule"] == "ceil":
        return next(s for s in range(255) if largest <= 2.0 ** (s - 127 + emax))
    if how["rule"] == "even":  # the largest magnitude rounded to the element's mantissa, half up
        step = 2.0 ** (math.floor(math.log2(largest)) - (3 if how["elem"] == "e4m3" else 2))
        largest = math.floor(largest / step + 0.5) * step
    return max((s for s in range(255) if 2.0 ** (s - 127 + emax) <= largest), default=0)


def quantise(matrix, how):
    """Lists of rows -> codes and scale bytes, block by block."""
    block_rows, block_cols = how["block"]
    rows, cols = len(matrix), len(matrix[0])
    codes = [[0] * cols for _ in range(rows)]
    scales = [[0] * math.ceil(cols / block_cols) for _ in range(math.ceil(rows / block_rows))]
    for i in range(len(scales)):
        for j in range(len(scales[0])):
            cells = [(r, c) for r in range(i * block_rows, min(rows, (i + 1) * block_rows))
                     for c in range(j * block_cols, min(cols, (j + 1) * block_cols))]
            values = [matrix[r][c] for r, c in cells]
            odd = not all(math.isfinite(v) for v in values)
            scales[i][j] = 255 if odd else block_scale(values, how)
            for (r, c), value in zip(cells, values):
                codes[r][c] = 0x7F if odd else nearest(value * 2.0 ** (127 - scales[i][j]), how["elem"])
    return codes, scales


def bf16_value(bits):
    return struct.unpack("<f", struct.pack("<I", bits << 16))[0]


def bf16_bits(value):
    if math.isnan(value):
        return 0x7FFF
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16


def flat(rows):
    return [x for row in rows for x in row]


def write(path, tensors):
    """tensors: name -> (dtype, shape, list of bits)."""
    header, data = {}, b""
    for name, (dtype, shape, bits) in tensors.items():
        packed = struct.pack("<%d%s" % (len(bits), {"BF16": "H", "F32": "I"}.get(dtype, "B")), *bits)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(packed)]}
        data += packed
    text = json.dumps(header).encode()
    with open(path, "wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text + data)


def make_original(draw):
    """BF16 bits by name, as rows; neighbouring blocks differ by powers of two."""
    def matrix(rows, cols):
        result = []
        for _ in range(rows):
            row = []
            for c in range(cols):
                if c % 32 == 0:
                    power = draw.randrange(-40, 20)
                value = draw.gauss(0, 1) * 2.0 ** power
                row.append(bf16_bits(draw.choice([value, value, value, 0.0, -0.0])))
            result.append(row)
        return result
    original = {"embed": matrix(VOCAB, H), "norm": matrix(1, H)}
    original.update({"q": matrix(64, H), "k": matrix(32, H), "v": matrix(32, H), "o": matrix(H, 64)})
    original.update({"gate": matrix(FFN, H), "up": matrix(FFN, H), "down": matrix(H, FFN)})
    original["router"] = matrix(EXPERTS, H)
    for e in range(EXPERTS):
        original.update({f"e{e}.gate": matrix(32, H), f"e{e}.up": matrix(32, H), f"e{e}.down": matrix(H, 32)})
    original["k"][3][5] = 0x7FC0   # a NaN, an Inf, a block of zeros, a block of very small values
    original["o"][9][40] = 0xFF80
    original["up"][2][:32] = [0] * 32
    original["up"][3][:32] = [0x0001 + c for c in range(32)]
    return original


SPEC = {
    "name": "made by loops", "layers": 0, "source_suffix": "_scale", "target_suffix": "_scale_inv", "target_experts": 2,
    "meshes": [[["tp", TP]], [["ep", EP]]],
    "tensors": [
        {"name": "embed", "parts": ["embed"], "split": {"row": "tp"}, "pad_rows": 4, "format": "bf16",
         "target": "bf16"},
        {"name": "norm", "parts": ["norm"], "format": "bf16", "target": "bf16"},
        {"name": "qkv", "parts": ["q", "k", "v"], "groups": GROUPS, "split": {"row": "tp"}, "format": "mxfp8"},
        {"name": "out", "parts": ["o"], "split": {"col": "tp"}, "format": "mxfp8"},
        {"name": "gate_up", "parts": ["gate", "up"], "split": {"row": "tp"}, "format": "mxfp8"},
        {"name": "down", "parts": ["down"], "split": {"col": "tp"}, "format": "mxfp8"},
        {"name": "router", "parts": ["router"], "format": "fp32", "target": "fp32"},
        {"name": "experts.gate_up", "parts": ["e{E}.gate", "e{E}.up"], "experts": EXPERTS, "split": {"expert": "ep"},
         "format": "mxfp8"},
        {"name": "experts.down", "parts": ["e{E}.down"], "experts": EXPERTS, "split": {"expert": "ep"},
         "format": "mxfp8"},
    ],
}


def slices(original, rank):
    """Array name -> list of (matrix of values, where each row and column comes from), one a matrix of the stack."""
    def rows_of(pairs, cols=None):
        matrix, origin = [], []
        for name, r in pairs:
            source = original[name][r] if name else [0] * H
            first, count = cols if cols else (0, len(source))
            matrix.append([bf16_value(b) for b in source[first:first + count]])
            origin.append((name, r, first))
        return matrix, origin

    g = rank  # one query group a rank
    qkv = [("q", g * 32 + i) for i in range(32)] + [("k", g * 16 + i) for i in range(16)] + \
          [("v", g * 16 + i) for i in range(16)]
    embed = [("embed", r) if r < VOCAB else (None, 0) for r in range(rank * 8, rank * 8 + 8)]
    half = FFN // TP
    gate_up = [(part, rank * half + i) for part in ("gate", "up") for i in range(half)]
    experts = range(rank * 2, rank * 2 + 2)
    return {
        "embed": [rows_of(embed)],
        "norm": [rows_of([("norm", 0)])],
        "qkv": [rows_of(qkv)],
        "out": [rows_of([("o", r) for r in range(H)], (rank * 32, 32))],
        "gate_up": [rows_of(gate_up)],
        "down": [rows_of([("down", r) for r in range(H)], (rank * 32, 32))],
        "router": [rows_of([("router", r) for r in range(EXPERTS)])],
        "experts.gate_up": [rows_of([(f"e{e}.gate", r) for r in range(32)] + [(f"e{e}.up", r) for r in range(32)])
                            for e in experts],
        "experts.down": [rows_of([(f"e{e}.down", r) for r in range(H)]) for e in experts],
    }


def swizzle(scales):
    """Rowwise scales in 128x4 tiles, by the formula; padding is zero."""
    rows, cols = len(scales), len(scales[0])
    tiles_across = math.ceil(cols / 4)
    shape = [math.ceil(rows / 128) * 128, tiles_across * 4]
    out = [0] * (shape[0] * shape[1])
    for i in range(rows):
        for j in range(cols):
            out[(i // 128 * tiles_across + j // 4) * 512 + i % 32 * 16 + i % 128 // 32 * 4 + j % 4] = scales[i][j]
    return shape, out


def make_move(folder, how, target):
    """Writes original, source and target; returns the spec."""
    original = make_original(random.Random(7))
    vectors = ("norm",)
    for name in ("original", "source", "target"):
        os.mkdir(os.path.join(folder, name))
    write(os.path.join(folder, "original", "model.safetensors"),
          {n: ("BF16", [H] if n in vectors else [len(m), len(m[0])], flat(m)) for n, m in original.items()})
    spec = dict(SPEC, quantise=how, tensors=[dict(t, target=t.get("target", target)) for t in SPEC["tensors"]])
    moved = {n: [[0] * len(row) for row in m] for n, m in original.items()}
    scales_moved = {n: [[0] * (len(row) // 32) for row in m] for n, m in original.items()}
    formats = {t["name"]: t["format"] for t in spec["tensors"]}
    for rank in range(2):
        file = {}
        for name, stack in slices(original, rank).items():
            stacked = name.startswith("experts")
            shape = [len(stack)] if stacked else []
            if name in vectors:
                file[name] = ("BF16", [H], [bf16_bits(v) for v in stack[0][0][0]])
                moved[name][0] = file[name][2]
                continue
            data, scale_bytes, scale_shape = [], [], []
            for matrix, origin in stack:
                if formats[name] != "mxfp8":
                    to = bf16_bits if formats[name] == "bf16" else \
                        lambda v: struct.unpack("<I", struct.pack("<f", v))[0]
                    codes, values = [[to(v) for v in row] for row in matrix], None
                else:
                    codes, scales = quantise(matrix, how)
                    scale_shape, stored = swizzle(scales) if how["scales"] == "swizzled" else \
                        ([len(scales), len(scales[0])], flat(scales))
                    scale_bytes += stored
                    values = [[math.nan if scales[r // how["block"][0]][c // how["block"][1]] == 255 else
                               math.copysign(TABLES[how["elem"]][code & 0x7F], -1 if code & 0x80 else 1) *
                               2.0 ** (scales[r // how["block"][0]][c // how["block"][1]] - 127)
                               for c, code in enumerate(row)] for r, row in enumerate(codes)]
                data += flat(codes)
                for r, (part, row, first) in enumerate(origin):
                    if part is None:
                        continue
                    out = codes[r] if values is None or target == "mxfp8" else [bf16_bits(v) for v in values[r]]
                    moved[part][row][first:first + len(out)] = out
                    if values is not None and target == "mxfp8":
                        scales_moved[part][row][first // 32:first // 32 + len(scales[r])] = scales[r]
            dtype = {"bf16": "BF16", "fp32": "F32", "mxfp8": "F8_E4M3" if how["elem"] == "e4m3" else "F8_E5M2"}
            file[name] = (dtype[formats[name]], shape + [len(stack[0][0]), len(stack[0][0][0])], data)
            if scale_bytes:
                file[name + "_scale"] = ("U8", shape + scale_shape, scale_bytes)
        write(os.path.join(folder, "source", f"rank-{rank:05d}.safetensors"), file)
    quantised = {"bf16": {}, "mxfp8": ("F8_E4M3" if how["elem"] == "e4m3" else "F8_E5M2")}[target]
    files = [{}, {}]
    for n, m in moved.items():
        high = n in ("embed", "norm", "router")
        dtype = "F32" if n == "router" else "BF16" if high or target == "bf16" else quantised
        ranks = [int(n[1]) // 2] if n[0] == "e" and n[1].isdigit() else [0, 1]
        for rank in ranks:
            files[rank][n] = (dtype, [H] if n in vectors else [len(m), len(m[0])], flat(m))
            if not high and target == "mxfp8":
                files[rank][n + "_scale_inv"] = ("U8", [len(m), len(m[0]) // 32], flat(scales_moved[n]))
    for rank in range(2):
        write(os.path.join(folder, "target", f"rank-{rank:05d}.safetensors"), files[rank])
    return spec


def run(spec, folder):
    try:
        check_move.check(check_move.Spec(spec), *(os.path.join(folder, n) for n in ("original", "source", "target")))
        return None
    except check_move.Difference as difference:
        return str(difference)


def damage(folder, spec, draw, rounds):
    """Flips one byte of data somewhere: the checker must say so."""
    for _ in range(rounds):
        side, rank = draw.choice(("source", "target")), draw.randrange(2)
        path = os.path.join(folder, side, f"rank-{rank:05d}.safetensors")
        with open(path, "rb") as stream:
            content = bytearray(stream.read())
        start = 8 + struct.unpack("<Q", content[:8])[0]
        at, bit = draw.randrange(start, len(content)), 1 << draw.randrange(8)
        content[at] ^= bit
        with open(path, "wb") as stream:
            stream.write(content)
        said = run(spec, folder)
        content[at] ^= bit
        with open(path, "wb") as stream:
            stream.write(content)
        header = json.loads(bytes(content[8:start]))
        name = next(n for n, info in header.items() if info["data_offsets"][0] <= at - start < info["data_offsets"][1])
        if said is None:  # the one difference that is none: another NaN for a NaN in 16 bits
            info = header[name]
            assert info["dtype"] == "BF16", f"{side} {rank}: {name} byte {at - start} was not noticed"
            first = start + info["data_offsets"][0] + (at - start - info["data_offsets"][0]) // 2 * 2
            assert math.isnan(bf16_value(struct.unpack("<H", content[first:first + 2])[0])), f"{name} was not noticed"
        else:
            assert f"'{name}'" in said or name.split("_scale")[0] in said, said


def rewrite(folder, side, rank, change):
    """Applies `change` to name -> (dtype, shape, bits) of a file, checks nothing, returns how to undo it."""
    path = os.path.join(folder, side, f"rank-{rank:05d}.safetensors")
    with open(path, "rb") as stream:
        old = stream.read()
    file = check_move.File(path)
    tensors = {n: (d, list(s), [int(b) for b in file.bits(n).reshape(-1)]) for n, (d, s, _) in file.tensors.items()}
    change(tensors)
    os.unlink(path)  # the old one is mapped
    write(path, tensors)

    def undo():
        os.unlink(path)
        with open(path, "wb") as stream:
            stream.write(old)
    return undo


def check_wrong_structure(folder, spec):
    def swap_rows(name, a, b):
        def change(tensors):
            dtype, shape, bits = tensors[name]
            cols = shape[-1]
            bits[a * cols:(a + 1) * cols], bits[b * cols:(b + 1) * cols] = \
                bits[b * cols:(b + 1) * cols], bits[a * cols:(a + 1) * cols]
        return change

    def retype(tensors):
        tensors["down_scale"] = ("F8_E4M3",) + tensors["down_scale"][1:]

    def reshape(tensors):
        dtype, shape, bits = tensors["gate_up"]
        tensors["gate_up"] = (dtype, shape[::-1] if shape[0] != shape[1] else [shape[0] * shape[1]], bits)

    cases = [
        ("source", lambda t: t.pop("out"), "'out': missing"),
        ("source", lambda t: t.pop("qkv_scale"), "'qkv_scale': missing"),
        ("source", lambda t: t.update(extra=("U8", [1], [0])), "'extra' should not be there"),
        ("source", swap_rows("qkv", 31, 32), "'qkv'"),
        ("source", swap_rows("gate_up", 0, 32), "'gate_up'"),
        ("source", swap_rows("qkv_scale", 0, 1), "'qkv_scale'"),
        ("source", retype, "'down_scale'"),
        ("source", reshape, "'gate_up'"),
        ("target", lambda t: t.update(extra=("U8", [1], [0])), "'extra' should not be there"),
        ("target", swap_rows("k", 15, 16), "'k'"),
        ("target", lambda t: t.update({"e0.up": t["e0.gate"], "e0.gate": t["e0.up"]}), "'e0."),
        ("target", lambda t: t.update({"e3.down": t["e1.down"]}), "'e3.down'"),
        ("target", lambda t: t.pop("e1.up"), "no tensor 'e1.up'"),
    ]
    for side, change, words in cases:
        undo = rewrite(folder, side, 0, change)
        said = run(spec, folder)
        undo()
        assert said and words in said, f"{side}: {words}: {said}"
    for wrong, words in (({"quantise": dict(spec["quantise"], rule="floor")}, "'"),
                         ({"meshes": [[["tp", 4]], [["ep", 4]]]}, "rank files"),
                         ({"tensors": spec["tensors"][1:]}, "'embed' should not be there")):
        said = run(dict(spec, **wrong), folder)
        assert said and words in said, said
    assert run(spec, folder) is None


def main():
    draw = random.Random(1)
    for elem, rule, block, scales, target in (
            ("e4m3", "rceil", [1, 32], "compact", "bf16"), ("e5m2", "floor", [32, 1], "compact", "bf16"),
            ("e4m3", "ceil", [32, 32], "compact", "bf16"), ("e4m3", "even", [1, 32], "swizzled", "bf16"),
            ("e5m2", "even", [1, 32], "compact", "mxfp8"), ("e4m3", "rceil", [1, 32], "compact", "mxfp8")):
        how = {"elem": elem, "rule": rule, "nan": "block", "block": block, "scales": scales}
        with tempfile.TemporaryDirectory() as folder:
            spec = make_move(folder, how, target)
            said = run(spec, folder)
            assert said is None, f"{how} {target}: {said}"
            damage(folder, spec, draw, 40)
            if (elem, rule, target) == ("e4m3", "rceil", "bf16"):
                check_wrong_structure(folder, spec)
        print(f"ok: {elem} {rule} {block} {scales} -> {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
