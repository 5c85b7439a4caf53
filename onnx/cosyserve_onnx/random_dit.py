"""The flow of generation 3 with random weights: names, shapes and yaml of CausalMaskedDiffWithDiT."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .drawn import BINS, SPEAKER, SPEECH_TOKENS, Drawn

POSITION_TAPS, POSITION_GROUPS = 31, 16  # the reference fixes them
TIME_WIDTH = 256


@dataclass(frozen=True)
class Size:
    """The widths and depths of one flow."""

    width: int
    depth: int
    heads: int
    head_dim: int
    look_ahead: int


SIZES = {
    # Fun-CosyVoice3-0.5B: examples/libritts/cosyvoice3/conf/cosyvoice3.yaml.
    "0.5b": Size(1024, 22, 16, 64, 1024),
    "mini": Size(256, 6, 4, 64, 256),
    # The checkpoint of tests/goldens.
    "tiny": Size(64, 2, 4, 16, 64),
}

YAML = """
flow: !new:cosyvoice.flow.flow.CausalMaskedDiffWithDiT
    input_size: 80
    output_size: 80
    spk_embed_dim: 192
    pre_lookahead_len: 3
    pre_lookahead_layer: !new:cosyvoice.transformer.upsample_encoder.PreLookaheadLayer
        in_channels: 80
        channels: {s.look_ahead}
        pre_lookahead_len: 3
    decoder: !new:cosyvoice.flow.flow_matching.CausalConditionalCFM
        cfm_params: !new:omegaconf.DictConfig
            content: {{t_scheduler: 'cosine', inference_cfg_rate: 0.7}}
        estimator: !new:cosyvoice.flow.DiT.dit.DiT
            dim: {s.width}
            depth: {s.depth}
            heads: {s.heads}
            dim_head: {s.head_dim}
            ff_mult: 2
            static_chunk_size: 50
            num_decoding_left_chunks: -1
"""


def flow_state(s: Size, seed: int) -> Drawn:
    """flow.pt. The last bias brings the mel to speech's level; branches shrink with the depth."""
    d = Drawn(seed)
    d.table("input_embedding", SPEECH_TOKENS, BINS, 0.5)
    d.layer("spk_embed_affine_layer", BINS, SPEAKER)
    d.layer("pre_lookahead_layer.conv1", s.look_ahead, BINS, 4)
    d.layer("pre_lookahead_layer.conv2", BINS, s.look_ahead, 3)
    name, width = "decoder.estimator.", s.width
    d.layer(f"{name}time_embed.time_mlp.0", width, TIME_WIDTH)
    d.layer(f"{name}time_embed.time_mlp.2", width, width)
    d.layer(f"{name}input_embed.proj", width, 4 * BINS)
    for conv in ("conv1", "conv2"):
        d.layer(f"{name}input_embed.conv_pos_embed.{conv}.0", width, width // POSITION_GROUPS, POSITION_TAPS)
    d.given(f"{name}rotary_embed.inv_freq", 1e4 ** -(np.arange(0, s.head_dim, 2, dtype=np.float32) / s.head_dim))
    for i in range(s.depth):
        _block(d, f"{name}transformer_blocks.{i}.", s)
    d.layer(f"{name}norm_out.linear", 2 * width, width, gain=0.5)
    d.layer(f"{name}proj_out", BINS, width, gain=0.7)
    d.vector(f"{name}proj_out.bias", BINS, 0.5, -5.0)
    return d


def _block(d: Drawn, name: str, s: Size) -> None:
    width, inner, branch = s.width, s.heads * s.head_dim, float((2 * s.depth) ** -0.5)
    d.layer(f"{name}attn_norm.linear", 6 * width, width)
    d.vector(f"{name}attn_norm.linear.bias", 6 * width, 0.5)
    for part in "qkv":
        d.layer(f"{name}attn.to_{part}", inner, width)
    d.layer(f"{name}attn.to_out.0", width, inner, gain=branch)
    d.layer(f"{name}ff.ff.0.0", 2 * width, width)
    d.layer(f"{name}ff.ff.2", width, 2 * width, gain=branch)
