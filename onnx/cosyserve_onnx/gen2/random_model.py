"""Random bundles of generation 2's shape, made without a checkpoint (see ../random_model.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import hyper_yaml
from ..drawn import BINS, SPEAKER, SPEECH_TOKENS, Drawn
from ..random_model import NEVER, RATIO, RandomCheckpoint, lent, residual, unet_stage

STOPS = {2: 3, 3: 200}  # rows and outputs behind the speech tokens
UP_LAYERS = 4  # of the encoder behind the upsampling; the reference fixes it


@dataclass(frozen=True)
class Size:
    """The widths and depths of one model."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    feed_forward: int
    text_vocab: int
    encoder_width: int
    encoder_heads: int
    encoder_feed_forward: int
    encoder_layers: int
    channels: int
    head_dim: int
    blocks: int
    middle: int
    estimator_heads: int
    vocoder: int
    pitch: int


SIZES = {
    # CosyVoice2-0.5B: examples/libritts/cosyvoice2/conf/cosyvoice2.yaml and Qwen2-0.5B's config.json.
    "0.5b": Size(24, 896, 14, 2, 4864, 151936, 512, 8, 2048, 6, 256, 64, 4, 12, 8, 512, 512),
    # The bundled voice.
    "mini": Size(6, 384, 6, 2, 1024, 4960, 256, 4, 512, 2, 256, 64, 1, 3, 4, 256, 192),
    # The checkpoint of tests/goldens, with a smaller text vocabulary.
    "tiny": Size(2, 64, 4, 2, 128, 4960, 64, 4, 128, 2, 64, 16, 2, 2, 4, 64, 64),
}

_FLOW = """flow: !new:cosyvoice.flow.flow.CausalMaskedDiffWithXvec
    output_size: 80
    spk_embed_dim: 192
    pre_lookahead_len: 3
    encoder: !new:cosyvoice.transformer.upsample_encoder.UpsampleConformerEncoder
        output_size: {s.encoder_width}
        attention_heads: {s.encoder_heads}
        normalize_before: True
        input_layer: 'linear'
        pos_enc_layer_type: 'rel_pos_espnet'
        use_cnn_module: False
        macaron_style: False
        static_chunk_size: 25
    decoder: !new:cosyvoice.flow.flow_matching.CausalConditionalCFM
        cfm_params: !new:omegaconf.DictConfig
            content: {{t_scheduler: 'cosine', inference_cfg_rate: 0.7}}
        estimator: !new:cosyvoice.flow.decoder.CausalConditionalDecoder
            in_channels: 320
            channels: [{s.channels}]
            attention_head_dim: {s.head_dim}
            n_blocks: {s.blocks}
            num_mid_blocks: {s.middle}
            num_heads: {s.estimator_heads}
            act_fn: 'gelu'
            static_chunk_size: 50
            num_decoding_left_chunks: -1
"""
_YAML = """
sample_rate: 24000
token_frame_rate: 25
token_mel_ratio: 2
llm: !new:cosyvoice.llm.llm.{language_model}
    speech_token_size: 6561
    mix_ratio: [5, 15]
    sampling: !name:cosyvoice.utils.common.ras_sampling {{top_p: 0.8, top_k: 25, win_size: 10, tau_r: 0.1}}
{flow}hift: !new:cosyvoice.hifigan.generator.{vocoder}
    in_channels: 80
    base_channels: {s.vocoder}
    nb_harmonics: 8
    nsf_alpha: 0.1
    nsf_sigma: 0.003
    nsf_voiced_threshold: 10
    upsample_rates: [8, 5, 3]
    upsample_kernel_sizes: [16, 11, 7]
    istft_params: {{n_fft: 16, hop_len: 4}}
    resblock_kernel_sizes: [3, 7, 11]
    resblock_dilation_sizes: [[1, 3, 5], [1, 3, 5], [1, 3, 5]]
    source_resblock_kernel_sizes: [7, 7, 11]
    source_resblock_dilation_sizes: [[1, 3, 5], [1, 3, 5], [1, 3, 5]]
    lrelu_slope: 0.1
    audio_limit: 0.99
feat_extractor: !name:matcha.utils.audio.mel_spectrogram
    {{n_fft: 1920, num_mels: 80, sampling_rate: 24000, hop_size: 480, win_size: 1920, fmin: 0, fmax: {fmax}}}
"""


