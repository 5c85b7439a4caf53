"""Scores of relative positions, and the transformer layers around them, for the encoders and the language model.

Source: Transformer-XL (https://arxiv.org/abs/1901.02860, section 3.3 and appendix B) as ESPnet and CosyVoice
`transformer/attention.py` (RelPositionMultiHeadedAttention) compute it: the score of query i and key j gets
(q_i + v) W pe(i - j), pe(d) = sin and cos of d times `rates`.

No table of distances and no shifting of scores: with a = W_sin (q + v) and b = W_cos (q + v) per frequency,

    a sin((i - j) r) + b cos((i - j) r) = (b sin ir - a cos ir) sin jr + (a sin ir + b cos ir) cos jr,

a rotation of (-a, -b) by the query's own position (one RotaryEmbedding node) times a basis of the keys' positions that
all layers, heads and rows share. Projecting a query costs as many weights as projecting positions would (width x width
a layer); a query and a key cost `width` products a head in place of width / heads.
"""

from __future__ import annotations

import math

import numpy as np

from ..graph import F16, F32, MS, Graph
from ..layers import Weights, layer_norm, length_of, linear, matmul

EMBED_EPS = 1e-5
LAYER_EPS = 1e-12


def rates(width: int) -> np.ndarray:
    """f32 [width / 2] radians a position, rounded as the reference rounds them."""
    return np.exp(np.arange(0, width, 2, dtype=np.float32) * np.float32(-(math.log(10000.0) / width)))


def tables(width: int, positions: int) -> tuple[np.ndarray, np.ndarray]:
    """cos and sin of position times rate, f32 [positions, width / 2].

    The angles are exact: rounded as the reference rounds its distances, two far positions would not give the angle of
    the short distance between them.
    """
    angle = np.arange(positions, dtype=np.float64)[:, None] * rates(width)[None]
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


class Relative:
    """Position scores of one graph. Inside, `cos` and `sin` are [positions, width / 2]."""

    def __init__(self, g: Graph, width: int, heads: int, cos: str, sin: str, positions: str, keys: tuple[str, str]):
        """`positions`: of the queries, i64 [B, S] or [1] (the first one); `keys`: cos and sin of the keys' positions,
        [K, width / 2]."""
        self.g, self.width, self.heads = g, width, heads
        self._query = positions, cos, sin
        cos, sin = keys
        self._basis = g("Transpose", g("Concat", sin, g("Neg", cos), axis=1), perm=[1, 0])

    @classmethod
    def whole(cls, g: Graph, width: int, heads: int, length: str) -> Relative:
        """For sequences whose `length` positions (an i64 scalar) are queries and keys alike."""
        position = g("Range", g.const(0, np.int64), length, g.const(1, np.int64))
        angle = g("Mul", g("Unsqueeze", g("Cast", position, to=F32), g.ints(1)), g.const(rates(width)[None]))
        cos, sin = g("Cos", angle), g("Sin", angle)
        return cls(g, width, heads, cos, sin, g.ints(0), (cos, sin))

    def scores(self, q: str, w: Weights) -> str:
        """[B, heads, S, K] of q + v [B, S, width], divided by the square root of a head's width."""
        g, each = self.g, self.width // self.heads
        q = g("Transpose", g("Reshape", q, g.ints(0, -1, self.heads, each)), perm=[0, 2, 1, 3])
        weight = w["linear_pos.weight"] * np.float32(-1 / math.sqrt(each))
        weight = np.concatenate([weight[:, 0::2], weight[:, 1::2]], axis=1)  # sines, then cosines
        # Reshaped in the graph, so that small integers keep a scale per row.
        weight = g("Reshape", g.weight(weight, f"{w.prefix}linear_pos"), g.ints(self.heads, each, self.width))
        amplitude = g("MatMul", q, weight)
        turned = g("RotaryEmbedding", amplitude, *self._query, domain=MS, interleaved=0)
        return g("MatMul", turned, self._basis)


def embed(g: Graph, x: str, weight: np.ndarray, bias: np.ndarray, norm: Weights, name: str) -> str:
    """The input layer of every stack: linear, norm, and the scale that the position layer gives its input."""
    h = linear(g, x, weight, bias, name)
    return layer_norm(g, h, norm, EMBED_EPS, math.sqrt(bias.size))


def queries(g: Graph, x: str, w: Weights) -> tuple[str, str]:
    """(q + u, q + v) for content and position, [B, S, width]."""
    q = matmul(g, x, w["linear_q.weight"], f"{w.prefix}q")
    u, v = (w["linear_q.bias"] + w[f"pos_bias_{n}"].reshape(-1) for n in "uv")
    return g("Add", q, g.weight(u, f"{w.prefix}u")), g("Add", q, g.weight(v, f"{w.prefix}v_bias"))


class Conformer:
    """CosyVoice's ConformerEncoder without convolution or macaron layers: pre-norm attention and feed-forward."""

    def __init__(self, g: Graph, w: Weights, heads: int):
        self.g, self.w, self.heads = g, w, heads
        self.width = w.raw("embed.out.0.weight").shape[0]

    def __call__(self, x: str, mask: str) -> str:
        """[B, T, width] of x [B, T, input]; `mask` is additive, [B or 1, 1, T or 1, T]."""
        g, w = self.g, self.w
        relative = Relative.whole(g, self.width, self.heads, length_of(g, x))
        out = w.sub("embed.out")
        x = embed(g, x, out["0.weight"], out["0.bias"], out.sub("1"), out.prefix)
        for i in range(w.count("encoders")):
            x = self._layer(x, w.sub(f"encoders.{i}"), relative, mask)
        return layer_norm(g, x, w.sub("after_norm"), EMBED_EPS)

    def _layer(self, x: str, w: Weights, relative: Relative, mask: str) -> str:
        g = self.g
        h = layer_norm(g, x, w.sub("norm_mha"), LAYER_EPS)
        x = g("Add", x, self._attention(h, w.sub("self_attn"), relative, mask))
        h = layer_norm(g, x, w.sub("norm_ff"), LAYER_EPS)
        f = w.sub("feed_forward")
        h = linear(g, h, f["w_1.weight"], f["w_1.bias"], f"{f.prefix}w_1")
        h = g("QuickGelu", h, domain=MS, alpha=1.0)
        return g("Add", x, linear(g, h, f["w_2.weight"], f["w_2.bias"], f"{f.prefix}w_2"))

    def _attention(self, h: str, w: Weights, relative: Relative, mask: str) -> str:
        """The position scores enter the fused attention node as its additive bias."""
        g, p = self.g, w.prefix
        content, position = queries(g, h, w)
        key_bias = w["linear_k.bias"] if "linear_k.bias" in w else None
        k = linear(g, h, w["linear_k.weight"], key_bias, f"{p}k")
        v = linear(g, h, w["linear_v.weight"], w["linear_v.bias"], f"{p}v")
        bias = g("Add", relative.scores(position, w), mask)
        attended = g("MultiHeadAttention", content, k, v, "", "", bias, domain=MS, num_heads=self.heads)
        return linear(g, attended, w["linear_out.weight"], w["linear_out.bias"], f"{p}out")


def normalised(g: Graph, embedding: str) -> str:
    """The raw speaker embedding [B, spk_dim] with length 1."""
    return g("Div", embedding, g("Max", g("ReduceL2", embedding, axes=[1], keepdims=1), g.const(1e-12)))


def blocked(g: Graph) -> str:
    """What hides a key, in the compute type."""
    return g.number(-6e4 if g.numbers.compute == F16 else -1e10)
