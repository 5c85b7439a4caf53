"""The teacher: Kokoro-82M (Apache-2.0) in plain torch, batched, from the dequantised tensors of its int8 ONNX export.

Why not ONNX Runtime: on a GPU this runs at hundreds of times real time, its prosody part at thousands, and both can be
stopped in between: `prosody` gives durations, `pitch` F0 and energy for durations of our choice, `vocode` the audio.
Instance norms are masked, so a padded batch gives what single utterances give.

Shapes: ids (B, T) zero-padded symbols with a zero at both ends; lengths (B,) on the CPU; style (B, 256) = acoustic 128,
prosodic 128; speed (B,); durations (B, T) in frames of 25 ms; F = most frames; f0 and energy (B, 2F); audio (B, 600F).
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

ALBERT = "bert.encoder.albert_layer_groups.0.albert_layers.0."


def adain(x, mask, count, gain, bias):
    """Masked instance norm with a style's gain and bias: x (B, C, T), mask (B, 1, T), count (B, 1, 1)."""
    mean = (x * mask).sum(-1, keepdim=True) / count
    centred = (x - mean) * mask
    scale = torch.rsqrt((centred * centred).sum(-1, keepdim=True) / count + 1e-5)
    return (centred * (scale * gain) + bias) * mask


def adain_snake(x, mask, count, gain, bias, alpha):
    t = adain(x, mask, count, gain, bias)
    s = torch.sin(alpha * t)
    return t + s * s / alpha


