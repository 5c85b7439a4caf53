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

from typing import Any

import numpy as np

from ..errors import ExportError
from ..euler import PagedEulerStep
from ..graph import MS, Graph, Numbers
from ..hyper_yaml import Tagged
from ..layers import Weights, add_norm, conv_matrix, layer_norm, linear, matmul, mish, window_places
from ..paging import Tails
from ..solver import Solver

EPS = 1e-5
TAPS = 3  # of every causal convolution


class _Estimator(PagedEulerStep):
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
        self.times = self.block_times(self.stages, int(self.config["in_channels"]))
        h = self._body(self.side_by_side(x, mu, spks, cond))
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


def build(
    flow: Tagged, state: dict[str, np.ndarray], solver: Solver, numbers: Numbers
) -> tuple[Graph, list[dict[str, Any]]]:
    """The graph `flow_estimator` from the yaml's `flow` and the state of flow.pt, and its caches' manifest entries."""
    weights = Weights(state, "flow.pt", "decoder.estimator.")
    config, bins = flow["decoder"]["estimator"], int(flow["output_size"])
    estimator = _Estimator(config, weights, bins, solver, numbers)
    return estimator.build(), estimator.arenas.manifest
