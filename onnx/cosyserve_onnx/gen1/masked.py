"""Convolutions and group norms over rows of different lengths, [B, T, C] with `valid` frames each.

What lies behind a row's end must not be seen: convolutions see zeros there, as at any sequence's end, and norms leave
it out of their sums. So a row computes the same alone and padded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..graph import F16, F32, Graph
from ..layers import Weights, conv_matrix, linear, window_places, windows

TAPS = 3  # of every convolution over time
NORM_EPS = 1e-5


@dataclass
class Frames:
    """The frames of one rate."""

    length: str  # i64 scalar: T
    valid: str  # i64 [B]
    mask: str  # [B, T, 1] of ones and zeros, compute type
    count: str  # f32 [B, 1, 1]: `valid`
    places: str  # [T, 3] windows around every frame of a sequence padded by one on both sides

    @classmethod
    def of(cls, g: Graph, length: str, valid: str) -> Frames:
        """The frames of a sequence of `length` positions."""
        position = g("Range", g.const(0, np.int64), length, g.const(1, np.int64))
        inside = g("Less", position, g("Unsqueeze", valid, g.ints(1)))
        mask = g("Unsqueeze", g("Where", inside, g.number(1), g.number(0)), g.ints(2))
        count = g("Cast", g("Unsqueeze", valid, g.ints(1, 2)), to=F32)
        return cls(length, valid, mask, count, window_places(g, length, TAPS))

    def key_mask(self, g: Graph, blocked: str) -> str:
        """[B, 1, 1, T] additive: what no query may attend to."""
        inside = g("Greater", self.mask, g.number(0.5))
        hidden = g("Where", inside, g.number(0), blocked)
        return g("Unsqueeze", g("Transpose", hidden, perm=[0, 2, 1]), g.ints(1))


def padded(g: Graph, x: str, frames: Frames) -> str:
    """[B, T + 2, C]: x with zeros around every row."""
    return g("Pad", g("Mul", x, frames.mask), g.ints(0, 1, 0, 0, 1, 0), g.number(0))


def conv(g: Graph, x: str, frames: Frames, w: Weights, rough: bool = False) -> str:
    """A torch Conv1d of 3 taps and padding 1."""
    seen = windows(g, padded(g, x, frames), frames.places)
    return linear(g, seen, conv_matrix(w["weight"]), w["bias"], f"{w.prefix}conv", rough)


def group_norm(g: Graph, x: str, frames: Frames, w: Weights, groups: int) -> str:
    """Mean and variance over a row's valid frames and a group's channels, in f32."""
    gamma, beta = w["weight"], w["bias"]
    channels = gamma.size
    half = g.numbers.compute == F16
    mask = frames.mask
    if half:
        x, mask = g("Cast", x, to=F32), g("Cast", mask, to=F32)

    def mean(value: str) -> str:
        """[B, groups, 1] of [B, T, C], which is zero where it does not count."""
        total = g("ReduceSum", value, g.ints(1), keepdims=1)
        total = g("ReduceSum", g("Reshape", total, g.ints(0, groups, channels // groups)), g.ints(2), keepdims=1)
        return g("Div", total, g("Mul", frames.count, g.const(channels // groups)))

    def spread(value: str) -> str:
        """[B, 1, C] of a number per group."""
        wide = g("Mul", value, g.const(np.ones((1, 1, channels // groups))))
        return g("Reshape", wide, g.ints(0, 1, channels))

    centred = g("Mul", g("Sub", x, spread(mean(g("Mul", x, mask)))), mask)
    deviation = g("Sqrt", g("Add", mean(g("Mul", centred, centred)), g.const(NORM_EPS)))
    scale = g("Div", g.weight(gamma, f"{w.prefix}weight", F32), spread(deviation))
    y = g("Add", g("Mul", centred, scale), g.weight(beta, f"{w.prefix}bias", F32))
    return g("Cast", y, to=F16) if half else y


def halved(g: Graph, frames: Frames) -> Frames:
    """The frames behind a convolution of stride 2: every second one, rounded up."""
    one, two = g.const(1, np.int64), g.const(2, np.int64)
    length, valid = (g("Div", g("Add", n, one), two) for n in (frames.length, frames.valid))
    return Frames.of(g, length, valid)


def down(g: Graph, x: str, frames: Frames, fewer: Frames, w: Weights) -> str:
    """A torch Conv1d of 3 taps, stride 2 and padding 1."""
    starts = g("Mul", g("Range", g.const(0, np.int64), fewer.length, g.const(1, np.int64)), g.const(2, np.int64))
    places = g("Add", g("Unsqueeze", starts, g.ints(1)), g.const([np.arange(TAPS)], np.int64))
    # An odd length needs no frame more: its last window ends on the padding.
    seen = windows(g, padded(g, x, frames), places)
    return linear(g, seen, conv_matrix(w["weight"]), w["bias"], f"{w.prefix}conv")


def up(g: Graph, x: str, frames: Frames, more: Frames, w: Weights) -> str:
    """A torch ConvTranspose1d of 4 taps, stride 2 and padding 1, cut to `more.length` frames.

    Output 2 t sees inputs t - 1 and t, output 2 t + 1 sees t and t + 1: a convolution of 3 taps with twice the outputs.
    """
    weight = w["weight"]  # [in, out, 4]
    inside, out, _ = weight.shape
    merged = np.zeros((2, out, TAPS, inside), np.float32)
    for phase, tap, source in ((0, 3, 0), (0, 1, 1), (1, 2, 1), (1, 0, 2)):
        merged[phase, :, source] = weight[:, :, tap].T
    seen = windows(g, padded(g, x, frames), frames.places)
    h = linear(g, seen, merged.reshape(2 * out, TAPS * inside), np.tile(w["bias"], 2), f"{w.prefix}conv")
    h = g("Reshape", h, g.ints(0, -1, out))
    return g("Slice", h, g.ints(0), g("Unsqueeze", more.length, g.ints(0)), g.ints(1))
