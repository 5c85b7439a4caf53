import re
from pathlib import Path

import pytest

import recipe

HERE = Path(recipe.__file__).parent


@pytest.mark.parametrize("name", recipe.load()[0])
def test_every_step_can_be_said_and_names_options_that_its_script_has(name):
    steps, values = recipe.load()
    line = recipe.command(steps[name], values, again=True)
    assert "{" not in line
    for script, arguments in re.findall(r"python (\w+\.py)([^;&|]*)", line):
        code = (HERE / script).read_text(encoding="utf8")
        for option in re.findall(r" (--[\w-]+)", arguments):
            assert f'"{option}"' in code, f"{script} has no {option}"


def test_a_step_goes_on_only_when_asked():
    steps, values = recipe.load()
    assert "--resume" not in recipe.command(steps["flow"], values, again=False)
    assert "--resume build/parts/flow.train.pt" in recipe.command(steps["flow"], values, again=True)


def test_values_can_be_set_and_others_are_refused():
    assert recipe.load(["flow_seconds=7"])[1]["flow_seconds"] == "7"
    with pytest.raises(SystemExit, match="speed"):
        recipe.load(["speed=7"])


def test_commands_run_by_the_python_that_was_asked_but_for_those_that_name_another():
    line = recipe.with_python("python a.py && X/venv/bin/python b.py; python c.py python.txt", "/my env/python3")
    assert line == "'/my env/python3' a.py && X/venv/bin/python b.py; '/my env/python3' c.py python.txt"
