#!/usr/bin/env python3
"""What a schedule costs a matrix product that runs beside it, on the same GPUs, and the product the schedule.

usage: beside_product.py [RECIPE [NAME=VALUE...]]     default: tests/bench/recipes/llama3_8b_body.lua

Every rank of the recipe is in this process, on the GPUs in turn. On each GPU a stream repeats a BF16 product of 8192 x 8192 x 8192;
on another the schedule runs again and again, all the while. Each transport is timed: the products alone, the schedule alone, both.
Libraries: MXGEN_LIBRARY_DIR. Exit 77 without two GPUs."""
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "examples", "pytorch"))

import torch

import mxgen_torch as mxgen

SIZE, PRODUCTS = 8192, 48


def record(streams):
    events = []
    for stream in streams:
        event = torch.cuda.Event(enable_timing=True)
        event.record(stream)
        events.append(event)
    return events


def synchronize(gpus):
    for gpu in gpus:
        torch.cuda.synchronize(gpu)


class Products:
    def __init__(self, gpus):
        self.streams = [torch.cuda.Stream(gpu) for gpu in gpus]
        self.sets = [[torch.randn(SIZE, SIZE, device=f"cuda:{gpu}", dtype=torch.bfloat16) for _ in range(3)] for gpu in gpus]

    def start(self, count):
        begin = record(self.streams)
        for stream, (a, b, c) in zip(self.streams, self.sets):
            with torch.cuda.stream(stream):
                for _ in range(count):
                    torch.mm(a, b, out=c)
        return begin, record(self.streams)


def timed_products(products, gpus, count):
    begin, end = products.start(count)
    synchronize(gpus)
    return max(b.elapsed_time(e) for b, e in zip(begin, end)) * 1e-3


def timed_schedule(executor, streams, gpus, count):
    begin = record(streams)
    for _ in range(count):
        executor.start(streams=streams)
    end = record(streams)
    synchronize(gpus)
    return max(b.elapsed_time(e) for b, e in zip(begin, end)) * 1e-3 / count


def main():
    if torch.cuda.device_count() < 2:
        print("fewer than two GPUs")
        return 77
    recipe = sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "tests/bench/recipes/llama3_8b_body.lua")
    bundle = mxgen.generate(recipe, sets=dict(pair.split("=", 1) for pair in sys.argv[2:]))
    gpus = list(range(min(len(bundle.ranks), torch.cuda.device_count())))
    products = Products(gpus)
    timed_products(products, gpus, 8)
    alone = min(timed_products(products, gpus, PRODUCTS) for _ in range(3))
    flops = 2 * SIZE**3 * PRODUCTS
    print(f"# {torch.cuda.get_device_name(0)} x {len(gpus)}, torch {torch.__version__}; {PRODUCTS} products of {SIZE}^3 in BF16: "
          f"{alone * 1e3:.2f} ms, {flops / alone * 1e-12:.0f} TFLOP/s a GPU")
    print(f"{'transport':10s} {'schedule ms':>12s} {'beside ms':>10s} {'products ms':>12s} {'slower':>8s} {'share of schedules':>20s}")
    tensors = {}
    for transport in ("copy", "direct"):
        executor = mxgen.Executor(bundle, transport=transport)
        for tensor in bundle.tensors:
            key = (tensor.rank, tensor.side, tensor.name)
            if key not in tensors:
                tensors[key] = mxgen.empty(tensor, executor.device(tensor.rank))
                for part in tensors[key]:
                    if part is not None and tensor.side == "source":
                        part.view(torch.uint8).random_(103, 126)
            executor.bind(tensor.rank, tensor.side, tensor.name, *tensors[key])
        executor.prepare()
        streams = [torch.cuda.Stream(gpu) for gpu in executor._gpus]
        timed_schedule(executor, streams, gpus, 2)
        schedule = timed_schedule(executor, streams, gpus, 3)
        count = max(2, int(alone / schedule * 0.8))
        begin, end = products.start(PRODUCTS)
        begun = record(streams)
        for _ in range(count):
            executor.start(streams=streams)
        done = record(streams)
        synchronize(gpus)
        beside = max(b.elapsed_time(e) for b, e in zip(begun, done)) * 1e-3
        both = max(b.elapsed_time(e) for b, e in zip(begin, end)) * 1e-3
        # Products that ran after the last schedule are as fast as alone; the slowing is of those beside it.
        slower = (both - alone) / max(1e-9, min(beside, both) - (both - alone))
        print(f"{transport:10s} {schedule * 1e3:12.2f} {beside / count * 1e3:10.2f} {both * 1e3:12.2f} {slower:8.1%} "
              f"{min(beside, both) / both:20.1%}", flush=True)
        executor.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
