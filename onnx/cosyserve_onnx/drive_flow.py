"""Runs the flow's graphs as the server does: whole utterances, or chunk after chunk with pages (BUNDLE.md, pages)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from .drive import session
from .errors import ExportError

FULL = 1 << 30  # a chunk, or a left context, longer than any utterance
SCRATCH = 1  # the page that anybody may write and nobody reads; page 0 is zeros for ever
RESERVED = 2
_ELEMENTS = {"f32": np.float32, "f16": np.float16}


def page_rows(manifest: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Rows of one page in every kind of arena, by graph."""
    flow, ratio = manifest["flow"], manifest["token_mel_ratio"]
    tokens, rows = flow["chunk_tokens"], 2 * flow["steps"]
    return {
        "encoder": {"token": tokens, "frame": ratio * tokens, "tail": 1},
        "estimator": {"frame": rows * ratio * tokens, "tail": rows},
    }


def page_bytes(manifest: dict[str, Any]) -> int:
    """Bytes of one page over all arenas."""
    return sum(
        page_rows(manifest)[graph][c["kind"]] * int(np.prod(c["shape"])) * _ELEMENTS[c["element"]]().nbytes
        for graph, caches in manifest["flow"]["caches"].items()
        for c in caches
    )


class Paged:
    """One graph whose arenas hold `pages` pages and stay bound."""

    def __init__(self, model: ort.InferenceSession, caches: list[dict[str, Any]], rows: dict[str, int], pages: int):
        self._model, self._caches = model, caches
        self.arenas = {
            c["name"]: ort.OrtValue.ortvalue_from_numpy(
                np.zeros((pages * rows[c["kind"]], *c["shape"]), _ELEMENTS[c["element"]])
            )
            for c in caches
        }

    def run(self, outputs: list[str], feed: dict[str, Any]) -> list[np.ndarray]:
        """Runs once; `feed` lacks the arenas, which change in place."""
        binding = self._model.io_binding()
        for name, value in feed.items():
            binding.bind_cpu_input(name, np.array(value, order="C"))
        for name in outputs:
            binding.bind_output(name)
        for cache in self._caches:
            arena = self.arenas[cache["name"]]
            binding.bind_ortvalue_input(cache["name"], arena)
            binding.bind_ortvalue_output(cache["output"], arena)
        self._model.run_with_iobinding(binding)
        return [value.numpy() for value in binding.get_outputs()[: len(outputs)]]


@dataclass
class Utterance:
    """A speaker and what has been made so far: its pages, oldest first, all full but perhaps the last."""

    embedding: np.ndarray  # [spk_dim]
    prompt: np.ndarray  # [frames, bins]
    pages: list[int] = field(default_factory=list)
    ended: bool = False  # a page is not full: nothing can follow


@dataclass
class Piece:
    """The next tokens of one utterance, the pages that take them, and the tokens after (none at the end)."""

    utterance: Utterance
    tokens: np.ndarray  # [n]
    ahead: np.ndarray  # [0 or lookahead_tokens]
    pages: list[int]


