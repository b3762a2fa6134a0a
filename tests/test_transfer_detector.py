"""A detector's cell of a study, with a real training, though one of a few small pictures."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from transfer import cells as cells_module
from transfer.cells import RESULT, attempt_cell, run_cell
from transfer.columns import SIMULATED, columns_of, render_columns
from transfer.schema import SCALES, TransferConfig
from transfer.studies import cells_of

from simgen.config import compose
from train.adr.growth import FIRST, QUEUE, STEP
from train.config import StreamConfig, TrainConfig
from train.data.sources import sources_of

SMALL = ("data.width=96", "data.height=72", "trainer.batch_size=4", "data.validation=8", "data.workers=0")


def test_a_detectors_cell_is_trained_and_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ranges that grow; also after its checkpoint was damaged, when a column is added."""
    monkeypatch.setattr("transfer.columns.PICTURE", (96, 72))
    keys = ["study=presets", "scale=smoke", "models=[keypoints]", "arms=[full,adr]", "seeds=[0]"]
    config = compose("transfer", TransferConfig, keys)
    cell = next(cell for cell in cells_of(config) if cell.arm.name == "adr")
    cell = replace(cell, arm=replace(cell.arm, train=(*cell.arm.train, *SMALL)))
    columns = [column for column in columns_of(config, tmp_path, "keypoints") if column.name in ("simulated", "alone")]
    render_columns(columns, "keypoints", replace(SCALES["smoke"], tests=3))
    folder = tmp_path / "cells"
    assert attempt_cell(cell, columns[:1], folder) is None
    made = json.loads((folder / cell.name / RESULT).read_text())
    assert set(made["columns"]) == {"simulated"} and 0.05 < made["adr"] <= 0.2
    errors = made["columns"]["simulated"]["errors"]
    assert set(errors) == set(made["columns"]["simulated"]["constant"]) and 0 < len(errors) <= 3
    assert all(error > 0 for error in errors.values())
    trained = []
    train = cells_module._train
    monkeypatch.setattr(cells_module, "_train", lambda *given: trained.append(given[0].name) or train(*given))
    checkpoint = folder / cell.name / "run" / "best.ckpt"
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[: len(whole) // 2])
    (folder / cell.name / RESULT).unlink()
    run_cell(cell, columns, folder)
    again = json.loads((folder / cell.name / RESULT).read_text())
    assert trained == [cell.name] and again["columns"]["simulated"] == made["columns"]["simulated"]
    assert set(again["columns"]) == {"simulated", "alone"} and set(SIMULATED) > set(again["columns"])


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
def test_ranges_can_grow_whole_in_a_study(scale: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By its last epoch, where the model always succeeds: half of the pictures share the bounds, and show 1.25 blocks on
    average; a bound moves at the end of an epoch, after QUEUE results."""
    config = compose(
        "transfer", TransferConfig, ["study=presets", f"scale={scale}", "models=[keypoints]", "arms=[adr]"]
    )
    cell, given = cells_of(config)[0], []
    monkeypatch.setattr(cells_module, "_train_with", given.extend)
    cells_module._train(cell, tmp_path, tmp_path)
    training = compose("train", TrainConfig, [*given, "data.photographs=false"])
    assert isinstance(training.data, StreamConfig) and training.data.passes == 1
    steps = training.trainer.epochs * training.data.epoch
    bounds = len(sources_of(training).bounds)
    results = 1.25 * training.data.epoch * training.trainer.batch_size / 2 / bounds  # of an epoch
    assert 150 < bounds < 250 and steps == cell.scale.steps
    moves = math.ceil((1 - FIRST) / STEP)
    assert moves * math.ceil(QUEUE / results) <= training.trainer.epochs
