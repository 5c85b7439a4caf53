"""Random prompts through the flow: `stress` runs every generation, and sees what is not a number."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from cosyserve_onnx.__main__ import main


@pytest.mark.parametrize("made", ["bundles1", "bundles", "bundles3"])
def test_half_precision_gives_numbers(
    made: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["stress", str(request.getfixturevalue(made)["fp16"]), "--prompts", "12"]) == 0
    assert "12 of 12 random prompts gave a finite mel" in capsys.readouterr().out


def test_what_is_not_a_number_is_counted(
    bundles3: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "bundle"
    shutil.copytree(bundles3["fp32"], broken)
    noise = np.fromfile(broken / "noise.bin", "<f4")
    noise[0] = np.nan
    noise.tofile(broken / "noise.bin")
    assert main(["stress", str(broken), "--prompts", "4"]) == 1
    assert "0 of 4" in capsys.readouterr().out
