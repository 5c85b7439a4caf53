"""The HiFT vocoder of generations 1 and 2: mel to f0, and mel plus source to samples.

Source: HiFTNet (https://arxiv.org/abs/2309.09493), CosyVoice `hifigan/generator.py` and `hifigan/f0_predictor.py`.
The source signal between the two graphs is the server's: it needs the request's own noise.

Inside, tensors are [B, C, 1, T]: ONNX Runtime's CPU kernels have a blocked layout for two-dimensional convolutions
only, which makes these 15 to 40% faster than one-dimensional ones.
"""

from __future__ import annotations

import numpy as np

from .errors import ExportError
from .graph import F32, Graph, Numbers
from .hyper_yaml import Tagged
from .layers import Weights

LAST_SLOPE = 0.01  # the last leaky ReLU is written with torch's default slope, unlike the others
MAX_MAGNITUDE = 100.0
SNAKE_EPS = 1e-9
SMALLEST_FOLDED_ALPHA = 1e-3


def plain_weight(w: Weights, name: str) -> np.ndarray:
    """`exact_weight` in f32."""
    return exact_weight(w, name).astype(np.float32)


def exact_weight(w: Weights, name: str) -> np.ndarray:
    """The weight of `name` with weight norm folded, f64: g * v / |v|, the norm taken per slice of axis 0.

    Understands a plain weight, today's keys (parametrizations.weight.original0/1) and the older weight_g/weight_v.
    """
    if f"{name}.weight" in w:
        return w[f"{name}.weight"].astype(np.float64)
    new, old = f"{name}.parametrizations.weight.original", f"{name}.weight_"
    first, second = (f"{new}0", f"{new}1") if f"{new}0" in w else (f"{old}g", f"{old}v")
    magnitude, direction = w[first].astype(np.float64), w[second].astype(np.float64)
    axes = tuple(range(1, direction.ndim))
    norm = np.sqrt((direction**2).sum(axis=axes, keepdims=True))
    return direction * (magnitude / norm)


def conv(
    g: Graph, x: str, weight: np.ndarray, bias: np.ndarray, name: str, pad: int = 0, dilation: int = 1, stride: int = 1
) -> str:
    """A convolution over time, weight [out, in, taps], zero-padded by `pad` on both sides."""
    return g(
        "Conv",
        x,
        g.weight(weight[:, :, None], f"{name}.weight"),
        g.weight(bias, f"{name}.bias"),
        pads=[0, pad, 0, pad],
        dilations=[1, dilation],
        strides=[1, stride],
    )


