"""Compares generation 3's vocoder with the reference, and its runs over parts of an utterance with one over all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .comparison import Line, compare, snr
from .drive_causal import CausalUtterance, CausalVocoder
from .noise import Uniform

F0_HERTZ = 5e-5  # of hundreds: f32's rounding
SOURCE_DB = 120.0
AUDIO_DB = 80.0
PARTS_DB = 90.0
HOPS = (1, 7, 50)  # mel frames a push


class CausalChecks:
    """The vocoder's comparisons of one bundle. `noise`, `hift`, `streamed`: noise_3, hift_3 and stream_3
    (tests/goldens/README.md). Phases are rounded as the reference's where its samples are the measure."""

    def __init__(
        self,
        bundle: Path,
        manifest: dict[str, Any],
        noise: Any,
        hift: Any,
        streamed: Any,
        threads: int,
    ):
        self.model = CausalVocoder(bundle, manifest, threads)
        self.facts = manifest["vocoder"]
        self.noise, self.hift, self.streamed = noise, hift, streamed

    def lines(self) -> Iterator[Line]:
        """Every comparison."""
        yield from self._noise()
        for case in ("final1", "final0"):
            yield from self._case(case, final=case == "final1")
        for case in ("stream", "full", "speed1.3"):
            yield self._stream(case)
        yield from self._parts()

    def _noise(self) -> Iterator[Line]:
        noise = self.facts["noise"]
        for name, theirs in (("noise_3", self.noise["sine_waves_head"]), ("hift_3", self.hift["sine_waves_head"])):
            ours = Uniform(noise["seed"], noise["skip"]).draw(theirs.size).reshape(theirs.shape)
            yield compare("source noise", name, ours, theirs, 0.0)

    def _case(self, case: str, final: bool) -> Iterator[Line]:
        """f0, source and samples. Without its end, the reference gives 4 frames fewer than may be known."""
        utterance = CausalUtterance(self.model, rounded=True)
        audio = utterance.push(self.hift[f"{case}/mel"], final)
        f0, source, theirs = (self.hift[f"{case}/{name}"] for name in ("f0", "source", "audio"))
        yield compare("hift_f0", case, utterance.pitch, f0, F0_HERTZ)
        yield snr("source", case, utterance.source, source[0], SOURCE_DB)
        yield snr("hift_decoder", case, audio[: len(theirs)], theirs, AUDIO_DB)

    def _stream(self, case: str) -> Line:
        """The reference's chunks, given as they came to it, joined."""
        utterance, ours, theirs, known = CausalUtterance(self.model, rounded=True), [], [], 0
        for i in range(len(self.streamed[f"{case}/chunk_samples"])):
            name = f"{case}/chunk{i}"
            mel = self.streamed[f"{name}/hift_mel"]  # all so far
            ours.append(utterance.push(mel[:, known:], bool(self.streamed[f"{name}/finalize"][0])))
            known = mel.shape[1]
            theirs.append(self.streamed[f"{name}/out"])
        return snr("hift_decoder", f"{case} by chunks", np.concatenate(ours), np.concatenate(theirs), AUDIO_DB)

    def _parts(self) -> Iterator[Line]:
        """Any division of an utterance gives the same samples; `final` may come with frames or alone."""
        mel = self.streamed["full/chunk0/hift_mel"]
        whole = self.model.audio(mel)
        for hop in HOPS:
            utterance = CausalUtterance(self.model)
            parts = [utterance.push(mel[:, i : i + hop], final=False) for i in range(0, mel.shape[1], hop)]
            parts.append(utterance.push(mel[:, :0], final=True))
            yield snr("hift parts", f"{hop} frames a push", np.concatenate(parts), whole, PARTS_DB)
