"""Clients written by generators from the committed OpenAPI document. What they write goes to `target`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from .running import ROOT

DOCUMENT = ROOT / "openapi" / "openapi.json"
HERE = Path(__file__).resolve().parents[1]
TYPESCRIPT = HERE / "typescript"
GENERATION_SECONDS = 300


def out(name: str) -> Path:
    """An empty directory for a client."""
    directory = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "clients" / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """What the command printed; it must succeed."""
    # The generator tidies its code with ruff, which lies beside this Python.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=GENERATION_SECONDS
    )
    assert done.returncode == 0, f"{command[0]} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def python_client() -> Path:
    """The directory that holds the package `cosyserve_client`."""
    directory = out("python") / "cosyserve"
    config = HERE / "openapi_python_client.yaml"
    command = (Path(sys.executable).parent / "openapi-python-client", "generate")
    run(*command, "--path", DOCUMENT, "--output-path", directory, "--config", config, "--fail-on-warning")
    return directory


def typescript_client() -> Path:
    """The compiled program `every_mode.js`, in the directory of its client."""
    modules = TYPESCRIPT / "node_modules"
    assert modules.is_dir(), f"{modules} is missing: `make setup-clients` installs it"
    directory = out("typescript")
    run(modules / ".bin" / "openapi-ts", "--input", DOCUMENT, "--output", directory / "cosyserve", cwd=TYPESCRIPT)
    for name in ("every_mode.ts", "tsconfig.json"):
        shutil.copy(TYPESCRIPT / name, directory)
    run(modules / ".bin" / "tsc", "--project", directory, "--typeRoots", modules / "@types")
    return directory / "out" / "every_mode.js"
