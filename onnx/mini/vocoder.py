"""The vocoder: HiFT, log-mel (50 Hz) -> 24 kHz audio, with base width 256, in CosyVoice 2's layout and key names.

An own implementation of the official topology: an F0 predictor, a harmonic source, three upsampling stages (8, 5, 3)
into which the source's spectrum is fused, and a small inverse STFT (16, hop 4) at the end.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

BASE, RATES, KERNELS, N_FFT, HOP, FRAME = 256, (8, 5, 3), (16, 11, 7), 16, 4, 480
HARMONICS, F0_WIDTH = 9, 192


def snake(x, alpha):
    return x + torch.sin(x * alpha).square() / (alpha + 1e-9)


class Snake(nn.Module):
    kernel = staticmethod(snake)  # replaced by a compiled one for training

    def __init__(self, channels):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels))

    def forward(self, x):
        return Snake.kernel(x, self.alpha[None, :, None])


class ResBlock(nn.Module):
    def __init__(self, channels, kernel):
        super().__init__()
        self.convs1 = nn.ModuleList(
            [
                weight_norm(nn.Conv1d(channels, channels, kernel, dilation=d, padding=d * (kernel - 1) // 2))
                for d in (1, 3, 5)
            ]
        )
        self.convs2 = nn.ModuleList(
            [weight_norm(nn.Conv1d(channels, channels, kernel, padding=kernel // 2)) for _ in range(3)]
        )
        self.activations1 = nn.ModuleList([Snake(channels) for _ in range(3)])
        self.activations2 = nn.ModuleList([Snake(channels) for _ in range(3)])

    def forward(self, x):
        for a1, c1, a2, c2 in zip(self.activations1, self.convs1, self.activations2, self.convs2, strict=True):
            x = x + c2(a2(c1(a1(x))))
        return x


class F0Predictor(nn.Module):
    def __init__(self):
        super().__init__()
        layers = []
        for i in range(5):
            layers += [weight_norm(nn.Conv1d(80 if i == 0 else F0_WIDTH, F0_WIDTH, 3, padding=1)), nn.ELU()]
        self.condnet, self.classifier = nn.Sequential(*layers), nn.Linear(F0_WIDTH, 1)

    def forward(self, mel):
        """(B, 80, T) -> (B, T) in Hz"""
        return self.classifier(self.condnet(mel).transpose(1, 2))[..., 0].abs()


class Source(nn.Module):
    def __init__(self):
        super().__init__()
        self.l_linear = nn.Linear(HARMONICS, 1)

    def forward(self, f0):
        """(B, T) -> (B, 480 T): nine harmonics, noise where unvoiced"""
        order = torch.arange(1, HARMONICS + 1, device=f0.device)
        cycles = torch.cumsum((f0.double()[:, None] * order[:, None] / 24000) % 1, -1)
        phase = F.interpolate(cycles * (2 * math.pi * FRAME), scale_factor=float(FRAME), mode="linear") % (2 * math.pi)
        voiced = (f0 > 10).float().repeat_interleave(FRAME, 1)[:, None]
        noise = (voiced * 0.003 + (1 - voiced) * 0.1 / 3) * torch.randn_like(phase, dtype=torch.float32)
        waves = 0.1 * torch.sin(phase).float() * voiced + noise
        return torch.tanh(self.l_linear(waves.transpose(1, 2)))[..., 0]


class HiFT(nn.Module):
    def __init__(self):
        super().__init__()
        self.m_source = Source()
        self.conv_pre = weight_norm(nn.Conv1d(80, BASE, 7, padding=3))
        self.ups, self.source_downs, self.source_resblocks, self.resblocks = (nn.ModuleList() for _ in range(4))
        strides = (15, 3, 1)
        for i, (rate, kernel) in enumerate(zip(RATES, KERNELS, strict=True)):
            dim, dim_out, u = BASE >> i, BASE >> (i + 1), strides[i]
            self.ups.append(weight_norm(nn.ConvTranspose1d(dim, dim_out, kernel, rate, (kernel - rate) // 2)))
            self.source_downs.append(nn.Conv1d(N_FFT + 2, dim_out, 2 * u if u > 1 else 1, u, u // 2 if u > 1 else 0))
            self.source_resblocks.append(ResBlock(dim_out, (7, 7, 11)[i]))
            self.resblocks.extend([ResBlock(dim_out, k) for k in (3, 7, 11)])
        self.conv_post = weight_norm(nn.Conv1d(BASE >> 3, N_FFT + 2, 7, padding=3))
        self.f0_predictor = F0Predictor()
        self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)

    def decode(self, mel, source):
        """mel (B, 80, T), source (B, 480 T) -> audio (B, 480 T)"""
        s = torch.stft(source, N_FFT, HOP, N_FFT, window=self.window, return_complex=True)
        s = torch.cat([s.real, s.imag], 1)
        x = self.conv_pre(mel)
        for i in range(3):
            x = self.ups[i](F.leaky_relu(x, 0.1))
            if i == 2:
                x = F.pad(x, (1, 0), mode="reflect")
            x = x + self.source_resblocks[i](self.source_downs[i](s))
            x = (self.resblocks[3 * i](x) + self.resblocks[3 * i + 1](x) + self.resblocks[3 * i + 2](x)) / 3
        x = self.conv_post(F.leaky_relu(x)).float()
        half = N_FFT // 2 + 1
        magnitude, phase = torch.exp(x[:, :half]).clamp(max=100), torch.sin(x[:, half:])
        return self.inverse_stft(magnitude * phase.cos(), magnitude * phase.sin()).clamp(-0.99, 0.99)

    def inverse_stft(self, real, imaginary):
        """(B, 9, n) twice -> (B, 4 (n - 1)); as torch.istft, but without its check of the window, which waits for the
        GPU"""
        frames = torch.fft.irfft(torch.complex(real, imaginary), dim=1) * self.window[:, None]
        length = N_FFT + HOP * (frames.shape[2] - 1)

        def overlap_add(x):
            return F.fold(x, (1, length), (1, N_FFT), stride=(1, HOP))[:, 0, 0]

        weight = overlap_add((self.window.square()[:, None]).expand(N_FFT, frames.shape[2])[None])
        return (overlap_add(frames) / weight.clamp(min=1e-8))[:, N_FFT // 2 : length - N_FFT // 2]

    def forward(self, mel):
        return self.decode(mel, self.m_source(self.f0_predictor(mel)))