def llm_state(s: Size, seed: int, generation: int = 2) -> Drawn:
    """llm.pt. Residual branches shrink with the depth, so the residual stream stays near 1.

    Generation 3's head has a bias here that the model's has not: without it the stop tokens would be drawn.
    """
    d, model, rows = Drawn(seed), "llm.model.model.", SPEECH_TOKENS + STOPS[generation]
    if generation == 2:
        d.table("llm_embedding", 2, s.hidden, 0.5)
    d.table("speech_embedding", rows, s.hidden, 0.5)
    d.table(f"{model}embed_tokens", s.text_vocab, s.hidden, 0.5)
    branch = float((2 * s.layers) ** -0.5)
    keys = s.kv_heads * s.hidden // s.heads
    for i in range(s.layers):
        name = f"{model}layers.{i}."
        for part, width in (("q", s.hidden), ("k", keys), ("v", keys)):
            d.layer(f"{name}self_attn.{part}_proj", width, s.hidden)
        d.layer(f"{name}self_attn.o_proj", s.hidden, s.hidden, gain=branch, bias=False)
        for part in ("gate", "up"):
            d.layer(f"{name}mlp.{part}_proj", s.feed_forward, s.hidden, bias=False)
        d.layer(f"{name}mlp.down_proj", s.hidden, s.feed_forward, gain=branch, bias=False)
        for part in ("input_layernorm", "post_attention_layernorm"):
            d.vector(f"{name}{part}.weight", s.hidden, 0.1, 1.0)
    d.vector(f"{model}norm.weight", s.hidden, 0.1, 1.0)
    # Logits spread as a trained model's: a nucleus of tens, not of thousands.
    d.layer("llm_decoder", rows, s.hidden, gain=2.5)
    d.vector("llm_decoder.bias", rows, 0.05, tail=(STOPS[generation], NEVER))
    return d


def flow_state(s: Size, seed: int) -> Drawn:
    """flow.pt: encoder and estimator. The estimator's last bias brings the mel to speech's level."""
    d, width = Drawn(seed), s.encoder_width
    d.table("input_embedding", SPEECH_TOKENS, width, 0.5)
    d.layer("spk_embed_affine_layer", BINS, SPEAKER)
    for name in ("embed", "up_embed"):
        d.layer(f"encoder.{name}.out.0", width, width)
        d.norm(f"encoder.{name}.out.1", width, 0.25)
    d.norm("encoder.after_norm", width)
    d.layer("encoder.pre_lookahead_layer.conv1", width, width, 4)
    d.layer("encoder.pre_lookahead_layer.conv2", width, width, 3)
    d.layer("encoder.up_layer.conv", width, width, 5)
    for name, layers in (("encoders", s.encoder_layers), ("up_encoders", UP_LAYERS)):
        for i in range(layers):
            _conformer(d, f"encoder.{name}.{i}.", s)
    d.layer("encoder_proj", BINS, width)
    _estimator(d, "decoder.estimator.", s)
    return d


def _conformer(d: Drawn, name: str, s: Size) -> None:
    width = s.encoder_width
    for part in ("q", "k", "v", "out"):
        d.layer(f"{name}self_attn.linear_{part}", width, width)
    d.layer(f"{name}self_attn.linear_pos", width, width, bias=False)
    for part in "uv":
        d.vector(f"{name}self_attn.pos_bias_{part}", width, 0.2)
    d.layer(f"{name}feed_forward.w_1", s.encoder_feed_forward, width)
    d.layer(f"{name}feed_forward.w_2", width, s.encoder_feed_forward)
    d.norm(f"{name}norm_ff", width)
    d.norm(f"{name}norm_mha", width)


