"""Discriminators for the vocoder's adversarial training: five periods and three complex spectrograms. Thrown away
after."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm


class PeriodDiscriminator(nn.Module):
    """Folds the waveform at a period and looks along time (HiFi-GAN)."""

    def __init__(self, period, widths=(1, 32, 64, 128, 256)):
        super().__init__()
        self.period = period
        layers = [nn.Conv2d(a, b, (5, 1), (3, 1), (2, 0)) for a, b in zip(widths[:-1], widths[1:], strict=True)]
        layers.append(nn.Conv2d(widths[-1], widths[-1], (5, 1), 1, (2, 0)))
        self.layers = nn.ModuleList([weight_norm(layer) for layer in layers])
        self.out = weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), 1, (1, 0)))

    def forward(self, audio):
        x = F.pad(audio[:, None], (0, -audio.shape[1] % self.period), mode="reflect")
        x, features = x.view(len(audio), 1, -1, self.period), []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            features.append(x)
        return self.out(x), features


class SpectrumDiscriminator(nn.Module):
    """Looks at the complex spectrogram, real and imaginary part as channels, so that phase noise shows."""

    def __init__(self, n_fft, width=32):
        super().__init__()
        self.n_fft = n_fft
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        shapes = [(2, (3, 9), (1, 1)), *[(width, (3, 9), (1, 2))] * 3, (width, (3, 3), (1, 1))]
        self.layers = nn.ModuleList(
            [
                weight_norm(nn.Conv2d(inputs, width, kernel, stride, (kernel[0] // 2, kernel[1] // 2)))
                for inputs, kernel, stride in shapes
            ]
        )
        self.out = weight_norm(nn.Conv2d(width, 1, 3, 1, 1))

    def forward(self, audio):
        s = torch.stft(audio.float(), self.n_fft, self.n_fft // 4, self.n_fft, window=self.window, return_complex=True)
        x, features = torch.stack([s.real, s.imag], 1).transpose(2, 3), []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            features.append(x)
        return self.out(x), features


class Discriminators(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList(
            [
                *[PeriodDiscriminator(p) for p in (2, 3, 5, 7, 11)],
                *[SpectrumDiscriminator(n) for n in (512, 1024, 2048)],
            ]
        )

    def forward(self, audio):
        """-> scores, features, one entry per discriminator"""
        scores, features = zip(*[part(audio) for part in self.parts], strict=True)
        return scores, features
