"""`/playground` in Chromium: what it plays is measured, what it downloads is listened to."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect
from support.sound import pcm_at, rate_of, seconds, wav
from support.words import ENGLISH, MANDARIN

PATIENCE = 120_000
"""Milliseconds that anything may take on a busy machine."""
SILENCE_SECONDS = 20
LONG = " ".join([ENGLISH] * 4)
# What is scheduled to be heard, and how loud it is where it leaves for the loudspeaker.
LISTEN = """
  window.heard = { scheduled: 0, loudest: 0 };
  const taps = new Map();
  const { connect } = AudioNode.prototype;
  AudioNode.prototype.connect = function (to, ...rest) {
    if (to instanceof AudioDestinationNode && this instanceof AudioBufferSourceNode) {
      if (!taps.has(to)) {
        const tap = to.context.createAnalyser();
        taps.set(to, tap);
        const samples = new Float32Array(tap.fftSize);
        setInterval(() => {
          tap.getFloatTimeDomainData(samples);
          heard.loudest = Math.max(heard.loudest, ...samples.map(Math.abs));
        }, 20);
      }
      connect.call(this, taps.get(to));
    }
    return connect.call(this, to, ...rest);
  };
  const { createObjectURL } = URL;
  URL.createObjectURL = (file) => {
    heard.file = file;
    return createObjectURL(file);
  };
  const { start } = AudioBufferSourceNode.prototype;
  AudioBufferSourceNode.prototype.start = function (...when) {
    heard.scheduled += this.buffer.duration;
    return start.apply(this, when);
  };
