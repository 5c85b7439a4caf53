"""Random bundles of generation 1's shape, made without a checkpoint (see ../random_model.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import hyper_yaml
from ..drawn import BINS, SPEAKER, Drawn
from ..random_model import NEVER, RATIO, RandomCheckpoint, lent, residual, unet_stage

SPEECH_TOKENS = 4096
PROMPT_TOKENS = 174  # of the voice with a prompt: 3.5 s
FRAMES_24K = 93.75  # prompt mels are made of 24 kHz audio in steps of 256 samples


@dataclass(frozen=True)
class Size:
    """The widths and depths of one model."""

    text_vocab: int
    text_input: int
    width: int
    heads: int
    feed_forward: int
    text_layers: int
    layers: int
    flow_width: int
    flow_heads: int
    flow_feed_forward: int
    flow_layers: int
    channels: int
    head_dim: int
    blocks: int
    middle: int
    estimator_heads: int
    vocoder: int
    pitch: int


SIZES = {
    # CosyVoice-300M: examples/libritts/cosyvoice/conf/cosyvoice.yaml.
    "300m": Size(51866, 512, 1024, 16, 4096, 6, 14, 512, 8, 2048, 6, 256, 64, 4, 12, 8, 512, 512),
    # The checkpoint of tests/goldens, with a smaller text vocabulary.
    "tiny": Size(4960, 64, 64, 4, 128, 2, 2, 64, 4, 128, 2, 64, 16, 2, 2, 4, 64, 64),
}

_YAML = """
sample_rate: 22050
llm: !new:cosyvoice.llm.llm.TransformerLM
    text_token_size: {s.text_vocab}
    speech_token_size: 4096
    text_encoder: !new:cosyvoice.transformer.encoder.ConformerEncoder
        attention_heads: {s.heads}
        normalize_before: True
        input_layer: 'linear'
        pos_enc_layer_type: 'rel_pos_espnet'
        use_cnn_module: False
        macaron_style: False
    llm: !new:cosyvoice.transformer.encoder.TransformerEncoder
        attention_heads: {s.heads}
        input_layer: 'linear_legacy'
        pos_enc_layer_type: 'rel_pos_espnet'
    sampling: !name:cosyvoice.utils.common.ras_sampling {{top_p: 0.8, top_k: 25, win_size: 10, tau_r: 0.1}}
flow: !new:cosyvoice.flow.flow.MaskedDiffWithXvec
    output_size: 80
    spk_embed_dim: 192
    input_frame_rate: 50
    encoder: !new:cosyvoice.transformer.encoder.ConformerEncoder
        attention_heads: {s.flow_heads}
        normalize_before: True
        input_layer: 'linear'
        pos_enc_layer_type: 'rel_pos_espnet'
        use_cnn_module: False
        macaron_style: False
    decoder: !new:cosyvoice.flow.flow_matching.ConditionalCFM
        cfm_params: !new:omegaconf.DictConfig
            content: {{t_scheduler: 'cosine', inference_cfg_rate: 0.7}}
        estimator: !new:cosyvoice.flow.decoder.ConditionalDecoder
            in_channels: 320
            channels: [{s.channels}, {s.channels}]
            attention_head_dim: {s.head_dim}
            n_blocks: {s.blocks}
            num_mid_blocks: {s.middle}
            num_heads: {s.estimator_heads}
            act_fn: 'gelu'
hift: !new:cosyvoice.hifigan.generator.HiFTGenerator
    in_channels: 80
    base_channels: {s.vocoder}
    nb_harmonics: 8
    nsf_alpha: 0.1
    nsf_sigma: 0.003
    nsf_voiced_threshold: 10
    upsample_rates: [8, 8]
    upsample_kernel_sizes: [16, 16]
    istft_params: {{n_fft: 16, hop_len: 4}}
    resblock_kernel_sizes: [3, 7, 11]
    resblock_dilation_sizes: [[1, 3, 5], [1, 3, 5], [1, 3, 5]]
    source_resblock_kernel_sizes: [7, 11]
    source_resblock_dilation_sizes: [[1, 3, 5], [1, 3, 5]]
    lrelu_slope: 0.1
    audio_limit: 0.99
feat_extractor: !name:matcha.utils.audio.mel_spectrogram
    {{n_fft: 1024, num_mels: 80, sampling_rate: 22050, hop_size: 256, win_size: 1024, fmin: 0, fmax: 8000}}
