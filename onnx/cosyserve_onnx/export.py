"""Checkpoint to bundle: builds every stage, writes the manifest, and appears on disk whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import __version__, generations, hift, voices
from .checkpoint import Checkpoint, open_checkpoint
from .drive import FORMAT
from .errors import ExportError
from .graph import F16, F32, I8, Graph, Numbers
from .hyper_yaml import Tagged
from .solver import EULER_STEPS, MOST_STEPS
from .special_tokens import END_OF_PROMPT

PRECISIONS = ("fp32", "fp16", "int8", "int4")
MAX_POSITIONS = 4096
FRAME_RATE = 50  # mel frames a second
CACHE_MEL_FRAMES = {1: 20, 2: 8}  # mel frames the reference carries between vocoder chunks


@dataclass
class Options:
    """What the command line decides."""

    precision: str = "fp32"
    name: str | None = None
    licence: str = "Apache-2.0"
    noise_seconds: int = 300
    left_chunks: int | None = None  # attention chunks of left context while streaming; None: all
    flow_steps: int = EULER_STEPS  # of the flow's solver
    vocabulary: Path | None = None  # generation 1: the file of text tokens, where the checkpoint has none
    variant: str | None = None  # generation 1: base, sft or instruct; None: by the checkpoint's name
    log: Callable[[str], None] = lambda _text: None


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class BaseExporter:
    """One export into the directory `out`: what all generations share. The stages are `generations.module`'s."""

    def __init__(self, checkpoint: Checkpoint, out: Path, options: Options):
        self.checkpoint, self.out, self.options = checkpoint, out, options
        self.yaml = checkpoint.yaml
        self.ratio = int(self.yaml.get("token_mel_ratio") or 0)  # 0: no whole number
        half = options.precision == "fp16"
        # Compact weights for CPUs too: fp16 halves the files, the arithmetic stays f32.
        self.store = F32 if options.precision == "fp32" else F16
        self.fast = Numbers(F16, F16) if half else Numbers(F32, self.store)
        integer = options.precision in ("int8", "int4")
        if integer:
            self.fast = Numbers(F32, I8, int8=True, language_bits=4 if options.precision == "int4" else 8)
        # The encoder runs once a chunk: its weights need be small, not fast.
        self.small = Numbers(F32, I8) if integer else Numbers(F32, self.store)

    def run(self) -> None:
        flow = self._flow()
        manifest = self._head() | {
            "tokenizer": self._tokenizer(),
            "llm": self._llm(),
            "flow": flow,
            "vocoder": self._vocoder(),
            "speaker_encoder": self._copy("campplus", "campplus.onnx"),
            "speech_tokenizer": self._copy("speech_tokenizer", "speech_tokenizer.onnx"),
            **self._layout(),
            "voices": self._voices(flow["spk_dim"]),
        }
        text = json.dumps(manifest, ensure_ascii=False, indent=2)
        (self.out / "bundle.json").write_text(text + "\n", encoding="utf-8")

    def _layout(self) -> dict[str, Any]:
        """What the reference's code, not its yaml, says of prompts and tokens."""
        return {"silent_tokens": [], "end_of_prompt": {"text": END_OF_PROMPT, "id": self.end_of_prompt}}

    def _llm(self) -> dict[str, Any]:
        raise NotImplementedError

    def _flow(self) -> dict[str, Any]:
        raise NotImplementedError

    def _entry(self, file: str) -> dict[str, str]:
        return {"file": file, "sha256": sha256(self.out / file)}

    def _graph(self, graph: Graph) -> dict[str, Any]:
        """Saves a graph; its manifest entry."""
        file = f"{graph.name}.onnx"
        data = graph.save(self.out / file)
        entry: dict[str, Any] = self._entry(file) | {"data": data}
        if data:
            entry["data_sha256"] = sha256(self.out / data)
        self.options.log(f"{file}: {sum((self.out / f).stat().st_size for f in (file, data) if f) / 1e6:.1f} MB")
        return entry

    def _copy(self, source: str, file: str) -> dict[str, Any]:
        shutil.copyfile(self.checkpoint.files[source], self.out / file)
        return self._entry(file) | {"data": None}

    def _head(self) -> dict[str, Any]:
        feature = self.yaml.get("feat_extractor")
        if not isinstance(feature, Tagged):
            raise ExportError("the yaml has no feat_extractor")
        rate = int(feature["sampling_rate"])
        name = self.options.name or self.checkpoint.dir.resolve().name
        return {
            "format": FORMAT,
            "name": name,
            "generation": self.checkpoint.generation,
            "precision": self.options.precision,
            "source": {
                "checkpoint": self.checkpoint.dir.resolve().name,
                "licence": self.options.licence,
                "exporter": __version__,
            },
            "sample_rate": int(self.yaml["sample_rate"]),
            **self._rates(),
            "mel": {
                "sample_rate": rate,
                "n_fft": int(feature["n_fft"]),
                "hop": int(feature["hop_size"]),
                "window": int(feature["win_size"]),
                "bins": int(feature["num_mels"]),
                "fmin": feature["fmin"] or 0,
                "fmax": rate / 2 if feature["fmax"] is None else feature["fmax"],
            },
        }

    def _rates(self) -> dict[str, Any]:
        return {"token_rate": int(self.yaml["token_frame_rate"]), "token_mel_ratio": self.ratio}

    def _tokenizer(self) -> dict[str, str]:
        self.tokenizer = self.checkpoint.tokenizer()
        self.end_of_prompt = self.tokenizer.token_to_id(END_OF_PROMPT)
        self.tokenizer.save(str(self.out / "tokenizer.json"), pretty=False)
        return self._entry("tokenizer.json")

    def _sampling(self) -> dict[str, Any]:
        """How tokens are drawn, and how many."""
        sampling = self.yaml["llm"]["sampling"]
        return {
            "sampling": {
                "top_p": float(sampling.get("top_p", 0.8)),
                "top_k": int(sampling.get("top_k", 25)),
                "win_size": int(sampling.get("win_size", 10)),
                "tau_r": float(sampling.get("tau_r", 0.1)),
            },
            "min_ratio": self.checkpoint.ratios[0],
            "max_ratio": self.checkpoint.ratios[1],
        }

    def _hift_state(self) -> dict[str, np.ndarray]:
        """hift.pt. A checkpoint saved during adversarial training carries the vocoder below `generator`."""
        return {k.removeprefix("generator."): v for k, v in self.checkpoint.state("hift").items()}

    def _vocoder(self) -> dict[str, Any]:
        """The vocoder of generations 1 and 2."""
        config, state = self.yaml["hift"], self._hift_state()
        # f0 decides the phase of a long sum, so its weights are never rounded.
        return {
            "f0": self._graph(hift.build_f0(config, state, F32)),
            "decoder": self._graph(hift.build_decoder(config, state, self.store)),
            **hift.source_parameters(config, state),
            "cache_mel_frames": CACHE_MEL_FRAMES[self.checkpoint.generation],
        }

    def _voices(self, spk_dim: int) -> list[dict[str, str]]:
        speakers = self.checkpoint.speakers()
        bins = int(self.yaml["flow"]["output_size"])
        entries = voices.write(speakers, self.out / "voices", self.tokenizer, spk_dim, bins, self.ratio)
        return [e | self._entry(e["file"]) for e in entries]


