"""The flow's velocity estimator of generation 3: a diffusion transformer (DiT, https://arxiv.org/abs/2212.09748).

Source: CosyVoice `flow/DiT/dit.py` and `flow/DiT/modules.py`, after F5-TTS (https://arxiv.org/abs/2410.06885). Every
norm's scale and shift and every branch's gate follow from the step alone (adaLN-Zero), so they are computed here, and
their layers, four tenths of the network's weights, are not exported. Inputs, outputs and caches: BUNDLE.md.

Rotary positions turn the first head only: the reference applies them before it splits the heads. Keys are kept as they
were before the turn and turned in every run, counted from the oldest frame that the run sees; scores depend on
differences, so a history that was cut or padded on the left needs no positions.

In an fp16 graph the residual stream, the norms, the gates and the last projection stay f32: the stream of a trained
model passes 256, whose square fp16 does not hold, and that made the reference's fp16 engines say nothing but NaN.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import ExportError
from ..euler import PagedEulerStep
from ..graph import F16, F32, MS, Graph, Numbers
from ..hyper_yaml import Tagged
from ..layers import Weights, linear, matmul, mish, window_places
from ..paging import Tails
from ..solver import Solver

EPS = 1e-6
TIME_WIDTH = 256  # sinusoids of the time embedding
TIME_SCALE = 1000.0
MAX_PERIOD = 10000.0
GROUPS = 16  # of the position convolutions
MODULATIONS = 8  # vectors per block: see _modulations
BLOCKS_A_SPLIT = 3  # ONNX Runtime's CUDA Split copies its addresses from the host above 32 outputs


class _DiT(PagedEulerStep):
    """Builds one graph; holds what every block needs."""

    def __init__(self, config: Tagged, weights: Weights, bins: int, solver: Solver, numbers: Numbers):
        if config.class_name != "DiT":
            raise ExportError(f"flow estimator {config.class_name} is not supported")
        if config.get("long_skip_connection"):
            raise ExportError("flow estimator with a long skip connection is not supported")
        super().__init__(weights, bins, solver, numbers)
        self.page = int(config["static_chunk_size"])
        self.heads, self.head_dim = int(config["heads"]), int(config["dim_head"])
        self.width = weights["proj_out.weight"].shape[1]
        self.blocks = [f"transformer_blocks.{i}" for i in range(weights.count("transformer_blocks"))]

    def build(self) -> Graph:
        g = self.g
        x, mu, spks, cond = self.open(self.page)
        self._rotary()
        self._tables()
        stream = self._embed(x, mu, spks, cond)
        normed = self._norm(stream, *self.modulations[self.blocks[0]][:2])
        for i, block in enumerate(self.blocks):
            following = self.modulations[self.blocks[i + 1]][:2] if i + 1 < len(self.blocks) else self.final
            normed, stream = self._block(normed, stream, block, following)
        # What it rounds goes straight into the mel, whose level is its bias: f32 at every precision.
        weight = g.raw(np.ascontiguousarray(self.w["proj_out.weight"].T), "proj_out.weight")
        velocity = g("Add", g("MatMul", normed, weight), g.raw(self.w["proj_out.bias"], "proj_out.bias"))
        return self.close(x, velocity)

    # What follows from step and positions.

    def _rotary(self) -> None:
        """cos and sin [positions, head_dim / 2] for the keys 0 .. K + N - 1 and, the last N of them, for queries."""
        g = self.g
        total = g("Add", self.past, self.length)
        position = g("Range", g.const(0, np.int64), total, g.const(1, np.int64))
        name, exponents = "rotary_embed.inv_freq", np.arange(0, self.head_dim, 2) / self.head_dim
        rates = self.w[name] if name in self.w else MAX_PERIOD**-exponents  # a buffer that some save without
        angle = g("Mul", g("Unsqueeze", g("Cast", position, to=F32), g.ints(1)), g.const(rates[None]))
        start, end = (g("Unsqueeze", n, g.ints(0)) for n in (self.past, total))
        self.turns: dict[str, list[str]] = {"q": [], "k": []}
        for function in ("Cos", "Sin"):
            table = self._narrow(g(function, angle))
            self.turns["k"].append(table)
            self.turns["q"].append(g("Slice", table, start, end, g.ints(0)))

    def _turn(self, x: str, kind: str) -> str:
        """x [B, S, width] with its first head turned; to ONNX Runtime it is one head, turned in part."""
        g, heads = self.g, {"num_heads": 1, "rotary_embedding_dim": self.head_dim, "interleaved": 1}
        return g("RotaryEmbedding", x, g.ints(0), *self.turns[kind], domain=MS, **heads)

    def _tables(self) -> None:
        """`modulations` by block and `final`: f32 vectors of this step."""
        time = time_embedding(self.w.sub("time_embed.time_mlp"), self.solver)
        tables = {block: _modulations(self.w.sub(block), time) for block in self.blocks}
        self.modulations: dict[str, list[str]] = {}
        for i in range(0, len(self.blocks), BLOCKS_A_SPLIT):
            group = self.blocks[i : i + BLOCKS_A_SPLIT]
            vectors = self._vectors(np.concatenate([tables[b] for b in group], axis=1), f"modulations.{i}")
            for j, block in enumerate(group):
                self.modulations[block] = vectors[j * MODULATIONS : (j + 1) * MODULATIONS]
        scale, shift = np.split(_project(self.w.sub("norm_out.linear"), time), 2, axis=1)
        self.final = self._vectors(np.stack([1 + scale, shift], axis=1), "modulations.out")

    def _vectors(self, table: np.ndarray, name: str) -> list[str]:
        """The vectors [width] of this step from [steps, count, width]."""
        g, (steps, count, width) = self.g, table.shape
        row = g("Gather", g.raw(table.reshape(steps, -1).astype(np.float32), name), self.step, axis=0)
        return g("Split", row, g.ints(*[width] * count), out=count, axis=0)

    # The network.

    def _narrow(self, x: str) -> str:
        """f32 to the compute type."""
        return self.g("Cast", x, to=F16) if self.half else x

    def _wide(self, x: str) -> str:
        """The compute type to f32."""
        return self.g("Cast", x, to=F32) if self.half else x

    def _embed(self, x: str, mu: str, spks: str, cond: str) -> str:
        """[2 B, N, width]: x, prompt mel, mu and speaker (or x and zeros) projected, plus two causal convolutions."""
        g, w = self.g, self.w.sub("input_embed")
        spread = g("Expand", g("Unsqueeze", spks, g.ints(2)), g("Shape", x))
        given = g("Concat", x, cond, mu, spread, axis=1)
        only_x = np.repeat(np.float32([1, 0, 0, 0]), self.bins).reshape(1, -1, 1)
        h = g("Concat", given, g("Mul", given, g.const(only_x)), axis=0)
        h = self._narrow(g("Transpose", h, perm=[0, 2, 1]))
        h = linear(g, h, w["proj.weight"], w["proj.bias"], "input_embed.proj")
        convs = w.sub("conv_pos_embed")
        taps = convs["conv1.0.weight"].shape[2]
        self.tails = Tails(self.arenas, {"conv1": self.width, "conv2": self.width}, self.tail_rows, taps - 1)
        position = h
        for name in ("conv1", "conv2"):
            position = mish(g, self._grouped(name, position, convs.sub(f"{name}.0")))
        self.tails.close()
        return g("Add", self._wide(position), self._wide(h))

    def _grouped(self, name: str, x: str, w: Weights) -> str:
        """A causal convolution in groups of channels.

        For GPUs (fp16) it is a product per group over windows of frames: ONNX Runtime plans cuDNN's convolutions anew
        for every length, which takes longer than the whole step. For CPUs it is a convolution, which needs no windows.
        """
        g, weight = self.g, w["weight"]  # [out, in / GROUPS, taps]
        seen = self.tails.extend(name, x)
        if not self.half:
            h = g("Conv", g("Transpose", seen, perm=[0, 2, 1]), g.weight(weight, f"{w.prefix}weight"),
                  g.weight(w["bias"], f"{w.prefix}bias"), group=GROUPS)  # fmt: skip
            return g("Transpose", h, perm=[0, 2, 1])
        out, inside, taps = weight.shape
        split = g("Reshape", seen, g.ints(0, 0, GROUPS, inside))
        split = g("Transpose", split, perm=[2, 0, 1, 3])  # [GROUPS, 2 B, taps - 1 + N, inside]
        rows = g("Gather", split, window_places(g, self.length, taps), axis=2)
        rows = g("Reshape", rows, g.ints(GROUPS, -1, taps * inside))
        matrix = weight.reshape(GROUPS, out // GROUPS, inside, taps).transpose(0, 3, 2, 1)
        matrix = np.ascontiguousarray(matrix.reshape(GROUPS, taps * inside, out // GROUPS))
        h = g("MatMul", rows, g.weight(matrix, f"{w.prefix}weight"))  # [GROUPS, 2 B N, out / GROUPS]
        shape = g("Concat", g.ints(-1), g("Unsqueeze", self.length, g.ints(0)), g.ints(out), axis=0)
        h = g("Reshape", g("Transpose", h, perm=[1, 0, 2]), shape)
        return g("Add", h, g.weight(w["bias"], f"{w.prefix}bias"))

    def _norm(self, stream: str, gamma: str, beta: str) -> str:
        """LayerNorm of the f32 stream with this step's scale and shift, f32."""
        return self.g("LayerNormalization", stream, gamma, beta, axis=-1, epsilon=EPS)

    def _add_norm(self, update: str, stream: str, gate: str, bias: str, gamma: str, beta: str) -> tuple[str, str]:
        """(norm of the new stream, the new stream), f32: stream + gate * update + bias. See `layers.add_norm`."""
        g = self.g
        update = g("Mul", self._wide(update), gate)
        if self.half:
            names = [f"{update}.normed", "", "", f"{update}.stream"]
            g("SkipLayerNormalization", update, stream, gamma, beta, bias, domain=MS, epsilon=EPS, out=names)
            return names[0], names[3]
        stream = g("Add", g("Add", update, stream), bias)
        return self._norm(stream, gamma, beta), stream

    def _block(self, normed: str, stream: str, name: str, following: list[str]) -> tuple[str, str]:
        """Attention and feed-forward; takes and gives (norm of the stream, stream). `following`: the next norm's."""
        g, w = self.g, self.w.sub(name)
        _, _, gate_a, bias_a, gamma, beta, gate_f, bias_f = self.modulations[name]
        attended = self._attention(self._narrow(normed), name)
        update = matmul(g, attended, w["attn.to_out.0.weight"], f"{w.prefix}out", rough=True)
        normed, stream = self._add_norm(update, stream, gate_a, bias_a, gamma, beta)
        inner = matmul(g, self._narrow(normed), w["ff.ff.0.0.weight"], f"{w.prefix}ff.0", rough=True)
        inner = g("FastGelu", inner, g.weight(w["ff.ff.0.0.bias"], f"{w.prefix}ff.0.bias"), domain=MS)
        update = matmul(g, inner, w["ff.ff.2.weight"], f"{w.prefix}ff.2", rough=True)
        return self._add_norm(update, stream, gate_f, bias_f, *following)

    def _attention(self, x: str, name: str) -> str:
        """[2 B, N, width] -> [2 B, N, heads * head_dim]. In an int8 graph keys and values have arenas of their own: see
        generation 2's."""
        g, w = self.g, self.w.sub(f"{name}.attn")
        inner = self.heads * self.head_dim
        parts = {n: (w[f"to_{n}.weight"], w[f"to_{n}.bias"]) for n in "qkv"}
        q = linear(g, x, *parts["q"], f"{w.prefix}q", rough=True)
        if g.numbers.int8:
            k, v = (
                self.span.extend(f"{name}.{n}", linear(g, x, *parts[n], f"{w.prefix}{n}", rough=True), inner)
                for n in "kv"
            )
        else:
            weight, bias = (np.concatenate(p) for p in zip(parts["k"], parts["v"], strict=True))
            k, v = self.span.extend_pair(f"{name}.kv", linear(g, x, weight, bias, f"{w.prefix}kv"), inner)
        q, k = self._turn(q, "q"), self._turn(k, "k")
        return g("MultiHeadAttention", q, k, v, "", "", self.span.mask, domain=MS, num_heads=self.heads)