"""


def _stack(d: Drawn, name: str, inside: int, width: int, inner: int, layers: int, norms: tuple[str, str]) -> None:
    """An encoder: input layer, `layers` of attention and feed-forward, final norm."""
    d.layer(f"{name}.embed.out.0", width, inside)
    d.norm(f"{name}.embed.out.1", width, 0.25)
    branch = float((2 * layers) ** -0.5)
    for i in range(layers):
        layer = f"{name}.encoders.{i}."
        for part in ("q", "k", "v", "out"):
            gain = branch * 8 if part == "out" else 1.0  # the residual stream starts at the root of the width
            d.layer(f"{layer}self_attn.linear_{part}", width, width, gain=gain)
        d.layer(f"{layer}self_attn.linear_pos", width, width, gain=0.3, bias=False)
        for part in "uv":
            d.vector(f"{layer}self_attn.pos_bias_{part}", width, 0.2)
        d.layer(f"{layer}feed_forward.w_1", inner, width)
        d.layer(f"{layer}feed_forward.w_2", width, inner, gain=branch * 8)
        for norm in norms:
            d.norm(f"{layer}{norm}", width)
    d.norm(f"{name}.after_norm", width)


def llm_state(s: Size, seed: int) -> Drawn:
    """llm.pt: text encoder and language model."""
    d = Drawn(seed)
    d.table("text_embedding", s.text_vocab, s.text_input, 0.5)
    _stack(d, "text_encoder", s.text_input, s.width, s.feed_forward, s.text_layers, ("norm_mha", "norm_ff"))
    d.layer("text_encoder_affine_layer", s.width, s.width)
    d.table("llm_embedding", 2, s.width, 0.5)
    _stack(d, "llm", s.width, s.width, s.feed_forward, s.layers, ("norm1", "norm2"))
    # Logits spread as a trained model's: a nucleus of tens, not of thousands.
    d.layer("llm_decoder", SPEECH_TOKENS + 1, s.width, gain=2.5)
    d.vector("llm_decoder.bias", SPEECH_TOKENS + 1, 0.05, tail=(1, NEVER))
    d.table("speech_embedding", SPEECH_TOKENS, s.width, 0.5)
    d.layer("spk_embed_affine_layer", s.width, SPEAKER)
    return d


def flow_state(s: Size, seed: int) -> Drawn:
    """flow.pt: encoder, length regulator and estimator, whose last bias brings the mel to speech's level."""
    d = Drawn(seed)
    d.table("input_embedding", SPEECH_TOKENS, s.flow_width, 0.5)
    d.layer("spk_embed_affine_layer", BINS, SPEAKER)
    _stack(d, "encoder", s.flow_width, s.flow_width, s.flow_feed_forward, s.flow_layers, ("norm_mha", "norm_ff"))
    d.layer("encoder_proj", BINS, s.flow_width)
    for i in range(0, 12, 3):
        d.layer(f"length_regulator.model.{i}", BINS, BINS, 3)
        d.norm(f"length_regulator.model.{i + 1}", BINS)
    d.layer("length_regulator.model.12", BINS, BINS, 1)
    _estimator(d, "decoder.estimator.", s)
    return d


def _estimator(d: Drawn, name: str, s: Size) -> None:
    c = s.channels
    d.layer(f"{name}time_mlp.linear_1", 4 * c, 4 * BINS)
    d.layer(f"{name}time_mlp.linear_2", 4 * c, 4 * c)
    widths = {"down_blocks.0": 4 * BINS, "down_blocks.1": c, "up_blocks.0": 2 * c, "up_blocks.1": 2 * c}
    widths |= {f"mid_blocks.{i}": c for i in range(s.middle)}
    for stage, inside in widths.items():
        unet_stage(d, f"{name}{stage}.", inside, s, norm=1)
    for part, taps in (("down_blocks.0.2.conv", 3), ("down_blocks.1.2", 3), ("up_blocks.0.2.conv", 4),
                       ("up_blocks.1.2", 3), ("final_block.block.0", 3)):  # fmt: skip
        d.layer(f"{name}{part}", c, c, taps)
    d.norm(f"{name}final_block.block.1", c)
    d.layer(f"{name}final_proj", BINS, c, 1, gain=0.7)
    d.vector(f"{name}final_proj.bias", BINS, 0.5, -5.0)


def hift_state(s: Size, seed: int) -> Drawn:
    """hift.pt, weight norm folded. f0 lies around 150 Hz; the last layer's bias sets the noise's level."""
    d, c = Drawn(seed), s.vocoder
    d.layer("m_source.l_linear", 1, 9)
    d.layer("conv_pre", c, BINS, 7, gain=0.3)
    for i, source in enumerate((16, 1)):
        out = c >> (i + 1)
        d.layer(f"ups.{i}", 2 * out, out, 16, gain=2.0)
        d.vector(f"ups.{i}.bias", out, 0.05)
        d.layer(f"source_downs.{i}", out, 18, source)
        residual(d, f"source_resblocks.{i}.", out, (7, 11)[i])
        for j, kernel in enumerate((3, 7, 11)):
            residual(d, f"resblocks.{3 * i + j}.", out, kernel)
    d.layer("conv_post", 18, c >> 2, 7, gain=0.1)
    d.vector("conv_post.bias", 18, 0.5, 0.4)
    for i in range(5):
        d.layer(f"f0_predictor.condnet.{2 * i}", s.pitch, BINS if i == 0 else s.pitch, 3)
    d.layer("f0_predictor.classifier", 1, s.pitch, gain=20.0)
    d.vector("f0_predictor.classifier.bias", 1, 0.0, 150.0)
    return d


@dataclass
class RandomCheckpoint1(RandomCheckpoint):
    """A generation-1 checkpoint that is drawn instead of read."""

    size: Size = field(default=SIZES["tiny"], kw_only=True)
    prompt_tokens, prompt_frames, speech_tokens = PROMPT_TOKENS, int(PROMPT_TOKENS / 50 * FRAMES_24K), SPEECH_TOKENS

    def state(self, name: str) -> Mapping[str, np.ndarray]:
        return {"llm": llm_state, "flow": flow_state, "hift": hift_state}[name](self.size, self.seed)


def random_checkpoint(size: str, seed: int, lender: Path) -> RandomCheckpoint1:
    """A checkpoint of `size` whose prompt encoders and tokenizer are those of the bundle `lender`."""
    yaml: dict[str, Any] = hyper_yaml.loads(_YAML.format(s=SIZES[size]))
    name, ratios = Path(f"random-v1-{size}"), (RATIO, RATIO)
    return RandomCheckpoint1(name, 1, yaml, lent(lender), ratios, size=SIZES[size], seed=seed)
