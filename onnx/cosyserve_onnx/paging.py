"""State kept between the runs of one utterance: arenas, and which of their rows a run reads, writes and sees.

An arena is one tensor that is graph input and graph output over the same memory: Gather reads the chunks before, and
ScatterND writes the new ones in place. Rows that a run reads and writes are disjoint, so the order of the two does not
matter. BUNDLE.md has the rules that the caller keeps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .graph import F16, I64, Graph
from .layers import windows

_ELEMENTS = {False: "f32", True: "f16"}
TAIL_FRAMES = 2  # a causal convolution of 3 taps sees 2 frames before


class Arenas:
    """The arenas of one graph. They hold the graph's cache type; the graph sees its compute type.

    ONNX Runtime's CUDA ScatterND gives every index one thread, which copies alone what the index names: with whole rows
    that was most of an Euler step's time. With a `grain`, rows are stored as pieces of so many elements, each with an
    index of its own.
    """

    def __init__(self, g: Graph):
        self.g = g
        self.manifest: list[dict[str, Any]] = []
        self._outputs: list[tuple[str, list[int | str]]] = []
        self._places: dict[tuple[str, int], str] = {}

    def open(self, name: str, kind: str, shape: list[int]) -> str:
        """Declares an arena of `kind` rows (token, frame or tail), each of `shape`."""
        element = self.g.numbers.cache
        cache, output = f"cache.{name}", f"cache_out.{name}"
        stored = self._stored(shape)
        self.manifest.append(
            {"name": cache, "output": output, "kind": kind, "shape": stored, "element": _ELEMENTS[element == F16]}
        )
        full = [f"{kind}_rows", *stored]
        self._outputs.append((output, full))
        return self.g.input(cache, element, full)

    def read(self, arena: str, rows: str, shape: list[int]) -> str:
        """[*rows, *shape]: what the arena held before this run; `rows` is [B] or [B, K]."""
        value = self.g("Gather", arena, rows, axis=0)
        if self._stored(shape) != shape:
            value = self.g("Reshape", value, self.g.ints(*[0] * (2 if len(shape) == 1 else 1), *shape))
        return self._cast(value, self.g.numbers.cache, self.g.numbers.compute)

    def write(self, arena: str, rows: str, value: str, shape: list[int]) -> None:
        """Puts value [*rows, *shape] into rows [..., 1]."""
        g, stored = self.g, self._stored(shape)
        value = self._cast(value, g.numbers.compute, g.numbers.cache)
        if stored != shape:
            value = g("Reshape", value, g.ints(*[0] * (2 if len(shape) == 1 else 1), *stored))
            rows = self._pieces(rows, stored[0])
        g("ScatterND", arena, rows, value, out=[arena.replace("cache.", "cache_out.", 1)])

    def _stored(self, shape: list[int]) -> list[int]:
        """How rows of `shape` are held: as they are, or as pieces of the grain (or what divides the row)."""
        if not self.g.numbers.grain:
            return shape
        size = math.prod(shape)
        grain = math.gcd(size, self.g.numbers.grain)
        return [size // grain, grain]

    def _pieces(self, rows: str, count: int) -> str:
        """[..., count, 2]: (row, piece) of every piece of rows [..., 1]."""
        if (rows, count) not in self._places:
            g = self.g
            piece = np.stack([np.zeros(count, np.int64), np.arange(count)], axis=1)
            row = g("Mul", g("Unsqueeze", rows, g.ints(-1)), g.const([1, 0], np.int64))
            self._places[rows, count] = g("Add", row, g.const(piece, np.int64))
        return self._places[rows, count]

    def close(self) -> None:
        """Declares the outputs, in the order of the inputs; every arena must have been written."""
        for output, shape in self._outputs:
            self.g.output(output, self.g.numbers.cache, shape, output)

    def _cast(self, value: str, given: int, wanted: int) -> str:
        return value if given == wanted else self.g("Cast", value, to=wanted)


@dataclass
class Seen:
    """The inputs that say what a run's queries may attend to, in one rate's positions (BUNDLE.md, visibility)."""

    valid: str  # [B]
    chunk: str  # []
    left: str  # []
    skip: str  # [B]

    def mask(self, g: Graph, past: str, length: str, blocked: float) -> str:
        """[B, 1, N, K + N] additive mask for scalars `past` (K) and `length` (N)."""
        total = g("Add", past, length)
        one, zero = g.const(1, np.int64), g.const(0, np.int64)
        keys = g("Range", zero, total, one)
        key_chunk = g("Div", keys, self.chunk)
        query_chunk = g("Unsqueeze", g("Div", g("Range", past, total, one), self.chunk), g.ints(1))
        oldest = g("Sub", query_chunk, self.left)
        near = g("And", g("LessOrEqual", key_chunk, query_chunk), g("GreaterOrEqual", key_chunk, oldest))
        new = g("Range", g("Neg", past), length, one)  # a key's place among the new positions
        real = g("Less", new, g("Unsqueeze", self.valid, g.ints(1)))
        real = g("And", real, g("GreaterOrEqual", keys, g("Unsqueeze", self.skip, g.ints(1))))
        seen = g("And", g("Unsqueeze", real, g.ints(1)), near)
        return g("Unsqueeze", g("Where", seen, g.number(0), g.number(blocked)), g.ints(1))


@dataclass
class Span:
    """What all attention layers of one rate share."""

    arenas: Arenas
    kind: str  # of the arenas' rows
    history: str  # [B, K] rows of the positions before
    write: str  # [B, N, 1] rows for the new positions
    mask: str  # [B or 1, 1, N, K + N]

    def extend(self, name: str, new: str, width: int) -> str:
        """[B, K + N, width]: the history's rows of arena `name`, then `new` [B, N, width], which is stored there."""
        g = self.arenas.g
        arena = self.arenas.open(name, self.kind, [width])
        self.arenas.write(arena, self.write, new, [width])
        return g("Concat", self.arenas.read(arena, self.history, [width]), new, axis=1)

    def extend_pair(self, name: str, new: str, width: int) -> tuple[str, str]:
        """k and v [B, K + N, width] that share an arena; `new` [B, N, 2 width] has them side by side."""
        g = self.arenas.g
        k, v = g("Split", self.extend(name, new, 2 * width), g.ints(width, width), out=2, axis=2)
        return k, v


