"""The text encoder of generation 1: speaker and text to the language model's prompt rows.

Source: CosyVoice `llm/llm.py` (TransformerLM.encode, run with chunks of one token: a token sees those before it) and
`transformer/encoder.py`. The language model's own input layer comes last, so that the rows enter it as they are.
"""

from __future__ import annotations

import math

import numpy as np

from ..graph import F32, I64, Graph, Numbers
from ..hyper_yaml import Tagged
from ..layers import Weights, layer_norm, length_of, linear
from .flow_encoder import check_config
from .relative import EMBED_EPS, Conformer, blocked, normalised


class _TextEncoder:
    """Builds the graph `text_encoder`."""

    def __init__(self, config: Tagged, weights: Weights, numbers: Numbers):
        check_config(config["text_encoder"], "text encoder")
        self.g, self.w = Graph("text_encoder", numbers), weights
        self.heads = int(config["text_encoder"]["attention_heads"])
        self.spk_dim = weights.raw("spk_embed_affine_layer.weight").shape[1]

    def build(self) -> Graph:
        g = self.g
        text = g.input("text", I64, ["B", "T"])
        embedding = g.input("embedding", F32, ["B", self.spk_dim])
        h = g("Gather", g.weight(self.w["text_embedding.weight"], "text_table"), text, axis=0)
        h = Conformer(g, self.w.sub("text_encoder"), self.heads)(h, self._causal(length_of(g, text)))
        speaker = g("Unsqueeze", normalised(g, embedding), g.ints(1))
        speaker = self._affine(speaker, "spk_embed_affine_layer")
        rows = g("Concat", speaker, self._affine(h, "text_encoder_affine_layer"), axis=1)
        norm = layer_norm(g, rows, self.w.sub("llm.embed.out.1"), EMBED_EPS)
        width = self.w.raw("llm.after_norm.weight").shape[0]
        rows = g("Mul", g("Relu", norm), g.number(math.sqrt(width)))
        g.output("rows", F32, ["B", "R", width], rows)
        return g

    def _causal(self, length: str) -> str:
        """[1, 1, T, T] additive."""
        g = self.g
        place = g("Range", g.const(0, np.int64), length, g.const(1, np.int64))
        seen = g("LessOrEqual", g("Unsqueeze", place, g.ints(0)), g("Unsqueeze", place, g.ints(1)))
        return g("Unsqueeze", g("Where", seen, g.number(0), blocked(g)), g.ints(0, 1))

    def _affine(self, x: str, name: str) -> str:
        """The linear layer `name` with the language model's first linear layer folded into it."""
        w, entry = self.w.sub(name), self.w.sub("llm.embed.out.0")
        second = entry["weight"].astype(np.float64)
        weight = (second @ w["weight"].astype(np.float64)).astype(np.float32)
        bias = (second @ w["bias"].astype(np.float64) + entry["bias"]).astype(np.float32)
        return linear(self.g, x, weight, bias, name)


def build(config: Tagged, state: dict[str, np.ndarray], numbers: Numbers) -> Graph:
    """The graph `text_encoder` from the yaml's `llm` and the state of llm.pt."""
    return _TextEncoder(config, Weights(state, "llm.pt"), numbers).build()
