"""The judges of measure.py: what was said (Whisper base), how well (DistillMOS), in whose voice (GE2E).

They come as one file, judge.py, with `words(text, language)`, `edits(a, b)`, `load16(path)`, `embed(session, path)`,
`mos(paths)` and its speaker model beside it (speaker_ge2e.onnx), and a folder with `whisper-base` for faster-whisper:
beam 5, int8. Whisper writes figures where a text has words ("30" for "thirty") and guesses among characters that sound
the same, so error rates are given twice: as written, and by sound: figures spelt out, Mandarin compared in syllables
with their tones (pypinyin).
"""

import contextlib
import importlib.util
import io
import json
import re
from dataclasses import dataclass

MONTHS = "january|february|march|april|may|june|july|august|september|october|november|december"


@dataclass
class Heard:
    """Judged utterances: edits as written and by sound, words of the reference, [reference, heard]."""

    plain: list
    sound: list
    sizes: list
    texts: list

    @property
    def words(self):
        return sum(self.sizes)

    @property
    def rate(self):
        return round(sum(self.plain) / max(1, self.words), 4)

    @property
    def sound_rate(self):
        return round(sum(self.sound) / max(1, self.words), 4)

    def wrong(self):
        """[reference, heard] of the utterances with errors."""
        return [list(t) for t, e in zip(self.texts, self.sound, strict=True) if e]


class Judges:
    def __init__(self, script, models):
        import onnxruntime
        from faster_whisper import WhisperModel

        spec = importlib.util.spec_from_file_location("judge", script)
        self.judge = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.judge)
        self.asr = WhisperModel(
            str(models / "whisper-base"), device="cpu", compute_type="int8", cpu_threads=2, local_files_only=True
        )
        self.speaker = onnxruntime.InferenceSession(str(script.parent / "speaker_ge2e.onnx"))
        self.voices = {}

    def transcribe(self, path, language):
        hint = "以下是普通话的句子。" if language == "zh" else None
        segments, _ = self.asr.transcribe(
            self.judge.load16(str(path)),
            language=language,
            beam_size=5,
            condition_on_previous_text=False,
            initial_prompt=hint,
        )
        return "".join(s.text for s in segments)

    def hear(self, pairs):
        """[(wav, language, reference)] -> Heard; of references with | between them the nearest counts by sound"""
        plain, sound, sizes, texts = [], [], [], []
        for path, language, reference in pairs:
            said = self.transcribe(path, language)
            references = reference.split("|")
            want = self.judge.words(references[0], language)
            plain.append(self.judge.edits(want, self.judge.words(said, language)))
            heard = self.sounds(said, language)
            sound.append(min(self.judge.edits(self.sounds(r, language), heard) for r in references))
            sizes.append(len(want))
            texts.append((reference, said.strip()))
        return Heard(plain, sound, sizes, texts)

    def sounds(self, text, language):
        """What is compared by sound: words with figures spelt, or syllables."""
        if language == "zh":
            from pypinyin import Style, lazy_pinyin

            return lazy_pinyin("".join(self.judge.words(chinese(text), "zh")), style=Style.TONE3)
        return self.judge.words(english(text), "en")

    def quality(self, paths):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            self.judge.mos([str(p) for p in paths])
        score = json.loads(out.getvalue().strip().splitlines()[-1])
        return {"quality": score["mean"], "least quality": round(score["min"], 2)}

    def pitch(self, path):
        """(median, standard deviation) of the voiced frames' F0, in semitones"""
        import librosa
        import numpy as np

        audio = self.judge.load16(str(path))
        f0 = librosa.yin(audio, fmin=60, fmax=500, sr=16000, frame_length=1024, hop_length=320)
        level = librosa.feature.rms(y=audio, frame_length=1024, hop_length=320)[0][: len(f0)]
        semitones = 12 * np.log2(f0[level > 0.3 * level.max()])
        low, high = np.percentile(semitones, (5, 95))  # octave errors
        kept = semitones[(semitones >= low) & (semitones <= high)]
        return float(np.median(kept)), float(kept.std())

    def likeness(self, a, b):
        """Cosine of two voices; the prompt's is kept."""
        for path in (a, b):
            if path not in self.voices:
                self.voices[path] = self.judge.embed(self.speaker, str(path))
        return float(self.voices[a] @ self.voices[b])


def english(text):
    """Figures of a transcript as words: money, percentages, times, years, ordinals and plain numbers."""
    from num2words import num2words

    def say(value, **how):
        return " " + num2words(value, **how).replace(",", "").replace("-", " ") + " "

    def money(m):
        whole, cents = say(int(m[1].replace(",", ""))) + "dollars", m[2]
        return whole + (" and" + say(int(cents[1:])) + "cents" if cents else "")

    text = re.sub(r"\$([\d,]+)(\.\d\d)?(?!\d)", money, text)
    text = re.sub(r"(?<![\d.])-(?=\d)", "minus ", text)
    text = re.sub(r"(\d)%", r"\1 percent", text)
    text = re.sub(r"(\d{1,2}):(\d\d)", lambda m: say(int(m[1])) + (say(int(m[2])) if int(m[2]) else ""), text)
    text = re.sub(r"(\d+)(?:st|nd|rd|th)\b", lambda m: say(int(m[1]), to="ordinal"), text)
    text = re.sub(rf"(?i)\b({MONTHS}) (\d{{1,2}})\b", lambda m: m[1] + say(int(m[2]), to="ordinal"), text)
    text = re.sub(r"\b(1[1-9]\d\d|20[1-9]\d)\b", lambda m: say(int(m[1]), to="year"), text)
    text = re.sub(r"(?<=\d),(?=\d)", "", text)
    text = re.sub(r"\d+(?:\.\d+)?", lambda m: say(float(m[0]) if "." in m[0] else int(m[0])), text)
    text = re.sub(r"\bhundred (?!and|thousand|million|dollars)(?=[a-z])", "hundred and ", text)
    return text.replace("per cent", "percent")


def chinese(text):
    """Figures of a transcript as characters: dates, percentages and plain numbers."""
    import cn2an

    digits = str.maketrans("0123456789", "零一二三四五六七八九")
    text = re.sub(r"(\d{4})(?=年)", lambda m: m[1].translate(digits), text.replace(",", ""))
    text = re.sub(r"(\d+(?:\.\d+)?)%", lambda m: "百分之" + cn2an.an2cn(m[1]), text)
    text = re.sub(r"(\d{3,})(?=号)", lambda m: m[1].translate(digits), text)
    text = re.sub(r"-(?=\d)", "负", text)
    text = re.sub(r"\d+(?:\.\d+)?", lambda m: cn2an.an2cn(m[0]), text)
    return text.replace("两", "二").replace("兩", "二").replace("零下", "负").replace("〇", "零")
