"""Built-in voices: `spk2info.pt` to `voices/NNN.safetensors`.

Three namings occur: `embedding` alone (preset speakers); what the reference saves for a zero-shot speaker
(`prompt_text`, `flow_prompt_speech_token`, `prompt_speech_feat`, `flow_embedding`, each with a leading axis of 1); and
an older deployment's (`prompt_text_token`, `speech_token`, `speech_feat`, `embedding`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save
from tokenizers import Tokenizer

from .errors import ExportError

_NAMES = {
    "embedding": ("flow_embedding", "embedding", "llm_embedding"),
    "prompt_text_tokens": ("prompt_text", "prompt_text_token"),
    "speech_tokens": ("flow_prompt_speech_token", "llm_prompt_speech_token", "speech_token"),
    "speech_feat": ("prompt_speech_feat", "speech_feat"),
}


def _pick(speaker: Mapping[str, Any], tensor: str, voice: str) -> np.ndarray | None:
    for name in _NAMES[tensor]:
        value = speaker.get(name)
        if isinstance(value, np.ndarray) and value.size:
            if value.ndim > 1 and value.shape[0] != 1 and not (tensor == "speech_feat" and value.ndim == 2):
                raise ExportError(f"voice {voice!r}: {name} has shape {list(value.shape)}")
            return value
    return None


def tensors_of(speaker: Any, voice: str, spk_dim: int, bins: int, ratio: int) -> dict[str, np.ndarray]:
    """The tensors of one voice file (see BUNDLE.md); `ratio`: mel frames per token, 0 where that is no whole number."""
    if not isinstance(speaker, Mapping):
        raise ExportError(f"voice {voice!r}: not a dictionary")
    embedding = _pick(speaker, "embedding", voice)
    if embedding is None or embedding.size != spk_dim:
        raise ExportError(f"voice {voice!r}: no embedding of {spk_dim} numbers")
    tensors = {"embedding": embedding.reshape(-1).astype(np.float32)}
    tokens, feat = _pick(speaker, "speech_tokens", voice), _pick(speaker, "speech_feat", voice)
    text = _pick(speaker, "prompt_text_tokens", voice)
    if tokens is None or feat is None:
        return tensors
    # The reference trims both so that every token has its mel frames; files saved before that may not be trimmed.
    feat = feat.reshape(-1, bins)
    count = min(tokens.size, feat.shape[0] // ratio) if ratio else tokens.size
    tensors["speech_tokens"] = tokens.reshape(-1)[:count].astype(np.int32)
    tensors["speech_feat"] = np.ascontiguousarray(feat[: count * ratio] if ratio else feat, np.float32)
    empty = np.zeros(0, np.int32)
    tensors["prompt_text_tokens"] = empty if text is None else text.reshape(-1).astype(np.int32)
    return tensors


def _save(tensors: Mapping[str, np.ndarray], path: Path, metadata: Mapping[str, str]) -> None:
    """A safetensors file that is the same each time: bundles name hashes, and the library writes metadata at random."""
    data = save(dict(tensors), dict(metadata))
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end]) | {"__metadata__": dict(metadata)}
    packed = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    packed += b" " * (-len(packed) % 8)  # what follows stays aligned
    path.write_bytes(len(packed).to_bytes(8, "little") + packed + data[end:])


def write(
    speakers: Any, directory: Path, tokenizer: Tokenizer, spk_dim: int, bins: int, ratio: int
) -> list[dict[str, str]]:
    """Writes one file per speaker into `directory`; returns their ids, names and file names in order."""
    if not isinstance(speakers, Mapping):
        raise ExportError("spk2info.pt: not a dictionary of speakers")
    entries = []
    for number, (voice, speaker) in enumerate(speakers.items()):
        voice = str(voice)
        tensors = tensors_of(speaker, voice, spk_dim, bins, ratio)
        words = tensors.get("prompt_text_tokens")
        text = "" if words is None else tokenizer.decode(words.tolist(), skip_special_tokens=False)
        directory.mkdir(exist_ok=True)
        file = f"{number:03d}.safetensors"
        metadata = {"id": voice, "name": voice, "prompt_text": text, "format": "1"}
        _save(tensors, directory / file, metadata)
        entries.append({"id": voice, "name": voice, "file": f"{directory.name}/{file}"})
    return entries
