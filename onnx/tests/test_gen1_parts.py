"""Parts of generation 1's graphs against their definitions, in double."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cosyserve_onnx.drive import session
from cosyserve_onnx.gen1.masked import Frames, down, group_norm, halved, up
from cosyserve_onnx.gen1.relative import Relative, rates, tables
from cosyserve_onnx.graph import F32, I64, Graph
from cosyserve_onnx.layers import Weights, length_of

WIDTH, HEADS = 32, 4


def run(g: Graph, path: Path, **feed: np.ndarray) -> np.ndarray:
    g.save(path / "part.onnx")
    return session(path / "part.onnx").run(["y"], feed)[0]


def position_scores(q: np.ndarray, weight: np.ndarray, queries: np.ndarray, keys: int) -> np.ndarray:
    """(q_i) W pe(i - j) / sqrt(d), [heads, S, keys]."""
    distance = queries[:, None] - np.arange(keys)[None]
    angle = distance[..., None] * rates(WIDTH).astype(np.float64)
    encoding = np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(*distance.shape, WIDTH)
    projected = (encoding @ weight.T.astype(np.float64)).reshape(*distance.shape, HEADS, -1)
    return np.einsum("shd,skhd->hsk", q.reshape(len(q), HEADS, -1), projected) / np.sqrt(WIDTH // HEADS)


@pytest.mark.parametrize("first", [0, 7, 2000])
def test_position_scores(tmp_path: Path, first: int) -> None:
    rng, total = np.random.default_rng(first), first + 3
    weight = rng.standard_normal((WIDTH, WIDTH)).astype(np.float32)
    q = rng.standard_normal((1, 3, WIDTH)).astype(np.float32)
    g = Graph("part")
    cos, sin = (g.raw(t, n) for t, n in zip(tables(WIDTH, total), ("cos", "sin"), strict=True))
    position = g.input("position", I64, [1, 3])
    relative = Relative(g, WIDTH, HEADS, cos, sin, position, (cos, sin))
    y = relative.scores(g.input("q", F32, [1, 3, WIDTH]), Weights({"linear_pos.weight": weight}, "test"))
    g.output("y", F32, [1, HEADS, 3, total], y)
    queries = np.arange(first, total)
    ours = run(g, tmp_path, q=q, position=queries[None])[0]
    np.testing.assert_allclose(ours, position_scores(q[0], weight, queries, total), atol=1e-5)


@pytest.mark.parametrize("length,valid", [(7, 7), (8, 8), (9, 4), (8, 5)])
def test_down_and_up_see_nothing_behind_the_end(tmp_path: Path, length: int, valid: int) -> None:
    """Halved, normed and doubled again: a padded row gives what it gives alone."""
    rng = np.random.default_rng(0)
    shapes = {
        "d.weight": (8, 8, 3),
        "d.bias": (8,),
        "u.weight": (8, 8, 4),
        "u.bias": (8,),
        "n.weight": (8,),
        "n.bias": (8,),
    }
    state = {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
    g, w = Graph("part"), Weights(state, "test")
    x = g.input("x", F32, ["B", "T", 8])
    frames = Frames.of(g, length_of(g, x), g.input("valid", I64, ["B"]))
    fewer = halved(g, frames)
    h = group_norm(g, down(g, x, frames, fewer, w.sub("d")), fewer, w.sub("n"), 2)
    g.output("y", F32, ["B", "T", 8], up(g, h, fewer, frames, w.sub("u")))
    x = rng.standard_normal((1, length, 8)).astype(np.float32)
    padded = run(g, tmp_path, x=x, valid=np.array([valid]))
    alone = session(tmp_path / "part.onnx").run(["y"], {"x": x[:, :valid], "valid": np.array([valid])})[0]
    assert padded.shape == x.shape
    np.testing.assert_allclose(padded[:, :valid], alone, atol=1e-5)
