"""The flow's velocity estimator of generation 2: a causal U-Net of residual convolutions and transformer blocks.

Source: CosyVoice `flow/decoder.py` (CausalConditionalDecoder) and Matcha-TTS `models/components` (residual block,
BasicTransformerBlock, time embedding). Frames are 20 ms mel frames; channels come from the yaml and the weights.

In an int8 graph the transformers' linear layers and the middle blocks' convolutions are quantised (most of the
arithmetic); the first and last stages are not: they alone made three quarters of the mel's error.

One run is one Euler step of B utterances. The network sees 2 B rows: with the condition, then without. What depends on
the step alone (times, their embedding and its projections) is computed here and looked up. Inputs, outputs and caches:
BUNDLE.md.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .errors import ExportError
from .euler import EulerStep
from .graph import F16, MS, Graph, Numbers
from .hyper_yaml import Tagged
from .layers import Weights, add_norm, conv_matrix, layer_norm, linear, matmul, mish, window_places
from .paging import Tails
from .solver import Solver

EPS = 1e-5
TIME_SCALE = 1000.0  # Matcha-TTS multiplies t in [0, 1] by this before the sinusoids
MAX_PERIOD = 10000.0
TAPS = 3  # of every causal convolution


class _Estimator(EulerStep):
    """Builds one graph; holds what every block needs."""

    def __init__(self, config: Tagged, weights: Weights, bins: int, solver: Solver, numbers: Numbers):
        channels = list(config["channels"])
        if len(channels) != 1:
            raise ExportError(f"estimator channels {channels}: only one resolution is supported")
        if config.get("act_fn", "gelu") != "gelu":
            raise ExportError(f"estimator act_fn {config['act_fn']!r} is not supported, only gelu")
        super().__init__(weights, bins, solver, numbers)
        self.config = config
        self.heads = int(config["num_heads"])
        middle = [f"mid_blocks.{i}" for i in range(weights.count("mid_blocks"))]
        self.stages = ["down_blocks.0", *middle, "up_blocks.0"]

    def build(self) -> Graph:
        g = self.g
        x, mu, spks, cond = self.open(int(self.config["static_chunk_size"]))
        self.tails = Tails(self.arenas, self._widths(), self.tail_rows)
        self.places = window_places(g, self.length, TAPS)
        self.times = self._times()
        h = self._body(self._gather_inputs(x, mu, spks, cond))
        h = self._causal_block(h, "final_block")
        self.tails.close()
        final = self.w.sub("final_proj")
        h = linear(g, h, final["weight"][:, :, 0], final["bias"], "final_proj")
        return self.close(x, h)

    def _widths(self) -> dict[str, int]:
        """Input channels of every causal convolution, in the order of their use."""
        names = [f"{s}.0.block{i}.block.0" for s in self.stages for i in (1, 2)]
        names.insert(2, "down_blocks.0.2")
        names += ["up_blocks.0.2", "final_block.block.0"]
        widths = {}
        for name in names:
            _, widths[name], taps = self.w[f"{name}.weight"].shape
            if taps != TAPS:
                raise ExportError(f"estimator {name}: {taps} taps, only {TAPS} are supported")
        return widths

    def _body(self, h: str) -> str:
        h = self._stage(h, 0)
        skip = h
        h = self._causal_conv(h, "down_blocks.0.2")
        for i in range(1, len(self.stages) - 1):
            h = self._stage(h, i)
        h = self.g("Concat", h, skip, axis=2)
        h = self._stage(h, len(self.stages) - 1)
        return self._causal_conv(h, "up_blocks.0.2")

    def _gather_inputs(self, x: str, mu: str, spks: str, cond: str) -> str:
        """[2 B, N, 4 * bins]: the network sees x, mu, speaker and prompt mel side by side, or x and zeros."""
        g = self.g
        spread = g("Expand", g("Unsqueeze", spks, g.ints(2)), g("Shape", x))
        given = g("Concat", x, mu, spread, cond, axis=1)
        only_x = np.repeat(np.float32([1, 0, 0, 0]), self.bins).reshape(1, -1, 1)
        h = g("Concat", given, g("Mul", given, g.const(only_x)), axis=0)
        h = g("Transpose", h, perm=[0, 2, 1])
        return g("Cast", h, to=F16) if self.half else h

    def _times(self) -> list[str]:
        """Per residual block [width]: its own projection of the step's time embedding."""
        g = self.g
        projections = [self.w.sub(f"{stage}.0.mlp.1") for stage in self.stages]
        table = time_table(self.w.sub("time_mlp"), projections, int(self.config["in_channels"]), self.solver)
        row = g("Gather", g.raw(table.astype(np.float16 if self.half else np.float32), "times"), self.step, axis=0)
        widths = [p["bias"].size for p in projections]
        return g("Split", row, g.ints(*widths), out=len(widths), axis=0)

    def _causal_conv(self, x: str, name: str, rough: bool = False) -> str:
        """A torch Conv1d that sees two past frames."""
        seen = self.tails.windows(name, x, self.places)
        w = self.w.sub(name)
        return linear(self.g, seen, conv_matrix(w["weight"]), w["bias"], f"{w.prefix}conv", rough)

    def _causal_block(self, x: str, name: str, rough: bool = False) -> str:
        """Causal convolution, LayerNorm, Mish."""
        h = self._causal_conv(x, f"{name}.block.0", rough)
        return mish(self.g, layer_norm(self.g, h, self.w.sub(f"{name}.block.2"), EPS))

    def _stage(self, x: str, index: int) -> str:
        """One residual block and its transformer blocks."""
        g, name = self.g, self.stages[index]
        w, middle = self.w.sub(f"{name}.0"), name.startswith("mid_blocks")
        h = g("Add", self._causal_block(x, f"{name}.0.block1", middle), self.times[index])
        h = self._causal_block(h, f"{name}.0.block2", middle)
        shortcut = matmul(g, x, conv_matrix(w["res_conv.weight"]), f"{w.prefix}res_conv", middle)
        blocks = [f"{name}.1.{i}" for i in range(self.w.count(f"{name}.1"))]
        if not blocks:
            return g("Add", g("Add", h, shortcut), g.weight(w["res_conv.bias"], f"{w.prefix}res_conv.bias"))
        normed, total = add_norm(g, shortcut, h, w["res_conv.bias"], self.w.sub(f"{blocks[0]}.norm1"), EPS)
        for i, block in enumerate(blocks):
            following = self.w.sub(f"{blocks[i + 1]}.norm1") if i + 1 < len(blocks) else None
            normed, total = self._transformer(normed, total, block, following)
        return total

    def _transformer(self, normed: str, total: str, name: str, following: Weights | None) -> tuple[str, str]:
        """Self-attention and feed-forward; takes and gives (what the next norm would say, residual stream)."""
        g, w = self.g, self.w.sub(name)
        attention = self._attention(normed, name)
        attention = matmul(g, attention, w["attn1.to_out.0.weight"], f"{w.prefix}to_out", rough=True)
        normed, total = add_norm(g, attention, total, w["attn1.to_out.0.bias"], w.sub("norm3"), EPS)
        inner = matmul(g, normed, w["ff.net.0.proj.weight"], f"{w.prefix}ff.0", rough=True)
        inner = g("BiasGelu", inner, g.weight(w["ff.net.0.proj.bias"], f"{w.prefix}ff.0.bias"), domain=MS)
        update = matmul(g, inner, w["ff.net.2.weight"], f"{w.prefix}ff.2", rough=True)
        if following is not None:
            return add_norm(g, update, total, w["ff.net.2.bias"], following, EPS)
        update = g("Add", update, g.weight(w["ff.net.2.bias"], f"{w.prefix}ff.2.bias"))
        return "", g("Add", update, total)

    def _attention(self, x: str, name: str) -> str:
        """[2 B, N, width] -> [2 B, N, heads * head_dim]

        Keys and values come from one product and share an arena: fewer kernels. In an int8 graph, which is for CPUs,
        they do not: splitting them would copy the whole history.
        """
        g, w = self.g, self.w.sub(f"{name}.attn1")
        q = matmul(g, x, w["to_q.weight"], f"{w.prefix}q", rough=True)
        inner = w["to_k.weight"].shape[0]
        if g.numbers.int8:
            k, v = (
                self.span.extend(f"{name}.{n}", matmul(g, x, w[f"to_{n}.weight"], f"{w.prefix}{n}", rough=True), inner)
                for n in "kv"
            )
        else:
            both = np.concatenate([w["to_k.weight"], w["to_v.weight"]])
            k, v = self.span.extend_pair(f"{name}.kv", matmul(g, x, both, f"{w.prefix}kv"), inner)
        return g("MultiHeadAttention", q, k, v, "", "", self.span.mask, domain=MS, num_heads=self.heads)


