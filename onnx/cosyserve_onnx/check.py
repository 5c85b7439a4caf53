"""Compares every stage of a bundle with the reference's own numbers (see tests/goldens/README.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from . import drive, generations
from .comparison import Line, compare, snr
from .errors import ExportError

# Largest absolute error allowed, per precision. logp: nats; mu, velocity, mel: log-mel units; f0: hertz;
# pages: mel made chunk after chunk against the same mel made at once.
# fp32 must equal the reference up to rounding; fp16 and int8 must stay near it on the tiny random model, whose flat
# distributions and unnormalised mels exaggerate rounding.
TOLERANCES = {
    "fp32": {"logp": 1e-3, "mu": 1e-3, "velocity": 1e-3, "mel": 2e-3, "pages": 1e-4, "f0": 0.01},
    "fp16": {"logp": 5e-2, "mu": 2e-2, "velocity": 3e-2, "mel": 3e-2, "pages": 2e-2, "f0": 0.01},
    "int8": {"logp": 5e-1, "mu": 1.2e-1, "velocity": 2e-1, "mel": 1.5e-1, "pages": 1e-1, "f0": 0.01},
}
# Only the language model is coarser; a random model's flat distribution moves more than a trained one's.
TOLERANCES["int4"] = TOLERANCES["int8"] | {"logp": 3.0}
NOISE_TOLERANCE = 2e-6
# Weights rounded to fp16 cost the random tiny vocoder 44 dB (its magnitudes go through exp); a trained one keeps 70 dB.
VOCODER_SNR_DB = {"fp32": 80.0, "fp16": 40.0, "int8": 40.0, "int4": 40.0}


class BaseChecker:
    """The comparisons of one bundle: what all generations share. The stages are `generations.module`'s."""

    def __init__(self, bundle: Path, goldens: Path, threads: int = 0):
        self.bundle, self.goldens, self.threads = bundle, goldens, threads
        self.manifest = drive.read_manifest(bundle)
        self.generation = self.manifest["generation"]
        self.precision = self.manifest["precision"]
        self.limits = TOLERANCES[self.precision]
        if not self._same_model():
            raise ExportError(
                f"{bundle}: these goldens are of the tiny model; export its checkpoint "
                f"(tests/goldens/tiny-cosyvoice{self.generation}.tar.xz) and check that bundle"
            )

    def _same_model(self) -> bool:
        """The goldens belong to one set of weights; a bundle of another model cannot be compared."""
        raise NotImplementedError

    def _golden(self, name: str) -> Any:
        """The arrays `name` of this bundle's generation."""
        path = self.goldens / f"tiny/{name}_{self.generation}.npz"
        if not path.is_file():
            raise ExportError(f"{path}: missing golden")
        return np.load(path)

    def lines(self) -> Iterator[Line]:
        """Every comparison, cheapest first."""
        raise NotImplementedError

    def vocoder(self) -> Iterator[Line]:
        """f0, and samples with the reference's own source (generations 1 and 2)."""
        model = drive.Vocoder(self.bundle, self.manifest, self.threads)
        golden = self._golden("hift")
        mel = golden["full/mel"]
        yield compare("hift_f0", "full", model.f0(mel), golden["full/f0"], self.limits["f0"])
        silence = np.zeros(golden["full/source"].shape, np.float32)
        for case in ("full", "cached", "decode_zero_source"):
            source = silence if case == "decode_zero_source" else golden[f"{case}/source"]
            audio = model.audio(mel, source)
            yield snr("hift_decoder", case, audio, golden[f"{case}/audio"], VOCODER_SNR_DB[self.precision])


def checker(bundle: Path, goldens: Path, threads: int = 0) -> BaseChecker:
    """The comparisons of a bundle of any generation."""
    generation = drive.read_manifest(bundle)["generation"]
    return generations.module(generation, "check").Checker(bundle, goldens, threads)


def check(bundle: Path, goldens: Path, log: Callable[[str], None]) -> bool:
    """Runs every comparison; True if all passed."""
    failures = total = 0
    for line in checker(bundle, goldens).lines():
        log(str(line))
        total += 1
        failures += not line.passed
    log(f"{total - failures} of {total} passed")
    return failures == 0
