"""`fetch` from a page of another origin, in Chromium: what any web application does with this server."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from support.words import ENGLISH, MANDARIN

# Asks, and tells what a page of another origin gets to see.
ASK = """
async ({ url, options, file }) => {
  if (file) {
    const bytes = Uint8Array.from(atob(file.base64), (c) => c.charCodeAt(0));
    options.body = new FormData();
    for (const [name, value] of Object.entries(file.fields)) options.body.append(name, value);
    options.body.append(file.name, new Blob([bytes]), 'me.wav');
  }
  try {
    const start = performance.now();
    const answer = await fetch(url, options);
    const headers = Object.fromEntries(answer.headers);
    const sizes = [];
    const parts = [];
    const times = [];
    const reader = answer.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      sizes.push(value.length);
      times.push(performance.now() - start);
      parts.push(value);
    }
    const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
    const text = headers['content-type'] === 'application/json' ? new TextDecoder().decode(bytes) : '';
    return { status: answer.status, headers, sizes, times, text };
  } catch (error) {
    return { error: error.name };
  }
}
"""


class Page(BaseHTTPRequestHandler):
    """An empty page."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>elsewhere</title>")

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def elsewhere():
    """The origin of another server's page."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as pages:
        threading.Thread(target=pages.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{pages.server_port}"
        pages.shutdown()


@pytest.fixture
def ask(chromium, elsewhere):
    """`ask(url, options, file)`: what the other origin's page gets."""
    page = chromium.new_page()
    page.set_default_timeout(120_000)
    page.goto(elsewhere)
    yield lambda url, options=None, file=None: page.evaluate(ASK, {"url": url, "options": options or {}, "file": file})
    page.close()


def json_body(text: str, **fields) -> dict:
    body = json.dumps({"tts_text": text, "spk_id": "英文女", "seed": 7, **fields})
    return {"method": "POST", "headers": {"Content-Type": "application/json", "X-My-Own": "1"}, "body": body}


@pytest.mark.parametrize("credentials", ["omit", "include"])
def test_a_simple_request_is_answered(ask, server, credentials):
    seen = ask(f"{server.base}/available_spks", {"credentials": credentials})
    assert seen["status"] == 200 and "英文女" in seen["text"], seen


@pytest.mark.parametrize("credentials", ["omit", "include"])
def test_json_passes_the_preflight(ask, server, elsewhere, credentials):
    seen = ask(f"{server.base}/tts", {**json_body(ENGLISH), "credentials": credentials})
    assert seen["status"] == 200, seen
    assert seen["headers"]["content-type"] == "audio/mpeg"
    assert seen["headers"]["x-seed"] == "7" and seen["headers"]["x-request-id"], seen["headers"]


def test_samples_stream_and_their_headers_can_be_read(ask, server):
    seen = ask(f"{server.base}/tts/pcm", {**json_body(" ".join([ENGLISH] * 4)), "credentials": "include"})
    names = ("x-sample-rate", "x-channels", "x-bit-depth", "x-seed")
    assert [seen["headers"][name] for name in names] == ["24000", "1", "16", "7"]
    assert len(seen["sizes"]) > 3, "it came in pieces"
    assert seen["times"][0] < seen["times"][-1] / 2, "while it was made"


def test_a_form_with_a_file_is_taken(ask, server, recording):
    file = {
        "name": "prompt_wav",
        "base64": base64.b64encode(recording).decode(),
        "fields": {"tts_text": "你好。", "prompt_text": MANDARIN, "stream": "true"},
    }
    seen = ask(f"{server.base}/tts/zero_shot", {"method": "POST", "credentials": "include"}, file)
    assert (seen["status"], seen["headers"]["content-type"]) == (200, "audio/mpeg"), seen


def test_other_methods_pass_the_preflight(ask, server):
    seen = ask(f"{server.base}/voices/nobody", {"method": "DELETE", "credentials": "include"})
    assert seen["status"] == 404 and "nobody" in seen["text"], seen


def test_errors_can_be_read(ask, server):
    seen = ask(f"{server.base}/tts", {**json_body("hello", speed=9), "credentials": "include"})
    assert seen["status"] == 400 and "speed: must be between" in seen["text"], seen


def test_a_key_is_sent_from_anywhere(ask, start):
    base = start("--api-key", "correct-horse").base
    request = json_body("Hello.")
    assert ask(f"{base}/tts", request)["status"] == 401
    request["headers"]["Authorization"] = "Bearer correct-horse"
    assert ask(f"{base}/tts", {**request, "credentials": "include"})["status"] == 200


def test_an_operator_keeps_other_origins_out(ask, start, elsewhere):
    open_to_it = start("--cors-origin", elsewhere).base
    closed = start("--cors-origin", "https://good.example").base
    request = {**json_body("Hello."), "credentials": "include"}
    assert ask(f"{open_to_it}/tts", request)["status"] == 200
    assert ask(f"{closed}/tts", request) == {"error": "TypeError"}
    assert ask(f"{closed}/available_spks") == {"error": "TypeError"}
