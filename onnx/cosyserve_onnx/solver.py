"""The flow's solver: fixed Euler steps with classifier-free guidance (CosyVoice `flow/flow_matching.py`)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .errors import ExportError
from .hyper_yaml import Tagged
from .layers import Weights

EULER_STEPS = 10  # the reference's inference always asks for 10
MOST_STEPS = 100
TIME_SCALE = 1000.0  # Matcha-TTS multiplies t in [0, 1] by this before the sinusoids
MAX_PERIOD = 10000.0


@dataclass(frozen=True)
class Solver:
    """What the yaml says of the integration from noise to mel."""

    cfg_rate: float
    schedule: str
    steps: int

    @classmethod
    def of(cls, flow: Tagged, steps: int = EULER_STEPS) -> Solver:
        """The solver of the yaml's `flow`, with `steps`, of which it says nothing."""
        config = flow["decoder"]["cfm_params"]
        config = config.get("content", config)
        solver = cls(float(config["inference_cfg_rate"]), str(config["t_scheduler"]), steps)
        if solver.schedule not in ("cosine", "linear"):
            raise ExportError(f"flow t_scheduler {solver.schedule!r} is not supported")
        return solver

    def times(self) -> tuple[np.ndarray, np.ndarray]:
        """f32 (t, dt) of every step, rounded as the reference rounds: a grid bent by 1 - cos(pi t / 2), t += dt."""
        grid = np.linspace(0, 1, self.steps + 1, dtype=np.float32)
        if self.schedule == "cosine":
            grid = np.float32(1) - np.cos(grid * np.float32(0.5 * np.pi))
        times, steps, t = [], [], grid[0]
        for following in grid[1:]:
            times.append(t)
            steps.append(following - t)
            t = t + steps[-1]
        return np.array(times, np.float32), np.array(steps, np.float32)


def time_table(mlp: Weights, projections: list[Weights], channels: int, solver: Solver) -> np.ndarray:
    """[steps, sum of widths]: every residual block's projection of every step's time embedding, in double.

    The phase is rounded to f32 as the reference rounds it: it reaches a thousand radians.
    """
    half = channels // 2
    frequencies = np.exp(np.arange(half, dtype=np.float32) * np.float32(-math.log(MAX_PERIOD) / (half - 1)))
    phase = (np.float32(TIME_SCALE) * solver.times()[0][:, None] * frequencies[None]).astype(np.float64)
    h = np.concatenate([np.sin(phase), np.cos(phase)], axis=1)
    h = h @ mlp["linear_1.weight"].T.astype(np.float64) + mlp["linear_1.bias"]
    h = h / (1 + np.exp(-h))
    h = h @ mlp["linear_2.weight"].T.astype(np.float64) + mlp["linear_2.bias"]
    h = h * np.tanh(np.logaddexp(h, 0))
    return np.concatenate([h @ p["weight"].T.astype(np.float64) + p["bias"] for p in projections], axis=1)
