"""Checkpoints of generation 1 (CosyVoice-300M, -SFT, -Instruct, -25Hz): their stages and what their manifest says."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

from ..checkpoint import Checkpoint
from ..errors import ExportError
from ..export import MAX_POSITIONS, BaseExporter, Options
from ..solver import Solver
from . import flow_encoder, flow_estimator, llm, text_encoder
from .flow_encoder import EDGE_TOKENS, HOP, SAMPLE_RATE, mel_frames

# What each published variant was trained for.
MODES = {
    "base": ["zero_shot", "cross_lingual", "vc"],
    "sft": ["sft"],
    "instruct": ["instruct", "sft"],
}
HOP_SECONDS = 2  # of new speech in every streamed chunk


def variant_of(name: str) -> str:
    """base, sft or instruct, by the checkpoint's name: nothing inside it tells."""
    lower = name.lower()
    return next((v for v in ("instruct", "sft") if v in lower), "base")


class Exporter(BaseExporter):
    """One export of generation 1."""

    def __init__(self, checkpoint: Checkpoint, out: Path, options: Options):
        super().__init__(checkpoint, out, options)
        self.token_rate = int(self.yaml["flow"]["input_frame_rate"])

    def _rates(self) -> dict[str, Any]:
        """Frames of a token are no whole number: mel.sample_rate / (token_rate * mel.hop)."""
        feature = self.yaml["feat_extractor"]
        if (int(self.yaml["sample_rate"]), int(feature["hop_size"])) != (SAMPLE_RATE, HOP):
            raise ExportError(f"only {SAMPLE_RATE} Hz and frames of {HOP} samples are supported")
        return {"token_rate": self.token_rate, "token_mel_ratio": None}

    def _layout(self) -> dict[str, Any]:
        variant = self.options.variant or variant_of(self.checkpoint.dir.resolve().name)
        return super()._layout() | {"modes": MODES[variant]}

    def _llm(self) -> dict[str, Any]:
        config, state = self.yaml["llm"], self.checkpoint.state("llm")
        graph, facts = llm.build(config, state, self.fast, MAX_POSITIONS)
        entry = self._graph(graph)
        encoder = self._graph(text_encoder.build(config, state, self.small))
        del graph, state
        gc.collect()
        words = self.tokenizer.get_vocab_size()
        if words > facts["text_vocab"]:
            raise ExportError(f"the vocabulary has {words} tokens, llm.pt has {facts['text_vocab']} text rows")
        tokens = int(config["speech_token_size"])
        if facts["speech_vocab"] != tokens + 1:
            raise ExportError(f"llm.pt: {facts['speech_vocab']} logits are not {tokens} tokens and a stop")
        more = {"eos": tokens, "stop": [tokens], "fill": None, "speech_tokens": tokens, "mix_ratio": None}
        return entry | facts | more | self._sampling() | {"text_encoder": encoder}

    def _flow(self) -> dict[str, Any]:
        flow, state = self.yaml["flow"], self.checkpoint.state("flow")
        solver = Solver.of(flow, self.options.flow_steps)
        return {
            "encoder": self._graph(flow_encoder.build(flow, state, self.small)),
            "estimator": self._graph(flow_estimator.build(flow, state, solver, self.fast)),
            "caches": {"encoder": [], "estimator": []},
            "left_chunks": None,
            "noise": None,
            "steps": solver.steps,
            "cfg_rate": solver.cfg_rate,
            "schedule": solver.schedule,
            "stream": {
                "hop_tokens": HOP_SECONDS * self.token_rate,
                "overlap_tokens": EDGE_TOKENS,
                "mel_overlap_frames": mel_frames(EDGE_TOKENS, self.token_rate),
            },
            "spk_dim": int(flow["spk_embed_dim"]),
        }

    def _vocoder(self) -> dict[str, Any]:
        return super()._vocoder() | {"phase": "samples"}
