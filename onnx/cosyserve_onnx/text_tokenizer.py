"""Writes `tokenizer.json`: Qwen2's byte-level BPE with CosyVoice's added tokens.

Ids must equal the reference's, which loads vocab.json and merges.txt through Hugging Face's Qwen2 tokenizer and then
adds special tokens (special_tokens.py), in that order, after the vocabulary.
"""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from .errors import ExportError
from .special_tokens import SPECIAL_TOKENS

# Qwen2's splitter: contractions, words with one leading non-letter, single digits, punctuation runs, line ends, spaces.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def build(vocab_path: Path, merges_path: Path, generation: int) -> Tokenizer:
    """The tokenizer of `generation` from a checkpoint's vocab.json and merges.txt."""
    vocab = json.loads(vocab_path.read_text(encoding="utf-8"))
    merges = []
    for line in merges_path.read_text(encoding="utf-8").split("\n"):
        if line and not line.startswith("#version"):
            pair = line.split(" ")
            if len(pair) != 2:
                raise ExportError(f"{merges_path}: {line!r} is not a pair")
            merges.append((pair[0], pair[1]))
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, fuse_unk=False, byte_fallback=False))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in SPECIAL_TOKENS[generation]])
    return tokenizer
