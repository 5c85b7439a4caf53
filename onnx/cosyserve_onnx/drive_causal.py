"""Runs generation 3's vocoder as the server does: chunk after chunk, exactly (BUNDLE.md, vocoder of generation 3)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from .drive import session
from .source import Source


class Streaming:
    """One graph whose caches [1, *shape] go from run to run."""

    def __init__(self, model: ort.InferenceSession, caches: list[dict[str, Any]]):
        self._model, self._caches = model, caches
        self.kept = [np.zeros((1, *c["shape"]), np.float32) for c in caches]

    def run(self, output: str, feed: dict[str, np.ndarray]) -> np.ndarray:
        """Runs once; what it keeps replaces what the run before kept."""
        names = [output, *(c["output"] for c in self._caches)]
        past = {c["name"]: kept for c, kept in zip(self._caches, self.kept, strict=True)}
        result, *self.kept = self._model.run(names, feed | past)
        return result


class CausalVocoder:
    """The stage: sessions that all utterances share."""

    def __init__(self, bundle: Path, manifest: dict[str, Any], threads: int = 0):
        self.manifest, self.facts = manifest, manifest["vocoder"]
        self.f0, self.decoder = (session(bundle / self.facts[n]["file"], threads) for n in ("f0", "decoder"))

    def audio(self, mel: np.ndarray, rounded: bool = False) -> np.ndarray:
        """Samples [frames * hop] of a whole mel [bins, frames]; `rounded`: see source.py."""
        return CausalUtterance(self, rounded).push(mel, final=True)


class CausalUtterance:
    """One utterance. Frames count from its first; samples are `hop` a frame."""

    def __init__(self, stage: CausalVocoder, rounded: bool = False):
        self.facts = stage.facts
        caches = self.facts["caches"]
        self.f0, self.decoder = Streaming(stage.f0, caches["f0"]), Streaming(stage.decoder, caches["decoder"])
        self._made = Source(stage.manifest, rounded)
        self.pitch = np.zeros(0, np.float32)
        self.source = np.zeros(0, np.float32)
        self._mel = np.zeros((stage.manifest["mel"]["bins"], 0), np.float32)
        self._decoded = 0  # frames

    def push(self, mel: np.ndarray, final: bool) -> np.ndarray:
        """The samples that follow from the next frames `mel` [bins, n]; `final`: none follow, n may be 0."""
        self._mel = np.concatenate([self._mel, mel], axis=1)
        end = self._mel.shape[1]
        # Behind the end the look-ahead sees zeros; one frame of them more takes the last samples out of the delay.
        self._predict(end if final else end - self.facts["f0_lookahead_frames"])
        return self._decode(end + 1 if final else end - self.facts["lookahead_frames"], final)

    def _frames(self, start: int, stop: int) -> np.ndarray:
        """[1, bins, stop - start] of the mel, zeros behind its end."""
        missing = max(stop - self._mel.shape[1], 0)
        return np.pad(self._mel[:, start:stop], ((0, 0), (0, missing)))[None]

    def _predict(self, stop: int) -> None:
        """f0 and source up to frame `stop`."""
        start = len(self.pitch)
        if stop <= start:
            return
        mel = self._frames(start, stop + self.facts["f0_lookahead_frames"])
        f0 = self.f0.run("f0", {"mel": mel})[0]
        self.pitch = np.concatenate([self.pitch, f0])
        self.source = np.concatenate([self.source, self._made.render(f0)])

    def _decode(self, stop: int, final: bool) -> np.ndarray:
        """The samples of the frames up to `stop`, but for the last few, which the next run completes."""
        hop, delay, start, end = self.facts["hop"], self.facts["delay_samples"], self._decoded, self._mel.shape[1]
        if stop <= start or (end == 0):
            return np.zeros(0, np.float32)
        feed = {
            "mel": self._frames(start, stop + self.facts["lookahead_frames"]),
            "source": self._samples(start * hop - delay, stop * hop + delay, final)[None, None],
            "valid": np.array([min(stop, end) - start], np.int64),
        }
        audio = self.decoder.run("audio", feed)[0]
        self._decoded = stop
        first = delay if start == 0 else 0
        last = end * hop - (start * hop - delay) if final else len(audio)
        return audio[first:last]

    def _samples(self, start: int, stop: int, final: bool) -> np.ndarray:
        """The source from `start` to `stop`, reflected at the utterance's beginning and end; zeros beyond."""
        delay, source = self.facts["delay_samples"], self.source
        padded = np.pad(source, (delay, delay if final else 0), mode="reflect")[start + delay : stop + delay]
        return np.pad(padded, (0, stop - start - len(padded)))
