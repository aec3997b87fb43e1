#!/usr/bin/env python3
"""The ctypes module of examples/pytorch without a GPU: its structs are the headers', byte by byte; its calls move real bytes
with the host transport, by group, and numpy's own arithmetic agrees; wrong calls are Python exceptions that say what is wrong.

    test_pytorch.py LIBRARY_DIR STRUCT_PROBE [FOLDER]      FOLDER: of an installed examples/pytorch

MXG_FAKE_CUDA, MXG_FAKE_NCCL: the driver and the NCCL without GPUs (tests/driver); without them what is about GPUs is left out."""
import copy
import ctypes
import gc
import os
import pickle
import shutil
import socket
import subprocess
import sys
import tempfile
import types
import warnings

try:
    import numpy
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = sys.argv[3] if len(sys.argv) > 3 else os.path.join(HERE, "..", "..", "examples", "pytorch")
if sys.argv[1] != "-":  # "-": the module has to find them
    os.environ["MXGEN_LIBRARY_DIR"] = sys.argv[1]
sys.path.insert(0, FOLDER)
import mxgen_torch as mxgen  # noqa: E402

RECIPE = os.path.join(FOLDER, "dense_tp2.lua")
failures = 0


def check(good, what):
    global failures
    if not good:
        print(f"FAILED: {what}")
        failures += 1


def refused(call, kind, words):
    """The call raises `kind` with these words."""
    try:
        call()
    except kind as error:
        check(words in str(error), f"the error does not say '{words}': {error}")
        return error
    except Exception as error:  # noqa: BLE001
        check(False, f"not {kind.__name__} but {type(error).__name__}: {error}")
    else:
        check(False, f"no error that says '{words}'")
    return None


def structs_are_the_headers():
    enums = {"MXG_SOURCE": mxgen.SIDES["source"], "MXG_TARGET": mxgen.SIDES["target"], "MXG_ALL_GROUPS": mxgen.ALL_GROUPS}
    enums.update({f"MXG_{name.upper()}": i for i, name in enumerate(mxgen.TRANSPORTS)})
    enums.update(MXRT_VERSION=mxgen.HEADER_VERSION, MXGEN_VERSION=mxgen.HEADER_VERSION)
    seen = {}
    for line in subprocess.run([sys.argv[2]], check=True, capture_output=True, text=True).stdout.splitlines():
        struct, field, offset, size = line.split()
        if struct == "enum":
            check(enums.pop(field) == int(offset), f"{field} is {offset}")
        elif field == "-":
            check(mxgen.ctypes.sizeof(mxgen.STRUCTS[struct]) == int(size), f"{struct} has {size} bytes")
        else:
            mine = getattr(mxgen.STRUCTS[struct], field)
            check((mine.offset, mine.size) == (int(offset), int(size)), f"{struct}.{field} is at {offset} with {size}")
            seen.setdefault(struct, []).append(field)
    for name, struct in mxgen.STRUCTS.items():
        check([field[0] for field in struct._fields_] == seen.get(name), f"{name} has other fields")
    check(not enums, f"not in the headers: {enums}")


# ---- the reference: plain numpy ----


def decode(data, scales):
    """E4M3 elements with a scale byte for 32 of a row, to FP32, then to the bits of BF16 by rounding to nearest even."""
    bits = numpy.arange(256, dtype=numpy.uint32)
    exponent, fraction = bits >> 3 & 15, (bits & 7).astype(numpy.float64)
    value = numpy.where(exponent == 0, fraction * 2.0 ** -9, (8 + fraction) * 2.0 ** (exponent.astype(numpy.float64) - 10))
    value = numpy.where(bits & 0x80, -value, value)
    factor = numpy.repeat(2.0 ** (scales.astype(numpy.float64) - 127), 32, axis=1)
    floats = (value[data] * factor).astype(numpy.float32).view(numpy.uint32)
    return (floats + 0x7fff + (floats >> 16 & 1) >> 16).astype(numpy.uint16)


