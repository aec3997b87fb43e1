"""mxgen for PyTorch: recipes become kernels when a model is made, and torch tensors are what they read and write.

    import mxgen_torch as mxgen

    bundle = mxgen.generate("weights.lua")              # kernels for this GPU; the second time from the disk cache
    executor = mxgen.Executor(bundle)                   # every rank in this process; one a process: see below
    executor.bind(rank, "source", name, data, scales)   # torch tensors; nothing is copied
    executor.start("layers.0")                          # on torch's current stream; returns at once
    executor.wait("layers.0")                           # the host waits; work on the stream need not

One process a GPU (torchrun): `job = mxgen.Job()` in each, then Executor(bundle, job=job, ranks=[rank]).

Only ctypes is used, no compiled extension. libmxrt.so and libmxgen.so are looked for in MXGEN_LIBRARY_DIR, in lib folders
of the prefix that this file is installed under, and where the system's loader looks. Without torch the module works on
numpy arrays with the host transport."""

import ctypes
import os
import sys
import warnings
import weakref
from ctypes import POINTER, byref, c_bool, c_char, c_char_p, c_int, c_size_t, c_uint, c_uint32, c_uint64, c_void_p

ALL_GROUPS = 0xFFFFFFFF
TRANSPORTS = ("host", "nccl", "copy", "direct", "auto")
SIDES = {"source": 0, "target": 1}
_SIDE_NAMES = ("source", "target", "scratch")


def _torch():
    """torch if the program uses it or can; None otherwise."""
    global _torch_module
    if _torch_module is False:
        try:
            import torch
            _torch_module = torch
        except ImportError:
            _torch_module = None
    return _torch_module


_torch_module = False


HEADER_VERSION = 100  # MXRT_VERSION and MXGEN_VERSION of the headers that the structs below are of

# ---- the library's structs, field by field as the headers have them (tests compare sizes and offsets) ----


class _Error(ctypes.Structure):
    _fields_ = [("status", c_int), ("code", c_uint), ("native", c_int), ("line", c_int), ("column", c_int),
                ("span", c_int), ("file", c_char * 256), ("text", c_char * 512), ("note", c_char * 512),
                ("help", c_char * 512)]


class _TensorInfo(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("side", c_int), ("rank", c_uint32), ("name", c_char_p), ("data_bytes", c_uint64),
                ("scale_bytes", c_uint64), ("first_group", c_uint32), ("group", c_uint32), ("tensor", c_char_p),
                ("dtype", c_char_p), ("scale_dtype", c_char_p), ("ndim", c_uint32), ("scale_ndim", c_uint32),
                ("shape", c_uint64 * 3), ("scale_shape", c_uint64 * 3)]


_Progress = ctypes.CFUNCTYPE(None, c_void_p, c_uint64, c_uint64)
_Record = ctypes.CFUNCTYPE(None, c_void_p, c_char_p)
_Warn = ctypes.CFUNCTYPE(None, c_void_p, c_char_p)
_GenerateProgress = ctypes.CFUNCTYPE(None, c_void_p, c_char_p, c_uint, c_uint)


class _ExecOptions(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("transport", c_int), ("ranks", POINTER(c_uint32)), ("rank_count", c_uint32),
                ("threads", c_uint), ("progress", _Progress), ("user", c_void_p), ("wires", c_bool),
                ("gpus", POINTER(c_int)), ("timeout_ms", c_uint), ("chunk_bytes", c_uint64), ("copy_streams", c_uint),
                ("no_graph", c_bool), ("record", _Record), ("job", c_void_p), ("nccl_comms", POINTER(c_void_p))]


class _JobOptions(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("rank", c_uint32), ("world", c_uint32), ("address", c_char_p), ("port", c_uint),
                ("timeout_ms", c_uint)]


class _KernelCounts(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("cached", c_uint), ("compiled", c_uint), ("note", c_char * 256)]


