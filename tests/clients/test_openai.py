"""The `openai` package, told another address."""

import base64
import json

import openai
import pytest
from support.sound import rate_of, seconds
from support.words import ENGLISH, INSTRUCTION, MANDARIN, SEED, WOMAN

PCM_RATE = 24_000


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=f"{server.base}/v1", api_key="none", timeout=180, max_retries=0) as client:
        yield client


def speech(text, voice, **options):
    return {"model": "tts-1", "input": text, "voice": voice, "extra_body": {"seed": SEED}, **options}


def test_create(client, ear):
    ear.expect(MANDARIN, client.audio.speech.create(**speech(MANDARIN, WOMAN)).content)


@pytest.mark.parametrize(("text", "language"), [(ENGLISH, "en"), (MANDARIN, "zh")])
def test_its_own_voices_speak_either_language(client, ear, text, language):
    ear.expect(text, client.audio.speech.create(**speech(text, "alloy")).content, language)


@pytest.mark.parametrize("format", ["mp3", "wav", "flac", "opus"])
def test_every_format_is_a_file(client, ear, format):
    answer = client.audio.speech.create(**speech(MANDARIN, WOMAN, response_format=format))
    ear.expect(MANDARIN, answer.content)
    assert rate_of(answer.content) == (48_000 if format == "opus" else PCM_RATE)


def test_samples(client, ear):
    answer = client.audio.speech.create(**speech(MANDARIN, WOMAN, response_format="pcm"))
    ear.expect(MANDARIN, answer.content, rate=PCM_RATE)


def test_streaming(client, ear):
    request = speech(MANDARIN, WOMAN, response_format="pcm")
    with client.audio.speech.with_streaming_response.create(**request) as answer:
        pieces = list(answer.iter_bytes())
    assert len(pieces) > 1
    ear.expect(MANDARIN, b"".join(pieces), rate=PCM_RATE)


def test_events(client, ear):
    request = speech(MANDARIN, WOMAN, response_format="mp3", stream_format="sse")
    with client.audio.speech.with_streaming_response.create(**request) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line.removeprefix("data:").strip() for line in answer.iter_lines() if line.startswith("data:")]
    events = [json.loads(line) for line in lines if line != "[DONE]"]
    kinds = [event["type"] for event in events]
    assert (set(kinds[:-1]), kinds[-1]) == ({"speech.audio.delta"}, "speech.audio.done")
    ear.expect(MANDARIN, b"".join(base64.b64decode(event["audio"]) for event in events[:-1]))


def test_speed(client):
    slow, quick = (
        seconds(client.audio.speech.create(**speech(MANDARIN, WOMAN, speed=speed)).content) for speed in (1.0, 2.0)
    )
    assert 0.4 < quick / slow < 0.6


def test_instructions_are_followed_and_not_spoken(client, ear):
    answer = client.audio.speech.create(**speech(MANDARIN, WOMAN, instructions=INSTRUCTION))
    ear.expect(MANDARIN, answer.content)


def test_models(client):
    models = client.models.list().data
    assert models
    assert client.models.retrieve(models[0].id).id == models[0].id
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("none-of-that-name")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"input": ""}, "input"),
        ({"voice": "nobody"}, "voice"),
        ({"speed": 9}, "speed"),
        ({"response_format": "exe"}, "response_format"),
    ],
)
def test_mistakes_are_its_own_exceptions(client, change, word):
    with pytest.raises(openai.BadRequestError) as error:
        client.audio.speech.create(**{**speech(MANDARIN, WOMAN), **change})
    assert error.value.param == word and word in error.value.message, error.value


def test_a_wrong_key_is_its_own_exception(start):
    server = start("--api-key", "right")
    with openai.OpenAI(base_url=f"{server.base}/v1", api_key="wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError):
            client.models.list()
    with openai.OpenAI(base_url=f"{server.base}/v1", api_key="right", max_retries=0) as client:
        assert client.models.list().data
