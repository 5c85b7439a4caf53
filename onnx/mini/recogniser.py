"""The speech tokenizer: a small supervised recogniser, whisper log-mel (100 Hz) -> codes (25 Hz).

Two strided convolutions, six ConvNeXt blocks, and after the third a summary of the whole utterance (mean and deviation
over time) added to every frame: pitch levels are relative to the voice's mean, which one frame cannot know.
`Tokenizer` is the deployed graph: feats (1, 128, T), feats_length (1,) -> indices (1, T/4), int32, as
speech_tokenizer_v2.
"""

import torch
import torch.nn.functional as F
from torch import nn

import tokens
from speaker import ConvNeXt


class Recogniser(nn.Module):
    def __init__(self, dim=256):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(128, dim, 3, 2, 1), nn.Conv1d(dim, dim, 3, 2, 1)
        self.local = nn.ModuleList([ConvNeXt(dim, 3, k) for k in (5, 7, 9)])
        self.summary = nn.Linear(2 * dim, dim)
        self.wide = nn.ModuleList([ConvNeXt(dim, 3, k) for k in (9, 9, 9)])
        self.norm = nn.LayerNorm(dim)
        self.phone, self.pitch, self.position = (
            nn.Linear(dim, n) for n in (tokens.PHONES, tokens.PITCHES, tokens.POSITIONS)
        )

    def forward(self, mel):
        """(B, 128, T) -> logits over phones, pitches, positions, each (B, T/4, n)"""
        x = F.gelu(self.conv2(F.gelu(self.conv1(mel))))
        for block in self.local:
            x = block(x)
        mean = x.mean(2)
        deviation = (x * x).mean(2) - mean * mean
        x = x + self.summary(torch.cat([mean, deviation.clamp(min=1e-5).sqrt()], 1))[..., None]
        for block in self.wide:
            x = block(x)
        x = self.norm(x.transpose(1, 2))
        return self.phone(x), self.pitch(x), self.position(x)


class Tokenizer(nn.Module):
    def __init__(self, recogniser):
        super().__init__()
        self.recogniser = recogniser

    def forward(self, feats, feats_length):
        phone, pitch, position = (x.argmax(-1) for x in self.recogniser(feats))
        return (tokens.join(phone, pitch, position) + feats_length.to(torch.int64) * 0).to(torch.int32)
