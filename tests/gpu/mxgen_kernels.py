"""Kernels that mxgen generates, launched from Python on PyTorch's tensors and PyTorch's current stream: for scripts that hold
them against libraries of others. Needs PyTorch with CUDA; no part of mxgen runs in the process.

A recipe's kernels are known by the first tensor that each is made for. Tensors are whole matrices without padding."""
import ctypes
import json
import pathlib
import re
import struct
import subprocess

import torch

SCALE_NONE, SCALE_E8M0, SWIZZLED = "MX_SCALE_NONE", "MX_SCALE_E8M0", "MX_SWIZZLED"


def architecture():
    major, minor = torch.cuda.get_device_capability()
    return f"sm_{major}{minor}" + ("a" if major >= 9 else "")


class LaunchAttribute(ctypes.Structure):
    _fields_ = [("id", ctypes.c_int), ("pad", ctypes.c_int), ("value", ctypes.c_int * 16)]


class LaunchConfig(ctypes.Structure):
    """CUlaunchConfig."""
    _fields_ = [("grid", ctypes.c_uint * 3), ("block", ctypes.c_uint * 3), ("shared_bytes", ctypes.c_uint),
                ("stream", ctypes.c_void_p), ("attributes", ctypes.POINTER(LaunchAttribute)), ("count", ctypes.c_uint)]


class Driver:
    def __init__(self):
        torch.cuda.init()
        torch.zeros(1, device="cuda")  # makes the context current
        self.library = ctypes.CDLL("libcuda.so.1")

    def call(self, name, *arguments):
        error = getattr(self.library, name)(*arguments)
        if error:
            raise RuntimeError(f"{name}: error {error}")


class Kernel:
    def __init__(self, driver, folder, name, family):
        self.driver, self.name, self.family = driver, name, family
        text = (folder / name / "mx_params.h").read_text()
        self.params = dict(re.findall(r"constexpr mx_u32 (MX_\w+) += (\w+);", text))
        image = (folder / f"{name}.{architecture()}.cubin").read_bytes()
        self.module, self.function = ctypes.c_void_p(), ctypes.c_void_p()
        driver.call("cuModuleLoadData", ctypes.byref(self.module), image)
        driver.call("cuModuleGetFunction", ctypes.byref(self.function), self.module, name.encode())

    def number(self, key):
        return int(self.params[key])

    def tiles(self, rows, cols):
        if self.family == "quantize_rowwise":
            units = rows * -(-cols // self.number("MX_DST_BLOCK_COLS"))
        elif self.family == "quantize_columnwise":
            units = -(-rows // self.number("MX_DST_BLOCK_ROWS")) * cols
        else:
            units = rows * -(-cols // self.number("MX_VEC"))
        return -(-units // self.number("MX_TILE_UNITS"))

    def scale_ld(self, side, cols):
        if self.params[f"MX_{side}_SCALE"] == SCALE_NONE:
            return 0
        blocks = -(-cols // self.number(f"MX_{side}_BLOCK_COLS"))
        return -(-blocks // 4) if self.params[f"MX_{side}_LAYOUT"] == SWIZZLED else blocks

    def scale_shape(self, side, rows, cols):
        """Of the stored scales, one byte each."""
        high = -(-rows // self.number(f"MX_{side}_BLOCK_ROWS"))
        wide = -(-cols // self.number(f"MX_{side}_BLOCK_COLS"))
        if self.params[f"MX_{side}_LAYOUT"] == SWIZZLED:
            return (-(-high // 128) * 128, -(-wide // 4) * 4)
        return (high, wide)

    def prepare(self, rows, cols, src, src_scale, dst, dst_scale, early=False):
        """A function that launches the kernel on the current stream; the tensors must live as long. `early`: it may begin while
        the kernel before it in the stream ends, for which it waits by itself; from compute capability 9.0 on."""
        assert self.number("MX_COLS") in (0, cols), "the kernel is for other columns"
        at = [0 if t is None else t.data_ptr() for t in (src, src_scale, dst, dst_scale)]
        entry = struct.pack("<4Q12IQ", *at, cols, 0, cols, 0, 0, 0, 0, 0, rows, cols, self.scale_ld("SRC", cols),
                            self.scale_ld("DST", cols), 0)
        table = torch.frombuffer(bytearray(entry), dtype=torch.uint8).cuda()
        pointer, count = ctypes.c_uint64(table.data_ptr()), ctypes.c_uint32(1)
        only = ctypes.create_string_buffer(entry, len(entry))
        arguments = (ctypes.c_void_p * 3)(*(ctypes.addressof(a) for a in (pointer, count, only)))
        serialization = LaunchAttribute(6, 0, (1,))  # CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
        config = LaunchConfig((self.tiles(rows, cols), 1, 1), (self.number("MX_THREADS"), 1, 1), 0, None,
                              ctypes.pointer(serialization), early)
        launch, pointer_to_config = self.driver.library.cuLaunchKernelEx, ctypes.byref(config)

        def run():
            config.stream = torch.cuda.current_stream().cuda_stream
            error = launch(pointer_to_config, self.function, arguments, None)
            if error:
                raise RuntimeError(f"cuLaunchKernelEx: error {error}")

        run.keep = (table, serialization, pointer, count, only, src, src_scale, dst, dst_scale)
        return run


def generate(mxgen, recipe, folder, **parameters):
    """{tensor: Kernel} of a recipe whose files are written to `folder`."""
    command = [mxgen, str(recipe), "--out", str(folder), "--arch", architecture()]
    for name, value in parameters.items():
        command += ["--set", f"{name}={value}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    plan = json.loads((pathlib.Path(folder) / "plan.json").read_text())
    driver = Driver()
    return {re.split(r"; | and ", k["origin"])[0]: Kernel(driver, pathlib.Path(folder) / "kernels", k["name"], k["family"])
            for k in plan["kernels"]}
