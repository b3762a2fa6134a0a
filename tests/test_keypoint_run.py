"""Runs of model=keypoints: they are reproducible, resume exactly, and two processes do the work of one."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import OLD_TABLETOP, ROOT, events_of, run_command
from test_tobin_run import assert_same

from simgen.config import compose, main
from simgen.errors import CheckpointError, ConfigError, SimgenError
from simgen.files import sha256_of
from train.__main__ import COMMANDS
from train.config import TrainConfig, check_train
from train.data.sources import sources_of
from train.detect.detector import load_detector
from train.fit import training
from train.fit.pictures import input_sheet
from train.fit.step import Losses
from train.fit.training import KeypointTraining, _blend_of, train_keypoints
from train.pose.view import View
from train.runs.folder import claim, claimed
from train.runs.tensorboard import INPUT, PREDICTIONS
from train.tobin.checkpoint import load_checkpoint

TINY = [
    "model=keypoints",
    "data=stream",
    "data.scenes=[tabletop]",
    "data.width=64",
    "data.height=48",
    "data.epoch=2",
    "data.passes=2",
    "data.validation=2",
    "data.photographs=false",
    "data.workers=0",
    "trainer.batch_size=2",
    "trainer.epochs=3",
    "trainer.accelerator=cpu",
    *OLD_TABLETOP,  # without clutter and generated pictures: what is drawn makes no difference to a run
]


def config_of(out: Path, *overrides: str) -> TrainConfig:
    config = compose("train", TrainConfig, [*TINY, *overrides, f"out={out}"])
    check_train(config)
    return config


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    """A detection network's input of 64 x 48 px, in training and in use, and two batches that are used again before others
    are drawn: each epoch repeats pictures of the one before, or leaves some to the next."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.fit.step.CUT", (64, 48))
        patch.setattr("train.detect.detector.PIXELS", 64 * 48)
        patch.setattr("train.data.stream._KEPT", 4)
        patch.setattr("train.data.stream.ROUND", 1)
        yield


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run without interruption."""
    out = tmp_path_factory.mktemp("runs") / "straight"
    train_keypoints(config_of(out))
    return out


@pytest.fixture(autouse=True)
def _unwatched() -> Iterator[None]:
    """Only the run `straight` draws pictures for TensorBoard. All others, which draw none, must end like it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.runs.tensorboard.TensorBoardPictures._show", lambda *_: None)
        yield


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


def assert_same_run(out: Path, other: Path) -> None:
    for name in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert_same(load(out / "last.ckpt")[name], load(other / "last.ckpt")[name])
    assert json.loads((out / "metrics.json").read_text()) == json.loads((other / "metrics.json").read_text())


