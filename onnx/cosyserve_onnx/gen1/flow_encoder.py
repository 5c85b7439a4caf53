"""The flow's encoder of generation 1: speech tokens to the flow's mean (mu) at mel rate, and the projected speaker.

Source: CosyVoice `flow/flow.py` (MaskedDiffWithXvec) and `flow/length_regulator.py` (InterpolateRegulator). Nothing is
causal and nothing is kept between runs: a streamed chunk encodes the prompt again.
"""

from __future__ import annotations

import numpy as np

from ..errors import ExportError
from ..graph import F32, I64, Graph, Numbers
from ..hyper_yaml import Tagged
from ..layers import Weights, length_of, linear, mish
from .masked import Frames, conv, group_norm
from .relative import Conformer, blocked, normalised

EDGE_TOKENS = 20  # tokens at both ends of a long chunk that are stretched by themselves: the streams' overlap
SAMPLE_RATE, HOP = 22050, 256  # that the reference counts frames with


def mel_frames(tokens: int, token_rate: int) -> int:
    """Mel frames of so many tokens, rounded down."""
    return tokens * SAMPLE_RATE // (token_rate * HOP)


def check_config(config: Tagged, what: str) -> None:
    """Refuses encoders that the reference could build but no checkpoint has."""
    if config.class_name != "ConformerEncoder":
        raise ExportError(f"{what}: {config.class_name} is not supported")
    for field, wanted in (("normalize_before", True), ("use_cnn_module", False), ("macaron_style", False)):
        if config.get(field, wanted) != wanted:
            raise ExportError(f"{what} with {field}: {config[field]} is not supported")
    if config.get("pos_enc_layer_type") != "rel_pos_espnet" or config.get("input_layer") != "linear":
        raise ExportError(f"{what}: only input_layer linear and pos_enc_layer_type rel_pos_espnet")