class Kokoro:
    def __init__(self, tensors, device="cpu", fuse=False):
        self.device, self.weights, self.lstms = device, {}, {}
        for name, value in tensors.items():
            plain = value[1].float() if value[0] == "f" else (value[1].float() - value[2].float()) * value[3].float()
            if value[0] == "q" and name.endswith(".w") and plain.dim() == 2:
                plain = plain.t().contiguous()  # ONNX MatMul keeps (in, out)
            self.weights[name] = plain.to(device)
        for name in [k[:-4] for k in self.weights if k.endswith(".wih")]:
            self.lstms[name] = self._lstm(name)
        self.window = torch.hann_window(20, periodic=True, device=device)
        self.adain_snake = adain_snake
        self.adain_plain = adain
        if fuse:
            self._fuse()

    def _fuse(self):
        """Compile the element-wise hot spots, if that works here and gives the same."""
        try:
            snake, plain = torch.compile(adain_snake, dynamic=True), torch.compile(adain, dynamic=True)
            for batch, channels, width in ((3, 8, 1000), (5, 16, 1777)):
                x = torch.randn(batch, channels, width, device=self.device)
                mask = torch.ones(batch, 1, width, device=self.device)
                count, gain = (
                    torch.full((batch, 1, 1), float(width), device=self.device),
                    torch.randn(batch, channels, 1, device=self.device),
                )
                alpha = torch.rand(1, channels, 1, device=self.device) + 0.5
                assert torch.allclose(
                    snake(x, mask, count, gain, gain, alpha), adain_snake(x, mask, count, gain, gain, alpha), atol=1e-3
                )
                assert torch.allclose(plain(x, mask, count, gain, gain), adain(x, mask, count, gain, gain), atol=1e-3)
            self.adain_snake, self.adain_plain = snake, plain
            print("fused", flush=True)
        except Exception as error:  # any failure of the compiler only costs speed
            print("not fused:", repr(error)[:200], flush=True)

    def _lstm(self, name):
        w_in, w_hidden, bias = (self.weights[name + s] for s in (".wih", ".whh", ".bias"))
        lstm = nn.LSTM(w_in.shape[1], 256, batch_first=True, bidirectional=True)

        def gates(x):  # ONNX order i, o, f, c -> torch order i, f, c, o
            i, o, f, c = x.chunk(4, 0)
            return torch.cat([i, f, c, o], 0)

        with torch.no_grad():
            for direction, suffix in ((0, ""), (1, "_reverse")):
                getattr(lstm, "weight_ih_l0" + suffix).copy_(gates(w_in[direction].t()))
                getattr(lstm, "weight_hh_l0" + suffix).copy_(gates(w_hidden[direction].t()))
                getattr(lstm, "bias_ih_l0" + suffix).copy_(gates(bias[direction, :1024]))
                getattr(lstm, "bias_hh_l0" + suffix).copy_(gates(bias[direction, 1024:]))
        lstm = lstm.to(self.device).eval()
        lstm.flatten_parameters()
        return lstm

    def linear(self, x, name):
        return F.linear(x, self.weights[name + ".w"], self.weights.get(name + ".bias"))

    def conv(self, x, name, bias=None, **kw):
        return F.conv1d(x, self.weights[name + ".w"], self.weights.get((bias or name) + ".bias"), **kw)

    def lstm(self, x, lengths, name):
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return nn.utils.rnn.pad_packed_sequence(self.lstms[name](packed)[0], batch_first=True, total_length=x.shape[1])[
            0
        ]

    def mask(self, width):
        """Mask (B, 1, width) and valid lengths at the resolution of `width` columns (a multiple of F, plus a rest)."""
        if width not in self.masks:
            ratio = width // self.most
            valid = self.frames * ratio + (width - self.most * ratio)
            inside = torch.arange(width, device=self.device)[None] < valid[:, None]
            self.masks[width] = (inside.float()[:, None], valid.float()[:, None, None])
        return self.masks[width]

    def norm(self, x, style, name, alpha=None):
        gain, bias = F.linear(style, self.weights[name + ".fc.w"], self.weights[name + ".fc.bias"])[..., None].chunk(
            2, 1
        )
        mask, count = self.mask(x.shape[-1])
        if alpha is None:
            return self.adain_plain(x, mask, count, 1 + gain, bias)
        return self.adain_snake(x, mask, count, 1 + gain, bias, alpha)

    def block(self, x, style, name, up=False):
        """AdainResBlk1d, optionally doubling the rate."""
        r = F.leaky_relu(self.norm(x, style, name + ".norm1"), 0.2)
        if up:
            r = F.conv_transpose1d(
                r,
                self.weights[name + ".pool.w"],
                self.weights[name + ".pool.b"],
                stride=2,
                padding=1,
                output_padding=1,
                groups=r.shape[1],
            )
            r = r * self.mask(r.shape[-1])[0]
        r = self.conv(r, name + ".conv1", padding=1)
        r = self.conv(F.leaky_relu(self.norm(r, style, name + ".norm2"), 0.2), name + ".conv2", padding=1)
        if up:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        if name + ".conv1x1.w" in self.weights:
            x = self.conv(x, name + ".conv1x1")
        return (r + x) * math.sqrt(0.5) * self.mask(r.shape[-1])[0]

    def resblock(self, x, style, name, kernel):
        """AdaINResBlock1 with snake activations."""
        for i, dilation in enumerate((1, 3, 5)):
            t = self.norm(x, style, f"{name}.adain1.{i}", self.weights[f"{name}.alpha1.{i}"])
            t = self.conv(t, f"{name}.convs1.{i}", dilation=dilation, padding=(kernel * dilation - dilation) // 2)
            t = self.norm(t, style, f"{name}.adain2.{i}", self.weights[f"{name}.alpha2.{i}"])
            x = x + self.conv(t, f"{name}.convs2.{i}", padding=kernel // 2)
        return x

    def albert(self, ids, mask):
        batch, width = ids.shape
        w, e = self.weights, "bert.embeddings."
        h = (
            w[e + "word_embeddings.e"][ids]
            + w[e + "position_embeddings.e"][:width][None]
            + w[e + "token_type_embeddings.e"][0]
        )
        h = F.layer_norm(h, (128,), w[e + "LayerNorm.weight"], w[e + "LayerNorm.bias"], 1e-12)
        h = self.linear(h, "bert.encoder.embedding_hidden_mapping_in")
        for _ in range(12):  # one layer, shared
            q, k, v = (
                self.linear(h, f"{ALBERT}attention.{n}").view(batch, width, 12, 64).transpose(1, 2)
                for n in ("query", "key", "value")
            )
            o = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
            o = self.linear(o.transpose(1, 2).reshape(batch, width, 768), ALBERT + "attention.dense")
            h = self.layer_norm(h + o, ALBERT + "attention.LayerNorm")
            f = self.linear(F.gelu(self.linear(h, ALBERT + "ffn"), approximate="tanh"), ALBERT + "ffn_output")
            h = self.layer_norm(h + f, ALBERT + "full_layer_layer_norm")
        return self.linear(h, "bert_encoder")

    def layer_norm(self, x, name):
        return F.layer_norm(x, (768,), self.weights[name + ".weight"], self.weights[name + ".bias"], 1e-12)

    def prosody(self, ids, lengths, style, speed):
        """-> features (B, T, 640), durations (B, T) in frames"""
        batch, width = ids.shape
        mask = (torch.arange(width)[None] < lengths[:, None]).to(self.device)
        prosodic = style[:, 128:]
        x = self.albert(ids, mask) * mask[..., None]
        repeated = prosodic[:, None].expand(batch, width, 128) * mask[..., None]
        x = torch.cat([x, repeated], -1)
        for i in (0, 2, 4):
            x = self.lstm(x, lengths, f"predictor.text_encoder.lstms.{i}")
            name = f"predictor.text_encoder.lstms.{i + 1}.fc"
            gain, bias = F.linear(prosodic, self.weights[name + ".w"], self.weights[name + ".bias"])[:, None].chunk(
                2, -1
            )
            x = ((1 + gain) * F.layer_norm(x, (512,), eps=1e-5) + bias) * mask[..., None]
            x = torch.cat([x, repeated], -1)
        y = self.lstm(x, lengths, "predictor.lstm")
        duration = torch.sigmoid(self.linear(y, "predictor.duration_proj.linear_layer")).sum(-1) / speed[:, None]
        return x, torch.round(duration).clamp(min=1) * mask

    def align(self, durations):
        """Take durations (B, T) as given from here on; -> symbol index of each frame (B, F)"""
        self.masks, self.frames = {}, durations.sum(1)
        self.frames_cpu = self.frames.cpu()
        self.most = int(self.frames_cpu.max())
        frame = torch.arange(self.most, device=self.device)[None].expand(len(durations), -1).contiguous()
        return torch.searchsorted(durations.cumsum(1), frame, right=True).clamp(max=durations.shape[1] - 1)

    def pitch(self, features, owner, style):
        """-> f0 (B, 2F) in Hz, about 0 where unvoiced; energy (B, 2F)"""
        prosodic = style[:, 128:]
        x = torch.gather(features, 1, owner[..., None].expand(-1, -1, 640))
        x = self.lstm(x, self.frames_cpu, "shared").transpose(1, 2) * self.mask(self.most)[0]
        bias = "predictor.F0_proj" if "predictor.F0_proj.bias" in self.weights else "F0_proj"
        out = []
        for kind, kw in (("F0", {"bias": bias}), ("N", {})):
            f = x
            for i in range(3):
                f = self.block(f, prosodic, f"{kind}.{i}", up=i == 1)
            out.append(self.conv(f, f"{kind}_proj", **kw)[:, 0] * self.mask(2 * self.most)[0][:, 0])
        return out

    def vocode(self, ids, lengths, owner, style, f0, energy):
        """-> audio (B, 600F), zero after the end"""
        acoustic, frame_mask = style[:, :128], self.mask(self.most)[0]
        mask = (torch.arange(ids.shape[1])[None] < lengths[:, None]).to(self.device)[:, None].float()
        t = self.weights["text_encoder.embedding.e"][ids].transpose(1, 2) * mask
        for i in range(3):
            t = self.conv(t, f"text_encoder.cnn.{i}.cnn.{i}.0", f"text_encoder.cnn.{i}.0", padding=2).transpose(1, 2)
            gamma, beta = (self.weights[f"text_encoder.cnn.{i}.1.{n}"] for n in ("gamma", "beta"))
            t = F.leaky_relu(F.layer_norm(t, (512,), gamma, beta, 1e-5).transpose(1, 2), 0.2) * mask
        t = self.lstm(t.transpose(1, 2), lengths, "text_encoder.lstm")
        text = torch.gather(t, 1, owner[..., None].expand(-1, -1, 512)).transpose(1, 2) * frame_mask
        f = self.conv(f0[:, None], "decoder.F0_conv", stride=2, padding=1) * frame_mask
        n = self.conv(energy[:, None], "decoder.N_conv", stride=2, padding=1) * frame_mask
        x = self.block(torch.cat([text, f, n], 1), acoustic, "decoder.encode")
        skip = self.conv(text, "decoder.asr_res.asr_res.0", "decoder.asr_res.0") * frame_mask
        for i in range(4):
            x = self.block(torch.cat([x, skip, f, n], 1), acoustic, f"decoder.decode.{i}", up=i == 3)
        return self._generator(x, acoustic, f0)

    def _source(self, f0):
        """Harmonic source -> its spectrum (B, 22, frames)"""
        g, length = "decoder.generator.", f0.shape[1] * 300
        harmonics = torch.arange(1, 10, device=self.device)
        phase = torch.cumsum((f0[:, :, None] * harmonics / 24000 % 1).double(), 1).transpose(1, 2) * (2 * math.pi * 300)
        phase = F.interpolate(phase, scale_factor=300, mode="linear") % (2 * math.pi)
        voiced = (f0.repeat_interleave(300, 1) > 10).float()[:, None]
        noise = (voiced * 0.003 + (1 - voiced) * 0.1 / 3) * torch.randn(len(f0), 9, length, device=self.device)
        waves = torch.sin(phase).float() * 0.1 * voiced + noise
        weight = self.weights[g + "m_source.l_linear.w"].view(1, 9, 1)
        source = torch.tanh((waves * weight).sum(1) + self.weights[g + "m_source.l_linear.bias"])
        spectrum = torch.stft(source, 20, 5, 20, window=self.window, return_complex=True)
        return torch.cat([spectrum.abs(), spectrum.angle()], 1)

    def _generator(self, x, style, f0):
        g, harmonic = "decoder.generator.", self._source(f0)
        for i, (rate, kernel) in enumerate(((10, 20), (6, 12))):
            x = F.leaky_relu(x, 0.1)
            s = self.conv(harmonic, g + f"noise_convs.{i}", **({"stride": 6, "padding": 3} if i == 0 else {}))
            s = self.resblock(s * self.mask(s.shape[-1])[0], style, g + f"noise_res.{i}", (7, 11)[i])
            x = F.conv_transpose1d(
                x * self.mask(x.shape[-1])[0],
                self.weights[g + f"ups.{i}.w"],
                self.weights[g + f"ups.{i}.b"],
                stride=rate,
                padding=(kernel - rate) // 2,
            )
            if i == 1:
                x = F.pad(x, (1, 0), mode="reflect")
            x = (x + s) * self.mask(x.shape[-1])[0]
            x = sum(self.resblock(x, style, g + f"resblocks.{3 * i + j}", (3, 7, 11)[j]) for j in range(3)) / 3
        x = F.leaky_relu(x) * self.mask(x.shape[-1])[0]
        x = F.conv1d(x, self.weights[g + "conv_post.w"], self.weights[g + "conv_post.b"], padding=3)
        audio = torch.istft(torch.polar(torch.exp(x[:, :11]), torch.sin(x[:, 11:])), 20, 5, 20, window=self.window)
        return audio * (torch.arange(audio.shape[1], device=self.device)[None] < (self.frames * 600)[:, None])
