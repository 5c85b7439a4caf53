"""Code tables for 6561-way embeddings and heads, built from parts that many codes share.

A free row per code learns only from that code's own few occurrences. Here a row is the sum of a row for (phone,
position), one for (pitch, position), one for (phone, voiced) and a small free residual; export writes the plain table.
"""

import torch
import torch.nn.functional as F
from torch import nn

import tokens


class CodeTable(nn.Module):
    def __init__(self, dim, extra=0, std=0.02):
        """extra: special rows after the codes (end of speech, fill)"""
        super().__init__()
        phone, pitch, position = tokens.split(torch.arange(tokens.CODES))
        self.register_buffer("phone_position", phone * 3 + position, persistent=False)
        self.register_buffer("pitch_position", pitch * 3 + position, persistent=False)
        self.register_buffer("phone_voiced", phone * 2 + (pitch > 0), persistent=False)
        scale = std / 3**0.5
        self.a = nn.Parameter(torch.randn(tokens.PHONES * 3, dim) * scale)
        self.b = nn.Parameter(torch.randn(tokens.PITCHES * 3, dim) * scale)
        self.c = nn.Parameter(torch.randn(tokens.PHONES * 2, dim) * scale)
        self.residual = nn.Parameter(torch.zeros(tokens.CODES + extra, dim))
        if extra:
            nn.init.normal_(self.residual[tokens.CODES :], 0, std)
        self.extra = extra

    def table(self):
        rows = F.embedding(self.phone_position, self.a) + F.embedding(self.pitch_position, self.b)
        rows = rows + F.embedding(self.phone_voiced, self.c)
        if self.extra:
            rows = torch.cat([rows, rows.new_zeros(self.extra, rows.shape[1])])
        return rows + self.residual
