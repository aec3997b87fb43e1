#!/usr/bin/env python3
"""Moves weights with the command and has the independent checker judge: shard, run, check; then damage, which must show.

    test_moves.py MXGEN [RECIPE[:layers=N[:high=I,J]] ...]     default: tiny_dense tiny_moe

llama3_8b_tp2:layers=3:high=0,2 has the real shapes; it writes 10 GB below TMPDIR and takes a minute or two."""
import os
import struct
import subprocess
import sys
import tempfile

try:
    import check_move
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

HERE = os.path.dirname(os.path.abspath(__file__))


def flip_data_byte(path, from_end):
    """Flips a bit of the data, never of the header."""
    with open(path, "r+b") as stream:
        start = 8 + struct.unpack("<Q", stream.read(8))[0]
        size = os.path.getsize(path)
        assert size - from_end >= start
        stream.seek(size - from_end)
        byte = stream.read(1)[0]
        stream.seek(size - from_end)
        stream.write(bytes([byte ^ 0x10]))


def move(mxgen, name, layers, high):
    recipe = os.path.join(HERE, "..", "..", "recipes", name + ".lua")
    settings = ["--set", f"layers={layers}"] if layers else []
    with tempfile.TemporaryDirectory() as folder:
        original, source, target = (os.path.join(folder, n) for n in ("original", "source", "target"))

        def command(*words):
            subprocess.run([mxgen, *words, *settings], check=True, stdout=subprocess.DEVNULL)

        def check():
            words = [sys.executable, os.path.join(HERE, "check_move.py"), "--spec",
                     os.path.join(HERE, "specs", name + ".json"), "--original", original, "--source", source,
                     "--target", target]
            words += ["--layers", str(layers)] if layers else []
            words += ["--high-layers", high] if high is not None else []
            done = subprocess.run(words, stdout=subprocess.PIPE, text=True)
            return done.returncode, done.stdout.strip()

        command("shard", recipe, "--random", "7", "--keep-original", original, "--out", source)
        command("run", recipe, "--weights", source, "--out", target)
        code, said = check()
        print(said)
        assert code == 0, "the move is not exact"
        for side in (source, target):
            for file in sorted(n for n in os.listdir(side) if n.endswith(".safetensors"))[:2]:
                path = os.path.join(side, file)
                flip_data_byte(path, 1)
                code, said = check()
                assert code == 1 and file in said, f"a damaged {path} was not noticed: {said}"
                flip_data_byte(path, 1)
        code, said = check()
        assert code == 0, said


def main():
    mxgen = sys.argv[1]
    for job in sys.argv[2:] or ["tiny_dense", "tiny_moe"]:
        name, *settings = job.split(":")
        values = dict(setting.split("=") for setting in settings)
        move(mxgen, name, int(values["layers"]) if "layers" in values else None, values.get("high"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
