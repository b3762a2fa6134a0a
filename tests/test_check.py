"""The doctor: an intact configuration passes all checks, and each fault fails the check that it should."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from simgen.config import compose
from simgen.errors import ConfigError, SimgenError
from train.config import DoctorConfig, check_doctor
from train.data.batch import Batch
from train.data.stream import HELD_OUT, Stream
from train.draw.sheets import is_ours
from train.fit.check import PICTURES, TOY, TOY_CM, _toy, doctor

TINY = [
    "data.scenes=[tabletop]", "data.width=96", "data.height=72", "data.photographs=false", *TOY, "batch_size=2",
    "steps=20", "short=20", "accelerator=cpu",
]  # fmt: skip


_drawn: dict[tuple[str, int, int], Batch] = {}


@pytest.fixture(autouse=True)
def _each_batch_is_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch is a function of its source, size and number, and most tests read the same ones."""
    draw = Stream.__getitem__

    def once(self: Stream, item: int) -> Batch:
        key = (repr([pipeline.source for pipeline in self.pipelines]), self.each, item)
        if key not in _drawn:
            _drawn[key] = draw(self, item)
        return _drawn[key]

    monkeypatch.setattr(Stream, "__getitem__", once)


def config_of(out: Path, *overrides: str) -> DoctorConfig:
    config = compose("doctor", DoctorConfig, [*TINY, f"out={out}", *overrides])
    check_doctor(config)
    return config


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer pixels, and limits that so few steps keep: real ones take minutes."""
    monkeypatch.setattr("train.fit.step.CUT", (64, 48))
    monkeypatch.setattr("train.fit.check.TOY_SIZE", (96, 72))
    monkeypatch.setattr("train.fit.check._ENDS", 2)
    for name, limit in {"OVERFIT_MISS": 0.45, "OVERFIT_HEAT": 6.0, "TOY_SHARE": 0.0}.items():
        monkeypatch.setattr(f"train.fit.check.{name}", limit)


def steps_of(config: DoctorConfig, steps: int) -> DoctorConfig:
    """`config` with fewer steps than a user may choose."""
    return replace(config, steps=steps, short=steps)


def test_a_picture_of_the_users_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "real.png").write_bytes(b"mine")
    with pytest.raises(ConfigError, match=r"^out: .*real\.png exists, and is not known to be doctor's; delete it, or"):
        doctor(config_of(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["real.png"]


def test_an_intact_configuration_passes_every_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    doctor(steps_of(config_of(tmp_path / "out"), 8))
    printed = capsys.readouterr().out
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(PICTURES) and all(
        is_ours(tmp_path / "out" / name) for name in PICTURES
    )
    assert [line.split(":")[1].strip() for line in printed.splitlines() if line.startswith("check")] == ["pass"] * 4
    assert "doctor: pass, " in printed and "weights move" in printed
    for name in ("batch", "overfit", "toy", "toy_detections", "real", "real_detections"):
        picture = cv2.imread(str(tmp_path / "out" / f"{name}.png"))
        assert picture is not None and picture.std() > 5, name


def test_a_network_from_scratch_is_checked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.fit.check.OVERFIT_MISS", 0.0)
    with pytest.raises(SimgenError, match=r"check 2 of 4, overfit one batch: fail: after 2 steps .* \(limit 0%\)"):
        doctor(steps_of(config_of(tmp_path / "out", "model.backbone=scratch"), 2))


Fault = Callable[[Batch, int], Batch]


def fails(*_: object) -> None:
    raise SimgenError("the rest is not of interest")


def inject(monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
    intact = Stream.__getitem__
    monkeypatch.setattr(Stream, "__getitem__", lambda self, item: fault(intact(self, item), item))


@pytest.mark.parametrize(("near", "passes"), [(9, True), (7, False)])
def test_the_toy_passes_where_most_cubes_are_detected(
    near: int, passes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ten cubes eight at least, each within TOY_CM."""
    monkeypatch.setattr("train.fit.check.TOY_SHARE", 0.8)
    errors = np.array([0.9 * TOY_CM] * near + [1.1 * TOY_CM] * (9 - near) + [np.inf])
    monkeypatch.setattr("train.fit.check._errors_on", lambda *_: (errors, 9.0))
    config = steps_of(config_of(tmp_path / "out"), 1)
    (tmp_path / "out").mkdir()
    if passes:
        assert _toy(config, tmp_path / "out")[0].startswith(f"{10 * near}% of held-out cubes within {TOY_CM:g} cm")
        return
    with pytest.raises(SimgenError, match=rf"{10 * near}% of cubes in front of a fixed camera are detected within"):
        _toy(config, tmp_path / "out")


