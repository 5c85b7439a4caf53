"""Bundles of a real model's shape with random weights, made without a checkpoint.

They cost a server what the real model costs (every layer, every table) and say noise, so speed and memory can be
measured where no checkpoint may be had. The state dictionaries here and in random_dit.py have a checkpoint's own names
and shapes and go through the same builders. The stop tokens are never drawn and the least and most speech tokens per
text token are equal, so a text of n tokens always gives `RATIO` * n speech tokens.

Text tokenizer, speaker encoder and speech tokenizer are not random but lent by another bundle: their cost is small and
happens once per prompt recording.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from . import hyper_yaml, random_dit
from .checkpoint import Checkpoint
from .drawn import BINS, SPEAKER, SPEECH_TOKENS, Drawn
from .errors import ExportError

RATIO = 6.0  # speech tokens per text token: English and Mandarin speech have 4 to 9
NEVER = -1e4  # bias of the stop tokens: their probability is 0 and fp16 holds it
GENERATIONS = (2, 3)
STOPS = {2: 3, 3: 200}  # rows and outputs behind the speech tokens
UP_LAYERS = 4  # of the encoder behind the upsampling; the reference fixes it
PROMPT_TOKENS = 87  # of the voice with a prompt: 3.5 s
PROMPT_TEXT = "希望你以后能够做的比我还好呦。"
BUNDLED = Path(__file__).resolve().parents[1] / "bundled"
LENT = {"tokenizer": "tokenizer.json", "campplus": "campplus.onnx", "speech_tokenizer": "speech_tokenizer.onnx"}


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
    _stage(d, f"{name}down_blocks.0.", 4 * BINS, s)
    for i in range(s.middle):
        _stage(d, f"{name}mid_blocks.{i}.", c, s)
    _stage(d, f"{name}up_blocks.0.", 2 * c, s)
    for part in ("down_blocks.0.2", "up_blocks.0.2", "final_block.block.0"):
        d.layer(f"{name}{part}", c, c, 3)
    d.norm(f"{name}final_block.block.2", c)
    d.layer(f"{name}final_proj", BINS, c, 1, gain=0.7)
    d.vector(f"{name}final_proj.bias", BINS, 0.5, -5.0)


def _stage(d: Drawn, name: str, inside: int, s: Size) -> None:
    """One residual block and its transformer blocks."""
    c, inner = s.channels, s.estimator_heads * s.head_dim
    d.layer(f"{name}0.mlp.1", c, 4 * c)
    for block, width in (("block1", inside), ("block2", c)):
        d.layer(f"{name}0.{block}.block.0", c, width, 3)
        d.norm(f"{name}0.{block}.block.2", c)
    d.layer(f"{name}0.res_conv", c, inside, 1)
    for i in range(s.blocks):
        t = f"{name}1.{i}."
        for part in "qkv":
            d.layer(f"{t}attn1.to_{part}", inner, c, bias=False)
        d.layer(f"{t}attn1.to_out.0", c, inner)
        d.layer(f"{t}ff.net.0.proj", 4 * c, c)
        d.layer(f"{t}ff.net.2", c, 4 * c)
        d.norm(f"{t}norm1", c)
        d.norm(f"{t}norm3", c)


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
        _residual(d, f"source_resblocks.{i}.", out, (7, 7, 11)[i])
        for j, kernel in enumerate((3, 7, 11)):
            _residual(d, f"resblocks.{3 * i + j}.", out, kernel)
    d.layer("conv_post", 18, c >> 3, 7, gain=0.1)
    d.vector("conv_post.bias", 18, 0.5, 0.4)
    for i in range(5):
        d.layer(f"f0_predictor.condnet.{2 * i}", s.pitch, BINS if i == 0 else s.pitch, 4 if causal and i == 0 else 3)
    d.layer("f0_predictor.classifier", 1, s.pitch, gain=20.0)
    d.vector("f0_predictor.classifier.bias", 1, 0.0, 150.0)
    return d


def _residual(d: Drawn, name: str, width: int, kernel: int) -> None:
    for i in range(3):
        d.layer(f"{name}convs1.{i}", width, width, kernel)
        d.layer(f"{name}convs2.{i}", width, width, kernel, gain=0.3)
        for part in ("activations1", "activations2"):
            d.vector(f"{name}{part}.{i}.alpha", width, 0.1, 1.0)


@dataclass
class RandomCheckpoint(Checkpoint):
    """A checkpoint that is drawn instead of read."""

    size: Size = field(default=SIZES["tiny"], kw_only=True)
    dit: random_dit.Size = field(default=random_dit.SIZES["tiny"], kw_only=True)  # of generation 3's flow
    seed: int = field(default=0, kw_only=True)

    @property
    def qwen_config(self) -> dict[str, Any]:
        heads = {"num_attention_heads": self.size.heads, "num_key_value_heads": self.size.kv_heads}
        return heads | {"rope_theta": 1e6, "rms_norm_eps": 1e-6}

    def state(self, name: str) -> Mapping[str, np.ndarray]:
        if name == "llm":
            return llm_state(self.size, self.seed, self.generation)
        if self.generation == 3:
            return (
                random_dit.flow_state(self.dit, self.seed) if name == "flow" else hift_state(self.size, self.seed, True)
            )
        return {"flow": flow_state, "hift": hift_state}[name](self.size, self.seed)

    def tokenizer(self) -> Tokenizer:
        return Tokenizer.from_file(str(self.files["tokenizer"]))

    def speakers(self) -> dict[str, Any]:
        """A preset voice and one with a prompt."""
        generator = np.random.default_rng(self.seed)

        def normal(*shape: int) -> np.ndarray:
            return generator.standard_normal(shape, np.float32)

        words = self.tokenizer().encode(PROMPT_TEXT).ids
        prompted = {
            "prompt_text": np.array([words], np.int32),
            "flow_prompt_speech_token": generator.integers(0, SPEECH_TOKENS, (1, PROMPT_TOKENS), np.int32),
            "prompt_speech_feat": normal(1, 2 * PROMPT_TOKENS, BINS) * 2 - 6,
            "flow_embedding": normal(1, SPEAKER),
        }
        return {"random": {"embedding": normal(1, SPEAKER)}, "random-prompted": prompted}


def random_checkpoint(size: str, seed: int, lender: Path = BUNDLED, generation: int = 2) -> RandomCheckpoint:
    """A checkpoint of `size` whose prompt encoders and tokenizer are those of the bundle `lender`."""
    if size not in SIZES:
        raise ExportError(f"size {size!r} is not one of {', '.join(SIZES)}")
    files = {name: lender / file for name, file in LENT.items()}
    missing = [str(path) for path in files.values() if not path.is_file()]
    if missing:
        raise ExportError(f"{', '.join(missing)}: missing; --lender names a bundle that has them")
    s, dit = SIZES[size], random_dit.SIZES[size]
    if generation == 3:
        name, flow, fmax = f"random-v3-{size}", random_dit.YAML.format(s=dit), "null"
        classes = {"language_model": "CosyVoice3LM", "vocoder": "CausalHiFTGenerator"}
    else:
        name, flow, fmax = f"random-{size}", _FLOW.format(s=s), "8000"
        classes = {"language_model": "Qwen2LM", "vocoder": "HiFTGenerator"}
    yaml = hyper_yaml.loads(_YAML.format(s=s, flow=flow, fmax=fmax, **classes))
    if generation == 3:
        yaml["hift"].value["conv_pre_look_right"] = 4
    return RandomCheckpoint(Path(name), generation, yaml, files, (RATIO, RATIO), size=s, dit=dit, seed=seed)
