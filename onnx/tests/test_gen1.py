"""Generation 1: every stage against the reference, the manifest, and clean failures."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from cosyserve_onnx import checkpoint as checkpoints
from cosyserve_onnx import graph
from cosyserve_onnx.__main__ import main
from cosyserve_onnx.check import checker
from cosyserve_onnx.drive import read_manifest
from cosyserve_onnx.errors import ExportError
from cosyserve_onnx.export import PRECISIONS, Options, export, write
from cosyserve_onnx.gen1 import tokenizer
from cosyserve_onnx.gen1.check import tokenizer_lines
from cosyserve_onnx.gen1.drive import Flow, RowLlm
from cosyserve_onnx.inspect import inspect

STAGES = ["tokenizer", "llm", "llm_batched", "flow", "flow_batched", "vocoder", "stream", "end_to_end"]
CONTRACT = {
    "text_encoder": (["text", "embedding"], ["rows"]),
    "flow_encoder": (["token", "prompt_tokens", "tokens", "prompt_frames", "frames", "embedding"], ["mu", "spks"]),
    "flow_estimator": (["x", "mu", "spks", "cond", "step", "valid"], ["x_next", "velocity"]),
    "hift_f0": (["mel"], ["f0"]),
    "hift_decoder": (["mel", "source"], ["audio"]),
}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("stage", STAGES)
def test_stage(bundles1: dict[str, Path], goldens: Path, precision: str, stage: str) -> None:
    lines = list(getattr(checker(bundles1[precision], goldens, threads=2), stage)())
    assert lines
    assert [str(line) for line in lines if not line.passed] == []


@pytest.mark.parametrize("precision", PRECISIONS)
def test_graphs_keep_the_contract(bundles1: dict[str, Path], precision: str) -> None:
    for name, (inputs, outputs) in CONTRACT.items():
        model = onnx.load(bundles1[precision] / f"{name}.onnx").graph
        assert ([i.name for i in model.input], [o.name for o in model.output]) == (inputs, outputs)
        assert {v.type.tensor_type.elem_type for v in (*model.input, *model.output)} <= {graph.F32, graph.I64}
    model = onnx.load(bundles1[precision] / "llm.onnx").graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*model.input, *model.output)}
    expected = {"input_ids": graph.I64, "last_index": graph.I64, "seqlens_k": graph.I32, "logits": graph.F32}
    expected |= {"total_sequence_length": graph.I32, "rows": graph.F32}
    for i in range(2):
        for part in ("key", "value"):
            kind = graph.F16 if precision == "fp16" else graph.F32
            expected[f"past_key_values.{i}.{part}"] = expected[f"present.{i}.{part}"] = kind
    assert types == expected


def test_manifest(bundles1: dict[str, Path]) -> None:
    manifest = json.loads((bundles1["fp32"] / "bundle.json").read_text(encoding="utf-8"))
    assert (manifest["generation"], manifest["sample_rate"], manifest["token_rate"]) == (1, 22050, 50)
    assert manifest["modes"] == ["zero_shot", "cross_lingual", "vc"] and manifest["token_mel_ratio"] is None
    llm = manifest["llm"]
    assert (llm["speech_offset"], llm["sos_id"], llm["task_id"], llm["rows_offset"]) == (0, 4096, 4097, 4098)
    assert (llm["eos"], llm["stop"], llm["fill"], llm["mix_ratio"]) == (4096, [4096], None, None)
    stream = {"hop_tokens": 100, "overlap_tokens": 20, "mel_overlap_frames": 34}
    assert manifest["flow"]["stream"] == stream and manifest["flow"]["noise"] is None
    assert (manifest["vocoder"]["cache_mel_frames"], manifest["vocoder"]["phase"]) == (20, "samples")
    assert manifest["mel"]["hop"] == 256 and manifest["end_of_prompt"]["id"] is None
    assert [v["id"] for v in manifest["voices"]] == ["中文女", "英文男"]
    assert inspect(bundles1["fp32"], lambda _line: None)


def test_25_hz(checkpoint1: Path, tmp_path: Path) -> None:
    """Half the tokens: chunks of as many seconds, an overlap of as many tokens and so of twice the frames."""
    source = checkpoints.open_checkpoint(checkpoint1)
    source.yaml["flow"].value["input_frame_rate"] = 25
    write(source, tmp_path / "b", Options())
    manifest = read_manifest(tmp_path / "b")
    stream = {"hop_tokens": 50, "overlap_tokens": 20, "mel_overlap_frames": 68}
    assert manifest["flow"]["stream"] == stream and manifest["token_rate"] == 25
    flow = Flow(tmp_path / "b", manifest, 2)
    embedding = np.ones((1, 192), np.float32)
    mu, _ = flow.encode([np.zeros(0, np.int64)], [np.arange(70)], [0], embedding)
    assert mu.shape == (1, 80, 241)


@pytest.mark.parametrize("name,modes", [("CosyVoice-300M-SFT", ["sft"]), ("300M-Instruct", ["instruct", "sft"])])
def test_variants(checkpoint1: Path, tmp_path: Path, name: str, modes: list[str]) -> None:
    write(replace(checkpoints.open_checkpoint(checkpoint1), dir=checkpoint1.with_name(name),
                  vocabulary=checkpoint1 / "multilingual.tiktoken"), tmp_path / "named", Options())  # fmt: skip
    assert read_manifest(tmp_path / "named")["modes"] == modes


def test_the_variant_can_be_named(checkpoint1: Path, tmp_path: Path) -> None:
    export(checkpoint1, tmp_path / "b", Options(variant="sft"))
    assert read_manifest(tmp_path / "b")["modes"] == ["sft"]


def test_the_25_hz_vocabulary(checkpoint1: Path, goldens: Path) -> None:
    path = tokenizer.find(checkpoint1, tokenizer.COSYVOICE, None)
    ours = tokenizer.build(path, tokenizer.COSYVOICE, 100)
    assert ours.get_vocab_size() == 60510
    lines = list(tokenizer_lines(ours, goldens / "common/text.json", tokenizer.COSYVOICE))
    assert [str(line) for line in lines if not line.passed] == []


def test_a_missing_vocabulary_is_named(checkpoint1: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    bare = tmp_path / "CosyVoice-300M"
    shutil.copytree(checkpoint1, bare, ignore=shutil.ignore_patterns("*.tiktoken"))
    assert main(["export", str(bare), str(tmp_path / "b")]) == 1
    error = capsys.readouterr().err
    assert "--vocabulary" in error and "openai-whisper" in error and not (tmp_path / "b").exists()
    vocabulary = str(checkpoint1 / "multilingual.tiktoken")
    assert main(["export", str(bare), str(tmp_path / "b"), "--vocabulary", vocabulary]) == 0


@pytest.mark.parametrize("text,message", [("hello\n", "is not a token"), ("IQ== 0\n", "byte-level")])
def test_a_bad_vocabulary_is_refused(checkpoint1: Path, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "v.tiktoken").write_text(text)
    with pytest.raises(ExportError, match=message):
        export(checkpoint1, tmp_path / "b", Options(vocabulary=tmp_path / "v.tiktoken"))


def test_a_vocabulary_of_another_model_is_refused(checkpoint1: Path, tmp_path: Path) -> None:
    source = checkpoints.open_checkpoint(checkpoint1)
    source.yaml["get_tokenizer"] = replace(source.yaml["get_tokenizer"], target=tokenizer.COSYVOICE)
    with pytest.raises(ExportError, match="60510 tokens"):
        write(source, tmp_path / "b", Options())


def test_appending_several_ids_equals_one_at_a_time(bundles1: dict[str, Path]) -> None:
    bundle, rng = bundles1["fp32"], np.random.default_rng(1)
    manifest = read_manifest(bundle)
    rows = rng.standard_normal((4, 64)).astype(np.float32)
    ids = [4096, 4098, 4099, 4100, 4101, 4097, *rng.integers(0, 4096, 6)]
    whole, parts = (RowLlm(bundle, manifest, 1, 64, threads=2) for _ in range(2))
    expected = whole.prefill([ids], rows)
    parts.prefill([ids[:7]], rows)
    np.testing.assert_allclose(parts.step([ids[7:]]), expected, atol=1e-5)