def whole(tensor, shards, part):
    """The tensor that two ranks hold, or a part of a fused one, as dense_tp2.lua says."""
    kind = tensor.split(".", 2)[-1] if tensor.startswith("layers.") else tensor
    if kind.endswith("norm"):
        return shards[0]
    if kind in ("attn.out", "mlp.down"):
        return numpy.concatenate(shards, axis=1)
    rows = numpy.concatenate(shards)
    if kind in ("embed", "head"):
        return rows[:4098]
    if kind == "mlp.gate_up":  # a rank's rows: its part of gate, then of up
        half = rows.reshape(2, 2, -1, rows.shape[-1])
        return half[:, ("gate", "up").index(part)].reshape(-1, rows.shape[-1])
    groups = rows.reshape(4, -1, rows.shape[-1])  # query groups: some heads of q, one of k, one of v
    heads = 8 // 4
    cut = {"q": slice(0, heads * 64), "k": slice(heads * 64, heads * 64 + 64), "v": slice(heads * 64 + 64, None)}[part]
    return groups[:, cut].reshape(-1, rows.shape[-1])


def part_of(name):
    for part in ("q", "k", "v", "gate", "up"):
        if f".{part}_proj." in name:
            return part
    return None


def random_sources(bundle, seed):
    random = numpy.random.default_rng(seed)
    sources = {}
    for tensor in bundle.of(side="source"):
        if tensor.dtype == "BF16":
            data = random.integers(0, 0x7f00, tensor.shape, dtype=numpy.uint16)
        else:
            data = random.integers(0, 255, tensor.shape, dtype=numpy.uint8)
            data[(data & 0x7f) == 0x7f] = 0x12  # NaN has no order of bits to agree on
        scales = random.integers(100, 150, tensor.scale_shape, dtype=numpy.uint8) if tensor.scale_bytes else None
        if tensor.tensor.endswith("norm") and tensor.rank:  # whole: every rank has the same
            data = sources[0, tensor.name][0].copy()
        sources[tensor.rank, tensor.name] = (data, scales)
    return sources


def wanted(bundle, sources):
    """What every target must be."""
    values = {}
    for (rank, name), (data, scales) in sources.items():
        values.setdefault(name, {})[rank] = data if scales is None else decode(data, scales)
    return {(t.rank, t.name): whole(t.tensor, [values[t.tensor][0], values[t.tensor][1]], part_of(t.name))
            for t in bundle.of(side="target")}


def bind_all(executor, bundle, sources):
    targets = {}
    for (rank, name), (data, scales) in sources.items():
        executor.bind(rank, "source", name, data, scales)
    for tensor in bundle.of(side="target"):
        targets[tensor.rank, tensor.name] = numpy.full(tensor.shape, 0xa5a5, numpy.uint16)
        executor.bind(tensor.rank, "target", tensor.name, targets[tensor.rank, tensor.name])
    return targets


def count_wrong(targets, want, only=None):
    return sum(int((targets[key] != want[key]).sum()) for key in want if only is None or key in only)


def moves_are_right():
    bundle = mxgen.generate(RECIPE, sets={"layers": 2}, archs=[])
    check(bundle.ranks == [0, 1], "ranks")
    check(bundle.groups == ["embed", "layers.0", "layers.1", "norm", "head"], f"groups are {bundle.groups}")
    check(len(bundle.digest) == 64, "the digest")
    sources = random_sources(bundle, 1)
    want = wanted(bundle, sources)
    with mxgen.Executor(bundle, transport="host") as executor:
        check(executor.on_host and executor.device(0) == "cpu", "the host transport")
        targets = bind_all(executor, bundle, sources)
        executor.prepare()
        for group in reversed(bundle.groups):
            done = {(t.rank, t.name) for t in bundle.of(side="target") if bundle.groups[t.group] == group}
            check(all((targets[key] == 0xa5a5).all() for key in done), f"{group} was written early")
            executor.start(group)
            executor.wait(group)
            check(done and count_wrong(targets, want, done) == 0, f"{group} is wrong")
        check(count_wrong(targets, want) == 0, "by group")
        for data, _ in sources.values():
            data ^= 1  # other sources in the same memory, still no NaN
            data[(data & 0x7f) == 0x7f] ^= 2
        want = wanted(bundle, sources)
        check(count_wrong(targets, want) > 1000, "the comparison sees nothing")
        executor.start()
        executor.wait()
        check(count_wrong(targets, want) == 0, "all at once")
        for target in targets.values():
            target[:] = 0
        executor.run()
        check(count_wrong(targets, want) == 0, "run")
    refused(executor.run, ValueError, "was closed")
    elements = sum(target.size for target in targets.values())
    print(f"{len(targets)} targets of 2 ranks, {elements} elements: 0 wrong" if not failures else "wrong")
    path = os.path.join(os.environ.get("TMPDIR", "/tmp"), f"mxgen-test-{os.getpid()}.mxb")
    try:
        bundle.save(path)
        check(mxgen.load(path).digest == bundle.digest, "a saved bundle is another")
    finally:
        os.path.exists(path) and os.unlink(path)