def export(source: Path, bundle: Path, options: Options) -> None:
    """Writes the bundle of checkpoint directory `source`; see `write`."""
    write(open_checkpoint(source, options.vocabulary), bundle, options)


def write(checkpoint: Checkpoint, bundle: Path, options: Options) -> None:
    """Writes the bundle of a checkpoint to the directory `bundle`, replacing a bundle that is there."""
    if options.precision not in PRECISIONS:
        raise ExportError(f"precision {options.precision!r} is not one of {', '.join(PRECISIONS)}")
    if options.noise_seconds < 1:
        raise ExportError("--noise-seconds must be at least 1")
    if not 1 <= options.flow_steps <= MOST_STEPS:
        raise ExportError(f"--flow-steps must be 1 to {MOST_STEPS}")
    if options.left_chunks is not None and options.left_chunks < 1:
        raise ExportError("--left-context-chunks must be at least 1")
    if bundle.exists() and not (bundle / "bundle.json").is_file() and (not bundle.is_dir() or any(bundle.iterdir())):
        raise ExportError(f"{bundle}: exists and is not a bundle; not overwriting it")
    bundle.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{bundle.name}.", dir=bundle.parent))
    try:
        os.chmod(temporary, 0o755)
        generations.module(checkpoint.generation, "export").Exporter(checkpoint, temporary, options).run()
        if bundle.exists():
            shutil.rmtree(bundle)
        os.replace(temporary, bundle)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
