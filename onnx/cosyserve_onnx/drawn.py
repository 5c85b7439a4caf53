"""State dictionaries whose arrays are drawn when they are asked for: what random models are made of."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

SPEECH_TOKENS = 6561
SPEAKER, BINS = 192, 80


@dataclass(frozen=True)
class _Spec:
    shape: tuple[int, ...]
    std: float
    mean: float = 0.0
    tail: tuple[int, float] = (0, 0.0)  # the last so many rows are this number


class Drawn(Mapping):
    """A state dictionary whose arrays (f32) are drawn when they are asked for, the same each time; none is kept."""

    def __init__(self, seed: int):
        self._seed, self._specs, self._given = seed, {}, {}

    def __getitem__(self, name: str) -> np.ndarray:
        if name in self._given:
            return self._given[name]
        spec = self._specs[name]
        generator = np.random.Generator(np.random.SFC64([self._seed, zlib.crc32(name.encode())]))
        array = generator.standard_normal(spec.shape, np.float32)
        array *= np.float32(spec.std)
        array += np.float32(spec.mean)
        rows, value = spec.tail
        if rows:
            array[-rows:] = value
        return array

    def __iter__(self) -> Iterator[str]:
        return iter([*self._specs, *self._given])

    def __len__(self) -> int:
        return len(self._specs) + len(self._given)

    def size(self) -> int:
        """How many numbers are drawn."""
        return sum(int(np.prod(spec.shape)) for spec in self._specs.values())

    def given(self, name: str, array: np.ndarray) -> None:
        """`name`, which is no matter of chance."""
        self._given[name] = array.astype(np.float32)

    def table(self, name: str, rows: int, width: int, std: float) -> None:
        """`name`.weight, an embedding."""
        self._specs[f"{name}.weight"] = _Spec((rows, width), std)

    def vector(self, name: str, width: int, std: float, mean: float = 0.0, tail: tuple[int, float] = (0, 0.0)) -> None:
        """`name`, one number per channel."""
        self._specs[name] = _Spec((width,), std, mean, tail)

    def layer(self, name: str, out: int, inside: int, *taps: int, gain: float = 1.0, bias: bool = True) -> None:
        """A linear layer or convolution whose outputs are `gain` times as large as its inputs."""
        self._specs[f"{name}.weight"] = _Spec((out, inside, *taps), gain / float(np.sqrt(inside * np.prod(taps))))
        if bias:
            self.vector(f"{name}.bias", out, 0.05)

    def norm(self, name: str, width: int, mean: float = 1.0) -> None:
        """A layer norm."""
        self.vector(f"{name}.weight", width, mean / 10, mean)
        self.vector(f"{name}.bias", width, 0.1 * mean)
