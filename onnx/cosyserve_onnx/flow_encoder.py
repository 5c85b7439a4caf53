"""The flow's encoder of generation 2: speech tokens to the flow's mean (mu) and the projected speaker.

Source: CosyVoice `flow/flow.py` (CausalMaskedDiffWithXvec) and `transformer/upsample_encoder.py`; attention with
relative positions as in ESPnet (Transformer-XL, https://arxiv.org/abs/1901.02860, section 3.3 and appendix B).
Always f32: it runs once per chunk, against 10 x 2 rows of the estimator. Inputs, outputs and caches: BUNDLE.md.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .errors import ExportError
from .graph import F32, I64, MS, Graph, Numbers
from .hyper_yaml import Tagged
from .layers import (
    Weights,
    conv_matrix,
    layer_norm,
    length_of,
    linear,
    matmul,
    silu,
    window_places,
    windows,
)
from .paging import Arenas, Seen, Span, Tails, column, paging_inputs

EMBED_EPS = 1e-5
LAYER_EPS = 1e-12
LEAKY_SLOPE = 0.01  # torch's default
BLOCKED = -1e10
TAPS = 3  # of the causal convolutions, the upsampling one seen at token rate


class _Encoder:
    """Builds one graph; holds what every layer needs."""

    def __init__(self, flow: Tagged, weights: Weights, numbers: Numbers):
        config = flow["encoder"]
        if config.class_name != "UpsampleConformerEncoder":
            raise ExportError(f"flow encoder {config.class_name} is not supported")
        for field, wanted in (("normalize_before", True), ("use_cnn_module", False), ("macaron_style", False)):
            if config.get(field, wanted) != wanted:
                raise ExportError(f"flow encoder with {field}: {config.get(field)} is not supported")
        if config.get("pos_enc_layer_type") != "rel_pos_espnet" or config.get("input_layer") != "linear":
            raise ExportError("flow encoder: only input_layer linear and pos_enc_layer_type rel_pos_espnet")
        self.g = Graph("flow_encoder", numbers)
        self.arenas = Arenas(self.g)
        self.flow, self.w = flow, weights
        self.e = weights.sub("encoder")
        self.width = int(config["output_size"])
        self.heads = int(config["attention_heads"])
        self.ratio = self.e["up_layer.conv.weight"].shape[2] // 2  # mel frames per token
        self.scale = math.sqrt(self.width)  # the position layer multiplies its input by this

    def build(self) -> Graph:
        g = self.g
        token = g.input("token", I64, ["B", "T"])
        ahead = g.input("ahead", I64, ["B", "C"])
        valid = g.input("valid", I64, ["B"])
        embedding = g.input("embedding", F32, ["B", int(self.flow["spk_embed_dim"])])
        state = paging_inputs(g, "T")
        past, length = length_of(g, state["history"]), length_of(g, token)
        self.tails = Tails(
            self.arenas,
            {"look_ahead": self.width, "up_layer": self.width},
            (state["tail_from"], column(g, state["tail_to"])),
        )
        self.places = window_places(g, length, TAPS)
        h = look_ahead(g, self.e.sub("pre_lookahead_layer"), self.tails, self.places, self._embed(token, ahead), length)
        seen = Seen(valid, state["chunk"], state["left"], state["skip"])
        mask = seen.mask(g, past, length, BLOCKED)
        span = Span(self.arenas, "token", state["history"], column(g, state["write"]), mask)
        h = self._layers(h, "encoders", span, past, length)
        h = self._upsample(h)
        h = self._layers(h, "up_encoders", *self._frames(state, seen, past, length))
        self.tails.close()
        h = layer_norm(g, h, self.e.sub("after_norm"), EMBED_EPS)
        h = linear(g, h, self.w["encoder_proj.weight"], self.w["encoder_proj.bias"], "encoder_proj")
        bins = int(self.flow["output_size"])
        g.output("mu", F32, ["B", bins, "F"], g("Transpose", h, perm=[0, 2, 1]))
        g.output("spks", F32, ["B", bins], speaker(g, self.w.sub("spk_embed_affine_layer"), embedding))
        self.arenas.close()
        return g

    def _frames(self, state: dict[str, str], seen: Seen, past: str, length: str) -> tuple[Span, str, str]:
        """(span, K, N) of the mel-rate layers, where everything is `ratio` times the token rate's."""
        g = self.g
        ratio = g.const(self.ratio, np.int64)

        def rows(tokens: str) -> str:
            each = g("Add", g("Mul", column(g, tokens), ratio), g.const(np.arange(self.ratio), np.int64))
            return g("Reshape", each, g.ints(0, -1))

        seen = Seen(g("Mul", seen.valid, ratio), g("Mul", seen.chunk, ratio), seen.left, g("Mul", seen.skip, ratio))
        past, length = g("Mul", past, ratio), g("Mul", length, ratio)
        mask = seen.mask(g, past, length, BLOCKED)
        span = Span(self.arenas, "frame", rows(state["history"]), column(g, rows(state["write"])), mask)
        return span, past, length

    def _embed(self, token: str, ahead: str) -> str:
        """[B, T + C, width]. The linear layer and norm behind the embedding see one token only: folded into the table.

        Rows are computed in double, so folding adds no error of its own. An id below 0 takes the zero row at the end.
        """
        g = self.g
        table = self.w["input_embedding.weight"].astype(np.float64)
        out = self.e.sub("embed.out")
        table = table @ out["0.weight"].astype(np.float64).T + out["0.bias"]
        table -= table.mean(axis=1, keepdims=True)
        table /= np.sqrt((table**2).mean(axis=1, keepdims=True) + EMBED_EPS)
        table = (table * out["1.weight"] + out["1.bias"]) * self.scale
        table = np.concatenate([table, np.zeros_like(table[:1])]).astype(np.float32)
        ids = g("Max", g("Concat", token, ahead, axis=1), g.const(-1, np.int64))
        return g("Gather", g.weight(table, "token_table"), ids, axis=0)

    def _upsample(self, x: str) -> str:
        """[B, T, C] -> [B, s T, C]: frames repeated s times, a causal convolution of 2 s + 1 taps, linear, norm.

        Repeated frames make taps coincide: output phase p of frame t uses frame t - 2 + floor((p + k) / s) for tap k,
        so the whole is one causal convolution of 3 taps with s times the outputs.
        """
        g, w = self.g, self.e.sub("up_layer.conv")
        weight = w["weight"]
        out, inside, taps = weight.shape
        stride = self.ratio
        merged = np.zeros((stride, out, TAPS, inside), np.float32)
        for phase in range(stride):
            for tap in range(taps):
                merged[phase, :, (phase + tap) // stride] += weight[:, :, tap]
        seen = self.tails.windows("up_layer", x, self.places)
        h = matmul(g, seen, merged.reshape(stride * out, TAPS * inside), "up_layer.conv")
        h = g("Add", h, g.weight(np.tile(w["bias"], stride), "up_layer.bias"))
        h = g("Reshape", h, g.ints(0, -1, out))
        embed = self.e.sub("up_embed.out")
        h = linear(g, h, embed["0.weight"], embed["0.bias"], "up_embed")
        return layer_norm(g, h, embed.sub("1"), EMBED_EPS, self.scale)

    def _layers(self, x: str, name: str, span: Span, past: str, length: str) -> str:
        shift = self._shift(past, length)
        positions = self._positions(past, length)
        for i in range(self.e.count(name)):
            x = self._layer(x, f"{name}.{i}", span, positions, shift)
        return x

    def _positions(self, past: str, length: str) -> str:
        """[1, K + 2 N - 1, width]: sin and cos (not interleaved) of the distances K + N - 1 .. -(N - 1)."""
        g = self.g
        rates = np.arange(0, self.width, 2, dtype=np.float32) * np.float32(-(math.log(10000.0) / self.width))
        total = g("Add", past, length)
        farthest = g("Sub", total, g.const(1, np.int64))
        distance = g("Range", farthest, g("Neg", length), g.const(-1, np.int64))
        distance = g("Unsqueeze", g("Cast", distance, to=F32), g.ints(0, 2))
        angle = g("Mul", distance, g.const(np.exp(rates)[None, None]))
        return g("Concat", g("Sin", angle), g("Cos", angle), axis=2)

    def _shift(self, past: str, length: str) -> tuple[str, str, str]:
        """What the relative shift needs: shapes [0, 0, -1, N] and [0, 0, N, -1], and [K + N]."""
        g = self.g
        new = g("Unsqueeze", length, g.ints(0))
        tall = g("Concat", g.ints(0, 0, -1), new, axis=0)
        wide = g("Concat", g.ints(0, 0), new, g.ints(-1), axis=0)
        return tall, wide, g("Unsqueeze", g("Add", past, length), g.ints(0))

    def _layer(self, x: str, name: str, span: Span, positions: str, shift: tuple[str, str, str]) -> str:
        """Pre-norm attention and feed-forward."""
        g, w = self.g, self.e.sub(name)
        h = layer_norm(g, x, w.sub("norm_mha"), LAYER_EPS)
        x = g("Add", x, self._attention(h, name, span, positions, shift))
        h = layer_norm(g, x, w.sub("norm_ff"), LAYER_EPS)
        f = w.sub("feed_forward")
        h = silu(g, linear(g, h, f["w_1.weight"], f["w_1.bias"], f"{f.prefix}w_1"))
        return g("Add", x, linear(g, h, f["w_2.weight"], f["w_2.bias"], f"{f.prefix}w_2"))

    def _attention(self, h: str, name: str, span: Span, positions: str, shift: tuple[str, str, str]) -> str:
        """softmax(((q + u) k + shift((q + v) p)) / sqrt(d)) values: content plus relative position.

        The position part enters the fused attention node as its additive bias.
        """
        g, w = self.g, self.e.sub(f"{name}.self_attn")
        p = w.prefix
        q = matmul(g, h, w["linear_q.weight"], f"{p}q")
        key_bias = w["linear_k.bias"] if "linear_k.bias" in w else None
        k = linear(g, h, w["linear_k.weight"], key_bias, f"{p}k")
        v = linear(g, h, w["linear_v.weight"], w["linear_v.bias"], f"{p}v")
        k, v = span.extend_pair(f"{name}.kv", g("Concat", k, v, axis=2), self.width)
        u_bias = w["linear_q.bias"] + w["pos_bias_u"].reshape(-1)
        v_bias = w["linear_q.bias"] + w["pos_bias_v"].reshape(-1)
        content = g("Add", q, g.weight(u_bias, f"{p}u"))
        position = self._position_scores(g("Add", q, g.weight(v_bias, f"{p}v_bias")), w, positions, shift)
        bias = g("Add", position, span.mask)
        attended = g("MultiHeadAttention", content, k, v, "", "", bias, domain=MS, num_heads=self.heads)
        return linear(g, attended, w["linear_out.weight"], w["linear_out.bias"], f"{p}out")

    def _position_scores(self, q: str, w: Weights, positions: str, shift: tuple[str, str, str]) -> str:
        """[B, heads, N, K + N]: q times the projected distances, row i shifted so that column j holds K + i - j."""
        g = self.g
        split = g.ints(0, -1, self.heads, self.width // self.heads)
        q = g("Transpose", g("Reshape", q, split), perm=[0, 2, 1, 3])
        weight = w["linear_pos.weight"]
        weight = np.concatenate([weight[:, 0::2], weight[:, 1::2]], axis=1)  # `positions` is not interleaved
        weight = weight * np.float32(1 / math.sqrt(self.width // self.heads))
        p = g("Reshape", matmul(g, positions, weight, f"{w.prefix}pos"), split)
        scores = g("MatMul", q, g("Transpose", p, perm=[0, 2, 3, 1]))
        # The shift: one zero column on the left, seen as rows of N, minus the first row.
        tall, wide, total = shift
        padded = g("Pad", scores, g.ints(0, 0, 0, 1, 0, 0, 0, 0), g.number(0))
        shifted = g("Slice", g("Reshape", padded, tall), g.ints(1), g.ints(2**31), g.ints(2))
        return g("Slice", g("Reshape", shifted, wide), g.ints(0), total, g.ints(3))


def speaker(g: Graph, w: Weights, embedding: str) -> str:
    """The speaker embedding [B, spk_dim] L2-normalised, then projected to one number per mel bin."""
    norm = g("Max", g("ReduceL2", embedding, axes=[1], keepdims=1), g.const(1e-12))
    return linear(g, g("Div", embedding, norm), w["weight"], w["bias"], "spk_embed_affine_layer")


def look_ahead(g: Graph, w: Weights, tails: Tails, places: str, x: str, length: str) -> str:
    """A convolution over the present and the next 3 frames, then a causal one, added to the T frames' own input.

    x [B, T + C, width]: frames past the end come from the look-ahead tokens; zeros stand in for what those lack.
    """
    first, second = w["conv1.weight"], w["conv2.weight"]
    if second.shape[2] != TAPS:
        raise ExportError(f"flow encoder: {w.prefix}conv2 has {second.shape[2]} taps, only {TAPS} are supported")
    own = g("Slice", x, g.ints(0), g("Unsqueeze", length, g.ints(0)), g.ints(1))
    padded = g("Pad", x, g.ints(0, 0, 0, 0, first.shape[2] - 1, 0), g.number(0))
    h = windows(g, padded, window_places(g, length, first.shape[2]))
    h = linear(g, h, conv_matrix(first), w["conv1.bias"], "look_ahead.conv1")
    h = tails.windows("look_ahead", g("LeakyRelu", h, alpha=LEAKY_SLOPE), places)
    h = linear(g, h, conv_matrix(second), w["conv2.bias"], f"{w.prefix}conv2.conv")
    return g("Add", h, own)


def build(flow: Tagged, state: dict[str, np.ndarray], numbers: Numbers) -> tuple[Graph, list[dict[str, Any]]]:
    """The graph `flow_encoder` from the yaml's `flow` and the state of flow.pt, and its caches' manifest entries."""
    encoder = _Encoder(flow, Weights(state, "flow.pt"), numbers)
    return encoder.build(), encoder.arenas.manifest