class _Options(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("archs", POINTER(c_char_p)), ("sets", POINTER(c_char_p)), ("out_dir", c_char_p),
                ("threads", c_uint), ("progress", _GenerateProgress), ("user", c_void_p), ("embed", c_char_p),
                ("no_cache", c_bool), ("counts", POINTER(_KernelCounts)), ("warn", _Warn), ("no_tune", c_bool)]


STRUCTS = {"mxg_error": _Error, "mxg_tensor_info": _TensorInfo, "mxg_exec_options": _ExecOptions,
           "mxg_job_options": _JobOptions, "mxg_kernel_counts": _KernelCounts, "mxg_options": _Options}


# ---- errors ----


class MxgenError(RuntimeError):
    """What the library says: status ("MXG_ERR_INPUT"), code ("MX0403"), native, file, line, column, text, note, help."""

    def __init__(self, status, error):
        texts = {name: getattr(error, name).decode(errors="replace") for name in ("file", "text", "note", "help")}
        self.status, self.code = status, f"MX{error.code:04d}"
        self.native, self.line, self.column = error.native, error.line, error.column
        self.file, self.text, self.note, self.help = (texts[name] for name in ("file", "text", "note", "help"))
        place = "".join(f":{n}" for n in (self.line, self.column) if n)
        message = f"{self.file}{place}: " if self.file else ""
        message += f"{self.text} [{self.code}, {status}]"
        message += f"\n  note: {self.note}" if self.note else ""
        message += f"\n  help: {self.help}" if self.help else ""
        super().__init__(message)


# ---- the libraries ----


def _places():
    here = os.environ.get("MXGEN_LIBRARY_DIR")
    if here:
        return [here]
    places, folder = [], os.path.dirname(os.path.abspath(__file__))
    for _ in range(5):  # PREFIX/share/mxgen/pytorch, or PREFIX/share/doc/...: PREFIX is some folders up
        folder = os.path.dirname(folder)
        lib = os.path.join(folder, "lib")
        multi = getattr(sys.implementation, "_multiarch", "")
        places += [os.path.join(lib, multi)] if multi else []
        places += [lib, os.path.join(folder, "lib64")]
    return places + [""]


def _open(name):
    tried = []
    for place in _places():
        path = os.path.join(place, name)
        if place and not os.path.exists(path):
            continue
        try:
            return ctypes.CDLL(path)
        except OSError as why:
            tried.append(str(why))
    raise ImportError(f"{name} was not found: {'; '.join(tried) or 'no such file'}. Install mxgen, or set MXGEN_LIBRARY_DIR")


_FUNCTIONS = {
    "mxg_status_name": (c_char_p, [c_int]),
    "mxg_version": (c_char_p, []),
    "mxg_version_check": (c_int, [c_uint, POINTER(_Error)]),
    "mxg_bundle_load": (c_int, [POINTER(c_void_p), c_char_p, POINTER(_Error)]),
    "mxg_bundle_save": (c_int, [c_void_p, c_char_p, POINTER(_Error)]),
    "mxg_bundle_digest": (c_char_p, [c_void_p]),
    "mxg_bundle_tensors": (c_uint32, [c_void_p]),
    "mxg_bundle_tensor": (c_int, [POINTER(_TensorInfo), c_void_p, c_uint32, POINTER(_Error)]),
    "mxg_bundle_groups": (c_uint32, [c_void_p]),
    "mxg_bundle_group_name": (c_char_p, [c_void_p, c_uint32]),
    "mxg_bundle_free": (None, [c_void_p]),
    "mxg_job_create": (c_int, [POINTER(c_void_p), POINTER(_JobOptions), POINTER(_Error)]),
    "mxg_job_free": (None, [c_void_p]),
    "mxg_exec_create": (c_int, [POINTER(c_void_p), c_void_p, POINTER(_ExecOptions), POINTER(_Error)]),
    "mxg_exec_bind": (c_int, [c_void_p, c_uint32, c_int, c_char_p, c_void_p, c_uint64, c_void_p, c_uint64,
                              POINTER(_Error)]),
    "mxg_exec_run": (c_int, [c_void_p, POINTER(_Error)]),
    "mxg_exec_prepare": (c_int, [c_void_p, POINTER(_Error)]),
    "mxg_exec_start": (c_int, [c_void_p, c_uint32, POINTER(c_void_p), POINTER(_Error)]),
    "mxg_exec_wait": (c_int, [c_void_p, c_uint32, POINTER(_Error)]),
    "mxg_exec_transport": (c_int, [c_void_p, POINTER(c_char_p)]),
    "mxg_exec_device_bytes": (c_uint64, [c_void_p, c_uint32]),
    "mxg_exec_free": (None, [c_void_p]),
}
_GENERATE = {"mxg_generate": (c_int, [POINTER(c_void_p), c_char_p, POINTER(_Options), POINTER(_Error)])}
_libraries = {}


