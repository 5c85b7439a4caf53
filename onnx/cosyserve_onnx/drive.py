"""Runs a bundle's stages with ONNX Runtime and numpy, as the server does: for `check` and the tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from .errors import ExportError

FORMAT = 2  # of bundle.json
_providers: list[Any] = ["CPUExecutionProvider"]


def use_cuda() -> None:
    """Sessions made from now on run on the first GPU, f32 products without TF32."""
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        raise ExportError("this ONNX Runtime has no CUDA provider; install onnxruntime-gpu")
    _providers.insert(0, ("CUDAExecutionProvider", {"use_tf32": "0"}))


def on_cuda() -> bool:
    """Whether `use_cuda` was called."""
    return len(_providers) > 1


def read_manifest(bundle: Path) -> dict[str, Any]:
    """bundle.json of a format this package writes."""
    path = bundle / "bundle.json"
    if not path.is_file():
        raise ExportError(f"{bundle}: no bundle.json inside")
    manifest = json.loads(path.read_text(encoding="utf-8"))
    if manifest.get("format") != FORMAT:
        raise ExportError(f"{path}: format {manifest.get('format')} is not {FORMAT}; export it again")
    return manifest


def session(path: Path, threads: int = 0) -> ort.InferenceSession:
    """A session, on the CPU unless `use_cuda` was called; `threads` 0 lets ONNX Runtime choose."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=_providers)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis, in f64."""
    x = logits.astype(np.float64)
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


class Llm:
    """The language model with one shared key/value buffer of `rows` rows and `length` positions."""

    def __init__(self, bundle: Path, manifest: dict[str, Any], rows: int, length: int, threads: int = 0):
        self.facts = manifest["llm"]
        self._session = session(bundle / self.facts["file"], threads)
        kind = np.float16 if self.facts["kv_dtype"] == "f16" else np.float32
        shape = (rows, self.facts["kv_heads"], length, self.facts["head_dim"])
        self._buffer = {
            f"{i}.{part}": ort.OrtValue.ortvalue_from_numpy(np.zeros(shape, kind))
            for i in range(self.facts["layers"])
            for part in ("key", "value")
        }
        self._lengths = np.zeros(rows, np.int64)
        self.more: dict[str, np.ndarray] = {}  # inputs that some models have beside these

    def prompt(self, texts: list[int], speech: list[int]) -> list[int]:
        """Ids of [sos, text, task, speech] in the one id space."""
        f = self.facts
        return [f["sos_id"], *texts, f["task_id"], *(f["speech_offset"] + s for s in speech)]

    def step(self, ids: list[list[int]]) -> np.ndarray:
        """Appends `ids[row]` to every row, right-padded to the longest; logits [rows, speech_vocab] of each last id."""
        longest = max(len(i) for i in ids)
        counts = np.array([len(i) for i in ids], np.int64)
        padded = np.array([[*i, *[0] * (longest - len(i))] for i in ids], np.int64)
        self._lengths += counts
        binding = self._session.io_binding()
        binding.bind_cpu_input("input_ids", padded)
        binding.bind_cpu_input("last_index", counts - 1)
        binding.bind_cpu_input("seqlens_k", (self._lengths - 1).astype(np.int32))
        binding.bind_cpu_input("total_sequence_length", np.array(self._lengths.max(), np.int32))
        for name, value in self.more.items():
            binding.bind_cpu_input(name, value)
        binding.bind_output("logits")
        for name, value in self._buffer.items():
            binding.bind_ortvalue_input(f"past_key_values.{name}", value)
            binding.bind_ortvalue_output(f"present.{name}", value)
        self._session.run_with_iobinding(binding)
        return binding.get_outputs()[0].numpy()


class Vocoder:
    """Mel to f0 and, with a source, to samples."""

    def __init__(self, bundle: Path, manifest: dict[str, Any], threads: int = 0):
        self.facts = manifest["vocoder"]
        self._f0 = session(bundle / self.facts["f0"]["file"], threads)
        self._decoder = session(bundle / self.facts["decoder"]["file"], threads)

    def f0(self, mel: np.ndarray) -> np.ndarray:
        """Hertz [frames] of a mel [bins, frames]."""
        return self._f0.run(["f0"], {"mel": mel[None]})[0][0]

    def audio(self, mel: np.ndarray, source: np.ndarray) -> np.ndarray:
        """Samples [frames * hop] of a mel [bins, frames] and a source [frames * hop]."""
        return self._decoder.run(["audio"], {"mel": mel[None], "source": source.reshape(1, 1, -1)})[0][0]