class Flow:
    """Tokens to mel: encoder, fixed noise, Euler steps with classifier-free guidance."""

    def __init__(self, bundle: Path, manifest: dict[str, Any], threads: int = 0, pages: int = RESERVED):
        self.facts = manifest["flow"]
        self.ratio, self.bins = manifest["token_mel_ratio"], manifest["mel"]["bins"]
        rows, caches = page_rows(manifest), self.facts["caches"]
        self.encoder, self.estimator = (
            Paged(session(bundle / self.facts[name]["file"], threads), caches[name], rows[name], pages)
            for name in ("encoder", "estimator")
        )
        noise = self.facts["noise"]
        self.noise = np.fromfile(bundle / noise["file"], "<f4").reshape(self.bins, noise["frames"])

    # Whole utterances: no history, state to the scratch page.

    def encode(
        self, tokens: np.ndarray, embedding: np.ndarray, final: bool, streaming: bool, left: int = FULL
    ) -> list[np.ndarray]:
        """mu [B, bins, frames] and spks [B, bins] of prompt and new tokens [B, T]; not final: the last look ahead."""
        tokens = tokens.astype(np.int64)
        cut = tokens.shape[1] - (0 if final else self.facts["lookahead_tokens"])
        feed = {"token": tokens[:, :cut], "ahead": tokens[:, cut:], "embedding": embedding.astype(np.float32)}
        paging = _whole(len(tokens), cut, self.facts["chunk_tokens"], 1, streaming, left)
        return self.encoder.run(["mu", "spks"], feed | paging)

    def step(
        self, x: Any, mu: Any, step: int, spks: Any, cond: Any, streaming: bool, left: int = FULL
    ) -> list[np.ndarray]:
        """x after Euler step `step`, and the velocity: B rows with the condition, then B without."""
        feed = {"x": x, "mu": mu, "spks": spks, "cond": cond, "step": np.array(step, np.int64)}
        chunk, copies = self.facts["chunk_tokens"] * self.ratio, 2 * self.facts["steps"]
        paging = _whole(x.shape[0], x.shape[2], chunk, copies, streaming, left)
        return self.estimator.run(["x_next", "velocity"], feed | paging)

    def mel(
        self,
        tokens: np.ndarray,
        embedding: np.ndarray,
        prompt: np.ndarray,
        final: bool,
        streaming: bool,
        left: int = FULL,
    ) -> np.ndarray:
        """[bins, new frames] behind a prompt mel [frames, bins]; `streaming`: masked as a stream's chunks are."""
        mu, spks = self.encode(tokens, embedding, final, streaming, left)
        frames, known = mu.shape[2], prompt.shape[0]
        cond = np.zeros_like(mu)
        cond[0, :, :known] = prompt.T
        x = self.noise[None, :, :frames].copy()
        for step in range(self.facts["steps"]):
            x = self.step(x, mu, step, spks, cond, streaming, left)[0]
        return x[0, :, known:]

    # Chunk after chunk.

    def stream(
        self, utterance: Utterance, tokens: np.ndarray, pages: list[int], final: bool, hop: int = 1, left: int = FULL
    ) -> np.ndarray:
        """`mel` of tokens [T], made `hop` chunks at a time; the last tokens only look ahead unless `final`."""
        ahead = self.facts["lookahead_tokens"]
        end = len(tokens) - (0 if final else ahead)
        width, mels = self.facts["chunk_tokens"], []
        for start in range(0, end, hop * width):
            stop = min(start + hop * width, end)
            own = pages[start // width : -(-stop // width)]
            piece = Piece(utterance, tokens[start:stop], tokens[stop : stop + ahead], own)
            mels += self.advance([piece], left)
        return np.concatenate(mels, axis=1)[:, len(utterance.prompt) :]

    def advance(self, pieces: list[Piece], left: int = FULL) -> list[np.ndarray]:
        """Mel [bins, frames] of each piece, prompt frames included; histories and lengths may differ."""
        if any(p.utterance.ended for p in pieces):
            raise ExportError("nothing follows a page that is not full")
        chunk = self.facts["chunk_tokens"]
        feed = {
            "token": _pad([p.tokens for p in pieces]),
            "ahead": _pad([p.ahead for p in pieces]),
            "embedding": np.stack([p.utterance.embedding for p in pieces]).astype(np.float32),
        }
        mu, spks = self.encoder.run(["mu", "spks"], feed | _paging(pieces, chunk, chunk, 1, left))
        x, cond = np.zeros_like(mu), np.zeros_like(mu)
        for row, piece in enumerate(pieces):
            first, count = len(piece.utterance.pages) * chunk * self.ratio, len(piece.tokens) * self.ratio
            x[row, :, :count] = self.noise[:, first : first + count]
            prompt = piece.utterance.prompt[first : first + count]
            cond[row, :, : len(prompt)] = prompt.T
        paging = _paging(pieces, chunk, chunk * self.ratio, 2 * self.facts["steps"], left)
        for step in range(self.facts["steps"]):
            given = {"x": x, "mu": mu, "spks": spks, "cond": cond, "step": np.array(step, np.int64)}
            x = self.estimator.run(["x_next"], given | paging)[0]
        for piece in pieces:
            piece.utterance.pages += piece.pages
            piece.utterance.ended = len(piece.tokens) % chunk != 0
        return [x[row, :, : len(p.tokens) * self.ratio] for row, p in enumerate(pieces)]


def _whole(batch: int, length: int, chunk: int, copies: int, streaming: bool, left: int) -> dict[str, np.ndarray]:
    """The paging inputs of a run without history, at `chunk` positions a page, of which arenas hold `copies`."""
    scratch = SCRATCH * chunk * copies + np.arange(length, dtype=np.int64) % chunk
    return {
        "valid": np.full(batch, length, np.int64),
        "chunk": np.array(chunk if streaming else FULL, np.int64),
        "left": np.array(left, np.int64),
        "history": np.zeros((batch, 0), np.int64),
        "skip": np.zeros(batch, np.int64),
        "write": np.repeat(scratch[None], batch, axis=0),
        "tail_from": np.zeros(batch, np.int64),
        "tail_to": np.full(batch, SCRATCH, np.int64),
    }


def _paging(pieces: list[Piece], tokens: int, chunk: int, copies: int, left: int) -> dict[str, np.ndarray]:
    """The paging inputs of a run at `chunk` positions (`tokens` tokens) a page, of which arenas hold `copies`."""

    def rows(pages: list[int]) -> np.ndarray:
        return (np.array(pages, np.int64)[:, None] * chunk * copies + np.arange(chunk)).reshape(-1)

    lengths = np.array([len(p.tokens) * chunk // tokens for p in pieces], np.int64)
    kept = [p.utterance.pages[-left:] for p in pieces]  # no query sees more
    skip = (max(len(k) for k in kept) - np.array([len(k) for k in kept], np.int64)) * chunk
    longest = int(lengths.max())
    scratch = [SCRATCH] * -(-longest // chunk)
    return {
        "valid": lengths,
        "chunk": np.array(chunk, np.int64),
        "left": np.array(left, np.int64),
        "history": np.stack([np.pad(rows(k), (int(s), 0)) for k, s in zip(kept, skip, strict=True)]),
        "skip": skip,
        "write": np.stack([rows(p.pages + scratch)[:longest] for p in pieces]),
        "tail_from": np.array([p.utterance.pages[-1] if p.utterance.pages else 0 for p in pieces], np.int64),
        "tail_to": np.array([p.pages[-1] for p in pieces], np.int64),
    }


def _pad(rows: list[np.ndarray]) -> np.ndarray:
    """[B, longest] ids, "nothing" on the right."""
    longest = max(len(r) for r in rows)
    return np.stack([np.pad(r.astype(np.int64), (0, longest - len(r)), constant_values=-1) for r in rows])
