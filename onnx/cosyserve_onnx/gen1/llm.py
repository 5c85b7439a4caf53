"""The language model of generation 1: a transformer with relative positions over ids and prompt rows.

Source: CosyVoice `llm/llm.py` (TransformerLM) and `transformer/encoder.py` (TransformerEncoder, ReLU). The runtime
contract is generation 2's (one graph for prefill and decode, a fixed buffer of keys and values that GroupQueryAttention
updates in place) with one input more: `rows`, what the text encoder made of speaker and text. An id from `rows_offset`
on names a row, so the prompt stays a list of ids.

The position scores are the attention node's additive bias; see relative.py for how they come about without a table of
distances. They cost 1,024 products a head and key in the real model, against 64 for the content: at 500 positions a
step's arithmetic grows by two thirds, the memory it reads by the shared basis alone (4 MB in f32).
"""

from __future__ import annotations

import math

import numpy as np

from ..errors import ExportError
from ..graph import F16, F32, I32, I64, MS, Graph, Numbers
from ..hyper_yaml import Tagged
from ..layers import Weights, add_norm, layer_norm, linear
from ..quantize import block_matmul, int8_table
from .relative import EMBED_EPS, LAYER_EPS, Relative, tables


def embedded(rows: np.ndarray, w: Weights) -> np.ndarray:
    """f32 [n, width]: `rows` through the model's input layer (linear, norm, ReLU, scale), computed in double."""
    x = rows.astype(np.float64) @ w["0.weight"].astype(np.float64).T + w["0.bias"]
    x -= x.mean(axis=1, keepdims=True)
    x /= np.sqrt((x**2).mean(axis=1, keepdims=True) + EMBED_EPS)
    x = np.maximum(x * w["1.weight"] + w["1.bias"], 0)
    return (x * math.sqrt(x.shape[1])).astype(np.float32)


