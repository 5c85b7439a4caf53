"""Run a checkpoint in the official layout with this folder's own modules (PyTorch, CPU): text -> codes -> mel -> audio.

Reads llm.pt, flow.pt, hift.pt, spk2info.pt and the sampling parameters of cosyvoice2.yaml. For evaluation only; the
server has its own implementation.
"""

import re
from pathlib import Path

import torch
import torch.nn.functional as F

import flow
import lm
import tokens
from training import weights
from vocoder import HiFT


class LanguageModel:
    """Incremental decoding over the official state dict."""

    def __init__(self, folder):
        self.w = weights(folder / "llm.pt")
        text = (folder / "cosyvoice2.yaml").read_text(encoding="utf8")
        self.top_p, self.top_k = (float(re.search(rf"\n        {n}: (\S+)", text)[1]) for n in ("top_p", "top_k"))
        self.layers = 1 + max(int(k.split(".")[4]) for k in self.w if ".layers." in k)

    def step(self, x, cache, start):
        """x (1, n, width) at positions start.. -> hidden state of the last position"""
        n, head = x.shape[1], lm.HEAD_DIM
        angle = torch.outer(torch.arange(start, start + n).float(), 1e6 ** (-torch.arange(0, head, 2).float() / head))
        cos, sin = torch.cat([angle, angle], -1).cos(), torch.cat([angle, angle], -1).sin()

        def rotate(t):
            return t * cos + torch.cat([-t[..., head // 2 :], t[..., : head // 2]], -1) * sin

        for i in range(self.layers):
            p = f"llm.model.model.layers.{i}."
            y = F.rms_norm(x, x.shape[-1:], self.w[p + "input_layernorm.weight"], 1e-6)
            q, k, v = (
                F.linear(y, self.w[f"{p}self_attn.{c}_proj.weight"], self.w[f"{p}self_attn.{c}_proj.bias"])
                .view(1, n, -1, head)
                .transpose(1, 2)
                for c in "qkv"
            )
            q, k = rotate(q), rotate(k)
            if i in cache:
                k, v = torch.cat([cache[i][0], k], 2), torch.cat([cache[i][1], v], 2)
            cache[i] = (k, v)
            repeat = q.shape[1] // k.shape[1]
            o = F.scaled_dot_product_attention(
                q, k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1), is_causal=n > 1
            )
            x = x + F.linear(o.transpose(1, 2).reshape(1, n, -1), self.w[p + "self_attn.o_proj.weight"])
            y = F.rms_norm(x, x.shape[-1:], self.w[p + "post_attention_layernorm.weight"], 1e-6)
            gate, up = (F.linear(y, self.w[f"{p}mlp.{c}_proj.weight"]) for c in ("gate", "up"))
            x = x + F.linear(F.silu(gate) * up, self.w[p + "mlp.down_proj.weight"])
        return F.rms_norm(x[:, -1], x.shape[-1:], self.w["llm.model.model.norm.weight"], 1e-6)

    @torch.no_grad()
    def __call__(self, text, prompt_text=(), prompt_codes=(), generator=None):
        """Token ids -> codes; nucleus sampling as the reference's ras_sampling without its repetition rule."""
        words = F.embedding(torch.tensor([*prompt_text, *text]), self.w["llm.model.model.embed_tokens.weight"])
        special = self.w["llm_embedding.weight"]
        speech = F.embedding(torch.tensor(list(prompt_codes), dtype=torch.long), self.w["speech_embedding.weight"])
        x, cache, out, at = torch.cat([special[:1], words, special[1:], speech])[None], {}, [], 0
        least, most = 2 * len(text), 20 * len(text)
        while len(out) < most:
            hidden = self.step(x, cache, at)
            at += x.shape[1]
            logits = F.linear(hidden, self.w["llm_decoder.weight"], self.w["llm_decoder.bias"])[0]
            if len(out) < least:
                logits[lm.END] = -torch.inf
            value, index = logits.softmax(-1).sort(descending=True, stable=True)
            keep = min(int((value.cumsum(0) < self.top_p).sum()) + 1, int(self.top_k))
            choice = int(index[torch.multinomial(value[:keep], 1, generator=generator)])
            if choice >= tokens.CODES:
                break
            out.append(choice)
            x = self.w["speech_embedding.weight"][choice][None, None]
        return out


class Synthesiser:
    def __init__(self, folder):
        folder = Path(folder)
        self.lm = LanguageModel(folder)
        state = weights(folder / "flow.pt")
        self.flow = flow.Flow().eval()
        for name in ("a", "b", "c"):
            torch.nn.init.zeros_(getattr(self.flow.codes, name))
        state["codes.residual"] = state.pop("input_embedding.weight")
        missing = self.flow.load_state_dict(state, strict=False)
        assert not missing.unexpected_keys and all(k.startswith("codes.") for k in missing.missing_keys)
        self.hift = HiFT().eval()
        self.hift.load_state_dict(weights(folder / "hift.pt"))
        self.voices = torch.load(folder / "spk2info.pt", weights_only=True)
        self.noise = torch.randn(1, 80, 15000, generator=torch.Generator().manual_seed(0))

    @torch.no_grad()
    def mel(self, codes, embedding, prompt_codes=(), prompt_mel=None, streaming=False):
        whole = torch.tensor([[*prompt_codes, *codes]])
        return self.flow.sample(whole, embedding, prompt_mel, self.noise, streaming=streaming)[
            :, :, 2 * len(prompt_codes) :
        ]

    @torch.no_grad()
    def audio(self, mel):
        return self.hift(mel)[0]
