"""Random bundles of generation 1: a checkpoint's names and shapes, sane numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_random import NORM, PLAIN

from cosyserve_onnx import hyper_yaml, torch_file
from cosyserve_onnx.__main__ import main
from cosyserve_onnx.drive import Vocoder, log_softmax, read_manifest
from cosyserve_onnx.export import PRECISIONS
from cosyserve_onnx.gen1.drive import Flow, RowLlm, TextEncoder
from cosyserve_onnx.random_model import random_checkpoint


def _shapes(state) -> dict[str, tuple[int, ...]]:
    """Without weight norm's lengths, and what is stored per head flat."""
    shapes = {k.replace(*PLAIN): v.shape for k, v in state.items() if not k.endswith(NORM)}
    return {k: (v[0] * v[1],) if "pos_bias" in k and len(v) == 2 else v for k, v in shapes.items()}


@pytest.mark.parametrize("part", ["llm", "flow", "hift"])
def test_names_and_shapes_are_a_checkpoints(checkpoint1: Path, part: str) -> None:
    real = _shapes(torch_file.load_state(checkpoint1 / f"{part}.pt"))
    drawn = _shapes(random_checkpoint("tiny", 0, generation=1).state(part))
    if part == "llm":
        assert real.pop("text_embedding.weight")[1] == drawn.pop("text_embedding.weight")[1]
    assert drawn == real


def test_the_yaml_is_a_checkpoints(checkpoint1: Path) -> None:
    """Every field of the template stands in the official file with the same value."""
    real = hyper_yaml.load(checkpoint1 / "cosyvoice.yaml")
    real["llm"].value["text_token_size"] = 4960

    def covered(ours, theirs) -> None:
        assert getattr(ours, "target", None) == getattr(theirs, "target", None)
        ours, theirs = getattr(ours, "value", ours), getattr(theirs, "value", theirs)
        if isinstance(ours, dict):
            for key, value in ours.items():
                covered(value, theirs[key])
        else:
            assert ours == theirs

    covered(random_checkpoint("tiny", 0, generation=1).yaml, real)


def test_the_real_size() -> None:
    checkpoint = random_checkpoint("300m", 0, generation=1)
    count = {
        part: sum(int(np.prod(spec.shape)) for spec in checkpoint.state(part)._specs.values())
        for part in ("llm", "flow", "hift")
    }
    assert 305e6 < count["llm"] < 312e6 and 100e6 < count["flow"] < 110e6 and 20e6 < count["hift"] < 22e6


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_random_bundle_speaks(precision: str, tmp_path: Path) -> None:
    options = ["--size", "tiny", "--precision", precision, "--seed", "3", "--generation", "1"]
    assert main(["random", str(tmp_path / "b"), *options]) == 0
    bundle, manifest = tmp_path / "b", read_manifest(tmp_path / "b")
    embedding = np.random.default_rng(0).standard_normal((1, 192)).astype(np.float32)
    rows = TextEncoder(bundle, manifest, 2).rows(np.array([[5, 6, 7]]), embedding)[0]
    model = RowLlm(bundle, manifest, 1, 64, 2)
    p = np.exp(log_softmax(model.prefill([model.layout(3, [8, 9], True)], rows)))[0]
    assert np.isfinite(p).all() and p[4096] == 0 and 0.001 < p.max() < 0.9
    flow = Flow(bundle, manifest, 2)
    noise = np.random.default_rng(1).standard_normal((80, 86 + 51)).astype(np.float32)
    mel, _ = flow.mel(np.arange(50), np.arange(30), np.full((86, 80), -5.0), embedding, noise)
    assert mel.shape == (80, 51) and -7 < mel.mean() < -3 and mel.std() < 3
    vocoder = Vocoder(bundle, manifest, 2)
    f0 = vocoder.f0(mel)
    assert 60 < f0.min() and f0.max() < 400
    source = 0.1 * np.random.default_rng(0).standard_normal(mel.shape[1] * 256).astype(np.float32)
    assert 0.003 < vocoder.audio(mel, source).std() < 0.5


def test_generation_and_size_must_agree(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["random", str(tmp_path / "b"), "--generation", "1", "--size", "mini"]) == 1
    assert "generation 1 has no size mini" in capsys.readouterr().err
