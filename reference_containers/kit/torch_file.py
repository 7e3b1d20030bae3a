"""A PyTorch file of weights read without PyTorch and without running anything in it.

The file (torch.save before version 1.6) is five pickles and then raw numbers. Its pickles may name an ordered
dictionary, the rebuilding of a tensor and the kinds of numbers, and nothing else: any other name is refused before it
is looked up, so that a file holds data or is not read.
Source of the format: torch/serialization.py, `_legacy_save`.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
KINDS = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


class NotWeights(Exception):
    """The file is something else than weights."""


@dataclass(frozen=True, slots=True)
class _Tensor:
    """Where a tensor's numbers lie: the storage, and the view of it in numbers."""

    storage: tuple[str, np.dtype, int]
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild(
    storage: tuple[str, np.dtype, int], offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object
) -> _Tensor:
    return _Tensor(storage, offset, shape, strides)


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch" and name in KINDS:
            return KINDS[name]
        raise NotWeights(f"the file names {module}.{name}")

    def persistent_load(self, reference: tuple) -> tuple[str, np.dtype, int]:
        kind, dtype, key, _place, count, *_view = reference
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise NotWeights(f"the file refers to a {kind!r}")
        return str(key), dtype, int(count)


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors by name; raises NotWeights where the file holds anything else."""
    stream = io.BytesIO(path.read_bytes())
    try:
        magic, _protocol, _system, tensors, keys = (_Reader(stream).load() for _ in range(5))
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError) as error:
        raise NotWeights(f"{path.name}: {error}") from error
    if magic != MAGIC or not all(isinstance(tensor, _Tensor) for tensor in tensors.values()):
        raise NotWeights(f"{path.name} is no dictionary of tensors")
    dtypes = {tensor.storage[0]: tensor.storage[1] for tensor in tensors.values()}
    storages = {}
    for key in keys:
        (count,) = struct.unpack("<q", stream.read(8))
        storages[key] = np.frombuffer(stream.read(count * dtypes[key].itemsize), dtypes[key])
    return {name: _view(tensor, storages[tensor.storage[0]]) for name, tensor in tensors.items()}


def _view(tensor: _Tensor, storage: np.ndarray) -> np.ndarray:
    """Return a tensor's numbers, copied out of its storage; raises NotWeights where it reaches outside."""
    last = tensor.offset + sum(step * (size - 1) for step, size in zip(tensor.strides, tensor.shape, strict=True))
    if tensor.offset < 0 or min(tensor.strides, default=0) < 0 or last >= len(storage):
        raise NotWeights("a tensor lies outside its storage")
    steps = [step * storage.itemsize for step in tensor.strides]
    return np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, steps).copy()
