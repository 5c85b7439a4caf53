"""Compares every stage of a bundle with the reference's own numbers (see tests/goldens/README.md)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from . import drive
from .check_causal import CausalChecks
from .check_flow import FlowChecks
from .comparison import Line, compare, snr
from .errors import ExportError

# Largest absolute error allowed, per precision. logp: nats; mu, velocity, mel: log-mel units; f0: hertz;
# pages: mel made chunk after chunk against the same mel made at once.
# fp32 must equal the reference up to rounding; fp16 and int8 must stay near it on the tiny random model, whose flat
# distributions and unnormalised mels exaggerate rounding.
TOLERANCES = {
    "fp32": {"logp": 1e-3, "mu": 1e-3, "velocity": 1e-3, "mel": 2e-3, "pages": 1e-4, "f0": 0.01},
    "fp16": {"logp": 5e-2, "mu": 2e-2, "velocity": 3e-2, "mel": 3e-2, "pages": 2e-2, "f0": 0.01},
    "int8": {"logp": 5e-1, "mu": 1.2e-1, "velocity": 2e-1, "mel": 1.5e-1, "pages": 1e-1, "f0": 0.01},
}
# Only the language model is coarser; a random model's flat distribution moves more than a trained one's.
TOLERANCES["int4"] = TOLERANCES["int8"] | {"logp": 3.0}
NOISE_TOLERANCE = 2e-6
CHECKPOINTS = {2: "tiny-cosyvoice2.tar.xz", 3: "tiny-cosyvoice3.tar.xz"}  # what the goldens were made with
# Weights rounded to fp16 cost the random tiny vocoder 44 dB (its magnitudes go through exp); a trained one keeps 70 dB.
VOCODER_SNR_DB = {"fp32": 80.0, "fp16": 40.0, "int8": 40.0, "int4": 40.0}


class Checker:
    """The comparisons of one bundle of generation 2 or 3."""

    def __init__(self, bundle: Path, goldens: Path, threads: int = 0):
        self.bundle, self.goldens, self.threads = bundle, goldens, threads
        self.manifest = drive.read_manifest(bundle)
        self.generation = self.manifest["generation"]
        if self.generation not in CHECKPOINTS:
            raise ExportError(f"{bundle}: generation {self.generation} has no check yet")
        self.precision = self.manifest["precision"]
        self.limits = TOLERANCES[self.precision]
        self._check_same_model()

    def _golden(self, name: str) -> Any:
        """The arrays `name` of this bundle's generation."""
        path = self.goldens / f"tiny/{name}_{self.generation}.npz"
        if not path.is_file():
            raise ExportError(f"{path}: missing golden")
        return np.load(path)

    def _check_same_model(self) -> None:
        """The goldens belong to one set of weights; a bundle of another model cannot be compared."""
        width = self._golden("llm")["zero_shot/lm_input"].shape[1]
        facts = self.manifest["llm"]
        if facts["text_vocab"] != 151936 or facts["layers"] * facts["head_dim"] * facts["kv_heads"] != width:
            raise ExportError(
                f"{self.bundle}: these goldens are of the tiny model (width {width}); export its checkpoint "
                f"(tests/goldens/{CHECKPOINTS[self.generation]}) and check that bundle"
            )

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

    def vocoder(self) -> Iterator[Line]:
        """f0, and samples with the reference's own source."""
        if self.manifest["vocoder"].get("kind") == "causal":
            golden = self._golden("noise"), self._golden("hift"), self._golden("stream")
            yield from CausalChecks(self.bundle, self.manifest, *golden, self.threads).lines()
            return
        model = drive.Vocoder(self.bundle, self.manifest, self.threads)
        golden = self._golden("hift")
        mel = golden["full/mel"]
        yield compare("hift_f0", "full", model.f0(mel), golden["full/f0"], self.limits["f0"])
        silence = np.zeros(golden["full/source"].shape, np.float32)
        for case in ("full", "cached", "decode_zero_source"):
            source = silence if case == "decode_zero_source" else golden[f"{case}/source"]
            audio = model.audio(mel, source)
            yield snr("hift_decoder", case, audio, golden[f"{case}/audio"], VOCODER_SNR_DB[self.precision])


def check(bundle: Path, goldens: Path, log: Callable[[str], None]) -> bool:
    """Runs every comparison; True if all passed."""
    failures = total = 0
    for line in Checker(bundle, goldens).lines():
        log(str(line))
        total += 1
        failures += not line.passed
    log(f"{total - failures} of {total} passed")
    return failures == 0
