"""Pack everything that generation and training need into one small folder, to carry to the GPU.

    python prepare.py --work DIR --tokenizer CHECKPOINT/CosyVoice-BlankEN --out DIR

Reads phones_*.jsonl and words.json (corpus.py, phonemize.py), kokoro.pt (teacher_extract.py) and the teacher's voice
packs; writes text.pt (phoneme ids and text tokens), voices.pt (style vectors, filter banks) and kokoro.pt.
"""

import argparse
import json
import random
from pathlib import Path

import numpy as np
import torch

import features
import tokens

LEFT_OUT = {"zf_xiaoni", "af_nicole"}  # hoarse, whispering
LANGUAGES = "abzj"  # American, British, Mandarin, Japanese voices
ALSO = {"em_santa", "hm_psi", "pm_santa"}  # of the other languages' voices; the rest are kept unheard, for prompts.py
ENDOFPROMPT = 4937
INSTRUCTIONS = {
    "slow": ["Please speak slowly.", "Speak very slowly.", "说慢一点。", "用很慢的语速说。", "slow", "Slow down."],
    "fast": ["Please speak quickly.", "Speak fast.", "说快一点。", "用很快的语速说。", "fast", "Talk faster."],
    "high": [
        "Speak with a high voice.",
        "Raise your pitch.",
        "用高音说这句话。",
        "音调高一点。",
        "high pitch",
        "higher",
    ],
    "low": [
        "Speak with a low voice.",
        "Lower your pitch.",
        "用低沉的声音说。",
        "音调低一点。",
        "low pitch",
        "deep voice",
    ],
    "cheerful": [
        "Use a happy tone.",
        "Speak cheerfully.",
        "用开心的语气说这句话。",
        "用高兴的语气说。",
        "cheerful",
        "happy",
    ],
    "calm": [
        "Say this in a calm voice.",
        "Speak calmly.",
        "用平静的语气说。",
        "用冷静的语气说这句话。",
        "calm",
        "serious",
    ],
    "none": [
        "You are a helpful assistant.",
        "Please read this sentence aloud.",
        "用自然的语气说这句话。",
        "请说普通话。",
        "Speak naturally.",
        "用四川话说这句话。",
        "Say it like a news anchor.",
    ],
}


def flat(lists, dtype):
    """Lists of numbers as one tensor and the offsets into it."""
    offsets = np.cumsum([0] + [len(x) for x in lists])
    return torch.from_numpy(np.concatenate([np.asarray(x, dtype) for x in lists])), torch.from_numpy(offsets)


def sentences(work):
    """(language, text, phones), language 0 English, 1 Mandarin"""
    for path in sorted(work.glob("phones_*.jsonl")):
        for line in open(path, encoding="utf8"):
            _, text, phones = json.loads(line)
            yield int("_zh_" in path.name), text, phones
    for _, text, phones in json.load(open(work / "words.json", encoding="utf8")):
        yield 0, text, phones


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--voices", type=Path, required=True, help="kokoro-js' folder voices/")
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(args.tokenizer)
    data = [s for s in sentences(args.work) if 2 <= len(s[2]) <= 380]
    random.Random(1).shuffle(data)
    text = tokenizer([s[1] for s in data])["input_ids"]
    later = tokenizer([s[1] if s[0] else " " + s[1] for s in data])["input_ids"]  # not the first sentence of a text
    phones, phone_offsets = flat([tokens.encode(s[2]) for s in data], np.uint8)
    text, text_offsets = flat(text, np.int16)
    later, later_offsets = flat(later, np.int16)
    instructions = {k: [tokenizer(s)["input_ids"] + [ENDOFPROMPT] for s in v] for k, v in INSTRUCTIONS.items()}
    args.out.mkdir(parents=True, exist_ok=True)
    torch.save(
        {
            "phones": phones,
            "phone_offsets": phone_offsets.int(),
            "text": text,
            "text_offsets": text_offsets.int(),
            "later": later,
            "later_offsets": later_offsets.int(),
            "instructions": instructions,
            "language": torch.tensor([s[0] for s in data], dtype=torch.uint8),
        },
        args.out / "text.pt",
    )
    names = sorted(
        p.stem for p in args.voices.glob("*.bin") if p.stem[0] in LANGUAGES and p.stem not in LEFT_OUT or p.stem in ALSO
    )
    packs = [np.fromfile(args.voices / f"{n}.bin", "<f4").reshape(-1, 256)[:384] for n in names]
    torch.save(
        {"names": names, "packs": torch.from_numpy(np.stack(packs)).half(), "banks": features.filter_banks()},
        args.out / "voices.pt",
    )
    print(len(data), "sentences,", len(names), "voices;", text.numel() / len(data), "text tokens each")


if __name__ == "__main__":
    main()
