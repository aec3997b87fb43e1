#!/usr/bin/env python3
"""An independent check of a whole move: original -> spread-out source side -> target side, bit for bit.

It shares no code with the project: its own safetensors reader, numpy for the layout, ml_dtypes for the floats, and the
scale rules written from their definitions (powers of two by frexp in double precision), not from bit tricks.

    check_move.py --spec SPEC.json --original DIR --source DIR --target DIR [--layers N [--high-layers I,J,...]]

  original   a Hugging Face folder in high precision: what was sharded
  source     rank-00000.safetensors ...: must be the exact quantisation of the exact slices of the original
  target     safetensors files in any number: must be the exact dequantisation of the source's own bytes, put back under
             the original's names (or the same quantised bytes, where the target keeps the format)

Every tensor that must be there is there, none that must not be; every element of every target tensor comes from a
source element; replicas agree; padding is zero. Exit code 0: all equal. 1: a difference, which is printed. 2: usage.
Needs numpy and ml_dtypes (pip install numpy ml_dtypes).

The spec is written by hand, from the recipe's text, so that a wrong reading of a recipe is seen too. Keys:

  name            for the report
  layers          {L} in names runs over 0 .. layers-1; --layers overrides it
  high_layers     optional: the layers whose quantised tensors are kept in `high_format`; --high-layers overrides it
  meshes          lists of [axis, size], outermost first, all with the same product: the source's ranks, row-major
  stage_axis      optional: the axis of the pipeline stages; stage_of_layer: list, or "even" (whole layers in order)
  quantise        {"elem": "e4m3"|"e5m2", "rule": "floor"|"rceil"|"ceil"|"even", "nan": "block"|"element",
                   "block": [1,32]|[32,1]|[32,32], "scales": "compact"|"padded"|"swizzled"}
  source_suffix   name of the scales of a source array: array name + this
  target_suffix   the same of the target, where it keeps quantised tensors
  target_experts  optional: on how many target ranks experts are spread, in order, when the target is rank files
  tensors         list of
    name          of the source array; {L} for the layer
    parts         the original's names, in the order in which they are stored; {L}, and {E} for the expert
    experts       how many; parts then have {E}, and the source array is a stack of this rank's experts
    only_layers   optional: a list, where not all layers have the tensor
    stage         "layer", or a number; absent: every stage holds it
    split         {} whole, or {"row"|"col"|"expert": axis}; each part is split by itself unless `groups` is given
    groups        stored group by group: rows/groups rows of the first part, of the second, ..., then the next group
    pad_rows      the rows of a shard are padded with zero to a multiple of this
    format        "mxfp8", "bf16", "fp16" or "fp32": how the source holds it
    target        the same for the target; "mxfp8" only from "mxfp8"
    target_absent optional, true: the target does not hold it under a name of its own (tied)
"""
import argparse
import json
import math
import mmap
import os
import re
import struct
import sys

import ml_dtypes
import numpy as np

