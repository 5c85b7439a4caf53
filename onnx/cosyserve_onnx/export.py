"""Checkpoint to bundle: builds every stage, writes the manifest, and appears on disk whole or not at all."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from . import __version__, flow_dit, flow_encoder, flow_estimator, flow_lookahead, hift, hift_causal, llm, noise, voices
from .checkpoint import Checkpoint, open_checkpoint
from .drive import FORMAT
from .errors import ExportError
from .graph import F16, F32, I8, Graph, Numbers
from .hyper_yaml import Tagged
from .solver import Solver
from .special_tokens import END_OF_PROMPT

PRECISIONS = ("fp32", "fp16", "int8", "int4")
MAX_POSITIONS = 4096
GRAIN = 8  # elements of state that one GPU thread writes
FRAME_RATE = 50  # mel frames a second
SILENT_TOKENS = [1, 2, 28, 29, 55, 248, 494, 2241, 2242, 2322, 2323]  # of generation 3's speech tokenizer
MAX_SILENT_RUN = 5
CACHE_MEL_FRAMES = {2: 8}  # mel frames the reference carries between vocoder chunks


@dataclass
class Options:
    """What the command line decides."""

    precision: str = "fp32"
    name: str | None = None
    licence: str = "Apache-2.0"
    noise_seconds: int = 300
    left_chunks: int | None = None  # attention chunks of left context while streaming; None: all
    log: Callable[[str], None] = lambda _text: None


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class _Exporter:
    """One export into the directory `out`."""

    def __init__(self, checkpoint: Checkpoint, out: Path, options: Options):
        self.checkpoint, self.out, self.options = checkpoint, out, options
        self.yaml = checkpoint.yaml
        self.ratio = int(self.yaml["token_mel_ratio"])
        half = options.precision == "fp16"
        # Compact weights for CPUs too: fp16 halves the files, the arithmetic stays f32.
        self.store = F32 if options.precision == "fp32" else F16
        self.fast = Numbers(F16, F16) if half else Numbers(F32, self.store)
        integer = options.precision in ("int8", "int4")
        if integer:
            self.fast = Numbers(F32, I8, int8=True, language_bits=4 if options.precision == "int4" else 8)
        # The encoder runs once a chunk: its weights need be small, not fast.
        self.small = Numbers(F32, I8) if integer else Numbers(F32, self.store)
        # State between the flow's runs takes half the memory in fp16; what it loses is below what the weights lost.
        self.state = {"cache": F32 if options.precision == "fp32" else F16, "grain": GRAIN if half else 0}

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
        end = {"text": END_OF_PROMPT, "id": self.end_of_prompt}
        if self.checkpoint.generation == 3:
            silence = {"silent_tokens": SILENT_TOKENS, "max_silent_run": MAX_SILENT_RUN}
            return silence | {"end_of_prompt": end | {"required": True}, "bistream": True}
        return {"silent_tokens": [], "end_of_prompt": end}

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
            "token_rate": int(self.yaml["token_frame_rate"]),
            "token_mel_ratio": self.ratio,
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

    def _tokenizer(self) -> dict[str, str]:
        self.tokenizer = self.checkpoint.tokenizer()
        self.end_of_prompt = self.tokenizer.token_to_id(END_OF_PROMPT)
        self.tokenizer.save(str(self.out / "tokenizer.json"), pretty=False)
        return self._entry("tokenizer.json")

    def _llm(self) -> dict[str, Any]:
        config = self.yaml["llm"]
        state = self.checkpoint.state("llm")
        tokens = int(config["speech_token_size"])
        graph, facts = llm.build(self.checkpoint.qwen_config, state, self.fast, MAX_POSITIONS, tokens)
        entry = self._graph(graph)
        del graph, state
        gc.collect()
        if self.end_of_prompt >= facts["text_vocab"]:
            raise ExportError("the tokenizer has more tokens than llm.pt has text rows")
        sampling = config["sampling"]
        return entry | facts | {
            "sampling": {
                "top_p": float(sampling.get("top_p", 0.8)),
                "top_k": int(sampling.get("top_k", 25)),
                "win_size": int(sampling.get("win_size", 10)),
                "tau_r": float(sampling.get("tau_r", 0.1)),
            },
            "min_ratio": self.checkpoint.ratios[0],
            "max_ratio": self.checkpoint.ratios[1],
            "mix_ratio": [int(v) for v in config.get("mix_ratio", [5, 15])],
        }  # fmt: skip

    def _flow(self) -> dict[str, Any]:
        flow = self.yaml["flow"]
        state = self.checkpoint.state("flow")
        solver = Solver.of(flow)
        frames = min(self.options.noise_seconds * FRAME_RATE, noise.REFERENCE_FRAMES)
        fixed = noise.flow_noise(int(flow["output_size"]), frames)
        (self.out / "noise.bin").write_bytes(fixed.astype("<f4").tobytes())
        small, fast, ratio = replace(self.small, **self.state), replace(self.fast, **self.state), self.ratio
        if self.checkpoint.generation == 3:
            encoder, encoder_caches = flow_lookahead.build(flow, state, small, ratio)
            estimator, estimator_caches = flow_dit.build(flow, state, fast)
            chunk = int(flow["decoder"]["estimator"]["static_chunk_size"]) // ratio
        else:
            encoder, encoder_caches = flow_encoder.build(flow, state, small)
            estimator, estimator_caches = flow_estimator.build(flow, state, fast)
            chunk = int(flow["encoder"]["static_chunk_size"])
        return {
            "encoder": self._graph(encoder),
            "estimator": self._graph(estimator),
            "caches": {"encoder": encoder_caches, "estimator": estimator_caches},
            "left_chunks": self.options.left_chunks,
            "noise": self._entry("noise.bin") | {"frames": frames},
            "steps": solver.steps,
            "cfg_rate": solver.cfg_rate,
            "schedule": solver.schedule,
            "chunk_tokens": chunk,
            "lookahead_tokens": int(flow["pre_lookahead_len"]),
            "spk_dim": int(flow["spk_embed_dim"]),
        }

    def _vocoder(self) -> dict[str, Any]:
        config = self.yaml["hift"]
        state = self.checkpoint.state("hift")
        # A checkpoint saved during adversarial training carries the vocoder below `generator`.
        state = {k.removeprefix("generator."): v for k, v in state.items()}
        if self.checkpoint.generation == 3:
            return self._causal_vocoder(config, state)
        # f0 decides the phase of a long sum, so its weights are never rounded.
        return {
            "f0": self._graph(hift.build_f0(config, state, F32)),
            "decoder": self._graph(hift.build_decoder(config, state, self.store)),
            **hift.source_parameters(config, state),
            "cache_mel_frames": CACHE_MEL_FRAMES[self.checkpoint.generation],
        }

    def _causal_vocoder(self, config: Tagged, state: dict[str, np.ndarray]) -> dict[str, Any]:
        f0, f0_caches, f0_ahead = hift_causal.build_f0(config, state)
        decoder, decoder_caches, timing = hift_causal.build_decoder(config, state)
        facts = hift.source_parameters(config, state)
        bins, sines = int(config["in_channels"]), int(config["nb_harmonics"]) + 1
        skip = noise.source_noise_skip(bins, self.checkpoint.state("flow"), state, sines)
        return {
            "kind": "causal",
            "f0": self._graph(f0),
            "decoder": self._graph(decoder),
            "caches": {"f0": f0_caches, "decoder": decoder_caches},
            "f0_lookahead_frames": f0_ahead,
            **timing,
            **facts,
            "phase": "held",
            "noise": {"kind": "uniform", "seed": 0, "skip": skip},
        }

    def _voices(self, spk_dim: int) -> list[dict[str, str]]:
        speakers = self.checkpoint.speakers()
        bins = int(self.yaml["flow"]["output_size"])
        entries = voices.write(speakers, self.out / "voices", self.tokenizer, spk_dim, bins, self.ratio)
        return [e | self._entry(e["file"]) for e in entries]


def export(source: Path, bundle: Path, options: Options) -> None:
    """Writes the bundle of checkpoint directory `source`; see `write`."""
    write(open_checkpoint(source), bundle, options)


def write(checkpoint: Checkpoint, bundle: Path, options: Options) -> None:
    """Writes the bundle of a checkpoint to the directory `bundle`, replacing a bundle that is there."""
    if options.precision not in PRECISIONS:
        raise ExportError(f"precision {options.precision!r} is not one of {', '.join(PRECISIONS)}")
    if options.noise_seconds < 1:
        raise ExportError("--noise-seconds must be at least 1")
    if options.left_chunks is not None and options.left_chunks < 1:
        raise ExportError("--left-context-chunks must be at least 1")
    if bundle.exists() and not (bundle / "bundle.json").is_file() and (not bundle.is_dir() or any(bundle.iterdir())):
        raise ExportError(f"{bundle}: exists and is not a bundle; not overwriting it")
    bundle.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{bundle.name}.", dir=bundle.parent))
    try:
        os.chmod(temporary, 0o755)
        _Exporter(checkpoint, temporary, options).run()
        if bundle.exists():
            shutil.rmtree(bundle)
        os.replace(temporary, bundle)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
