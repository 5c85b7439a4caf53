#!/usr/bin/env python3
"""Speaks to a running server as common clients do: Python's standard library, and curl where it is installed.

    cosyserve serve --port 5000 &
    python3 tests/clients/smoke.py http://127.0.0.1:5000
"""

import base64
import io
import json
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import uuid
import wave
from pathlib import Path

SENTENCE = "你好，很高兴认识你。"


class Server:
    """Requests of one server."""

    def __init__(self, base):
        self.base = base.rstrip("/")

    def ask(self, path, body=None, content_type="application/json"):
        """(status, headers, body) of a GET, or of a POST with this body."""
        request = urllib.request.Request(self.base + path, data=body)
        if body is not None:
            request.add_header("Content-Type", content_type)
        try:
            with urllib.request.urlopen(request, timeout=180) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def json(self, path, **fields):
        """A POST of these fields."""
        return self.ask(path, json.dumps(fields).encode())

    def form(self, path, files, **fields):
        """A multipart POST of these fields and (name, file name, content) files."""
        boundary = uuid.uuid4().hex
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in fields.items()
        ]
        for name, file_name, content in files:
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{file_name}"\r\n\r\n'
            parts.append(head.encode() + content + b"\r\n")
        body = b"".join(parts) + f"--{boundary}--\r\n".encode()
        return self.ask(path, body, f"multipart/form-data; boundary={boundary}")


def is_mp3(body):
    """Whether this starts with an MP3 frame (or the tag before one)."""
    return body[:3] == b"ID3" or (len(body) > 1000 and body[0] == 0xFF and body[1] & 0xE0 == 0xE0)


def wav(samples, rate):
    """A WAV file of little-endian 16-bit samples, at least a second long."""
    while len(samples) < rate * 2:
        samples += samples
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(samples)
    return file.getvalue()


def expect(condition, what, *seen):
    """Ends the run when this does not hold."""
    if not condition:
        sys.exit(f"FAILED: {what}: {seen}")
    print("ok  ", what)


def standard_library(server):
    """Every route through urllib; gives the voice and a recording."""
    status, _, body = server.ask("/")
    expect(status == 200 and json.loads(body)["message"], "greeting", status, body)
    _, _, body = server.ask("/available_spks")
    voice = json.loads(body)["speakers"][0]["spk_id"]
    expect(voice, "voices", body)

    for stream in (False, True):
        status, headers, body = server.json("/tts", tts_text=SENTENCE, spk_id=voice, stream=stream, seed=7)
        expect(status == 200 and is_mp3(body), f"/tts stream={stream}", status, body[:200])
        expect(bool(headers["Content-Length"]) != stream, "length only of the whole", headers)
        expect(headers["X-Seed"] == "7", "seed named", headers)

    status, headers, pcm = server.json("/tts/pcm", tts_text=SENTENCE, spk_id=voice)
    expect(status == 200 and headers["Content-Type"] == "audio/L16", "/tts/pcm", status, pcm[:200])
    expect((headers["X-Channels"], headers["X-Bit-Depth"]) == ("1", "16"), "pcm headers", headers)
    recording = wav(pcm, int(headers["X-Sample-Rate"]))

    encoded = base64.b64encode(recording).decode()
    status, _, body = server.json(
        "/tts/zero_shot", tts_text=SENTENCE, prompt_text=SENTENCE, prompt_audio_base64=encoded
    )
    expect(status == 200 and is_mp3(body), "/tts/zero_shot, base64", status, body[:200])
    file = [("prompt_wav", "me.wav", recording)]
    status, _, body = server.form("/tts/cross_lingual", file, tts_text=SENTENCE, stream="true")
    expect(status == 200 and is_mp3(body), "/tts/cross_lingual, form", status, body[:200])

    file = [("prompt_audio", "me.wav", recording)]
    status, _, body = server.form("/clone", file, prompt_text=SENTENCE, spk_id="smoke", spk_name="Smoke")
    expect(status == 200 and json.loads(body)["status"] == "success", "/clone", status, body)
    status, _, body = server.json("/tts", tts_text=SENTENCE, spk_id="smoke")
    expect(status == 200 and is_mp3(body), "/tts with the clone", status, body[:200])
    status, _, body = server.json("/tts/instruct", tts_text=SENTENCE, spk_id="smoke", instruct_text="开心地说")
    expect(status == 200 and is_mp3(body), "/tts/instruct with the clone", status, body[:200])
    status, _, body = server.form("/upload_audio", [("file", "me.wav", recording)])
    expect(json.loads(body) == {"filename": "me.wav", "audio_base64": encoded}, "/upload_audio", status)

    for fields, what in (({}, "tts_text"), ({"tts_text": ""}, "tts_text"), ({"tts_text": "x", "speed": 9}, "speed")):
        status, _, body = server.json("/tts", spk_id=voice, **fields)
        expect(status == 400 and what in json.loads(body)["detail"], f"400 names {what}", status, body)
    return voice, recording


def curl(server, voice, recording):
    """What a shell script does."""
    with tempfile.TemporaryDirectory() as directory:
        prompt, out = Path(directory) / "prompt.wav", Path(directory) / "out.mp3"
        prompt.write_bytes(recording)
        base = ["curl", "-sS", "--fail-with-body", "-o", str(out)]
        body = json.dumps({"tts_text": SENTENCE, "spk_id": voice, "stream": True})
        json_type = ["-H", "Content-Type: application/json"]
        subprocess.run([*base, f"{server.base}/tts", *json_type, "-d", body], check=True)
        expect(is_mp3(out.read_bytes()), "curl /tts")
        fields = ["-F", f"tts_text={SENTENCE}", "-F", f"prompt_text={SENTENCE}", "-F", f"prompt_wav=@{prompt}"]
        subprocess.run([*base, f"{server.base}/tts/zero_shot", *fields], check=True)
        expect(is_mp3(out.read_bytes()), "curl /tts/zero_shot with a file")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    server = Server(sys.argv[1])
    voice, recording = standard_library(server)
    if shutil.which("curl"):
        curl(server, voice, recording)


if __name__ == "__main__":
    main()
