"""Synthesise the held-out sentences and write what the judges need.

    python evaluate.py sampled --checkpoint DIR --out DIR [--languages en,zh] [--seed 0]
    python evaluate.py copy    --checkpoint DIR --out DIR --pack DIR --phones test_phones.json

`sampled` is the whole pipeline: text -> language model -> flow -> vocoder. `copy` gives the flow the teacher's own
tokens: the difference is the language model's share of the errors. Both alternate the built-in voices of the language.
Writes wavs and pairs.tsv (wav, language, text) for an ASR judge.
"""

import argparse
import json
import time
import wave
from pathlib import Path

import torch

from inference import Synthesiser

HERE = Path(__file__).parent
VOICES = {"en": ("英文女", "英文男"), "zh": ("中文女", "中文男")}


def write_wav(path, audio):
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(24000)
        out.writeframes((audio.clamp(-1, 1) * 32767).round().to(torch.int16).numpy().tobytes())


def teacher_codes(pack, phones, voices):
    """The teacher's tokens for phoneme strings, spoken by the given teacher voices."""
    from generate import Studio

    studio = Studio(pack, "cpu", 0, 0.4)
    studio.measure_pitch(8)
    studio.read(phones)
    with torch.no_grad():
        out = studio.speak([(i, studio.names.index(v), 1.0, 0) for i, v in enumerate(voices)])
    return [c[:n].tolist() for c, n in zip(out["codes"], out["counts"].tolist(), strict=True)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["sampled", "copy"])
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pack", type=Path)
    parser.add_argument("--phones", type=Path, help="{language: [phonemes of each test sentence]}")
    parser.add_argument("--languages", default="en,zh")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--streaming", action="store_true", help="chunk-wise attention in the flow")
    args = parser.parse_args()
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(args.checkpoint / "CosyVoice-BlankEN")
    model = Synthesiser(args.checkpoint)
    args.out.mkdir(parents=True, exist_ok=True)
    pairs, seconds, spent = [], 0.0, [0.0, 0.0, 0.0]
    for language in args.languages.split(","):
        lines = [x.strip() for x in open(HERE / "eval" / f"test_{language}.txt", encoding="utf8")][: args.limit]
        voices = [VOICES[language][i % 2] for i in range(len(lines))]
        if args.kind == "copy":
            from identities import BUILT_IN

            phones = json.load(open(args.phones, encoding="utf8"))[language][: args.limit]
            given = teacher_codes(args.pack, phones, [BUILT_IN[v] for v in voices])
        for i, (text, voice) in enumerate(zip(lines, voices, strict=True)):
            generator = torch.Generator().manual_seed(args.seed * 1000 + i)
            begin = time.time()
            codes = given[i] if args.kind == "copy" else model.lm(tokenizer(text)["input_ids"], generator=generator)
            middle = time.time()
            mel = model.mel(codes, model.voices[voice]["embedding"].float(), streaming=args.streaming)
            late = time.time()
            audio = model.audio(mel)
            spent = [a + b for a, b in zip(spent, (middle - begin, late - middle, time.time() - late), strict=True)]
            seconds += len(audio) / 24000
            path = args.out / f"{args.kind}_{language}{i:02d}.wav"
            write_wav(path, audio)
            pairs.append(f"{path}\t{language}\t{text}")
    (args.out / "pairs.tsv").write_text("\n".join(pairs) + "\n", encoding="utf8")
    print(
        f"{seconds:.0f} s of speech; real-time factors: language model, flow, vocoder",
        [round(t / seconds, 3) for t in spent],
    )


if __name__ == "__main__":
    main()
