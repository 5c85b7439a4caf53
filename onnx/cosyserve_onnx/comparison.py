"""One comparison of a stage with numbers that it should give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class Line:
    """One comparison."""

    stage: str
    case: str
    worst: float
    mean: float
    limit: float
    unit: str = "max"  # "max": worst must not exceed limit; "dB": worst is a ratio that must reach it

    @property
    def passed(self) -> bool:
        return bool(self.worst >= self.limit if self.unit == "dB" else self.worst <= self.limit)

    def __str__(self) -> str:
        verdict = "pass" if self.passed else "FAIL"
        if self.unit == "dB":
            numbers = f"snr {self.worst:.1f} dB"
            return f"{self.stage:<14} {self.case:<26} {numbers:<28} at least {self.limit:g} dB  {verdict}"
        numbers = f"max {self.worst:.2e}  mean {self.mean:.2e}"
        return f"{self.stage:<14} {self.case:<26} {numbers}  tolerance {self.limit:g}  {verdict}"


def compare(stage: str, case: str, ours: np.ndarray, theirs: np.ndarray, limit: float) -> Line:
    """Largest and mean absolute difference; a wrong shape fails."""
    if ours.shape != theirs.shape:
        return Line(stage, f"{case} shape {list(ours.shape)} != {list(theirs.shape)}", np.inf, np.inf, limit)
    difference = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
    return Line(stage, case, float(difference.max(initial=0)), float(difference.mean()) if ours.size else 0.0, limit)


def snr(stage: str, case: str, ours: np.ndarray, theirs: np.ndarray, limit: float) -> Line:
    """Signal to error ratio in decibels."""
    if ours.shape != theirs.shape:
        return Line(stage, f"{case} shape {list(ours.shape)} != {list(theirs.shape)}", -np.inf, np.inf, limit, "dB")
    signal = np.sum(theirs.astype(np.float64) ** 2)
    error = np.sum((ours.astype(np.float64) - theirs) ** 2) + 1e-30
    return Line(stage, case, float(10 * np.log10(signal / error)), 0.0, limit, "dB")
