"""Runs of model=keypoints: they are reproducible, resume exactly, and two processes do the work of one."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import OLD_TABLETOP, ROOT, run_command
from test_tobin_run import assert_same

from simgen.config import compose, main
from simgen.errors import CheckpointError
from simgen.files import sha256_of
from train.__main__ import COMMANDS
from train.config import ExportConfig, TrainConfig, check_train
from train.data.sources import sources_of
from train.detect.detector import load_detector
from train.detect.export import export
from train.fit.training import KeypointTraining, _blend_of, train_keypoints
from train.tobin.checkpoint import load_checkpoint

TINY = [
    "model=keypoints",
    "data=stream",
    "model.widths=[8,8,16,16,16]",
    "model.depths=[1,1,1,1]",
    "model.features=8",
    "data.scenes=[tabletop]",
    "data.width=64",
    "data.height=48",
    "data.epoch=3",
    "data.validation=4",
    "data.workers=0",
    "trainer.batch_size=4",
    "trainer.epochs=3",
    "trainer.accelerator=cpu",
    *OLD_TABLETOP,  # without clutter and generated pictures: what is drawn makes no difference to a run
]


def config_of(out: Path, *overrides: str) -> TrainConfig:
    config = compose("train", TrainConfig, [*TINY, *overrides, f"out={out}"])
    check_train(config)
    return config


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run without interruption."""
    out = tmp_path_factory.mktemp("runs") / "straight"
    train_keypoints(config_of(out))
    return out


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


