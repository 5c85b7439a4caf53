"""The yaml reader: tags recorded, references resolved, nothing executed."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosyserve_onnx import hyper_yaml
from cosyserve_onnx.errors import ExportError
from cosyserve_onnx.hyper_yaml import Tagged


def test_tags_become_data() -> None:
    out = hyper_yaml.loads("a: !new:x.y.Z\n    n: 1\nb: !name:x.f\n    p: 0.5\nc: !apply:os.system [echo hi]\n")
    assert out["a"] == Tagged("new", "x.y.Z", {"n": 1}) and out["a"].class_name == "Z"
    assert out["b"]["p"] == 0.5
    assert out["c"] == Tagged("apply", "os.system", ["echo hi"])


def test_references_and_arithmetic() -> None:
    text = """
    rate: 25
    ratio: 2
    frames: !ref <rate> * <ratio>
    more: !ref (<frames> + 10) // 3
    same: !ref <rate>
    part: !new:x.A
        inner: !ref <ratio> / 4
    deep: !ref <part.inner>
    list: [!ref <rate>, 7]
    second: !ref <list2[1]>
    list2: [1, 7]
    dir: models
    file: !ref <dir>/x.pt
    """
    out = hyper_yaml.loads(text)
    assert (out["frames"], out["more"], out["same"], out["deep"]) == (50, 20, 25, 0.5)
    assert out["list"] == [25, 7] and out["second"] == 7 and out["file"] == "models/x.pt"


def test_numbers_without_a_dot() -> None:
    assert hyper_yaml.loads("a: 1e-06\nb: 1E5\nc: 1e-5x")["a"] == 1e-06


@pytest.mark.parametrize("text", ["a: !ref <b>", "a: !ref <a>", "a: !ref <b> ** 2\nb: 3", "- 1", "a: [", "a: !ref 1 +"])
def test_refusals(text: str) -> None:
    with pytest.raises(ExportError):
        hyper_yaml.loads(text)


def test_python_tags_are_data_or_refused() -> None:
    with pytest.raises(ExportError):
        hyper_yaml.loads("a: !!python/object/apply:os.system ['echo hi']")


def test_the_official_layout(checkpoint: Path) -> None:
    config = hyper_yaml.load(checkpoint / "cosyvoice2.yaml")
    assert config["llm"].class_name == "Qwen2LM"
    assert config["flow"]["decoder"]["estimator"]["static_chunk_size"] == 50
    assert config["llm"]["sampling"]["top_k"] == 25