def test_cubes_that_are_not_detected_fail_the_toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if labels belonged to other pictures: one batch can be overfitted whatever its labels, a scene cannot."""
    monkeypatch.setattr("train.fit.check.TOY_SHARE", 0.8)
    with pytest.raises(SimgenError, match=r"check 3 of 4, a toy scene: fail: after 4 steps .*toy_detections\.png"):
        doctor(steps_of(config_of(tmp_path / "out"), 4))


def test_a_rate_of_nothing_and_one_of_far_too_much(tmp_path: Path) -> None:
    nothing = ["model.lr=1e-30", "model.weight_decay=0"]
    with pytest.raises(SimgenError, match=r"check 1 of 4, one step: fail: .* weights did not move"):
        doctor(config_of(tmp_path / "a", *nothing))
    with pytest.raises(SimgenError, match=r"check 2 of 4, overfit one batch: fail: .*model\.lr"):
        doctor(steps_of(config_of(tmp_path / "b", "model.lr=1000"), 4))


def test_a_loss_that_does_not_fall_fails_the_last_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passed: tuple[str, list[str]] = "", []
    for name in ("_one_step", "_overfit", "_toy"):
        monkeypatch.setattr(f"train.fit.check.{name}", lambda *_: passed)
    intact = Stream.__getitem__
    monkeypatch.setattr(Stream, "__getitem__", lambda self, _: intact(self, 0))
    nothing = ["model.lr=1e-12"]
    with pytest.raises(SimgenError, match=r"check 4 of 4, .*: fail: the loss went from .* in 4 steps; .*model\.lr"):
        doctor(steps_of(config_of(tmp_path / "out", *nothing), 4))


def test_pictures_without_blocks_are_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(SimgenError, match="no block is visible in 2 pictures"):
        doctor(config_of(tmp_path / "out", "randomize.blocks.count=0"))


def test_labels_that_no_pixel_supports_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inject(monkeypatch, lambda batch, _: replace(batch, images=torch.full_like(batch.images, 100)))
    monkeypatch.setattr("train.fit.check._overfit", fails)
    with pytest.raises(SimgenError, match="check 2"):
        doctor(config_of(tmp_path / "out"))
    assert "no pixel supports 2 of 2 labels (picture 0 slot 0" in capsys.readouterr().out


def test_validation_pictures_unlike_those_of_training_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    intact = Stream.__getitem__

    def dark(self: Stream, item: int) -> Batch:
        batch = intact(self, item)
        return replace(batch, images=batch.images // 3) if self.pipelines[0].source.seed >= HELD_OUT else batch

    monkeypatch.setattr(Stream, "__getitem__", dark)
    monkeypatch.setattr("train.fit.check._overfit", fails)
    with pytest.raises(SimgenError, match="check 2"):
        doctor(config_of(tmp_path / "out", "batch_size=8"))
    assert "pictures of training and of validation differ" in capsys.readouterr().out


def test_a_position_model_is_checked_with_a_dataset() -> None:
    check_doctor(compose("doctor", DoctorConfig, ["model=tobin_small", "data=bop", "data.root=d"]))
    with pytest.raises(ConfigError, match=r"^data: model=tobin_small .* add data=bop"):
        check_doctor(compose("doctor", DoctorConfig, ["model=tobin_small"]))
