"""The language model of generations 2 and 3: Qwen2 over one id space of text, speech and special rows.

Source: Qwen2 (https://arxiv.org/abs/2407.10671; RMS norm, rotary positions, grouped queries, SwiGLU) and CosyVoice
`llm/llm.py` (Qwen2LM and CosyVoice3LM: speech embedding, special rows, speech head). Prefill and decode are one graph;
keys and values live in a fixed buffer that GroupQueryAttention updates in place. The text head is never used and not
exported.
"""

from __future__ import annotations

import numpy as np

from .errors import ExportError
from .graph import F16, F32, I32, I64, MS, Graph, Numbers
from .layers import Weights, silu
from .quantize import block_matmul, int8_table
from .speech_ids import speech_ids

# Hugging Face's Qwen2Config, for fields that config.json leaves out.
DEFAULTS = {"rope_theta": 10000.0, "rms_norm_eps": 1e-6, "num_attention_heads": 32}
OWN_ROWS = "llm_embedding.weight"  # generation 2's sos and task rows; generation 3 keeps them in the speech table


class _Model:
    """Builds the graph `llm`."""

    def __init__(self, config: dict, weights: Weights, numbers: Numbers, max_positions: int):
        if config.get("hidden_act", "silu") != "silu":
            raise ExportError(f"language model activation {config['hidden_act']!r} is not supported")
        rope = config.get("rope_parameters") or {}  # where newer files keep what older ones have at the top
        if config.get("rope_scaling") or rope.get("rope_type", "default") != "default":
            raise ExportError("language model with scaled rotary positions is not supported")
        if config.get("use_sliding_window"):
            raise ExportError("language model with sliding window attention is not supported")
        self.g = Graph("llm", numbers)
        self.w, self.layers_w = weights, weights.sub("llm.model.model")
        self.int8, self.bits = numbers.int8, numbers.language_bits
        self.heads = int(config.get("num_attention_heads", DEFAULTS["num_attention_heads"]))
        self.kv_heads = int(config.get("num_key_value_heads") or self.heads)
        self.eps = float(config.get("rms_norm_eps", DEFAULTS["rms_norm_eps"]))
        self.theta = float(config.get("rope_theta") or rope.get("rope_theta") or DEFAULTS["rope_theta"])
        self.layers = self.layers_w.count("layers")
        self.head_dim = self.layers_w.raw("layers.0.self_attn.q_proj.weight").shape[0] // self.heads
        self.max_positions = max_positions
        self.text_vocab = self.layers_w.raw("embed_tokens.weight").shape[0]
        self.speech_vocab = weights.raw("speech_embedding.weight").shape[0]
        self.half = numbers.compute == F16

    def build(self) -> Graph:
        g = self.g
        self.lengths = g.input("seqlens_k", I32, ["B"])
        self.total = g.input("total_sequence_length", I32, [])
        ids = g.input("input_ids", I64, ["B", "S"])
        last = g.input("last_index", I64, ["B"])
        self.cos, self.sin = self._rotary()
        total = self._embed(ids)
        normed = g("SimplifiedLayerNormalization", total, self._gain("layers.0.input_layernorm"), **self._norm_args())
        for i in range(self.layers):
            attended = self._attention(normed, i)
            if i == self.layers - 1:
                # Behind the last attention only the wanted position matters.
                attended, total = self._pick(attended, last), self._pick(total, last)
            normed, total = self._feed_forward(attended, total, i)
        logits = self._linear(normed, self.w["llm_decoder.weight"], self._head_bias(), "llm_decoder", fine=True)
        logits = g("Cast", logits, to=F32) if self.half else logits
        g.output("logits", F32, ["B", self.speech_vocab], logits)
        return g

    def _norm_args(self) -> dict:
        return {"axis": -1, "epsilon": self.eps, "stash_type": 1}

    def _head_bias(self) -> np.ndarray | None:
        return self.w["llm_decoder.bias"] if "llm_decoder.bias" in self.w else None

    def _gain(self, name: str) -> str:
        return self.g.weight(self.layers_w[f"{name}.weight"], f"{name}.weight")

    def _pick(self, x: str, last: str) -> str:
        """[B, S, C] -> [B, C] at `last`."""
        return self.g("GatherND", x, self.g("Unsqueeze", last, self.g.ints(1)), batch_dims=1)

    def _rotary(self) -> tuple[str, str]:
        """cos and sin of position times rate, [max_positions, head_dim / 2]; rates as Qwen2 computes them, in f32."""
        exponents = np.arange(0, self.head_dim, 2, dtype=np.float32) / np.float32(self.head_dim)
        rates = (1.0 / np.power(np.float32(self.theta), exponents)).astype(np.float32)
        angle = np.arange(self.max_positions, dtype=np.float32)[:, None] * rates[None]
        kind = np.float16 if self.half else np.float32
        return self.g.raw(np.cos(angle).astype(kind), "rope_cos"), self.g.raw(np.sin(angle).astype(kind), "rope_sin")

    def _embed(self, ids: str) -> str:
        """Rows of the one table [text | speech], behind which generation 2 has [sos, task]."""
        g = self.g
        parts = [self.layers_w.raw("embed_tokens.weight"), self.w.raw("speech_embedding.weight")]
        if OWN_ROWS in self.w:
            parts.append(self.w.raw(OWN_ROWS))
        if self.int8:
            return int8_table(g, ids, parts, "embedding")
        kind = np.float16 if F16 in (g.numbers.compute, g.numbers.store) else np.float32
        table = np.concatenate([np.asarray(p).astype(kind) for p in parts])
        return g("Gather", g.weight(table, "embedding"), ids, axis=0)

    def _linear(self, x: str, weight: np.ndarray, bias: np.ndarray | None, name: str, fine: bool = False) -> str:
        """`fine`: never below 8 bits; the head and q, k, v lose most by 4, and are a tenth of the weights."""
        g = self.g
        if self.int8:
            return block_matmul(g, x, weight, bias, name, 8 if fine else self.bits)
        y = g("MatMul", x, g.weight(weight.T, f"{name}.weight"))
        return y if bias is None else g("Add", y, g.weight(bias, f"{name}.bias"))

    def _attention(self, x: str, i: int) -> str:
        """Projections in one product, rotary positions and attention over the shared buffer in one node."""
        g, w, name = self.g, self.layers_w.sub(f"layers.{i}.self_attn"), f"layers.{i}.attention"
        parts = ["q_proj", "k_proj", "v_proj"]
        weight = np.concatenate([w[f"{p}.weight"] for p in parts])
        bias = np.concatenate([w[f"{p}.bias"] for p in parts]) if "q_proj.bias" in w else None
        qkv = self._linear(x, weight, bias, f"{name}.qkv", fine=True)
        shape: list[int | str] = ["B", self.kv_heads, "L", self.head_dim]
        dtype = F16 if self.half else F32
        past = [g.input(f"past_key_values.{i}.{kind}", dtype, shape) for kind in ("key", "value")]
        out, key, value = g(
            "GroupQueryAttention", qkv, "", "", *past, self.lengths, self.total, self.cos, self.sin,
            out=[f"{name}.out", f"present.{i}.key", f"present.{i}.value"],
            domain=MS, num_heads=self.heads, kv_num_heads=self.kv_heads, do_rotary=1, rotary_interleaved=0,
        )  # fmt: skip
        g.output(key, dtype, shape, key)
        g.output(value, dtype, shape, value)
        return self._linear(out, w["o_proj.weight"], None, f"{name}.o")

    def _add_norm(self, x: str, skip: str, gain: str, name: str) -> tuple[str, str]:
        outputs = [f"{name}.norm", "", "", f"{name}.sum"]
        norm, _, _, total = self.g(
            "SkipSimplifiedLayerNormalization", x, skip, gain, out=outputs, domain=MS, epsilon=self.eps
        )
        return norm, total

    def _feed_forward(self, attended: str, total: str, i: int) -> tuple[str, str]:
        """SwiGLU between two fused residual norms; the second norm is the next layer's (or the final) one."""
        g, w, name = self.g, self.layers_w.sub(f"layers.{i}.mlp"), f"layers.{i}.mlp"
        gain = self._gain(f"layers.{i}.post_attention_layernorm")
        normed, total = self._add_norm(attended, total, gain, f"layers.{i}.attention")
        both = np.concatenate([w["gate_proj.weight"], w["up_proj.weight"]])
        gate, up = g(
            "Split", self._linear(normed, both, None, f"{name}.gate_up"), g.ints(*[both.shape[0] // 2] * 2),
            out=2, axis=-1,
        )  # fmt: skip
        update = self._linear(g("Mul", silu(g, gate), up), w["down_proj.weight"], None, f"{name}.down")
        gain = self._gain(f"layers.{i + 1}.input_layernorm" if i + 1 < self.layers else "norm")
        return self._add_norm(update, total, gain, name)


def build(
    config: dict, state: dict[str, np.ndarray], numbers: Numbers, max_positions: int, speech_tokens: int
) -> tuple[Graph, dict[str, object]]:
    """The graph `llm` and the manifest's numbers that follow from its weights."""
    model = _Model(config, Weights(state, "llm.pt"), numbers, max_positions)
    graph = model.build()
    facts = {
        "layers": model.layers,
        "kv_heads": model.kv_heads,
        "head_dim": model.head_dim,
        "kv_dtype": "f16" if model.half else "f32",
        "max_positions": max_positions,
        "text_vocab": model.text_vocab,
        "speech_offset": model.text_vocab,
        "speech_vocab": model.speech_vocab,
    }
    return graph, facts | speech_ids(speech_tokens, model.text_vocab, model.speech_vocab, OWN_ROWS in model.w)
