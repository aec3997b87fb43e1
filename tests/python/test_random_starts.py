#!/usr/bin/env python3
"""Random recipes (random_recipe.py) through the transports copy, direct and nccl, on a driver without GPUs: what comes out
is the host transport's, byte for byte. The number of GPUs, the ranks on each, one process or several, chunks, streams,
graphs or op by op, and the order in which groups are started are drawn too, and the driver carries work out in an order
of its own. Kernels are the host's conversion: what is tested are plans, programs of copies and launches, and the order
of what they do.

    test_random_starts.py MXGEN START_GPU FAKE_CUDA FAKE_NCCL [COUNT [SEED]]     default: 24 draws from seed 1

A failure prints the recipe and the command that draws the same again. With 1000 7001 it draws a thousand others."""
import os
import random
import re
import subprocess
import sys
import tempfile

from random_recipe import recipe

MOST_RANKS, MOST_GPUS, PATIENCE = 8, 8, 120


def main():
    mxgen, start_gpu, fake_cuda, fake_nccl = sys.argv[1:5]
    count = int(sys.argv[5]) if len(sys.argv) > 5 else 24
    seed = int(sys.argv[6]) if len(sys.argv) > 6 else 1
    fakes = {"MXGEN_LIBCUDA": fake_cuda, "MXGEN_NCCL": fake_nccl}
    for number in range(seed, seed + count):
        rng = random.Random(number)
        text = recipe(rng, rng.choice([2, 3, 4, 6, MOST_RANKS]))
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "random.lua")
            with open(path, "w", encoding="ascii") as stream:
                stream.write(text)
            plan = subprocess.run([mxgen, "plan", path], stdout=subprocess.PIPE, text=True, check=True).stdout
            ranks = int(re.match(r"plan \S+ +(\d+) ranks", plan).group(1))
            words = [start_gpu, "--draw", str(number)]
            if ranks > 1 and rng.random() < 0.3:
                words += ["--processes", str(rng.randint(2, ranks))]
            own = {"FAKE_CUDA_DEVICES": str(rng.choice([1, 2, ranks, MOST_GPUS])), "FAKE_CUDA_SEED": str(number),
                   "FAKE_CUDA_HASTE": "1"}
            try:
                done = subprocess.run(words + [path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                      env={**os.environ, **fakes, **own}, timeout=PATIENCE)
                code, said = done.returncode, done.stdout
            except subprocess.TimeoutExpired as late:
                code, said = f"no end in {PATIENCE} s", (late.stdout or b"").decode()
            if code == 77:
                print(said, end="")
                sys.exit(77)
            if code:
                again = " ".join([*(f"{k}={v}" for k, v in (fakes | own).items()), *words, "random.lua"])
                sys.exit(f"-- draw {number}\n{text}\n{said}{code}: {again}")
    print(f"{count} random recipes, started on GPUs that are none, came out as on the host")


if __name__ == "__main__":
    main()
