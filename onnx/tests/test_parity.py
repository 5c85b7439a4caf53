"""Every stage of every precision against the reference's numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cosyserve_onnx import drive, hift, hyper_yaml, noise, torch_file
from cosyserve_onnx.check import NOISE_TOLERANCE, checker, snr
from cosyserve_onnx.errors import ExportError
from cosyserve_onnx.export import PRECISIONS
from cosyserve_onnx.graph import F32


def test_noise_is_torch_randn(goldens: Path) -> None:
    ours = noise.flow_noise(80, 512)
    theirs = np.load(goldens / "tiny/flow_2.npz")["rand_noise"]
    assert ours.shape == theirs.shape and np.abs(ours - theirs).max() <= NOISE_TOLERANCE


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("stage", ["tokenizer", "noise", "llm", "llm_batched", "flow", "vocoder"])
def test_stage(bundles: dict[str, Path], goldens: Path, precision: str, stage: str) -> None:
    lines = list(getattr(checker(bundles[precision], goldens, threads=2), stage)())
    assert lines
    assert [str(line) for line in lines if not line.passed] == []


@pytest.fixture(scope="module")
def model(bundles: dict[str, Path]):
    manifest = drive.read_manifest(bundles["fp32"])
    return lambda rows: drive.Llm(bundles["fp32"], manifest, rows, 64, threads=2)


def test_padded_batch_equals_single_rows(model) -> None:
    rng = np.random.default_rng(0)
    prompts = [[int(i) for i in rng.integers(151936, 158500, n)] for n in (3, 17, 9)]
    batch = model(3)
    together = [batch.step(prompts), batch.step([[151940]] * 3)]
    for row, prompt in enumerate(prompts):
        single = model(1)
        for step, ids in enumerate((prompt, [151940])):
            np.testing.assert_allclose(together[step][row], single.step([ids])[0], atol=1e-5)


def test_appending_several_ids_equals_one_at_a_time(model) -> None:
    ids = [int(i) for i in np.random.default_rng(1).integers(151936, 158500, 12)]
    whole, parts = model(1), model(1)
    expected = whole.step([ids])
    parts.step([ids[:7]])
    np.testing.assert_allclose(parts.step([ids[7:]]), expected, atol=1e-5)


def test_snake_without_folding(checkpoint: Path, goldens: Path, tmp_path: Path, monkeypatch) -> None:
    """Where an alpha is too small to divide weights by, the activation is written out."""
    monkeypatch.setattr(hift, "SMALLEST_FOLDED_ALPHA", 1e9)
    config = hyper_yaml.load(checkpoint / "cosyvoice2.yaml")["hift"]
    hift.build_decoder(config, torch_file.load_state(checkpoint / "hift.pt"), F32).save(tmp_path / "hift.onnx")
    golden = np.load(goldens / "tiny/hift_2.npz")
    feed = {"mel": golden["full/mel"][None], "source": golden["full/source"][None]}
    audio = drive.session(tmp_path / "hift.onnx").run(["audio"], feed)[0][0]
    assert snr("hift_decoder", "full", audio, golden["full/audio"], 80).passed


def test_goldens_of_another_model_are_refused(bundles: dict[str, Path], goldens: Path, monkeypatch) -> None:
    manifest = drive.read_manifest(bundles["fp32"])
    manifest["llm"]["layers"] += 1
    monkeypatch.setattr(drive, "read_manifest", lambda _bundle: manifest)
    with pytest.raises(ExportError, match="tiny model"):
        checker(bundles["fp32"], goldens)
