"""Bundles of a real model's shape with random weights, made without a checkpoint.

They cost a server what the real model costs (every layer, every table) and say noise, so speed and memory can be
measured where no checkpoint may be had. The state dictionaries of every generation have a checkpoint's own names
and shapes and go through the same builders. The stop tokens are never drawn and the least and most speech tokens per
text token are equal, so a text of n tokens always gives `RATIO` * n speech tokens.

Text tokenizer, speaker encoder and speech tokenizer are not random but lent by another bundle: their cost is small and
happens once per prompt recording.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from .checkpoint import Checkpoint
from .drawn import BINS, SPEAKER, SPEECH_TOKENS, Drawn
from .errors import ExportError
from .generations import module

RATIO = 6.0  # speech tokens per text token: English and Mandarin speech have 4 to 9
NEVER = -1e4  # bias of the stop tokens: their probability is 0 and fp16 holds it
PROMPT_TOKENS = 87  # of the voice with a prompt: 3.5 s
PROMPT_TEXT = "希望你以后能够做的比我还好呦。"
BUNDLED = Path(__file__).resolve().parents[1] / "bundled"
LENT = {"tokenizer": "tokenizer.json", "campplus": "campplus.onnx", "speech_tokenizer": "speech_tokenizer.onnx"}


@dataclass
class RandomCheckpoint(Checkpoint):
    """A checkpoint that is drawn instead of read."""

    size: Any = field(kw_only=True)  # a Size of the generation's
    seed: int = field(default=0, kw_only=True)
    prompt_tokens, prompt_frames, speech_tokens = PROMPT_TOKENS, 2 * PROMPT_TOKENS, SPEECH_TOKENS

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
            "flow_prompt_speech_token": generator.integers(0, self.speech_tokens, (1, self.prompt_tokens), np.int32),
            "prompt_speech_feat": normal(1, self.prompt_frames, BINS) * 2 - 6,
            "flow_embedding": normal(1, SPEAKER),
        }
        return {"random": {"embedding": normal(1, SPEAKER)}, "random-prompted": prompted}


def lent(lender: Path) -> dict[str, Path]:
    """The files that a random model takes from the bundle `lender`."""
    files = {name: lender / file for name, file in LENT.items()}
    missing = [str(path) for path in files.values() if not path.is_file()]
    if missing:
        raise ExportError(f"{', '.join(missing)}: missing; --lender names a bundle that has them")
    return files


def unet_stage(d: Drawn, name: str, inside: int, s: Any, norm: int) -> None:
    """One residual block of a U-Net and its transformer blocks; `norm`: where a block keeps its norm."""
    c, inner = s.channels, s.estimator_heads * s.head_dim
    d.layer(f"{name}0.mlp.1", c, 4 * c)
    for block, width in (("block1", inside), ("block2", c)):
        d.layer(f"{name}0.{block}.block.0", c, width, 3)
        d.norm(f"{name}0.{block}.block.{norm}", c)
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


def residual(d: Drawn, name: str, width: int, kernel: int) -> None:
    for i in range(3):
        d.layer(f"{name}convs1.{i}", width, width, kernel)
        d.layer(f"{name}convs2.{i}", width, width, kernel, gain=0.3)
        for part in ("activations1", "activations2"):
            d.vector(f"{name}{part}.{i}.alpha", width, 0.1, 1.0)


def random_checkpoint(size: str, seed: int, lender: Path = BUNDLED, generation: int = 2) -> RandomCheckpoint:
    """A checkpoint of `size` whose prompt encoders and tokenizer are those of the bundle `lender`."""
    made = module(generation, "random_model")
    if size not in made.SIZES:
        raise ExportError(f"generation {generation} has no size {size}, but {', '.join(made.SIZES)}")
    return made.random_checkpoint(size, seed, lender)