def _library(name, functions):
    if name not in _libraries:
        library = _open(name)
        for function, (result, arguments) in functions.items():
            getattr(library, function).restype = result
            getattr(library, function).argtypes = arguments
        _libraries[name] = library
    return _libraries[name]


def _runtime():
    if "libmxrt.so.0.1" not in _libraries:
        error = _Error()
        _check(_library("libmxrt.so.0.1", _FUNCTIONS).mxg_version_check(HEADER_VERSION, byref(error)), error)
    return _libraries["libmxrt.so.0.1"]


def _check(status, error):
    if status:
        raise MxgenError(_runtime().mxg_status_name(status).decode(), error)


def version():
    return _runtime().mxg_version().decode()


# ---- what C takes ----


def _number(what, value, bits=32):
    """An unsigned int of C: ctypes takes every integer and keeps its low bits."""
    if not 0 <= value < 1 << bits:
        raise ValueError(f"{what} is {value}, not a number from 0 to {(1 << bits) - 1}")
    return value


def _text(encoded):
    """The bytes of a text: C would end it at a NUL."""
    if b"\0" in encoded:
        raise ValueError(f"{encoded!r} has a NUL in it")
    return encoded


def _path(path):
    return _text(os.fsencode(path))


class _Shared:
    """A handle and those that need it: the last one that lets go of it frees it. The garbage collector ends the objects
    of a cycle in any order, the bundle before its executor too."""

    def __init__(self, handle, free):
        self._handle, self._free, self._users = handle, free, [True]

    def take(self):
        self._users.append(False)
        return self

    def drop(self):
        if self._users.pop():  # the first of them is the last one left
            self._free(self._handle)


class _Owner:
    """What has a handle: a copy would free it again."""

    def __reduce_ex__(self, protocol):
        raise TypeError(f"objects of {type(self).__name__} can neither be copied nor pickled")


# ---- bundles ----


class Tensor:
    """A stored tensor of one rank and side: name, shapes and types as a file has them, and the groups that write it."""

    def __init__(self, info):
        self.side, self.rank = _SIDE_NAMES[info.side], info.rank
        self.name, self.tensor = info.name.decode(), info.tensor.decode()
        self.data_bytes, self.scale_bytes = info.data_bytes, info.scale_bytes
        self.dtype, self.scale_dtype = info.dtype.decode(), info.scale_dtype.decode()
        self.shape = tuple(info.shape[:info.ndim])
        self.scale_shape = tuple(info.scale_shape[:info.scale_ndim]) if info.scale_bytes else None
        self.first_group, self.group = info.first_group, info.group

    def __repr__(self):
        scales = f" + {self.scale_dtype}{list(self.scale_shape)}" if self.scale_bytes else ""
        return f"<{self.side} {self.name} of rank {self.rank}: {self.dtype}{list(self.shape)}{scales}>"


