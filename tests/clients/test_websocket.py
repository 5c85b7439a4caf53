"""Live text in, audio out over WebSocket, as a voice agent does it."""

import json
import threading
import time

import pytest
from support.words import ENGLISH, ENGLISH_LONG, ENGLISH_WOMAN, SEED
from websockets.sync.client import connect

CHARACTERS_PER_SECOND = 20


class Agent:
    """A connection, and what came over it since the last start."""

    def __init__(self, socket):
        self.socket = socket
        self.audio = b""
        self.first_audio = None

    def say(self, kind, **fields):
        self.socket.send(json.dumps({"type": kind, **fields}))

    def begin(self, **fields):
        self.audio, self.first_audio = b"", None
        self.say("start", spk_id=ENGLISH_WOMAN, seed=SEED, format="pcm", **fields)

    def next(self):
        """The next message that is not audio."""
        while isinstance(message := self.socket.recv(timeout=120), bytes):
            self.first_audio = self.first_audio or time.monotonic()
            self.audio += message
        return json.loads(message)

    def expect(self, kind):
        message = self.next()
        assert message["type"] == kind, message
        return message


@pytest.fixture
def agent(server):
    with connect(f"{server.socket}/ws/tts", max_size=2**24) as socket:
        yield Agent(socket)


def test_speech_begins_before_half_the_text_is_in(agent, ear):
    agent.begin()
    rate = agent.expect("started")["sample_rate"]
    written = []

    def write():
        for character in ENGLISH_LONG:
            agent.say("text", text=character)
            written.append(time.monotonic())
            time.sleep(1 / CHARACTERS_PER_SECOND)
        agent.say("end")

    writer = threading.Thread(target=write)
    writer.start()
    done = agent.expect("done")
    writer.join()
    before = sum(at < agent.first_audio for at in written)
    assert before < len(ENGLISH_LONG) / 2, f"the first audio came after {before} of {len(ENGLISH_LONG)} characters"
    assert done["seconds"] == pytest.approx(len(agent.audio) / 2 / rate, abs=0.1)
    ear.expect(ENGLISH_LONG, agent.audio, "en", rate)


def test_barge_in(agent, ear):
    """After `cancelled` no audio follows, most was never sent, and the same connection speaks on."""
    agent.begin(ahead=0.2)
    rate = agent.expect("started")["sample_rate"]
    agent.say("text", text=ENGLISH_LONG)
    agent.say("end")
    assert isinstance(agent.socket.recv(timeout=120), bytes)
    asked = time.monotonic()
    agent.say("cancel")
    agent.expect("cancelled")
    # 100 ms on a machine that does nothing else; tests share theirs.
    assert time.monotonic() - asked < 2
    assert len(agent.audio) < 2 * rate * 5
    agent.say("ping")
    heard = len(agent.audio)
    agent.expect("pong")
    assert len(agent.audio) == heard, "audio after `cancelled`"

    agent.begin()
    agent.expect("started")
    agent.say("text", text=ENGLISH)
    agent.say("end")
    agent.expect("done")
    ear.expect(ENGLISH, agent.audio, "en", rate)


def test_a_flush_speaks_what_there_is(agent, ear):
    agent.begin()
    rate = agent.expect("started")["sample_rate"]
    agent.say("text", text=ENGLISH)
    agent.say("flush")
    # What is said is heard before there is an end.
    while len(agent.audio) < rate:
        agent.audio += agent.socket.recv(timeout=120)
    agent.say("end")
    agent.expect("done")
    ear.expect(ENGLISH, agent.audio, "en", rate)


def test_a_mistake_is_named_and_the_connection_lives(agent):
    agent.say("start", spk_id=ENGLISH_WOMAN, speed=9)
    error = agent.expect("error")
    assert error["status"] == 400 and "speed" in error["detail"]
    agent.say("nonsense")
    assert "type" in agent.expect("error")["detail"]
    agent.say("ping")
    agent.expect("pong")
