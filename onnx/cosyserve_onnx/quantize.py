"""Eight-bit and four-bit weights for CPUs."""

from __future__ import annotations

import numpy as np

from .graph import F32, MS, Graph

BLOCK = 32  # weights that share one scale
DYNAMIC_LEVELS = 63
ACCURACY_INT8 = 4  # MatMulNBits: quantise the activations too and multiply in int8


def int8_table(g: Graph, ids: str, parts: list[np.ndarray], name: str) -> str:
    """Rows `ids` of the concatenated `parts`, held as int8 with one scale per row."""
    rows = sum(p.shape[0] for p in parts)
    table = np.empty((rows, parts[0].shape[1]), np.int8)
    scales = np.empty((rows, 1), np.float32)
    start = 0
    for part in parts:
        full = np.asarray(part).astype(np.float32)
        end = start + full.shape[0]
        scales[start:end] = np.maximum(np.abs(full).max(axis=1, keepdims=True) / 127, 1e-30)
        table[start:end] = np.clip(np.rint(full / scales[start:end]), -127, 127)
        start = end
    row = g("Cast", g("Gather", g.raw(table, f"{name}.int8"), ids, axis=0), to=F32)
    return g("Mul", row, g("Gather", g.raw(scales, f"{name}.scale"), ids, axis=0))


def int8_blocks(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A weight [N, K] as MatMulNBits wants it: u8 [N, blocks, 32] around 128 and f32 scales [N * blocks]."""
    rows, inside = weight.shape
    blocks = -(-inside // BLOCK)
    padded = np.zeros((rows, blocks * BLOCK), np.float32)
    padded[:, :inside] = weight
    grid = padded.reshape(rows, blocks, BLOCK)
    scale = np.maximum(np.abs(grid).max(axis=2, keepdims=True) / 127, 1e-30).astype(np.float32)
    quantized = (np.rint(grid / scale) + 128).astype(np.uint8)
    return quantized, np.ascontiguousarray(scale[:, :, 0])


def int4_blocks(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A weight [N, K] as MatMulNBits wants it: u8 [N, blocks, 16], f32 scales [N, blocks] and zero points u8
    [N, ceil(blocks / 2)]; weights and zero points two a byte.

    The 16 levels span each block's range, zero included: 18% less error on normal weights than symmetric levels.
    """
    rows, inside = weight.shape
    blocks = -(-inside // BLOCK)
    padded = np.zeros((rows, blocks * BLOCK), np.float32)
    padded[:, :inside] = weight
    grid = padded.reshape(rows, blocks, BLOCK)
    low = np.minimum(grid.min(axis=2, keepdims=True), 0)
    high = np.maximum(grid.max(axis=2, keepdims=True), 0)
    scale = np.maximum((high - low) / 15, 1e-30).astype(np.float32)
    zero = np.clip(np.rint(-low / scale), 0, 15)
    level = np.clip(np.rint(grid / scale) + zero, 0, 15).astype(np.uint8)
    zeros = np.zeros((rows, blocks + blocks % 2), np.uint8)
    zeros[:, :blocks] = zero[:, :, 0]
    return _pairs(level), np.ascontiguousarray(scale[:, :, 0]), _pairs(zeros)


def _pairs(values: np.ndarray) -> np.ndarray:
    """Numbers below 16, two a byte along the last axis, the first one low."""
    return values[..., 0::2] | values[..., 1::2] << 4


def block_matmul(g: Graph, x: str, weight: np.ndarray, bias: np.ndarray | None, name: str, bits: int) -> str:
    """x @ weight.T + bias with weights of 8 or 4 bits in blocks of 32."""
    if bits == 8:
        quantized, scale = int8_blocks(weight)
        zeros = ""
    else:
        quantized, scale, zero = int4_blocks(weight)
        zeros = g.raw(zero, f"{name}.zero")
    inputs = [x, g.raw(quantized, f"{name}.int{bits}"), g.raw(scale, f"{name}.scale"), zeros]
    if bias is not None:
        inputs += ["", g.raw(bias.astype(np.float32), f"{name}.bias")]
    return g(
        "MatMulNBits", *inputs, domain=MS,
        K=weight.shape[1], N=weight.shape[0], bits=bits, block_size=BLOCK, accuracy_level=ACCURACY_INT8,
    )  # fmt: skip


def dynamic_matmul(g: Graph, x: str, weight: np.ndarray, name: str) -> str:
    """x @ weight.T with small integer weights, one scale per output, and activations quantised per tensor as they come.

    Three times as fast as f32, and as MatMulNBits, for hundreds of rows on AVX-512 VNNI; coarser than MatMulNBits.
    Seven bits, because the kernels for CPUs without VNNI add pairs of products in 16 bits and saturate with eight.
    """
    scale = np.maximum(np.abs(weight).max(axis=1) / DYNAMIC_LEVELS, 1e-30).astype(np.float32)
    quantized = np.rint(weight / scale[:, None]).astype(np.int8)
    inputs = [x, g.raw(np.ascontiguousarray(quantized.T), f"{name}.int8"), g.raw(scale, f"{name}.scale")]
    return g("DynamicQuantizeMatMul", *inputs, domain=MS)