class Bundle(_Owner):
    """A plan for every rank with its kernels. `tensors`: what can be bound; `groups`: names of what can be started."""

    def __init__(self, handle, counts=None):
        self._handle, library, error = handle, _runtime(), _Error()
        self._shared = _Shared(handle, library.mxg_bundle_free)
        self.digest = library.mxg_bundle_digest(handle).decode()
        self.groups = [library.mxg_bundle_group_name(handle, g).decode() for g in range(library.mxg_bundle_groups(handle))]
        self.cached, self.compiled = (counts.cached, counts.compiled) if counts else (0, 0)
        self.tensors = []
        for index in range(library.mxg_bundle_tensors(handle)):
            info = _TensorInfo(size=ctypes.sizeof(_TensorInfo))
            _check(library.mxg_bundle_tensor(byref(info), handle, index, byref(error)), error)
            self.tensors.append(Tensor(info))
        self.ranks = sorted({t.rank for t in self.tensors})

    def of(self, rank=None, side=None):
        return [t for t in self.tensors if rank in (None, t.rank) and side in (None, t.side)]

    def save(self, path):
        error = _Error()
        _check(_runtime().mxg_bundle_save(self._handle, _path(path), byref(error)), error)

    def __del__(self):
        if hasattr(self, "_shared"):
            self._shared.drop()


def load(path):
    """The bundle that `mxgen RECIPE --out DIR` wrote."""
    handle, error = c_void_p(), _Error()
    _check(_runtime().mxg_bundle_load(byref(handle), _path(path), byref(error)), error)
    return Bundle(handle)


def _texts(items):
    return (c_char_p * (len(items) + 1))(*[_text(item.encode()) for item in items], None)


def generate(recipe, sets=None, archs=None, threads=0, cache=True, tune=True):
    """Recipe to bundle. `sets`: {"layers": 2}, values of mx.param; `archs`: ["sm_90a"], ["native"]: of the GPUs at hand;
    None: the same where torch sees any, else []: no kernels, which the host transport does not need. `tune`: take what
    `mxgen tune` left beside the recipe; a file that does not fit is a warning."""
    options, counts, handle, error = _Options(), _KernelCounts(), c_void_p(), _Error()
    options.size, counts.size = ctypes.sizeof(options), ctypes.sizeof(counts)
    if archs is None:
        archs = ["native"] if _torch() and _torch().cuda.is_available() else []
    options.archs = _texts(archs)
    options.sets = _texts([f"{key}={str(value).lower() if isinstance(value, bool) else value}"
                           for key, value in (sets or {}).items()])
    options.threads, options.no_cache, options.counts = _number("threads", threads), not cache, ctypes.pointer(counts)
    said = []
    options.warn, options.no_tune = _Warn(lambda _, text: said.append(text.decode(errors="replace"))), not tune
    library = _library("libmxgen.so.0.1", _GENERATE)
    _check(library.mxg_generate(byref(handle), _path(recipe), byref(options), byref(error)), error)
    for text in said:
        warnings.warn(text, stacklevel=2)
    return Bundle(handle, counts)


# ---- memory ----

_TORCH_NAMES = {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu", "U8": "uint8",
                "BF16": "bfloat16", "F16": "float16", "F32": "float32"}


def torch_dtype(name):
    """torch's type of a safetensors type; uint8 where this torch has no such type (float8_e8m0fnu is new)."""
    return getattr(_torch(), _TORCH_NAMES[name], _torch().uint8)


def empty(tensor, device):
    """(data, scales or None): torch tensors as a stored tensor wants them, not initialised."""
    torch = _torch()
    if not torch:
        raise ImportError("this makes tensors of torch, which is not installed; bind numpy arrays of your own")
    data = torch.empty(tensor.shape, dtype=torch_dtype(tensor.dtype), device=device)
    if not tensor.scale_bytes:
        return data, None
    return data, torch.empty(tensor.scale_shape, dtype=torch_dtype(tensor.scale_dtype), device=device)


def _dtypes(name, scales):
    """Names of the types that may hold a safetensors type, in its shape: its own, and for scales of bytes torch's type of
    E8M0, which files may not have; and those that may in any shape: bytes."""
    own = {_TORCH_NAMES[name]} | ({"float8_e8m0fnu"} if scales and name == "U8" else set())
    return own, ({"uint8"} | ({"int16", "uint16"} if name == "BF16" else set())) - own