def errors_are_exceptions():
    error = refused(lambda: mxgen.generate(RECIPE, sets={"layers": -1}, archs=[]), mxgen.MxgenError, "dense_tp2.lua")
    check(error is None or (error.status == "MXG_ERR_INPUT" and error.code.startswith("MX0")), f"the error's fields: {error}")
    refused(lambda: mxgen.generate("/no/such/recipe.lua", archs=[]), mxgen.MxgenError, "/no/such/recipe.lua")
    refused(lambda: mxgen.load(RECIPE), mxgen.MxgenError, "not a bundle")
    bundle = mxgen.generate(RECIPE, sets={"layers": 1}, archs=[])
    refused(lambda: mxgen.Executor(bundle, transport="carrier pigeon"), ValueError, "carrier pigeon")
    refused(lambda: mxgen.Executor(bundle, transport="host", ranks=[7]), mxgen.MxgenError, "rank 7")
    executor = mxgen.Executor(bundle, transport="host")
    error = refused(executor.start, mxgen.MxgenError, "is not bound")
    check(error is None or (error.code == "MX0606" and error.status == "MXG_ERR_USAGE" and error.note), "fields of an error")
    refused(lambda: executor.wait("embed"), mxgen.MxgenError, "not started")
    refused(lambda: executor.start(99), mxgen.MxgenError, "no group 99")
    refused(lambda: executor.start("layers.9"), ValueError, "layers.9")
    refused(lambda: executor.start(0, streams=[0, 0]), ValueError, "no streams")
    source = next(t for t in bundle.of(0, "source") if t.scale_bytes)
    data, scales = numpy.zeros(source.shape, numpy.uint8), numpy.zeros(source.scale_shape, numpy.uint8)

    def bind(data, scales, side="source", name=source.name):
        return lambda: executor.bind(0, side, name, data, scales)
    refused(bind(data, scales, name="layers.0.nothing"), KeyError, "layers.0.nothing")
    refused(bind(data, None), ValueError, "it has scales, U8")
    refused(bind(data[:-1], scales), ValueError, "bytes; got")
    refused(bind(data, scales[:, :-1].copy()), ValueError, "expected the shape")
    refused(bind(data, scales.reshape(-1)), ValueError, "expected the shape")
    refused(bind(data.astype(numpy.float32), scales), TypeError, "got float32")
    refused(bind(numpy.asfortranarray(data), scales), ValueError, "not contiguous")
    refused(bind([1, 2], scales), TypeError, "got list")
    target = bundle.of(0, "target")[0]
    frozen = numpy.zeros(target.shape, numpy.uint16)
    frozen.flags.writeable = False
    refused(bind(frozen, None, "target", target.name), ValueError, "read-only")
    refused(bind(numpy.zeros(target.shape, numpy.uint16), scales, "target", target.name), ValueError, "has no scales")
    executor.bind(0, "source", source.name, data, scales)
    error = refused(bind(data, scales), mxgen.MxgenError, "bound already")
    check(error is None or error.code == "MX0605", "fields of an error")
    executor.close()


def what_c_would_cut_is_refused():
    """ctypes keeps the low bits of any integer, and C ends a text at a NUL."""
    bundle = mxgen.generate(RECIPE, sets={"layers": 1}, archs=[])
    for wrong in ({"threads": -1}, {"timeout_ms": 1 << 32}, {"ranks": [1 << 32]}):
        refused(lambda: mxgen.Executor(bundle, transport="host", **wrong), ValueError, "not a number")  # noqa: B023
    refused(lambda: mxgen.Job(rank=0, world=(1 << 32) + 1), ValueError, "not a number from 0")
    with mxgen.Executor(bundle, transport="host") as executor:
        for group in (-1, 1 << 32):
            refused(lambda: executor.start(group), ValueError, "not a number from 0")  # noqa: B023
            refused(lambda: executor.wait(group), ValueError, "not a number from 0")  # noqa: B023
        target = bundle.of(0, "target")[0]
        swapped = numpy.zeros(target.shape, numpy.dtype(numpy.uint16).newbyteorder())
        refused(lambda: executor.bind(0, "target", target.name, swapped), TypeError, "another order")
    for call in (mxgen.load, mxgen.generate, bundle.save):
        refused(lambda: call("/no/such/folder\0x"), ValueError, "NUL")  # noqa: B023
    refused(lambda: mxgen.generate(RECIPE, sets={"layers": "1\0"}, archs=[]), ValueError, "NUL")


