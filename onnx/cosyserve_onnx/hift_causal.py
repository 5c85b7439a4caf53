"""The causal HiFT vocoder of generation 3: mel to f0, and mel plus source to samples, a few frames at a time.

Source: HiFTNet (https://arxiv.org/abs/2309.09493), CosyVoice `hifigan/generator.py` (CausalHiFTGenerator),
`hifigan/f0_predictor.py` (CausalConvRNNF0Predictor) and `transformer/convolution.py`.

Every convolution looks back only, but the first of each graph, which looks 3 (f0) or 4 (decoder) mel frames ahead. So
runs over consecutive frames equal one run over all, once each gives the next what its convolutions looked back to:
half a megabyte for the real model, where recomputing from the mel would take 23 frames a run. Zeros are what the
reference pads an utterance's beginning with. Inputs, outputs and caches: BUNDLE.md, vocoder of generation 3.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from .errors import ExportError
from .graph import F32, I64, Graph, Numbers
from .hift import LAST_SLOPE, Decoder, conv, exact_weight, istft_kernel, plain_weight, squared_window, stft_kernel
from .hyper_yaml import Tagged
from .layers import Weights, conv_matrix, length_of, window_places, windows

F64 = TensorProto.DOUBLE
END = 2**31
SMALLEST_ENVELOPE = 1e-11  # torch.istft's


class Kept:
    """One cache of a graph: the last input frames of several convolutions, end to end, [B, C, frames].

    Inside, tensors are [B, C, 1, T], as in `hift.Decoder`.
    """

    def __init__(self, g: Graph, name: str, channels: int):
        self.g, self.channels, self.length = g, channels, 0
        self.name, self._output = f"cache.{name}", f"cache_out.{name}"
        self._after: list[str] = []
        self._before = g("Unsqueeze", self.name, g.ints(2))

    def extend(self, x: str, frames: int) -> str:
        """x behind the last `frames` of its past, whose next value this makes."""
        g, start = self.g, self.length
        if frames == 0:
            return x
        self.length += frames
        before = g("Slice", self._before, g.ints(start), g.ints(self.length), g.ints(3))
        seen = g("Concat", before, x, axis=3)
        self._after.append(g("Slice", seen, g.ints(-frames), g.ints(END), g.ints(3)))
        return seen

    def close(self) -> dict[str, Any]:
        """Declares input and output; the manifest's entry."""
        after = self._after[0] if len(self._after) == 1 else self.g("Concat", *self._after, axis=3)
        after = self.g("Squeeze", after, self.g.ints(2))
        return _declare(self.g, self.name, self._output, [self.channels, self.length], after)


def _declare(g: Graph, name: str, output: str, shape: list[int], value: str) -> dict[str, Any]:
    """Declares a cache's input and its output `value`, both f32 [B, *shape]; the manifest's entry."""
    g.input(name, F32, ["B", *shape])
    g.output(output, F32, ["B", *shape], value)
    return {"name": name, "output": output, "shape": shape, "element": "f32"}


