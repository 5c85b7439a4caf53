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


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("checkpoint")
    with tarfile.open(GOLDENS / "tiny-cosyvoice2.tar.xz") as archive:
        archive.extractall(directory, filter="data")
    return directory / "CosyVoice2-0.5B"


@pytest.fixture(scope="session")
def bundles(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bundles")
    for precision in PRECISIONS:
        export(checkpoint, root / precision, Options(precision=precision))
    return {p: root / p for p in PRECISIONS}