def _address(array, what, shape, dtype, count, gpu, writes, scales=False):
    """The address of a torch tensor or numpy array, after checks. gpu None: it must be in the process's memory."""
    torch = _torch()
    if torch and isinstance(array, torch.Tensor):
        if array.layout != torch.strided or array.is_neg():
            raise ValueError(f"{what}: its memory is not its elements; give .to_dense(), or .resolve_neg()")
        kind, index = array.device.type, array.device.index
        name, contiguous = str(array.dtype).removeprefix("torch."), array.is_contiguous()
        size, address, given = array.numel() * array.element_size(), array.data_ptr(), tuple(array.shape)
        room = array.untyped_storage().nbytes() - array.storage_offset() * array.element_size()
        if array.requires_grad and writes:
            raise ValueError(f"{what}: a tensor that requires grad would be written behind autograd's back; give .detach()")
    elif hasattr(array, "__array_interface__") and hasattr(array, "flags"):
        kind, index, name, contiguous = "cpu", None, array.dtype.name, array.flags["C_CONTIGUOUS"]
        size, address, given = array.nbytes, array.ctypes.data, tuple(array.shape)
        room = size
        if not getattr(array.dtype, "isnative", True):
            raise TypeError(f"{what}: its bytes are in another order than this machine's")
        if writes and not array.flags["WRITEABLE"]:
            raise ValueError(f"{what}: the array is read-only")
    else:
        raise TypeError(f"{what}: expected a torch tensor or a numpy array, got {type(array).__name__}")
    if gpu is None and kind != "cpu":
        raise ValueError(f"{what}: it is on {array.device}, and transport host takes tensors of the CPU")
    if gpu is not None and (kind != "cuda" or index != gpu):
        raise ValueError(f"{what}: it is on {kind}{'' if index is None else f':{index}'}, and its rank has cuda:{gpu}")
    own, raw = _dtypes(dtype, scales)
    if name not in own | raw:
        raise TypeError(f"{what}: expected {' or '.join(sorted(own | raw))}, got {name}")
    if name in own and given != tuple(shape):
        raise ValueError(f"{what}: expected the shape {list(shape)}, got {list(given)}; bytes (uint8) may have any")
    if not contiguous:
        raise ValueError(f"{what}: it is not contiguous")
    if room < size:
        raise ValueError(f"{what}: its storage has {room} bytes of the tensor's {size}: it was freed or made smaller")
    if size != count:
        raise ValueError(f"{what}: expected {dtype}{list(shape)}, {count} bytes; got {list(given)}, {size} bytes")
    return address


# ---- jobs ----


class Job(_Owner):
    """The processes of one run. Collective: returns when all are there. Without arguments torchrun's environment says who
    this is (RANK, WORLD_SIZE, MASTER_ADDR; process 0 listens on MASTER_PORT + 1, or MXGEN_PORT)."""

    def __init__(self, rank=None, world=None, address=None, port=0, timeout_ms=0):
        self._handle, self._executors, handle, error = None, weakref.WeakSet(), c_void_p(), _Error()
        if (rank is None) != (world is None):
            raise ValueError("rank and world go together")
        self.rank = int(os.environ.get("RANK", 0)) if rank is None else rank
        self.world = int(os.environ.get("WORLD_SIZE", 1)) if world is None else world
        options = _JobOptions(ctypes.sizeof(_JobOptions), _number("rank", self.rank), _number("world", self.world),
                              _text(address.encode()) if address else None, _number("port", port),
                              _number("timeout_ms", timeout_ms))
        _check(_runtime().mxg_job_create(byref(handle), byref(options), byref(error)), error)
        self._handle, self._shared = handle, _Shared(handle, _runtime().mxg_job_free)

    def close(self):
        """Closes the executors that use it, too. The other processes see this one as gone."""
        handle, self._handle = self._handle, None
        if handle:
            for executor in list(self._executors):
                executor.close()
            self._shared.drop()

    def _live(self):
        if not self._handle:
            raise ValueError("the job was closed")
        return self._handle

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        if getattr(self, "_handle", None):
            self._shared.drop()


