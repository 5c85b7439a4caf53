"""Generation 3: every stage of every precision against the reference, and what its own stages promise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from half_runner import HalfRunner
from test_export import INPUTS, OUTPUTS
from test_flow import lose_history

from cosyserve_onnx import drive, drive_flow, graph, hyper_yaml, torch_file
from cosyserve_onnx.check import checker
from cosyserve_onnx.comparison import snr
from cosyserve_onnx.export import PRECISIONS
from cosyserve_onnx.gen3 import flow_estimator
from cosyserve_onnx.gen3.drive import CausalUtterance, CausalVocoder
from cosyserve_onnx.gen3.source import Source
from cosyserve_onnx.noise import source_noise_skip
from cosyserve_onnx.solver import Solver

STAGES = ["tokenizer", "noise", "llm", "llm_batched", "flow", "vocoder"]


@pytest.fixture(scope="module")
def manifest(bundles3: dict[str, Path]) -> dict:
    return drive.read_manifest(bundles3["fp32"])


@pytest.fixture(scope="module")
def vocoder(bundles3: dict[str, Path], manifest: dict) -> CausalVocoder:
    return CausalVocoder(bundles3["fp32"], manifest, threads=2)


@pytest.fixture(scope="module")
def mel(goldens: Path) -> np.ndarray:
    return np.load(goldens / "tiny/stream_3.npz")["full/chunk0/hift_mel"]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("stage", STAGES)
def test_stage(bundles3: dict[str, Path], goldens: Path, precision: str, stage: str) -> None:
    lines = list(getattr(checker(bundles3[precision], goldens, threads=2), stage)())
    assert lines
    assert [str(line) for line in lines if not line.passed] == []


def test_manifest(manifest: dict) -> None:
    llm, vocoder = manifest["llm"], manifest["vocoder"]
    assert manifest["generation"] == 3 and manifest["mel"]["fmax"] == 12000 and manifest["bistream"]
    assert manifest["max_silent_run"] == 5 and manifest["end_of_prompt"]["required"]
    assert [llm["sos_id"], llm["task_id"]] == [151936 + 6561, 151936 + 6563]
    assert [llm["eos"], llm["fill"], llm["stop"]] == [6562, 6564, list(range(6561, 6761))]
    assert vocoder["kind"] == "causal" and vocoder["phase"] == "held"
    assert [vocoder[n] for n in ("f0_lookahead_frames", "lookahead_frames", "delay_samples")] == [3, 4, 8]
    assert [c["kind"] for c in manifest["flow"]["caches"]["encoder"]] == ["tail"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_graphs_keep_the_contract(bundles3: dict[str, Path], precision: str) -> None:
    manifest = json.loads((bundles3[precision] / "bundle.json").read_text(encoding="utf-8"))
    inputs, outputs = dict(INPUTS), dict(OUTPUTS)
    inputs["hift_decoder"] = ["mel", "source", "valid"]
    for name in inputs:
        part = manifest["flow" if name.startswith("flow") else "vocoder"]["caches"]
        caches = part[name.split("_")[1]]
        model = onnx.load(bundles3[precision] / f"{name}.onnx").graph
        assert [i.name for i in model.input] == inputs[name] + [c["name"] for c in caches]
        assert [o.name for o in model.output] == outputs[name] + [c["output"] for c in caches]
        values = {v.name: v.type.tensor_type for v in (*model.input, *model.output)}
        for cache in caches:
            for tensor in (values.pop(cache["name"]), values.pop(cache["output"])):
                assert tensor.elem_type == {"f32": graph.F32, "f16": graph.F16}[cache["element"]]
                assert [d.dim_value for d in tensor.shape.dim] == [0, *cache["shape"]]
        assert {v.elem_type for v in values.values()} <= {graph.F32, graph.I64}


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("what", ["keys and values", "tails", "another page"])
def test_lost_history_is_noticed(bundles3: dict[str, Path], goldens: Path, precision: str, what: str) -> None:
    lose_history(bundles3, goldens, precision, what)


def _estimator(config: dict, state: dict, half: bool, path: Path) -> tuple[HalfRunner, dict[str, np.ndarray]]:
    """An estimator run node by node, and empty caches of two pages."""
    half_numbers = graph.Numbers(graph.F16, graph.F16, cache=graph.F16, grain=8)
    built, caches = flow_estimator.build(config, state, Solver.of(config), half_numbers if half else graph.Numbers())
    built.save(path)
    rows = {"frame": 2 * 2 * 10 * 50, "tail": 2 * 2 * 10}
    kind = np.float16 if half else np.float32
    return HalfRunner(path), {c["name"]: np.zeros((rows[c["kind"]], *c["shape"]), kind) for c in caches}


@pytest.mark.parametrize("case", ["final1_stream0", "final0_stream1"])
def test_half_precision_with_every_tensor_rounded(checkpoint3: Path, goldens: Path, tmp_path: Path, case: str) -> None:
    """The first velocity and, after ten steps, the mel."""
    config = hyper_yaml.load(checkpoint3 / "cosyvoice3.yaml")["flow"]
    model, caches = _estimator(config, torch_file.load_state(checkpoint3 / "flow.pt"), True, tmp_path / "e.onnx")
    golden = np.load(goldens / "tiny/flow_3.npz")
    part = {n: golden[f"{case}/{n}"] for n in ("est1_v_cond", "est1_v_uncond", "prompt_feat", "mel")}
    x, *rest = (golden[f"{case}/est1_{n}"][None] for n in ("x", "mu", "spks", "cond"))
    feed = caches | dict(zip(("mu", "spks", "cond"), rest, strict=True))
    feed |= drive_flow._whole(1, x.shape[2], 50, 20, case.endswith("stream1"), drive_flow.FULL)
    for step in range(10):
        x, velocity = model.run(["x_next", "velocity"], feed | {"x": x, "step": np.array(step)})
        if step == 0:
            theirs = np.stack([part["est1_v_cond"], part["est1_v_uncond"]])
            assert np.abs(velocity - theirs).max() < 5e-3
    assert np.abs(x[0, :, len(part["prompt_feat"]) :] - part["mel"]).max() < 5e-3


@pytest.mark.parametrize("size", [1.0, 1e6])
def test_a_large_residual_stream_does_not_overflow(checkpoint3: Path, tmp_path: Path, size: float) -> None:
    """fp16 next to fp32 where the stream passes fp16's range, as gates of a trained model may make it do."""
    config = hyper_yaml.load(checkpoint3 / "cosyvoice3.yaml")["flow"]
    state = dict(torch_file.load_state(checkpoint3 / "flow.pt"))
    for key, value in state.items():
        if ".attn_norm.linear." in key:  # shift, scale, gate of attention, then of the feed-forward
            parts = np.split(np.array(value), 6)
            state[key] = np.concatenate([*parts[:2], parts[2] * size, *parts[3:5], parts[5] * size])
    rng = np.random.default_rng(0)
    feed = {n: rng.standard_normal((1, 80, 60)).astype(np.float32) for n in ("x", "mu", "cond")}
    feed |= {"spks": rng.standard_normal((1, 80)).astype(np.float32), "step": np.array(3)}
    feed |= drive_flow._whole(1, 60, 50, 20, True, drive_flow.FULL)
    velocity = []
    for half in (False, True):
        model, caches = _estimator(config, state, half, tmp_path / f"{half}.onnx")
        velocity += model.run(["velocity"], feed | caches)
        assert size == 1 or model.largest[np.dtype(np.float32)] > 65504
    assert np.isfinite(velocity[1]).all()
    assert snr("flow_estimator", "fp16", velocity[1], velocity[0], 50).passed