DTYPES = {
    "U8": np.uint8, "F8_E8M0": np.uint8, "F8_E4M3": np.uint8, "F8_E5M2": np.uint8,
    "BF16": np.uint16, "F16": np.uint16, "F32": np.uint32,
}  # bits, always: no value is converted by reading
FLOATS = {"BF16": ml_dtypes.bfloat16, "F16": np.float16, "F32": np.float32,
          "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2}
FILE_DTYPE = {"bf16": "BF16", "fp16": "F16", "fp32": "F32"}
ELEM_DTYPE = {"e4m3": "F8_E4M3", "e5m2": "F8_E5M2"}
LARGEST = {"e4m3": 448.0, "e5m2": 57344.0}
EMAX = {"e4m3": 8, "e5m2": 15}
MANTISSA = {"e4m3": 3, "e5m2": 2}


class Difference(Exception):
    pass


def need(condition, message, *values):
    if not condition:
        raise Difference(message.format(*values))


# ---- safetensors ---------------------------------------------------------------------------------------------------


class File:
    """One safetensors file: name -> (dtype, shape, offset). Data are mapped."""

    def __init__(self, path):
        self.path = path
        size = os.path.getsize(path)
        with open(path, "rb") as stream:
            (count,) = struct.unpack("<Q", stream.read(8))
            need(8 + count <= size, "{}: header of {} bytes in a file of {}", path, count, size)
            header = json.loads(stream.read(count).decode("utf-8"), object_pairs_hook=unique)
        header.pop("__metadata__", None)
        self.tensors, end = {}, 0
        for name, info in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            begin, after = info["data_offsets"]
            need(begin == end, "{}: '{}' begins at {}, not at {}", path, name, begin, end)
            need(info["dtype"] in DTYPES, "{}: '{}' is {}", path, name, info["dtype"])
            bytes_needed = math.prod(info["shape"]) * np.dtype(DTYPES[info["dtype"]]).itemsize
            need(after - begin == bytes_needed, "{}: '{}' has {} bytes, not {}", path, name, after - begin,
                 bytes_needed)
            self.tensors[name] = (info["dtype"], tuple(info["shape"]), 8 + count + begin)
            end = after
        need(8 + count + end == size, "{}: {} bytes after the last tensor", path, size - 8 - count - end)
        with open(path, "rb") as stream:
            self.bytes = mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ)

    def bits(self, name):
        dtype, shape, offset = self.tensors[name]
        item = np.dtype(DTYPES[dtype])
        return np.ndarray(shape, item, buffer=self.bytes, offset=offset)  # nothing needs to be aligned


def unique(pairs):
    result = dict(pairs)
    need(len(result) == len(pairs), "a key comes twice in a header")
    return result


class Folder:
    """All tensors of a folder of safetensors files by name; each in the file an index names, else where it is."""

    def __init__(self, path):
        self.path = path
        names = sorted(n for n in os.listdir(path) if n.endswith(".safetensors"))
        need(names, "{}: no safetensors files", path)
        self.files = {n: File(os.path.join(path, n)) for n in names}
        index = os.path.join(path, "model.safetensors.index.json")
        self.index = None
        if os.path.exists(index):
            with open(index, encoding="utf-8") as stream:
                self.index = json.load(stream, object_pairs_hook=unique)["weight_map"]
            for name, file in self.index.items():
                need(file in self.files and name in self.files[file].tensors, "{}: no '{}' in '{}'", index, name, file)

    def holders(self, name):
        return [n for n, f in self.files.items() if name in f.tensors]

    def get(self, name):
        """dtype and bits."""
        holders = [self.index[name]] if self.index and name in self.index else self.holders(name)
        need(holders, "{}: no tensor '{}'", self.path, name)
        file = self.files[holders[0]]
        return file.tensors[name][0], file.bits(name)


def rank_of(file):
    match = re.fullmatch(r"rank-(\d{5,})\.safetensors", file)
    return int(match.group(1)) if match else None


# ---- numbers -------------------------------------------------------------------------------------------------------
#
# All products below are an element of at most 24 significant bits times a power of two in float32: exact, but for
# results below 2^-126, which every narrower type takes to zero, and above its range, which is Inf in every type.


def powers(exponents):
    """2^e as float32, subnormals too; 2^128 and more is Inf."""
    with np.errstate(over="ignore"):
        return np.ldexp(np.float64(1), exponents).astype(np.float32)


def scale_exponents(largest, elem, rule):
    """k of the scale 2^k for each block's largest finite magnitude > 0, before the range of a byte."""
    fraction, exponent = np.frexp(largest)  # fraction in [0.5, 1)
    floor_log2 = exponent - 1
    if rule == "floor":
        return floor_log2 - EMAX[elem]
    if rule == "ceil":
        return np.where(fraction == 0.5, floor_log2, exponent) - EMAX[elem]
    if rule == "rceil":  # the smallest k with largest <= max * 2^k
        top_fraction, top_exponent = math.frexp(LARGEST[elem])
        return np.where(fraction <= top_fraction, exponent - top_exponent, exponent - top_exponent + 1)
    if rule == "even":  # round half up to the element's mantissa, then floor
        step = 2.0 ** -MANTISSA[elem]
        rounded = np.floor(fraction * 2 / step + 0.5) * step
        return floor_log2 + (rounded >= 2) - EMAX[elem]
    raise Difference(f"spec: unknown rule '{rule}'")


