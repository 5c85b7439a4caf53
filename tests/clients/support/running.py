"""The server under test: the built binary with the bundled voice, on free ports."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
READY_SECONDS = 120
DRAIN_SECONDS = 60
LOG_SECONDS = 60


def binary() -> Path:
    """What `cargo test` built, or what COSYSERVE_TEST_BINARY names."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    path = Path(os.environ.get("COSYSERVE_TEST_BINARY", target / "debug" / "cosyserve"))
    assert path.is_file(), f"{path} is missing: `make test-clients` builds it"
    return path


class Running:
    """A server that runs until it is told to stop."""

    def __init__(self, data: Path, *args: str):
        self.log_file = data / "server.log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COSYSERVE_")}
        ports = ["--port", "0", "--grpc-port", "0"]
        command = [binary(), "serve", "--host", "127.0.0.1", *ports, "--data-dir", data, *args]
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self.ready = self._first_line()
        self.base = re.search(r"http://[\d.]+:\d+", self.ready)[0]
        """`http://address:port`"""
        found = re.search(r"grpc\D*?([\d.]+:\d+)", self.ready, re.IGNORECASE)
        self.grpc = found[1] if found else None
        """`address:port` of the gRPC service."""

    def _first_line(self) -> str:
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=lambda: lines.put(self.process.stdout.readline()), daemon=True).start()
        try:
            line = lines.get(timeout=READY_SECONDS)
        except queue.Empty:
            line = ""
        if " ready on http://" not in line:
            self.process.kill()
            raise AssertionError(f"the server did not get ready, it said {line!r}:\n{self.log()}")
        return line

    @property
    def port(self) -> int:
        """Where HTTP is served."""
        return int(self.base.rsplit(":", 1)[1])

    @property
    def socket(self) -> str:
        """The address of WebSockets."""
        return self.base.replace("http://", "ws://")

    def log(self) -> str:
        """What it wrote to standard error so far."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def wait_for_log(self, *words: str) -> None:
        """Waits until a line of its log has all these words."""
        deadline = time.monotonic() + LOG_SECONDS
        while not any(all(word in line for word in words) for line in self.log().splitlines()):
            assert time.monotonic() < deadline, f"the log never had {words}:\n{self.log()[-2000:]}"
            time.sleep(0.05)

    def errors(self) -> list[str]:
        """The lines of its log that tell of a fault of its own."""
        return [line for line in self.log().splitlines() if " ERROR " in line or "panicked" in line]

    def stop(self) -> int:
        """Ends it as an operator does; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=DRAIN_SECONDS)
        finally:
            self.process.kill()
