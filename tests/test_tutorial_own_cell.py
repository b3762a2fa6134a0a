"""Every command of docs/tutorial-own-cell.md but the training, in order, on stand-ins for photographs."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from builders import ROOT, run_command
from test_own_cell import MATRIX, Cell, cell, here  # noqa: F401

from simgen.__main__ import COMMANDS
from simgen.camera import read_camera
from simgen.config import compose, main
from train.__main__ import COMMANDS as TRAIN_COMMANDS
from train.config import TrainConfig, check_train

LINES = [
    line
    for block in re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "tutorial-own-cell.md").read_text(), re.DOTALL)
    for line in block.splitlines()
]


def test_every_command_of_the_tutorial(here: Cell, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    Path("blocks.yaml").write_text("brick: {shape: rectangular_prism, size: [0.06, 0.03, 0.02]}\n")
    for number, line in enumerate(LINES):
        _, _, program, *words = shlex.split(line)
        if words[0] == "experiment=own":  # some hours: here its configuration, with the scene of the step before
            check_train(compose("train", TrainConfig, words))
            continue
        commands, default = (COMMANDS, None) if program == "simgen" else (TRAIN_COMMANDS, "train")
        result = run_command(lambda: main(program, commands, default), program, *words)  # noqa: B023
        # Of the photographs of blocks one shows an empty page, which is a warning and the exit status 1.
        expected = 1 if words[0] == "capture" else 0
        assert result.returncode == expected, f"{number}: {line}: {result.stderr}"
    for name in (
        "board.pdf", "board.json", "camera.json", "camera.png", "table.json", "by_corners.json", "scenes/mine.yaml",
        "preview.png", "data/captured/overlays.png", "captured_errors/metrics.json",
        "predictions/predictions.json",
    ):  # fmt: skip
        assert Path(name).is_file(), name
    # Both ways to the table agree: the corners are those of the board's squares, read off the photograph.
    one, other = (read_camera(name).camera_from_table for name in ("table.json", "by_corners.json"))
    assert one is not None and other is not None
    assert np.degrees(np.arccos(min(1.0, float(one[:3, 2] @ other[:3, 2])))) < 1
    assert one[:3, 3] == pytest.approx(other[:3, 3], abs=0.01)
    assert read_camera("camera.json").intrinsics[0, 0] == pytest.approx(MATRIX[0, 0], rel=0.003)
