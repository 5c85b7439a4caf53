import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import from_bundle
import lm
import speaker
import tables
import tokens

BUNDLE = Path(__file__).parents[2] / "bundled" / "llm.onnx"


def test_parts_of_a_table_add_up_to_its_rows():
    rows = torch.randn(tokens.CODES + 3, 4)
    table = tables.CodeTable(4, 3)
    table.load_state_dict(tables.take_apart(rows, 3))
    assert torch.allclose(table.table(), rows, atol=1e-4)


def test_the_bundled_model_says_the_same_when_it_is_back():
    onnxruntime = pytest.importorskip("onnxruntime")
    state = from_bundle.language_model(BUNDLE)
    model = lm.LanguageModel(state["embed_tokens.weight"].shape[0]).eval()
    model.load_state_dict(state)
    ids = np.concatenate([[model.start], np.arange(300, 330), [model.task]])
    session = onnxruntime.InferenceSession(str(BUNDLE))
    feeds = {
        "input_ids": ids[None],
        "last_index": np.array([len(ids) - 1]),
        "seqlens_k": np.array([len(ids) - 1], np.int32),
        "total_sequence_length": np.array(len(ids), np.int32),
    }
    for i in range(lm.LAYERS):
        for kind in ("key", "value"):
            feeds[f"past_key_values.{i}.{kind}"] = np.zeros((1, lm.KV_HEADS, 64, lm.HEAD_DIM), np.float32)
    want = session.run(["logits"], feeds)[0][0]
    with torch.no_grad():
        have = model.logits(model.hidden(torch.from_numpy(ids)[None]))[0, -1].numpy()
    assert np.abs(have - want).max() < 0.05 * np.abs(want).max()
    assert have.argmax() == want.argmax()


def test_what_comes_out_of_a_bundle_goes_back_in(tmp_path):
    into_bundle = pytest.importorskip("into_bundle")
    for name in ("bundle.json", "llm.onnx"):
        shutil.copyfile(BUNDLE.parent / name, tmp_path / name)
    state = from_bundle.language_model(BUNDLE)
    into_bundle.put(state, tmp_path)
    again = from_bundle.language_model(tmp_path / "llm.onnx")
    for name in ("layers.3.mlp.down_proj.weight", "embed_tokens.weight", "head_bias"):
        assert torch.allclose(again[name], state[name], atol=2e-3 * state[name].abs().max())
    entry = json.loads((tmp_path / "bundle.json").read_text())["llm"]
    assert entry["sha256"] == hashlib.sha256((tmp_path / "llm.onnx").read_bytes()).hexdigest()


def test_the_speaker_encoder_hears_the_same_when_it_is_back():
    onnxruntime = pytest.importorskip("onnxruntime")
    path = BUNDLE.with_name("campplus.onnx")
    model = speaker.SpeakerEncoder().eval()
    model.load_state_dict(speaker.from_onnx(path))
    x = torch.randn(1, 214, 80, generator=torch.Generator().manual_seed(0))
    want = onnxruntime.InferenceSession(str(path)).run(None, {"input": x.numpy()})[0]
    with torch.no_grad():
        assert np.abs(model(x).numpy() - want).max() < 1e-4 * np.abs(want).max()
