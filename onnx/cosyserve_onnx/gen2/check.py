"""Compares every stage of a bundle of generation 2 with the reference's own numbers (see tests/goldens/README.md)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from .. import drive
from ..check import NOISE_TOLERANCE, BaseChecker
from ..check_flow import FlowChecks
from ..comparison import Line, compare

TEXT_VOCAB = 151936


class Checker(BaseChecker):
    """The comparisons of one bundle of generation 2; generation 3 overrides the vocoder's."""

    def _same_model(self) -> bool:
        facts, width = self.manifest["llm"], self._golden("llm")["zero_shot/lm_input"].shape[1]
        size = facts["layers"] * facts["head_dim"] * facts["kv_heads"]
        return facts["text_vocab"] == TEXT_VOCAB and size == width

    def lines(self) -> Iterator[Line]:
        """Every comparison, cheapest first."""
        yield from self.tokenizer()
        yield from self.noise()
        yield from self.llm()
        yield from self.llm_batched()
        yield from self.flow()
        yield from self.vocoder()

    def tokenizer(self) -> Iterator[Line]:
        """Count of sentences whose ids differ."""
        path = self.goldens / "common/text.json"
        if not path.is_file():
            return
        data = json.loads(path.read_text(encoding="utf-8"))
        tokenizer = Tokenizer.from_file(str(self.bundle / self.manifest["tokenizer"]["file"]))
        pairs = zip(data["sentences"], data["tokens"][f"qwen_v{self.generation}"], strict=True)
        wrong = sum(tokenizer.encode(s).ids != ids for s, ids in pairs)
        yield Line("tokenizer", f"{len(data['sentences'])} sentences", wrong, wrong / len(data["sentences"]), 0)
        specials = data["specials"][f"qwen_v{self.generation}"]
        wrong = sum(tokenizer.token_to_id(text) != number for text, number in specials.items())
        yield Line("tokenizer", f"{len(specials)} special tokens", wrong, wrong / len(specials), 0)

    def noise(self) -> Iterator[Line]:
        """The fixed noise of the flow."""
        flow = self.manifest["flow"]["noise"]
        ours = np.fromfile(self.bundle / flow["file"], "<f4").reshape(self.manifest["mel"]["bins"], flow["frames"])
        for file, key in (("noise", "rand_noise_head"), ("flow", "rand_noise")):
            theirs = self._golden(file)[key]
            yield compare("noise", file, ours[: theirs.shape[0], : theirs.shape[1]], theirs, NOISE_TOLERANCE)

    def llm(self) -> Iterator[Line]:
        """Log-probabilities: prefill (row 0), then eight steps fed with the reference's tokens."""
        golden = self._golden("llm")
        for case in sorted({k.split("/")[0] for k in golden.files}):
            model, prompt = self._llm_case(golden, case, rows=1)
            logp = [drive.log_softmax(model.step([prompt]))[0]]
            for token in golden[f"{case}/greedy_tokens"][:8]:
                logp.append(drive.log_softmax(model.step([[model.facts["speech_offset"] + int(token)]]))[0])
            yield compare("llm", case, np.stack(logp), golden[f"{case}/step_logp"], self.limits["logp"])

    def _llm_case(self, golden: Any, case: str, rows: int) -> tuple[drive.Llm, list[int]]:
        model = drive.Llm(self.bundle, self.manifest, rows, 256, self.threads)
        texts = [*golden[f"{case}/prompt_text"][0].tolist(), *golden[f"{case}/text"][0].tolist()]
        return model, model.prompt(texts, golden[f"{case}/prompt_speech_token"][0].tolist())

    def llm_batched(self) -> Iterator[Line]:
        """Both cases as rows of one padded batch, prefill and steps, against the reference."""
        golden = self._golden("llm")
        cases = sorted({k.split("/")[0] for k in golden.files})
        prompts = [self._llm_case(golden, case, 1)[1] for case in cases]
        model = drive.Llm(self.bundle, self.manifest, len(cases), 256, self.threads)
        logp = [drive.log_softmax(model.step(prompts))]
        for i in range(8):
            ids = [[model.facts["speech_offset"] + int(golden[f"{c}/greedy_tokens"][i])] for c in cases]
            logp.append(drive.log_softmax(model.step(ids)))
        theirs = np.stack([golden[f"{c}/step_logp"] for c in cases], axis=1)
        yield compare("llm", "batch of both", np.stack(logp), theirs, self.limits["logp"])

    def flow(self) -> Iterator[Line]:
        """The flow, whole and chunk after chunk."""
        golden = self._golden("flow"), self._golden("stream")
        yield from FlowChecks(self.bundle, self.manifest, *golden, self.limits, self.threads).lines()
