"""The flow's velocity estimator of generation 1: a U-Net of residual convolutions and transformer blocks.

Source: CosyVoice `flow/decoder.py` (ConditionalDecoder) and Matcha-TTS `models/components/decoder.py` (residual block
with group norm, down- and upsampling by two). Not causal: every frame sees all others of its row. One run is one Euler
step of B utterances with guidance, as in generation 2; there is no state between runs.

In an int8 graph the transformers' linear layers and the middle blocks' convolutions are quantised.
"""

from __future__ import annotations

import numpy as np

from ..errors import ExportError
from ..euler import EulerStep
from ..graph import MS, Graph, Numbers
from ..hyper_yaml import Tagged
from ..layers import Weights, add_norm, conv_matrix, length_of, linear, matmul, mish
from ..solver import Solver
from .masked import Frames, conv, down, group_norm, halved, up
from .relative import blocked

EPS = 1e-5
GROUPS = 8  # Matcha-TTS's default


class _Estimator(EulerStep):
    """Builds one graph; holds what every block needs."""

    def __init__(self, config: Tagged, weights: Weights, bins: int, solver: Solver, numbers: Numbers):
        if config.get("act_fn", "gelu") != "gelu":
            raise ExportError(f"estimator act_fn {config['act_fn']!r} is not supported, only gelu")
        super().__init__(weights, bins, solver, numbers)
        self.config = config
        self.heads = int(config["num_heads"])
        self.levels = len(config["channels"])
        middle = [f"mid_blocks.{i}" for i in range(weights.count("mid_blocks"))]
        downs, ups = ([f"{kind}_blocks.{i}" for i in range(self.levels)] for kind in ("down", "up"))
        self.stages = [*downs, *middle, *ups]

    def build(self) -> Graph:
        g = self.g
        x, mu, spks, cond = self.inputs()
        times = self.block_times(self.stages, int(self.config["in_channels"]))
        self.times = dict(zip(self.stages, times, strict=True))
        rates = [Frames.of(g, length_of(g, x, 2), g("Concat", self.valid, self.valid, axis=0))]
        while len(rates) < self.levels:
            rates.append(halved(g, rates[-1]))
        hidden = [self._hidden(r) for r in rates]
        h = self._body(self.side_by_side(x, mu, spks, cond), rates, hidden)
        h = self._block(h, rates[0], "final_block", rough=False)
        final = self.w.sub("final_proj")
        h = linear(g, h, final["weight"][:, :, 0], final["bias"], "final_proj")
        return self.outputs(x, h)

    def _body(self, h: str, rates: list[Frames], hidden: list[str]) -> str:
        """Down, along the bottom and up again, every level's result kept for the way up."""
        g, w, last = self.g, self.w, self.levels - 1
        kept = []
        for i, frames in enumerate(rates):
            h = self._stage(h, f"down_blocks.{i}", frames, hidden[i])
            kept.append(h)
            if i < last:
                h = down(g, h, frames, rates[i + 1], w.sub(f"down_blocks.{i}.2.conv"))
            else:
                h = conv(g, h, frames, w.sub(f"down_blocks.{i}.2"))
        for name in self.stages[self.levels : -self.levels]:
            h = self._stage(h, name, rates[-1], hidden[-1])
        for i in range(self.levels):
            level = last - i
            h = g("Concat", h, kept[level], axis=2)
            h = self._stage(h, f"up_blocks.{i}", rates[level], hidden[level])
            if level > 0:
                h = up(g, h, rates[level], rates[level - 1], w.sub(f"up_blocks.{i}.2.conv"))
            else:
                h = conv(g, h, rates[0], w.sub(f"up_blocks.{i}.2"))
        return h

    def _hidden(self, frames: Frames) -> str:
        """[2 B, 1, T, T] additive: the attention node wants a row per query."""
        g = self.g
        length = g("Unsqueeze", frames.length, g.ints(0))
        return g("Expand", frames.key_mask(g, blocked(g)), g("Concat", g.ints(1, 1), length, g.ints(1), axis=0))

    def _block(self, x: str, frames: Frames, name: str, rough: bool) -> str:
        """Convolution, group norm, Mish."""
        h = conv(self.g, x, frames, self.w.sub(f"{name}.block.0"), rough)
        return mish(self.g, group_norm(self.g, h, frames, self.w.sub(f"{name}.block.1"), GROUPS))

    def _stage(self, x: str, name: str, frames: Frames, hidden: str) -> str:
        """One residual block and its transformer blocks."""
        g, w, middle = self.g, self.w.sub(f"{name}.0"), name.startswith("mid_blocks")
        h = g("Add", self._block(x, frames, f"{name}.0.block1", middle), self.times[name])
        h = self._block(h, frames, f"{name}.0.block2", middle)
        shortcut = matmul(g, x, conv_matrix(w["res_conv.weight"]), f"{w.prefix}res_conv", middle)
        blocks = [f"{name}.1.{i}" for i in range(self.w.count(f"{name}.1"))]
        if not blocks:
            return g("Add", g("Add", h, shortcut), g.weight(w["res_conv.bias"], f"{w.prefix}res_conv.bias"))
        normed, total = add_norm(g, shortcut, h, w["res_conv.bias"], self.w.sub(f"{blocks[0]}.norm1"), EPS)
        for i, block in enumerate(blocks):
            following = self.w.sub(f"{blocks[i + 1]}.norm1") if i + 1 < len(blocks) else None
            normed, total = self._transformer(normed, total, self.w.sub(block), following, hidden)
        return total

    def _transformer(
        self, normed: str, total: str, w: Weights, following: Weights | None, hidden: str
    ) -> tuple[str, str]:
        """Self-attention and feed-forward; takes and gives (what the next norm would say, residual stream)."""
        g, a = self.g, w.sub("attn1")
        q, k, v = (matmul(g, normed, a[f"to_{n}.weight"], f"{a.prefix}{n}", rough=True) for n in "qkv")
        attended = g("MultiHeadAttention", q, k, v, "", "", hidden, domain=MS, num_heads=self.heads)
        attended = matmul(g, attended, a["to_out.0.weight"], f"{a.prefix}out", rough=True)
        normed, total = add_norm(g, attended, total, a["to_out.0.bias"], w.sub("norm3"), EPS)
        inner = matmul(g, normed, w["ff.net.0.proj.weight"], f"{w.prefix}ff.0", rough=True)
        inner = g("BiasGelu", inner, g.weight(w["ff.net.0.proj.bias"], f"{w.prefix}ff.0.bias"), domain=MS)
        update = matmul(g, inner, w["ff.net.2.weight"], f"{w.prefix}ff.2", rough=True)
        if following is not None:
            return add_norm(g, update, total, w["ff.net.2.bias"], following, EPS)
        update = g("Add", update, g.weight(w["ff.net.2.bias"], f"{w.prefix}ff.2.bias"))
        return "", g("Add", update, total)


def build(flow: Tagged, state: dict[str, np.ndarray], solver: Solver, numbers: Numbers) -> Graph:
    """The graph `flow_estimator` from the yaml's `flow` and the state of flow.pt."""
    weights = Weights(state, "flow.pt", "decoder.estimator.")
    config, bins = flow["decoder"]["estimator"], int(flow["output_size"])
    return _Estimator(config, weights, bins, solver, numbers).build()
