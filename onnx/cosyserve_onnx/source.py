"""The harmonic source of generation 3, as the server makes it: for `check` and the tests.

Source: CosyVoice `hifigan/generator.py` (SineGen2 and SourceModuleHnNSF with `causal`). The phase is the sum of the
frames' pitches, held within a frame. The reference sums in f64 but rounds every sum and the phase, hundreds of
thousands of radians after a minute, to f32. The server does not: it keeps the sum in f64 without its whole turns.
`rounded` does as the reference, which shows that nothing else differs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .noise import Uniform


class Source:
    """The source of one utterance, frame after frame."""

    def __init__(self, manifest: dict[str, Any], rounded: bool = False):
        self.rounded = rounded
        self.facts, self.rate = manifest["vocoder"], manifest["sample_rate"]
        noise = self.facts["noise"]
        self._uniform = Uniform(noise["seed"], noise["skip"])
        self._turns = np.zeros(self.facts["harmonics"] + 1)  # the sum, over frames, of turns a sample

    def render(self, f0: np.ndarray) -> np.ndarray:
        """f32 [frames * hop] of the next frames' f0 [frames] in hertz."""
        weight = np.array(self.facts["merge_weight"], np.float32)
        return np.tanh(self.sines(f0) @ weight + np.float32(self.facts["merge_bias"]))

    def sines(self, f0: np.ndarray) -> np.ndarray:
        """f32 [frames * hop, harmonics + 1]: sines and noise before they are merged."""
        facts, hop = self.facts, self.facts["hop"]
        f0 = f0.astype(np.float32)[:, None]
        pitches = f0 * np.arange(1, facts["harmonics"] + 2, dtype=np.float32)
        turns = self._turns + np.cumsum((pitches / np.float32(self.rate) % 1).astype(np.float64), axis=0)
        if self.rounded:
            self._turns = turns[-1]
            phase = turns.astype(np.float32) * np.float32(2) * np.float32(np.pi) * np.float32(hop)
        else:
            self._turns = turns[-1] % 1
            phase = 2 * np.pi * (turns * hop % 1)
        sines = np.sin(phase.astype(np.float64)).astype(np.float32) * np.float32(facts["sine_amp"])
        voiced = f0 > facts["voiced_threshold"]
        level = np.where(voiced, facts["noise_std"], facts["sine_amp"] / 3).astype(np.float32)
        noise = self._uniform.draw(len(f0) * hop * sines.shape[1]).reshape(-1, sines.shape[1])
        return np.repeat(np.where(voiced, sines, 0), hop, axis=0) + np.repeat(level, hop, axis=0) * noise
