"""The goldens, the tiny checkpoints unpacked, and their bundles, each made once."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from cosyserve_onnx.export import PRECISIONS, Options, export

GOLDENS = Path(__file__).resolve().parents[2] / "tests" / "goldens"
SHARED = ("CosyVoice-BlankEN", "campplus.onnx")  # that generation 3's archive leaves to generation 2's


@pytest.fixture(scope="session")
def goldens() -> Path:
    return GOLDENS


def _unpack(archive: str, directory: Path) -> Path:
    with tarfile.open(GOLDENS / archive) as files:
        files.extractall(directory, filter="data")
    return next(directory.iterdir())


def _export(checkpoint: Path, root: Path) -> dict[str, Path]:
    for precision in PRECISIONS:
        export(checkpoint, root / precision, Options(precision=precision))
    return {p: root / p for p in PRECISIONS}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _unpack("tiny-cosyvoice2.tar.xz", tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def checkpoint3(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = _unpack("tiny-cosyvoice3.tar.xz", tmp_path_factory.mktemp("checkpoint3"))
    for name in SHARED:
        (directory / name).symlink_to(checkpoint / name)
    return directory


@pytest.fixture(scope="session")
def bundles(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return _export(checkpoint, tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="session")
def bundles3(checkpoint3: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return _export(checkpoint3, tmp_path_factory.mktemp("bundles3"))
