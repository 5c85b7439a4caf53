"""The general API by an ordinary HTTP client: what each mode says, whole and streamed."""

import base64

import httpx
import pytest
from support.words import (
    ENGLISH,
    ENGLISH_MAN,
    ENGLISH_WOMAN,
    INSTRUCTION,
    MAN,
    MANDARIN,
    MANDARIN_TOO,
    SEED,
    WOMAN,
)


@pytest.fixture
def post(server):
    def send(path, **request):
        answer = httpx.post(server.base + path, timeout=180, **request)
        assert answer.status_code == 200, answer.text
        return answer

    return send


def sft(text, voice, **options):
    return {"tts_text": text, "spk_id": voice, "seed": SEED, **options}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("voice", "language", "text"),
    [(WOMAN, "zh", MANDARIN), (MAN, "zh", MANDARIN), (ENGLISH_WOMAN, "en", ENGLISH), (ENGLISH_MAN, "en", ENGLISH)],
)
def test_every_voice_says_the_text(post, ear, voice, language, text, stream):
    answer = post("/tts", json=sft(text, voice, stream=stream))
    ear.expect(text, answer.content, language)


def test_samples_say_the_text(post, ear):
    answer = post("/tts/pcm", json=sft(MANDARIN, WOMAN))
    ear.expect(MANDARIN, answer.content, "zh", int(answer.headers["X-Sample-Rate"]))


def test_a_recording_lends_its_voice(post, ear, recording):
    prompt = base64.b64encode(recording).decode()
    answer = post(
        "/tts/zero_shot",
        json={"tts_text": MANDARIN_TOO, "prompt_text": MANDARIN, "prompt_audio_base64": prompt, "seed": SEED},
    )
    ear.expect(MANDARIN_TOO, answer.content)
    answer = post(
        "/tts/cross_lingual", data={"tts_text": ENGLISH, "seed": SEED}, files={"prompt_wav": ("me.wav", recording)}
    )
    ear.expect(ENGLISH, answer.content, "en")


def test_an_instruction_is_followed_and_not_spoken(post, ear):
    answer = post("/tts/instruct", json=sft(MANDARIN, WOMAN, instruct_text=INSTRUCTION))
    ear.expect(MANDARIN, answer.content)


def test_speech_keeps_its_words_in_another_voice(post, ear, recording):
    answer = post("/tts/vc", data={"spk_id": ENGLISH_MAN, "seed": SEED}, files={"source_wav": ("me.wav", recording)})
    ear.expect(MANDARIN, answer.content)


def test_other_words_are_told_apart(ear, recording):
    with pytest.raises(AssertionError, match="wrong"):
        ear.expect("昨天晚上的电影很没有意思，我想早点回家睡觉。", recording)