@pytest.mark.parametrize("cache", range(6))
def test_every_vocoder_cache_matters(vocoder: CausalVocoder, mel: np.ndarray, cache: int) -> None:
    """Without any one of them the samples behind a join are wrong."""
    whole = vocoder.audio(mel)
    utterance = CausalUtterance(vocoder)
    start = len(utterance.push(mel[:, :40], final=False))
    assert len(utterance.decoder.kept) == 6
    utterance.decoder.kept[cache][:] = 0
    rest = utterance.push(mel[:, 40:], final=True)
    # The overlap-add's cache holds few samples: look at the join alone.
    join = slice(0, 100)
    assert not snr("parts", "lost", rest[join], whole[start:][join], 60).passed


def test_f0_is_as_exact_in_parts(vocoder: CausalVocoder, mel: np.ndarray) -> None:
    whole, parts = CausalUtterance(vocoder), CausalUtterance(vocoder)
    whole.push(mel, final=True)
    for i in range(0, mel.shape[1], 3):
        parts.push(mel[:, i : i + 3], final=i + 3 >= mel.shape[1])
    assert np.abs(parts.pitch / whole.pitch - 1).max() <= 2**-23  # one unit in the last place


def test_rows_of_one_run_are_independent(vocoder: CausalVocoder, mel: np.ndarray) -> None:
    """One goes on, one begins and ends within the run (`valid`)."""
    utterances = [CausalUtterance(vocoder), CausalUtterance(vocoder)]
    utterances[0].push(mel[:, :24], final=False)  # 20 frames decoded
    caches = [utterance.decoder.kept for utterance in utterances]
    feeds: list[dict[str, np.ndarray]] = []
    for utterance in utterances:  # what each would run alone: 11 frames of the one, 7 and one of zeros of the other
        record, decoder = {}, utterance.decoder
        run = decoder.run
        decoder.run = lambda name, feed, record=record, run=run: run(name, record.setdefault("feed", feed))
        feeds.append(record)
    alone = [utterances[0].push(mel[:, 24:35], final=False), utterances[1].push(mel[:, 40:47], final=True)]
    first, second = (record["feed"] for record in feeds)
    missing = 11 - 8
    second["mel"] = np.pad(second["mel"], ((0, 0), (0, 0), (0, missing)))
    second["source"] = np.pad(second["source"], ((0, 0), (0, 0), (0, missing * 480)))
    feed = {name: np.concatenate([first[name], second[name]]) for name in first}
    for cache, one, other in zip(vocoder.facts["caches"]["decoder"], *caches, strict=True):
        feed[cache["name"]] = np.concatenate([one, other])
    both = vocoder.decoder.run(["audio"], feed)[0]
    assert snr("hift_decoder", "goes on", both[0], alone[0], 80).passed
    assert snr("hift_decoder", "begins and ends", both[1, 8 : 8 + 7 * 480], alone[1], 80).passed


