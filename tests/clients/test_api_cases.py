"""Cases that schemathesis makes up from the committed document: no answer is a fault, and each one fits it."""

import json
import os
import subprocess
import sys
from pathlib import Path

from support.generated import DOCUMENT, out

HERE = Path(__file__).parent / "fuzz"
SEED = 1
# Cases for each operation, beyond those that cover its schema one by one.
EXAMPLES = int(os.environ.get("COSYSERVE_FUZZ_EXAMPLES", "5"))
LEAST_CASES = 1_700
LIMIT_SECONDS = 1_800


def test_every_answer_fits_the_document(start, recording_file):
    server = start("--queue", "64")
    directory = out("cases")
    command = [
        Path(sys.executable).parent / "schemathesis",
        *("--config-file", HERE / "schemathesis.toml"),
        *("run", DOCUMENT, "--url", server.base),
        *("--seed", str(SEED), "--generation-database", "none", "--max-examples", str(EXAMPLES)),
        *("--workers", "2", "--request-timeout", "120", "--continue-on-failure"),
        *("--no-color", "--warnings", "off", "--report", "json", "--report-json-path", "report.json"),
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": str(HERE),
        "SCHEMATHESIS_HOOKS": "hooks",
        "COSYSERVE_FUZZ_RECORDING": str(recording_file),
    }
    run = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS
    )
    (directory / "output.txt").write_text(run.stdout + run.stderr)
    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr
    assert not server.errors(), server.errors()[:5]
    report = json.loads((directory / "report.json").read_text())
    assert report["complete"] and report["operations"]["tested"] == report["operations"]["total"], report
    assert report["test_cases"]["generated"] >= LEAST_CASES, report["test_cases"]