def quantise_rows(values, how):
    """float32 [rows, cols] -> element bits [rows, cols], scale bytes [row blocks, col blocks]."""
    elem, (block_rows, block_cols) = how["elem"], how["block"]
    rows, cols = values.shape
    grid_rows, grid_cols = -(-rows // block_rows), -(-cols // block_cols)
    padded = np.zeros((grid_rows * block_rows, grid_cols * block_cols), np.float32)
    padded[:rows, :cols] = values
    blocks = padded.reshape(grid_rows, block_rows, grid_cols, block_cols)
    magnitude = np.abs(blocks)
    odd = not np.isfinite(magnitude).all()
    has_nan, has_inf = np.isnan(blocks).any((1, 3)), np.isinf(blocks).any((1, 3))
    largest = (np.where(np.isfinite(magnitude), magnitude, 0) if odd else magnitude).max((1, 3)).astype(np.float64)
    exponents = scale_exponents(np.where(largest > 0, largest, 1.0), elem, how["rule"])
    scale = np.clip(np.where(largest > 0, exponents + 127, 0), 0, 254)
    if how["rule"] == "even":  # a largest magnitude that rounds past the greatest float has no scale
        scale = np.where((largest > 0) & (exponents + EMAX[elem] > 127), 255, scale)
    if how["nan"] == "block":
        scale = np.where(has_nan | has_inf, 255, scale)
    else:
        scale = np.where(has_inf, 254, scale)
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = blocks * powers(127 - scale)[:, None, :, None]
        scaled = np.clip(scaled, -LARGEST[elem], LARGEST[elem])  # keeps NaN and the sign of zero
        bits = scaled.astype(FLOATS[ELEM_DTYPE[elem]]).view(np.uint8)
    if odd or (scale == 255).any():
        bits = np.where(np.isnan(blocks) | (scale == 255)[:, None, :, None], np.uint8(0x7f), bits)
    return bits.reshape(padded.shape)[:rows, :cols], scale.astype(np.uint8)


def quantise(bits, dtype, how):
    """The same for bits of `dtype`, some rows at a time."""
    elems, scales = [], []
    for row in range(0, bits.shape[0], 1024):  # whole blocks
        pair = quantise_rows(from_bits(bits[row:row + 1024], dtype), how)
        elems.append(pair[0])
        scales.append(pair[1])
    return np.concatenate(elems), np.concatenate(scales)


def dequantise(bits, scale, how, dtype):
    """Bits of `dtype`: the exact value of each element, rounded once."""
    block_rows, block_cols = how["block"]
    table = np.arange(256, dtype=np.uint8).view(FLOATS[ELEM_DTYPE[how["elem"]]]).astype(np.float32)
    factor = np.where(scale == 255, np.float32(np.nan), powers(scale.astype(np.int64) - 127))
    result = np.empty(bits.shape, DTYPES[dtype])
    for row in range(0, bits.shape[0], 1024):
        rows = bits[row:row + 1024]
        wide = np.repeat(factor[row // block_rows:(row + len(rows) - 1) // block_rows + 1], block_rows, 0)
        wide = np.repeat(wide, block_cols, 1)[:len(rows), :bits.shape[1]]
        with np.errstate(over="ignore", invalid="ignore"):
            result[row:row + 1024] = to_bits(table[rows] * wide, dtype)
    return result


def to_bits(values, dtype):
    """float32 -> bits of a float type, rounded to nearest even."""
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(FLOATS[dtype]).view(DTYPES[dtype])


def from_bits(bits, dtype):
    with np.errstate(invalid="ignore"):
        return np.ascontiguousarray(bits).view(FLOATS[dtype]).astype(np.float32)


def cast(bits, dtype, to):
    return bits if dtype == to else to_bits(from_bits(bits, dtype), to)


def stored_scales(scale, how):
    """Compact scales as the file has them."""
    if how["scales"] == "compact":
        return scale
    columnwise = how["block"][1] == 1
    outer_inner = scale.T if columnwise else scale  # 128 outer x 4 inner to a tile
    outer, inner = outer_inner.shape
    padded = np.zeros((-(-outer // 128) * 128, -(-inner // 4) * 4), np.uint8)
    padded[:outer, :inner] = outer_inner
    if how["scales"] == "padded":
        return padded.T if columnwise else padded
    tiles = padded.reshape(padded.shape[0] // 128, 4, 32, padded.shape[1] // 4, 4)  # tile, quarter, lane, tile, inner
    flat = tiles.transpose(0, 3, 2, 1, 4).reshape(padded.shape)
    return flat.reshape(padded.T.shape if columnwise else padded.shape)


def compare(got, want, dtype, what, place=None):
    """Equal bits; in the types of 16 and 32 bits, NaN is one class. `place`: where a row and column really lie."""
    need(got.shape == want.shape, "{}: shape {}, expected {}", what, got.shape, want.shape)
    equal = got == want
    if equal.all():
        return
    if dtype in ("BF16", "F16", "F32"):
        equal |= np.isnan(from_bits(got, dtype)) & np.isnan(from_bits(want, dtype))
    if not equal.all():
        at = tuple(int(i) for i in np.argwhere(~equal)[0])
        shown = place(at) if place else at
        raise Difference(f"{what}: {int((~equal).sum())} of {equal.size} elements differ, the first at {shown}: "
                         f"{int(got[at]):#x}, expected {int(want[at]):#x}")


# ---- layout --------------------------------------------------------------------------------------------------------


class Spec:
    def __init__(self, spec, layers=None, high_layers=None):
        self.spec = spec
        self.high_layers = high_layers if high_layers is not None else spec.get("high_layers", [])
        self.layers = layers if layers is not None else spec.get("layers", 0)
        self.meshes = spec["meshes"]
        sizes = {math.prod(size for _, size in mesh) for mesh in self.meshes}
        need(len(sizes) == 1, "spec: the meshes have {} ranks", sorted(sizes))
        self.ranks = sizes.pop()
        self.how = {"nan": "block", "block": [1, 32], "scales": "compact", **spec["quantise"]}

    def coordinate(self, rank, axis):
        """(index, ways) of a rank on an axis, in the first mesh that has it."""
        for mesh in self.meshes:
            names = [name for name, _ in mesh]
            if axis in names:
                inner = math.prod(size for _, size in mesh[names.index(axis) + 1:])
                ways = mesh[names.index(axis)][1]
                return rank // inner % ways, ways
        raise Difference(f"spec: no axis '{axis}'")

    def tensors(self):
        """Each tensor of the spec for each of its layers, with the layer filled in."""
        for tensor in self.spec["tensors"]:
            layered = "{L}" in tensor["name"]
            for layer in tensor.get("only_layers", range(self.layers)) if layered else [None]:
                if layer is not None and layer >= self.layers:
                    continue
                filled = dict(tensor, layer=layer)
                filled["name"] = tensor["name"].replace("{L}", str(layer))
                filled["parts"] = [part.replace("{L}", str(layer)) for part in tensor["parts"]]
                if layer in self.high_layers and tensor["format"] == "mxfp8":
                    filled["format"] = self.spec["high_format"]
                yield filled

    def holds(self, rank, tensor):
        if "stage" not in tensor or "stage_axis" not in self.spec:
            return True
        index, ways = self.coordinate(rank, self.spec["stage_axis"])
        stage = tensor["stage"]
        if stage == "layer":
            table = self.spec["stage_of_layer"]
            if table == "even":
                table = [s for s in range(ways) for _ in range(self.layers // ways + (s < self.layers % ways))]
            stage = table[tensor["layer"]]
        return index == stage % ways  # -1: the last


def stored_rows(tensor, rows_of_parts, index, ways):
    """What the rows of shard `index` of `ways` are: int array [rows, 2] of (part, row); part -1 is padding."""
    groups, pad = tensor.get("groups"), tensor.get("pad_rows")
    if groups:
        rows = [(p, g * (n // groups) + i) for g in range(groups) for p, n in enumerate(rows_of_parts)
                for i in range(n // groups)]
        need(groups % ways == 0, "spec: {} groups over {} ranks", groups, ways)
        count = len(rows) // ways
        return np.array(rows[index * count:(index + 1) * count])
    result = []
    for p, n in enumerate(rows_of_parts):
        if pad and ways > 1:
            count = -(-n // (ways * pad)) * pad
        else:
            need(n % ways == 0, "spec: {} rows of '{}' over {} ranks", n, tensor["parts"][p], ways)
            count = n // ways
        result += [(p, row) if row < n else (-1, 0) for row in range(index * count, (index + 1) * count)]
    return np.array(result)


class Matrix:
    """One matrix of a rank's array: which rows and columns of which tensors of the original it is."""

    def __init__(self, names, rows, first_col, cols):
        self.names, self.rows, self.first_col, self.cols = names, rows, first_col, cols

    def parts(self):
        """(name, rows of the matrix, rows of the original)."""
        for p, name in enumerate(self.names):
            at = np.flatnonzero(self.rows[:, 0] == p)
            if len(at):
                yield name, at, self.rows[at, 1]

    def gather(self, original):
        """dtype, and bits [rows, cols]; padding is zero."""
        dtype = original.dtype(self.names[0])
        bits = np.zeros((len(self.rows), self.cols), DTYPES[dtype])
        for name, at, rows in self.parts():
            need(original.dtype(name) == dtype, "'{}' has another dtype than '{}'", name, self.names[0])
            bits[at] = original.bits(name)[rows, self.first_col:self.first_col + self.cols]
        return dtype, bits


class Shard:
    """What one rank stores of one tensor: a matrix, a stack of them (experts), or a vector (a matrix of one column)."""

    def __init__(self, spec, tensor, rank, original):
        split = {"row": (0, 1), "col": (0, 1), "expert": (0, 1)}
        for dimension, axis in tensor.get("split", {}).items():
            split[dimension] = spec.coordinate(rank, axis)
        self.stacked = "experts" in tensor
        mine = [None]
        if self.stacked:
            index, ways = split["expert"]
            need(tensor["experts"] % ways == 0, "spec: {} experts over {} ranks", tensor["experts"], ways)
            count = tensor["experts"] // ways
            mine = range(index * count, (index + 1) * count)
        self.matrices, self.col_ways = [], split["col"][1]
        for expert in mine:
            names = [expert_name(part, expert) for part in tensor["parts"]]
            shapes = [original.shape(name) for name in names]
            self.flat = len(shapes[0]) == 1
            cols = 1 if self.flat else shapes[0][1]
            index, ways = split["col"]
            need(cols % ways == 0, "spec: {} columns of '{}' over {} ranks", cols, names[0], ways)
            rows = stored_rows(tensor, [shape[0] for shape in shapes], *split["row"])
            self.matrices.append(Matrix(names, rows, index * (cols // ways), cols // ways))

    def as_file(self, matrices):
        """The matrices in the file's shape."""
        stack = np.stack(matrices) if self.stacked else matrices[0]
        return stack[..., 0] if self.flat else stack


class Original:
    def __init__(self, folder):
        self.folder = folder

    def info(self, name):
        holders = self.folder.holders(name)
        need(holders, "{}: no tensor '{}'", self.folder.path, name)
        return self.folder.files[holders[0]].tensors[name]

    def shape(self, name):
        return self.info(name)[1]

    def dtype(self, name):
        return self.info(name)[0]

    def bits(self, name):
        bits = self.folder.get(name)[1]
        return bits[:, None] if bits.ndim == 1 else bits


def expert_name(name, expert):
    return name.replace("{E}", str(expert))


# ---- the source side -----------------------------------------------------------------------------------------------


def check_shard(spec, tensor, shard, file, original, seen):
    """Compares a rank's arrays with the original. Returns dtype, bits and scales of each matrix, as the file holds."""
    name, how = tensor["name"], spec.how
    what = f"{file.path}: '{name}'"
    need(name in file.tensors, "{}: missing", what)
    seen.add(name)
    slices = [matrix.gather(original) for matrix in shard.matrices]
    quantised = tensor["format"] == "mxfp8"
    dtype = ELEM_DTYPE[how["elem"]] if quantised else FILE_DTYPE[tensor["format"]]
    need(file.tensors[name][0] == dtype, "{}: {}, expected {}", what, file.tensors[name][0], dtype)
    if not quantised:
        bits = [cast(matrix, from_dtype, dtype) for from_dtype, matrix in slices]
        compare(file.bits(name), shard.as_file(bits), dtype, what)
        return dtype, bits, [None] * len(bits)
    pairs = [quantise(matrix, from_dtype, how) for from_dtype, matrix in slices]
    bits, scales = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    compare(file.bits(name), shard.as_file(bits), dtype, what)
    scale_name = name + spec.spec["source_suffix"]
    what = f"{file.path}: '{scale_name}'"
    need(scale_name in file.tensors, "{}: missing", what)
    seen.add(scale_name)
    need(file.tensors[scale_name][0] in ("U8", "F8_E8M0"), "{}: {}", what, file.tensors[scale_name][0])
    compare(file.bits(scale_name), shard.as_file([stored_scales(matrix, how) for matrix in scales]), "U8", what)
    return dtype, bits, scales


# ---- the target side -----------------------------------------------------------------------------------------------


class TargetTensor:
    """One tensor of the target, in every file that holds it; and which of its rows and column shards were compared."""

    def __init__(self, folder, name, dtype, shape, col_ways, seen):
        self.name, self.dtype = name, dtype
        holders = folder.holders(name)
        need(holders, "{}: no tensor '{}'", folder.path, name)
        self.ranks = [rank_of(holder) for holder in holders]
        self.copies = []
        for holder in holders:
            file = folder.files[holder]
            got, got_shape, _ = file.tensors[name]
            fits = got == dtype or (dtype == "U8" and got == "F8_E8M0")
            need(fits, "{}: '{}': {}, expected {}", file.path, name, got, dtype)
            need(got_shape == shape, "{}: '{}': shape {}, expected {}", file.path, name, got_shape, shape)
            bits = file.bits(name)
            self.copies.append((file.path, bits[:, None] if bits.ndim == 1 else bits))
            seen.add((holder, name))
        self.done = np.zeros((shape[0], col_ways), bool)

    def check(self, rows, first, want):
        cols = want.shape[1]
        for path, bits in self.copies:
            compare(bits[rows, first:first + cols], want, self.dtype, f"{path}: '{self.name}'",
                    lambda at: (int(rows[at[0]]), first + at[1]))
        self.done[rows, first // cols if cols else 0] = True

    def finish(self):
        """Bytes of all copies."""
        need(self.done.all(), "'{}': {} rows come from no source rank", self.name, int((~self.done.all(1)).sum()))
        return sum(bits.nbytes for _, bits in self.copies)


def target_tensors(spec, tensor, original, folder, seen, col_ways):
    """Name in the original -> (tensor, its scales or None)."""
    result = {}
    for expert in range(tensor.get("experts", 1)):
        for part in tensor["parts"]:
            name = expert_name(part, expert)
            shape = original.shape(name)
            if tensor["target"] != "mxfp8":
                pair = (TargetTensor(folder, name, FILE_DTYPE[tensor["target"]], shape, col_ways, seen), None)
            else:
                scales = (shape[0], -(-shape[1] // 32))
                pair = (TargetTensor(folder, name, ELEM_DTYPE[spec.how["elem"]], shape, col_ways, seen),
                        TargetTensor(folder, name + spec.spec["target_suffix"], "U8", scales, col_ways, seen))
            ways = spec.spec.get("target_experts")
            if ways and "experts" in tensor and pair[0].ranks[0] is not None:
                want = [expert // (tensor["experts"] // ways)]
                need(pair[0].ranks == want, "'{}' lies on target ranks {}, expected {}", name, pair[0].ranks, want)
            result[name] = pair
    return result


def check_target(spec, tensor, shard, held, targets):
    """The parts of the target that come from one rank's array."""
    dtype, bits, scales = held
    for matrix, elems, scale in zip(shard.matrices, bits, scales):
        if tensor["target"] == "mxfp8":
            values = elems
        elif tensor["format"] == "mxfp8":
            values = dequantise(elems, scale, spec.how, FILE_DTYPE[tensor["target"]])
        else:
            values = cast(elems, dtype, FILE_DTYPE[tensor["target"]])
        for name, at, rows in matrix.parts():
            data, data_scales = targets[name]
            data.check(rows, matrix.first_col, values[at])
            if data_scales:
                data_scales.check(rows, matrix.first_col // 32, scale[at])


def check(spec, original_path, source_path, target_path):
    """Raises Difference, or returns figures for the report."""
    original = Original(Folder(original_path))
    source, target = Folder(source_path), Folder(target_path)
    files = {rank_of(name): file for name, file in source.files.items()}
    need(set(files) == set(range(spec.ranks)), "{}: rank files {}, expected 0 to {}", source_path, list(files),
         spec.ranks - 1)
    seen, target_seen = {rank: set() for rank in files}, set()
    figures = {"ranks": spec.ranks, "source_bytes": 0, "target_bytes": 0}
    for tensor in spec.tensors():
        same = tensor["target"] == "mxfp8"
        need(not same or (tensor["format"] == "mxfp8" and spec.how["block"] == [1, 32]),
             "spec: '{}': a target in mxfp8 needs a source in mxfp8 of 1 x 32", tensor["name"])
        targets = None
        for rank in range(spec.ranks):
            if not spec.holds(rank, tensor):
                continue
            shard = Shard(spec, tensor, rank, original)
            held = check_shard(spec, tensor, shard, files[rank], original, seen[rank])
            figures["source_bytes"] += sum(array.nbytes for list_ in held[1:] for array in list_ if array is not None)
            if tensor.get("target_absent"):
                continue
            if targets is None:
                targets = target_tensors(spec, tensor, original, target, target_seen, shard.col_ways)
            check_target(spec, tensor, shard, held, targets)
        for pair in (targets or {}).values():
            figures["target_bytes"] += sum(one.finish() for one in pair if one)
    for rank, file in files.items():
        extra = sorted(set(file.tensors) - seen[rank])
        need(not extra, "{}: '{}' should not be there", file.path, extra[0] if extra else "")
    for name, file in target.files.items():
        extra = sorted(n for n in file.tensors if (name, n) not in target_seen)
        need(not extra, "{}: '{}' should not be there", file.path, extra[0] if extra else "")
    figures["arrays"] = sum(len(names) for names in seen.values())
    figures["tensors"], figures["files"] = len({name for _, name in target_seen}), len(target.files)
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--spec", required=True)
    parser.add_argument("--original", required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--layers", type=int)
    parser.add_argument("--high-layers", type=lambda text: [int(word) for word in text.split(",") if word])
    args = parser.parse_args()
    with open(args.spec, encoding="utf-8") as stream:
        spec = json.load(stream)
    try:
        figures = check(Spec(spec, args.layers, args.high_layers), args.original, args.source, args.target)
    except Difference as difference:
        print(f"DIFFERENT {spec['name']}: {difference}")
        return 1
    print("EQUAL {}: {ranks} rank files, {arrays} arrays, {source_bytes} bytes quantised exactly; {files} target "
          "files, {tensors} tensors, {target_bytes} bytes moved exactly".format(spec["name"], **figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
