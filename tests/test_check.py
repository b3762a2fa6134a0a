"""The doctor: a intact configuration passes all checks, and each fault fails the check that it should."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import torch

from simgen.config import compose
from simgen.errors import ConfigError, SimgenError
from train.config import DoctorConfig, check_doctor
from train.data.batch import Batch
from train.data.stream import HELD_OUT, Stream
from train.fit.check import TOY, doctor

TINY = [
    "model.widths=[8,16,24,32,32]", "model.depths=[1,1,1,1]", "model.features=16", "data.scenes=[tabletop]",
    "data.width=128", "data.height=96", *TOY, "batch_size=8", "accelerator=cpu",
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


def test_a_intact_configuration_climbs_the_ladder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    doctor(config_of(tmp_path / "out", "steps=220", "short=60"))
    printed = capsys.readouterr().out
    assert [line.split(":")[1].strip() for line in printed.splitlines() if line.startswith("check")] == ["pass"] * 4
    assert "doctor: pass, 0 warnings" in printed
    for name in ("batch", "overfit", "toy", "toy_detections", "real", "real_detections"):
        picture = cv2.imread(str(tmp_path / "out" / f"{name}.png"))
        assert picture is not None and picture.std() > 5, name


Fault = Callable[[Batch, int], Batch]


def inject(monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
    intact = Stream.__getitem__
    monkeypatch.setattr(Stream, "__getitem__", lambda self, item: fault(intact(self, item), item))


def test_labels_of_other_pictures_do_not_get_past_the_toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One batch can be overfitted whatever its labels; a scene cannot."""

    def shifted(batch: Batch, _: int) -> Batch:
        return replace(batch, images=batch.images.roll(1, 0))

    inject(monkeypatch, shifted)
    with pytest.raises(SimgenError, match=r"check 3 of 4, a toy scene: fail.*toy_detections\.png"):
        doctor(config_of(tmp_path / "out", "steps=160"))


def test_a_rate_of_nothing_and_one_of_far_too_much(tmp_path: Path) -> None:
    with pytest.raises(SimgenError, match=r"check 1 of 4, one step: fail: .* weights did not move"):
        doctor(config_of(tmp_path / "a", "model.lr=1e-30"))
    with pytest.raises(SimgenError, match=r"check 2 of 4, overfit one batch: fail: .*model\.lr"):
        doctor(config_of(tmp_path / "b", "model.lr=1000", "steps=60"))


def test_pictures_without_blocks_are_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(SimgenError, match="no block is visible in 8 pictures"):
        doctor(config_of(tmp_path / "out", "randomize.blocks.count=0"))


def test_labels_that_no_pixel_supports_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inject(monkeypatch, lambda batch, _: replace(batch, images=torch.full_like(batch.images, 100)))
    with pytest.raises(SimgenError, match="check"):
        doctor(config_of(tmp_path / "out", "steps=20"))
    assert "no pixel supports 8 of 8 labels (picture 0 slot 0" in capsys.readouterr().out


def test_validation_pictures_unlike_those_of_training_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    intact = Stream.__getitem__

    def dark(self: Stream, item: int) -> Batch:
        batch = intact(self, item)
        return replace(batch, images=batch.images // 3) if self.pipelines[0].source.seed >= HELD_OUT else batch

    monkeypatch.setattr(Stream, "__getitem__", dark)
    with pytest.raises(SimgenError, match="check"):
        doctor(config_of(tmp_path / "out", "steps=20"))
    assert "pictures of training and of validation differ" in capsys.readouterr().out


def test_a_frozen_first_stage_is_refused() -> None:
    stays = ["model=keypoints", "data=stream", "data.scenes=[tabletop]", "model.crop=64", "model.start=shipped"]
    check_doctor(compose("doctor", DoctorConfig, stays))
    with pytest.raises(ConfigError, match=r"model\.frozen: .*leave it out"):
        check_doctor(compose("doctor", DoctorConfig, [*stays, "model.frozen=true"]))


def test_a_position_model_is_checked_with_a_dataset() -> None:
    check_doctor(compose("doctor", DoctorConfig, ["model=tobin_small", "data=bop", "data.root=d"]))
    with pytest.raises(ConfigError, match=r"^data: model=tobin_small .* add data=bop"):
        check_doctor(compose("doctor", DoctorConfig, ["model=tobin_small"]))