class Tails:
    """The last input frames of all causal convolutions of a graph, side by side in one arena."""

    def __init__(self, arenas: Arenas, widths: dict[str, int], rows: tuple[str, str], frames: int = TAIL_FRAMES):
        """`widths`: channels by convolution; `rows`: arena rows [B] to read and [B, 1] to write."""
        self.g, self._arenas, self._write, self._frames = arenas.g, arenas, rows[1], frames
        self._shape = [frames, sum(widths.values())]
        self._arena = arenas.open("tails", "tail", self._shape)
        before = arenas.read(self._arena, rows[0], self._shape)
        parts = self.g("Split", before, self.g.ints(*widths.values()), out=len(widths), axis=2)
        self._before = dict(zip(widths, [parts] if len(widths) == 1 else parts, strict=True))
        self._after = dict.fromkeys(widths, "")

    def extend(self, name: str, x: str) -> str:
        """x [B, N, C] behind the tail [B, frames, C] of convolution `name`, whose next tail this makes."""
        g = self.g
        seen = g("Concat", self._before[name], x, axis=1)
        self._after[name] = g("Slice", seen, g.ints(-self._frames), g.ints(2**31), g.ints(1))
        return seen

    def windows(self, name: str, x: str, places: str) -> str:
        """[B, N, (frames + 1) C]: every frame of x [B, N, C] behind those before it."""
        return windows(self.g, self.extend(name, x), places)

    def close(self) -> None:
        """Writes every tail."""
        self._arenas.write(self._arena, self._write, self.g("Concat", *self._after.values(), axis=2), self._shape)


def paging_inputs(g: Graph, length: str) -> dict[str, str]:
    """The inputs that both graphs end with, arenas aside; `length` names the axis of new positions."""
    shapes: dict[str, list[int | str]] = {
        "chunk": [], "left": [], "history": ["B", "K"], "skip": ["B"], "write": ["B", length],
        "tail_from": ["B"], "tail_to": ["B"],
    }  # fmt: skip
    return {name: g.input(name, I64, shape) for name, shape in shapes.items()}


def column(g: Graph, rows: str) -> str:
    """ScatterND's indices [..., 1] of rows [...]."""
    return g("Unsqueeze", rows, g.ints(-1))
