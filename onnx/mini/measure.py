"""Measure a running server against what the bundled voice must show; one command, one table.

    cosyserve serve --port 5000 &
    python measure.py http://127.0.0.1:5000 OUT --judge JUDGE.py --models DIR [--prompts DIR] [--parts words]

Parts: `words` (error rates and quality of eval/test_*.txt, streamed), `whole` (the same, not streamed), `numbers`
(eval/numbers.tsv: language, text, all that is to be heard, and the figures in it; | between ways to say them),
`instruct` (what instructions change), `clone` (the prompts that prompts.py wrote), `random`
(runaways and empty answers). Voices take turns and seeds count up from --seed, so two runs of one build say the same.
Audio that exists in OUT is kept and only judged again, so an interrupted run goes on where it stopped. Writes
OUT/report.json and prints a table. judges.py says what the judges are.
"""

import argparse
import base64
import io
import json
import random
import time
import urllib.request
import wave
from pathlib import Path

import numpy as np
import soundfile

from judges import Judges

VOICES = {"en": ("英文女", "英文男"), "zh": ("中文女", "中文男")}
EVAL = Path(__file__).parent / "eval"
# Speech of one word or character takes at most this long, and a text at most PAUSE more; else it is a runaway.
SECONDS_A_WORD, SECONDS_A_CHARACTER, PAUSE = 0.9, 0.6, 3.0
SWALLOWED = 0.1  # of a second a word: less cannot have been spoken
SIMILAR_ENOUGH = {"teacher": 0.78, "real": 0.70}


class Server:
    def __init__(self, address):
        self.address, self.spent, self.spoken = address, 0.0, 0.0

    def ask(self, route, fields):
        body = json.dumps(fields).encode()
        request = urllib.request.Request(self.address + route, body, {"Content-Type": "application/json"})
        begin = time.time()
        with urllib.request.urlopen(request, timeout=600) as answer:
            data, headers = answer.read(), answer.headers
        self.spent += time.time() - begin
        return data, headers

    def streamed(self, path, route, fields):
        """Speaks into the WAV file `path` unless it is there."""
        if not path.exists():
            samples, headers = self.ask(route, {**fields, "stream": True})
            if headers["Content-Type"].startswith("audio/mpeg"):
                audio, rate = soundfile.read(io.BytesIO(samples), dtype="int16")
                samples = audio.tobytes()
            else:
                rate = int(headers["X-Sample-Rate"])
            self.spoken += len(samples) / 2 / rate
            write(path, samples, rate)
        return path

    def whole(self, path, fields):
        if not path.exists():
            audio, rate = soundfile.read(io.BytesIO(self.ask("/tts", {**fields, "stream": False})[0]), dtype="int16")
            write(path, audio.tobytes(), rate)
        return path