def handles_are_freed_once_and_in_order():
    """However the objects end: closed, forgotten, or in a cycle, which is collected in any order."""
    library, freed = mxgen._runtime(), []

    class Watched:
        def __getattr__(self, name):
            def call(*arguments):
                freed.append(name.split("_")[1])
                return getattr(library, name)(*arguments)
            return call if name.endswith("_free") else getattr(library, name)

    class Cycle:
        pass
    mxgen._libraries["libmxrt.so.0.1"] = Watched()
    try:
        gc.collect()
        freed.clear()
        cycle = Cycle()
        cycle.itself, cycle.bundle, cycle.job = cycle, mxgen.generate(RECIPE, sets={"layers": 1}, archs=[]), mxgen.Job(0, 1)
        cycle.executor = mxgen.Executor(cycle.bundle, transport="host", job=cycle.job, ranks=[0, 1])
        del cycle
        gc.collect()
        check(freed[:1] == ["exec"] and sorted(freed) == ["bundle", "exec", "job"], f"a cycle is freed as {freed}")
        freed.clear()
        bundle = mxgen.generate(RECIPE, sets={"layers": 1}, archs=[])
        with mxgen.Job(0, 1) as job:
            executor = mxgen.Executor(bundle, transport="host", job=job, ranks=[0, 1])
        check(freed == ["exec", "job"], f"the end of a job frees {freed}")
        refused(executor.run, ValueError, "the executor was closed")
        refused(lambda: mxgen.Executor(bundle, transport="host", job=job), ValueError, "the job was closed")
        for owner in (bundle, executor, job):
            for copied in (copy.copy, copy.deepcopy, pickle.dumps):
                refused(lambda: copied(owner), TypeError, "neither be copied nor pickled")  # noqa: B023
        del owner, bundle, executor, job
        gc.collect()
        check(sorted(freed) == ["bundle", "exec", "job"], f"all in all {freed} were freed")
    finally:
        mxgen._libraries["libmxrt.so.0.1"] = library


class Named(numpy.ndarray):
    """Bytes under another name of a type, as torch's tensors have them and numpy's arrays cannot."""
    dtype = property(lambda self: types.SimpleNamespace(name="float8_e8m0fnu"))


def scales_may_be_of_torch_s_type():
    """Files have E8M0 scales as U8; torch has a type of its own for them."""
    bundle = mxgen.generate(RECIPE, sets={"layers": 1}, archs=[])
    source = next(t for t in bundle.of(0, "source") if t.scale_bytes)
    check(source.scale_dtype == "U8", "the scales are bytes in files")
    data, scales = numpy.zeros(source.shape, numpy.uint8), numpy.zeros(source.scale_shape, numpy.uint8).view(Named)
    executor = mxgen.Executor(bundle, transport="host")
    refused(lambda: executor.bind(0, "source", source.name, data.view(Named), scales), TypeError, "got float8_e8m0fnu")
    refused(lambda: executor.bind(0, "source", source.name, data, scales.reshape(-1)), ValueError, "expected the shape")
    executor.bind(0, "source", source.name, data, scales)
    executor.close()


def communicators_of_the_caller():
    """A process with the driver and the NCCL that have no GPUs: the runtime sees the communicators that Python gives."""
    try:
        bundle = mxgen.generate(RECIPE, sets={"layers": 1}, archs=["native"])
    except mxgen.MxgenError as error:
        check(error.code == "MX0501", f"a bundle for the GPUs: {error}")  # no NVRTC
        return
    nccl = ctypes.CDLL(os.environ["MXGEN_NCCL"])
    unique = ctypes.create_string_buffer(128)
    nccl.ncclGetUniqueId(unique)

    class Unique(ctypes.Structure):
        _fields_ = [("bytes", ctypes.c_char * 128)]
    comms = [ctypes.c_void_p(), ctypes.c_void_p()]
    for rank, comm in enumerate(comms):
        nccl.ncclCommInitRankConfig(ctypes.byref(comm), 2, Unique.from_buffer_copy(unique), rank, None)

    def executor(comms):
        return mxgen.Executor(bundle, transport="nccl", gpus=[0, 1], nccl_comms=comms)
    refused(lambda: executor(comms[:1]), ValueError, "1 NCCL communicators")
    for wrong, words in (([comms[0], None], "that of rank 1 is NULL"), (comms[::-1], "that of rank 0 is rank 1 of 2")):
        error = refused(lambda: executor(wrong), mxgen.MxgenError, words)  # noqa: B023
        check(error is None or error.code == "MX0601", f"the code: {error}")
    for good in (comms, [comm.value for comm in comms]):
        with executor(good) as made:
            check(made.transport == "nccl", "the transport")
    check(all(nccl.ncclCommDestroy(comm) == 0 for comm in comms), "they are the caller's to the end")


