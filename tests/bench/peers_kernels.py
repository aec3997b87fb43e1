#!/usr/bin/env python3
"""Quantise and dequantise with the peers that are installed: PyTorch's compiler and Triton kernels through torchao, on this
machine's GPU, beside a copy of as many bytes. Each is timed call by call and in a CUDA graph, inputs rotated past the L2.

usage: peers_kernels.py [ROWS COLS]     prints a table; a peer that cannot run is named with its reason
"""
import statistics
import subprocess
import sys

import torch

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


def report(name, call, sets, nbytes, ceiling):
    try:
        call(0)
        torch.cuda.synchronize()
        in_graph, by_call = graph_us(call, sets), calls_us(call, sets)
        print(f"{name:44s} {in_graph:9.2f} {by_call:9.2f} {nbytes / in_graph * 1e-6:8.3f} {ceiling / in_graph:8.3f}", flush=True)
    except Exception as error:  # a peer that does not run here is reported, not hidden
        print(f"{name:44s} not run: {type(error).__name__}: {str(error).splitlines()[0][:140] if str(error) else ''}", flush=True)


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


def compiled(function):
    return torch.compile(function, fullgraph=True, dynamic=False)


def run(rows, cols):
    torch.manual_seed(1)
    sets = SETS if rows * cols < 1 << 28 else 1
    x = [torch.randn(rows, cols, device="cuda", dtype=torch.bfloat16) for _ in range(sets)]
    nbytes = rows * cols * (3 + 1 / 32)
    ceiling = copy_us(nbytes, sets)
    print(f"{rows}x{cols}: copy of {nbytes * 1e-6:.1f} MB {ceiling:.2f} us, {nbytes / ceiling * 1e-6:.3f} TB/s")
    print(f"{'peer':44s} {'graph us':>9s} {'calls us':>9s} {'TB/s':>8s} {'of copy':>8s}")
    try:
        import torchao
        from torchao.prototype.mx_formats import kernels
        from torchao.prototype.mx_formats.config import ScaleCalculationMode as mode
        from torchao.prototype.mx_formats.mx_tensor import to_dtype, to_mx
    except Exception as error:
        print(f"torchao not run: {type(error).__name__}: {error}")
        return
    print(f"# torch {torch.__version__}, torchao {torchao.__version__}")
    e4m3 = torch.float8_e4m3fn
    for rule in (mode.RCEIL, mode.FLOOR):
        quantise = compiled(lambda t, rule=rule: to_mx(t, e4m3, 32, scaling_mode=rule))
        report(f"torchao compiled to_mx {rule.name.lower()}", lambda i: quantise(x[i]), sets, nbytes, ceiling)
    made = [to_mx(t[:rows], e4m3, 32, scaling_mode=mode.FLOOR) for t in x] if sets > 1 else None
    if made is None:
        quantise = compiled(lambda t: to_mx(t, e4m3, 32, scaling_mode=mode.FLOOR))
        made = [quantise(x[0])]
    scales, data = [m[0] for m in made], [m[1] for m in made]
    undo = compiled(lambda q, s: to_dtype(q, s, e4m3, 32, torch.bfloat16))
    report("torchao compiled to_dtype", lambda i: undo(data[i], scales[i]), sets, nbytes, ceiling)
    report("torchao triton_mxfp8_dequant_dim0",
           lambda i: kernels.triton_mxfp8_dequant_dim0(data[i], scales[i].view(torch.uint8), torch.bfloat16, 32), sets, nbytes, ceiling)


def run_gated(rows, cols):
    """Triton kernels that are gated to newer GPUs when their module is imported, and run on Hopper."""
    sets = SETS if rows * cols < 1 << 28 else 1
    nbytes = rows * cols * (3 + 1 / 32)
    ceiling = copy_us(nbytes, sets)
    try:
        import torchao.utils

        torchao.utils.is_sm_at_least_100 = lambda: True
        from torchao.prototype.mx_formats import kernels
    except Exception as error:
        print(f"torchao's gated kernels not run: {type(error).__name__}: {error}")
        return
    x = [torch.randn(rows, cols, device="cuda", dtype=torch.bfloat16) for _ in range(sets)]
    for name in ("triton_to_mxfp8_dim0", "triton_to_mxfp8_dim1"):
        report(f"torchao {name} floor",
               lambda i, name=name: getattr(kernels, name)(x[i], inner_block_size=32, scaling_mode="floor"), sets, nbytes, ceiling)


if __name__ == "__main__":
    if not torch.cuda.is_available():
        print("no GPU")
        sys.exit(77)
    if len(sys.argv) == 4 and sys.argv[1] == "--gated":
        run_gated(int(sys.argv[2]), int(sys.argv[3]))
        sys.exit(0)
    shapes = [sys.argv[1:3]] if len(sys.argv) == 3 else [["4096", "14336"], ["32768", "32768"]]
    for rows, cols in shapes:
        run(int(rows), int(cols))
        torch.cuda.empty_cache()
        sys.stdout.flush()
        subprocess.run([sys.executable, __file__, "--gated", rows, cols], check=False)