def test_source_goes_on_where_it_stopped(manifest: dict) -> None:
    f0 = np.random.default_rng(0).uniform(0, 400, 40).astype(np.float32)
    whole, parts = Source(manifest).render(f0), Source(manifest)
    joined = np.concatenate([parts.render(f0[i : i + 7]) for i in range(0, 40, 7)])
    np.testing.assert_allclose(joined, whole, atol=1e-6)


def test_noise_of_the_real_size() -> None:
    """Layers of Fun-CosyVoice3-0.5B, counted by hand from the reference: 3,852,961 draws behind the flow's noise."""
    flow = {"input_embedding.weight": np.empty((6561, 80)), "spk_embed_affine_layer.weight": np.empty((80, 192))}
    flow["spk_embed_affine_layer.bias"] = np.empty(80)
    hift = {"f0_predictor.classifier.weight": np.empty((1, 512)), "f0_predictor.classifier.bias": np.empty(1)}
    for i in range(5):
        name = f"f0_predictor.condnet.{2 * i}."
        hift[f"{name}bias"] = np.empty(512)
        hift[f"{name}parametrizations.weight.original0"] = np.empty((512, 1, 1))
        hift[f"{name}parametrizations.weight.original1"] = np.empty((512, 512, 3) if i else (512, 80, 4))
    assert source_noise_skip(80, flow, hift, 9) == 80 * 15000 + 3_852_961 + 9
