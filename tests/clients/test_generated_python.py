"""A Python client that `openapi-python-client` writes from the committed document, in every mode."""

import base64
import importlib
import io
import sys
import time

import pytest
from support.generated import python_client
from support.words import ENGLISH, ENGLISH_MAN, INSTRUCTION, MANDARIN, MANDARIN_TOO, SEED, WOMAN

PACKAGE = "cosyserve_client"
RATE = 24_000


@pytest.fixture(scope="module")
def package():
    directory = str(python_client())
    sys.path.insert(0, directory)
    yield importlib.import_module(PACKAGE)
    sys.path.remove(directory)


@pytest.fixture(scope="module")
def models(package):
    return importlib.import_module(f"{PACKAGE}.models")


@pytest.fixture(scope="module")
def file(recording):
    types = importlib.import_module(f"{PACKAGE}.types")
    return lambda: types.File(io.BytesIO(recording), "me.wav", "audio/wav")


@pytest.fixture(scope="module")
def encoded(recording):
    return base64.b64encode(recording).decode()


@pytest.fixture(scope="module")
def call(package, server):
    """`call("speech", "speak", ...)`: the answer of an operation, which must succeed."""
    client = package.Client(base_url=server.base, timeout=180)

    def ask(tag, operation, **arguments):
        module = importlib.import_module(f"{PACKAGE}.api.{tag}.{operation}")
        answer = module.sync_detailed(client=client, **arguments)
        assert answer.status_code == 200, answer.content
        return answer

    return ask


def test_speak(call, models, ear):
    for stream in (False, True):
        body = models.SftRequest(tts_text=MANDARIN, spk_id=WOMAN, seed=SEED, stream=stream)
        ear.expect(MANDARIN, call("speech", "speak", body=body).parsed.payload.read())


def test_speak_pcm(call, models, ear):
    answer = call("speech", "speak_pcm", body=models.SftRequest(tts_text=MANDARIN, spk_id=WOMAN, seed=SEED))
    ear.expect(MANDARIN, answer.parsed.payload.read(), rate=int(answer.headers["x-sample-rate"]))


def test_zero_shot(call, models, ear, encoded):
    said = {"tts_text": MANDARIN_TOO, "prompt_text": MANDARIN, "seed": SEED}
    body = models.ZeroShotRequest(**said, prompt_audio_base64=encoded)
    ear.expect(MANDARIN_TOO, call("speech", "speak_zero_shot", body=body).content)


def test_cross_lingual(call, models, ear, encoded):
    body = models.CrossLingualRequest(tts_text=ENGLISH, seed=SEED, prompt_audio_base64=encoded)
    ear.expect(ENGLISH, call("speech", "speak_cross_lingual", body=body).content, "en")


def test_instruct(call, models, ear):
    body = models.InstructRequest(tts_text=MANDARIN, spk_id=WOMAN, instruct_text=INSTRUCTION, seed=SEED)
    ear.expect(MANDARIN, call("speech", "speak_instruct", body=body).content)


def test_convert(call, models, ear, encoded):
    body = models.ConvertRequest(source_audio_base64=encoded, spk_id=ENGLISH_MAN, seed=SEED)
    ear.expect(MANDARIN, call("speech", "convert_speech", body=body).content)


# Where an operation takes two kinds of bodies this generator sends a form without its boundary; these take one.
@pytest.mark.parametrize(
    ("operation", "fields", "text", "language"),
    [
        ("zero_shot", {"prompt_text": MANDARIN}, MANDARIN_TOO, "zh"),
        ("cross_lingual", {}, ENGLISH, "en"),
        ("instruct2", {"instruct_text": INSTRUCTION}, MANDARIN, "zh"),
    ],
)
def test_files_of_the_basic_api(call, models, ear, file, operation, fields, text, language):
    form = getattr(models, f"Inference{operation.title().replace('_', '')}Form")
    body = form(tts_text=text, prompt_wav=file(), seed=SEED, **fields)
    ear.expect(text, call("basic", f"inference_{operation}", body=body).content, language, RATE)


def test_queries_of_the_basic_api(call, ear):
    known = {"tts_text": MANDARIN, "spk_id": WOMAN, "seed": SEED}
    ear.expect(MANDARIN, call("basic", "inference_sft_by_query", **known).content, rate=RATE)
    known["instruct_text"] = INSTRUCTION
    ear.expect(MANDARIN, call("basic", "inference_instruct_by_query", **known).content, rate=RATE)


def test_openai(call, models, ear):
    body = models.SpeechCreate(model="tts-1", input_=MANDARIN, voice=WOMAN, seed=SEED)
    ear.expect(MANDARIN, call("openai", "create_speech", body=body).content)
    assert call("openai", "list_models").parsed.data


def test_voices(call, models, ear, file):
    name = f"generated-{time.time_ns()}"
    body = models.CloneForm(prompt_text=MANDARIN, spk_id=name, prompt_audio=file())
    assert call("voices", "clone_voice", body=body).parsed.spk_id == name
    assert name in [voice.spk_id for voice in call("voices", "list_speakers").parsed.speakers]
    answer = call("speech", "speak", body=models.SftRequest(tts_text=MANDARIN_TOO, spk_id=name, seed=SEED))
    ear.expect(MANDARIN_TOO, answer.content)
    call("voices", "rename_voice", id=name, body=models.VoiceChange(spk_name="Renamed"))
    assert call("voices", "get_voice", id=name).parsed.spk_name == "Renamed"
    call("voices", "remove_voice", id=name)
    assert name not in [voice.spk_id for voice in call("voices", "list_voices").parsed.voices]


def test_the_rest(call, models, file, recording):
    assert call("service", "greet").parsed.message
    assert call("service", "health").parsed.status == "ok"
    assert call("service", "ready").parsed.status == "ready"
    uploaded = call("voices", "upload_audio", body=models.UploadForm(file=file())).parsed
    assert base64.b64decode(uploaded.audio_base64) == recording


def test_a_refusal_is_typed(package, models, server):
    speak = importlib.import_module(f"{PACKAGE}.api.speech.speak")
    client = package.Client(base_url=server.base)
    refused = speak.sync(client=client, body=models.SftRequest(tts_text="", spk_id=WOMAN))
    assert isinstance(refused, models.ErrorBody) and "tts_text" in refused.detail
