"""Bundles as a whole: the contract's names, hashes, voices, and clean failures."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch_writer as writer
from safetensors import safe_open
from tokenizers import Tokenizer

from cosyserve_onnx import graph, text_tokenizer, torch_file, voices
from cosyserve_onnx.__main__ import main
from cosyserve_onnx.drive import read_manifest
from cosyserve_onnx.drive_flow import page_bytes
from cosyserve_onnx.errors import ExportError
from cosyserve_onnx.export import PRECISIONS, Options, export
from cosyserve_onnx.inspect import inspect
from cosyserve_onnx.solver import Solver
from cosyserve_onnx.stress import stress

PAGING = ["chunk", "left", "history", "skip", "write", "tail_from", "tail_to"]
INPUTS = {
    "flow_encoder": ["token", "ahead", "valid", "embedding", *PAGING],
    "flow_estimator": ["x", "mu", "spks", "cond", "step", "valid", *PAGING],
    "hift_f0": ["mel"],
    "hift_decoder": ["mel", "source"],
}
OUTPUTS = {
    "flow_encoder": ["mu", "spks"],
    "flow_estimator": ["x_next", "velocity"],
    "hift_f0": ["f0"],
    "hift_decoder": ["audio"],
}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_graphs_keep_the_contract(bundles: dict[str, Path], precision: str) -> None:
    caches = json.loads((bundles[precision] / "bundle.json").read_text(encoding="utf-8"))["flow"]["caches"]
    for name, inputs in INPUTS.items():
        model = onnx.load(bundles[precision] / f"{name}.onnx").graph
        kept = caches.get(name.removeprefix("flow_"), [])
        assert [i.name for i in model.input] == inputs + [c["name"] for c in kept]
        assert [o.name for o in model.output] == OUTPUTS[name] + [c["output"] for c in kept]
        values = {v.name: v.type.tensor_type for v in (*model.input, *model.output)}
        for cache in kept:
            element = {"f32": graph.F32, "f16": graph.F16}[cache["element"]]
            for tensor in (values.pop(cache["name"]), values.pop(cache["output"])):
                assert tensor.elem_type == element
                assert [d.dim_value for d in tensor.shape.dim] == [0, *cache["shape"]]
        assert {v.elem_type for v in values.values()} <= {graph.F32, graph.I64}
    model = onnx.load(bundles[precision] / "llm.onnx").graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*model.input, *model.output)}
    cache = graph.F16 if precision == "fp16" else graph.F32
    expected = {"input_ids": graph.I64, "last_index": graph.I64, "seqlens_k": graph.I32, "logits": graph.F32}
    expected["total_sequence_length"] = graph.I32
    for i in range(2):
        for part in ("key", "value"):
            expected[f"past_key_values.{i}.{part}"] = expected[f"present.{i}.{part}"] = cache
    assert types == expected
    assert not any("lm_head" in t.name for t in model.initializer)


def test_manifest(bundles: dict[str, Path], checkpoint: Path) -> None:
    manifest = json.loads((bundles["fp32"] / "bundle.json").read_text(encoding="utf-8"))
    assert (manifest["format"], manifest["generation"], manifest["sample_rate"]) == (2, 2, 24000)
    llm = manifest["llm"]
    assert (llm["speech_offset"], llm["sos_id"], llm["task_id"], llm["eos"]) == (151936, 158500, 158501, 6561)
    assert llm["sampling"] == {"top_p": 0.8, "top_k": 25, "win_size": 10, "tau_r": 0.1}
    assert manifest["end_of_prompt"] == {"text": "<|endofprompt|>", "id": 151646}
    assert manifest["mel"]["fmax"] == 8000 and manifest["vocoder"]["hop"] == 480
    assert len(manifest["vocoder"]["merge_weight"]) == 9
    assert inspect(bundles["fp32"], lambda _line: None)
    for ours, theirs in (("campplus", "campplus"), ("speech_tokenizer", "speech_tokenizer_v2")):
        copied = (bundles["fp32"] / f"{ours}.onnx").read_bytes()
        assert copied == (checkpoint / f"{theirs}.onnx").read_bytes()


def test_caches(bundles: dict[str, Path], checkpoint: Path, tmp_path: Path) -> None:
    """One arena per attention layer and one for all tails of a graph; half the bytes but for fp32."""
    manifests = {p: json.loads((b / "bundle.json").read_text(encoding="utf-8")) for p, b in bundles.items()}
    flow = manifests["fp32"]["flow"]
    kinds = {graph: [c["kind"] for c in caches] for graph, caches in flow["caches"].items()}
    assert kinds == {"encoder": ["tail", *["token"] * 2, *["frame"] * 4], "estimator": ["tail", *["frame"] * 8]}
    assert {c["element"] for c in flow["caches"]["estimator"]} == {"f32"} and flow["left_chunks"] is None
    # 25 tokens of 2 layers, 50 frames of 4 layers and 2 tails; then 20 times 50 frames of 8 layers and 11 tails.
    tails = 2 * 4 * (2 * 64 + 20 * (320 + 9 * 64 + 128))
    assert page_bytes(manifests["fp32"]) == tails + 4 * 128 * (25 * 2 + 50 * 4 + 20 * 50 * 8)
    assert page_bytes(manifests["int8"]) * 2 == page_bytes(manifests["fp16"]) * 2 == page_bytes(manifests["fp32"])
    export(checkpoint, tmp_path / "left", Options(noise_seconds=1, left_chunks=7))
    assert json.loads((tmp_path / "left/bundle.json").read_text(encoding="utf-8"))["flow"]["left_chunks"] == 7
    assert main(["export", str(checkpoint), str(tmp_path / "no"), "--left-context-chunks", "0"]) == 1


def test_older_bundles_are_refused(bundles: dict[str, Path], tmp_path: Path) -> None:
    manifest = json.loads((bundles["fp32"] / "bundle.json").read_text(encoding="utf-8"))
    (tmp_path / "bundle.json").write_text(json.dumps(manifest | {"format": 1}), encoding="utf-8")
    with pytest.raises(ExportError, match="export it again"):
        read_manifest(tmp_path)


def test_inspect_notices_a_changed_file(bundles: dict[str, Path], tmp_path: Path) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(bundles["int8"], copy)
    with open(copy / "noise.bin", "r+b") as file:
        file.write(b"x")
    assert main(["inspect", str(copy)]) == 1


def test_check_without_a_gpu_says_so(bundles: dict[str, Path], goldens: Path, capsys: pytest.CaptureFixture) -> None:
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("there is one")
    assert main(["check", str(bundles["fp32"]), str(goldens), "--cuda"]) == 1
    assert "onnxruntime-gpu" in capsys.readouterr().err


def test_built_in_voices(bundles: dict[str, Path]) -> None:
    entries = json.loads((bundles["fp32"] / "bundle.json").read_text(encoding="utf-8"))["voices"]
    assert [e["id"] for e in entries] == ["中文女", "英文男"]
    for entry in entries:
        path = bundles["fp32"] / entry["file"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]
        with safe_open(path, "np") as file:
            assert file.keys() == ["embedding"] and file.get_tensor("embedding").shape == (192,)
            assert file.metadata() == {"id": entry["id"], "name": entry["id"], "prompt_text": "", "format": "1"}


def test_saved_voices(goldens: Path, checkpoint: Path, tmp_path: Path) -> None:
    """A zero-shot speaker as the reference saves it, and speakers as an older deployment saved them."""
    blank = checkpoint / "CosyVoice-BlankEN"
    tokenizer = text_tokenizer.build(blank / "vocab.json", blank / "merges.txt", 2)
    frontend, real = np.load(goldens / "tiny/frontend_2.npz"), np.load(goldens / "common/real_spk2info.npz")
    start = "zero_shot/"
    speakers = {"clone": {k[len(start) :]: frontend[k] for k in frontend.files if k.startswith(start)}}
    for key in real.files:
        name, field = key.split(".")
        speakers.setdefault(name, {})[field] = real[key]
    entries = voices.write(speakers, tmp_path / "voices", tokenizer, 192, 80, 2)
    assert [e["id"] for e in entries] == ["clone", "001", "longxiaoxia", "xiaohe"]
    texts = {}
    for entry in entries:
        with safe_open(tmp_path / entry["file"], "np") as file:
            count = file.get_tensor("speech_tokens").size
            assert count in (87, 89, 94)
            assert file.get_tensor("speech_feat").shape == (2 * count, 80)
            texts[entry["id"]] = file.metadata()["prompt_text"]
            assert tokenizer.decode(file.get_tensor("prompt_text_tokens").tolist()) == texts[entry["id"]]
    assert texts["clone"] == "希望你以后能够做的比我还好呦。" and texts["001"] == "希望你以后能够做的比我还好呦"
    with safe_open(tmp_path / "voices/000.safetensors", "np") as file:
        np.testing.assert_array_equal(file.get_tensor("embedding"), frontend["zero_shot/flow_embedding"][0])


def test_voices_are_the_same_each_time(tmp_path: Path) -> None:
    """Bundles name the hashes of their files, so an export twice over must not differ."""
    tokenizer = Tokenizer.from_str('{"version":"1.0","model":{"type":"BPE","vocab":{},"merges":[]}}')
    speakers = {"英文女": {"embedding": np.arange(192, dtype=np.float32)}}
    written = set()
    for number in range(12):  # 24 orders of four keys
        voices.write(speakers, tmp_path / str(number), tokenizer, 192, 80, 2)
        written.add((tmp_path / str(number) / "000.safetensors").read_bytes())
    assert len(written) == 1
    with safe_open(tmp_path / "0/000.safetensors", "np") as file:
        np.testing.assert_array_equal(file.get_tensor("embedding"), np.arange(192))
        assert file.metadata()["id"] == "英文女"


def test_bad_voices_are_named(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_str('{"version":"1.0","model":{"type":"BPE","vocab":{},"merges":[]}}')
    for speaker in ({}, {"embedding": np.zeros(7)}, 3):
        with pytest.raises(ExportError, match="voice 'x'"):
            voices.write({"x": speaker}, tmp_path / "voices", tokenizer, 192, 80, 2)


def test_which_products_have_four_bits(bundles: dict[str, Path]) -> None:
    """All of the language model's but the head's and those of q, k and v; an int8 bundle has none."""
    bits = {}
    for precision in ("int8", "int4"):
        nodes = onnx.load(bundles[precision] / "llm.onnx").graph.node
        products = [n for n in nodes if n.op_type == "MatMulNBits"]
        bits[precision] = {n.input[1]: a.i for n in products for a in n.attribute if a.name == "bits"}
    assert set(bits["int8"].values()) == {8} and len(bits["int8"]) == len(bits["int4"]) == 2 * 4 + 1
    fine = {name.removesuffix(".int8") for name, b in bits["int4"].items() if b == 8}
    assert fine == {"llm_decoder", "layers.0.attention.qkv", "layers.1.attention.qkv"}


def test_noise_seconds(checkpoint: Path, bundles: dict[str, Path], tmp_path: Path) -> None:
    export(checkpoint, tmp_path / "short", Options(precision="int8", noise_seconds=2, name="n", licence="x"))
    manifest = json.loads((tmp_path / "short/bundle.json").read_text(encoding="utf-8"))
    assert manifest["flow"]["noise"]["frames"] == 100 and manifest["name"] == "n"
    short = np.fromfile(tmp_path / "short/noise.bin", "<f4").reshape(80, 100)
    full = np.fromfile(bundles["int8"] / "noise.bin", "<f4").reshape(80, 15000)
    np.testing.assert_array_equal(short, full[:, :100])


@pytest.mark.parametrize("generation", [1, 2, 3])
def test_flow_steps(generation: int, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """A bundle with fewer steps says so, gets from noise to mel in them, and its times are the reference's for them."""
    source = request.getfixturevalue({1: "checkpoint1", 2: "checkpoint", 3: "checkpoint3"}[generation])
    export(source, tmp_path / "few", Options(noise_seconds=60, flow_steps=4))
    flow = json.loads((tmp_path / "few/bundle.json").read_text(encoding="utf-8"))["flow"]
    assert flow["steps"] == 4
    times, lengths = Solver(0.7, flow["schedule"], 4).times()
    assert times[0] == 0 and len(times) == 4 and abs(float(times[-1] + lengths[-1]) - 1) < 1e-6
    assert stress(tmp_path / "few", 2, 0, print)