def same_conv(g: Graph, x: str, weight: np.ndarray, bias: np.ndarray, name: str, dilation: int = 1) -> str:
    """A convolution with an odd number of taps that keeps the length."""
    return conv(g, x, weight, bias, name, dilation * (weight.shape[2] - 1) // 2, dilation)


def build_f0(config: Tagged, state: dict[str, np.ndarray], store: int) -> Graph:
    """The graph `hift_f0`: five convolutions with ELU, a projection and an absolute value. Always f32."""
    g = Graph("hift_f0", Numbers(F32, store))
    w = Weights(state, "hift.pt", "f0_predictor.")
    x = g("Unsqueeze", g.input("mel", F32, ["B", int(config["in_channels"]), "F"]), g.ints(2))
    for i in sorted({int(k.split(".")[2]) for k in state if k.startswith("f0_predictor.condnet.")}):
        name = f"condnet.{i}"
        x = g("Elu", same_conv(g, x, plain_weight(w, name), w[f"{name}.bias"], name), alpha=1.0)
    weight = w["classifier.weight"]
    if weight.shape[0] != 1:
        raise ExportError("hift.pt: the f0 predictor has more than one class")
    f0 = conv(g, x, weight[:, :, None], w["classifier.bias"], "classifier")
    g.output("f0", F32, ["B", "F"], g("Squeeze", g("Abs", f0), g.ints(1, 2)))
    return g


class Decoder:
    """Builds the graph `hift_decoder`."""

    def __init__(self, config: Tagged, weights: Weights, numbers: Numbers):
        self.g = Graph("hift_decoder", numbers)
        self.config, self.w = config, weights
        self.n_fft = int(config["istft_params"]["n_fft"])
        self.hop = int(config["istft_params"]["hop_len"])
        self.rates = [int(r) for r in config["upsample_rates"]]
        self.kernels = len(config["resblock_kernel_sizes"])

    def build(self) -> Graph:
        g, w = self.g, self.w
        bins = int(self.config["in_channels"])
        mel = g.input("mel", F32, ["B", bins, "F"])
        source = g.input("source", F32, ["B", 1, "S"])
        spectrum = g("Unsqueeze", self._stft(source), g.ints(2))
        mel = g("Unsqueeze", mel, g.ints(2))
        x = same_conv(g, mel, plain_weight(w, "conv_pre"), w["conv_pre.bias"], "conv_pre")
        for i in range(len(self.rates)):
            x = self._stage(x, spectrum, i)
        x = g("LeakyRelu", x, alpha=LAST_SLOPE)
        x = same_conv(g, x, plain_weight(w, "conv_post"), w["conv_post.bias"], "conv_post")
        x = g("Squeeze", x, g.ints(2))
        limit = float(self.config["audio_limit"])
        audio = g("Clip", self._istft(x), g.number(-limit), g.number(limit))
        g.output("audio", F32, ["B", "S"], g("Squeeze", audio, g.ints(1)))
        return g

    def _stage(self, x: str, spectrum: str, i: int) -> str:
        """Upsample, add the source's branch, average the residual blocks."""
        g, w = self.g, self.w
        x = g("LeakyRelu", x, alpha=float(self.config["lrelu_slope"]))
        x = self._upsample(x, i)
        if i == len(self.rates) - 1:
            x = g("Pad", x, g.ints(0, 0, 0, 1, 0, 0, 0, 0), mode="reflect")  # the STFT has one frame more
        x = g("Add", x, self._source_branch(spectrum, i))
        total = ""
        for j in range(self.kernels):
            y = self._residual(x, w.sub(f"resblocks.{i * self.kernels + j}"))
            total = y if j == 0 else g("Add", total, y)
        return g("Mul", total, g.number(1 / self.kernels))

    def _upsample(self, x: str, i: int) -> str:
        weight = plain_weight(self.w, f"ups.{i}")
        rate, taps = self.rates[i], weight.shape[2]
        pad = (taps - rate) // 2
        return self.g(
            "ConvTranspose",
            x,
            self.g.weight(weight[:, :, None], f"ups.{i}.weight"),
            self.g.weight(self.w[f"ups.{i}.bias"], f"ups.{i}.bias"),
            strides=[1, rate],
            pads=[0, pad, 0, pad],
        )

    def _source_branch(self, spectrum: str, i: int) -> str:
        """The source spectrum brought to this stage's rate."""
        step = int(np.prod(self.rates[i + 1 :], dtype=int))
        name = f"source_downs.{i}"
        pad = 0 if step == 1 else step // 2
        weight = plain_weight(self.w, name)
        x = conv(self.g, spectrum, weight, self.w[f"{name}.bias"], name, pad, stride=step)
        return self._residual(x, self.w.sub(f"source_resblocks.{i}"))

    def _conv(self, x: str, weight: np.ndarray, bias: np.ndarray, name: str, dilation: int = 1) -> str:
        """A convolution of a residual block."""
        return same_conv(self.g, x, weight, bias, name, dilation)

    def _residual(self, x: str, w: Weights) -> str:
        """Dilated residual convolutions with Snake activations, x + sin^2(a x) / a (https://arxiv.org/abs/2006.08195).

        With u = a x the activation is (u + sin^2 u) / a: the division goes into the following convolution's weights
        and, for the second activation, the product into the preceding one's.
        """
        g, n = self.g, w.count("convs1")
        kind = self.config["resblock_dilation_sizes"]
        for i in range(n):
            first, second = plain_weight(w, f"convs1.{i}"), plain_weight(w, f"convs2.{i}")
            bias1, bias2 = w[f"convs1.{i}.bias"], w[f"convs2.{i}.bias"]
            alpha1, alpha2 = w[f"activations1.{i}.alpha"], w[f"activations2.{i}.alpha"]
            dilation = self._dilation(w.prefix, i, kind)
            t, first = self._snake(x, alpha1, first, scale_input=True, name=f"{w.prefix}activations1.{i}")
            if _foldable(alpha2):
                first, bias1 = first * alpha2[:, None, None], bias1 * alpha2
            t = self._conv(t, first, bias1, f"{w.prefix}convs1.{i}", dilation)
            t, second = self._snake(t, alpha2, second, scale_input=False, name=f"{w.prefix}activations2.{i}")
            x = g("Add", self._conv(t, second, bias2, f"{w.prefix}convs2.{i}"), x)
        return x

    def _dilation(self, prefix: str, i: int, sizes: list[list[int]]) -> int:
        if prefix.startswith("source_"):
            sizes = self.config["source_resblock_dilation_sizes"]
            return int(sizes[int(prefix.split(".")[1])][i])
        return int(sizes[int(prefix.split(".")[1]) % self.kernels][i])

    def _snake(
        self, x: str, alpha: np.ndarray, following: np.ndarray, scale_input: bool, name: str
    ) -> tuple[str, np.ndarray]:
        """a * Snake(x) and the following weight divided by a; Snake(x) itself where some a is too small to divide by.

        `scale_input`: whether x still has to be multiplied by a (it never has been when a is too small).
        """
        g = self.g
        if not _foldable(alpha):
            u = g("Mul", x, g.weight(alpha[:, None, None], f"{name}.alpha"))
            sine = g("Sin", u)
            inverse = g.weight((1 / (alpha + SNAKE_EPS))[:, None, None], f"{name}.inverse")
            return g("Add", x, g("Mul", g("Mul", sine, sine), inverse)), following
        u = g("Mul", x, g.weight(alpha[:, None, None], f"{name}.alpha")) if scale_input else x
        sine = g("Sin", u)
        return g("Add", u, g("Mul", sine, sine)), following / alpha[None, :, None]

    def _stft(self, source: str) -> str:
        """[B, n_fft + 2, frames]: real parts, then imaginary parts, centred with reflection, as torch.stft."""
        g, n = self.g, self.n_fft
        padded = g("Pad", source, g.ints(0, 0, n // 2, 0, 0, n // 2), mode="reflect")
        return g("Conv", padded, g.raw(stft_kernel(n), "stft"), strides=[self.hop])

    def _spectrum(self, x: str) -> str:
        """[B, n_fft + 2, frames]: real and imaginary parts from log magnitudes and phase angles."""
        g, half = self.g, self.n_fft // 2 + 1
        magnitude, phase = g("Split", x, g.ints(half, half), out=2, axis=1)
        magnitude = g("Min", g("Exp", magnitude), g.number(MAX_MAGNITUDE))
        phase = g("Sin", phase)
        return g("Concat", g("Mul", magnitude, g("Cos", phase)), g("Mul", magnitude, g("Sin", phase)), axis=1)

    def _istft(self, x: str) -> str:
        """[B, 1, samples] from log magnitudes and phase angles, as torch.istft.

        Overlap-add of windowed inverse transforms, divided by the overlapped squared window; half a window is trimmed
        at both ends by the transposed convolution's padding.
        """
        g, n = self.g, self.n_fft
        trim = {"strides": [self.hop], "pads": [n // 2, n // 2]}
        audio = g("ConvTranspose", self._spectrum(x), g.raw(istft_kernel(n), "istft"), **trim)
        frames = g("Slice", g("Shape", x), g.ints(2), g.ints(3))
        ones = g("Expand", g.number(1), g("Concat", g.ints(1, 1), frames, axis=0))
        envelope = g("ConvTranspose", ones, g.raw(squared_window(n), "istft_envelope"), **trim)
        return g("Div", audio, envelope)


def stft_kernel(n: int) -> np.ndarray:
    """f32 [n + 2, 1, n]: a windowed Fourier transform as a convolution; real parts, then imaginary parts."""
    cos, sin = _fourier(n)
    return np.concatenate([cos * _hann(n), -sin * _hann(n)])[:, None].astype(np.float32)


def istft_kernel(n: int) -> np.ndarray:
    """f32 [n + 2, 1, n]: the inverse of `stft_kernel`'s transform, windowed, as a transposed convolution."""
    cos, sin = _fourier(n)
    bins = np.arange(n // 2 + 1)
    twice = np.where((bins == 0) | (bins == n // 2), 1.0, 2.0)[:, None]
    return (np.concatenate([cos * twice, -sin * twice]) * _hann(n) / n)[:, None].astype(np.float32)


def squared_window(n: int) -> np.ndarray:
    """f32 [1, 1, n]: what an inverse transform's overlap-add has to be divided by, overlapped itself."""
    return (_hann(n) ** 2)[None, None].astype(np.float32)


def _foldable(alpha: np.ndarray) -> bool:
    return bool(np.min(np.abs(alpha)) >= SMALLEST_FOLDED_ALPHA)


def _hann(n: int) -> np.ndarray:
    """Periodic Hann window, f64."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)


def _fourier(n: int) -> tuple[np.ndarray, np.ndarray]:
    """cos and sin of 2 pi k i / n for k = 0 .. n/2, f64 [n/2 + 1, n]."""
    angle = 2 * np.pi * np.outer(np.arange(n // 2 + 1), np.arange(n)) / n
    return np.cos(angle), np.sin(angle)


def build_decoder(config: Tagged, state: dict[str, np.ndarray], store: int) -> Graph:
    """The graph `hift_decoder` from the yaml's `hift` and the state of hift.pt. Computes in f32."""
    return Decoder(config, Weights(state, "hift.pt"), Numbers(F32, store)).build()


def source_parameters(config: Tagged, state: dict[str, np.ndarray]) -> dict[str, object]:
    """The manifest's numbers for the source module, which the server computes."""
    w = Weights(state, "hift.pt", "m_source.l_linear.")
    hop = int(np.prod(config["upsample_rates"])) * int(config["istft_params"]["hop_len"])
    return {
        "hop": hop,
        "harmonics": int(config["nb_harmonics"]),
        "sine_amp": float(config["nsf_alpha"]),
        "noise_std": float(config["nsf_sigma"]),
        "voiced_threshold": float(config["nsf_voiced_threshold"]),
        "merge_weight": [float(v) for v in w["weight"].reshape(-1)],
        "merge_bias": float(w["bias"].reshape(-1)[0]),
    }