def time_embedding(mlp: Weights, solver: Solver) -> np.ndarray:
    """SiLU of every step's time embedding, f64 [steps, width]: what all modulations are projected from.

    The phase is rounded to f32 as the reference rounds it: it reaches a thousand radians.
    """
    half = TIME_WIDTH // 2
    frequencies = np.exp(np.arange(half, dtype=np.float32) * np.float32(-math.log(MAX_PERIOD) / (half - 1)))
    phase = np.float32(TIME_SCALE) * solver.times()[0][:, None] * frequencies[None]
    phase = phase.astype(np.float64)
    h = _silu(_project(mlp.sub("0"), np.concatenate([np.sin(phase), np.cos(phase)], axis=1)))
    return _silu(_project(mlp.sub("2"), h))


def _project(w: Weights, x: np.ndarray) -> np.ndarray:
    """A torch Linear in f64."""
    return x @ w["weight"].T.astype(np.float64) + w["bias"]


def _silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def _modulations(w: Weights, time: np.ndarray) -> np.ndarray:
    """A block's vectors [steps, 8, width]: scale, shift, gate and gated bias of attention, then of the feed-forward.

    The scale has its 1 added; the gated bias is the gate times the bias of the branch's last layer.
    """
    parts = np.split(_project(w.sub("attn_norm.linear"), time), 6, axis=1)
    biases = w["attn.to_out.0.bias"], w["ff.ff.2.bias"]
    vectors: list[Any] = []
    for (shift, scale, gate), bias in zip((parts[:3], parts[3:]), biases, strict=True):
        vectors += [1 + scale, shift, gate, gate * bias]
    return np.stack(vectors, axis=1)


def build(
    flow: Tagged, state: dict[str, np.ndarray], solver: Solver, numbers: Numbers
) -> tuple[Graph, list[dict[str, Any]]]:
    """The graph `flow_estimator` from the yaml's `flow` and the state of flow.pt, and its caches' manifest entries."""
    weights = Weights(state, "flow.pt", "decoder.estimator.")
    estimator = _DiT(flow["decoder"]["estimator"], weights, int(flow["output_size"]), solver, numbers)
    return estimator.build(), estimator.arenas.manifest
