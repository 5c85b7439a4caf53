"""One command per step of the recipe in recipe.toml.

    python recipe.py                            # the steps, and which are done
    python recipe.py STEP [STEP ...]            # run them; one that is done is left alone
    python recipe.py --again STEP               # once more; a training step goes on from what it has written
    python recipe.py --set audio=/tmp/audio --set flow_seconds=600 STEP

A step is done when the file it `makes` is there. Training scripts write their parts every 100 s, so that a run cut off
is continued with --again. Paths are relative to this folder.
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent


def load(changes=()):
    """-> steps by name, values of paths and settings"""
    recipe = tomllib.loads((HERE / "recipe.toml").read_text(encoding="utf8"))
    values = recipe["paths"] | recipe["settings"]
    for change in changes:
        name, sign, value = change.partition("=")
        if not sign or name not in values:
            raise SystemExit(f"--set {change}: want NAME=VALUE with one of {', '.join(values)}")
        values[name] = value
    return recipe["step"], values


def command(step, values, again):
    """The shell command of a step; the options to go on with, if it is run again and has any."""
    going_on = again and "resume" in step
    return (step["run"] + (" " + step["resume"] if going_on else "")).format(**values)


def with_python(line, python):
    """The command with this Python wherever it only says python; a path to another one stays."""
    return re.sub(r"(?<![\w/])python ", lambda _: f"{shlex.quote(python)} ", line)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="*")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    args = parser.parse_args()
    steps, values = load(args.set)
    os.chdir(HERE)
    if unknown := [s for s in args.steps if s not in steps]:
        raise SystemExit(f"no step {', '.join(unknown)}; there are {', '.join(steps)}")
    done = {name: Path(step["makes"].format(**values)).exists() for name, step in steps.items()}
    if not args.steps:
        for name, step in steps.items():
            print(f"{'done' if done[name] else '    '}  {name:12s} {step['what']}")
        return
    for folder in ("text", "pack", "tokens", "more", "audio", "people", "parts"):
        Path(values[folder]).mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(["..", os.environ.get("PYTHONPATH", "")])}
    for name in args.steps:
        if done[name] and not args.again:
            print(f"{name}: done before")
            continue
        line = command(steps[name], values, args.again)
        print(f"{name}: {line}", flush=True)
        subprocess.run(with_python(line, sys.executable), shell=True, check=True, env=environment)


if __name__ == "__main__":
    main()
