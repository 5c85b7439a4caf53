"""The flow's solver: fixed Euler steps with classifier-free guidance (CosyVoice `flow/flow_matching.py`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .errors import ExportError
from .hyper_yaml import Tagged

EULER_STEPS = 10  # the reference's inference always asks for 10


@dataclass(frozen=True)
class Solver:
    """What the yaml says of the integration from noise to mel."""

    cfg_rate: float
    schedule: str
    steps: int = EULER_STEPS

    @classmethod
    def of(cls, flow: Tagged) -> Solver:
        """The solver of the yaml's `flow`."""
        config = flow["decoder"]["cfm_params"]
        config = config.get("content", config)
        solver = cls(float(config["inference_cfg_rate"]), str(config["t_scheduler"]))
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
