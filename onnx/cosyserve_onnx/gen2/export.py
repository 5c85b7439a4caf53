"""Checkpoints of generation 2 (CosyVoice2-0.5B): their stages and what their manifest says."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import llm, noise
from ..checkpoint import Checkpoint
from ..errors import ExportError
from ..export import FRAME_RATE, MAX_POSITIONS, BaseExporter, Options
from ..graph import F16, F32, Graph, Numbers
from ..hyper_yaml import Tagged
from ..solver import Solver
from . import flow_encoder, flow_estimator

GRAIN = 8  # elements of state that one GPU thread writes


@dataclass
class FlowGraphs:
    """The flow's graphs, the caches of each, and the tokens that an attention chunk has."""

    encoder: Graph
    encoder_caches: list[dict[str, Any]]
    estimator: Graph
    estimator_caches: list[dict[str, Any]]
    chunk_tokens: int


class Exporter(BaseExporter):
    """One export of generation 2; generation 3 overrides what differs."""

    def __init__(self, checkpoint: Checkpoint, out: Path, options: Options):
        super().__init__(checkpoint, out, options)
        # State between the flow's runs takes half the memory in fp16; what it loses is below what the weights lost.
        self.state = {
            "cache": F32 if options.precision == "fp32" else F16,
            "grain": GRAIN if options.precision == "fp16" else 0,
        }

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
        mix = [int(v) for v in config.get("mix_ratio", [5, 15])]
        return entry | facts | self._sampling() | {"mix_ratio": mix}

    def _flow(self) -> dict[str, Any]:
        flow = self.yaml["flow"]
        state = self.checkpoint.state("flow")
        solver = Solver.of(flow, self.options.flow_steps)
        frames = min(self.options.noise_seconds * FRAME_RATE, noise.REFERENCE_FRAMES)
        fixed = noise.flow_noise(int(flow["output_size"]), frames)
        (self.out / "noise.bin").write_bytes(fixed.astype("<f4").tobytes())
        small, fast = replace(self.small, **self.state), replace(self.fast, **self.state)
        graphs = self._flow_graphs(flow, state, solver, small, fast)
        return {
            "encoder": self._graph(graphs.encoder),
            "estimator": self._graph(graphs.estimator),
            "caches": {"encoder": graphs.encoder_caches, "estimator": graphs.estimator_caches},
            "left_chunks": self.options.left_chunks,
            "noise": self._entry("noise.bin") | {"frames": frames},
            "steps": solver.steps,
            "cfg_rate": solver.cfg_rate,
            "schedule": solver.schedule,
            "chunk_tokens": graphs.chunk_tokens,
            "lookahead_tokens": int(flow["pre_lookahead_len"]),
            "spk_dim": int(flow["spk_embed_dim"]),
        }

    def _flow_graphs(
        self, flow: Tagged, state: Mapping[str, np.ndarray], solver: Solver, small: Numbers, fast: Numbers
    ) -> FlowGraphs:
        encoder, estimator = flow_encoder.build(flow, state, small), flow_estimator.build(flow, state, solver, fast)
        return FlowGraphs(*encoder, *estimator, int(flow["encoder"]["static_chunk_size"]))