def test_a_run_that_was_killed_ends_like_one_that_was_not(
    straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of the third epoch; the next test resumes in the second."""
    out, config = tmp_path / "run", config_of(tmp_path / "run")
    original = KeypointTraining.on_train_batch_end

    def dies(self: KeypointTraining, *arguments: Any) -> None:
        original(self, *arguments)
        if self.global_step == 2 * 2 + 1:
            raise MemoryError("killed")

    monkeypatch.setattr(KeypointTraining, "on_train_batch_end", dies)
    with pytest.raises(MemoryError):
        train_keypoints(config)
    monkeypatch.undo()
    train_keypoints(config)
    assert_same_run(out, straight)


def test_a_run_that_was_killed_within_an_epoch_goes_on_there(
    straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After the first of the two steps of the third epoch; of its mean training loss the second step is left."""
    out, config = tmp_path / "run", config_of(tmp_path / "run", "trainer.save_steps=1")
    original, steps = KeypointTraining.on_train_batch_end, []

    def dies(self: KeypointTraining, *arguments: Any) -> None:
        original(self, *arguments)
        steps.append(self.global_step)
        if steps == [1, 2, 3, 4, 5]:
            raise MemoryError("killed")

    monkeypatch.setattr(KeypointTraining, "on_train_batch_end", dies)
    with pytest.raises(MemoryError):
        train_keypoints(config)
    train_keypoints(config)
    assert steps == [1, 2, 3, 4, 5, 6]
    assert "last.ckpt, after step 1 of epoch 3\n" in capsys.readouterr().out
    for name in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert_same(load(out / "last.ckpt")[name], load(straight / "last.ckpt")[name])
    ours, theirs = (json.loads((folder / "metrics.json").read_text()) for folder in (out, straight))
    assert ours["history"][2].pop("train_loss") != theirs["history"][2].pop("train_loss")
    assert ours == theirs


def test_a_loss_that_is_no_number_stops_the_run_and_leaves_the_last_epoch(
    straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the second epoch: last.ckpt is that of the first, and from there the run ends as one without the fault."""

    def breaks(losses_of: Any, after: int) -> Any:
        calls = 0

        def broken(*given: Any) -> Losses:
            nonlocal calls
            calls += 1
            losses: Losses = losses_of(*given)
            object.__setattr__(losses, "total", losses.total * (torch.nan if calls > after else 1))
            return losses

        return broken

    out, config = tmp_path / "run", config_of(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(training, "losses_of", breaks(training.losses_of, 2 + 1 + 1))  # an epoch, its validation, a step
        with pytest.raises(
            SimgenError, match=r"^step 3: the training loss is nan; last\.ckpt .*model\.lr below 0\.001, or"
        ):
            train_keypoints(config)
    content = load(out / "last.ckpt")
    assert content["epoch"] == 0 and all(torch.isfinite(value).all() for value in content["state_dict"].values())
    assert not list(out.glob("*.part")) and not (out / "metrics.json").exists()
    before = sha256_of(out / "last.ckpt")
    with monkeypatch.context() as patch:  # and of its validation
        patch.setattr(training, "losses_of", breaks(training.losses_of, 2))
        with pytest.raises(SimgenError, match=r"^epoch 2: the validation loss is nan; last\.ckpt .*"):
            train_keypoints(config)
    assert sha256_of(out / "last.ckpt") == before
    train_keypoints(config)
    assert_same_run(out, straight)


def test_a_gradient_that_is_no_number_is_found_before_the_weights_are(
    straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the second epoch's first step, whose loss is a number. Checkpoints are written after each step."""
    calls, right = 0, training.losses_of

    def broken(net: Any, *given: Any) -> Losses:
        nonlocal calls
        calls += 1
        losses: Losses = right(net, *given)
        if calls == 2 + 1 + 1:
            weight = next(one for one in net.parameters() if one.requires_grad).sum()
            object.__setattr__(losses, "total", losses.total + (weight - weight.detach()).sqrt())
        return losses

    config = config_of(tmp_path / "run", "trainer.save_steps=1")
    with monkeypatch.context() as patch:
        patch.setattr(training, "losses_of", broken)
        with pytest.raises(
            SimgenError, match=r"^step 2: the gradient's norm is (nan|inf); last\.ckpt .* is of before; try"
        ):
            train_keypoints(config)
    content = load(tmp_path / "run" / "last.ckpt")
    assert content["epoch"] == 0 and all(torch.isfinite(value).all() for value in content["state_dict"].values())
    train_keypoints(config)
    assert_same_run(tmp_path / "run", straight)


def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    """DDP: two processes of batch 1 average their gradients of the pictures that one process of batch 2 sees.

    The losses are means over the cuts and crops of a process, so the two agree where both have as many; here they are made
    to: a cut of each picture, one block in each, always seen, and no false positives.
    """
    overrides = [
        *TINY, "data.width=96", "data.height=72", "data.epoch=1", "data.passes=1", "trainer.epochs=1",
        "randomize.blocks.count=1", "randomize.distractors.count=0", "randomize.blocks.place=[0,0]",
        "randomize.blocks.model=cube", "randomize.camera.aim=[0,0,0]", "randomize.camera.distance=0.45",
    ]  # fmt: skip
    arguments = [*overrides, "trainer.batch_size=2", f"out={tmp_path / 'one'}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.fit.step._LEAST_HEAT", 2)
        patch.setattr("train.fit.step._CUT_SHARE", 1)
        alone = run_command(lambda: main("train", COMMANDS, default="train"), "train", *arguments)
    script = tmp_path / "patched.py"  # Lightning starts it again for the second process
    script.write_text(
        "import sys\n"
        "import train.detect.detector as detector\n"
        "import train.fit.step as step\n"
        "from simgen.config import main\n"
        "from train.__main__ import COMMANDS\n"
        "step.CUT, step._LEAST_HEAT, step._CUT_SHARE = (64, 48), 2, 1\n"
        "detector.PIXELS = 64 * 48\n"
        "sys.exit(main('train', COMMANDS, default='train'))\n"
    )
    arguments = [*overrides, "trainer.batch_size=1", "trainer.devices=2", f"out={tmp_path / 'two'}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), *arguments]
    both = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    for done in (alone, both):
        assert done.returncode == 0, done.stderr
        assert "from 2 pictures" in done.stdout
    one, two = (load(tmp_path / name / "last.ckpt")["optimizer_states"][0]["state"] for name in ("one", "two"))
    assert one.keys() == two.keys() and len(one) > 100
    for (
        number,
        state,
    ) in one.items():  # a tenth of the step's gradient; the weights' change is hardly more than its sign
        off = two[number]["exp_avg"] - state["exp_avg"]
        assert float(off.norm()) <= 1e-2 * float(state["exp_avg"].norm()) + 1e-7, number


def test_several_machines_claim_one_folder(tmp_path: Path) -> None:
    """At the same time; and a run of a version that knew no machines was of one."""
    (tmp_path / ".config.json.7.9.tmp").write_text("{")  # another one is writing it
    config: dict[str, Any] = {"trainer": {"nodes": 2, "epochs": 1}}
    assert claim(tmp_path, config) is None and claim(tmp_path, config) is None
    with pytest.raises(ConfigError, match=r"^out: .* \(trainer\.nodes was 2 and is 1\)"):
        claim(tmp_path, {"trainer": {"nodes": 1, "epochs": 1}})
    (tmp_path / "config.json").write_text('{"trainer": {"epochs": 1}}')
    assert claim(tmp_path, {"trainer": {"nodes": 1, "epochs": 1}}) is None


@pytest.mark.parametrize(
    "started",
    [
        {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "3"},
        {"SLURM_NTASKS": "3", "SLURM_NTASKS_PER_NODE": "1", "SLURM_JOB_NAME": "train"},
    ],
    ids=["torchrun", "srun"],
)
def test_another_number_of_processes_than_was_started(
    started: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    config = config_of(tmp_path, "trainer.nodes=2")
    with pytest.raises(
        ConfigError, match=r"^trainer\.nodes: got 2 with trainer\.devices=1; expected a product of 3, the"
    ):
        train_keypoints(config)
    assert not list(tmp_path.iterdir())  # the corrected command is not refused


def test_the_averaged_weights_are_the_moving_average(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    original = KeypointTraining.on_train_batch_end

    def notes(self: KeypointTraining, *arguments: Any) -> None:
        seen.append({name: value.detach().clone() for name, value in self.model.state_dict().items()})
        original(self, *arguments)

    monkeypatch.setattr(KeypointTraining, "on_train_batch_end", notes)
    # A network from scratch: its running statistics are averaged, too; of the count of batches the last is kept.
    more = ["trainer.epochs=1", "data.epoch=3", "model.average=0.9", "model.backbone=scratch"]
    train_keypoints(config_of(tmp_path / "run", *more))
    assert len(seen) == 3
    state = load(tmp_path / "run" / "last.ckpt")["state_dict"]
    statistics = 0
    for name, first in seen[0].items():
        averaged = state["average.module." + name]
        if not first.is_floating_point():
            assert torch.equal(averaged, seen[-1][name])
            continue
        average = first
        for later, keep in zip(seen[1:], (2 / 11, 3 / 12), strict=True):  # short at first: 0.9 is reached at the 80th
            average = keep * average + (1 - keep) * later[name]
        torch.testing.assert_close(averaged, average)
        statistics += name.endswith("running_mean") and bool(averaged.any())
    assert statistics > 50
    net = load_detector(tmp_path / "run" / "best.ckpt").net
    assert not net.training and torch.equal(net.crops.out.weight, state["average.module.crops.out.weight"])


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
    assert "cube" in detector.blocks.names and detector.net.stances.sides and detector.mirrors
    # A picture in which it sees nothing, and one of noise.
    noise = np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3)).astype(np.uint8)
    view = View(np.array([[60.0, 0, 31.5], [0, 60, 23.5], [0, 0, 1]]), np.zeros(5))
    assert len(detector.find([np.zeros_like(noise[0]), *noise], [view] * 3)) == 3
    with pytest.raises(CheckpointError, match=r"best\.ckpt"):
        load_checkpoint(straight / "best.ckpt")
    broken = load(straight / "best.ckpt")
    broken["blocks"] = "[]"
    torch.save(broken, tmp_path / "broken.ckpt")
    with pytest.raises(CheckpointError, match="do not fit"):
        load_detector(tmp_path / "broken.ckpt")
    older = load(straight / "best.ckpt")
    older["model"] |= {"widths": [8, 8, 16, 16, 16], "crop": 32}  # keys of the networks up to now
    torch.save(older, tmp_path / "older.ckpt")
    wanted = r"older\.ckpt: .* is of another version; train it anew: .*experiment=own scene=my\.yaml` for your own$"
    with pytest.raises(CheckpointError, match=wanted):
        load_detector(tmp_path / "older.ckpt")


def test_tensorboard_shows_the_input_before_the_first_step_and_then_predictions(straight: Path) -> None:
    events = events_of(straight / "tensorboard")
    sources = sources_of(config_of(straight))
    name, step, picture = events[0]
    assert (name, step) == (INPUT, 0)
    assert np.array_equal(picture, input_sheet(sources.training[0], sources.blocks))
    assert events[1][:2] == ("step/loss", 1)
    # After the first step and each validation. In pictures this small no block can be detected, so there are no worst cases.
    assert [step for tag, step, _ in events if tag == PREDICTIONS] == [1, 2, 4, 6]
    assert [step for tag, step, _ in events if tag == "step/loss"] == list(range(1, 7))


def test_validation_pictures_are_never_trained_on(straight: Path) -> None:
    config = config_of(straight)
    sources = sources_of(config)
    trained = np.concatenate([sources.training[k].images.flatten(1).numpy() for k in range(6)])
    parts = [[*part] for part in (sources.choose, sources.learn, sources.check)]
    assert parts == [[0], [1], [2]]
    validated = np.concatenate([sources.held_out[k].images.flatten(1).numpy() for k in range(3)])
    assert not any((trained == row).all(1).any() for row in validated)


def test_another_configuration_does_not_resume_a_run(straight: Path, tmp_path: Path) -> None:
    """Not even in how often each picture is used, nor with other weights at the beginning."""
    shutil.copytree(straight, tmp_path / "run")
    for override in ("data.passes=3", "model.backbone=scratch", "model.clip=1"):
        with pytest.raises(ConfigError, match=override.partition("=")[0].replace(".", r"\.")):
            train_keypoints(config_of(tmp_path / "run", override))


def test_a_scene_that_was_edited_does_not_resume_a_run(tmp_path: Path) -> None:
    """Its name is the same, but not its blocks and pictures; a run of an older version does not know what it held."""
    text = (ROOT / "scenes" / "tabletop.yaml").read_text().replace("blocks/tobin.yaml", "mine.yaml")
    (tmp_path / "scene.yaml").write_text(text)
    blocks = (ROOT / "scenes" / "blocks" / "tobin.yaml").read_text()
    config = config_of(tmp_path / "run", f"data.scenes=[{tmp_path / 'scene.yaml'}]")

    def described() -> dict[str, Any]:
        (tmp_path / "mine.yaml").write_text(blocks)
        return {"trainer": {"nodes": 1, "epochs": 1}, **sources_of(config).described}

    before = described()
    assert claim(tmp_path / "run", before) is None and claim(tmp_path / "run", described()) is None
    blocks += "extra: {shape: cube, size: [0.05, 0.05, 0.05]}\n"
    with pytest.raises(ConfigError, match=r"holds a run of another configuration \(content\..*scene\.yaml was "):
        claim(tmp_path / "run", described())
    del before["content"]
    (tmp_path / "run" / "config.json").write_text(json.dumps(before))
    assert claim(tmp_path / "run", described()) is None


def test_two_trainings_in_one_folder_are_refused(tmp_path: Path) -> None:
    config: dict[str, Any] = {"trainer": {"nodes": 1, "epochs": 1}}
    with claimed(tmp_path, config):
        before = (tmp_path / "config.json").read_bytes()
        with (
            pytest.raises(ConfigError, match=r"^out: a training in .* is still running; wait for it or end it"),
            claimed(tmp_path, {"trainer": {"nodes": 1, "epochs": 9}}),
        ):
            pass
        assert (tmp_path / "config.json").read_bytes() == before
        child = get_context("fork").Process(target=time.sleep, args=(60,))  # such as one that loads pictures
        child.start()
    try:
        with claimed(tmp_path, config) as last:  # the first has ended
            assert last is None
    finally:
        child.kill()


def test_a_run_whose_networks_have_changed_is_not_continued(straight: Path, tmp_path: Path) -> None:
    """As with a newer version of this package."""
    shutil.copytree(straight, tmp_path / "run")
    last = tmp_path / "run" / "last.ckpt"
    content = load(last)
    name = next(iter(content["state_dict"]))
    content["state_dict"][name] = content["state_dict"][name][..., :1]
    torch.save(content, last)
    with pytest.raises(
        CheckpointError, match=r"last\.ckpt: its weights do not fit its own description .*train anew in"
    ):
        train_keypoints(config_of(tmp_path / "run", "trainer.epochs=9"))


def test_pictures_without_any_block_are_trained_on(tmp_path: Path) -> None:
    """By one process and, because each weight has a gradient, by several; there is nothing to calibrate on."""
    more = ["randomize.blocks.count=0", "randomize.distractors.count=0", "trainer.epochs=1", "data.epoch=1"]
    train_keypoints(config_of(tmp_path / "run", *more))
    (row,) = json.loads((tmp_path / "run" / "metrics.json").read_text())["history"]
    assert row["val_miss"] == 0 and np.isfinite(row["val_loss"])
