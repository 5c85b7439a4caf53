"""Acoustic features, batched in torch, equal to what the reference front end computes for one file.

- mel(): 80-bin log-mel of 24 kHz audio, hop 480, as Matcha-TTS computes it (the flow's target, the vocoder's input)
- whisper_mel(): 128-bin log-mel of 16 kHz audio, hop 160, without padding to 30 s (the recogniser's input)
- fbank(): Kaldi filter bank, 80 bins, 16 kHz, no dither (the speaker encoder's input; subtract the mean over time)
- resample(): torchaudio's default sinc_interp_hann resampler
"""

import math

import torch
import torch.nn.functional as F


def filter_banks():
    """The three constant filter matrices (needs librosa; they travel with the data to machines without it)."""
    import librosa

    return {
        "mel": torch.from_numpy(librosa.filters.mel(sr=24000, n_fft=1920, n_mels=80, fmin=0, fmax=8000)).float(),
        "whisper": torch.from_numpy(librosa.filters.mel(sr=16000, n_fft=400, n_mels=128)).float(),
        "kaldi": kaldi_banks(),
    }


def kaldi_banks(bins=80, n_fft=512, rate=16000, low=20.0, high=8000.0):
    def to_mel(f):
        return 1127.0 * torch.log(1 + f / 700)

    edges = torch.linspace(
        float(to_mel(torch.tensor(low))), float(to_mel(torch.tensor(high))), bins + 2, dtype=torch.float64
    )
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    mels = to_mel(torch.arange(n_fft // 2, dtype=torch.float64) * rate / n_fft)[None]
    bank = torch.minimum((mels - left) / (centre - left), (right - mels) / (right - centre)).clamp(min=0)
    return F.pad(bank, (0, 1)).float()


def mel(audio, bank):
    """(B, 480 n) -> (B, 80, n)"""
    audio = F.pad(audio[:, None], (720, 720), mode="reflect")[:, 0]
    window = torch.hann_window(1920, device=audio.device)
    s = torch.stft(audio, 1920, 480, 1920, window=window, center=False, return_complex=True)
    magnitude = torch.sqrt(s.real.square() + s.imag.square() + 1e-9)
    return torch.log(torch.clamp(bank @ magnitude, min=1e-5))


def whisper_mel(audio, bank):
    """(B, L at 16 kHz) -> (B, 128, L // 160)"""
    window = torch.hann_window(400, device=audio.device)
    power = torch.stft(audio, 400, 160, window=window, return_complex=True)[..., :-1].abs().square()
    log = torch.clamp(bank @ power, min=1e-10).log10()
    return (torch.maximum(log, log.amax((1, 2), keepdim=True) - 8) + 4) / 4


def fbank(audio, bank):
    """(B, L at 16 kHz) -> (B, frames, 80), frames = 1 + (L - 400) // 160"""
    frames = audio.unfold(1, 400, 160)
    frames = frames - frames.mean(-1, keepdim=True)
    frames = frames - 0.97 * torch.cat([frames[..., :1], frames[..., :-1]], -1)
    window = torch.hann_window(400, periodic=False, device=audio.device).pow(0.85)
    power = torch.fft.rfft(F.pad(frames * window, (0, 112))).abs().square()
    return torch.clamp(power @ bank.t(), min=1.1920928955078125e-07).log()


_kernels = {}


def resample(audio, old, new):
    """(B, L) -> (B, ceil(L new / old))"""
    divisor = math.gcd(old, new)
    old, new = old // divisor, new // divisor
    key = (old, new, audio.device)
    if key not in _kernels:
        base = min(old, new) * 0.99
        width = math.ceil(6 * old / base)
        index = torch.arange(-width, width + old, dtype=torch.float64)[None, None] / old
        t = ((torch.arange(0, -new, -1, dtype=torch.float64)[:, None, None] / new + index) * base).clamp(-6, 6)
        window, t = torch.cos(t * math.pi / 12) ** 2, t * math.pi
        kernel = torch.where(t == 0, torch.ones_like(t), torch.sin(t) / t) * window * (base / old)
        _kernels[key] = (kernel.float().to(audio.device), width)
    kernel, width = _kernels[key]
    length = audio.shape[1]
    out = F.conv1d(F.pad(audio, (width, width + old))[:, None], kernel, stride=old)
    return out.transpose(1, 2).reshape(audio.shape[0], -1)[:, : math.ceil(new * length / old)]
