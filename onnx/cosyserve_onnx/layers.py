"""Building blocks shared by the stages. Sequences are [B, T, C] unless a docstring says otherwise.

Convolutions are written as a matrix product over windows of frames: it needs no transposes between
channel-first and channel-last, its weights are packed once at load, and on CUDA it avoids cuDNN's algorithm search for
every new length.
"""

from __future__ import annotations

import numpy as np

from .errors import ExportError
from .graph import F16, MS, Graph
from .quantize import dynamic_matmul


class Weights:
    """A state dictionary seen from a prefix; arrays come out as f32."""

    def __init__(self, state: dict[str, np.ndarray], source: str, prefix: str = ""):
        self._state, self._source, self.prefix = state, source, prefix

    def sub(self, name: str) -> Weights:
        """The part below `name`."""
        return Weights(self._state, self._source, f"{self.prefix}{name}.")

    def __contains__(self, name: str) -> bool:
        return self.prefix + name in self._state

    def raw(self, name: str) -> np.ndarray:
        """The array as stored."""
        key = self.prefix + name
        if key not in self._state:
            raise ExportError(f"{self._source}: the weight {key} is missing")
        return self._state[key]

    def __getitem__(self, name: str) -> np.ndarray:
        return np.asarray(self.raw(name)).astype(np.float32)

    def count(self, name: str) -> int:
        """How many numbered children `name.0`, `name.1`, ... there are."""
        start = f"{self.prefix}{name}."
        numbers = {k[len(start) :].split(".", 1)[0] for k in self._state if k.startswith(start)}
        return len({n for n in numbers if n.isdigit()})


def matmul(g: Graph, x: str, weight: np.ndarray, name: str, rough: bool = False) -> str:
    """x @ weight.T for a torch linear weight [out, in]; `rough`: tolerates quantisation in an int8 graph."""
    if rough and g.numbers.int8:
        return dynamic_matmul(g, x, weight, name)
    return g("MatMul", x, g.weight(np.ascontiguousarray(weight.T), f"{name}.weight"))


def linear(g: Graph, x: str, weight: np.ndarray, bias: np.ndarray | None, name: str, rough: bool = False) -> str:
    """A torch Linear."""
    y = matmul(g, x, weight, name, rough)
    return y if bias is None else g("Add", y, g.weight(bias, f"{name}.bias"))


def layer_norm(g: Graph, x: str, w: Weights, eps: float, scale: float = 1.0) -> str:
    """LayerNorm over channels, its result times `scale` (folded into the parameters)."""
    gamma = g.weight(w["weight"] * np.float32(scale), f"{w.prefix}weight")
    beta = g.weight(w["bias"] * np.float32(scale), f"{w.prefix}bias")
    return g("LayerNormalization", x, gamma, beta, axis=-1, epsilon=eps)


def add_norm(g: Graph, x: str, skip: str, bias: np.ndarray, w: Weights, eps: float) -> tuple[str, str]:
    """(LayerNorm(x + bias + skip), x + bias + skip).

    In an fp16 graph one node: a third of the kernels, and the ONNX Runtime that the server takes sums in f32 there
    (those before summer 2026 summed in fp16). In f32 the bias is added last on purpose: ONNX Runtime would fuse
    `skip + (x + bias)` and the norm into that node, whose CPU kernel is five times slower than the nodes it replaces
    (0.47 against 0.09 ms for 500 x 192).
    """
    bias_name = g.weight(bias, f"{w.prefix}skip_bias")
    if g.numbers.compute == F16:
        gamma, beta = g.weight(w["weight"], f"{w.prefix}weight"), g.weight(w["bias"], f"{w.prefix}bias")
        g("SkipLayerNormalization", x, skip, gamma, beta, bias_name, domain=MS, epsilon=eps,
          out=[f"{w.prefix}normed", "", "", f"{w.prefix}total"])  # fmt: skip
        return f"{w.prefix}normed", f"{w.prefix}total"
    total = g("Add", g("Add", x, skip), bias_name)
    return layer_norm(g, total, w, eps), total


def window_places(g: Graph, length: str, taps: int) -> str:
    """[N, taps] indices of the frames that each of `length` (N) windows holds, oldest first; shared by convolutions."""
    starts = g("Range", g.const(0, np.int64), length, g.const(1, np.int64))
    return g("Add", g("Unsqueeze", starts, g.ints(1)), g.const([np.arange(taps)], np.int64))


def windows(g: Graph, x: str, places: str) -> str:
    """[B, N, taps * C]: the windows `places` of x [B, N + taps - 1, C].

    One Gather: on CPUs a quarter faster than slices put side by side, on CUDA one kernel in place of four.
    """
    return g("Reshape", g("Gather", x, places, axis=1), g.ints(0, 0, -1))


def conv_matrix(weight: np.ndarray) -> np.ndarray:
    """A torch Conv1d weight [out, in, taps] as the linear weight [out, taps * in] that `windows` needs."""
    return np.ascontiguousarray(weight.transpose(0, 2, 1).reshape(weight.shape[0], -1))


def length_of(g: Graph, x: str, axis: int = 1) -> str:
    """The size of `axis` as an int64 scalar."""
    return g("Gather", g("Shape", x), g.const(axis, np.int64), axis=0)


def silu(g: Graph, x: str) -> str:
    """x * sigmoid(x) as one node."""
    return g("QuickGelu", x, domain=MS, alpha=1.0)


def mish(g: Graph, x: str) -> str:
    """x * tanh(softplus(x)).

    In f32 as x (1 - r^2) / (1 + r^2) with r = sigmoid(-x): one vectorised function on CPUs, no overflow. In fp16 as
    written: fewer kernels, and the mean error is smaller (2.5e-4 against 3.5e-4 for inputs of deviation 1.5).
    """
    if g.numbers.compute == F16:
        return g("Mul", x, g("Tanh", g("Softplus", x)))
    r = g("Sigmoid", g("Neg", x))
    r2 = g("Mul", r, r)
    ratio = g("Div", g("Sub", g.number(1), r2), g("Add", g.number(1), r2))
    return g("Mul", x, ratio)
