"""Runs generation 1's own stages as the server does: for `check` and the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..drive import Llm, Vocoder, session


class Flow:
    """Tokens to mel: encoder, the caller's noise, Euler steps with classifier-free guidance."""

    def __init__(self, bundle: Path, manifest: dict[str, Any], threads: int = 0):
        self.facts, self.bins = manifest["flow"], manifest["mel"]["bins"]
        self._per_frame = manifest["token_rate"] * manifest["mel"]["hop"], manifest["sample_rate"]
        self.encoder, self.estimator = (
            session(bundle / self.facts[name]["file"], threads) for name in ("encoder", "estimator")
        )

    def frames(self, tokens: int) -> int:
        """Mel frames of so many new tokens."""
        return tokens * self._per_frame[1] // self._per_frame[0]

    def encode(
        self, prompts: list[np.ndarray], tokens: list[np.ndarray], known: list[int], embedding: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """mu [B, bins, F] and spks [B, bins] of prompt tokens with `known` mel frames each, and new tokens."""
        rows = [np.concatenate([p, t]).astype(np.int64) for p, t in zip(prompts, tokens, strict=True)]
        longest = max(map(len, rows))
        feed = {
            "token": np.stack([np.pad(r, (0, longest - len(r))) for r in rows]),
            "prompt_tokens": np.array([len(p) for p in prompts], np.int64),
            "tokens": np.array([len(t) for t in tokens], np.int64),
            "prompt_frames": np.array(known, np.int64),
            "frames": np.array([self.frames(len(t)) for t in tokens], np.int64),
            "embedding": embedding.astype(np.float32),
        }
        return self.encoder.run(["mu", "spks"], feed)

    def step(self, x: Any, mu: Any, step: int, spks: Any, cond: Any, valid: np.ndarray | None = None) -> Any:
        """x after Euler step `step`, and the velocity: B rows with the condition, then B without."""
        valid = np.full(len(x), x.shape[2], np.int64) if valid is None else valid
        feed = {"x": x, "mu": mu, "spks": spks, "cond": cond, "step": np.array(step, np.int64), "valid": valid}
        return self.estimator.run(["x_next", "velocity"], feed)

    def solve(self, x: Any, mu: Any, spks: Any, cond: Any, valid: np.ndarray | None = None) -> np.ndarray:
        """Mel [B, bins, frames] from noise `x`."""
        for step in range(self.facts["steps"]):
            x = self.step(x, mu, step, spks, cond, valid)[0]
        return x

    def mel(
        self,
        prompt: np.ndarray,
        tokens: np.ndarray,
        feat: np.ndarray,
        embedding: np.ndarray,
        noise: np.ndarray,
        cache: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mel [bins, new frames] behind a prompt mel [frames, bins], and the next chunk's state [bins, frames, 2].

        `noise`: [bins, frames], prompt included. The state is noise and mu of the prompt and of the chunk's last
        frames, which replace the next chunk's own at its start: the prompt, then the overlap.
        """
        known = len(feat)
        mu, spks = self.encode([prompt], [tokens], [known], embedding)
        x = noise[None].astype(np.float32).copy()
        if cache is not None:
            x[0, :, : cache.shape[1]], mu[0, :, : cache.shape[1]] = cache[:, :, 0], cache[:, :, 1]
        keep = np.r_[np.arange(known), np.arange(x.shape[2])[-self.facts["stream"]["mel_overlap_frames"] :]]
        state = np.stack([x[0][:, keep], mu[0][:, keep]], axis=-1)
        cond = np.zeros_like(mu)
        cond[0, :, :known] = feat.T
        return self.solve(x, mu, spks, cond)[0, :, known:], state


class Stream:
    """Mel chunks to samples with the reference's overlaps: mel and samples cross-fade, mel and source are carried."""

    def __init__(self, manifest: dict[str, Any], vocoder: Vocoder):
        self.facts, self.vocoder = manifest["vocoder"], vocoder
        self.overlap = manifest["flow"]["stream"]["mel_overlap_frames"]
        self._mel: np.ndarray | None = None  # the last chunk's end, to fade from
        self._cache: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None  # mel, source, samples

    def push(self, mel: np.ndarray, source: np.ndarray, final: bool) -> np.ndarray:
        """The samples of a chunk's mel [bins, frames]; `source` [1, samples]: the server makes it of the f0."""
        frames, hop = self.facts["cache_mel_frames"], self.facts["hop"]
        if self._mel is not None:
            mel = fade(mel, self._mel)
        if self._cache is not None:
            mel = np.concatenate([self._cache[0], mel], axis=1)
        if not final:
            self._mel, mel = mel[:, -self.overlap :], mel[:, : -self.overlap]
        source = source.copy()
        if self._cache is not None:
            source[:, : self._cache[1].shape[1]] = self._cache[1]
        samples = self.vocoder.audio(mel, source)
        if self._cache is not None:
            samples = fade(samples, self._cache[2])
        if final:
            return samples
        self._cache = mel[:, -frames:], source[:, -frames * hop :], samples[-frames * hop :]
        return samples[: -frames * hop]


def fade(new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """`new` with its start mixed with `old`'s end by the halves of a Hamming window (which do not sum to one)."""
    n = old.shape[-1]
    window = np.hamming(2 * n)
    new = new.astype(np.float64)
    new[..., :n] = new[..., :n] * window[:n] + old * window[n:]
    return new.astype(np.float32)


class TextEncoder:
    """Text ids and a speaker to the rows that the language model's prefill takes."""

    def __init__(self, bundle: Path, manifest: dict[str, Any], threads: int = 0):
        self._session = session(bundle / manifest["llm"]["text_encoder"]["file"], threads)

    def rows(self, text: np.ndarray, embedding: np.ndarray) -> np.ndarray:
        """[B, 1 + T, width]: the speaker's row, then one per text id [B, T]; `embedding` [B, spk_dim]."""
        feed = {"text": text.astype(np.int64), "embedding": embedding.astype(np.float32)}
        return self._session.run(["rows"], feed)[0]


class RowLlm(Llm):
    """The language model whose prompt names rows of a tensor for speaker and text."""

    def prefill(self, ids: list[list[int]], rows: np.ndarray) -> np.ndarray:
        """`step` whose ids may name `rows` [R, width]."""
        self.more = {"rows": np.ascontiguousarray(rows)}
        logits = self.step(ids)
        self.more = {"rows": np.zeros((1, rows.shape[1]), np.float32)}  # a step names none, but needs one
        return logits

    def prefill_by_steps(self, ids: list[list[int]], rows: np.ndarray) -> np.ndarray:
        """`prefill` one id at a time: a row that has come to its end repeats its last id in place."""
        longest, logits = max(map(len, ids)), np.zeros(0)
        for i in range(longest):
            self._lengths -= np.array([i >= len(row) for row in ids])
            logits = self.prefill([[row[min(i, len(row) - 1)]] for row in ids], rows)
        return logits

    def layout(self, texts: int, speech: list[int], speaker: bool, first: int = 0) -> list[int]:
        """Ids of [sos, speaker, text, task, speech]; row `first` of the prompt's rows is the speaker, then the text."""
        f = self.facts
        rows = [f["rows_offset"] + first + i for i in range(0 if speaker else 1, texts + 1)]
        return [f["sos_id"], *rows, f["task_id"], *(f["speech_offset"] + s for s in speech)]
