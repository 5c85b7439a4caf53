"""Which generation of CosyVoice something is of, and where the code is that only this generation needs.

The packages gen1, gen2 and gen3 have modules of the same names: `export` (Exporter), `check` (Checker), `random_model`
(SIZES, random_checkpoint), the graphs `flow_encoder` and `flow_estimator`, and others that only one has. Generation 3
builds on 2. What several generations share lies beside the packages.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from .errors import ExportError
from .hyper_yaml import Tagged

GENERATIONS = (1, 2, 3)
_CLASSES = {
    ("TransformerLM", "MaskedDiffWithXvec"): 1,
    ("Qwen2LM", "CausalMaskedDiffWithXvec"): 2,
    ("CosyVoice3LM", "CausalMaskedDiffWithDiT"): 3,
}


def of_yaml(config: dict[str, Any], path: Path) -> int:
    """The generation of the checkpoint whose yaml at `path` says `config`."""
    classes = []
    for name in ("llm", "flow", "hift"):
        if not isinstance(config.get(name), Tagged):
            raise ExportError(f"{path}: does not describe a {name}")
        classes.append(config[name].class_name)
    generation = _CLASSES.get((classes[0], classes[1]))
    if generation is None:
        raise ExportError(f"{path}: {classes[0]} with {classes[1]} is no CosyVoice model this exporter knows")
    return generation


def module(generation: int, name: str) -> Any:
    """The module `name` of the generation's package."""
    if generation not in GENERATIONS:
        raise ExportError(f"generation {generation} is not known")
    return import_module(f".gen{generation}.{name}", __package__)