def without_gpus():
    fakes = {name: os.environ.get(f"MXG_FAKE_{name[-4:]}") for name in ("MXGEN_LIBCUDA", "MXGEN_NCCL")}
    if not all(fakes.values()):
        return
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run([sys.executable, *sys.argv], timeout=100,
                              env={**os.environ, **fakes, "MXGEN_CACHE_DIR": cache, "MXG_TEST_PROCESS": "comms"})
    check(done.returncode == 0, "communicators of the caller")


def tuning_that_does_not_fit_is_a_warning():
    with tempfile.TemporaryDirectory() as folder:
        recipe = shutil.copy(RECIPE, os.path.join(folder, "r.lua"))
        shutil.copy(os.path.join(FOLDER, "dense.lua"), folder)
        plain = mxgen.generate(recipe, sets={"layers": 1}, archs=[]).digest
        with open(os.path.join(folder, "r.tune"), "w") as file:
            file.write("mxgen tune 3\n")
        for tune in (True, False):
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                check(mxgen.generate(recipe, sets={"layers": 1}, archs=[], tune=tune).digest == plain, "another bundle")
            texts = [str(one.message) for one in said]
            check(len(texts) == tune and all("too new" in text for text in texts), f"warnings with tune={tune}: {texts}")


def one_of_two_processes():
    """A rank in a process of its own; its peer is another. Sources of the other rank are not bound here."""
    bundle = mxgen.generate(RECIPE, sets={"layers": 1}, archs=[])
    sources = random_sources(bundle, 3)
    want = {key: value for key, value in wanted(bundle, sources).items()}
    with mxgen.Job(timeout_ms=20000) as job:
        executor = mxgen.Executor(bundle, transport="host", job=job, timeout_ms=20000)
        check(executor.ranks == [job.rank], "the rank of a process")
        for (rank, name), (data, scales) in sources.items():
            if rank == job.rank:
                executor.bind(rank, "source", name, data, scales)
        targets = {}
        for tensor in bundle.of(job.rank, "target"):
            targets[job.rank, tensor.name] = numpy.full(tensor.shape, 0xa5a5, numpy.uint16)
            executor.bind(job.rank, "target", tensor.name, targets[job.rank, tensor.name])
        executor.prepare()
        for group in bundle.groups:
            executor.start(group)
        executor.wait()
        check(targets and count_wrong(targets, {key: want[key] for key in targets}) == 0, f"process {job.rank}: by group")
        for target in targets.values():
            target[:] = 0
        executor.run()
        check(count_wrong(targets, {key: want[key] for key in targets}) == 0, f"process {job.rank}: run")
        executor.close()


def two_processes():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    children = [subprocess.Popen([sys.executable, *sys.argv], env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "2",
                                                                   "MASTER_ADDR": "127.0.0.1", "MXGEN_PORT": port,
                                                                   "MXG_TEST_PROCESS": "1"}) for rank in (0, 1)]
    try:
        check([child.wait(timeout=60) for child in children] == [0, 0], "two processes")
    finally:
        for child in children:
            child.kill()
            child.wait()


if os.environ.get("MXG_TEST_PROCESS"):
    (communicators_of_the_caller if os.environ["MXG_TEST_PROCESS"] == "comms" else one_of_two_processes)()
    sys.exit(1 if failures else 0)
structs_are_the_headers()
tuning_that_does_not_fit_is_a_warning()
moves_are_right()
two_processes()
without_gpus()
scales_may_be_of_torch_s_type()
errors_are_exceptions()
what_c_would_cut_is_refused()
handles_are_freed_once_and_in_order()
sys.exit(1 if failures else 0)