"""


class Playground:
    """The page, as its user sees it."""

    def __init__(self, page: Page, base: str):
        self.page = page
        self.problems: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.add_init_script(LISTEN)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda line: self._listen(line))
        page.goto(f"{base}/playground")

    def _listen(self, line) -> None:
        # What the browser itself says of an answer that is no success is no fault of the page.
        if line.type == "error" and "Failed to load resource" not in line.text:
            self.problems.append(line.text)

    def connected(self) -> Playground:
        """Waits until the voices are there."""
        expect(self.page.locator("#model")).not_to_be_empty(timeout=PATIENCE)
        return self

    def tab(self, name: str) -> Locator:
        self.page.get_by_role("tab", name=name).click()
        return self.page.get_by_role("tabpanel", name=name)

    def panel(self) -> Locator:
        return self.page.get_by_role("tabpanel")

    def mode(self, name: str) -> None:
        self.page.get_by_role("radio", name=name, exact=True).check()

    def text(self, text: str) -> None:
        self.panel().get_by_label("Text to speak").fill(text)

    def speak(self) -> None:
        self.panel().get_by_role("button", name="Speak", exact=True).click()

    def done(self, words: str = "Done") -> None:
        status = self.panel().locator(":scope > .status")
        expect(status).to_contain_text(words, timeout=PATIENCE)
        expect(self.panel().locator(":scope > .error")).to_be_empty()

    def error(self) -> Locator:
        return self.panel().get_by_role("alert")

    def result(self, at: int = 0) -> Locator:
        return self.panel().get_by_role("article").nth(at)

    def audio(self, at: int = 0) -> bytes:
        """What the download gives."""
        with self.page.expect_download() as download:
            self.result(at).get_by_role("link", name="Download").click()
        return Path(download.value.path()).read_bytes()

    def heard(self) -> dict:
        return self.page.evaluate("() => ({ scheduled: heard.scheduled, loudest: heard.loudest })")


@pytest.fixture(scope="module")
def chromium(launch_chromium, recording, tmp_path_factory) -> Iterator[Browser]:
    """Into its microphone `recording` is spoken, then there is silence for a while: nobody stops to the point."""
    spoken = tmp_path_factory.mktemp("microphone") / "spoken.wav"
    rate = rate_of(recording)
    spoken.write_bytes(wav(pcm_at(recording, rate) + bytes(2 * rate * SILENCE_SECONDS), rate))
    browser = launch_chromium(
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={spoken}",
    )
    yield browser
    browser.close()


@pytest.fixture
def open_playground(chromium: Browser):
    """`open_playground(base, **context)`: the page in a new browser context."""
    contexts = []
    opened = []

    def begin(base: str, **options) -> Playground:
        context = chromium.new_context(**{"locale": "en-GB", "permissions": ["microphone"], **options})
        contexts.append(context)
        opened.append(Playground(context.new_page(), base))
        return opened[-1]

    yield begin
    for context in contexts:
        context.close()
    for playground in opened:
        assert not playground.problems, playground.problems


@pytest.fixture
def playground(open_playground, server) -> Playground:
    return open_playground(server.base).connected()


def test_it_speaks_and_is_heard(playground, ear):
    playground.page.get_by_role("combobox", name="Voice").select_option("英文女")
    playground.text(ENGLISH)
    playground.page.get_by_label("Seed").fill("7")
    playground.speak()
    playground.done()
    heard = playground.heard()
    audio = playground.audio()
    assert heard["loudest"] > 0.05, "sound left for the loudspeaker"
    assert heard["scheduled"] == pytest.approx(seconds(audio), abs=0.01), "all of it was played, once"
    assert rate_of(audio) == 24_000
    ear.expect(ENGLISH, audio, "en")
    expect(playground.result().locator(".seed")).to_have_text("7")
    expect(playground.result().get_by_role("img")).to_have_attribute("aria-label", re.compile(r"Waveform, \d"))


def test_it_plays_before_the_answer_ends(playground):
    playground.text(LONG)
    playground.speak()
    playing = "() => heard.scheduled > 0 && document.querySelector('#speak .total').textContent === '–'"
    playground.page.wait_for_function(playing, timeout=PATIENCE)
    playground.done()
    first = float(playground.result().locator(".first").inner_text().split()[0]) / 1000
    total = float(playground.result().locator(".total").inner_text().split()[0])
    assert 0 < first < total / 2


def test_stop_silences_it_and_ends_the_request(playground):
    cut = []
    playground.page.on("requestfailed", lambda request: cut.append(request.url))
    playground.text(" ".join([LONG] * 4))
    playground.speak()
    playground.page.wait_for_function("() => heard.loudest > 0", timeout=PATIENCE)
    playground.page.get_by_role("button", name="Stop", exact=True).click()
    playground.done("Stopped")
    playground.page.wait_for_timeout(200)
    playground.page.evaluate("() => { heard.loudest = 0; }")
    playground.page.wait_for_timeout(500)
    assert playground.heard()["loudest"] == 0, "silence"
    assert [url for url in cut if url.endswith("/tts")], "the server was told"
    expect(playground.result().get_by_role("link", name="Download")).to_be_visible()


def test_every_mode_speaks(playground, ear, recording_file):
    playground.mode("Recording and its text")
    prompt = playground.panel().get_by_role("group", name="Recording of the voice")
    prompt.get_by_label("or a file").set_input_files(recording_file)
    playground.panel().get_by_label("What is said in the recording").fill(MANDARIN)
    text = "很高兴在这里见到你们大家。"
    playground.text(text)
    playground.speak()
    playground.done()
    ear.expect(text, playground.audio())
    expect(playground.result().locator("code")).to_contain_text("-F 'prompt_wav=@\"prompt.wav\"'")

    playground.mode("Recording, another language")
    playground.text(ENGLISH)
    playground.speak()
    playground.done()
    ear.expect(ENGLISH, playground.audio(), "en")

    playground.mode("Voice and instruction")
    playground.panel().get_by_role("combobox", name="Voice").select_option("中文女")
    playground.panel().get_by_label("Instruction", exact=True).fill("说得快一点")
    playground.text(MANDARIN)
    playground.speak()
    playground.done()
    ear.expect(MANDARIN, playground.audio())

    playground.mode("Convert speech")
    source = playground.panel().get_by_role("group", name="Speech to convert")
    source.get_by_label("or a file").set_input_files(recording_file)
    playground.panel().get_by_role("combobox", name="Voice").select_option("英文男")
    playground.speak()
    playground.done()
    ear.expect(MANDARIN, playground.audio())
    playground.panel().get_by_role("combobox", name="Voice").select_option(label="that of a recording")
    playground.speak()
    playground.done()
    ear.expect(MANDARIN, playground.audio())


def test_it_clones_from_a_file_and_forgets_when_asked_twice(playground, ear, recording_file):
    panel = playground.tab("Clone")
    panel.get_by_label("or a file").set_input_files(recording_file)
    panel.get_by_label("What is said in the recording").fill(MANDARIN)
    panel.get_by_label("Id", exact=True).fill("from-a-file")
    panel.get_by_label("Name").fill("From a file")
    panel.get_by_role("button", name="Clone", exact=True).click()
    playground.done("From a file can speak now.")
    panel.get_by_role("button", name="Speak with it").click()
    expect(playground.page.get_by_role("combobox", name="Voice")).to_have_value("from-a-file")
    playground.text(MANDARIN)
    playground.speak()
    playground.done()
    ear.expect(MANDARIN, playground.audio())

    panel = playground.tab("Clone")
    item = panel.get_by_role("listitem").filter(has_text="from-a-file")
    item.get_by_role("button", name="Remove", exact=True).click()
    item.get_by_role("button", name="Really remove?").click()
    playground.done("From a file was removed.")
    expect(item).to_have_count(0)


def test_it_clones_from_the_microphone(playground, ear, recording):
    panel = playground.tab("Clone")
    panel.get_by_role("button", name="Record", exact=True).click()
    button = panel.get_by_role("button", name="Stop recording")
    expect(panel.get_by_role("group").get_by_role("status")).to_contain_text("Recording", timeout=PATIENCE)
    time.sleep(seconds(recording) + 0.5)
    button.click()
    expect(panel.get_by_role("group").get_by_role("status")).to_contain_text("s recorded")
    made = bytes(playground.page.evaluate("async () => [...new Uint8Array(await heard.file.arrayBuffer())]"))
    assert made[:4] == b"RIFF"
    ear.expect(MANDARIN, made)
    panel.get_by_label("What is said in the recording").fill(MANDARIN)
    panel.get_by_label("Id", exact=True).fill("spoken")
    panel.get_by_role("button", name="Clone", exact=True).click()
    playground.done("spoken can speak now.")
    panel.get_by_role("button", name="Speak with it").click()
    playground.text(MANDARIN)
    playground.speak()
    playground.done()
    ear.expect(MANDARIN, playground.audio())


def test_it_compares_voices(playground, ear):
    panel = playground.tab("Compare")
    for voice in ("中文女", "中文男", "英文女", "英文男"):
        panel.get_by_role("checkbox", name=voice).set_checked(voice.startswith("英文"))
    playground.text(ENGLISH)
    panel.get_by_role("button", name="Compare").click()
    playground.done("2 voices compared.")
    expect(panel.get_by_role("article")).to_have_count(2)
    for at, voice in enumerate(("英文女", "英文男")):
        expect(playground.result(at).get_by_role("heading")).to_have_text(voice)
        ear.expect(ENGLISH, playground.audio(at), "en")
    seeds = {playground.result(at).locator(".seed").inner_text() for at in range(2)}
    assert len(seeds) == 1, "the same seed"
    for voice in ("英文女", "英文男"):
        panel.get_by_role("checkbox", name=voice).uncheck()
    panel.get_by_role("button", name="Compare").click()
    expect(playground.error()).to_have_text("Choose at least one voice.")


def test_live_text_is_spoken_while_it_is_written(playground, ear):
    panel = playground.tab("Live text")
    panel.get_by_role("combobox", name="Voice").select_option("英文女")
    playground.text(ENGLISH)
    playground.speak()
    playground.done()
    ear.expect(ENGLISH, playground.audio(), "en")

    panel.get_by_label("Write it as a language model does").uncheck()
    playground.text("")
    playground.speak()
    expect(panel.get_by_role("button", name="End of text")).to_be_enabled()
    panel.get_by_label("Text to speak").press_sequentially(ENGLISH)
    panel.get_by_role("button", name="End of text").click()
    playground.done()
    ear.expect(ENGLISH, playground.audio(), "en")

    playground.text(LONG)
    playground.speak()
    playground.page.wait_for_function("() => document.querySelector('#live .first').textContent !== '–'", timeout=PATIENCE)
    panel.get_by_role("button", name="Interrupt").click()
    playground.done("Stopped")


def test_the_servers_errors_are_shown(playground):
    playground.text("   ")
    playground.speak()
    expect(playground.error()).to_have_text("The server refused (400): tts_text: must not be empty")
    playground.mode("Recording, another language")
    playground.text(ENGLISH)
    playground.speak()
    expect(playground.error()).to_have_text("Record something or choose a file: Recording of the voice.")
    noise = {"name": "noise.wav", "mimeType": "audio/wav", "buffer": b"no audio at all"}
    playground.panel().get_by_role("group", name="Recording of the voice").get_by_label("or a file").set_input_files(noise)
    playground.speak()
    expect(playground.error()).to_contain_text("The server refused (400): prompt_wav:", timeout=PATIENCE)


def test_an_unreachable_server_is_told(playground):
    playground.page.context.set_offline(True)
    playground.text(ENGLISH)
    playground.speak()
    expect(playground.error()).to_have_text("The server cannot be reached.")
    playground.page.context.set_offline(False)
    playground.speak()
    playground.done()


def test_a_key_is_asked_for_and_kept_out_of_the_command(open_playground, start):
    key = "correct-horse"
    playground = open_playground(start("--api-key", key).base)
    expect(playground.error()).to_have_text("The server wants an API key: enter it above.", timeout=PATIENCE)
    playground.page.get_by_label("API key").fill(key)
    playground.page.get_by_label("API key").press("Tab")
    expect(playground.page.get_by_role("combobox", name="Voice").locator("option")).not_to_have_count(0, timeout=PATIENCE)
    playground.text(ENGLISH)
    playground.speak()
    playground.done()
    command = playground.result().locator("code").text_content()
    assert "$COSYSERVE_API_KEY" in command and key not in command
    playground.tab("Live text")
    playground.text("你好。")
    playground.speak()
    playground.done()


def test_the_command_it_shows_gives_the_same_speech(playground, tmp_path):
    playground.text("It's \"quoted\" here.")
    playground.page.get_by_role("combobox", name="Voice").select_option("英文女")
    playground.speak()
    playground.done()
    playground.result().get_by_text("The same with curl").click()
    command = playground.result().locator("code").inner_text()
    subprocess.run(["bash", "-ec", command.replace("curl ", "curl -sS --fail-with-body ", 1)], cwd=tmp_path, check=True)
    made = (tmp_path / "speech.mp3").read_bytes()
    assert seconds(made) == pytest.approx(seconds(playground.audio()), abs=0.15)


def test_it_speaks_chinese_and_remembers(open_playground, server):
    playground = open_playground(server.base, locale="zh-CN").connected()
    page = playground.page
    expect(page.get_by_role("tab", name="合成")).to_be_visible()
    assert page.evaluate("() => document.documentElement.lang") == "zh-CN"
    page.get_by_label("要朗读的文本").first.fill("   ")
    page.get_by_role("button", name="朗读", exact=True).first.click()
    expect(playground.error()).to_contain_text("服务器拒绝（400）：")
    page.get_by_role("button", name="English").click()
    expect(playground.error()).to_contain_text("The server refused (400):")
    page.reload()
    expect(page.get_by_role("tab", name="Speak")).to_be_visible()


def test_a_keyboard_is_enough(playground):
    page = playground.page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the form")).to_be_focused()
    seen = []
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("() => (({ name, id, className }) => name || id || className)(document.activeElement)"))
        if seen[-1] == "main" and "text" in seen:
            break
    assert {"key", "language", "tab-speak", "mode", "voice", "text", "speed", "seed"} <= set(seen), seen
    page.get_by_role("tab", name="Speak").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Compare")).to_be_focused()
    expect(page.get_by_role("tabpanel", name="Compare")).to_be_visible()
    page.keyboard.press("Home")
    playground.panel().get_by_label("Text to speak").focus()
    page.keyboard.press("Control+a")
    page.keyboard.type(LONG)
    page.keyboard.press("Control+Enter")
    page.wait_for_function("() => heard.scheduled > 0", timeout=PATIENCE)
    page.keyboard.press("Escape")
    playground.done("Stopped")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_anybody_out(open_playground, server, scheme):
    playground = open_playground(server.base, color_scheme=scheme, reduced_motion="reduce", bypass_csp=True).connected()
    playground.text("Hello.")
    playground.speak()
    playground.done()
    playground.result().get_by_text("The same with curl").click()
    for tab in ("Speak", "Compare", "Clone", "Live text"):
        playground.tab(tab)
        found = Axe().run(playground.page)
        assert found.violations_count == 0, f"{tab}:\n{found.generate_report()}"


def test_it_fits_a_narrow_screen(open_playground, server):
    playground = open_playground(server.base, viewport={"width": 320, "height": 640}).connected()
    playground.text("Hello.")
    playground.speak()
    playground.done()
    for tab in ("Speak", "Compare", "Clone", "Live text"):
        playground.tab(tab)
        width = playground.page.evaluate("() => document.documentElement.scrollWidth")
        assert width <= 320, f"{tab} is {width} wide"
