"""The `.pt` reader: every dtype, odd layouts, and refusals."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch_writer as writer

from cosyserve_onnx import torch_file
from cosyserve_onnx.errors import ExportError


@pytest.mark.parametrize("dtype", list(writer._NAMES), ids=str)
def test_reads_every_dtype(tmp_path: Path, dtype: np.dtype) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    writer.save(OrderedDict(a=writer.tensor(array)), tmp_path / "x.pt")
    out = torch_file.load_state(tmp_path / "x.pt")["a"]
    assert out.dtype == dtype and out.shape == (2, 3, 4)
    np.testing.assert_array_equal(out, array)


def test_bfloat16_has_its_value(tmp_path: Path) -> None:
    array = np.array([1.5, -3.0], ml_dtypes.bfloat16)
    writer.save({"a": writer.tensor(array)}, tmp_path / "x.pt")
    assert torch_file.load(tmp_path / "x.pt")["a"].astype(np.float32).tolist() == [1.5, -3.0]


def test_shared_storage_offsets_and_strides(tmp_path: Path) -> None:
    storage = writer.Storage(np.arange(12, dtype=np.float32))
    tensors = {
        "whole": writer.View(storage, 0, (3, 4), (4, 1)),
        "transposed": writer.View(storage, 0, (4, 3), (1, 4)),
        "middle": writer.View(storage, 5, (2, 2), (4, 1)),
        "repeated": writer.View(storage, 1, (3, 2), (0, 1)),
        "scalar": writer.View(storage, 7, (), ()),
        "empty": writer.View(storage, 0, (0, 4), (4, 1)),
    }
    writer.save(tensors, tmp_path / "x.pt")
    out = torch_file.load_state(tmp_path / "x.pt")
    base = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(out["transposed"], base.T)
    np.testing.assert_array_equal(out["middle"], base[1:3, 1:3])
    np.testing.assert_array_equal(out["repeated"], [[1, 2]] * 3)
    assert out["scalar"] == 7 and out["empty"].shape == (0, 4)
    assert not out["whole"].flags.writeable


def test_nested_plain_data(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, "x", None, True], "b": {"c": (1, 2)}}
    writer.save(value, tmp_path / "x.pt")
    assert torch_file.load(tmp_path / "x.pt") == value


class _Hostile:
    def __reduce__(self) -> tuple:
        return os.system, ("echo owned > /tmp/owned",)


@pytest.mark.parametrize(
    "module, name",
    [("os", "system"), ("builtins", "eval"), ("torch", "load"), ("numpy", "ndarray"), ("torch", "_C")],
)
def test_refuses_other_globals(tmp_path: Path, module: str, name: str) -> None:
    writer.save({"a": writer.Global(module, name)}, tmp_path / "x.pt")
    with pytest.raises(ExportError, match=f"refused.*{module}.{name}"):
        torch_file.load(tmp_path / "x.pt")


def test_refuses_a_malicious_pickle(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": _Hostile()}))
    with pytest.raises(ExportError, match="refused"):
        torch_file.load(tmp_path / "x.pt")


def test_refuses_a_plain_pickle(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(ExportError, match="before PyTorch 1.6"):
        torch_file.load(tmp_path / "x.pt")


def test_refuses_tensors_beyond_their_storage(tmp_path: Path) -> None:
    storage = writer.Storage(np.zeros(4, np.float32))
    for view in (writer.View(storage, 1, (4,), (1,)), writer.View(storage, 0, (2,), (-1,))):
        writer.save({"a": view}, tmp_path / "x.pt")
        with pytest.raises(ExportError):
            torch_file.load(tmp_path / "x.pt")


def test_refuses_a_short_record(tmp_path: Path) -> None:
    writer.save({"a": writer.tensor(np.zeros(8, np.float32))}, tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt") as source, zipfile.ZipFile(tmp_path / "y.pt", "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name)[: 8 if "/data/" in name else None])
    with pytest.raises(ExportError, match="shorter"):
        torch_file.load(tmp_path / "y.pt")


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="missing"):
        torch_file.load(tmp_path / "none.pt")
    writer.save({"a": 1}, tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "y.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}q\x00(X")
    with pytest.raises(ExportError, match="damaged"):
        torch_file.load(tmp_path / "y.pt")


def test_compressed_records(tmp_path: Path) -> None:
    writer.save({"a": writer.tensor(np.arange(8, dtype=np.float32))}, tmp_path / "x.pt")
    with (
        zipfile.ZipFile(tmp_path / "x.pt") as source,
        zipfile.ZipFile(tmp_path / "y.pt", "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    np.testing.assert_array_equal(torch_file.load(tmp_path / "y.pt")["a"], np.arange(8))
