import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "on_gpus.sh"
FAKE = """#!/bin/sh
[ "$1" = -c ] && exec {python} "$@"
echo "$CUDA_VISIBLE_DEVICES: $@" >> {calls}
case "$*" in *{failing}*) exit 3;; esac
out=$(echo "$@" | sed -n 's/.* --out \\([^ ]*\\).*/\\1/p')
[ -z "$out" ] || mkdir -p "$out" # as every script does
"""


@pytest.fixture
def run(tmp_path):
    """Runs the script with every Python step written down instead; those whose command holds `failing` fail."""
    (tmp_path / "pack").mkdir()
    for name in ("speaker.pt", "recogniser.people.pt"):
        (tmp_path / "pack" / name).touch()
    (tmp_path / "bin").mkdir()

    def go(*options, failing="nothing"):
        fake, calls = tmp_path / "bin" / "python3", tmp_path / "calls"
        fake.write_text(FAKE.format(python=sys.executable, calls=calls, failing=failing))
        fake.chmod(0o755)
        environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
        command = [SCRIPT, "pack", "work", "100", *options]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        return done, calls.read_text().splitlines()

    return go


def test_every_gpu_makes_audio_and_then_trains_on_all_of_it(run, tmp_path):
    done, calls = run("--rate 1e-3 --seed 1", "--rate 2e-3")
    assert done.returncode == 0, done.stderr
    assert len(calls) == 10 and all(": train_flow.py --data" in c for c in calls[-2:])
    flows = sorted(calls[-2:])
    for gpu, (call, options) in enumerate(zip(flows, ("--rate 1e-3 --seed 1", "--rate 2e-3"), strict=True)):
        work = tmp_path / "work"
        assert call.startswith(f"{gpu}: train_flow.py --data {work}/wide60 {work}/wide61 --people {work}/people ")
        assert f"--out {work}/flow{gpu} " in call and call.endswith(options)
        assert 0 < int(call.split("--seconds ")[1].split()[0]) <= 100
        audio = [c for c in calls if c.startswith(f"{gpu}: generate.py audio")]
        assert len(audio) == 1 and f"--seed {60 + gpu} " in audio[0] and "--strangers" in audio[0]
    assert [c[0] for c in calls if "recordings.py" in c] == ["1"]
    assert [c[0] for c in calls if "--warm" in c] == ["0", "0"]


def test_one_gpu_is_enough(run):
    done, calls = run("--tiny")
    assert done.returncode == 0, done.stderr
    assert len(calls) == 7 and calls[-1].endswith(" --tiny") and {c[0] for c in calls} == {"0"}


@pytest.mark.parametrize("failing", ["recordings.py", "wide61 --pack", "--only 1"])
def test_it_stops_before_training_when_a_step_fails(run, failing):
    done, calls = run("", "", failing=failing)
    assert done.returncode == 1 and "a step failed" in done.stderr
    assert not any("train_flow.py --data" in c for c in calls)


def test_a_flow_that_fails_is_a_failure(run):
    done, _ = run("--rate 1", "--rate 2", failing="--rate 2")
    assert done.returncode == 1 and "a step failed" in done.stderr
