"""The flow's encoder of generation 3: a token embedding, a look-ahead layer, every token held for its mel frames.

Source: CosyVoice `flow/flow.py` (CausalMaskedDiffWithDiT). There is no attention, so of the inputs that it shares with
generation 2's encoder (BUNDLE.md) only the tokens, the speaker and the tails' pages are used.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import ExportError
from .flow_encoder import TAPS, look_ahead, speaker
from .graph import F32, I64, Graph, Numbers
from .hyper_yaml import Tagged
from .layers import Weights, length_of, window_places
from .paging import Arenas, Tails, column, paging_inputs


def build(
    flow: Tagged, state: dict[str, np.ndarray], numbers: Numbers, ratio: int
) -> tuple[Graph, list[dict[str, Any]]]:
    """The graph `flow_encoder` and its caches' manifest entries; `ratio`: mel frames per token. Computes in f32."""
    weights, bins = Weights(state, "flow.pt"), int(flow["output_size"])
    w = weights.sub("pre_lookahead_layer")
    if weights["input_embedding.weight"].shape[1] != bins:
        raise ExportError(f"flow encoder: tokens are embedded in {flow['input_size']} numbers, not {bins}")
    g = Graph("flow_encoder", numbers)
    arenas = Arenas(g)
    token, ahead = g.input("token", I64, ["B", "T"]), g.input("ahead", I64, ["B", "C"])
    g.input("valid", I64, ["B"])
    embedding = g.input("embedding", F32, ["B", int(flow["spk_embed_dim"])])
    rows = paging_inputs(g, "T")
    width = w["conv2.weight"].shape[1]
    tails = Tails(arenas, {"look_ahead": width}, (rows["tail_from"], column(g, rows["tail_to"])))
    length = length_of(g, token)
    x = _embed(g, weights["input_embedding.weight"], token, ahead)
    h = look_ahead(g, w, tails, window_places(g, length, TAPS), x, length)
    tails.close()
    held = g("Reshape", g("Concat", *[h] * ratio, axis=2), g.ints(0, -1, bins))
    g.output("mu", F32, ["B", bins, "F"], g("Transpose", held, perm=[0, 2, 1]))
    g.output("spks", F32, ["B", bins], speaker(g, weights.sub("spk_embed_affine_layer"), embedding))
    arenas.close()
    return g, arenas.manifest


def _embed(g: Graph, table: np.ndarray, token: str, ahead: str) -> str:
    """[B, T + C, bins]; an id below 0 takes the row of zeros at the end."""
    table = np.concatenate([table, np.zeros_like(table[:1])])
    ids = g("Max", g("Concat", token, ahead, axis=1), g.const(-1, np.int64))
    return g("Gather", g.weight(table, "token_table"), ids, axis=0)
