#!/usr/bin/env python3
"""The PyTorch examples on GPUs, as their README says, and what they leave out: CUDA graphs, streams of one's own, wrong devices.
Exit code 77 without torch or a GPU.

    test_pytorch.py LIBRARY_DIR [FOLDER [WORDS...]]     WORDS: only examples whose command line has one of them"""
import os
import subprocess
import sys

os.environ["MXGEN_LIBRARY_DIR"] = os.path.abspath(sys.argv[1])
HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.path.abspath(sys.argv[2]) if len(sys.argv) > 2 else os.path.join(HERE, "..", "..", "examples", "pytorch")
try:
    import torch
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)
if not torch.cuda.is_available():
    print("skipped: torch sees no GPU")
    sys.exit(77)
sys.path.insert(0, FOLDER)
import export  # noqa: E402
import mxgen_torch as mxgen  # noqa: E402

GPUS = torch.cuda.device_count()
failures = 0


def check(good, what):
    global failures
    print(f"{'ok' if good else 'FAILED'}: {what}", flush=True)
    failures += not good


def example(arguments, processes=1, code=0, words="0 wrong"):
    before = [sys.executable] if processes == 1 else \
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    command = before + [os.path.join(FOLDER, arguments[0])] + arguments[1:]
    shown = " ".join((["torchrun"] if processes > 1 else []) + arguments)
    if len(sys.argv) > 3 and not any(word in shown for word in sys.argv[3:]):
        return
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=100)
        good = done.returncode == code and words in done.stdout + done.stderr
        print(done.stdout if good else done.stdout + done.stderr[-3000:])
        check(good, f"{shown}: exit code {done.returncode}")
    except subprocess.TimeoutExpired as late:
        check(False, f"{shown}: {late}")


def wrong_of(bundle, executor, sources, targets):
    def gather(tensor, rank):
        device = executor.device(rank)
        return [export.dequantise(*(x if x is None else x.to(device) for x in sources[peer, tensor])) for peer in (0, 1)]
    return export.compare(bundle, executor, targets, gather)[1]


def bound(bundle, transport, gpus):
    executor = mxgen.Executor(bundle, transport=transport, gpus=gpus)
    sources = {}
    for tensor in bundle.of(side="source"):
        sources[tensor.rank, tensor.name] = export.random_shard(tensor, executor.device(tensor.rank))
        executor.bind(tensor.rank, "source", tensor.name, *sources[tensor.rank, tensor.name])
    return executor, sources, {rank: executor.bind_empty(rank) for rank in executor.ranks}


def change(sources, times):
    """Other scales and other elements: on the current streams, for what follows there."""
    for (rank, _), (data, scales) in sources.items():
        with torch.cuda.device(data.device):
            if scales is not None:
                scales.add_(times)
            else:
                data.mul_(2)


def graphs(bundle, transport):
    executor, sources, targets = bound(bundle, transport, [0, 0])
    executor.prepare()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        change(sources, 1)
        for group in reversed(bundle.groups):
            executor.start(group)
    wrong = []
    for _ in range(3):
        graph.replay()
        torch.cuda.synchronize()
        wrong.append(wrong_of(bundle, executor, sources, targets))
    check(wrong == [0, 0, 0], f"{transport}: a graph that changes the sources and moves them, three replays: {wrong} wrong")
    try:
        executor.wait()
        check(False, "a wait for what only a graph has started")
    except mxgen.MxgenError as error:
        check(error.code == "MX0681", f"a wait for what only a graph has started: {error.code}")
    executor.start()  # outside of the graph again
    torch.cuda.synchronize()
    check(wrong_of(bundle, executor, sources, targets) == 0, f"{transport}: started after the graph")
    executor.close()
    other = bound(bundle, transport, [0, 0])[0]
    graph = torch.cuda.CUDAGraph()
    code = None
    with torch.cuda.graph(graph):
        torch.zeros(1, device="cuda:0")
        try:
            other.start()
        except mxgen.MxgenError as error:
            code = error.code
    check(code == "MX0682", f"a capture that was not prepared: {code}")
    other.close()


def streams(bundle, transport):
    """Sources change on side streams right before the start, targets are copied right after it: no wait in between."""
    gpus = [0, 1 % GPUS]
    executor, sources, targets = bound(bundle, transport, gpus)
    sides = [torch.cuda.Stream(device=gpu) for gpu in gpus]
    executor.prepare()
    change(sources, 1)  # every kernel of torch is loaded before: loading one waits for the GPU
    for rank in executor.ranks:
        [tensor.clone() for tensor in targets[rank].values()] + [tensor.zero_() for tensor in targets[rank].values()]
    torch.cuda.synchronize(gpus[1])
    torch.cuda.synchronize(gpus[0])
    here = torch.cuda.current_device()
    for side, rank in zip(sides, executor.ranks):
        with torch.cuda.stream(side):
            torch.cuda._sleep(50_000_000)
            change({key: value for key, value in sources.items() if key[0] == rank}, 2)
    for group in bundle.groups:
        executor.start(group, streams=sides)
    check(not sides[0].query(), f"{transport}: starts return before the work is done")
    copies = {}
    for side, rank in zip(sides, executor.ranks):
        with torch.cuda.stream(side):
            copies[rank] = {name: tensor.clone() for name, tensor in targets[rank].items()}
            for tensor in targets[rank].values():
                tensor.zero_()
    executor.wait()
    for side in sides:
        side.synchronize()
    check(wrong_of(bundle, executor, sources, copies) == 0, f"{transport}: on side streams of GPUs {gpus}")
    check(torch.cuda.current_device() == here, "the current device is as before")
    executor.close()


def wrong_devices(bundle):
    executor = mxgen.Executor(bundle, transport="direct", gpus=[0, 0])
    tensor = bundle.of(0, "source")[0]
    data, scales = mxgen.empty(tensor, "cpu")
    try:
        executor.bind(0, "source", tensor.name, data, scales)
        check(False, "a tensor of the CPU was bound")
    except ValueError as error:
        check("cuda:0" in str(error), f"a tensor of the CPU: {error}")
    executor.close()


bundle = mxgen.generate(os.path.join(FOLDER, "dense_tp2.lua"))
for transport in ("copy", "direct"):
    streams(bundle, transport)
    graphs(bundle, transport)
wrong_devices(bundle)
example(["export.py"])
example(["export.py", "--transport", "copy", "--width", "2"])
example(["reconcile.py"], words="0 bytes wrong")
example(["reconcile.py", "--set", "quantised=false"], code=1, words="nothing was quantised")
example(["reconcile.py"], processes=2, words="0 bytes wrong")  # on two GPUs, or both on one
example(["export.py"], processes=2)
example(["export.py", "--transport", "copy", "--width", "2"], processes=2)
sys.exit(1 if failures else 0)
