#!/usr/bin/env python3
"""Reconciles precision overrides when a model is made: primary weights that are held in MXFP8, of modules that are forced to
high precision, become BF16 parameters, in one pass. All other weights stay where they are, untouched.

    python3 reconcile.py                            # both tensor-parallel ranks in this process
    torchrun --nproc-per-node 2 reconcile.py        # a process a rank: nothing travels, so they need not know each other
    python3 reconcile.py --device cpu               # no GPU: the host transport
    python3 reconcile.py --set quantised=false      # a model in which nothing is quantised: an error, not a silent no-op

Prints the counts, and compares with torch's own arithmetic; exit code 5 if anything is wrong."""

import argparse
import os
import sys

import torch

import mxgen_torch as mxgen
from export import choose_device, dequantise, random_shard, say

HERE = os.path.dirname(os.path.abspath(__file__))


class Primary(torch.nn.Module):
    """The primary weight of a module: quantised, with scales, or in high precision, without."""

    def __init__(self, data, scales=None):
        super().__init__()
        self.hold(data, scales)

    def hold(self, data, scales=None):
        self.weight = torch.nn.Parameter(data, requires_grad=False)
        self.register_buffer("scales", scales)

    @property
    def quantised(self):
        return self.scales is not None


def make_model(bundle, rank, device):
    """Stands for a trainer's model: a Primary for every tensor of the rank, under the recipe's names."""
    model = torch.nn.ModuleDict()
    for tensor in bundle.of(rank, "source"):
        model[tensor.name.replace(".", "/")] = Primary(*random_shard(tensor, device))
    return model


def reconcile(models, bundle, executor):
    """One pass over all models of this process. Returns how many weights became BF16 and how many stayed."""
    quantised = sum(primary.quantised for model in models.values() for primary in model.values())
    if quantised == 0:
        raise RuntimeError("nothing was quantised: every weight is in high precision already, and there is nothing to "
                           "reconcile. Is the quantised recipe of the trainer switched on?")
    fresh, kept = [], 0
    for rank, model in models.items():
        for source, target in zip(bundle.of(rank, "source"), bundle.of(rank, "target")):
            primary = model[source.name.replace(".", "/")]
            executor.bind(rank, "source", source.name, primary.weight.data, primary.scales)
            if source.scale_bytes and not target.scale_bytes:
                data, _ = mxgen.empty(target, executor.device(rank))
                executor.bind(rank, "target", target.name, data)
                fresh.append((primary, data))
            else:  # the same memory: the library sees that it is what it must be, and moves nothing
                executor.bind(rank, "target", target.name, primary.weight.data, primary.scales)
                kept += 1
    executor.start()
    executor.wait()
    for primary, data in fresh:
        primary.hold(data)
    return len(fresh), kept


def main(arguments):
    world, me = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    on_cpu = choose_device(arguments.device)
    sets = dict(item.split("=", 1) for item in arguments.set)
    bundle = mxgen.generate(arguments.recipe, sets=sets, archs=[] if on_cpu else None)
    ranks = bundle.ranks if world == 1 else [me]
    executor = mxgen.Executor(bundle, transport="host" if on_cpu else arguments.transport, ranks=ranks)
    models = {rank: make_model(bundle, rank, executor.device(rank)) for rank in ranks}
    before = {(rank, name): (primary.weight.data_ptr(), primary.weight.data.clone(), primary.scales)
              for rank, model in models.items() for name, primary in model.items()}

    turned, kept = reconcile(models, bundle, executor)

    wrong = moved = elements = 0
    for (rank, name), (address, data, scales) in before.items():
        primary = models[rank][name]
        if primary.weight.dtype == torch.bfloat16 and scales is not None:
            want = dequantise(data, scales)
        else:
            want, moved = data, moved + (primary.weight.data_ptr() != address)
        pair = [x.contiguous().view(torch.uint8) for x in (primary.weight.data, want)]
        wrong, elements = wrong + int((pair[0] != pair[1]).sum()), elements + want.numel()
    for rank, model in models.items():
        high = sum(not primary.quantised for primary in model.values())
        say(f"rank {rank}: {high} weights in high precision, {len(model) - high} in MXFP8")
    who = f"rank {me} of {world}: " if world > 1 else ""
    say(f"{who}reconciled {turned} weights to BF16 in one pass, {kept} stayed, of them {moved} moved; transport "
        f"{executor.transport}; {elements} elements compared with torch's: {wrong} bytes wrong")
    executor.close()
    return 5 if wrong or moved else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default=os.path.join(HERE, "dense_reconcile_tp2.lua"))
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the recipe: keep=2")
    parser.add_argument("--transport", default="auto", choices=mxgen.TRANSPORTS)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    sys.exit(main(parser.parse_args()))
