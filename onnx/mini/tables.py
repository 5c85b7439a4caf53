"""Code tables for 6561-way embeddings and heads, built from parts that many codes share.

A free row per code learns only from that code's own few occurrences. Here a row is the sum of a row for (phone,
position), one for (pitch, position), one for (phone, voiced) and a small free residual; export writes the plain table.
"""

import torch
import torch.nn.functional as F
from torch import nn

import tokens

ROUNDS = 20  # of taking tables apart; they change by less than 1e-4 after ten


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


def take_apart(rows, extra):
    """CodeTable parts that add up to `rows` (codes + extra, width): shared ones by repeated means, and what is left."""
    table = CodeTable(rows.shape[1], extra)
    codes, rest = rows[: tokens.CODES], rows[: tokens.CODES].clone()
    parts = {name: torch.zeros_like(getattr(table, name).data) for name in "abc"}
    places = {"a": table.phone_position, "b": table.pitch_position, "c": table.phone_voiced}
    for _ in range(ROUNDS):
        for name, place in places.items():
            rest += parts[name][place]
            count = torch.bincount(place, minlength=len(parts[name]))[:, None]
            parts[name] = torch.zeros_like(parts[name]).index_add_(0, place, rest) / count
            rest -= parts[name][place]
    assert torch.allclose(sum(parts[n][p] for n, p in places.items()) + rest, codes, atol=1e-4)
    return {**parts, "residual": torch.cat([rest, rows[tokens.CODES :]])}
