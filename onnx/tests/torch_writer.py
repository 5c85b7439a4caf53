"""Writes `.pt` files without PyTorch, so that the tests can make odd and hostile ones."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

_NAMES = {
    np.dtype("f4"): "FloatStorage",
    np.dtype("f8"): "DoubleStorage",
    np.dtype("f2"): "HalfStorage",
    np.dtype(ml_dtypes.bfloat16): "BFloat16Storage",
    np.dtype("i8"): "LongStorage",
    np.dtype("i4"): "IntStorage",
    np.dtype("i2"): "ShortStorage",
    np.dtype("i1"): "CharStorage",
    np.dtype("u1"): "ByteStorage",
    np.dtype("?"): "BoolStorage",
}


class Global:
    """A name that the pickle shall refer to."""

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name


class Storage:
    """A flat array to be stored as one record."""

    def __init__(self, array: np.ndarray):
        self.array = np.ascontiguousarray(array).reshape(-1)


class View:
    """A tensor over a storage, offsets and strides in elements."""

    def __init__(self, storage: Storage, offset: int, size: tuple, stride: tuple):
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride


def tensor(array: np.ndarray) -> View:
    """A contiguous tensor of its own."""
    stride = tuple(int(np.prod(array.shape[i + 1 :], dtype=int)) for i in range(array.ndim))
    return View(Storage(array), 0, array.shape, stride)


class _Pickler(pickle._Pickler):  # the Python one: its save methods can be overridden
    def __init__(self, stream: io.BytesIO):
        super().__init__(stream, protocol=2)
        self.storages: list[Storage] = []

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, Global):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Storage):
            if not any(s is obj for s in self.storages):
                self.storages.append(obj)
            key = next(i for i, s in enumerate(self.storages) if s is obj)
            kind = Global("torch", _NAMES[obj.array.dtype])
            self.save(("storage", kind, str(key), "cpu", obj.array.size))
            self.write(pickle.BINPERSID)
        elif isinstance(obj, View):
            arguments = (obj.storage, obj.offset, tuple(obj.size), tuple(obj.stride), False, OrderedDict())
            self.save(Global("torch._utils", "_rebuild_tensor_v2"))
            self.save(arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)


def save(obj: Any, path: Path) -> None:
    """Writes `obj`, whose tensors are `View`s, as torch.save would."""
    stream = io.BytesIO()
    pickler = _Pickler(stream)
    pickler.dump(obj)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", stream.getvalue())
        archive.writestr("archive/byteorder", "little")
        for key, storage in enumerate(pickler.storages):
            archive.writestr(f"archive/data/{key}", storage.array.tobytes())
