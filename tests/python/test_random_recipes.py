#!/usr/bin/env python3
"""Random recipes (random_recipe.py), each checked, sharded from a random model, run on host ranks and verified against
the original. Only the standard library is needed.

    test_random_recipes.py MXGEN [COUNT [SEED]]     default: 24 recipes from seed 1; a failure prints the recipe"""
import os
import random
import subprocess
import sys
import tempfile

from random_recipe import recipe


def fail(text, step, done):
    sys.exit(f"{text}\n{step} failed with {done.returncode}\n{done.stdout}{done.stderr}")


def main():
    mxgen = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 24
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    moved = 0
    for number in range(seed, seed + count):
        rng = random.Random(number)
        text = recipe(rng)
        with tempfile.TemporaryDirectory() as folder:
            path, source, target = (os.path.join(folder, n) for n in ("random.lua", "source", "target"))
            with open(path, "w", encoding="ascii") as stream:
                stream.write(text)

            def command(*words):
                return subprocess.run([mxgen, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

            for step in (("check", path), ("shard", path, "--random", str(number), "--out", source),
                         ("run", path, "--weights", source, "--out", target, "--all-ranks"),
                         ("verify", path, "--weights", target, "--random", str(number))):
                done = command(*step)
                if done.returncode:
                    fail(f"-- recipe {number}\n{text}", step[0], done)
            moved += 1
    print(f"{moved} random recipes checked, sharded, run and verified")


if __name__ == "__main__":
    main()
