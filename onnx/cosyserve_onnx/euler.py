"""What the estimators of all generations share: inputs, the step from x to x_next, and paged state where there is any
(BUNDLE.md).

One run is one Euler step of B utterances. The network sees 2 B rows: with the condition, then without.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .graph import F16, F32, I64, Graph, Numbers
from .layers import Weights, length_of
from .paging import Arenas, Seen, Span, column, paging_inputs
from .solver import Solver, time_table


class EulerStep:
    """The graph `flow_estimator` but for the network between `inputs` and `outputs`."""

    def __init__(self, weights: Weights, bins: int, solver: Solver, numbers: Numbers):
        self.g = Graph("flow_estimator", numbers)
        self.w, self.bins, self.solver = weights, bins, solver
        self.half = numbers.compute == F16

    def inputs(self) -> tuple[str, str, str, str]:
        """Declares what all of them have; x, mu, spks and cond."""
        g, frames = self.g, ["B", self.bins, "N"]
        x, mu = g.input("x", F32, frames), g.input("mu", F32, frames)
        spks, cond = g.input("spks", F32, ["B", self.bins]), g.input("cond", F32, frames)
        self.step, self.valid = g.input("step", I64, []), g.input("valid", I64, ["B"])
        return x, mu, spks, cond

    def constant(self, table: np.ndarray, kind: Any) -> str:
        """table[step]"""
        return self.g("Gather", self.g.const(table, kind), self.step, axis=0)

    def side_by_side(self, x: str, mu: str, spks: str, cond: str) -> str:
        """[2 B, N, 4 * bins]: a U-Net sees x, mu, speaker and prompt mel side by side, or x and zeros."""
        g = self.g
        spread = g("Expand", g("Unsqueeze", spks, g.ints(2)), g("Shape", x))
        given = g("Concat", x, mu, spread, cond, axis=1)
        only_x = np.repeat(np.float32([1, 0, 0, 0]), self.bins).reshape(1, -1, 1)
        h = g("Concat", given, g("Mul", given, g.const(only_x)), axis=0)
        h = g("Transpose", h, perm=[0, 2, 1])
        return g("Cast", h, to=F16) if self.half else h

    def block_times(self, stages: list[str], channels: int) -> list[str]:
        """Per residual block of a U-Net [width]: its own projection of the step's time embedding."""
        g = self.g
        projections = [self.w.sub(f"{stage}.0.mlp.1") for stage in stages]
        table = time_table(self.w.sub("time_mlp"), projections, channels, self.solver)
        row = g("Gather", g.raw(table.astype(np.float16 if self.half else np.float32), "times"), self.step, axis=0)
        widths = [p["bias"].size for p in projections]
        return g("Split", row, g.ints(*widths), out=len(widths), axis=0)

    def outputs(self, x: str, h: str) -> Graph:
        """Declares them, from the network's result h [2 B, N, bins]."""
        g, bins = self.g, self.bins
        velocity = ["velocity"]
        if self.half:
            g("Cast", g("Transpose", h, perm=[0, 2, 1]), to=F32, out=velocity)
        else:
            g("Transpose", h, perm=[0, 2, 1], out=velocity)
        g.output("x_next", F32, ["B", bins, "N"], self._euler(x, "velocity"))
        g.output("velocity", F32, ["2B", bins, "N"], "velocity")
        return g

    def _euler(self, x: str, velocity: str) -> str:
        """x + dt ((1 + cfg) v_with - cfg v_without)"""
        g, rate = self.g, np.float32(self.solver.cfg_rate)
        with_condition, without = g("Split", velocity, out=2, axis=0)
        guided = g("Sub", g("Mul", with_condition, g.const(1 + rate)), g("Mul", without, g.const(rate)))
        return g("Add", x, g("Mul", guided, self.constant(self.solver.times()[1], np.float32)), out=["x_next"])


class PagedEulerStep(EulerStep):
    """Likewise with state in pages; the network lies between `open` and `close`."""

    def __init__(self, weights: Weights, bins: int, solver: Solver, numbers: Numbers):
        super().__init__(weights, bins, solver, numbers)
        self.arenas = Arenas(self.g)

    def open(self, page: int) -> tuple[str, str, str, str]:
        """Declares the inputs; x, mu, spks and cond. `page`: frames of a page.

        Leaves what blocks share: `past` (K), `length` (N), the attention's `span`, and the rows of tails.
        """
        g, steps = self.g, self.solver.steps
        given = self.inputs()
        state = paging_inputs(g, "N")
        self.past, self.length = length_of(g, state["history"]), length_of(g, state["write"])
        mask = Seen(self.valid, state["chunk"], state["left"], state["skip"]).mask(
            g, self.past, self.length, -6e4 if self.half else -1e10
        )
        pair = [self.constant(np.arange(2 * steps).reshape(steps, 2)[:, r], np.int64) for r in (0, 1)]
        start = [g("Mul", p, g.const(page, np.int64)) for p in pair]

        def both(rows: str, offsets: list[str]) -> str:
            """[2 B, ...]: rows with the condition, then without."""
            return g("Concat", *(g("Add", rows, o) for o in offsets), axis=0)

        history, write = both(state["history"], start), column(g, both(state["write"], start))
        self.span = Span(self.arenas, "frame", history, write, g("Concat", mask, mask, axis=0))
        pages = [g("Mul", state[n], g.const(2 * steps, np.int64)) for n in ("tail_from", "tail_to")]
        self.tail_rows = both(pages[0], pair), column(g, both(pages[1], pair))
        return given

    def close(self, x: str, h: str) -> Graph:
        """Declares the outputs from the network's result h [2 B, N, bins]."""
        graph = self.outputs(x, h)
        self.arenas.close()
        return graph
