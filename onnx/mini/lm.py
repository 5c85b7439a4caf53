"""The language model: a small Qwen2 in CosyVoice 2's layout, text tokens -> speech codes.

Width 384, 6 layers, 6 query and 2 key/value heads of 64, feed-forward 1024: 16 M parameters. One embedding space holds
text ids 0..V-1, codes V..V+6560, the three special codes (end, unused, fill), start and task.
Sequence: [start, text, task, codes] -> codes, end. Key names of `export()` are those of the official llm.pt.
"""

import torch
import torch.nn.functional as F
from torch import nn

import tokens
from tables import CodeTable

WIDTH, LAYERS, HEADS, KV_HEADS, FEED_FORWARD, HEAD_DIM = 384, 6, 6, 2, 1024, 64
END, FILL = tokens.CODES, tokens.CODES + 2
AHEAD = (5, 12)  # auxiliary targets: the phone that many slots on


class RMSNorm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), 1e-6)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj = nn.Linear(WIDTH, HEADS * HEAD_DIM)
        self.k_proj = nn.Linear(WIDTH, KV_HEADS * HEAD_DIM)
        self.v_proj = nn.Linear(WIDTH, KV_HEADS * HEAD_DIM)
        self.o_proj = nn.Linear(HEADS * HEAD_DIM, WIDTH, bias=False)

    def forward(self, x, cos, sin):
        batch, width, _ = x.shape
        q, k, v = (
            p(x).view(batch, width, -1, HEAD_DIM).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj)
        )

        def rotate(t):
            half = HEAD_DIM // 2
            return (t * cos + torch.cat([-t[..., half:], t[..., :half]], -1) * sin).to(v.dtype)

        repeat = HEADS // KV_HEADS
        k, v = rotate(k).repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1)
        o = F.scaled_dot_product_attention(rotate(q), k, v, is_causal=True)
        return self.o_proj(o.transpose(1, 2).reshape(batch, width, -1))


class FeedForward(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate_proj = nn.Linear(WIDTH, FEED_FORWARD, bias=False)
        self.up_proj = nn.Linear(WIDTH, FEED_FORWARD, bias=False)
        self.down_proj = nn.Linear(FEED_FORWARD, WIDTH, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, dropout):
        super().__init__()
        self.self_attn, self.mlp, self.dropout = Attention(), FeedForward(), dropout
        self.input_layernorm, self.post_attention_layernorm = RMSNorm(WIDTH), RMSNorm(WIDTH)

    def forward(self, x, cos, sin):
        x = x + F.dropout(self.self_attn(self.input_layernorm(x), cos, sin), self.dropout, self.training)
        return x + F.dropout(self.mlp(self.post_attention_layernorm(x)), self.dropout, self.training)


class LanguageModel(nn.Module):
    def __init__(self, text_vocabulary, dropout=0.05):
        super().__init__()
        self.text_vocabulary, self.dropout = text_vocabulary, dropout
        self.embed_tokens = nn.Embedding(text_vocabulary, WIDTH)
        self.layers = nn.ModuleList([Layer(dropout) for _ in range(LAYERS)])
        self.norm = RMSNorm(WIDTH)
        self.llm_embedding = nn.Embedding(2, WIDTH)
        self.speech, self.head = CodeTable(WIDTH, 3), CodeTable(WIDTH, 3)
        self.head_bias = nn.Parameter(torch.zeros(tokens.CODES + 3))
        self.ahead = nn.Linear(WIDTH, len(AHEAD) * tokens.PHONES)
        for m in self.modules():
            if isinstance(m, (nn.Linear, nn.Embedding)):
                nn.init.normal_(m.weight, 0, 0.02)
            if isinstance(m, nn.Linear) and m.bias is not None:
                nn.init.zeros_(m.bias)
        for layer in self.layers:
            for m in (layer.self_attn.o_proj, layer.mlp.down_proj):
                nn.init.normal_(m.weight, 0, 0.02 / (2 * LAYERS) ** 0.5)

    @property
    def start(self):
        return self.text_vocabulary + tokens.CODES + 3

    @property
    def task(self):
        return self.start + 1

    def hidden(self, ids):
        """ids (B, T) in the joint numbering -> (B, T, 384)"""
        table = torch.cat([self.embed_tokens.weight, self.speech.table(), self.llm_embedding.weight])
        x = F.dropout(F.embedding(ids, table), self.dropout, self.training)
        position = torch.arange(ids.shape[1], device=ids.device).float()
        angle = torch.outer(position, 1e6 ** (-torch.arange(0, HEAD_DIM, 2, device=ids.device).float() / HEAD_DIM))
        angle = torch.cat([angle, angle], -1)
        cos, sin = angle.cos(), angle.sin()
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.norm(x)

    def logits(self, hidden):
        return F.linear(hidden, self.head.table().to(hidden.dtype), self.head_bias.to(hidden.dtype))

    def export(self):
        """State dict under the official names."""
        out = {
            "speech_embedding.weight": self.speech.table(),
            "llm_decoder.weight": self.head.table(),
            "llm_decoder.bias": self.head_bias,
            "llm_embedding.weight": self.llm_embedding.weight,
            "llm.model.model.embed_tokens.weight": self.embed_tokens.weight,
            "llm.model.model.norm.weight": self.norm.weight,
        }
        for name, value in self.layers.state_dict().items():
            out["llm.model.model.layers." + name] = value
        return {k: v.detach().half().cpu().clone() for k, v in out.items()}
