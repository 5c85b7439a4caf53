"""Compares the flow with the reference, whole and chunk after chunk, and its chunk-wise form with the whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .comparison import Line, compare
from .drive_flow import FULL, RESERVED, Flow, Piece, Utterance

PAGES = 24


class FlowChecks:
    """The flow's comparisons of one bundle. `golden`: flow_N, `streamed`: stream_N (tests/goldens/README.md)."""

    def __init__(
        self, bundle: Path, manifest: dict[str, Any], golden: Any, streamed: Any, limits: dict[str, float], threads: int
    ):
        self.model = Flow(bundle, manifest, threads, PAGES)
        self.golden, self.streamed, self.limits = golden, streamed, limits
        self.chunk = manifest["flow"]["chunk_tokens"]
        names = ("token", "prompt_token", "prompt_feat", "embedding")
        self.case = {n: streamed[f"stream/{n}"] for n in names}
        self.tokens = np.concatenate([self.case["prompt_token"], self.case["token"]], axis=1)

    def lines(self) -> Iterator[Line]:
        """Every comparison."""
        for case in sorted({k.split("/")[0] for k in self.golden.files if k.endswith("/mel")}):
            yield from self._case(case)
        yield from self._chunks()
        yield from self._paged()
        yield self._batch()
        yield from self._bounded()

    def pages(self, count: int, seed: int = 0) -> list[int]:
        """Pages in no order; their old contents must not matter."""
        return [int(p) for p in np.random.default_rng(seed).permutation(np.arange(RESERVED, PAGES))[:count]]

    def _case(self, case: str) -> Iterator[Line]:
        """Encoder, first velocity and step, mel; with chunk masks also the mel made chunk after chunk."""
        final, streaming = "final1" in case, case.endswith("stream1")
        part = {k.split("/")[1]: self.golden[k] for k in self.golden.files if k.startswith(f"{case}/")}
        tokens = np.concatenate([part["prompt_token"], part["token"]], axis=1)
        if "est1_mu" in part:
            yield from self._details(case, part, tokens, final, streaming)
        mel = self.model.mel(tokens, part["embedding"], part["prompt_feat"], final, streaming)
        yield compare("flow", case, mel, part["mel"], self.limits["mel"])
        if streaming:
            utterance = Utterance(part["embedding"][0], part["prompt_feat"])
            mel = self.model.stream(utterance, tokens[0], self.pages(5), final)
            yield compare("flow", f"{case} by chunks", mel, part["mel"], self.limits["mel"])

    def _details(self, case: str, part: dict[str, Any], tokens: Any, final: bool, streaming: bool) -> Iterator[Line]:
        mu, spks = self.model.encode(tokens, part["embedding"], final, streaming)
        yield compare("flow_encoder", f"{case} mu", mu[0], part["est1_mu"], self.limits["mu"])
        yield compare("flow_encoder", f"{case} spks", spks[0], part["est1_spks"], self.limits["mu"])
        x, mu, spks, cond = (part[f"est1_{n}"][None] for n in ("x", "mu", "spks", "cond"))
        following, velocity = self.model.step(x, mu, 0, spks, cond, streaming)
        theirs = np.stack([part["est1_v_cond"], part["est1_v_uncond"]])
        yield compare("flow_estimator", case, velocity, theirs, self.limits["velocity"])
        # The first step is 0.012 long, and guidance weighs errors 2.4 times.
        yield compare("flow_estimator", f"{case} step", following[0], part["est2_x"], 0.03 * self.limits["velocity"])

    def _utterance(self) -> Utterance:
        return Utterance(self.case["embedding"][0], self.case["prompt_feat"])

    def _whole(self, final: bool, streaming: bool, count: int | None = None, left: int = FULL) -> np.ndarray:
        """The streamed case's mel made at once from its first `count` tokens behind the prompt."""
        end = None if count is None else self.case["prompt_token"].shape[1] + count
        given = self.tokens[:, :end], self.case["embedding"], self.case["prompt_feat"]
        return self.model.mel(*given, final, streaming, left)

    def _chunks(self) -> Iterator[Line]:
        """The reference's stream. Its last chunk has full attention: only whole synthesis makes that."""
        made = self.model.stream(self._utterance(), self.tokens[0], self.pages(9), final=True)
        for i in range(len(self.streamed["stream/chunk_samples"])):
            name = f"stream/chunk{i}"
            mel, count, masked = (self.streamed[f"{name}/{k}"] for k in ("mel", "n_token", "streaming"))
            if masked[0]:
                yield compare("flow", f"{name} by chunks", made[:, : mel.shape[1]], mel, self.limits["mel"])
            whole = self._whole(not masked[0], bool(masked[0]), int(count[0]))
            yield compare("flow", name, whole, mel, self.limits["mel"])

    def _paged(self) -> Iterator[Line]:
        """One, two and three chunks at a time give the mel that one run with the same masks gives."""
        whole = self._whole(final=True, streaming=True)
        for hop in (1, 2, 3):
            mel = self.model.stream(self._utterance(), self.tokens[0], self.pages(9, hop), final=True, hop=hop)
            yield compare("flow pages", f"{hop} chunks a run", mel, whole, self.limits["pages"])

    def _bounded(self) -> Iterator[Line]:
        """A bounded left context, whose older pages are not even read, equals masks in one run."""
        for left in (1, 2):
            whole = self._whole(final=True, streaming=True, left=left)
            mel = self.model.stream(self._utterance(), self.tokens[0], self.pages(9, left), final=True, left=left)
            yield compare("flow pages", f"left context {left}", mel, whole, self.limits["pages"])

    def _batch(self) -> Line:
        """Rows with histories of 0, 1 and 3 chunks and different lengths, in one run, against each alone."""
        ends = [(0, 25), (25, 36), (75, 81)]  # the tokens that each row adds
        pages = self.pages(9)
        taken = iter(pages)
        own = [[next(taken) for _ in range(0, stop, self.chunk)] for _, stop in ends]
        pieces, alone = [], []
        for (start, stop), mine in zip(ends, own, strict=True):
            utterance = self._utterance()
            for at in range(0, start, self.chunk):
                self.model.advance([self._piece(utterance, at, at + self.chunk, mine[at // self.chunk])])
            pieces.append(self._piece(utterance, start, stop, mine[-1]))
            single = Utterance(utterance.embedding, utterance.prompt, list(utterance.pages))
            alone += self.model.advance([self._piece(single, start, stop, mine[-1])])
        together = self.model.advance(pieces)
        ours, theirs = (np.concatenate(m, axis=1) for m in (together, alone))
        return compare("flow pages", "batch of three histories", ours, theirs, self.limits["pages"])

    def _piece(self, utterance: Utterance, start: int, stop: int, page: int) -> Piece:
        """Tokens start..stop of the streamed case; those that do not fill a page end their utterance."""
        ahead = self.tokens[0, stop : stop + 3] if (stop - start) == self.chunk else self.tokens[0, :0]
        return Piece(utterance, self.tokens[0, start:stop], ahead, [page])