class _Causal(Decoder):
    """Builds the graph `hift_decoder`. One run makes F mel frames' worth of every rate, `delay` samples late."""

    def __init__(self, config: Tagged, weights: Weights, numbers: Numbers):
        super().__init__(config, weights, numbers)
        g = self.g
        self.ahead = int(config["conv_pre_look_right"])
        self.delay = self.n_fft // 2
        self.back = int(np.prod(self.rates[1:])) - 1  # STFT frames before its own that the first stage sees
        self.spectrum = Kept(g, "spectrum", self.n_fft + 2)
        # By channels: the first upsampling's input; then every stage's convolutions and what comes behind them.
        widths = [plain_weight(weights, f"ups.{i}").shape[:2] for i in range(len(self.rates))]
        self.before = Kept(g, "input", widths[0][1])
        self.stages = [Kept(g, f"stages.{i}", out) for i, (out, _) in enumerate(widths)]

    def build_streaming(self) -> tuple[Graph, list[dict[str, Any]]]:
        """The graph and its caches' manifest entries."""
        g, w = self.g, self.w
        mel = g.input("mel", F32, ["B", int(self.config["in_channels"]), "M"])
        source, valid = g.input("source", F32, ["B", 1, "S"]), g.input("valid", I64, ["B"])
        spectrum = self._stft(source)
        weight = plain_weight(w, "conv_pre")
        if weight.shape[2] != self.ahead + 1:
            raise ExportError(f"hift.pt: conv_pre has {weight.shape[2]} taps, not {self.ahead + 1}")
        self.overlap, self.begun = self._overlap()
        x = conv(g, g("Unsqueeze", mel, g.ints(2)), weight, w["conv_pre.bias"], "conv_pre")
        for i in range(len(self.rates)):
            x = self._stage(x, spectrum, i)
        x = self._causal(self.stages[-1], g("LeakyRelu", x, alpha=LAST_SLOPE), "conv_post")
        audio, overlap = self._overlap_add(g("Squeeze", x, g.ints(2)), valid)
        limit = float(self.config["audio_limit"])
        g.output("audio", F32, ["B", "samples"], g("Clip", audio, g.number(-limit), g.number(limit)))
        caches = [kept.close() for kept in (self.spectrum, self.before, *self.stages)]
        shape = [2, self.n_fft - self.hop]
        return g, [*caches, _declare(g, "cache.overlap", "cache_out.overlap", shape, overlap)]

    def _causal(self, kept: Kept, x: str, name: str) -> str:
        """The convolution `name` over the present and the past."""
        weight = plain_weight(self.w, name)
        return conv(self.g, kept.extend(x, weight.shape[2] - 1), weight, self.w[f"{name}.bias"], name)

    def _conv(self, x: str, weight: np.ndarray, bias: np.ndarray, name: str, dilation: int = 1) -> str:
        """A convolution of a residual block, over the present and the past."""
        seen = self.kept.extend(x, dilation * (weight.shape[2] - 1))
        return conv(self.g, seen, weight, bias, name, dilation=dilation)

    def _stage(self, x: str, spectrum: str, i: int) -> str:
        """Upsample, add the source's branch, average the residual blocks."""
        g, self.kept = self.g, self.stages[i]
        x = self._upsample(g("LeakyRelu", x, alpha=float(self.config["lrelu_slope"])), i)
        if i == len(self.rates) - 1:
            x = self._shift(x)
        x = g("Add", x, self._source_branch(spectrum, i))
        blocks = [self._residual(x, self.w.sub(f"resblocks.{i * self.kernels + j}")) for j in range(self.kernels)]
        total = blocks[0]
        for block in blocks[1:]:
            total = g("Add", total, block)
        return g("Mul", total, g.number(1 / self.kernels))

    def _upsample(self, x: str, i: int) -> str:
        """Frames repeated s times, then a causal convolution, as one convolution at the frames' own rate.

        Tap k of output phase p of frame t falls on frame t + floor((p + k - taps + 1) / s): few frames, on which taps
        coincide, so weights are added up (a fifth of the products of the first stage).
        """
        g, name, stride = self.g, f"ups.{i}", self.rates[i]
        weight = plain_weight(self.w, name)
        out, inside, taps = weight.shape
        back = -(-(taps - 1) // stride)
        merged = np.zeros((out, stride, inside, back + 1), np.float64)
        for phase in range(stride):
            for tap in range(taps):
                merged[:, phase, :, back + (phase + tap - taps + 1) // stride] += weight[:, :, tap]
        kept = self.before if i == 0 else self.stages[i - 1]
        merged = merged.reshape(out * stride, inside, back + 1).astype(np.float32)
        x = conv(g, kept.extend(x, back), merged, np.repeat(self.w[f"{name}.bias"], stride), name)
        x = g("Transpose", g("Reshape", x, g.ints(0, out, stride, -1)), perm=[0, 1, 3, 2])
        return g("Reshape", x, g.ints(0, out, 1, -1))

    def _shift(self, x: str) -> str:
        """x one frame later: the STFT has one frame more, for which the reference reflects: frame 1 stands first."""
        g, kept = self.g, self.stages[-1]
        shifted = g("Slice", kept.extend(x, 1), g.ints(0), g.ints(-1), g.ints(3))
        first = g("Slice", x, g.ints(1), g.ints(2), g.ints(3))
        rest = g("Slice", shifted, g.ints(1), g.ints(END), g.ints(3))
        before = g("Slice", shifted, g.ints(0), g.ints(1), g.ints(3))
        return g("Concat", g("Where", self.begun, before, first), rest, axis=3)

    def _stft(self, source: str) -> str:
        """[B, n_fft + 2, 1, back + 120 F + 1]: the source's STFT frames behind the last ones of the run before.

        The last frame is the next run's first: it sees the first samples of the next mel frame, and strided
        convolutions see it.
        """
        g = self.g
        new = g("Unsqueeze", g("Conv", source, g.raw(stft_kernel(self.n_fft), "stft"), strides=[self.hop]), g.ints(2))
        own = g("Slice", new, g.ints(0), g.ints(-1), g.ints(3))
        last = g("Slice", new, g.ints(-1), g.ints(END), g.ints(3))
        return g("Concat", self.spectrum.extend(own, self.back), last, axis=3)

    def _source_branch(self, spectrum: str, i: int) -> str:
        """The source spectrum brought to this stage's rate."""
        g, name = self.g, f"source_downs.{i}"
        step = int(np.prod(self.rates[i + 1 :], dtype=int))
        weight = plain_weight(self.w, name)
        if weight.shape[2] != (1 if step == 1 else 2 * step):
            raise ExportError(f"hift.pt: {name} has {weight.shape[2]} taps")
        end = -1 if step == 1 else END
        seen = g("Slice", spectrum, g.ints(self.back - step + 1), g.ints(end), g.ints(3))
        x = conv(g, seen, weight, self.w[f"{name}.bias"], name, stride=step)
        return self._residual(x, self.w.sub(f"source_resblocks.{i}"))

    def _overlap(self) -> tuple[str, str]:
        """The cache of the overlap-add [B, 2, n_fft - hop]: sums of samples and of squared windows, not yet complete;
        and [B, 1, 1, 1], whether there was a run before: it left a window's square."""
        g = self.g
        weight = g("Slice", "cache.overlap", g.ints(1, 0), g.ints(2, 1), g.ints(1, 2))
        return "cache.overlap", g("Unsqueeze", g("Greater", weight, g.number(0)), g.ints(3))

    def _overlap_add(self, x: str, valid: str) -> tuple[str, str]:
        """(samples [B, 480 F], next overlap) from log magnitudes and phase angles, as torch.istft gives them.

        Frames beyond the end, which is STFT frame 120 * valid of this run, count for nothing.
        """
        g, n = self.g, self.n_fft
        count = length_of(g, x, 2)
        frame = g("Range", g.const(0, np.int64), count, g.const(1, np.int64))
        end = g("Mul", valid, g.const(int(np.prod(self.rates)), np.int64))
        real = g("LessOrEqual", frame, g("Unsqueeze", end, g.ints(1)))
        real = g("Unsqueeze", g("Cast", real, to=F32), g.ints(1))
        spectrum = g("Mul", self._spectrum(x), real)
        samples = g("ConvTranspose", spectrum, g.raw(istft_kernel(n), "istft"), strides=[self.hop])
        squares = g("ConvTranspose", real, g.raw(squared_window(n), "istft_envelope"), strides=[self.hop])
        sums, ahead = g("Concat", samples, squares, axis=1), n - self.hop
        begin = g("Add", g("Slice", sums, g.ints(0), g.ints(ahead), g.ints(2)), self.overlap)
        sums = g("Concat", begin, g("Slice", sums, g.ints(ahead), g.ints(END), g.ints(2)), axis=2)
        done = g("Slice", sums, g.ints(0), g.ints(-ahead), g.ints(2))
        samples, squares = g("Split", done, g.ints(1, 1), out=2, axis=1)
        audio = g("Div", samples, g("Max", squares, g.number(SMALLEST_ENVELOPE)))
        return g("Squeeze", audio, g.ints(1)), g("Slice", sums, g.ints(-ahead), g.ints(END), g.ints(2))


def build_f0(config: Tagged, state: dict[str, np.ndarray]) -> tuple[Graph, list[dict[str, Any]], int]:
    """The graph `hift_f0`, its caches' manifest entries and its look-ahead in mel frames.

    Computes in f64, folded weights included, as the reference does: an error of f0 adds up in the phase of seconds.
    The cache holds f64 as two f32 numbers, so that servers need to know f32 only; rounded to one, what a run hands to
    the next moved the phase of 4 s by 40 dB below the source.
    """
    g = Graph("hift_f0", Numbers(F32, F32))
    w = Weights(state, "hift.pt", "f0_predictor.")
    layers = sorted({int(k.split(".")[2]) for k in state if k.startswith("f0_predictor.condnet.")})
    convs = [(f"condnet.{i}", exact_weight(w, f"condnet.{i}")) for i in layers]
    ahead, width = convs[0][1].shape[2] - 1, convs[0][1].shape[0]
    if any(weight.shape != (width, width, 3) for _, weight in convs[1:]) or w["classifier.weight"].shape[0] != 1:
        raise ExportError("hift.pt: only f0 predictors of one class, one width and three taps are supported")

    def wide(x: str) -> str:
        return g("Cast", x, to=F64)

    def linear(x: str, weight: np.ndarray, name: str) -> str:
        product = g("MatMul", x, g.raw(np.ascontiguousarray(weight.T), f"{name}.weight"))
        return g("Add", product, wide(g.raw(w[f"{name}.bias"], f"{name}.bias")))

    def elu(x: str) -> str:
        zero, one = g.const(0, np.float64), g.const(1, np.float64)
        return g("Add", g("Max", x, zero), g("Sub", g("Exp", g("Min", x, zero)), one))

    mel = g.input("mel", F32, ["B", int(config["in_channels"]), "M"])
    x = wide(g("Transpose", mel, perm=[0, 2, 1]))
    length = g("Sub", length_of(g, mel, 2), g.const(ahead, np.int64))
    x = elu(linear(windows(g, x, window_places(g, length, ahead + 1)), conv_matrix(convs[0][1]), convs[0][0]))
    high, low = g("Split", "cache.f0", g.ints(2, 2), out=2, axis=1)
    before = g("Add", wide(high), wide(low))
    before = g("Split", before, g.ints(*[width] * len(convs[1:])), out=len(convs[1:]), axis=2)
    places, after = window_places(g, length, 3), []
    for past, (name, weight) in zip(before, convs[1:], strict=True):
        seen = g("Concat", past, x, axis=1)
        after.append(g("Slice", seen, g.ints(-2), g.ints(END), g.ints(1)))
        x = elu(linear(windows(g, seen, places), conv_matrix(weight), name))
    f0 = g("Abs", linear(x, exact_weight(w, "classifier"), "classifier"))
    g.output("f0", F32, ["B", "F"], g("Cast", g("Squeeze", f0, g.ints(2)), to=F32))
    kept = g("Concat", *after, axis=2)
    high = g("Cast", kept, to=F32)
    kept = g("Concat", high, g("Cast", g("Sub", kept, wide(high)), to=F32), axis=1)
    return g, [_declare(g, "cache.f0", "cache_out.f0", [4, width * len(after)], kept)], ahead


def build_decoder(config: Tagged, state: dict[str, np.ndarray]) -> tuple[Graph, list[dict[str, Any]], dict[str, int]]:
    """The graph `hift_decoder`, its caches' manifest entries, its look-ahead (mel frames) and delay (samples).

    f32 at every precision: fp16 weights would spare 42 MB of file and no time, and cost the random tiny model 58 dB.
    """
    decoder = _Causal(config, Weights(state, "hift.pt"), Numbers(F32, F32))
    graph, caches = decoder.build_streaming()
    return graph, caches, {"lookahead_frames": decoder.ahead, "delay_samples": decoder.delay}
