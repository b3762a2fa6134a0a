"""A model that is asked for a kind of block that it does not know: an error before a picture is processed."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from toy_dataset import random_positions, write_dataset

import train.evaluate.calibrate
import train.evaluate.report
from simgen.errors import ConfigError, DatasetError, SimgenError
from simgen.shapes.solids import make_solid
from train.blocks.kinds import BlockSet, Kind
from train.config import CalibrateConfig, DatasetConfig, EvaluateConfig, SourceConfig
from train.detect.calibration import Calibrations

BLOCKS = BlockSet([Kind.of(make_solid(name, "cube", np.full(3, 0.08))) for name in ("cube", "die")])


class Blind:
    """A detector that knows BLOCKS and must not be used."""

    blocks = BLOCKS
    calibration = Calibrations()
    net = SimpleNamespace(to=lambda device: None)

    def zoomed(self, _: float) -> "Blind":
        return self

    def find(self, *_: object) -> None:
        raise AssertionError("a picture was processed")


@pytest.fixture(autouse=True)
def _blind(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (train.evaluate.report, train.evaluate.calibrate):
        monkeypatch.setattr(module, "load_detector", lambda *_, **__: Blind())
        monkeypatch.setattr(module, "read_checkpoint", lambda _: {})


def error_of(root: Path, target: str = "auto") -> SimgenError:
    with pytest.raises(SimgenError) as caught:
        train.evaluate.report.evaluate_keypoints(
            EvaluateConfig(
                "best.ckpt", SourceConfig(str(root), target=target), accelerator="cpu", out=str(root / "out")
            )
        )
    assert not (root / "out").exists()
    return caught.value


def test_a_dataset_without_a_known_kind_is_refused_at_once(tmp_path: Path) -> None:
    """Else a large one is processed for an hour first. The error shows how to rename the dataset's objects."""
    root = write_dataset(tmp_path / "set", random_positions(4), names=("box", "gear"))
    message = (
        f"{root}: has no block that the model knows; it knows cube, die; the dataset has box, gear; if these are the same "
        "blocks, rename them, e.g. data.names={1:cube} for object 1"
    )
    error = error_of(root)
    assert isinstance(error, DatasetError) and str(error) == message
    with pytest.raises(DatasetError) as caught:
        config = CalibrateConfig("best.ckpt", DatasetConfig(str(root)), accelerator="cpu", out=str(tmp_path / "x.ckpt"))
        train.evaluate.calibrate.calibrate_checkpoint(config)
    assert str(caught.value) == message


def test_an_unknown_target_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "set", random_positions(4), names=("cube",))
    error = error_of(root, "gear")
    assert isinstance(error, ConfigError)
    assert str(error) == "data.target: the model has no block 'gear'; it has cube, die"
    error = error_of(root, "die")  # which the model knows, but the pictures do not show
    assert isinstance(error, ConfigError) and str(error) == f"data.target: {root} has no block 'die'; it has cube"


def test_blocks_of_unknown_kinds_are_named_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_dataset(tmp_path / "set", random_positions(4), names=("cube", "gear", "axle"))
    monkeypatch.setattr(Blind, "find", lambda _, pictures, views: [[] for _ in pictures])
    monkeypatch.setattr(Blind, "sized", lambda self, sizes: self, raising=False)
    train.evaluate.report.evaluate_keypoints(
        EvaluateConfig(
            str(root / "manifest.json"), SourceConfig(str(root)), accelerator="cpu", out=str(tmp_path / "out")
        )
    )
    assert f"{root}: the model does not know axle, gear: these blocks are left out\n" in capsys.readouterr().err
