"""The goldens, the tiny checkpoint unpacked, and its bundles, each made once."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from cosyserve_onnx.export import PRECISIONS, Options, export

GOLDENS = Path(__file__).resolve().parents[2] / "tests" / "goldens"


@pytest.fixture(scope="session")
def goldens() -> Path:
    return GOLDENS


def _unpack(archive: str, factory: pytest.TempPathFactory) -> Path:
    directory = factory.mktemp("checkpoint")
    with tarfile.open(GOLDENS / archive) as file:
        file.extractall(directory, filter="data")
    return next(directory.iterdir())


def _export(checkpoint: Path, factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = factory.mktemp("bundles")
    for precision in PRECISIONS:
        export(checkpoint, root / precision, Options(precision=precision))
    return {p: root / p for p in PRECISIONS}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _unpack("tiny-cosyvoice2.tar.xz", tmp_path_factory)


@pytest.fixture(scope="session")
def bundles(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return _export(checkpoint, tmp_path_factory)


@pytest.fixture(scope="session")
def checkpoint1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generation 1."""
    return _unpack("tiny-cosyvoice1.tar.xz", tmp_path_factory)


@pytest.fixture(scope="session")
def bundles1(checkpoint1: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return _export(checkpoint1, tmp_path_factory)
