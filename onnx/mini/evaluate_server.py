"""Speak the evaluation sentences through a running server, for a listener or an ASR judge.

    cosyserve serve --port 5000 &
    python evaluate_server.py http://127.0.0.1:5000 OUT [--seed 1234]

Writes OUT/en00.wav ... and OUT/en.tsv, OUT/zh.tsv with lines of wav, language and reference text, tab-separated. Voices
take turns, seeds count up from --seed, so that two runs of one build say the same. The README's figures come from
Whisper base (faster-whisper, beam 5, int8) over these files.
"""

import argparse
import json
import urllib.request
import wave
from pathlib import Path

VOICES = {"en": ("英文女", "英文男"), "zh": ("中文女", "中文男")}
SENTENCES = Path(__file__).parent / "eval"


def speak(server, text, voice, seed):
    """(little-endian int16 samples, their rate) of one streamed request."""
    body = json.dumps({"tts_text": text, "spk_id": voice, "seed": seed, "stream": True}).encode()
    request = urllib.request.Request(f"{server}/tts/pcm", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as answer:
        return answer.read(), int(answer.headers["X-Sample-Rate"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=1234)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for language, voices in VOICES.items():
        lines = []
        sentences = (SENTENCES / f"test_{language}.txt").read_text(encoding="utf-8").split("\n")
        for i, text in enumerate(filter(None, (s.strip() for s in sentences))):
            samples, rate = speak(args.server, text, voices[i % 2], args.seed + i)
            path = args.out / f"{language}{i:02d}.wav"
            with wave.open(str(path), "wb") as file:
                file.setparams((1, 2, rate, 0, "NONE", ""))
                file.writeframes(samples)
            lines.append(f"{path}\t{language}\t{text}\n")
        (args.out / f"{language}.tsv").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
