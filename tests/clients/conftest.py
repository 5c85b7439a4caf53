"""What all tests of clients use: one server with the bundled voice, one speech recogniser, a recording, Chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, sync_playwright
from support.ear import Ear
from support.running import Running
from support.sound import wav
from support.words import MANDARIN, WOMAN

# Chromium asks its maker for many things, and this must work where nothing answers.
CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The server that all tests share: `.base`, `.port`, `.grpc`, `.socket`, `.log()`."""
    running = Running(tmp_path_factory.mktemp("server"), "--queue", "64")
    try:
        yield running
    finally:
        status = running.stop()
    assert status == 0, f"SIGTERM ends the server cleanly:\n{running.log()[-2000:]}"
    assert not running.errors(), "no test made the server fail"


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Running]]:
    """Starts a server of the test's own, with these arguments for `serve`; it is not warm."""
    with ExitStack() as servers:

        def begin(*args: str) -> Running:
            running = Running(tmp_path_factory.mktemp("server"), "--no-warm-up", *args)
            servers.callback(running.stop)
            return running

        yield begin


@pytest.fixture(scope="session")
def ear() -> Ear:
    """Speech recognition, with the rule of how much may be heard wrong: `ear.expect(text, audio, language, rate)`."""
    return Ear()


@pytest.fixture(scope="session")
def hear(ear: Ear) -> Callable[..., str]:
    """`hear(audio, language, rate)`: the words in an audio file, or in raw 16-bit samples of that rate."""
    return ear.hear


@pytest.fixture(scope="session")
def recording(server: Running) -> bytes:
    """Speech as a WAV file: a woman says `MANDARIN`."""
    body = {"tts_text": MANDARIN, "spk_id": WOMAN, "seed": 11}
    answer = httpx.post(f"{server.base}/tts/pcm", json=body, timeout=180).raise_for_status()
    return wav(answer.content, int(answer.headers["X-Sample-Rate"]))


@pytest.fixture(scope="session")
def recording_file(recording: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`recording`, where programs can read it."""
    path = tmp_path_factory.mktemp("recording") / "prompt.wav"
    path.write_bytes(recording)
    return path


def chromium_path() -> str:
    """Debian's browser, or what COSYSERVE_TEST_CHROMIUM names."""
    path = os.environ.get("COSYSERVE_TEST_CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.fail("chromium is missing: apt-get install chromium, or set COSYSERVE_TEST_CHROMIUM", pytrace=False)
    return path


# For one module at a time: while Playwright runs, asyncio cannot run on this thread.
@pytest.fixture(scope="module")
def launch_chromium() -> Iterator[Callable[..., Browser]]:
    """`launch_chromium(*flags)`: a headless Chromium of its own."""
    with sync_playwright() as playwright:
        yield lambda *flags: playwright.chromium.launch(
            executable_path=chromium_path(), args=[*CHROMIUM_FLAGS, *flags]
        )


@pytest.fixture(scope="module")
def chromium(launch_chromium: Callable[..., Browser], recording_file: Path) -> Iterator[Browser]:
    """A headless Chromium that may play at once; into its microphone `recording` is spoken, again and again."""
    browser = launch_chromium(
        "--autoplay-policy=no-user-gesture-required",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={recording_file}",
    )
    yield browser
    browser.close()
