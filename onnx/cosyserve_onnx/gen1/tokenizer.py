"""Writes `tokenizer.json` of generation 1: whisper's byte-level BPE from a `.tiktoken` file.

The checkpoints do not hold the vocabulary; the reference takes it from the whisper package or, for the 25 Hz recipe,
from its own `tokenizer/assets`. A line is a token in base64 and its rank, which is its id. Special tokens follow,
in the order of whisper's `tokenizer.py` and CosyVoice's `tokenizer/tokenizer.py`.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from ..errors import ExportError
from ..hyper_yaml import Tagged

# Where each of the reference's tokenizer functions finds its vocabulary.
WHISPER, COSYVOICE = "whisper.tokenizer.get_tokenizer", "cosyvoice.tokenizer.tokenizer.get_tokenizer"
FILES = {WHISPER: "multilingual.tiktoken", COSYVOICE: "multilingual_zh_ja_yue_char_del.tiktoken"}
_SOURCES = {
    WHISPER: "whisper/assets/multilingual.tiktoken of the package openai-whisper",
    COSYVOICE: "cosyvoice/tokenizer/assets/multilingual_zh_ja_yue_char_del.tiktoken of the CosyVoice repository",
}

_LANGUAGES = (
    "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg lt "
    "la mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so af oc "
    "ka be tg sd gu am yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su yue minnan wuyu "
    "dialect zh/en en/zh"
).split()
_EVENTS = "ASR AED SER Speech /Speech BGM /BGM Laughter /Laughter Applause /Applause HAPPY SAD ANGRY NEUTRAL".split()
_TASKS = "translate transcribe startoflm startofprev nospeech notimestamps".split()
_SPEECH = [f"TTS/{name}" for name in [*"B O Q A CO CL H".split(), *(f"SP{i:02d}" for i in range(1, 14))]]
_TIMES = [f"{i * 0.02:.2f}" for i in range(1501)]


def specials(function: str, languages: int) -> list[str]:
    """The special tokens of the yaml's tokenizer `function`, in the order of their ids."""
    names = ["endoftext", "startoftranscript", *_LANGUAGES[:languages]]
    if function == COSYVOICE:
        names += [*_EVENTS, *_TASKS, *(f"SPECIAL_TOKEN_{i}" for i in range(1, 31)), *_SPEECH]
    else:
        names += _TASKS
    return [f"<|{name}|>" for name in [*names, *_TIMES]]


def find(directory: Path, function: str, given: Path | None) -> Path:
    """The vocabulary: what the caller names, or the file of the reference's name in the checkpoint."""
    if function not in FILES:
        raise ExportError(f"the text tokenizer {function} is not supported")
    path = given or directory / FILES[function]
    if not path.is_file():
        raise ExportError(
            f"{path}: missing. The text vocabulary is not part of this checkpoint: pass --vocabulary with "
            f"{_SOURCES[function]}, or put that file into the checkpoint's directory"
        )
    return path


def of_checkpoint(directory: Path, config: dict[str, Any], given: Path | None) -> Tokenizer:
    """The tokenizer that the checkpoint's yaml names."""
    entry = config.get("get_tokenizer")
    if not isinstance(entry, Tagged):
        raise ExportError(f"{directory}: the yaml has no get_tokenizer")
    path = find(directory, entry.target, given)
    return build(path, entry.target, int(entry.get("num_languages", 99)))


def _ranks(path: Path) -> dict[bytes, int]:
    ranks = {}
    for line in path.read_text(encoding="ascii", errors="replace").splitlines():
        if not line.strip():
            continue
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token)] = int(rank)
        except (ValueError, binascii.Error) as error:
            raise ExportError(f"{path}: {line[:60]!r} is not a token in base64 and its rank") from error
    if not all(bytes([b]) in ranks for b in range(256)):
        raise ExportError(f"{path}: not a byte-level vocabulary")
    return ranks


def _characters() -> dict[int, str]:
    """The printable character that stands for each byte in byte-level BPE files (GPT-2's convention)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(others)}


def build(path: Path, function: str, languages: int) -> Tokenizer:
    """The tokenizer of a vocabulary file.

    tiktoken merges any two neighbours whose join is a token, lowest rank first, and takes a word that is a token as it
    is: so every split of a token into two tokens becomes a merge, in the order of the ranks.
    """
    ranks = _ranks(path)
    text = _characters()

    def shown(token: bytes) -> str:
        return "".join(text[b] for b in token)

    vocab, merges = {}, []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if not token:
            continue  # whisper's file ends with an empty token
        vocab[shown(token)] = rank
        halves = [(token[:i], token[i:]) for i in range(1, len(token))]
        pairs = [(ranks[a], ranks[b], a, b) for a, b in halves if a in ranks and b in ranks]
        merges += [(shown(a), shown(b)) for _, _, a, b in sorted(pairs)]
    first = max(ranks.values()) + 1
    # The library numbers added tokens by how many there are. No word holds a space: these are never found.
    vocab |= {f"unused {i}": i for i in set(range(first)) - set(vocab.values())}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, fuse_unk=False, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokens = specials(function, languages)
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in tokens])
    if tokenizer.token_to_id(tokens[0]) != first:
        raise ExportError(f"{path}: two tokens of the same rank")
    return tokenizer