def write(path, samples, rate):
    unfinished = path.with_suffix(".part")
    with wave.open(str(unfinished), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(samples)
    unfinished.rename(path)


def lines(name):
    return [line.strip() for line in (EVAL / name).read_text(encoding="utf-8").splitlines() if line.strip()]


def sentences(limit):
    """(name, language, text, voice) of the evaluation sentences."""
    for language, voices in VOICES.items():
        for i, text in enumerate(lines(f"test_{language}.txt")[:limit]):
            yield f"{language}{i:02d}", language, text, voices[i % 2]


def words(server, judges, out, seed, limit, whole=False):
    pairs = []
    for i, (name, language, text, voice) in enumerate(sentences(limit)):
        fields = {"tts_text": text, "spk_id": voice, "seed": seed + i}
        path = out / f"{name}.wav"
        path = server.whole(path, fields) if whole else server.streamed(path, "/tts/pcm", fields)
        pairs.append((path, language, text))
    report = {}
    for language in VOICES:
        mine = [p for p in pairs if p[1] == language]
        heard = judges.hear(mine)
        rates = {"errors": heard.rate, "errors by sound": heard.sound_rate, "words": heard.words}
        report[language] = rates | judges.quality([p[0] for p in mine]) | {"wrong": heard.wrong()}
    return report


def numbers(server, judges, out, seed, limit):
    cases = [line.split("\t") for line in lines("numbers.tsv")]
    pairs = []
    for i, (language, text, said, _) in enumerate(cases):
        fields = {"tts_text": text, "spk_id": VOICES[language][i % 2], "seed": seed + i}
        pairs.append((server.streamed(out / f"{language}{i:02d}.wav", "/tts/pcm", fields), language, said))
    heard = judges.hear(pairs)
    wrong = []
    for (language, _, _, figures), (_, answer) in zip(cases, heard.texts, strict=True):
        found = judges.sounds(answer, language)
        ways = [[judges.sounds(way, language) for way in figure.split("|")] for figure in figures.split(";")]
        if not all(any(within(way, found) for way in figure) for figure in ways):
            wrong.append([figures, answer])
    return {
        "figures right": len(pairs) - len(wrong),
        "whole sentences": sum(e == 0 for e in heard.sound),
        "of": len(pairs),
        "wrong figures": wrong,
        "wrong": heard.wrong(),
    }


def within(part, whole):
    """Does `part` stand in `whole`, in one piece?"""
    return any(whole[i : i + len(part)] == part for i in range(len(whole) - len(part) + 1))


def clone(server, judges, out, seed, limit, prompts):
    """Each prompt says three evaluation sentences in its own voice."""
    report = {}
    rows = [line.split("\t") for line in (prompts / "prompts.tsv").read_text(encoding="utf-8").splitlines()]
    texts = lines("test_en.txt")
    for kind in ("teacher", "real"):
        pairs, likeness, others, per_voice = [], [], [], {}
        mine = [r for r in rows if r[1] == kind][:limit]
        for number, (file, _, said) in enumerate(mine):
            prompt = prompts / file
            for k in range(3):
                text = texts[(3 * number + k) % len(texts)]
                fields = {
                    "tts_text": text,
                    "prompt_text": said,
                    "prompt_audio_base64": base64.b64encode(prompt.read_bytes()).decode(),
                    "seed": seed + 3 * number + k,
                }
                path = server.streamed(out / f"{prompt.stem}_{k}.wav", "/tts/zero_shot", fields)
                pairs.append((path, "en", text))
                same = judges.likeness(prompt, path)
                likeness.append(same)
                per_voice.setdefault(prompt.stem, []).append(same)
                others.append(judges.likeness(prompts / mine[(number + 1) % len(mine)][0], path))
        heard = judges.hear(pairs)
        report[kind] = {
            "likeness": mean(likeness),
            "least": min(likeness),
            "voices below": sum(mean(v) < SIMILAR_ENOUGH[kind] for v in per_voice.values()),
            "to the next prompt": mean(others),
            "errors": heard.rate,
            "errors by sound": heard.sound_rate,
            **judges.quality([p[0] for p in pairs]),
            "by voice": {k: mean(v) for k, v in per_voice.items()},
        }
    return report


def runaways(server, judges, out, seed, limit, count=500):
    """Texts of 1 to 60 random words: is the length of the answer possible?"""
    rng = random.Random(seed)
    pool = {
        "en": [w.strip(",.?!").lower() for text in lines("test_en.txt") for w in text.split()],
        "zh": [part for text in lines("test_zh.txt") for part in text.strip("。？！").split("，")],
    }
    bad = []
    for i in range(min(count, limit)):
        language = "en" if i % 2 else "zh"
        size = rng.randint(1, 60)
        if language == "en":
            text = " ".join(rng.choice(pool["en"]) for _ in range(size)).capitalize() + "."
            low, high = SWALLOWED * size, SECONDS_A_WORD * size + PAUSE
        else:
            text = ""
            while len(text) < size:
                text += rng.choice(pool["zh"]) + "，"
            text = text[:size].strip("，") + "。"
            low, high = SWALLOWED / 2 * size, SECONDS_A_CHARACTER * size + PAUSE
        fields = {"tts_text": text, "spk_id": VOICES[language][i // 2 % 2], "seed": seed + i}
        path = server.streamed(out / f"{i:03d}.wav", "/tts/pcm", fields)
        seconds = soundfile.info(str(path)).duration
        if not low <= seconds <= high:
            bad.append([round(seconds, 2), text])
    return {"texts": min(count, limit), "runaways or empty": len(bad), "which": bad}


INSTRUCTIONS = (
    "Speak very slowly.",
    "Speak fast.",
    "用高音说这句话。",
    "用低沉的声音说。",
    "Use a happy tone.",
    "Say this in a calm voice.",
)


def instruct(server, judges, out, seed, limit, count=8):
    """What an instruction does to the first sentences: length, middle and span of the pitch against none; errors."""
    chosen = [s for s in sentences(min(count, limit) // 2)]
    report, plain = {}, None
    for number, instruction in enumerate(("", *INSTRUCTIONS)):
        pairs, seconds, pitch = [], 0.0, []
        for i, (name, language, text, voice) in enumerate(chosen):
            fields = {"tts_text": text, "spk_id": voice, "seed": seed + i}
            path = out / f"{number}_{name}.wav"
            if instruction:
                server.streamed(path, "/tts/instruct", fields | {"instruct_text": instruction})
            else:
                server.streamed(path, "/tts/pcm", fields)
            pairs.append((path, language, text))
            seconds += soundfile.info(str(path)).duration
            pitch.append(judges.pitch(path))
        heard, (middle, span) = judges.hear(pairs), np.mean(pitch, axis=0)
        plain = plain or (seconds, middle, span)
        report[instruction or "none"] = {
            "length": round(seconds / plain[0], 2),
            "semitones": round(float(middle - plain[1]), 1),
            "span": round(float(span / plain[2]), 2),
            "errors by sound": heard.sound_rate,
        }
    return report


def mean(values):
    return round(float(np.mean(values)), 3)


def show(report, indent=""):
    for key, value in report.items():
        if isinstance(value, dict):
            print(f"{indent}{key}:")
            show(value, indent + "    ")
        else:
            print(f"{indent}{key}: {value}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server")
    parser.add_argument("out", type=Path)
    parser.add_argument("--judge", type=Path, required=True, help="judge.py, see judges.py")
    parser.add_argument("--models", type=Path, required=True, help="folder of whisper-base")
    parser.add_argument("--prompts", type=Path, help="folder of prompts.py, for `clone`")
    parser.add_argument("--parts", default="words,whole,numbers,instruct,clone,random")
    parser.add_argument("--seed", type=int, default=1234)
    parser.add_argument("--limit", type=int, default=500, help="at most so many sentences, voices or texts a part")
    args = parser.parse_args()
    server, judges = Server(args.server), Judges(args.judge, args.models)
    path = args.out / "report.json"
    args.out.mkdir(parents=True, exist_ok=True)
    report = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for part in args.parts.split(","):
        folder = args.out / part
        folder.mkdir(exist_ok=True)
        common = (server, judges, folder, args.seed, args.limit)
        server.spent = server.spoken = 0.0
        if part == "clone":
            report[part] = clone(*common, args.prompts)
        else:
            report[part] = {
                "words": lambda c: words(*c),
                "whole": lambda c: words(*c, whole=True),
                "numbers": lambda c: numbers(*c),
                "instruct": lambda c: instruct(*c),
                "random": lambda c: runaways(*c),
            }[part](common)
        if server.spoken:
            report[part]["real-time factor, streamed"] = round(server.spent / server.spoken, 3)
        path.write_text(json.dumps(report, ensure_ascii=False, indent=1), encoding="utf-8")
        show({part: report[part]})


if __name__ == "__main__":
    main()
