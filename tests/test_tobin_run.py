"""Runs of position models: exact resume after a kill at any moment, refusals, and damaged or foreign checkpoints."""

import json
import math
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import events_of
from toy_dataset import random_positions, write_dataset

import train.runs.checkpoint
import train.tobin.fit
from simgen.dataset.read import open_dataset
from simgen.errors import CheckpointError, ConfigError, SimgenError
from train.config import DataConfig, ModelConfig, TrainConfig, TrainerConfig
from train.data.images import content_of_dataset
from train.draw.sheets import GREEN, RED
from train.runs.folder import claim
from train.runs.tensorboard import INPUT, PREDICTIONS, WORST
from train.runs.trainer import rate
from train.tobin.checkpoint import load_checkpoint
from train.tobin.fit import Training

EPOCHS = 4


def config_of(root: Path, out: Path, **trainer: Any) -> TrainConfig:
    return TrainConfig(
        model=ModelConfig("tobin_small", 48, 64, lr=2e-3),
        data=DataConfig(str(root), validation=0.2, workers=0),
        trainer=TrainerConfig(**{"epochs": EPOCHS, "batch_size": 8, "accelerator": "cpu", **trainer}),
        seed=0,
        out=str(out),
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "toy", random_positions(40))


@pytest.fixture(scope="module")
def straight(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run."""
    out = tmp_path_factory.mktemp("runs") / "straight"
    train.tobin.fit.train(config_of(dataset, out))
    return out


@pytest.fixture(autouse=True)
def _unwatched() -> Iterator[None]:
    """Only the run `straight` draws pictures for TensorBoard. All others, which draw none, must end like it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.runs.tensorboard.TensorBoardPictures._show", lambda *_: None)
        yield


def assert_same(a: Any, b: Any, path: str = "") -> None:
    assert type(a) is type(b), path
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), path
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a:
            assert_same(a[key], b[key], f"{path}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), path
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{path}[{i}]")
    else:
        assert a == b, path


class Killed(BaseException):
    """Simulates kill -9: nothing in the package may catch it."""


def kill_in_step(step: int) -> Any:
    def arm(patch: pytest.MonkeyPatch) -> None:
        original = Training.training_step

        def training_step(self: Training, batch: Any, index: int) -> torch.Tensor:
            if self.global_step == step:
                raise Killed
            return original(self, batch, index)

        patch.setattr(Training, "training_step", training_step)

    return arm


def count_steps(patch: pytest.MonkeyPatch) -> list[int]:
    original, taken = Training.training_step, []

    def training_step(self: Training, batch: Any, index: int) -> torch.Tensor:
        taken.append(self.global_step)
        return original(self, batch, index)

    patch.setattr(Training, "training_step", training_step)
    return taken


def kill_at_write(number: int, *, half_written: bool) -> Any:
    def arm(patch: pytest.MonkeyPatch) -> None:
        original, count = train.runs.checkpoint._save, 0

        def save(trainer: Any, path: Path, *, weights_only: bool) -> None:
            nonlocal count
            count += 1
            if count == number:
                if half_written:
                    path.with_suffix(".part").write_bytes(b"PK\x03\x04 half a checkpoint")
                raise Killed
            original(trainer, path, weights_only=weights_only)

        patch.setattr(train.runs.checkpoint, "_save", save)

    return arm


def test_a_finished_run_goes_on_with_more_epochs(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its learning rate at each step is that of the schedule of the epochs planned by then, also where it is killed."""
    out, rates = tmp_path / "run", {}
    original = Training.training_step

    def training_step(self: Training, batch: Any, index: int) -> torch.Tensor:
        rates[self.global_step] = self.trainer.optimizers[0].param_groups[0]["lr"]
        if self.global_step == killed:
            raise Killed
        return original(self, batch, index)

    monkeypatch.setattr(Training, "training_step", training_step)
    killed = -1
    train.tobin.fit.train(config_of(dataset, out, epochs=1))
    killed = 8  # of the 4 to 12 that follow
    with pytest.raises(Killed):
        train.tobin.fit.train(config_of(dataset, out, epochs=3))
    killed = -1
    train.tobin.fit.train(config_of(dataset, out, epochs=3))
    assert "at step 4 of 12; the learning rate is 75% of its peak" in capsys.readouterr().out
    planned = {step: 4 if step < 4 else 12 for step in range(12)}
    assert rates == pytest.approx({step: 2e-3 * rate(step, total) for step, total in planned.items()}, abs=1e-12)
    history = json.loads((out / "metrics.json").read_text())["history"]
    assert [row["epoch"] for row in history] == [1, 2, 3]
    config = json.loads((out / "config.json").read_text())
    assert config["trainer"]["epochs"] == 3 and config["continued"] == [{"after_epochs": 1, "planned": 1}]
    before = (out / "last.ckpt").read_bytes()
    with pytest.raises(
        ConfigError, match=r"^trainer\.epochs: got 2, but the run in .* has done 3; expected at least 3"
    ):
        train.tobin.fit.train(config_of(dataset, out, epochs=2))
    assert (out / "last.ckpt").read_bytes() == before


@pytest.mark.parametrize(
    ("kill", "steps"),
    [
        (kill_in_step(2), 16),  # before the first checkpoint
        (kill_in_step(8), 8),  # at the first step of epoch 3 of 4 steps
        (kill_in_step(14), 4),  # amid the last epoch
        (kill_at_write(2, half_written=True), 16),  # best.ckpt of epoch 1 is there, last.ckpt is not
        (kill_at_write(4, half_written=False), 12),
    ],
)
def test_a_killed_run_ends_like_one_that_was_not(
    kill: Any, steps: int, dataset: Path, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(dataset, tmp_path / "run")
    with monkeypatch.context() as patch:
        kill(patch)
        with pytest.raises(Killed):
            train.tobin.fit.train(config)
    torch.manual_seed(999)  # a new process has another generator state
    with monkeypatch.context() as patch:
        taken = count_steps(patch)
        train.tobin.fit.train(config)
    assert len(taken) == steps  # it resumes and does not start over
    for name in ("last.ckpt", "best.ckpt"):
        resumed, expected = (torch.load(folder / name, weights_only=True) for folder in (tmp_path / "run", straight))
        for key in ("state_dict", "global_step", "epoch", "target", "model"):
            assert_same(resumed[key], expected[key], f"{name}: {key}")
        for key in ("optimizer_states", "lr_schedulers", "callbacks"):
            assert_same(resumed.get(key), expected.get(key), f"{name}: {key}")
    assert (tmp_path / "run" / "metrics.json").read_bytes() == (straight / "metrics.json").read_bytes()


def test_a_run_resumed_with_worker_processes_ends_alike(
    dataset: Path, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Worker processes fetch their first pictures before Lightning sets the sampler's epoch."""
    config = config_of(dataset, tmp_path / "run")
    with monkeypatch.context() as patch:
        kill_in_step(8)(patch)
        with pytest.raises(Killed):
            train.tobin.fit.train(config)
    train.tobin.fit.train(replace(config, data=replace(config.data, cache_gb=0.0, workers=1)))
    resumed, expected = (load_checkpoint(folder / "best.ckpt") for folder in (tmp_path / "run", straight))
    assert_same(resumed.model.state_dict(), expected.model.state_dict())


def test_a_moved_run_resumes_and_keeps_its_best(
    dataset: Path, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        kill_in_step(14)(patch)
        with pytest.raises(Killed):
            train.tobin.fit.train(config_of(dataset, tmp_path / "run"))
    shutil.move(tmp_path / "run", tmp_path / "moved")
    train.tobin.fit.train(config_of(dataset, tmp_path / "moved"))
    assert (tmp_path / "moved" / "metrics.json").read_bytes() == (straight / "metrics.json").read_bytes()


def test_what_a_run_leaves(straight: Path, dataset: Path) -> None:
    metrics = json.loads((straight / "metrics.json").read_text())
    assert [row["epoch"] for row in metrics["history"]] == [1, 2, 3, 4]
    best = min(metrics["history"], key=lambda row: row["val_xy_cm"])
    assert (metrics["best_epoch"], metrics["best_val_xy_cm"]) == (best["epoch"], best["val_xy_cm"])
    assert metrics["pictures"] == {"used": 40, "left_out": {}}
    config = json.loads((straight / "config.json").read_text())
    assert config["trainer"]["epochs"] == EPOCHS and config["target"] == "box" and "torch" in config["code"]
    assert torch.load(straight / "best.ckpt", weights_only=True)["epoch"] == best["epoch"] - 1
    events = events_of(straight / "tensorboard")
    name, step, picture = events[0]
    assert (name, step, picture.shape) == (INPUT, 0, (2 * 48, 3 * 64, 3))  # before the first step
    assert np.all(picture == GREEN, axis=-1).any()
    assert events[1][:2] == ("step/loss", 1)
    for name in (PREDICTIONS, WORST):
        pictures = {step: value for tag, step, value in events if tag == name}
        assert list(pictures) == [1, 4, 8, 10, 12, 16]  # early steps and each validation
        assert np.all(pictures[16] == RED, axis=-1).any() and np.all(pictures[16] == GREEN, axis=-1).any()
    losses = {step: value for tag, step, value in events if tag == "step/loss"}
    assert list(losses) == list(range(1, 11)) and all(map(math.isfinite, losses.values()))
    rates = {step: value for tag, step, value in events if tag == "step/learning rate"}
    assert rates == pytest.approx({step: 2e-3 * rate(step - 1, 16) for step in losses}, rel=1e-6)
    assert not list(straight.glob("*.part"))
    schedule = torch.load(straight / "last.ckpt", weights_only=True)["lr_schedulers"][0]
    assert schedule["last_epoch"] == EPOCHS * 4  # the schedule ended with the run


def test_a_finished_run_is_left_as_it_is(dataset: Path, straight: Path, tmp_path: Path) -> None:
    shutil.copytree(straight, tmp_path / "run")
    before = {name: (tmp_path / "run" / name).read_bytes() for name in ("last.ckpt", "best.ckpt", "metrics.json")}
    train.tobin.fit.train(config_of(dataset, tmp_path / "run"))
    assert before == {name: (tmp_path / "run" / name).read_bytes() for name in before}


def test_another_configuration_is_refused_and_named(dataset: Path, straight: Path, tmp_path: Path) -> None:
    config = config_of(dataset, straight, batch_size=9)
    with pytest.raises(ConfigError, match=r"^out: .*\(trainer\.batch_size was 8 and is 9\); name another"):
        train.tobin.fit.train(config)
    other = write_dataset(tmp_path / "other", random_positions(40, seed=1), seed=5)
    (other / "manifest.json").write_text((other / "manifest.json").read_text().replace("0.7", "0.71"))
    with pytest.raises(ConfigError, match=r"dataset\.manifest_sha256 was"):
        train.tobin.fit.train(config_of(other, straight))


def test_other_labels_without_a_manifest_do_not_resume_a_run(dataset: Path, tmp_path: Path) -> None:
    """`data.root` may be elsewhere, but not another dataset; a run of an older version does not know its labels."""
    moved, run = tmp_path / "moved", tmp_path / "run"
    shutil.copytree(dataset, moved)
    (moved / "manifest.json").unlink()
    labels = {"dataset": content_of_dataset(open_dataset(moved))}
    assert claim(run, labels) is None and claim(run, labels) is None
    moved.rename(tmp_path / "again")
    assert labels == {"dataset": content_of_dataset(open_dataset(tmp_path / "again"))}
    (path,) = (tmp_path / "again").glob("train/*/scene_gt.json")
    path.write_text(path.read_text().replace("1", "2", 1))
    changed = {"dataset": content_of_dataset(open_dataset(tmp_path / "again"))}
    with pytest.raises(ConfigError, match=r"dataset\.labels_sha256 was"):
        claim(run, changed)
    older = {"dataset": {"manifest_sha256": None, "pictures": changed["dataset"]["pictures"]}}
    (run / "config.json").write_text(json.dumps(older))
    assert claim(run, changed) is None


def test_settings_of_speed_may_change(dataset: Path, straight: Path) -> None:
    config = config_of(dataset, straight)
    train.tobin.fit.train(replace(config, data=replace(config.data, workers=1, cache_gb=0.0)))


def test_a_folder_that_is_no_run_is_refused(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"^out: .*not a training run"):
        train.tobin.fit.train(config_of(dataset, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_damaged_last_checkpoint_stops_the_resume(dataset: Path, straight: Path, tmp_path: Path) -> None:
    shutil.copytree(straight, tmp_path / "run")
    last = tmp_path / "run" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match=r"last\.ckpt: truncated"):
        train.tobin.fit.train(config_of(dataset, tmp_path / "run"))


@pytest.mark.parametrize("total", [1, 2, 10, 11, 1000])
def test_the_rate_rises_to_its_peak_once_and_falls_to_nearly_nothing(total: int) -> None:
    rates = [train.tobin.fit.rate(step, total) for step in range(total)]
    peak = rates.index(1.0)
    assert rates.count(1.0) == 1 and min(rates) > 0
    assert rates == sorted(rates[: peak + 1]) + sorted(rates[peak + 1 :], reverse=True)
    if total == 1000:
        assert peak == 99 and rates[549] == pytest.approx(0.5, abs=2e-3) and rates[-1] < 1e-5


def test_best_checkpoint_loads_as_the_model_that_was_validated(straight: Path) -> None:
    trained = load_checkpoint(straight / "best.ckpt")
    assert (trained.target, trained.config.name, trained.config.height) == ("box", "tobin_small", 48)
    assert not trained.model.training and float(trained.model.scale) > 0.1


class Bomb:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("exploded"),))


def write_bad(kind: str, path: Path, good: Path) -> None:
    if kind == "random bytes":
        path.write_bytes(bytes(range(256)) * 9)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        path.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    elif kind == "text":
        path.write_text("not a checkpoint")
    elif kind == "code":
        torch.save({"simgen_train": 1, "model": Bomb()}, path)
    elif kind == "bare pickle":
        path.write_bytes(pickle.dumps(Bomb()))
    else:
        content = torch.load(good, weights_only=True)
        if kind == "foreign":
            content = {"state_dict": content["state_dict"], "epoch": 3}
        elif kind == "tensor":
            content = torch.zeros(3)
        elif kind == "newer format":
            content["simgen_train"] = 3
        elif kind == "other weights":
            content["state_dict"].pop("model.head.0.weight")
        elif kind == "no model":
            del content["model"]
        elif kind == "odd model":
            content["model"] = {**content["model"], "height": "tall", "name": "tobin_vgg"}
        torch.save(content, path)


@pytest.mark.parametrize(
    "kind",
    [
        *("random bytes", "empty", "truncated", "text", "code", "bare pickle"),
        *("foreign", "tensor", "newer format", "other weights", "no model", "odd model"),
    ],
)
def test_a_bad_checkpoint_is_one_line(
    kind: str, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.ckpt"
    write_bad(kind, path, straight / "best.ckpt")
    with pytest.raises(CheckpointError, match=r"bad\.ckpt: .*(train again|restore)") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "exploded").exists()


def test_the_bomb_would_go_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # otherwise the test above could not fail
    write_bad("code", tmp_path / "bad.ckpt", tmp_path)
    torch.load(tmp_path / "bad.ckpt", weights_only=False)
    assert (tmp_path / "exploded").exists()


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere\.ckpt: no such file"):
        load_checkpoint(tmp_path / "nowhere.ckpt")


@pytest.mark.filterwarnings("ignore")
def test_a_loss_that_explodes_is_an_error_and_leaves_no_checkpoint(dataset: Path, tmp_path: Path) -> None:
    config = config_of(dataset, tmp_path / "run")
    with pytest.raises(SimgenError, match=r"^step [01]: the training loss is (nan|inf).*try a model\.lr below"):
        train.tobin.fit.train(replace(config, model=replace(config.model, lr=1e30)))
    assert not list((tmp_path / "run").glob("*.ckpt"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_one_line(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^trainer\.accelerator: got gpu, but torch sees no CUDA device here"):
        train.tobin.fit.train(config_of(dataset, tmp_path / "run", accelerator="gpu"))


def test_a_model_that_learns_nothing_is_reported(
    dataset: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = config_of(dataset, tmp_path / "run", epochs=1)
    train.tobin.fit.train(replace(config, model=replace(config.model, lr=1e-9)))
    assert "WARNING: this is no better than always predicting the same place" in capfd.readouterr().err
