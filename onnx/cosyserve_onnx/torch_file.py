"""Reads `.pt` files without PyTorch and without running anything.

A `.pt` file is a zip archive: `<name>/data.pkl` is a pickle whose persistent ids name the records `<name>/data/<key>`,
each the raw little-endian bytes of one storage. The pickle is read by an unpickler that knows tensors, dictionaries,
lists, numbers and strings and refuses every other global, so a hostile file cannot run code. Storages are
memory-mapped: a tensor costs memory when it is read.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from .errors import ExportError

MAX_PICKLE_BYTES = 64 << 20  # the pickle holds names and shapes only; real ones stay below 1 MiB

_STORAGE_DTYPES: dict[str, np.dtype] = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}


class _StorageType:
    """What `torch.FloatStorage` becomes: a name for a dtype, not callable."""

    def __init__(self, dtype: np.dtype):
        self.dtype = dtype


class _Storage:
    """One storage record as a flat array."""

    def __init__(self, array: np.ndarray):
        self.array = array


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_unused: Any) -> np.ndarray:
    """A view of `storage` with `size` and `stride` in elements, after checking that it stays inside."""
    if not isinstance(storage, _Storage):
        raise ExportError("a tensor does not refer to a storage")
    numbers = [offset, *size, *stride]
    if len(size) != len(stride) or any(not isinstance(n, int) or n < 0 for n in numbers):
        raise ExportError("a tensor has an impossible size or stride")
    flat = storage.array
    if 0 in size:
        return np.zeros(size, flat.dtype)
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if last >= flat.size:
        raise ExportError("a tensor reaches beyond its storage; the file is damaged")
    width = flat.dtype.itemsize
    view = np.lib.stride_tricks.as_strided(flat[offset:], size, [s * width for s in stride], writeable=False)
    return view


def _rebuild_parameter(data: Any, *_unused: Any) -> Any:
    """A parameter is its tensor."""
    return data


_GLOBALS = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): tuple,
}


class _Unpickler(pickle.Unpickler):
    """An unpickler whose only globals are the table above and the storage names."""

    def __init__(self, stream: Any, archive: _Archive):
        super().__init__(stream)
        self._archive = archive

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _GLOBALS:
            return _GLOBALS[module, name]
        if module == "torch" and name in _STORAGE_DTYPES:
            return _StorageType(_STORAGE_DTYPES[name])
        raise ExportError(f"refused: the file asks for {module}.{name}; only tensors and plain data are read")

    def persistent_load(self, pid: Any) -> _Storage:
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage" or not isinstance(pid[1], _StorageType):
            raise ExportError("refused: unknown persistent id")
        return self._archive.storage(str(pid[2]), pid[1].dtype, int(pid[4]))


class _Archive:
    """The zip archive behind one `.pt` file."""

    def __init__(self, path: Path):
        self._path = path
        self._zip = zipfile.ZipFile(path)
        self._storages: dict[str, np.ndarray] = {}
        pickles = [n for n in self._zip.namelist() if n.endswith("/data.pkl") or n == "data.pkl"]
        if len(pickles) != 1:
            raise ExportError(f"{path}: not a torch file (no data.pkl inside)")
        self._root = pickles[0][: -len("data.pkl")]
        names = set(self._zip.namelist())
        if f"{self._root}byteorder" in names and self._zip.read(f"{self._root}byteorder") != b"little":
            raise ExportError(f"{path}: big-endian storages are not supported")
        self._names = names

    def load(self) -> Any:
        info = self._zip.getinfo(f"{self._root}data.pkl")
        if info.file_size > MAX_PICKLE_BYTES:
            raise ExportError(f"{self._path}: its pickle is {info.file_size} bytes; refused")
        with self._zip.open(info) as stream:
            try:
                return _Unpickler(stream, self).load()
            except ExportError as error:
                raise ExportError(f"{self._path}: {error}") from None
            except Exception as error:  # whatever a damaged pickle provokes
                raise ExportError(f"{self._path}: damaged pickle ({error})") from error

    def storage(self, key: str, dtype: np.dtype, count: int) -> _Storage:
        name = f"{self._root}data/{key}"
        if name not in self._names:
            raise ExportError(f"storage {key} is missing")
        info = self._zip.getinfo(name)
        if info.file_size < count * dtype.itemsize:
            raise ExportError(f"storage {key} is shorter than the pickle says")
        if name not in self._storages:
            self._storages[name] = self._bytes(info)
        return _Storage(self._storages[name][: count * dtype.itemsize].view(dtype))

    def _bytes(self, info: zipfile.ZipInfo) -> np.ndarray:
        if info.file_size == 0:
            return np.zeros(0, np.uint8)
        if info.compress_type != zipfile.ZIP_STORED:
            return np.frombuffer(self._zip.read(info), np.uint8)
        # The local header repeats the name and has its own extra field (torch pads with it), so read its lengths.
        with open(self._path, "rb") as file:
            file.seek(info.header_offset)
            header = file.read(30)
        if len(header) < 30 or header[:4] != b"PK\x03\x04":
            raise ExportError("damaged zip header")
        name_length, extra_length = struct.unpack("<HH", header[26:30])
        start = info.header_offset + 30 + name_length + extra_length
        return np.memmap(self._path, np.uint8, mode="r", offset=start, shape=(info.file_size,))


def load(path: Path) -> Any:
    """The object stored in `path`: nested dictionaries and lists of numpy arrays (read-only), numbers and strings."""
    path = Path(path)
    if not path.is_file():
        raise ExportError(f"{path}: missing")
    if not zipfile.is_zipfile(path):
        raise ExportError(
            f"{path}: not a zip-format torch file. Files saved before PyTorch 1.6 (or with "
            "_use_new_zipfile_serialization=False) are plain pickles and are refused; load and save it again"
        )
    try:
        archive = _Archive(path)
    except zipfile.BadZipFile as error:
        raise ExportError(f"{path}: damaged zip archive ({error})") from error
    return archive.load()


def load_state(path: Path) -> dict[str, np.ndarray]:
    """A flat state dictionary; a training wrapper's prefix or `state_dict` level is not expected in official files."""
    state = load(path)
    if not isinstance(state, dict):
        raise ExportError(f"{path}: holds a {type(state).__name__}, not a state dictionary")
    return {k: v for k, v in state.items() if isinstance(k, str) and isinstance(v, np.ndarray)}
