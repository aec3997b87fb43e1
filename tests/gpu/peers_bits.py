#!/usr/bin/env python3
"""What generated kernels write on this machine's GPU, byte by byte against code that is not ours: torchao's `to_mx` in its four
modes and `to_dtype`, ml_dtypes, and TransformerEngine's rule for scale bytes in its floating-point form.

Three kinds of bytes are counted apart, where peers are known to go another way:
  NaN bits    both are NaN, of another sign or payload: the GPU's conversions know one NaN
  NaN block   a block that NaN, Inf or a rounded maximum makes NaN by policy `block`: torchao 0.18 makes zeros of its elements,
              and in most modes lets Inf saturate
  scale 0     elements under scale byte 0, which torchao 0.18 divides by 2^-126 or by 1, not by 2^-127
Exit 1 when a byte differs otherwise, 77 when something to compare with is missing.

usage: peers_bits.py MXGEN
"""
import pathlib
import sys
import tempfile

try:
    import ml_dtypes
    import numpy as np
    import torch
    from torchao.prototype.mx_formats.config import ScaleCalculationMode
    from torchao.prototype.mx_formats.mx_tensor import to_dtype, to_mx
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

from mxgen_kernels import generate

ROWS, COLS, BLOCK = 256, 8192, 32  # 65,536 blocks
TYPES = {"e4m3": (torch.float8_e4m3fn, ml_dtypes.float8_e4m3fn, 448.0, 0x7F),
         "e5m2": (torch.float8_e5m2, ml_dtypes.float8_e5m2, 57344.0, 0x7D)}
NAN_FROM = {"e4m3": 0x7F, "e5m2": 0x7D}


def bf16(bits):
    return torch.from_numpy(bits.astype(np.uint16).view(np.int16)).cuda().view(torch.bfloat16).reshape(ROWS, COLS)


