"""The sets of pictures on which a study measures its models."""

import threading
from dataclasses import replace
from pathlib import Path

import bench_transfer
import numpy as np
import PIL.Image
import pytest
from transfer.columns import SIMULATED, Column, columns_of, constant_errors_in, errors_in, render_columns
from transfer.schema import SCALES, TransferConfig

from simgen.config import compose
from simgen.dataset.photographs import Photograph, write_photographs
from simgen.dataset.read import open_dataset, read_rgb
from simgen.errors import ConfigError, SimgenError
from simgen.files import locked
from simgen.geometry import rigid
from simgen.shapes.solids import make_solid

SMOKE = compose("transfer", TransferConfig, ["study=tobin2017", "scale=smoke"])


def test_errors_of_both_kinds_of_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    position = {"per_picture": [{"scene_id": 0, "image_id": k, "xy_error_cm": k + 0.5} for k in range(3)]}
    detector = {
        "per_block": [
            {"scene_id": 0, "image_id": 0, "xy_m": 0.01, "right": True},
            {"scene_id": 0, "image_id": 1, "xy_m": 0.4, "right": False},
        ]
    }
    column = Column("x", tmp_path)
    assert errors_in(column, position) == {"0/0": 0.5, "0/1": 1.5, "0/2": 2.5}
    assert errors_in(column, detector) == {"0/0": 1.0, "0/1": 40.0}
    assert errors_in(replace(column, wrong=True), detector) == {"0/0": 0.0, "0/1": 100.0}
    two = {"per_block": [*detector["per_block"], {"scene_id": 0, "image_id": 0, "xy_m": 0.03, "right": False}]}
    assert errors_in(replace(column, wrong=True), two) == {"0/0": 50.0, "0/1": 100.0}
    assert errors_in(column, two)["0/0"] == pytest.approx(2)
    monkeypatch.setattr("transfer.columns._visible", lambda column: {"0/0": 0.3, "0/1": 1.0, "0/2": 0.1})
    assert errors_in(replace(column, visible=(0.25, 0.9)), position) == {"0/0": 0.5}


def test_columns_are_of_the_trainings_kind(tmp_path: Path) -> None:
    """Blocks are placed as in the trainings, columns have no scene in common, and each model has its own pictures' size."""
    config = compose("transfer", TransferConfig, ["study=tobin2017", "scale=smoke", "printed_box=[x]"])
    small = columns_of(config, tmp_path, "tobin_small")
    assert [column.name for column in small] == list(SIMULATED)
    few = replace(SCALES["smoke"], tests=2)
    render_columns(small, "tobin_small", few)
    places = []
    for column in small:
        dataset = open_dataset(column.root)
        assert len(dataset) == 2 and read_rgb(dataset.pictures[0].path).shape == (48, 64, 3)
        assert dataset.manifest["recipe"]["physics"] == "place"
        places += [tuple(picture.instances[0].camera_from_block.ravel()) for picture in dataset.pictures]
        center = dataset.table_center
        assert center is not None
        row = {"scene_id": 0, "image_id": 0, "true_m": [center[0] + 0.03, center[1] - 0.04, 1.0]}
        whole = replace(column, visible=(0.0, 1.0))
        assert constant_errors_in(whole, {"per_picture": [row]})["0/0"] == pytest.approx(5)
    assert len(set(places)) == len(places) == 10
    with pytest.raises(SimgenError, match="x"):
        columns_of(config, tmp_path, "keypoints")


def test_one_process_renders_a_column_and_others_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr("transfer.columns.render", lambda config: made.append(config.out))
    column = Column("alone", tmp_path / "alone")
    with locked(tmp_path / ".alone.lock", wait=True):
        other = threading.Thread(target=render_columns, args=([column], "tobin_small", SCALES["smoke"]))
        other.start()
        other.join(0.5)
        assert other.is_alive() and not made
    other.join(10)
    assert not other.is_alive() and made == [str(column.root)]


def test_photographs_that_cannot_be_measured_are_refused_before_the_first_training(tmp_path: Path) -> None:
    """Without a table a miss has no error in cm, without a camera's pose none has, and another block is no target."""
    pixels = tmp_path / "gray.png"
    PIL.Image.fromarray(np.full((48, 64, 3), 77, np.uint8)).save(pixels)
    camera = np.array([[60.0, 0, 31.5], [0, 60, 23.5], [0, 0, 1]])
    box = rigid(np.eye(3), np.array([0, 0, 0.6]))
    table = rigid(np.eye(3), np.array([0, 0, 0.7]))
    size = np.array([0.1, 0.08, 0.09])
    for name, block, poses, message in (
        ("none", "kuka_box", (None, None), "the table's place is unknown, so that a miss has no error in cm; name a"),
        ("other", "cube", (table, table), "other: shows cube; expected photographs of kuka_box"),
        ("some", "kuka_box", (table, None), "1 of 2 pictures lack the camera's pose, first 000001.png"),
    ):
        shown = [Photograph(pixels, "gray.png", camera, np.zeros(5), pose, 0, box) for pose in poses]
        stated = {} if poses[0] is None else {"table": {"center": [0, 0], "size": [1, 1]}}
        write_photographs(tmp_path / name, shown, [make_solid(block, "rectangular_prism", size)], "test", **stated)
        config = replace(SMOKE, out=str(tmp_path / "out"), kuka_table=str(tmp_path / name))
        with pytest.raises(ConfigError, match=message):
            bench_transfer.bench(config)
    assert not (tmp_path / "out").exists()
