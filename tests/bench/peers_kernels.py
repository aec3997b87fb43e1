#!/usr/bin/env python3
"""mxgen's kernels beside the peers that are installed, PyTorch's compiler and Triton kernels through torchao, on this machine's
GPU: every one of them call by call and in a CUDA graph, timed by the same code on the same inputs, which rotate past the L2, and
beside a copy of as many bytes. The last lines say whether mxgen's is faster than every peer of its work: as schedules launch it,
and as one who launches it himself may, so that it begins while the kernel before it ends.

usage: peers_kernels.py MXGEN [ROWS COLS]     a peer that cannot run is named with its reason; exit 77 without a GPU
"""
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

try:
    import torch
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "gpu"))
from mxgen_kernels import generate  # noqa: E402

SETS, NODES, REPLAYS = 6, 24, 21


def median_us(run, count):
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    times = []
    for i in range(-2, REPLAYS):
        start.record()
        run()
        end.record()
        end.synchronize()
        if i >= 0:
            times.append(start.elapsed_time(end) * 1000 / count)
    return statistics.median(times)


def graph_us(call, sets):
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for i in range(sets):
            call(i)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    kept = []
    with torch.cuda.graph(graph):
        for i in range(NODES):
            kept.append(call(i % sets))
            if len(kept) > sets:
                kept.pop(0)
    return median_us(graph.replay, NODES)


def calls_us(call, sets):
    def run():
        for i in range(NODES):
            call(i % sets)

    return median_us(run, NODES)


def copy_us(nbytes, sets):
    """The best of one copy and of copies in parts of 256 MiB: drivers copy some large sizes by a slower way."""
    half = int(nbytes / 2) // 65536 * 65536
    src = torch.randint(0, 255, (sets, half), dtype=torch.uint8, device="cuda")
    dst = torch.empty_like(src)

    def in_parts(i, part=1 << 28):
        for at in range(0, half, part):
            dst[i, at:at + part].copy_(src[i, at:at + part])

    whole = graph_us(lambda i: dst[i].copy_(src[i]), sets)
    return min(whole, graph_us(in_parts, sets)) if half > 1 << 28 else whole


class Table:
    def __init__(self, nbytes, ceiling):
        self.nbytes, self.ceiling, self.lines = nbytes, ceiling, []
        print(f"{'work':28s} {'by':32s} {'graph us':>9s} {'calls us':>9s} {'TB/s':>7s} {'of copy':>8s}")

    def time(self, work, who, call, sets):
        try:
            call(0)
            torch.cuda.synchronize()
            graph, calls = graph_us(call, sets), calls_us(call, sets)
        except Exception as error:  # a peer that does not run here is reported, not hidden
            text = (str(error).splitlines() or [""])[0][:120]
            print(f"{work:28s} {who:32s} not run: {type(error).__name__}: {text}", flush=True)
            return
        self.lines.append((work, who, graph, calls))
        print(f"{work:28s} {who:32s} {graph:9.2f} {calls:9.2f} {self.nbytes / graph * 1e-6:7.3f} {self.ceiling / graph:8.3f}",
              flush=True)

    def verdicts(self):
        for work in dict.fromkeys(line[0] for line in self.lines):
            ours = [line for line in self.lines if line[0] == work and line[1].startswith("mxgen")]
            peers = [line for line in self.lines if line[0] == work and not line[1].startswith("mxgen")]
            for line in ours if peers else ():
                for column, name in ((2, "in a graph"), (3, "call by call")):
                    best = min(peers, key=lambda peer: peer[column])
                    word = "faster than every peer" if line[column] < best[column] else "SLOWER than a peer"
                    print(f"{work}: {line[1]} {name} {word}: {line[column]:.2f} us, {best[1]} {best[column]:.2f}")


def compiled(function):
    return torch.compile(function, fullgraph=True, dynamic=False)


def import_torchao():
    """Its Triton kernels for quantising are gated to newer GPUs when their module is imported, and run on Hopper. `rceil` is
    left out: it is an instruction that Hopper has not."""
    import torchao.utils

    torchao.utils.is_sm_at_least_100 = lambda: True
    from torchao.prototype.mx_formats import kernels, mx_tensor
    from torchao.prototype.mx_formats.config import ScaleCalculationMode

    mx_tensor.is_sm_at_least_100 = lambda: False
    return torchao, kernels, mx_tensor, ScaleCalculationMode


def warm(rows, cols, part, parts):
    """Compiles some of the tile shapes that the Triton kernels choose from, for the processes that come after."""
    _, kernels, _, _ = import_torchao()
    x = torch.randn(min(rows, 1024), cols, device="cuda", dtype=torch.bfloat16)
    for tuner, function in ((kernels.to_mxfp8_dim0_kernel, kernels.triton_to_mxfp8_dim0),
                            (kernels.to_mxfp8_dim1_kernel, kernels.triton_to_mxfp8_dim1)):
        configs = tuner.configs
        for config in configs[part::parts]:
            tuner.configs = [config]
            tuner.cache.clear()
            try:
                function(x, inner_block_size=32, scaling_mode="floor")
            except Exception:  # a shape that does not fit this GPU: the tuner skips it as well
                pass