def time_table(mlp: Weights, projections: list[Weights], channels: int, solver: Solver) -> np.ndarray:
    """[steps, sum of widths]: every residual block's projection of every step's time embedding, in double.

    The phase is rounded to f32 as the reference rounds it: it reaches a thousand radians.
    """
    half = channels // 2
    frequencies = np.exp(np.arange(half, dtype=np.float32) * np.float32(-math.log(MAX_PERIOD) / (half - 1)))
    phase = (np.float32(TIME_SCALE) * solver.times()[0][:, None] * frequencies[None]).astype(np.float64)
    h = np.concatenate([np.sin(phase), np.cos(phase)], axis=1)
    h = h @ mlp["linear_1.weight"].T.astype(np.float64) + mlp["linear_1.bias"]
    h = h / (1 + np.exp(-h))
    h = h @ mlp["linear_2.weight"].T.astype(np.float64) + mlp["linear_2.bias"]
    h = h * np.tanh(np.logaddexp(h, 0))
    return np.concatenate([h @ p["weight"].T.astype(np.float64) + p["bias"] for p in projections], axis=1)


def build(flow: Tagged, state: dict[str, np.ndarray], numbers: Numbers) -> tuple[Graph, list[dict[str, Any]]]:
    """The graph `flow_estimator` from the yaml's `flow` and the state of flow.pt, and its caches' manifest entries."""
    weights = Weights(state, "flow.pt", "decoder.estimator.")
    config, bins = flow["decoder"]["estimator"], int(flow["output_size"])
    estimator = _Estimator(config, weights, bins, Solver.of(flow), numbers)
    return estimator.build(), estimator.arenas.manifest
