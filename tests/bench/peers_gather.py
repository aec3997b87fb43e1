#!/usr/bin/env python3
"""The ways of PyTorch and NCCL to gather and dequantise, on this machine's GPUs, beside `mxgen bench` for the same work.

usage: torchrun --nproc-per-node N tests/bench/peers_gather.py [one] [body]

one    a tensor of 4096 x 14336, MXFP8, split by rows: BF16 whole on every rank
body   tests/bench/recipes/llama3_8b_body.lua with tp=N: 32 layers of interleaved QKV and gate/up (split by rows), attention output
       and down (split by columns), to Hugging Face BF16 tensors on every rank

Inputs are random bytes; every way's result is compared with one made from whole tensors, and the count of wrong elements printed.
Times are medians of the slowest rank, all beginning together. Dequantisation is torch.compile's, or torchao's Triton kernel where
torchao is installed (the faster of the two on Hopper), whichever took less for the first tensor.
"""
import os
import statistics
import sys

import torch
import torch.distributed as dist

os.environ.setdefault("NCCL_NVLS_ENABLE", "0")  # no NVLink multicast

D, H, F, LAYERS, GROUPS, HEADS = 128, 4096, 14336, 32, 8, 32


def dequantise_plain(q, s):
    """q uint8 [rows, cols] E4M3 bits, s uint8 [rows, cols/32] E8M0 -> BF16; scale bytes of this benchmark are 103..134."""
    values = q.view(torch.float8_e4m3fn).to(torch.float32).view(q.shape[0], -1, 32)
    scale = (s.to(torch.int32) << 23).view(torch.float32)
    return (values * scale.unsqueeze(-1)).to(torch.bfloat16).view(q.shape)


compiled = torch.compile(dequantise_plain, fullgraph=True, dynamic=False)


def triton_dequantise():
    try:
        from torchao.prototype.mx_formats.kernels import triton_mxfp8_dequant_dim0
    except Exception:
        return None
    return lambda q, s: triton_mxfp8_dequant_dim0(q.view(torch.float8_e4m3fn), s, torch.bfloat16, 32)


def timed(run, repeats):
    """Median microseconds of the slowest rank; NCCL and kernels go to one stream."""
    times = []
    for i in range(-2, repeats):
        torch.cuda.synchronize()
        dist.barrier()
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        flush.fill_(i & 1)
        start.record()
        run()
        end.record()
        end.synchronize()
        worst = torch.tensor([start.elapsed_time(end) * 1e3], device="cuda")
        dist.all_reduce(worst, op=dist.ReduceOp.MAX)
        if i >= 0:
            times.append(worst.item())
    return statistics.median(times)


def in_graph(run):
    """The same as one CUDA graph; None where it cannot be captured."""
    try:
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            run()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
        return graph.replay
    except Exception as error:
        if rank == 0:
            print(f"# not captured: {type(error).__name__}: {str(error).splitlines()[0][:100]}", flush=True)
        return None


def report(name, us, received, wrong=None):
    if rank == 0:
        rate = received / us * 1e-3
        print(f"{name:66s} {us:11.1f} us {rate:8.1f} GB/s received" + ("" if wrong is None else f"  wrong {wrong}"), flush=True)


def random_bytes(shape, low, high, seed):
    generator = torch.Generator(device="cuda").manual_seed(seed)
    return torch.randint(low, high, shape, dtype=torch.uint8, device="cuda", generator=generator)