def test_flow_steps_are_bounded(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for steps in ("0", "101"):
        assert main(["export", str(checkpoint), str(tmp_path / "no"), "--flow-steps", steps]) == 1
        assert "--flow-steps must be 1 to 100" in capsys.readouterr().err


def _copy(checkpoint: Path, target: Path, without: str = "") -> Path:
    target.mkdir()
    for path in checkpoint.iterdir():
        if path.name != without:
            (target / path.name).symlink_to(path)
    return target


def test_failures_leave_nothing(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    broken = _copy(checkpoint, tmp_path / "broken", without="hift.pt")
    writer.save({"conv_pre.bias": writer.tensor(np.zeros(3, np.float32))}, broken / "hift.pt")
    out = tmp_path / "out"
    out.mkdir()
    assert main(["export", str(broken), str(out / "bundle")]) == 1
    assert "hift.pt: the weight" in capsys.readouterr().err
    assert list(out.iterdir()) == []


def test_older_weight_norm_keys_and_generator_prefix(
    checkpoint: Path, bundles: dict[str, Path], tmp_path: Path
) -> None:
    """weight_g/weight_v below `generator.` give the very same vocoder."""
    state = {}
    for key, value in torch_file.load_state(checkpoint / "hift.pt").items():
        key = key.replace("parametrizations.weight.original0", "weight_g")
        key = key.replace("parametrizations.weight.original1", "weight_v")
        state[f"generator.{key}"] = writer.tensor(np.array(value))
    older = _copy(checkpoint, tmp_path / "older", without="hift.pt")
    writer.save(state, older / "hift.pt")
    export(older, tmp_path / "bundle", Options(noise_seconds=1))
    for name in ("hift_f0.onnx", "hift_decoder.onnx"):
        assert (tmp_path / "bundle" / name).read_bytes() == (bundles["fp32"] / name).read_bytes()


def test_missing_files_are_named(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="missing flow.pt"):
        export(_copy(checkpoint, tmp_path / "c", without="flow.pt"), tmp_path / "b", Options())
    with pytest.raises(ExportError, match="no such directory"):
        export(tmp_path / "nowhere", tmp_path / "b", Options())


def test_other_models_are_refused(tmp_path: Path) -> None:
    """A language model of one generation with the flow of another is none."""
    classes = {"llm": "TransformerLM", "flow": "CausalMaskedDiffWithDiT", "hift": "H"}
    text = "".join(f"{part}: !new:a.{name}\n    x: 1\n" for part, name in classes.items())
    (tmp_path / "cosyvoice.yaml").write_text(text)
    with pytest.raises(ExportError, match="TransformerLM with CausalMaskedDiffWithDiT is no CosyVoice"):
        export(tmp_path, tmp_path / "b", Options())


def test_other_directories_are_not_overwritten(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    with pytest.raises(ExportError, match="not overwriting"):
        export(checkpoint, tmp_path, Options())


def test_large_weights_go_beside_the_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "EXTERNAL_BYTES", 1000)
    g = graph.Graph("big")
    weight = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    x = g.input("x", graph.F32, ["B", 64])
    g.output("y", graph.F32, ["B", 64], g("MatMul", x, g.weight(weight, "w")))
    assert g.save(tmp_path / "big.onnx") == "big.onnx.data"
    from cosyserve_onnx.drive import session

    row = np.ones((1, 64), np.float32)
    out = session(tmp_path / "big.onnx").run(None, {"x": row})[0]
    np.testing.assert_allclose(out, row @ weight, rtol=1e-4, atol=1e-4)