class _Model:
    """Builds the graph `llm`."""

    def __init__(self, config: Tagged, weights: Weights, numbers: Numbers, max_positions: int):
        stack = config["llm"]
        if stack.class_name != "TransformerEncoder" or stack.get("input_layer") != "linear_legacy":
            raise ExportError(f"language model {stack.class_name} with {stack.get('input_layer')} is not supported")
        if stack.get("pos_enc_layer_type") != "rel_pos_espnet" or not stack.get("normalize_before", True):
            raise ExportError("language model: only pos_enc_layer_type rel_pos_espnet and normalize_before")
        if stack.get("activation_type", "relu") != "relu":
            raise ExportError(f"language model activation {stack['activation_type']!r} is not supported, only relu")
        self.g = Graph("llm", numbers)
        self.w, self.stack = weights, weights.sub("llm")
        self.heads, self.layers = int(stack["attention_heads"]), self.stack.count("encoders")
        self.width = self.stack.raw("after_norm.weight").shape[0]
        self.speech_tokens = weights.raw("speech_embedding.weight").shape[0]
        self.speech_vocab = weights.raw("llm_decoder.weight").shape[0]
        self.max_positions = max_positions
        self.half = numbers.compute == F16
        self.kind = F16 if self.half else F32

    def build(self) -> Graph:
        g = self.g
        self.lengths = g.input("seqlens_k", I32, ["B"])
        self.total = g.input("total_sequence_length", I32, [])
        ids, last = g.input("input_ids", I64, ["B", "S"]), g.input("last_index", I64, ["B"])
        rows = g.input("rows", F32, ["R", self.width])
        self.relative = self._positions(ids, last)
        total = self._embed(ids, rows)
        normed = layer_norm(g, total, self.stack.sub("encoders.0.norm1"), LAYER_EPS)
        for i in range(self.layers):
            w = self.stack.sub(f"encoders.{i}")
            attended = self._attention(normed, w.sub("self_attn"), i)
            if i == self.layers - 1:
                # Behind the last attention only the wanted position matters.
                attended, total = self._pick(attended, last), self._pick(total, last)
            normed, total = add_norm(g, attended, total, w["self_attn.linear_out.bias"], w.sub("norm2"), LAYER_EPS)
            normed, total = self._feed_forward(normed, total, w, i)
        head = self._linear(normed, self.w["llm_decoder.weight"], self.w["llm_decoder.bias"], "llm_decoder", fine=True)
        g.output("logits", F32, ["B", self.speech_vocab], g("Cast", head, to=F32) if self.half else head)
        return g

    def _positions(self, ids: str, last: str) -> Relative:
        """The queries' own positions (padding stays on the last one) and the keys' from 0 to the longest row's end."""
        g = self.g
        kind = np.float16 if self.half else np.float32
        cos, sin = (
            g.raw(t.astype(kind), f"position_{n}")
            for t, n in zip(tables(self.width, self.max_positions), ("cos", "sin"), strict=True)
        )
        length = g("Gather", g("Shape", ids), g.const(1, np.int64), axis=0)
        step = g("Range", g.const(0, np.int64), length, g.const(1, np.int64))
        end = g("Unsqueeze", g("Cast", self.lengths, to=I64), g.ints(1))
        start = g("Sub", end, g("Unsqueeze", last, g.ints(1)))
        queries = g("Min", g("Add", start, step), end)
        # Range takes the total from the host, where attention wants it too.
        keys = g("Range", g.const(0, np.int32), self.total, g.const(1, np.int32))
        basis = g("Gather", cos, keys, axis=0), g("Gather", sin, keys, axis=0)
        return Relative(g, self.width, self.heads, cos, sin, queries, basis)

    def _embed(self, ids: str, rows: str) -> str:
        """[B, S, width]: rows of the table [speech | sos, task] or of the input `rows`, all through the input layer."""
        g = self.g
        table = np.concatenate([self.w["speech_embedding.weight"], self.w["llm_embedding.weight"]])
        table = embedded(table, self.stack.sub("embed.out"))
        count = len(table)
        inside = g("Min", ids, g.const(count - 1, np.int64))
        if g.numbers.int8:
            own = int8_table(g, inside, [table], "embedding")
        else:
            own = g("Gather", g.weight(table, "embedding"), inside, axis=0)
        named = g("Max", g("Sub", ids, g.const(count, np.int64)), g.const(0, np.int64))
        given = g("Gather", g("Cast", rows, to=F16) if self.half else rows, named, axis=0)
        is_row = g("Unsqueeze", g("GreaterOrEqual", ids, g.const(count, np.int64)), g.ints(2))
        return g("Where", is_row, given, own)

    def _pick(self, x: str, last: str) -> str:
        """[B, S, C] -> [B, C] at `last`."""
        return self.g("GatherND", x, self.g("Unsqueeze", last, self.g.ints(1)), batch_dims=1)

    def _linear(self, x: str, weight: np.ndarray, bias: np.ndarray | None, name: str, fine: bool = False) -> str:
        """`fine`: never below 8 bits, as in generation 2."""
        if self.g.numbers.int8:
            return block_matmul(self.g, x, weight, bias, name, 8 if fine else self.g.numbers.language_bits)
        return linear(self.g, x, weight, bias, name)

    def _attention(self, x: str, w: Weights, i: int) -> str:
        """Projections in one product; position scores as bias of the attention over the shared buffer."""
        g, name = self.g, f"layers.{i}.attention"
        parts = [w[f"linear_{p}.weight"] for p in "qkv"]
        u, v = (w[f"pos_bias_{n}"].reshape(-1) for n in "uv")
        key_bias = w["linear_k.bias"] if "linear_k.bias" in w else np.zeros(self.width, np.float32)
        bias = np.concatenate([w["linear_q.bias"] + u, key_bias, w["linear_v.bias"]])
        projected = self._linear(x, np.concatenate(parts), bias, f"{name}.qkv", fine=True)
        q, key, value = g("Split", projected, g.ints(*[self.width] * 3), out=3, axis=2)
        scores = self.relative.scores(g("Add", q, g.weight(v - u, f"{name}.v_minus_u")), w)
        shape: list[int | str] = ["B", self.heads, "L", self.width // self.heads]
        past = [g.input(f"past_key_values.{i}.{n}", self.kind, shape) for n in ("key", "value")]
        out, *present = g(
            "GroupQueryAttention", q, key, value, *past, self.lengths, self.total, "", "", "", scores,
            out=[f"{name}.out", f"present.{i}.key", f"present.{i}.value"],
            domain=MS, num_heads=self.heads, kv_num_heads=self.heads, do_rotary=0,
        )  # fmt: skip
        for tensor in present:
            g.output(tensor, self.kind, shape, tensor)
        return self._linear(out, w["linear_out.weight"], None, f"{name}.out_projection")

    def _feed_forward(self, normed: str, total: str, w: Weights, i: int) -> tuple[str, str]:
        """ReLU between two linear layers; then the next layer's first norm, or the final one."""
        g, f = self.g, w.sub("feed_forward")
        inner = g("Relu", self._linear(normed, f["w_1.weight"], f["w_1.bias"], f"{f.prefix}w_1"))
        update = self._linear(inner, f["w_2.weight"], None, f"{f.prefix}w_2")
        final = i + 1 == self.layers
        following = self.stack.sub("after_norm" if final else f"encoders.{i + 1}.norm1")
        return add_norm(g, update, total, f["w_2.bias"], following, EMBED_EPS if final else LAYER_EPS)


def build(
    config: Tagged, state: dict[str, np.ndarray], numbers: Numbers, max_positions: int
) -> tuple[Graph, dict[str, object]]:
    """The graph `llm` from the yaml's `llm` and llm.pt, and the manifest's numbers that follow from the weights."""
    model = _Model(config, Weights(state, "llm.pt"), numbers, max_positions)
    graph, tokens = model.build(), model.speech_tokens
    facts = {
        "layers": model.layers,
        "kv_heads": model.heads,
        "head_dim": model.width // model.heads,
        "kv_dtype": "f16" if model.half else "f32",
        "max_positions": max_positions,
        "text_vocab": model.w.raw("text_embedding.weight").shape[0],
        "speech_offset": 0,
        "speech_vocab": model.speech_vocab,
        "sos_id": tokens,
        "task_id": tokens + 1,
        "rows_offset": tokens + 2,
        "rows_width": model.width,
    }
    return graph, facts