def every_maximum(random):
    """Block i has BF16 value i as its maximum; the rest is not larger, or finite beside a NaN or Inf."""
    value = np.arange(ROWS * COLS // BLOCK, dtype=np.uint32)
    most = np.where((value & 0x7FFF) >= 0x7F80, 0x7F7F, value & 0x7FFF)[:, None]
    shape = (len(value), BLOCK)
    near = np.maximum(most - random.integers(0, 600, shape), 0)
    rest = np.where(random.random(shape) < 0.5, near, random.integers(0, 1 << 15, shape) % (most + 1))
    bits = rest.astype(np.uint32) | random.integers(0, 2, shape, dtype=np.uint32) << 15
    bits[np.arange(len(value)), value % BLOCK] = value
    return bits


def table_blocks(random):
    """The blocks at which peers differ: zeros of both signs, 448, 450, 480, 496, 512, ties, Inf, NaN, tiny ones."""
    def block(*first, rest):
        return [np.float32(v) for v in first] + [np.float32(rest)] * (BLOCK - len(first))
    inf, nan, top = np.inf, np.nan, float(ml_dtypes.finfo(ml_dtypes.bfloat16).max)
    some = [block(rest=0.0), block(rest=1.0)] + [block(v, rest=1.0) for v in (448, 450, 480, 496, 512)]
    some += [block(1, 2.0**-18, 3 * 2.0**-18, rest=2.0**-17), block(1, -0.0, -(2.0**-30), rest=0.0)]
    some += [block(v, 1, -1, rest=1.0) for v in (nan, -nan, inf, -inf, top, -top)]
    some += [block(rest=v) for v in (2.0**-126, 2.0**-133, 448 * 2.0**-127, 450 * 2.0**-127, 1e-6)]
    bits = np.array(some, np.float32).astype(ml_dtypes.bfloat16).view(np.uint16).astype(np.uint32)
    return bits[random.integers(0, len(bits), ROWS * COLS // BLOCK)]


def anything(random):
    return random.integers(0, 1 << 16, (ROWS * COLS // BLOCK, BLOCK), dtype=np.uint32)


def ordinary(random):
    normal = random.standard_normal((ROWS * COLS // BLOCK, BLOCK)) * np.exp2(random.integers(-30, 30, (ROWS * COLS // BLOCK, 1)))
    return normal.astype(ml_dtypes.bfloat16).view(np.uint16).astype(np.uint32)


class Report:
    def __init__(self):
        self.wrong = 0
        print(f"{'kernel':24s} {'against':34s} {'bytes':>10s} {'differ':>8s} {'NaN bits':>9s} {'NaN block':>9s} {'scale 0':>9s}")

    def add(self, kernel, peer, got, want, *known):
        """`known`: where both are NaN, where the block is NaN, where its scale byte is 0; a byte counts for the first."""
        differ = got != want
        counts = []
        for where in known:
            counts.append(int((differ & where).sum()))
            differ = differ & ~where
        wrong = int(differ.sum())
        self.wrong += wrong
        cells = "".join(f" {count:9d}" for count in counts)
        print(f"{kernel:24s} {peer:34s} {got.size:10d} {wrong:8d}{cells}", flush=True)


def host(tensor):
    return tensor.cpu().view(torch.uint8).numpy()


def decode_scale(s):
    """2^(s - 127), NaN for 255; exact in double."""
    return np.where(s == 255, np.nan, np.ldexp(1.0, s.astype(np.int32) - 127))


def te_rule(x, largest):
    """TransformerEngine: the scale byte is the exponent of fl(amax * fl(1 / largest)), rounded up; NaN left out of amax."""
    magnitude = np.abs(x.astype(np.float32))
    amax = np.where(np.isnan(magnitude), np.float32(0), magnitude).max(axis=1)
    with np.errstate(over="ignore"):
        bits = (amax * (np.float32(1) / np.float32(largest))).astype(np.float32).view(np.uint32)
    exponent, mantissa = bits >> 23, bits & 0x7FFFFF
    up = (mantissa > 0) & (exponent != 0xFE) & ~((exponent == 0) & (mantissa <= 0x400000))
    return np.where(bits == 0x7F800000, 0xFE, exponent + up).astype(np.uint8)


def elements_of(x, scale, elem):
    """Saturating conversion of x * 2^(127 - s) by ml_dtypes."""
    _, dtype, largest, _ = TYPES[elem]
    with np.errstate(all="ignore"):
        scaled = (x.astype(np.float64) / decode_scale(scale)[:, None]).astype(np.float32)
        return np.clip(scaled, -largest, largest).astype(dtype).view(np.uint8)


def is_nan(data, elem):
    return (data & 0x7F) >= NAN_FROM[elem]


def compare_quantise(report, kernels, inputs):
    for elem, (dtype, _, largest, _) in TYPES.items():
        for rule in ("floor", "rceil", "ceil", "even"):
            for nan in ("block", "element"):
                name = f"row.{elem}.{rule}.{nan}"
                if name not in kernels:
                    raise SystemExit(f"the recipe has no kernel for {name}")
                got, want, te, ml = [], [], [], []
                for x in inputs:
                    data = torch.full((ROWS, COLS), 0x55, dtype=torch.uint8, device="cuda")
                    scale = torch.full((ROWS, COLS // BLOCK), 0xAA, dtype=torch.uint8, device="cuda")
                    kernels[name].prepare(ROWS, COLS, x, None, data, scale)()
                    torch.cuda.synchronize()
                    q, s = host(data).reshape(-1, BLOCK), host(scale).reshape(-1)
                    got.append((s, q))
                    values = x.cpu().view(torch.uint16).numpy().view(ml_dtypes.bfloat16).astype(np.float32).reshape(-1, BLOCK)
                    ml.append(elements_of(values, s, elem))
                    if nan == "block":
                        scales, made = to_mx(x, dtype, BLOCK, scaling_mode=getattr(ScaleCalculationMode, rule.upper()))
                        want.append((host(scales).reshape(-1), host(made).reshape(-1, BLOCK)))
                    elif rule == "rceil":
                        te.append(te_rule(values, largest))
                s, q = np.concatenate([g[0] for g in got]), np.concatenate([g[1] for g in got])
                both = lambda other: is_nan(q, elem) & is_nan(other, elem)
                ml = np.concatenate(ml)
                report.add(name, "ml_dtypes, elements", q, ml, both(ml))
                if want:
                    scales, made = (np.concatenate([w[i] for w in want]) for i in (0, 1))
                    report.add(name, f"torchao to_mx {rule}, scales", s, scales, np.zeros(s.shape, bool), s == 255)
                    blocks = np.broadcast_to(s[:, None], q.shape)
                    report.add(name, f"torchao to_mx {rule}, elements", q, made, both(made), blocks == 255, blocks == 0)
                if te:
                    scales = np.concatenate(te)
                    report.add(name, "TransformerEngine's rule, scales", s, scales)


def compare_swizzled(report, kernels, x):
    """The 128 x 4 layout by its formula, of the compact scales."""
    for rule in ("floor", "rceil"):
        wide = COLS // BLOCK
        data = torch.empty((ROWS, COLS), dtype=torch.uint8, device="cuda")
        plain = torch.full((ROWS, wide), 0xAA, dtype=torch.uint8, device="cuda")
        laid = torch.full((ROWS, wide), 0xAA, dtype=torch.uint8, device="cuda")
        kernels[f"row.e4m3.{rule}.block"].prepare(ROWS, COLS, x, None, data, plain)()
        kernels[f"swizzled.{rule}"].prepare(ROWS, COLS, x, None, data, laid)()
        torch.cuda.synchronize()
        tiles = host(plain).reshape(ROWS // 128, 4, 32, wide // 4, 4)
        want = tiles.transpose(0, 3, 2, 1, 4).reshape(-1)
        report.add(f"swizzled.{rule}", "128 x 4 by its formula", host(laid).reshape(-1), want)


def compare_columns(report, kernels, x):
    for rule in ("floor", "rceil"):
        data = torch.full((ROWS, COLS), 0x55, dtype=torch.uint8, device="cuda")
        scale = torch.full((ROWS // BLOCK, COLS), 0xAA, dtype=torch.uint8, device="cuda")
        kernels[f"column.{rule}"].prepare(ROWS, COLS, x, None, data, scale)()
        scales, made = to_mx(x.t().contiguous(), torch.float8_e4m3fn, BLOCK, scaling_mode=getattr(ScaleCalculationMode, rule.upper()))
        q, want = host(data), host(made.view(torch.uint8).t().contiguous())
        s, want_s = host(scale), host(scales.view(torch.uint8).t().contiguous())
        blocks = np.repeat(s, BLOCK, axis=0)
        report.add(f"column.{rule}", f"torchao to_mx {rule}, scales", s, want_s, np.zeros(s.shape, bool), s == 255)
        report.add(f"column.{rule}", f"torchao to_mx {rule}, elements", q, want, is_nan(q, "e4m3") & is_nan(want, "e4m3"),
                   blocks == 255, blocks == 0)


def compare_dequantise(report, kernels, random):
    """All pairs of element and scale, and more at random."""
    q = np.broadcast_to(np.arange(256, dtype=np.uint8).reshape(1, 8, BLOCK), (256, 8, BLOCK)).reshape(-1, BLOCK)
    s = np.repeat(np.arange(256, dtype=np.uint8), 8)
    more = ROWS * COLS // BLOCK - len(s)
    q = np.concatenate([q, random.integers(0, 256, (more, BLOCK), dtype=np.uint8)])
    s = np.concatenate([s, random.integers(0, 256, more, dtype=np.uint8)])
    data, scale = torch.from_numpy(q.reshape(ROWS, COLS)).cuda(), torch.from_numpy(s.reshape(ROWS, -1)).cuda()
    targets = {"bf16": (torch.bfloat16, ml_dtypes.bfloat16, np.uint16), "fp16": (torch.float16, np.float16, np.uint16),
               "fp32": (torch.float32, np.float32, np.uint32)}
    for elem, (dtype, numpy_type, _, _) in TYPES.items():
        with np.errstate(all="ignore"):
            exact = (q.view(numpy_type).astype(np.float64) * decode_scale(s)[:, None]).astype(np.float32)
        for target, (torch_type, to, word) in targets.items():
            name = f"{elem}.to_{target}"
            out = torch.full((ROWS, COLS), float("nan"), dtype=torch_type, device="cuda")
            kernels[name].prepare(ROWS, COLS, data, scale, out, None)()
            torch.cuda.synchronize()
            got = host(out.reshape(-1)).view(word)
            nan = np.isnan(got.view(to).astype(np.float32))
            with np.errstate(all="ignore"):
                want = exact.astype(to).reshape(-1)
            report.add(name, "ml_dtypes", got, want.view(word), nan & np.isnan(want.astype(np.float32)))
            if target != "fp16":  # to_dtype takes the scale to the target type first, where FP16 has not the range
                made = to_dtype(data.view(dtype), scale.view(torch.float8_e8m0fnu), dtype, BLOCK, torch_type)
                want = host(made.reshape(-1)).view(word)
                report.add(name, "torchao to_dtype", got, want, nan & np.isnan(want.view(to).astype(np.float32)))


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    if not torch.cuda.is_available():
        print("skipped: no GPU")
        return 77
    random = np.random.default_rng(7)
    recipe = pathlib.Path(__file__).resolve().parents[1] / "bench" / "recipes" / "peers.lua"
    with tempfile.TemporaryDirectory() as folder:
        kernels = generate(sys.argv[1], recipe, pathlib.Path(folder) / "out", rows=ROWS, cols=COLS)
    report = Report()
    inputs = [bf16(make(random)) for make in (every_maximum, table_blocks, anything, ordinary)]
    compare_quantise(report, kernels, inputs)
    compare_swizzled(report, kernels, inputs[3])
    compare_columns(report, kernels, inputs[0])
    compare_columns(report, kernels, inputs[3])
    compare_dequantise(report, kernels, random)
    print(f"{report.wrong} bytes differ without an explanation")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
