"""The basic API as the reference implementation's HTTP client calls it.

That is GET with a form as its body, recordings as files of that form, and the answer read in pieces as bare samples.
"""

import pytest
import requests
from support.words import ENGLISH, INSTRUCTION, MANDARIN, MANDARIN_TOO, SEED, WOMAN

RATE = 24_000
PIECE = 16_000


@pytest.fixture(params=["GET", "POST"])
def infer(server, recording, request):
    """`infer(mode, prompt=..., **fields)`: what that client does, for either method; gives the samples."""

    def ask(mode, prompt=False, **fields):
        files = [("prompt_wav", ("prompt_wav", recording, "application/octet-stream"))] if prompt else None
        url = f"{server.base}/inference_{mode}"
        fields = {**fields, "seed": SEED}
        with requests.request(request.param, url, data=fields, files=files, stream=True, timeout=180) as answer:
            assert answer.status_code == 200, answer.text
            return b"".join(answer.iter_content(chunk_size=PIECE))

    return ask


def test_sft(infer, ear):
    ear.expect(MANDARIN, infer("sft", tts_text=MANDARIN, spk_id=WOMAN), rate=RATE)


def test_zero_shot(infer, ear):
    said = infer("zero_shot", prompt=True, tts_text=MANDARIN_TOO, prompt_text=MANDARIN)
    ear.expect(MANDARIN_TOO, said, rate=RATE)


def test_cross_lingual(infer, ear):
    ear.expect(ENGLISH, infer("cross_lingual", prompt=True, tts_text=ENGLISH), "en", RATE)


def test_instruct(infer, ear):
    said = infer("instruct", tts_text=MANDARIN, spk_id=WOMAN, instruct_text=INSTRUCTION)
    ear.expect(MANDARIN, said, rate=RATE)


def test_instruct2(infer, ear):
    said = infer("instruct2", prompt=True, tts_text=MANDARIN, instruct_text=INSTRUCTION)
    ear.expect(MANDARIN, said, rate=RATE)


def test_a_query_will_do_too(server, ear):
    query = {"tts_text": MANDARIN, "spk_id": WOMAN, "seed": SEED}
    answer = requests.get(f"{server.base}/inference_sft", params=query, timeout=180)
    assert answer.status_code == 200, answer.text
    ear.expect(MANDARIN, answer.content, rate=RATE)


def test_what_is_missing_is_named(server):
    answer = requests.get(f"{server.base}/inference_sft", data={"spk_id": WOMAN}, timeout=60)
    assert answer.status_code == 400 and "tts_text" in answer.json()["detail"], answer.text