@pytest.mark.parametrize("killed_after", [1, 2])
def test_a_run_that_was_killed_ends_like_one_that_was_not(
    straight: Path, tmp_path: Path, killed_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, config = tmp_path / "run", config_of(tmp_path / "run")
    original = KeypointTraining.on_train_batch_end

    def dies(self: KeypointTraining, *arguments: Any) -> None:
        original(self, *arguments)
        if self.global_step == 3 * killed_after + 2:
            raise MemoryError("killed")

    monkeypatch.setattr(KeypointTraining, "on_train_batch_end", dies)
    with pytest.raises(MemoryError):
        train_keypoints(config)
    monkeypatch.undo()
    train_keypoints(config)
    for name in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert_same(load(out / "last.ckpt")[name], load(straight / "last.ckpt")[name])
    assert json.loads((out / "metrics.json").read_text()) == json.loads((straight / "metrics.json").read_text())


def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    """DDP: two processes of batch 2 average their gradients of the pictures that one process of batch 4 sees.

    The focal loss is a mean over the blocks of a process, so the two agree where both see as many; here they are made
    to: one block in each picture, always seen.
    """
    overrides = [
        *TINY, "data.width=96", "data.height=72", "data.epoch=2", "trainer.epochs=1", "randomize.blocks.count=1",
        "randomize.distractors.count=0", "randomize.blocks.place=[0,0]", "randomize.blocks.model=cube",
        "randomize.camera.aim=[0,0,0]", "randomize.camera.distance=0.45",
    ]  # fmt: skip
    arguments = [*overrides, "trainer.batch_size=4", f"out={tmp_path / 'one'}"]
    alone = run_command(lambda: main("train", COMMANDS, default="train"), "train", *arguments)
    arguments = [*overrides, "trainer.batch_size=2", "trainer.devices=2", f"out={tmp_path / 'two'}"]
    command = [sys.executable, "-m", "train", *arguments]
    both = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    for done in (alone, both):
        assert done.returncode == 0, done.stderr
        assert "from 8 pictures" in done.stdout
    one, two = (load(tmp_path / name / "last.ckpt")["state_dict"] for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=2e-5, msg=name)


def test_the_averaged_weights_are_the_moving_average(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    original = KeypointTraining.on_train_batch_end

    def notes(self: KeypointTraining, *arguments: Any) -> None:
        seen.append(self.model.out.weight.detach().clone())
        original(self, *arguments)

    monkeypatch.setattr(KeypointTraining, "on_train_batch_end", notes)
    train_keypoints(config_of(tmp_path / "run", "trainer.epochs=1", "model.average=0.9"))
    average = seen[0]
    assert len(seen) == 3
    for weight, keep in zip(seen[1:], (2 / 11, 3 / 12), strict=True):  # short at first: 0.9 is reached at the 80th
        average = keep * average + (1 - keep) * weight
    state = load(tmp_path / "run" / "last.ckpt")["state_dict"]
    torch.testing.assert_close(state["average.module.out.weight"], average)


def test_the_initial_weights_have_no_part_in_the_average() -> None:
    blend, averaged = _blend_of(0.998), [torch.zeros(1)]
    shares = []
    for count in range(1, 20_000):
        blend(averaged, [torch.ones(1)], torch.tensor(count))
        if count in (100, 4_490):
            shares.append(1 - float(averaged[0]))
    assert shares == [pytest.approx(0, abs=1e-6)] * 2
    # Then it is the configured average: a step in the weights is half forgotten after log 2 / 0.002 steps.
    for count in range(20_000, 20_347):
        blend(averaged, [torch.zeros(1)], torch.tensor(count))
    assert float(averaged[0]) == pytest.approx(0.5, abs=2e-3)


def test_a_checkpoint_becomes_a_detector_and_nothing_else(straight: Path, tmp_path: Path) -> None:
    detector = load_detector(straight / "best.ckpt")
    assert (detector.width, detector.height) == (64, 48)
    assert "cube" in detector.blocks.names
    with pytest.raises(CheckpointError, match=r"best\.ckpt"):
        load_checkpoint(straight / "best.ckpt")
    broken = load(straight / "best.ckpt")
    broken["blocks"] = "[]"
    torch.save(broken, tmp_path / "broken.ckpt")
    with pytest.raises(CheckpointError, match="do not fit"):
        load_detector(tmp_path / "broken.ckpt")


def test_validation_pictures_are_never_trained_on(straight: Path) -> None:
    config = config_of(straight)
    sources = sources_of(config)
    trained = np.concatenate([sources.training[k].images.flatten(1).numpy() for k in range(9)])
    parts = [[*part] for part in (sources.choose, sources.learn, sources.check)]
    assert parts == [[0], [1], [2]]
    validated = np.concatenate([sources.held_out[k].images.flatten(1).numpy() for k in range(3)])
    assert not any((trained == row).all(1).any() for row in validated)


def test_a_training_begins_with_the_weights_of_another(straight: Path, tmp_path: Path) -> None:
    """Its outputs are those of the other model; parts that the other lacks begin with random weights."""
    detector = load_detector(straight / "best.ckpt")
    config = config_of(tmp_path / "run", f"model.start={straight / 'best.ckpt'}", "model.table_weight=1")
    sources = sources_of(config)
    torch.manual_seed(3)
    module = KeypointTraining(config, sources.blocks, sources.size)
    images = sources.training[0].images
    with torch.inference_mode():
        expected = detector.net.maps(detector.net(images))
        for net in (module.model, module.average.module):
            maps = net.maps(net(images))
            for name in ("heat", "stance", "log_scale"):
                torch.testing.assert_close(getattr(maps, name), getattr(expected, name))
            every = [which.all_keypoints(which(images)[0]) for which in (net, detector.net)]
            torch.testing.assert_close(*every)
            assert maps.table is not None and float(maps.table.abs().max()) < 0.5
    train_keypoints(config)
    described = json.loads((tmp_path / "run" / "config.json").read_text())
    assert described["start_sha256"] == sha256_of(straight / "best.ckpt")
    # And back: the part that is not configured is left out.
    back = config_of(tmp_path / "back", f"model.start={tmp_path / 'run' / 'best.ckpt'}")
    begun = KeypointTraining(back, sources.blocks, sources.size).model
    learnt = load_detector(tmp_path / "run" / "best.ckpt").net
    torch.testing.assert_close(begun.maps(begun(images)).heat, learnt.maps(learnt(images)).heat)


def test_the_crop_network_learns_while_the_first_stage_is_frozen(straight: Path, tmp_path: Path) -> None:
    start = straight / "best.ckpt"
    config = config_of(
        tmp_path / "run", f"model.start={start}", "model.crop=32", "model.frozen=true", "data.validation=24"
    )
    sources = sources_of(config)
    begun = KeypointTraining(config, sources.blocks, sources.size).model
    assert begun.crops is not None
    torch.testing.assert_close(begun.crops.down[2].state_dict(), begun.down[2].state_dict(), rtol=0, atol=0)
    train_keypoints(config)
    first, both = load_detector(start).net, load_detector(tmp_path / "run" / "best.ckpt").net
    learnt = {name: value for name, value in both.state_dict().items() if not name.startswith("crops.")}
    torch.testing.assert_close(learnt, dict(first.state_dict()), rtol=0, atol=0)
    assert both.crops is not None
    assert not torch.equal(both.crops.down[2][0].conv1.weight, first.down[2][0].conv1.weight)
    last = json.loads((tmp_path / "run" / "metrics.json").read_text())["history"][-1]
    assert last["val_loss"] > 0
    exported = export(ExportConfig(str(tmp_path / "run" / "best.ckpt"), str(tmp_path / "both.onnx")))
    assert max(exported["difference"], exported["crops"]["difference"]) <= 1e-4
    described = json.loads((tmp_path / "both.json").read_text())["crops"]
    assert (described["size"], described["margin"]) == (32, 1.5)
    assert (tmp_path / described["file"]).stat().st_size == exported["crops"]["bytes"]
    assert {path.name for path in tmp_path.glob("*.onnx*")} == {"both.onnx", "both.crops.onnx"}
    # The next run starts from both stages, and one without a crop network leaves that out.
    again = config_of(tmp_path / "again", f"model.start={tmp_path / 'run' / 'best.ckpt'}", "model.crop=32")
    torch.testing.assert_close(
        KeypointTraining(again, sources.blocks, sources.size).model.state_dict(), both.state_dict(), rtol=0, atol=0
    )
    alone = config_of(tmp_path / "alone", f"model.start={tmp_path / 'run' / 'best.ckpt'}")
    assert KeypointTraining(alone, sources.blocks, sources.size).model.crops is None
    other = config_of(tmp_path / "other", f"model.start={tmp_path / 'run' / 'best.ckpt'}", "model.crop=48")
    with pytest.raises(CheckpointError, match=r"^model\.start: .*a network of another size, by its crops\."):
        KeypointTraining(other, sources.blocks, sources.size)
    # The crop network of another width or depth does not start from it.
    double = [2 * width for width in config.model.widths[:4]]
    other = config_of(
        tmp_path / "other",
        f"model.start={tmp_path / 'run' / 'best.ckpt'}",
        "model.crop=32",
        f"model.crop_widths={double}",
    )
    with pytest.raises(CheckpointError, match=r"^model\.start: .*a network of another size, by its crops\."):
        KeypointTraining(other, sources.blocks, sources.size)
    for widths in ([], double):
        deeper = config_of(
            tmp_path / "other",
            f"model.start={tmp_path / 'run' / 'best.ckpt'}",
            "model.crop=32",
            f"model.crop_widths={widths}",
            "model.depths=[1,1,2,2]",
        )
        with pytest.raises(CheckpointError, match=r"^model\.start: .*a network of another size, by its "):
            KeypointTraining(deeper, sources.blocks, sources.size)


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("model.features=16", "a network of another size"),
        ("model.depths=[1,1,2,1]", r"a network of another size, by its down\."),
        ("data.scenes=[kuka_table]", "expected the kinds and sizes"),
    ],
)
def test_a_start_of_another_kind_is_refused(straight: Path, tmp_path: Path, override: str, reason: str) -> None:
    config = config_of(tmp_path / "run", f"model.start={straight / 'best.ckpt'}", override)
    sources = sources_of(config)
    with pytest.raises(CheckpointError, match=rf"^model\.start: .*{reason}"):
        KeypointTraining(config, sources.blocks, sources.size)
