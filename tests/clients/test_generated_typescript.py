"""A TypeScript client that `@hey-api/openapi-ts` writes from the committed document: strictly compiled, it works."""

import json
import time

import pytest
from support import words
from support.generated import run, typescript_client

# What `every_mode.ts` leaves: file, text, language, rate.
HEARD = [
    ("speak.mp3", words.MANDARIN, "zh", None),
    ("streamed.mp3", words.MANDARIN, "zh", None),
    ("speak_pcm.pcm", words.MANDARIN, "zh", 24_000),
    ("zero_shot.mp3", words.MANDARIN_TOO, "zh", None),
    ("cross_lingual.mp3", words.ENGLISH, "en", None),
    ("instruct.mp3", words.MANDARIN, "zh", None),
    ("convert.mp3", words.MANDARIN, "zh", None),
    ("clone.mp3", words.MANDARIN_TOO, "zh", None),
    ("sft.pcm", words.MANDARIN, "zh", 24_000),
    ("zero_shot.pcm", words.MANDARIN_TOO, "zh", 24_000),
    ("cross_lingual.pcm", words.ENGLISH, "en", 24_000),
    ("instruct.pcm", words.MANDARIN, "zh", 24_000),
    ("instruct2.pcm", words.MANDARIN, "zh", 24_000),
    ("openai.mp3", words.MANDARIN, "zh", None),
]


@pytest.fixture(scope="module")
def heard(server, recording_file, tmp_path_factory):
    """The directory with the audio of every mode."""
    directory = tmp_path_factory.mktemp("typescript")
    said = {
        "mandarin": words.MANDARIN,
        "mandarinToo": words.MANDARIN_TOO,
        "english": words.ENGLISH,
        "instruction": words.INSTRUCTION,
        "seed": words.SEED,
        "woman": words.WOMAN,
        "englishMan": words.ENGLISH_MAN,
        "clone": f"typescript-{time.time_ns()}",
    }
    (directory / "words.json").write_text(json.dumps(said))
    run("node", typescript_client(), server.base, directory / "words.json", recording_file, directory)
    return directory


@pytest.mark.parametrize(("file", "text", "language", "rate"), HEARD, ids=[row[0] for row in HEARD])
def test_every_mode(heard, ear, file, text, language, rate):
    ear.expect(text, (heard / file).read_bytes(), language, rate)
