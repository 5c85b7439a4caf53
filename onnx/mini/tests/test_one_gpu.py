import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "one_gpu.sh"
FAKE = """#!/bin/sh
[ "$1" = -c ] && exec {python} "$@"
echo "$@" >> {calls}
case "$*" in *{failing}*) exit 3;; esac
"""


@pytest.fixture
def run(tmp_path):
    """Runs the script with every Python step written down instead; those whose command holds `failing` fail."""
    (tmp_path / "pack").mkdir()
    for name in ("speaker.pt", "recogniser.people.pt"):
        (tmp_path / "pack" / name).touch()
    (tmp_path / "bin").mkdir()

    def go(failing="nothing"):
        fake, calls = tmp_path / "bin" / "python3", tmp_path / "calls"
        fake.write_text(FAKE.format(python=sys.executable, calls=calls, failing=failing))
        fake.chmod(0o755)
        environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
        command = [SCRIPT, "pack", "work", "100", "--tiny"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        return done, calls.read_text().splitlines()

    return go


def test_the_flow_trains_last_with_the_recipe_s_settings_and_what_time_is_left(run, tmp_path):
    done, calls = run()
    assert done.returncode == 0, done.stderr
    assert len(calls) == 7 and calls[-1].startswith(f"train_flow.py --data {tmp_path}/work/wide")
    assert "--rate 0.00015 " in calls[-1] and calls[-1].endswith(f"--resume {tmp_path}/pack/flow.train.pt --tiny")
    assert 0 < int(calls[-1].split("--seconds ")[1].split()[0]) <= 100
    assert any("--strangers" in c and "--made 150" in c for c in calls)


@pytest.mark.parametrize("failing", ["recordings.py", "wide --pack", "--only 1"])
def test_it_stops_before_training_when_a_step_fails(run, failing):
    done, calls = run(failing)
    assert done.returncode == 1 and "a step failed" in done.stderr
    assert not any("--resume" in c for c in calls)
