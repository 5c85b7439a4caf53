"""The flow that comes out of the bundle does what the bundle's graphs do."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import flow
import flow_from_bundle

BUNDLE = Path(__file__).parents[2] / "bundled"


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = flow.Flow().eval()
    model.load_state_dict(flow_from_bundle.whole(BUNDLE / "flow_encoder.onnx"))
    return model


@pytest.fixture(scope="module")
def graphs():
    drive = pytest.importorskip("cosyserve_onnx.drive_flow")
    return drive.Flow(BUNDLE, json.loads((BUNDLE / "bundle.json").read_text(encoding="utf8")), 2)


def distance(have, want):
    return np.linalg.norm(have - want) / np.linalg.norm(want)


@pytest.mark.parametrize("streaming", [False, True])
def test_both_parts_say_the_same(model, graphs, streaming):
    torch.manual_seed(1)
    codes, speaker = torch.randint(0, 6561, (1, 60)), torch.randn(1, 192)
    chunks = (flow.CHUNK, 2 * flow.CHUNK) if streaming else (0, 0)
    masks = [flow.chunk_mask(w, c, "cpu") for w, c in zip((60, 120), chunks, strict=True)]
    mu, spks = graphs.encode(codes.numpy(), speaker.numpy(), True, streaming)
    with torch.no_grad():
        mine, voice = model.condition(codes, speaker, masks)
    assert distance(mine.numpy(), mu) < 2e-3 and distance(voice.numpy(), spks) < 2e-3
    x, cond = torch.randn(1, 80, 120), torch.zeros(1, 80, 120)
    cond[:, :, :40] = torch.from_numpy(mu[:, :, :40])
    given = [np.concatenate([a, a * 0]) for a in (mu, spks, cond.numpy())]
    for step, time in enumerate(flow.solver_times(graphs.facts["steps"])[:-1].tolist()):
        want = graphs.step(x.numpy(), mu, step, spks, cond.numpy(), streaming)[1]
        a, b, c = map(torch.from_numpy, given)
        with torch.no_grad():
            t = torch.full((2,), time)
            have = model.decoder["estimator"](x.repeat(2, 1, 1), a, t, b, c, masks[1])
        assert distance(have.numpy(), want) < 0.07, step  # the graph rounds activations to eight bits, too


def test_times_come_back_exactly_and_of_weights_that_can_be_trained(model):
    table = flow_from_bundle.initialisers(BUNDLE / "flow_estimator.onnx")["times"].unflatten(1, (-1, 256))
    net = model.decoder["estimator"]
    with torch.no_grad():
        rows = torch.stack(net.times(flow.solver_times(len(table))[:-1]), 1)
        with torch.autocast("cpu", torch.bfloat16):
            half = torch.stack(net.times(flow.solver_times(len(table))[:-1]), 1)
    assert torch.equal(half, rows), "training in bf16 would lose the early steps' rows"
    assert ((rows - table).norm(dim=2) < 1e-3 * table.norm(dim=2)).all()
    assert all(s[0].mlp[1].weight.abs().max() < 0.1 for s in net.mid_blocks)


def test_the_flow_goes_back_in_and_comes_out_the_same(model, tmp_path):
    into_bundle = pytest.importorskip("into_bundle")
    names = ("flow_encoder.onnx", "flow_estimator.onnx")
    for name in ("bundle.json", *names):
        shutil.copyfile(BUNDLE / name, tmp_path / name)
    into_bundle.put(model.state_dict(), tmp_path)
    state = model.state_dict()
    again = flow_from_bundle.estimator(tmp_path / names[1])
    for name in ("mid_blocks.1.0.block1.block.0.weight", "up_blocks.0.1.0.ff.net.2.weight", "final_proj.weight"):
        want = state[f"decoder.estimator.{name}"]
        assert (again[name] - want).norm() < 0.01 * want.norm()
    manifest = json.loads((tmp_path / "bundle.json").read_text(encoding="utf-8"))
    for part in ("encoder", "estimator"):
        entry = manifest["flow"][part]
        assert entry["sha256"] == hashlib.sha256((tmp_path / entry["file"]).read_bytes()).hexdigest()
        assert (tmp_path / entry["file"]).stat().st_size == (BUNDLE / entry["file"]).stat().st_size


def test_another_kind_of_flow_is_refused(model, tmp_path):
    into_bundle = pytest.importorskip("into_bundle")
    manifest = json.loads((BUNDLE / "bundle.json").read_text(encoding="utf-8"))
    manifest["flow"]["caches"]["estimator"][0]["shape"] = [2, 5]
    (tmp_path / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(SystemExit, match="another kind of model: estimator"):
        into_bundle.put(model.state_dict(), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["bundle.json"]