class _Encoder:
    """Builds one graph."""

    def __init__(self, flow: Tagged, weights: Weights, numbers: Numbers):
        check_config(flow["encoder"], "flow encoder")
        self.g, self.flow, self.w = Graph("flow_encoder", numbers), flow, weights
        self.heads = int(flow["encoder"]["attention_heads"])
        self.bins = int(flow["output_size"])
        self.edge_frames = mel_frames(EDGE_TOKENS, int(flow["input_frame_rate"]))

    def build(self) -> Graph:
        g = self.g
        token = g.input("token", I64, ["B", "T"])
        counts = {n: g.input(n, I64, ["B"]) for n in ("prompt_tokens", "tokens", "prompt_frames", "frames")}
        embedding = g.input("embedding", F32, ["B", int(self.flow["spk_embed_dim"])])
        valid = g("Add", counts["prompt_tokens"], counts["tokens"])
        positions = Frames.of(g, length_of(g, token), valid)
        h = g("Gather", g.weight(self.w["input_embedding.weight"], "token_table"),
              g("Max", token, g.const(0, np.int64)), axis=0)  # fmt: skip
        h = Conformer(g, self.w.sub("encoder"), self.heads)(h, positions.key_mask(g, blocked(g)))
        h = linear(g, h, self.w["encoder_proj.weight"], self.w["encoder_proj.bias"], "encoder_proj")
        h = self._regulate(h, counts)
        g.output("mu", F32, ["B", self.bins, "F"], g("Transpose", h, perm=[0, 2, 1]))
        g.output("spks", F32, ["B", self.bins], self._speaker(embedding))
        return g

    def _speaker(self, embedding: str) -> str:
        w = self.w.sub("spk_embed_affine_layer")
        return linear(self.g, normalised(self.g, embedding), w["weight"], w["bias"], "spk_embed_affine_layer")

    def _regulate(self, h: str, counts: dict[str, str]) -> str:
        """[B, F, bins]: interpolated to mel rate, then convolutions with norms over whole rows."""
        g, w = self.g, self.w.sub("length_regulator.model")
        valid = g("Add", counts["prompt_frames"], counts["frames"])
        length = g("ReduceMax", valid, keepdims=0)
        frames = Frames.of(g, length, valid)
        h = self._interpolate(h, counts, length)
        # Convolution, norm and Mish (which has no weights) again and again, then a projection.
        last = 3 * ((self.w.count("length_regulator.model") - 1) // 2)
        for i in range(0, last, 3):
            h = conv(g, h, frames, w.sub(str(i)))
            h = mish(g, group_norm(g, h, frames, w.sub(str(i + 1)), groups=1))
        weight = w[f"{last}.weight"]
        h = linear(g, h, weight[:, :, 0], w[f"{last}.bias"], "length_regulator.out")
        return g("Mul", h, frames.mask)

    def _interpolate(self, h: str, counts: dict[str, str], length: str) -> str:
        """[B, F, bins]: every frame between the two tokens around it (torch's linear interpolate, corners not aligned).

        Prompt and new tokens are stretched separately, and of more than 40 new ones the first and last 20 again by
        themselves, so that where streamed chunks overlap they agree.
        """
        g = self.g
        frame = g("Range", g.const(0, np.int64), length, g.const(1, np.int64))
        first, tokens_in, start, frames_out = self._segments(frame, counts)
        scale = g("Div", g("Cast", tokens_in, to=F32), g("Cast", frames_out, to=F32))
        place = g("Add", g("Cast", g("Sub", frame, start), to=F32), g.const(0.5))
        place = g("Max", g("Sub", g("Mul", scale, place), g.const(0.5)), g.const(0))
        before = g("Min", g("Cast", g("Floor", place), to=I64), g("Sub", tokens_in, g.const(1, np.int64)))
        before = g("Max", before, g.const(0, np.int64))
        share = g("Unsqueeze", g("Sub", place, g("Cast", before, to=F32)), g.ints(2))
        after = g("Min", g("Add", before, g.const(1, np.int64)), g("Sub", tokens_in, g.const(1, np.int64)))
        after = g("Max", after, before)
        end = g("Sub", length_of(g, h), g.const(1, np.int64))

        def pick(token: str) -> str:
            place = g("Min", g("Add", first, token), end)
            return g("GatherND", h, g("Unsqueeze", place, g.ints(2)), batch_dims=1)

        left = g("Mul", pick(before), g("Sub", g.const(1), share))
        return g("Add", left, g("Mul", pick(after), share))

    def _segments(self, frame: str, counts: dict[str, str]) -> list[str]:
        """Per frame, [B, F] each: first token and number of tokens, first frame and number of frames of its segment."""
        g, edge = self.g, self.edge_frames
        prompt, tokens, known, frames = (
            g("Unsqueeze", counts[n], g.ints(1, 2)) for n in ("prompt_tokens", "tokens", "prompt_frames", "frames")
        )
        zero, few, narrow = (g.const([[[n]]], np.int64) for n in (0, EDGE_TOKENS, edge))

        def segment(*parts: str) -> str:
            """[B, 1, 4]"""
            spread = [g("Add", p, g("Mul", tokens, zero)) for p in parts]  # constants get the batch axis
            return g("Concat", *spread, axis=2)

        head = segment(prompt, few, known, narrow)
        tail_token = g("Sub", g("Add", prompt, tokens), few)
        tail_frame = g("Sub", g("Add", known, frames), narrow)
        tail = segment(tail_token, few, tail_frame, narrow)
        inner = g("Sub", tokens, g.const(2 * EDGE_TOKENS, np.int64)), g("Sub", frames, g.const(2 * edge, np.int64))
        middle = segment(g("Add", prompt, few), inner[0], g("Add", known, narrow), inner[1])
        whole = segment(prompt, tokens, known, frames)
        place = g("Unsqueeze", frame, g.ints(0, 2))  # [1, F, 1]
        ends = g("Where", g("Less", place, g("Add", known, narrow)), head, middle)
        ends = g("Where", g("GreaterOrEqual", place, tail_frame), tail, ends)
        chosen = g("Where", g("Greater", tokens, g.const([[[2 * EDGE_TOKENS]]], np.int64)), ends, whole)
        chosen = g("Where", g("Less", place, known), segment(zero, prompt, zero, known), chosen)
        parts = g("Split", chosen, g.ints(1, 1, 1, 1), out=4, axis=2)
        first, count, start, out = (g("Squeeze", p, g.ints(2)) for p in parts)
        return [first, count, start, g("Max", out, g.const(1, np.int64))]


def build(flow: Tagged, state: dict[str, np.ndarray], numbers: Numbers) -> Graph:
    """The graph `flow_encoder` from the yaml's `flow` and the state of flow.pt."""
    return _Encoder(flow, Weights(state, "flow.pt"), numbers).build()
