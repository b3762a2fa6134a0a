"""Checkpoints of other versions: one line that says what to do, wherever a checkpoint is loaded."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import run_command
from safetensors.torch import save_file

from simgen.config import main
from simgen.errors import CheckpointError
from train.__main__ import COMMANDS
from train.detect.detector import load_detector
from train.runs.checkpoint import read_checkpoint
from train.tobin.checkpoint import load_checkpoint

ANEW = "is a keypoint model of an older version of simgen, which this one cannot load; train it anew: `python -m train "


def write(path: Path, version: Any) -> Path:
    """A checkpoint with the keys of a keypoint model of format `version`."""
    content = {"simgen_train": version, "model": {"name": "keypoints"}, "blocks": "[]", "picture": [320, 240]}
    if path.suffix == ".ckpt":
        torch.save({**content, "state_dict": {"average.module.out": torch.zeros(2)}}, path)
    else:
        save_file({"out": torch.zeros(2)}, path, {"simgen": json.dumps(content), "origin": "{}"})
    return path


@pytest.mark.parametrize("name", ["best.ckpt", "blocks.safetensors"])
def test_a_model_of_another_version_is_refused(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, 2)
    for load in (load_detector, load_checkpoint, read_checkpoint):
        with pytest.raises(CheckpointError) as caught:
            load(path)
        assert str(caught.value).startswith(f"{path}: {ANEW}experiment=blocks`")
    for command in (
        ["evaluate", "data.root=x"],
        ["export", f"out={tmp_path / 'x.safetensors'}"],
    ):
        done = run_command(lambda: main("train", COMMANDS), "train", *command, f"checkpoint={path}")
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and f"train: error: {path}: {ANEW}" in done.stderr
    with pytest.raises(CheckpointError, match=r"by a newer version of simgen \(simgen_train=17\); update simgen$"):
        load_detector(write(path, 17))
    for nothing in (None, "2", -1, 0):
        with pytest.raises(CheckpointError, match="not of this package's training"):
            load_detector(write(path, nothing))
