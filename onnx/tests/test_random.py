"""Random bundles: a checkpoint's names and shapes, sane numbers, speech of a known length."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from cosyserve_onnx import hyper_yaml, torch_file
from cosyserve_onnx.__main__ import main
from cosyserve_onnx.drive import Llm, Vocoder, log_softmax, read_manifest
from cosyserve_onnx.drive_causal import CausalUtterance, CausalVocoder
from cosyserve_onnx.drive_flow import Flow
from cosyserve_onnx.export import PRECISIONS
from cosyserve_onnx.inspect import inspect
from cosyserve_onnx.random_model import RATIO, SIZES, random_checkpoint

PLAIN = ("parametrizations.weight.original1", "weight")  # weight norm's direction has the weight's shape
NORM = "parametrizations.weight.original0"
TEXT_ROWS = "llm.model.model.embed_tokens.weight"


def _shapes(state) -> dict[str, tuple[int, ...]]:
    return {k.replace(*PLAIN): v.shape for k, v in state.items() if not k.endswith(NORM) and "lm_head" not in k}


@pytest.fixture(params=[2, 3])
def generation(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture
def official(generation: int, request: pytest.FixtureRequest) -> Path:
    """The tiny checkpoint of the generation."""
    return request.getfixturevalue({2: "checkpoint", 3: "checkpoint3"}[generation])


@pytest.mark.parametrize("part", ["llm", "flow", "hift"])
def test_names_and_shapes_are_a_checkpoints(official: Path, generation: int, part: str) -> None:
    real = _shapes(torch_file.load_state(official / f"{part}.pt"))
    drawn = _shapes(random_checkpoint("tiny", 0, generation=generation).state(part))
    if part == "llm":
        if generation == 3:
            drawn.pop("llm_decoder.bias")  # keeps the stop tokens from being drawn
        assert real.pop(TEXT_ROWS)[1] == drawn.pop(TEXT_ROWS)[1]
    if part == "flow":  # stored per head, used flat
        real = {k: (v[0] * v[1],) if "pos_bias" in k else v for k, v in real.items()}
    assert drawn == real


def test_the_yaml_is_a_checkpoints(official: Path, generation: int) -> None:
    """Every field of the template stands in the official file with the same value."""
    real = hyper_yaml.load(official / f"cosyvoice{generation}.yaml")

    def covered(ours, theirs) -> None:
        assert getattr(ours, "target", None) == getattr(theirs, "target", None)
        ours, theirs = getattr(ours, "value", ours), getattr(theirs, "value", theirs)
        if isinstance(ours, dict):
            for key, value in ours.items():
                covered(value, theirs[key])
        else:
            assert ours == theirs

    covered(random_checkpoint("tiny", 0, generation=generation).yaml, real)


def test_the_real_size() -> None:
    count = {part: random_checkpoint("0.5b", 0).state(part).size() for part in ("llm", "flow", "hift")}
    assert SIZES["0.5b"].hidden // SIZES["0.5b"].heads == 64
    # Qwen2-0.5B has 494.0 M without the speech tables.
    assert count["llm"] == 494_032_768 + 2 * 6564 * 896 + 6564 + 2 * 896
    assert 110e6 < count["flow"] < 115e6 and 20e6 < count["hift"] < 22e6


def test_the_real_size_of_generation_3() -> None:
    count = {part: random_checkpoint("0.5b", 0, generation=3).state(part).size() for part in ("llm", "flow", "hift")}
    assert count["llm"] == 494_032_768 + 2 * 6761 * 896 + 6761
    # Of the flow's 333 M, 138 M are modulations' layers, which bundles hold as tables.
    assert 325e6 < count["flow"] < 340e6 and 20e6 < count["hift"] < 22e6


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_random_bundle_speaks(precision: str, generation: int, tmp_path: Path) -> None:
    options = ["--size", "tiny", "--precision", precision, "--seed", "3", "--generation", str(generation)]
    assert main(["random", str(tmp_path / "b"), *options]) == 0
    bundle, manifest = tmp_path / "b", read_manifest(tmp_path / "b")
    assert inspect(bundle, lambda _line: None)
    facts = manifest["llm"]
    assert facts["min_ratio"] == facts["max_ratio"] == RATIO and manifest["name"].startswith("random")
    model = Llm(bundle, manifest, 1, 64)
    p = np.exp(log_softmax(model.step([model.prompt([5, 6, 7], [8, 9])])))[0]
    assert np.isfinite(p).all() and p[facts["stop"]].max() == 0 and 0.001 < p.max() < 0.9
    with safe_open(bundle / manifest["voices"][1]["file"], "np") as file:
        tokens, feat, embedding = (file.get_tensor(n) for n in ("speech_tokens", "speech_feat", "embedding"))
    assert tokens.size == 87 and feat.shape == (174, 80)
    new = np.arange(28)
    mel = Flow(bundle, manifest).mel(np.concatenate([tokens, new])[None], embedding[None], feat, False, True)
    assert mel.shape == (80, 50) and -7 < mel.mean() < -3 and mel.std() < 3
    if generation == 3:
        utterance = CausalUtterance(CausalVocoder(bundle, manifest))
        audio, f0 = utterance.push(mel, final=True), utterance.pitch
    else:
        vocoder = Vocoder(bundle, manifest)
        f0 = vocoder.f0(mel)
        source = 0.1 * np.random.default_rng(0).standard_normal(mel.shape[1] * 480).astype(np.float32)
        audio = vocoder.audio(mel, source)
    assert 60 < f0.min() and f0.max() < 400
    assert 0.003 < audio.std() < 0.5


def test_seeds(tmp_path: Path) -> None:
    names = ["llm.onnx", "flow_estimator.onnx", "hift_decoder.onnx"]

    def files(name: str, seed: str) -> list[bytes]:
        arguments = ["random", str(tmp_path / name), "--size", "tiny", "--noise-seconds", "2", "--seed", seed]
        assert main(arguments) == 0
        return [(tmp_path / name / n).read_bytes() for n in names]

    one, again, other = files("one", "1"), files("again", "1"), files("other", "2")
    assert one == again and all(a != b for a, b in zip(one, other, strict=True))


def test_a_lender_without_parts_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["random", str(tmp_path / "b"), "--size", "tiny", "--lender", str(tmp_path)]) == 1
    assert "campplus.onnx" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_lent_files_are_copied(tmp_path: Path) -> None:
    """Ids of the lender's tokenizer lie inside every size's text vocabulary."""
    assert main(["random", str(tmp_path / "b"), "--size", "tiny", "--noise-seconds", "2"]) == 0
    lender = random_checkpoint("tiny", 0).files["campplus"].parent
    for name in ("campplus.onnx", "speech_tokenizer.onnx"):
        assert (tmp_path / "b" / name).read_bytes() == (lender / name).read_bytes()
    vocab = json.loads((tmp_path / "b/tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    assert max(vocab.values()) < min(size.text_vocab for size in SIZES.values())
