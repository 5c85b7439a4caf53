"""Drives a bundle's flow with random prompts, to see that no number overflows at its precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import drive
from .drive_flow import Flow
from .gen1.drive import Flow as WholeFlow

ROWS = 8  # prompts that run together
PROMPT_SECONDS, SPEECH_SECONDS = (0.0, 10.0), (1.0, 6.0)
SILENCE, LOUD = np.log(1e-5), 3.0  # log-mel of nothing, and of more than a voice gives


@dataclass
class Prompts:
    """Speakers, their recordings and what they say: random, but in the range of real ones."""

    speech: np.ndarray  # [B, prompt + new tokens]
    known: int  # tokens of the prompt
    embedding: np.ndarray  # [B, spk_dim]
    mel: np.ndarray  # [B, bins, frames of the prompt]


def prompts(generator: np.random.Generator, rows: int, rate: int, frames: float, vocabulary: int) -> Prompts:
    """`rows` of one length, at `rate` tokens a second and `frames` mel frames a token."""
    known, new = (int(rate * generator.uniform(*seconds)) for seconds in (PROMPT_SECONDS, SPEECH_SECONDS))
    level, spread = generator.uniform(SILENCE, 0, (rows, 1, 1)), generator.uniform(0, 5, (rows, 1, 1))
    mel = level + spread * generator.standard_normal((rows, 80, int(known * frames)))
    return Prompts(
        generator.integers(0, vocabulary, (rows, known + new)),
        known,
        generator.standard_normal((rows, 192)) * generator.uniform(0.1, 10, (rows, 1)),
        mel.clip(SILENCE, LOUD).astype(np.float32),
    )


def _behind(prompt: np.ndarray, like: np.ndarray) -> np.ndarray:
    """The condition: the prompt's mel and zeros behind it."""
    cond = np.zeros_like(like)
    cond[:, :, : prompt.shape[2]] = prompt
    return cond


def _whole(flow: WholeFlow, p: Prompts, generator: np.random.Generator) -> np.ndarray:
    known, new = p.speech[:, : p.known], p.speech[:, p.known :]
    mu, spks = flow.encode(list(known), list(new), [p.mel.shape[2]] * len(known), p.embedding)
    return flow.solve(generator.standard_normal(mu.shape, np.float32), mu, spks, _behind(p.mel, mu))


def _paged(flow: Flow, p: Prompts, streaming: bool) -> np.ndarray:
    mu, spks = flow.encode(p.speech, p.embedding, final=True, streaming=streaming)
    x, cond = np.repeat(flow.noise[None, :, : mu.shape[2]], len(mu), axis=0), _behind(p.mel, mu)
    for step in range(flow.facts["steps"]):
        x = flow.step(x, mu, step, spks, cond, streaming)[0]
    return x


def stress(bundle: Path, count: int, seed: int, log: Callable[[str], None]) -> bool:
    """Runs `count` prompts, chunk-masked and with full attention by turns; True if every mel is finite."""
    manifest, generator = drive.read_manifest(bundle), np.random.default_rng(seed)
    rate, hop = manifest["token_rate"], manifest["mel"]["hop"]
    frames = manifest["token_mel_ratio"] or manifest["sample_rate"] / (rate * hop)
    flow = (WholeFlow if manifest["generation"] == 1 else Flow)(bundle, manifest)
    broken, largest, total = 0, 0.0, 0
    for first in range(0, count, ROWS):
        p = prompts(generator, min(ROWS, count - first), rate, frames, manifest["llm"]["speech_tokens"])
        if isinstance(flow, Flow):
            mel = _paged(flow, p, streaming=first // ROWS % 2 == 0)
        else:
            mel = _whole(flow, p, generator)
        finite = np.isfinite(mel).all(axis=(1, 2))
        broken += int((~finite).sum())
        largest = max(largest, float(np.abs(mel[finite]).max(initial=0)))
        total += mel.shape[0] * mel.shape[2]
    log(
        f"{manifest['name']}, {manifest['precision']}: {count - broken} of {count} random prompts gave a finite mel "
        f"({total} frames, largest magnitude {largest:.1f})"
    )
    return broken == 0