def _estimator(d: Drawn, name: str, s: Size) -> None:
    c, time = s.channels, 4 * s.channels
    d.layer(f"{name}time_mlp.linear_1", time, 4 * BINS)
    d.layer(f"{name}time_mlp.linear_2", time, time)
    unet_stage(d, f"{name}down_blocks.0.", 4 * BINS, s, norm=2)
    for i in range(s.middle):
        unet_stage(d, f"{name}mid_blocks.{i}.", c, s, norm=2)
    unet_stage(d, f"{name}up_blocks.0.", 2 * c, s, norm=2)
    for part in ("down_blocks.0.2", "up_blocks.0.2", "final_block.block.0"):
        d.layer(f"{name}{part}", c, c, 3)
    d.norm(f"{name}final_block.block.2", c)
    d.layer(f"{name}final_proj", BINS, c, 1, gain=0.7)
    d.vector(f"{name}final_proj.bias", BINS, 0.5, -5.0)


def hift_state(s: Size, seed: int, causal: bool = False) -> Drawn:
    """hift.pt, weight norm folded. f0 lies around 150 Hz; the last layer's bias sets the noise's level."""
    d, c = Drawn(seed), s.vocoder
    d.layer("m_source.l_linear", 1, 9)
    d.layer("conv_pre", c, BINS, 5 if causal else 7, gain=0.3)
    for i, (taps, source, rate) in enumerate(((16, 30, 8), (11, 6, 5), (7, 1, 3))):
        out = c >> (i + 1)
        if causal:
            d.layer(f"ups.{i}", out, 2 * out, taps)
        else:
            d.layer(f"ups.{i}", 2 * out, out, taps, gain=float(np.sqrt(rate / 2)))
        d.vector(f"ups.{i}.bias", out, 0.05)
        d.layer(f"source_downs.{i}", out, 18, source)
        residual(d, f"source_resblocks.{i}.", out, (7, 7, 11)[i])
        for j, kernel in enumerate((3, 7, 11)):
            residual(d, f"resblocks.{3 * i + j}.", out, kernel)
    d.layer("conv_post", 18, c >> 3, 7, gain=0.1)
    d.vector("conv_post.bias", 18, 0.5, 0.4)
    for i in range(5):
        d.layer(f"f0_predictor.condnet.{2 * i}", s.pitch, BINS if i == 0 else s.pitch, 4 if causal and i == 0 else 3)
    d.layer("f0_predictor.classifier", 1, s.pitch, gain=20.0)
    d.vector("f0_predictor.classifier.bias", 1, 0.0, 150.0)
    return d


@dataclass
class RandomCheckpoint2(RandomCheckpoint):
    """A checkpoint of generation 2 that is drawn instead of read; generation 3 overrides what differs."""

    size: Size = field(default=SIZES["tiny"], kw_only=True)

    @property
    def qwen_config(self) -> dict[str, Any]:
        heads = {"num_attention_heads": self.size.heads, "num_key_value_heads": self.size.kv_heads}
        return heads | {"rope_theta": 1e6, "rms_norm_eps": 1e-6}

    def state(self, name: str) -> Mapping[str, np.ndarray]:
        return {"llm": llm_state, "flow": flow_state, "hift": hift_state}[name](self.size, self.seed)


def yaml_of(size: Size, **parts: str) -> dict[str, Any]:
    """The yaml; `parts`: the flow's text, the classes of language model and vocoder, fmax of the mel."""
    return hyper_yaml.loads(_YAML.format(s=size, **parts))


def random_checkpoint(size: str, seed: int, lender: Path) -> RandomCheckpoint2:
    """A checkpoint of `size` whose prompt encoders and tokenizer are those of the bundle `lender`."""
    s = SIZES[size]
    yaml = yaml_of(s, flow=_FLOW.format(s=s), language_model="Qwen2LM", vocoder="HiFTGenerator", fmax="8000")
    return RandomCheckpoint2(Path(f"random-{size}"), 2, yaml, lent(lender), (RATIO, RATIO), size=s, seed=seed)
