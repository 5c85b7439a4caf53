"""Checkpoints of generation 3 (Fun-CosyVoice3-0.5B): their stages and what their manifest says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import noise
from ..gen2 import export as gen2
from ..graph import Numbers
from ..hift import source_parameters
from ..hyper_yaml import Tagged
from ..solver import Solver
from . import flow_encoder, flow_estimator, hift

SILENT_TOKENS = [1, 2, 28, 29, 55, 248, 494, 2241, 2242, 2322, 2323]  # of the speech tokenizer
MAX_SILENT_RUN = 5


class Exporter(gen2.Exporter):
    """One export of generation 3."""

    def _layout(self) -> dict[str, Any]:
        layout = super()._layout() | {"silent_tokens": SILENT_TOKENS, "max_silent_run": MAX_SILENT_RUN}
        return layout | {"end_of_prompt": layout["end_of_prompt"] | {"required": True}, "bistream": True}

    def _flow_graphs(
        self, flow: Tagged, state: Mapping[str, np.ndarray], solver: Solver, small: Numbers, fast: Numbers
    ) -> gen2.FlowGraphs:
        encoder = flow_encoder.build(flow, state, small, self.ratio)
        estimator = flow_estimator.build(flow, state, solver, fast)
        chunk = int(flow["decoder"]["estimator"]["static_chunk_size"]) // self.ratio
        return gen2.FlowGraphs(*encoder, *estimator, chunk)

    def _vocoder(self) -> dict[str, Any]:
        config, state = self.yaml["hift"], self._hift_state()
        f0, f0_caches, f0_ahead = hift.build_f0(config, state)
        decoder, decoder_caches, timing = hift.build_decoder(config, state)
        facts = source_parameters(config, state)
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
