#!/usr/bin/env python3
"""The PyTorch examples as their README says for machines without a GPU, and what they say where one is missing. Exit code 77
without torch. On GPUs: tests/gpu/test_pytorch.py.

    test_examples.py LIBRARY_DIR"""
import os
import re
import subprocess
import sys

try:
    import torch
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.path.join(HERE, "..", "..", "examples", "pytorch")
os.environ["MXGEN_LIBRARY_DIR"] = os.path.abspath(sys.argv[1])
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
sys.dont_write_bytecode = True
sys.path.insert(0, FOLDER)
import mxgen_torch as mxgen  # noqa: E402

failures = 0


def check(good, what):
    global failures
    print(f"{'ok' if good else 'FAILED'}: {what}", flush=True)
    failures += not good


def example(words, processes=1, code=0):
    """Runs an example, every write at once, as a terminal shows it; its stdout and stderr."""
    before = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = (before if processes > 1 else [sys.executable]) + [os.path.join(FOLDER, words[0])] + words[1:]
    shown = f"{'torchrun ' if processes > 1 else ''}{' '.join(words)}"
    done = subprocess.run(command, capture_output=True, text=True, timeout=120,
                          env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"})
    check(done.returncode == code, f"{shown}: exit code {done.returncode}")
    if done.returncode != code:
        print(done.stdout + done.stderr[-3000:])
    return done.stdout, done.stderr


def lines_are_whole(out, patterns):
    """Every line is one of the patterns, none of two processes in one."""
    wrong = [line for line in out.splitlines() if not any(re.fullmatch(pattern, line) for pattern in patterns)]
    check(out.endswith("\n") and not wrong, f"lines are whole: {wrong}")


EXPORT = [r"rank \d of \d: \d+ kernels compiled, \d+ from the cache; transport host on cpu(, cpu)?",
          r"rank \d: \d+ tensors under Hugging Face names, such as [\w.]+", r"rank \d of \d: \d+ elements compared with torch's: 0 wrong"]
COUNTS = r"reconciled 8 weights to BF16 in one pass, \d+ stayed, of them 0 moved; transport host; \d+ elements .*: 0 bytes wrong"
RECONCILE = [r"rank \d: \d+ weights in high precision, \d+ in MXFP8", r"rank \d of 2: " + COUNTS]


def examples_run_on_the_cpu():
    lines_are_whole(example(["export.py", "--device", "cpu", "--layers", "1"])[0], EXPORT)
    lines_are_whole(example(["reconcile.py", "--device", "cpu"])[0], RECONCILE[:1] + [COUNTS.replace("8", "16", 1)])
    out = example(["export.py", "--device", "cpu", "--layers", "1"], processes=2)[0]
    lines_are_whole(out, EXPORT)
    check(out.count("0 wrong") == 2, "both processes compared")
    out = example(["reconcile.py", "--device", "cpu"], processes=2)[0]
    lines_are_whole(out, RECONCILE)
    check(all(f"rank {rank} of 2: reconciled" in out for rank in (0, 1)), "each says its rank")
    _, err = example(["reconcile.py", "--device", "cpu", "--set", "quantised=false"], code=1)
    check("nothing was quantised" in err, "a model in which nothing is quantised")


def without_a_gpu_they_say_what_to_do():
    for name in ("export.py", "reconcile.py"):
        out, err = example([name], code=1)
        check((out, err) == ("", "no GPU: add --device cpu\n"), f"{name} without a GPU: {out + err}")
        out, err = example([name], processes=2, code=1)
        check(err.splitlines().count("no GPU: add --device cpu") >= 1 and "ZeroDivision" not in err, f"torchrun {name} without a GPU")


def tensors_of_torch_are_bound():
    bundle = mxgen.generate(os.path.join(FOLDER, "dense_tp2.lua"), sets={"layers": 1})  # no kernels: there is no GPU
    source = next(t for t in bundle.of(0, "source") if t.scale_bytes)
    with mxgen.Executor(bundle, transport="host") as executor:
        data, scales = mxgen.empty(source, "cpu")
        if hasattr(torch, "float8_e8m0fnu"):
            scales = scales.view(torch.float8_e8m0fnu)
            try:
                executor.bind(0, "source", source.name, data, scales.reshape(-1))
                check(False, "scales of another shape were bound")
            except ValueError as error:
                check("expected the shape" in str(error), f"scales of another shape: {error}")
        executor.bind(0, "source", source.name, data, scales)
        check(True, f"scales of {scales.dtype}")


def tensors_without_their_memory_are_not():
    bundle = mxgen.generate(os.path.join(FOLDER, "dense_tp2.lua"), sets={"layers": 1})
    source = next(t for t in bundle.of(0, "source") if not t.scale_bytes)
    whole = torch.zeros(source.shape, dtype=torch.bfloat16)
    freed, small = whole.clone(), whole.clone()
    freed.untyped_storage().resize_(0)
    small.untyped_storage().resize_(64)
    wrong = {"freed": (freed, "0 bytes of the tensor's"), "made smaller": (small, "64 bytes of the tensor's"),
             "sparse": (whole.to_sparse(), "to_dense"), "of a negative view": (torch._neg_view(whole), "resolve_neg"),
             "of no device": (whole.to("meta"), "it is on meta")}
    with mxgen.Executor(bundle, transport="host") as executor:
        for what, (tensor, words) in wrong.items():
            try:
                executor.bind(0, "source", source.name, tensor)
                check(False, f"a tensor {what} was bound")
            except ValueError as error:
                check(words in str(error), f"a tensor {what}: {error}")
        whole.untyped_storage().resize_(whole.nbytes + 512)  # a part of a larger storage, and not its beginning
        part = torch.empty(0, dtype=torch.bfloat16).set_(whole.untyped_storage(), 256, source.shape)
        executor.bind(0, "source", source.name, part)


tensors_of_torch_are_bound()
tensors_without_their_memory_are_not()
without_a_gpu_they_say_what_to_do()
examples_run_on_the_cpu()
sys.exit(1 if failures else 0)