# ---- executors ----


class Executor(_Owner):
    """Moves a bundle's tensors, for the ranks of this process.

    transport: "auto", "direct", "copy", "nccl", "host"; `job`: the processes of the run; `ranks`: those of this process, None:
    all, or with a job the one that has the process's number; `gpus`: of each of them, ascending; None: torch's current device
    where there is one rank, else in turn. Tensors that are bound are kept alive. With a job all processes create, prepare, start
    the same groups in the same order, and run together.

    `nccl_comms`, for transport "nccl": an ncclComm_t, as an int or a pointer of ctypes, for each rank of this process,
    ascending; of all ranks of the bundle, with their numbers, on their GPUs. Nothing else may use them from the first start to
    the last wait, and they are destroyed after close(). None: the library opens its own, which takes a job where there are
    several processes."""

    def __init__(self, bundle, transport="auto", ranks=None, gpus=None, timeout_ms=0, threads=0, record=None, job=None,
                 nccl_comms=None):
        if transport not in TRANSPORTS:
            raise ValueError(f"transport {transport!r} is none of {', '.join(TRANSPORTS)}")
        self._handle, self._bundle, self._kept, self._needs = None, bundle, [job], []
        if ranks is None:
            ranks = [job.rank] if job else bundle.ranks
        self.ranks = sorted(ranks)
        self._gpus = self._choose_gpus(gpus)
        self._tensors = {(t.rank, t.side, t.name): t for t in bundle.tensors}
        options, error, handle = _ExecOptions(), _Error(), c_void_p()
        options.size, options.transport = ctypes.sizeof(options), TRANSPORTS.index(transport)
        options.ranks = (c_uint32 * len(self.ranks))(*[_number("rank", rank) for rank in self.ranks])
        options.rank_count = len(self.ranks)
        if self._gpus:
            options.gpus = (c_int * len(self._gpus))(*self._gpus)
        options.timeout_ms, options.threads = _number("timeout_ms", timeout_ms), _number("threads", threads)
        options.job = job._live() if job else None
        if nccl_comms is not None:
            if len(nccl_comms) != len(self.ranks):
                raise ValueError(f"{len(nccl_comms)} NCCL communicators for the {len(self.ranks)} ranks of this process")
            options.nccl_comms = (c_void_p * len(nccl_comms))(*[getattr(comm, "value", comm) for comm in nccl_comms])
        if record:
            self._kept.append(_Record(lambda user, line: record(line.decode(errors="replace"))))
            options.record = self._kept[-1]
        self._kept.append(options)
        _check(_runtime().mxg_exec_create(byref(handle), bundle._handle, byref(options), byref(error)), error)
        self._handle, self._needs = handle, [needed._shared.take() for needed in (bundle, job) if needed]
        if job:
            job._executors.add(self)
        why = c_char_p()
        self.transport = TRANSPORTS[_runtime().mxg_exec_transport(handle, byref(why))]
        self.why = (why.value or b"").decode()

    def _choose_gpus(self, gpus):
        torch = _torch()
        if gpus is not None:
            if len(gpus) != len(self.ranks):
                raise ValueError(f"{len(gpus)} GPUs for the {len(self.ranks)} ranks of this process")
            return [gpu if isinstance(gpu, int) else torch.device(gpu).index for gpu in gpus]
        if not torch or not torch.cuda.is_available():
            return None
        if len(self.ranks) == 1:
            return [torch.cuda.current_device()]
        return [i % torch.cuda.device_count() for i in range(len(self.ranks))]

    @property
    def on_host(self):
        return self.transport == "host"

    def device(self, rank):
        """Where a rank's tensors must be: "cpu", or "cuda:1"."""
        return "cpu" if self.on_host else f"cuda:{self._gpus[self.ranks.index(rank)]}"

    def bind(self, rank, side, name, data, scales=None):
        """Gives the memory of one stored tensor; sources and targets, data and scales as Bundle.tensors describes them."""
        tensor = self._tensors.get((rank, side, name))
        if tensor is None:
            raise KeyError(f"rank {rank} has no {side} tensor {name!r}")
        what, writes = f"{side} {name!r} of rank {rank}", side == "target"
        gpu = None
        if not self.on_host:
            if rank not in self.ranks:
                raise ValueError(f"{what}: the rank is not of this process")
            gpu = self._gpus[self.ranks.index(rank)]
        data_at = _address(data, what, tensor.shape, tensor.dtype, tensor.data_bytes, gpu, writes)
        scales_at = None
        if tensor.scale_bytes:
            if scales is None:
                raise ValueError(f"{what}: it has scales, {tensor.scale_dtype}{list(tensor.scale_shape)}")
            scales_at = _address(scales, f"scales of {what}", tensor.scale_shape, tensor.scale_dtype, tensor.scale_bytes,
                                 gpu, writes, scales=True)
        elif scales is not None:
            raise ValueError(f"{what}: it has no scales")
        error = _Error()
        _check(_runtime().mxg_exec_bind(self._live(), rank, SIDES[side], name.encode(), data_at, tensor.data_bytes,
                                        scales_at, tensor.scale_bytes, byref(error)), error)
        self._kept += [data, scales]

    def bind_empty(self, rank, side="target"):
        """Makes and binds a rank's targets: {name: data or (data, scales)}."""
        made = {}
        for tensor in self._bundle.of(rank, side):
            data, scales = empty(tensor, self.device(rank))
            self.bind(rank, side, tensor.name, data, scales)
            made[tensor.name] = data if scales is None else (data, scales)
        return made

    def _group(self, group):
        if group is None:
            return ALL_GROUPS
        return self._bundle.groups.index(group) if isinstance(group, str) else _number("group", group)

    def _streams(self, streams):
        if self.on_host:
            if streams is not None:
                raise ValueError("transport host has no streams")
            return None
        torch = _torch()
        if streams is None:
            streams = [torch.cuda.current_stream(gpu) for gpu in self._gpus]
        if len(streams) != len(self.ranks):
            raise ValueError(f"{len(streams)} streams for the {len(self.ranks)} ranks of this process")
        for stream, gpu in zip(streams, self._gpus):
            if hasattr(stream, "device") and stream.device.index != gpu:
                raise ValueError(f"a stream of {stream.device} for a rank that has cuda:{gpu}")
        return (c_void_p * len(streams))(*[getattr(stream, "cuda_stream", stream) for stream in streams])

    def prepare(self):
        """Makes all that starts need; before a CUDA graph is captured."""
        error = _Error()
        _check(_runtime().mxg_exec_prepare(self._live(), byref(error)), error)

    def start(self, group=None, streams=None):
        """Starts a group, by name or number, or all; on torch's current streams, or on one stream a rank. Returns at once:
        what the streams get later is after the group. With transport host all of it is done here."""
        error = _Error()
        _check(_runtime().mxg_exec_start(self._live(), self._group(group), self._streams(streams), byref(error)), error)

    def wait(self, group=None):
        """The host waits; MxgenError names rank and step after timeout_ms."""
        error = _Error()
        _check(_runtime().mxg_exec_wait(self._live(), self._group(group), byref(error)), error)

    def run(self):
        """All of it, to its end. What writes the sources must have ended: torch.cuda.synchronize()."""
        error = _Error()
        _check(_runtime().mxg_exec_run(self._live(), byref(error)), error)

    def device_bytes(self, rank):
        return _runtime().mxg_exec_device_bytes(self._live(), rank)

    def _live(self):
        if not self._handle:
            raise ValueError("the executor was closed")
        return self._handle

    def close(self):
        """Lets go of the tensors. What was started must have ended."""
        handle, self._handle = self._handle, None
        if handle:
            _runtime().mxg_exec_free(handle)
        for needed in self._needs:
            needed.drop()
        self._kept, self._needs = [], []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        if getattr(self, "_handle", None):
            self.close()