def run(mxgen, rows, cols):
    parts = min(12, os.cpu_count() or 1)
    warmers = [subprocess.Popen([sys.executable, __file__, "--warm", str(rows), str(cols), str(i), str(parts)],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for i in range(parts)]
    torch.manual_seed(1)
    sets = SETS if rows * cols < 1 << 28 else 1
    x = [torch.randn(rows, cols, device="cuda", dtype=torch.bfloat16) for _ in range(sets)]
    with tempfile.TemporaryDirectory() as folder:
        ours = generate(mxgen, HERE / "recipes" / "peers.lua", pathlib.Path(folder) / "out", rows=rows, cols=cols)
    byte = dict(dtype=torch.uint8, device="cuda")
    made = []
    for t in x:  # sources of dequantising, whoever does it
        data, scale = torch.empty((rows, cols), **byte), torch.empty((rows, cols // 32), **byte)
        ours["row.e4m3.rceil.block"].prepare(rows, cols, t, None, data, scale)()
        made.append((data, scale))
    e4m3, e8m0 = torch.float8_e4m3fn, torch.float8_e8m0fnu
    outputs = [(torch.empty((rows, cols), **byte), torch.empty((rows, cols // 32), **byte)) for _ in range(sets)]
    wide = [torch.empty((rows, cols), device="cuda", dtype=torch.bfloat16) for _ in range(sets)]
    peers = {}
    try:
        torchao, kernels, mx_tensor, mode = import_torchao()
        versions = f"torch {torch.__version__}, triton {__import__('triton').__version__}, torchao {torchao.__version__}"
        for rule in ("rceil", "floor"):
            quantise = compiled(lambda t, m=getattr(mode, rule.upper()): mx_tensor.to_mx(t, e4m3, 32, scaling_mode=m))
            peers[f"quantise rowwise {rule}", "torchao compiled to_mx"] = lambda i, f=quantise: f(x[i])
        undo = compiled(lambda q, s: mx_tensor.to_dtype(q, s, e4m3, 32, torch.bfloat16))
        peers["dequantise to bf16", "torchao compiled to_dtype"] = lambda i: undo(made[i][0].view(e4m3), made[i][1].view(e8m0))
        peers["dequantise to bf16", "triton_mxfp8_dequant_dim0"] = lambda i: kernels.triton_mxfp8_dequant_dim0(
            made[i][0].view(e4m3), made[i][1], torch.bfloat16, 32)
        for work, name in (("quantise rowwise floor", "triton_to_mxfp8_dim0"), ("quantise columnwise floor", "triton_to_mxfp8_dim1")):
            peers[work, name] = lambda i, f=getattr(kernels, name): f(x[i], inner_block_size=32, scaling_mode="floor")
    except Exception as error:
        versions = f"torch {torch.__version__}; torchao not run: {type(error).__name__}: {error}"
    for (_, who), call in peers.items():  # compiles, and lets the tuners choose, before anything is timed
        if who.startswith("triton_to"):
            for process in warmers:
                process.wait()
        try:
            call(0)
        except Exception:
            pass
    for process in warmers:
        process.wait()
    torch.cuda.synchronize()
    nbytes = rows * cols * (3 + 1 / 32)
    ceiling = copy_us(nbytes, sets)
    print(f"{torch.cuda.get_device_name()}, {versions}")
    print(f"{rows}x{cols}: copy of {nbytes * 1e-6:.1f} MB {ceiling:.2f} us, {nbytes / ceiling * 1e-6:.3f} TB/s")
    table = Table(nbytes, ceiling)
    works = {"quantise rowwise rceil": "row.e4m3.rceil.block", "quantise rowwise floor": "row.e4m3.floor.block",
             "quantise columnwise floor": "column.floor", "dequantise to bf16": "e4m3.to_bf16"}
    for work, kernel in works.items():
        for early in (False, True) if torch.cuda.get_device_capability()[0] >= 9 else (False,):
            if work == "dequantise to bf16":
                runs = [ours[kernel].prepare(rows, cols, *made[i], wide[i], None, early) for i in range(sets)]
            else:
                runs = [ours[kernel].prepare(rows, cols, x[i], None, *outputs[i], early) for i in range(sets)]
            table.time(work, "mxgen, begun early" if early else "mxgen", lambda i: runs[i](), sets)
        for (of, who), call in peers.items():
            if of == work:
                table.time(work, who, call, sets)
    table.verdicts()


def main():
    if not torch.cuda.is_available():
        print("skipped: no GPU")
        return 77
    if len(sys.argv) == 6 and sys.argv[1] == "--warm":
        return warm(*map(int, sys.argv[2:]))
    if len(sys.argv) not in (2, 4):
        raise SystemExit(__doc__)
    for rows, cols in [sys.argv[2:4]] if len(sys.argv) == 4 else [(4096, 14336), (32768, 32768)]:
        run(sys.argv[1], int(rows), int(cols))
        torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    sys.exit(main())