class Tensor:
    """One quantised tensor: this rank's shard, and how shards become the tensors that are wanted."""

    def __init__(self, name, rows, cols, seed, by_rows=True, split=None):
        self.name, self.rows, self.cols, self.by_rows, self.split = name, rows, cols, by_rows, split
        own = self.make(rank, seed)
        self.own_q, self.own_s = own

    def shard_shape(self):
        return (self.rows // world, self.cols) if self.by_rows else (self.rows, self.cols // world)

    def make(self, rank_, seed):
        rows, cols = self.shard_shape()
        q = random_bytes((rows, cols), 0, 0x7f, seed * 64 + rank_)
        return q, random_bytes((rows, cols // 32), 103, 135, seed * 64 + 32 + rank_)


def finish(tensor, parts):
    """BF16 shards of all ranks to the tensors of the target: cat, chunk, permute."""
    if not tensor.by_rows:
        return [torch.cat(parts, dim=1)]
    whole = torch.cat(parts, dim=0)
    if tensor.split == "qkv":
        per = whole.view(GROUPS, HEADS // GROUPS + 2, D, tensor.cols)
        q, k, v = per.split([HEADS // GROUPS, 1, 1], dim=1)
        return [x.reshape(-1, tensor.cols) for x in (q, k, v)]
    if tensor.split == "gate_up":
        both = whole.view(world, 2, -1, tensor.cols)
        return [both[:, 0].reshape(-1, tensor.cols), both[:, 1].reshape(-1, tensor.cols)]
    return [whole]


def gathered(x):
    out = torch.empty((world,) + tuple(x.shape), dtype=x.dtype, device=x.device)
    dist.all_gather_into_tensor(out.view(-1), x.reshape(-1))
    return out


def dequantise_then_gather(tensor):
    return finish(tensor, list(gathered(dequantise(tensor.own_q, tensor.own_s))))


def gather_then_dequantise(tensor):
    q, s = gathered(tensor.own_q), gathered(tensor.own_s)
    return finish(tensor, [dequantise(q[r], s[r]) for r in range(world)])


def reference(tensor, seed):
    return finish(tensor, [dequantise_plain(*tensor.make(r, seed)) for r in range(world)])


def count_wrong(got, want):
    wrong = sum(int((a.view(torch.int16) != b.view(torch.int16)).sum()) for a, b in zip(got, want))
    total = torch.tensor([wrong], device="cuda")
    dist.all_reduce(total)
    return int(total.item())


def flat_layers(layers):
    """One all-gather of a layer's packed bytes, the next layer's behind this one's conversion; shards are packed beforehand."""
    packed = []
    for layer in layers:
        sizes = [x.numel() for t in layer for x in (t.own_q, t.own_s)]
        packed.append((torch.cat([x.reshape(-1) for t in layer for x in (t.own_q, t.own_s)]), sizes))
    room = [torch.empty(world * packed[0][0].numel(), dtype=torch.uint8, device="cuda") for _ in range(2)]

    def run(sink):
        works = [dist.all_gather_into_tensor(room[0], packed[0][0], async_op=True)]
        for i, layer in enumerate(layers):
            works[i].wait()
            if i + 1 < len(layers):
                works.append(dist.all_gather_into_tensor(room[(i + 1) % 2], packed[i + 1][0], async_op=True))
            flat = room[i % 2].view(world, -1)
            at = 0
            for k, tensor in enumerate(layer):
                nq, ns = packed[i][1][2 * k:2 * k + 2]
                rows, cols = tensor.shard_shape()
                parts = [dequantise(flat[r, at:at + nq].view(rows, cols), flat[r, at + nq:at + nq + ns].view(rows, cols // 32))
                         for r in range(world)]
                at += nq + ns
                sink(i, k, finish(tensor, parts))

    def gather_alone():
        for i in range(len(layers)):
            dist.all_gather_into_tensor(room[i % 2], packed[i][0])

    return run, gather_alone


def choose_dequantise(q, s):
    """The fastest way that gives the right bytes."""
    ways, want = {"torch.compile": compiled}, dequantise_plain(q, s)
    if triton_dequantise():
        ways["torchao triton"] = triton_dequantise()
    best = None
    for name, way in ways.items():
        try:
            if not torch.equal(way(q, s).view(torch.int16), want.view(torch.int16)):
                continue
            took = timed(lambda way=way: way(q, s), 10)
        except Exception as error:
            print(f"# {name}: {type(error).__name__}: {str(error).splitlines()[0][:100]}", flush=True)
            continue
        if best is None or took < best[0]:
            best = (took, name, way)
    # all ranks take rank 0's
    names = sorted(ways)
    chosen = torch.tensor([names.index(best[1])], device="cuda")
    dist.broadcast(chosen, 0)
    name = names[int(chosen.item())]
    if rank == 0:
        print(f"# dequantise: {name}", flush=True)
    return ways[name]


def run_one():
    tensor = Tensor("w", H, F, 1)
    want = reference(tensor, 1)
    received = (tensor.own_q.numel() + tensor.own_s.numel()) * (world - 1)
    out = torch.empty(world * tensor.own_q.numel(), dtype=torch.uint8, device="cuda")
    wide = torch.empty(2 * out.numel(), dtype=torch.uint8, device="cuda").view(torch.bfloat16)
    half = dequantise(tensor.own_q, tensor.own_s)
    alone = lambda: dist.all_gather_into_tensor(out, tensor.own_q.view(-1))
    for name, run in (("NCCL all-gather of the FP8 bytes alone", alone),
                      ("NCCL all-gather of BF16 alone", lambda: dist.all_gather_into_tensor(wide, half.view(-1)))):
        report(name, timed(run, 50), received)
    for name, way in (("all-gather q, all-gather scales, dequantise", gather_then_dequantise),
                      ("dequantise, all-gather BF16", dequantise_then_gather)):
        wrong = count_wrong(way(tensor), want)
        report(name, timed(lambda: way(tensor), 50), received, wrong)
        replay = in_graph(lambda: way(tensor))
        if replay:
            report(name + ", CUDA graph", timed(replay, 50), received)


def run_body():
    layers = [[Tensor("qkv", (HEADS + 2 * GROUPS) * D, H, 8 * i, split="qkv"), Tensor("out", H, HEADS * D, 8 * i + 1, by_rows=False),
               Tensor("gate_up", 2 * F, H, 8 * i + 2, split="gate_up"), Tensor("down", H, F, 8 * i + 3, by_rows=False)]
              for i in range(LAYERS)]
    received = sum(t.own_q.numel() + t.own_s.numel() for layer in layers for t in layer) * (world - 1)
    if rank == 0:
        print(f"# body: {received} bytes received by a rank", flush=True)
    kept = {}

    def sink(i, k, made):
        kept[i, k] = made

    def per_tensor(way):
        for i, layer in enumerate(layers):
            for k, tensor in enumerate(layer):
                sink(i, k, way(tensor))

    flat, gather_alone = flat_layers(layers)
    report("NCCL all-gather of the packed bytes alone, one a layer", timed(gather_alone, 10), received)
    for name, run in (("dequantise, all-gather BF16, cat, permute; per tensor", lambda: per_tensor(dequantise_then_gather)),
                      ("all-gather q and scales, dequantise, cat, permute; per tensor", lambda: per_tensor(gather_then_dequantise)),
                      ("one flat all-gather a layer, double-buffered, dequantise, permute", lambda: flat(sink))):
        kept.clear()
        run()
        wrong = sum(count_wrong(kept[i, k], reference(t, 8 * i + k)) for i in (0, LAYERS - 1) for k, t in enumerate(layers[i]))
        report(name, timed(run, 10), received, wrong)


if __name__ == "__main__":
    if not torch.cuda.is_available():
        print("no GPU")
        sys.exit(77)
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl", device_id=torch.device("cuda", int(os.environ["LOCAL_RANK"])))
    flush = torch.empty(256 << 20, dtype=torch.uint8, device="cuda")
    if rank == 0:
        print(f"# {torch.cuda.get_device_name()}, {world} ranks, torch {torch.__version__}, NCCL {'.'.join(map(str, torch.cuda.nccl.version()))}")
    dequantise = choose_dequantise(random_bytes((H, H), 0, 0x7f, 5), random_bytes((H, H // 32), 103, 135, 6))
    what = sys.argv[1:] or ["one", "body"]
    if "one" in what:
        run_one()
    if "body" in what:
        run_body()
    dist.destroy_process_group()
