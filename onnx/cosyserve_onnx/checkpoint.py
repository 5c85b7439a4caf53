"""An official checkpoint directory: which generation it is, where its files are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from . import hyper_yaml, text_tokenizer, torch_file
from .errors import ExportError
from .hyper_yaml import Tagged

_YAML_NAMES = ("cosyvoice2.yaml", "cosyvoice3.yaml", "cosyvoice.yaml")
_GENERATIONS = {
    ("TransformerLM", "MaskedDiffWithXvec"): 1,
    ("Qwen2LM", "CausalMaskedDiffWithXvec"): 2,
    ("CosyVoice3LM", "CausalMaskedDiffWithDiT"): 3,
}
_SUPPORTED = (2, 3)
_PRETRAINED = "CosyVoice-BlankEN"
TOKEN_TEXT_RATIO = (2.0, 20.0)  # the reference's


@dataclass
class Checkpoint:
    """A checkpoint whose yaml has been read and whose files exist."""

    dir: Path
    generation: int
    yaml: dict[str, Any]
    files: dict[str, Path] = field(default_factory=dict)
    ratios: tuple[float, float] = TOKEN_TEXT_RATIO  # least and most speech tokens per text token

    @property
    def qwen_config(self) -> dict[str, Any]:
        """The language model's config.json."""
        return json.loads(self.files["config"].read_text(encoding="utf-8"))

    def state(self, name: str) -> Mapping[str, np.ndarray]:
        """The weights of `llm`, `flow` or `hift`."""
        return torch_file.load_state(self.files[name])

    def tokenizer(self) -> Tokenizer:
        """The text tokenizer, special tokens included."""
        return text_tokenizer.build(self.files["vocab"], self.files["merges"], self.generation)

    def speakers(self) -> Any:
        """What spk2info.pt holds; nothing without one."""
        return torch_file.load(self.files["speakers"]) if "speakers" in self.files else {}


def _generation(config: dict[str, Any], path: Path) -> int:
    classes = []
    for name in ("llm", "flow", "hift"):
        if not isinstance(config.get(name), Tagged):
            raise ExportError(f"{path}: does not describe a {name}")
        classes.append(config[name].class_name)
    generation = _GENERATIONS.get((classes[0], classes[1]))
    if generation is None:
        raise ExportError(f"{path}: {classes[0]} with {classes[1]} is no CosyVoice model this exporter knows")
    return generation


def open_checkpoint(path: Path) -> Checkpoint:
    """Reads the yaml in `path` and finds every file that a bundle needs."""
    if not path.is_dir():
        raise ExportError(f"{path}: no such directory")
    yamls = [path / name for name in _YAML_NAMES if (path / name).is_file()]
    if not yamls:
        raise ExportError(f"{path}: no {', '.join(_YAML_NAMES)} inside; is this an official checkpoint?")
    config = hyper_yaml.load(yamls[0])
    generation = _generation(config, yamls[0])
    if generation not in _SUPPORTED:
        raise ExportError(f"{path}: CosyVoice {generation}; this exporter supports 2 and 3 so far")
    files = {
        "llm": path / "llm.pt",
        "flow": path / "flow.pt",
        "hift": path / "hift.pt",
        "campplus": path / "campplus.onnx",
        "speech_tokenizer": path / f"speech_tokenizer_v{generation}.onnx",
        "config": path / _PRETRAINED / "config.json",
        "vocab": path / _PRETRAINED / "vocab.json",
        "merges": path / _PRETRAINED / "merges.txt",
    }
    missing = [str(f.relative_to(path)) for f in files.values() if not f.is_file()]
    if missing:
        raise ExportError(f"{path}: missing {', '.join(missing)}")
    speakers = path / "spk2info.pt"
    if speakers.is_file():
        files["speakers"] = speakers
    return Checkpoint(path, generation, config, files)
