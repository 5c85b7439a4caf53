"""Quantised products against the same weights rounded by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cosyserve_onnx import graph
from cosyserve_onnx.drive import session
from cosyserve_onnx.quantize import BLOCK, block_matmul, int4_blocks


def _weight(rows: int, inside: int) -> np.ndarray:
    weight = np.random.default_rng(0).standard_normal((rows, inside)).astype(np.float32)
    weight[0] = 0  # a block of zeros
    weight[1] = np.abs(weight[1]) + 1  # one without negative numbers
    weight[2, ::3] *= 50  # one with outliers
    return weight


def _rounded(weight: np.ndarray) -> np.ndarray:
    """int4_blocks undone."""
    packed, scale, zeros = int4_blocks(weight)
    rows, blocks = scale.shape
    level = np.stack([packed & 15, packed >> 4], axis=-1).reshape(rows, blocks, BLOCK).astype(np.float32)
    zero = np.stack([zeros & 15, zeros >> 4], axis=-1).reshape(rows, -1)[:, :blocks, None].astype(np.float32)
    return ((level - zero) * scale[..., None]).reshape(rows, -1)[:, : weight.shape[1]]


@pytest.mark.parametrize("inside", [64, 96, 80])
def test_four_bits_keep_within_half_a_step(inside: int) -> None:
    weight = _weight(7, inside)
    error = np.abs(_rounded(weight) - weight)
    for start in range(0, inside, BLOCK):
        part = slice(start, start + BLOCK)
        step = (np.maximum(weight[:, part].max(axis=1), 0) - np.minimum(weight[:, part].min(axis=1), 0)) / 15
        # The zero point is rounded too, so the ends may lie a whole step away.
        assert (error[:, part] <= step[:, None] * 1.01).all()
    assert np.sqrt((error[3:] ** 2).mean()) < 0.1 and (error[0] == 0).all()


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("inside", [64, 96])
def test_the_product_is_that_of_the_rounded_weights(bits: int, inside: int, tmp_path: Path) -> None:
    weight, bias = _weight(24, inside), np.arange(24, dtype=np.float32)
    g = graph.Graph("product")
    x = g.input("x", graph.F32, ["B", inside])
    g.output("y", graph.F32, ["B", 24], block_matmul(g, x, weight, bias, "w", bits))
    g.save(tmp_path / "product.onnx")
    rows = np.random.default_rng(1).standard_normal((3, inside)).astype(np.float32)
    expected = rows @ (_rounded(weight) if bits == 4 else weight).T + bias
    found = session(tmp_path / "product.onnx").run(None, {"x": rows})[0]
    # What is left is the rounding of the activations (and of 8-bit weights): a hundredth of what a row may sum up to.
    most = np.abs(rows) @ np.abs(weight).T
    assert (np.abs(found - expected) < 0.01 * most + 1e-4).all()
