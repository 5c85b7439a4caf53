"""Compares every stage of a generation-1 bundle with the reference's own numbers (see tests/goldens/README.md)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from .. import drive
from ..check import BaseChecker
from ..comparison import Line, compare, snr
from . import tokenizer
from .drive import Flow, RowLlm, Stream, TextEncoder

STREAM_SNR_DB = {"fp32": 80.0, "fp16": 25.0, "int8": 10.0, "int4": 10.0}
LLM_CASES = ("zero_shot", "cross_lingual", "instruct_noemb")
FLOW_CASES = ("short30", "noprompt70", "chunk0", "chunk1")
WIDTH, VOCAB = 64, 51866  # of the tiny model
SOURCES = {tokenizer.WHISPER: "whisper_300m", tokenizer.COSYVOICE: "whisper_25hz_asset"}


class Checker(BaseChecker):
    """The comparisons of one bundle of generation 1."""

    def _same_model(self) -> bool:
        facts = self.manifest["llm"]
        return (facts["rows_width"], facts["text_vocab"]) == (WIDTH, VOCAB)

    def _case(self, golden: Any, case: str) -> dict[str, np.ndarray]:
        """The arrays of `case`, by name."""
        return {k.removeprefix(f"{case}/"): golden[k] for k in golden if k.startswith(f"{case}/")}

    def lines(self) -> Iterator[Line]:
        """Every comparison, cheapest first."""
        yield from self.tokenizer()
        yield from self.llm()
        yield from self.llm_batched()
        yield from self.flow()
        yield from self.flow_batched()
        yield from self.vocoder()
        yield from self.stream()
        yield from self.end_to_end()

    def tokenizer(self) -> Iterator[Line]:
        """Count of sentences and special tokens whose ids differ."""
        path = self.goldens / "common/text.json"
        if path.is_file():
            file = self.bundle / self.manifest["tokenizer"]["file"]
            yield from tokenizer_lines(Tokenizer.from_file(str(file)), path, tokenizer.WHISPER)

    # Language model.

    def _prompt(self, case: dict[str, np.ndarray]) -> tuple[np.ndarray, list[int], bool]:
        """(rows [1 + T, width], prompt speech, whether the speaker is told) of a case."""
        text = np.concatenate([case["prompt_text"], case["text"]], axis=1)
        known = len(case["embedding"]) > 0
        embedding = case["embedding"] if known else np.zeros((1, case["embedding"].shape[1]), np.float32)
        rows = TextEncoder(self.bundle, self.manifest, self.threads).rows(text, embedding)[0]
        return rows, case["prompt_speech_token"][0].tolist(), known

    def _logp(
        self,
        model: RowLlm,
        prompts: list[tuple[np.ndarray, list[int], bool]],
        tokens: np.ndarray,
        single: bool = False,
    ) -> np.ndarray:
        """[1 + steps, B, vocab] of the prompts as rows of one batch, then fed with `tokens` [B, steps]. `single`: the
        prompts too are fed one id at a time."""
        starts = np.cumsum([0, *(len(rows) for rows, _, _ in prompts)])
        ids = [
            model.layout(len(rows) - 1, speech, speaker, int(start))
            for (rows, speech, speaker), start in zip(prompts, starts, strict=False)
        ]
        prefill = model.prefill_by_steps if single else model.prefill
        logits = [prefill(ids, np.concatenate([rows for rows, _, _ in prompts]))]
        offset = model.facts["speech_offset"]
        logits += [model.step([[offset + int(t)] for t in column]) for column in tokens.T]
        return np.stack([drive.log_softmax(step) for step in logits])

    def llm(self) -> Iterator[Line]:
        """Log-probabilities: prefill (row 0), then eight steps fed with the reference's tokens."""
        golden = self._golden("llm")
        for name in LLM_CASES:
            case = self._case(golden, name)
            model = RowLlm(self.bundle, self.manifest, 1, 256, self.threads)
            ours = self._logp(model, [self._prompt(case)], case["greedy_tokens"][None, :8])
            yield compare("llm", name, ours[:, 0], case["step_logp"], self.limits["logp"])

    def llm_batched(self) -> Iterator[Line]:
        """All cases as rows of one batch of steps; on a CPU also as one padded prefill, which CUDA's attention over a
        bias gets wrong in the shorter rows (servers prefill row by row)."""
        golden = self._golden("llm")
        cases = [self._case(golden, name) for name in LLM_CASES]
        prompts = [self._prompt(c) for c in cases]
        tokens = np.stack([c["greedy_tokens"][:8] for c in cases])
        theirs = np.stack([c["step_logp"] for c in cases], axis=1)
        ways = {"by steps": True} if drive.on_cuda() else {"padded": False, "by steps": True}
        for way, single in ways.items():
            model = RowLlm(self.bundle, self.manifest, len(cases), 256, self.threads)
            ours = self._logp(model, prompts, tokens, single)
            yield compare("llm", f"batch of {len(cases)}, {way}", ours, theirs, self.limits["logp"])

    # Flow.

    def flow(self) -> Iterator[Line]:
        """Whole chunks with the reference's noise; chunk1 continues from what chunk0 left."""
        golden, model = self._golden("flow"), Flow(self.bundle, self.manifest, self.threads)
        state = None
        for name in FLOW_CASES:
            case = self._case(golden, name)
            if "est1_mu" in case:
                yield from self._details(model, name, case)
            given = state if name == "chunk1" else None
            parts = case["prompt_token"][0], case["token"][0], case["prompt_feat"], case["embedding"], case["z"]
            mel, state = model.mel(*parts, given)
            yield compare("flow", name, mel, case["mel"], self.limits["mel"])
            yield compare("flow", f"{name} state", state, case["flow_cache_out"], self.limits["mu"])

    def _details(self, model: Flow, name: str, case: dict[str, np.ndarray]) -> Iterator[Line]:
        known = len(case["prompt_feat"])
        mu, spks = model.encode([case["prompt_token"][0]], [case["token"][0]], [known], case["embedding"])
        yield compare("flow_encoder", f"{name} mu", mu[0], case["est1_mu"], self.limits["mu"])
        yield compare("flow_encoder", f"{name} spks", spks[0], case["est1_spks"], self.limits["mu"])
        cond = np.zeros_like(mu)
        cond[0, :, :known] = case["prompt_feat"].T
        _, velocity = model.step(case["z"][None], case["est1_mu"][None], 0, case["est1_spks"][None], cond)
        theirs = np.stack([case["est1_v_cond"], case["est1_v_uncond"]])
        yield compare("flow_estimator", name, velocity, theirs, self.limits["velocity"])

    def flow_batched(self) -> Iterator[Line]:
        """Rows of different lengths in one run: with and without a prompt, with and without stretched ends."""
        golden, model = self._golden("flow"), Flow(self.bundle, self.manifest, self.threads)
        cases = [self._case(golden, name) for name in FLOW_CASES[:3]]
        known = [len(c["prompt_feat"]) for c in cases]
        embedding = np.concatenate([c["embedding"] for c in cases])
        mu, spks = model.encode([c["prompt_token"][0] for c in cases], [c["token"][0] for c in cases], known, embedding)
        x, cond = np.zeros_like(mu), np.zeros_like(mu)
        valid = np.array([c["z"].shape[1] for c in cases], np.int64)
        for row, case in enumerate(cases):
            x[row, :, : valid[row]] = case["z"]
            cond[row, :, : known[row]] = case["prompt_feat"].T
        mel = model.solve(x, mu, spks, cond, valid)
        ours = np.concatenate([m[:, k:n] for m, k, n in zip(mel, known, valid, strict=True)], axis=1)
        theirs = np.concatenate([c["mel"] for c in cases], axis=1)
        yield compare("flow", f"batch of {len(cases)}", ours, theirs, self.limits["mel"])

    # Stream.

    def stream(self) -> Iterator[Line]:
        """The reference's chunked synthesis: overlapping chunks, state and cross-fades, its noise and sources."""
        golden = self._case(self._golden("stream"), "stream")
        flow = Flow(self.bundle, self.manifest, self.threads)
        chunks = Stream(self.manifest, drive.Vocoder(self.bundle, self.manifest, self.threads))
        count, hop, state = len(golden["chunk_samples"]), flow.facts["stream"]["hop_tokens"], None
        prompt = golden["prompt_token"][0], golden["prompt_feat"], golden["embedding"]
        for i in range(count):
            chunk = self._case(golden, f"chunk{i}")
            tokens = golden["token"][0, i * hop :][: int(chunk["n_token"][0])]
            mel, state = flow.mel(prompt[0], tokens, *prompt[1:], chunk["z"], state)
            yield compare("flow", f"stream/chunk{i}", mel, chunk["mel"], self.limits["mel"])
            samples = chunks.push(mel, chunk["hift_source"], final=i + 1 == count)
            yield snr("stream", f"chunk{i}", samples, chunk["out"], STREAM_SNR_DB[self.precision])

    def end_to_end(self) -> Iterator[Line]:
        """Zero-shot with the front end's own prompt, from the speech tokens on (their text is not known)."""
        prompt = self._case(self._golden("frontend"), "zero_shot")
        golden = self._case(self._golden("e2e"), "stream0/chunk0")
        known = prompt["flow_prompt_speech_token"][0], prompt["prompt_speech_feat"][0], prompt["flow_embedding"]
        flow = Flow(self.bundle, self.manifest, self.threads)
        mel, _ = flow.mel(known[0], golden["token"][0], *known[1:], golden["z"])
        yield compare("flow", "end to end", mel, golden["mel"], self.limits["mel"])
        samples = drive.Vocoder(self.bundle, self.manifest, self.threads).audio(mel, golden["source"])
        yield snr("samples", "end to end", samples, golden["audio"], STREAM_SNR_DB[self.precision])


def tokenizer_lines(ours: Tokenizer, texts: Path, function: str) -> Iterator[Line]:
    """Ids of the golden sentences and special tokens by the tokenizer that the yaml calls `function`."""
    data, source = json.loads(texts.read_text(encoding="utf-8")), SOURCES[function]
    pairs = zip(data["sentences"], data["tokens"][source], strict=True)
    wrong = sum(ours.encode(s).ids != ids for s, ids in pairs)
    yield Line("tokenizer", f"{len(data['sentences'])} sentences", wrong, wrong / len(data["sentences"]), 0)
    specials = data["specials"][source]
    wrong = sum(ours.token_to_id(text) != number for text, number in specials.items())
    yield Line("tokenizer", f"{len(specials)} special tokens", wrong, wrong / len(specials), 0)
