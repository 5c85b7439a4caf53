"""The flow's velocity estimator of generation 2: a causal U-Net of residual convolutions and transformer blocks.

Source: CosyVoice `flow/decoder.py` (CausalConditionalDecoder) and Matcha-TTS `models/components` (residual block,
BasicTransformerBlock, time embedding). Frames are 20 ms mel frames; channels come from the yaml and the weights.

In an int8 graph the transformers' linear layers and the middle blocks' convolutions are quantised (most of the
arithmetic); the first and last stages are not: they alone made three quarters of the mel's error.
"""

from __future__ import annotations

import math

import numpy as np

from .errors import ExportError
from .graph import F16, F32, I64, MS, Graph, Numbers
from .hyper_yaml import Tagged
from .layers import (
    Weights,
    add_norm,
    causal_conv,
    chunk_bias,
    conv_matrix,
    layer_norm,
    length_of,
    linear,
    matmul,
    mish,
    silu,
)

EPS = 1e-5
TIME_SCALE = 1000.0  # Matcha-TTS multiplies t in [0, 1] by this before the sinusoids
MAX_PERIOD = 10000.0


class _Estimator:
    """Builds one graph; holds what every block needs."""

    def __init__(self, config: Tagged, weights: Weights, bins: int, numbers: Numbers):
        channels = list(config["channels"])
        if len(channels) != 1:
            raise ExportError(f"estimator channels {channels}: only one resolution is supported")
        if config.get("act_fn", "gelu") != "gelu":
            raise ExportError(f"estimator act_fn {config['act_fn']!r} is not supported, only gelu")
        self.g = Graph("flow_estimator", numbers)
        self.config, self.w, self.bins = config, weights, bins
        self.width = int(channels[0])
        self.heads = int(config["num_heads"])
        self.half = numbers.compute == F16
        self.bias = ""
        self.times: list[str] = []

    def build(self) -> Graph:
        g, bins = self.g, self.bins
        frames = ["B", bins, "F"]
        x, mu = g.input("x", F32, frames), g.input("mu", F32, frames)
        t, spks = g.input("t", F32, ["B"]), g.input("spks", F32, ["B", bins])
        cond, chunk = g.input("cond", F32, frames), g.input("chunk", I64, [])
        h = self._gather_inputs(x, mu, spks, cond)
        blocked = -6e4 if self.half else -1e10
        self.bias = chunk_bias(g, length_of(g, h), chunk, blocked)
        self.times = self._time(t)
        h = self._body(h)
        h = self._causal_block(h, self.w.sub("final_block"))
        final = self.w.sub("final_proj")
        h = linear(g, h, final["weight"][:, :, 0], final["bias"], "final_proj")
        h = g("Transpose", h, perm=[0, 2, 1])
        if self.half:
            h = g("Cast", h, to=F32)
        g.output("velocity", F32, frames, h)
        return g

    def _body(self, h: str) -> str:
        h = self._stage(h, "down_blocks.0", 0)
        skip = h
        h = causal_conv(self.g, h, self.w.sub("down_blocks.0.2"))
        middle = self.w.count("mid_blocks")
        for i in range(middle):
            h = self._stage(h, f"mid_blocks.{i}", 1 + i)
        h = self.g("Concat", h, skip, axis=2)
        h = self._stage(h, "up_blocks.0", 1 + middle)
        return causal_conv(self.g, h, self.w.sub("up_blocks.0.2"))

    def _gather_inputs(self, x: str, mu: str, spks: str, cond: str) -> str:
        """[B, F, 4 * bins]: the network sees x, mu, speaker and prompt mel side by side."""
        g = self.g
        spread = g("Expand", g("Unsqueeze", spks, g.ints(2)), g("Shape", x))
        h = g("Transpose", g("Concat", x, mu, spread, cond, axis=1), perm=[0, 2, 1])
        return g("Cast", h, to=F16) if self.half else h

    def _time(self, t: str) -> list[str]:
        """Per residual block [B, 1, width]: its own projection of the time embedding, all in one product, in f32."""
        g = self.g
        half = int(self.config["in_channels"]) // 2
        frequencies = np.exp(np.arange(half, dtype=np.float32) * np.float32(-math.log(MAX_PERIOD) / (half - 1)))
        phase = g("Mul", g("Unsqueeze", g("Mul", t, g.const(TIME_SCALE)), g.ints(1)), g.const(frequencies[None]))
        h = g("Concat", g("Sin", phase), g("Cos", phase), axis=1)
        mlp = self.w.sub("time_mlp")
        h = silu(g, self._time_linear(h, mlp["linear_1.weight"], mlp["linear_1.bias"], "time_mlp.linear_1"))
        h = self._time_linear(h, mlp["linear_2.weight"], mlp["linear_2.bias"], "time_mlp.linear_2")
        # Mish in f32 whatever the graph computes in: this is B rows only.
        h = g("Mul", h, g("Tanh", g("Softplus", h)))
        names = ["down_blocks.0.0", *(f"mid_blocks.{i}.0" for i in range(self.w.count("mid_blocks"))), "up_blocks.0.0"]
        weight = np.concatenate([self.w[f"{n}.mlp.1.weight"] for n in names])
        bias = np.concatenate([self.w[f"{n}.mlp.1.bias"] for n in names])
        h = g("Unsqueeze", self._time_linear(h, weight, bias, "time_projections"), g.ints(1))
        if self.half:
            h = g("Cast", h, to=F16)
        return g("Split", h, g.ints(*[self.width] * len(names)), out=len(names), axis=2)

    def _time_linear(self, x: str, weight: np.ndarray, bias: np.ndarray, name: str) -> str:
        g = self.g
        return g("Gemm", x, g.weight(weight.T, f"{name}.weight", F32), g.weight(bias, f"{name}.bias", F32))

    def _causal_block(self, x: str, w: Weights, rough: bool = False) -> str:
        """Causal convolution, LayerNorm, Mish."""
        h = causal_conv(self.g, x, w.sub("block.0"), rough)
        return mish(self.g, layer_norm(self.g, h, w.sub("block.2"), EPS))

    def _stage(self, x: str, name: str, index: int) -> str:
        """One residual block and its transformer blocks."""
        g, w = self.g, self.w.sub(f"{name}.0")
        middle = name.startswith("mid_blocks")
        h = g("Add", self._causal_block(x, w.sub("block1"), middle), self.times[index])
        h = self._causal_block(h, w.sub("block2"), middle)
        shortcut = matmul(g, x, conv_matrix(w["res_conv.weight"]), f"{w.prefix}res_conv", middle)
        blocks = [self.w.sub(f"{name}.1.{i}") for i in range(self.w.count(f"{name}.1"))]
        if not blocks:
            return g("Add", g("Add", h, shortcut), g.weight(w["res_conv.bias"], f"{w.prefix}res_conv.bias"))
        normed, total = add_norm(g, shortcut, h, w["res_conv.bias"], blocks[0].sub("norm1"), EPS)
        for i, block in enumerate(blocks):
            following = blocks[i + 1].sub("norm1") if i + 1 < len(blocks) else None
            normed, total = self._transformer(normed, total, block, following)
        return total

    def _transformer(self, normed: str, total: str, w: Weights, following: Weights | None) -> tuple[str, str]:
        """Self-attention and feed-forward; takes and gives (what the next norm would say, residual stream)."""
        g = self.g
        attention = self._attention(normed, w.sub("attn1"))
        attention = matmul(g, attention, w["attn1.to_out.0.weight"], f"{w.prefix}to_out", rough=True)
        normed, total = add_norm(g, attention, total, w["attn1.to_out.0.bias"], w.sub("norm3"), EPS)
        inner = matmul(g, normed, w["ff.net.0.proj.weight"], f"{w.prefix}ff.0", rough=True)
        inner = g("BiasGelu", inner, g.weight(w["ff.net.0.proj.bias"], f"{w.prefix}ff.0.bias"), domain=MS)
        update = matmul(g, inner, w["ff.net.2.weight"], f"{w.prefix}ff.2", rough=True)
        if following is not None:
            return add_norm(g, update, total, w["ff.net.2.bias"], following, EPS)
        update = g("Add", update, g.weight(w["ff.net.2.bias"], f"{w.prefix}ff.2.bias"))
        return "", g("Add", update, total)

    def _attention(self, x: str, w: Weights) -> str:
        """[B, F, width] -> [B, F, heads * head_dim]; in one node, projections included, unless those are 8-bit."""
        g = self.g
        if g.numbers.int8:
            q, k, v = (matmul(g, x, w[f"to_{n}.weight"], f"{w.prefix}{n}", rough=True) for n in "qkv")
            return g("MultiHeadAttention", q, k, v, "", "", self.bias, domain=MS, num_heads=self.heads)
        weight = np.concatenate([w["to_q.weight"], w["to_k.weight"], w["to_v.weight"]])
        inner = weight.shape[0] // 3
        return g(
            "Attention",
            x,
            g.weight(np.ascontiguousarray(weight.T), f"{w.prefix}qkv"),
            g.weight(np.zeros(3 * inner, np.float32), f"{w.prefix}qkv_bias"),
            "",
            "",
            self.bias,
            domain=MS,
            num_heads=self.heads,
            qkv_hidden_sizes=[inner] * 3,
        )


def build(flow: Tagged, state: dict[str, np.ndarray], numbers: Numbers) -> Graph:
    """The graph `flow_estimator` from the yaml's `flow` and the state of flow.pt."""
    weights = Weights(state, "flow.pt", "decoder.estimator.")
    return _Estimator(flow["decoder"]["estimator"], weights, int(flow["output_size"]), numbers).build()
