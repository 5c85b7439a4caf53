"""Starts the built server with the bundled voice and runs `smoke.py` against it: stock Python and curl, every route."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import smoke

ROOT = Path(__file__).parents[2]


@pytest.fixture
def address(tmp_path):
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    binary = os.environ.get("COSYSERVE_TEST_BINARY", str(target / "debug" / "cosyserve"))
    command = [binary, "serve", "--host", "127.0.0.1", "--port", "0", "--data-dir", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        line = server.stdout.readline()
        assert " ready on http://" in line, f"the server said {line!r}"
        yield "http://" + line.split("http://")[1].split(":")[0] + ":" + line.split("http://")[1].split(":")[1]
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 0, "SIGTERM ends the server cleanly"


def test_stock_clients(address):
    server = smoke.Server(address)
    voice, recording = smoke.standard_library(server)
    assert shutil.which("curl"), "curl is part of this test"
    smoke.curl(server, voice, recording)
