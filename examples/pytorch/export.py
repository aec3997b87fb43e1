#!/usr/bin/env python3
"""Exports a model that two ranks hold in MXFP8 to BF16 under Hugging Face names, whole on both ranks, and compares every
element with torch's own arithmetic: dequantise, gather, cat, permute.

    python3 export.py                               # both ranks in this process, on one GPU or on two
    torchrun --nproc-per-node 2 export.py           # a process a GPU
    python3 export.py --device cpu                  # no GPU: the host transport

Prints what was moved and how many elements are wrong; exit code 5 if any is."""

import argparse
import os
import sys

import torch

import mxgen_torch as mxgen

HERE = os.path.dirname(os.path.abspath(__file__))
GROUPS, HEAD, VOCABULARY = 4, 64, 4098  # of dense.lua: query groups, rows of a head


def say(text):
    """A line, whole: processes share the terminal, and print writes the line and its end one after the other."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def choose_device(name):
    """True for the CPU; otherwise this process's GPU becomes torch's current one."""
    if name == "cpu":
        return True
    if not torch.cuda.is_available():
        sys.stderr.write("no GPU: add --device cpu\n")
        raise SystemExit(1)
    torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
    return False


# ---- the model: what a trainer holds ----


def random_shard(tensor, device):
    """A rank's shard of one tensor: (data, scales or None), seeded by name, so that every process can make it."""
    seed = torch.Generator().manual_seed(hash_text(f"{'any' if tensor.tensor.endswith('norm') else tensor.rank} {tensor.name}"))
    if not tensor.scale_bytes:
        data = torch.randn(tensor.shape, generator=seed)
        if tensor.tensor in ("embed", "head") and tensor.shape[0] < VOCABULARY:
            data[VOCABULARY - tensor.rank * tensor.shape[0]:] = 0  # padding
        return data.to(mxgen.torch_dtype(tensor.dtype)).to(device), None
    data = torch.randint(0, 256, tensor.shape, dtype=torch.uint8, generator=seed)
    data[data.bitwise_and(0x7f) == 0x7f] = 0  # E4M3's NaN
    scales = torch.randint(110, 135, tensor.scale_shape, dtype=torch.uint8, generator=seed)
    return data.view(torch.float8_e4m3fn).to(device), scales.to(device)


def hash_text(text):
    value = 2166136261
    for byte in text.encode():
        value = (value ^ byte) * 16777619 % 2 ** 32
    return value


# ---- torch's own arithmetic ----


def dequantise(data, scales):
    """A scale byte is a power of two for 32 elements of a row: the products are exact in FP32, and here in BF16 too."""
    if scales is None:
        return data
    exponent = scales.view(torch.uint8).to(torch.float32) - 127
    factor = torch.exp2(exponent).repeat_interleave(32, dim=-1)
    return (data.to(torch.float32) * factor).to(torch.bfloat16)


def whole(kind, shards, part, rows):
    """What the recipe says of a tensor of two shards, in torch."""
    if kind.endswith("norm"):
        return shards[0]
    if kind in ("attn.out", "mlp.down"):
        return torch.cat(shards, dim=1)
    if kind in ("embed", "head"):
        return torch.cat(shards)[:rows]  # the last rows are padding
    if kind == "mlp.gate_up":
        return torch.cat([shard.chunk(2)[part == "up"] for shard in shards])
    grouped = torch.cat(shards).view(GROUPS, -1, shards[0].shape[-1])  # heads of q, one of k, one of v; next group
    q, k, v = grouped.split((grouped.shape[1] - 2 * HEAD, HEAD, HEAD), dim=1)
    return {"q": q, "k": k, "v": v}[part].reshape(-1, grouped.shape[-1])


def part_of(name):
    return next((part for part in ("q", "k", "v", "gate", "up") if f".{part}_proj." in name), None)


# ---- the export ----


def compare(bundle, executor, targets, gather):
    """Counts elements that are not torch's. `gather`: BF16 shards of a tensor, from both ranks, on a device."""
    elements = wrong = 0
    for rank in executor.ranks:
        for tensor in bundle.of(rank, "target"):
            kind = tensor.tensor.split(".", 2)[-1] if tensor.tensor.startswith("layers.") else tensor.tensor
            want = whole(kind, gather(tensor.tensor, rank), part_of(tensor.name), tensor.shape[0])
            got = targets[rank][tensor.name]
            bad = int((got.view(torch.int16) != want.contiguous().view(torch.int16)).sum())
            if bad:
                say(f"  rank {rank}: {tensor.name}: {bad} of {got.numel()} wrong")
            elements, wrong = elements + got.numel(), wrong + bad
    return elements, wrong


def export(arguments):
    world, me = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    if world not in (1, 2):
        raise SystemExit(f"dense_tp2.lua has two ranks: 1 or 2 processes, not {world}")
    on_cpu = choose_device(arguments.device)
    job, ranks = None, None
    if world > 1:
        import torch.distributed as dist
        by_gloo = on_cpu or torch.cuda.device_count() < world  # NCCL has no two ranks on one GPU
        dist.init_process_group("gloo" if by_gloo else "nccl")
        job, ranks = mxgen.Job(), [me]

    sets = {"layers": arguments.layers, "width": arguments.width}
    bundle = mxgen.generate(arguments.recipe, sets=sets, archs=[] if on_cpu else None)
    executor = mxgen.Executor(bundle, transport="host" if on_cpu else arguments.transport, ranks=ranks, job=job)
    say(f"rank {me} of {world}: {bundle.compiled} kernels compiled, {bundle.cached} from the cache; transport "
        f"{executor.transport}{f' ({executor.why})' if executor.why else ''} on "
        f"{', '.join(map(executor.device, executor.ranks))}")

    sources, targets = {}, {}
    for rank in executor.ranks:
        for tensor in bundle.of(rank, "source"):
            sources[rank, tensor.name] = random_shard(tensor, executor.device(rank))
            executor.bind(rank, "source", tensor.name, *sources[rank, tensor.name])
        targets[rank] = executor.bind_empty(rank)
        for target in targets[rank].values():
            target.fill_(float("nan"))

    # Layer by layer, on torch's current stream: a rollout engine could use layer 0 while layer 1 is on its way.
    for group in bundle.groups:
        executor.start(group)
    executor.wait()

    def gather(tensor, rank):
        """torch's way: dequantised first, then sent."""
        device = executor.device(rank)
        if job:
            mine = dequantise(*sources[rank, tensor])
            mine = mine.cpu() if by_gloo else mine
            both = [torch.empty_like(mine) for _ in range(2)]
            dist.all_gather(both, mine)
            return [shard.to(device) for shard in both]
        return [dequantise(*(x if x is None else x.to(device) for x in sources[peer, tensor])) for peer in bundle.ranks]

    elements, wrong = compare(bundle, executor, targets, gather)
    for rank in executor.ranks:
        say(f"rank {rank}: {len(targets[rank])} tensors under Hugging Face names, such as {next(iter(targets[rank]))}")
    say(f"rank {me} of {world}: {elements} elements compared with torch's: {wrong} wrong")
    executor.close()
    if world > 1:
        job.close()
        dist.destroy_process_group()
    return 5 if wrong else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default=os.path.join(HERE, "dense_tp2.lua"))
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=1)
    parser.add_argument("--transport", default="auto", choices=mxgen.TRANSPORTS)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    sys.exit(export(parser.parse_args()))
