"""`python -m train sweep`: a known optimum, exact resume from a cut at any byte, failures, refusals, one real example."""

import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import optuna
import pytest
from builders import Done, run_command
from toy_dataset import random_positions, write_dataset

from simgen.command.keys import groups_of, keys_of
from simgen.command.swept import Choice, Interval, Range, Swept, read_swept
from simgen.config import compose, main
from simgen.dataset.layout import MANIFEST
from simgen.errors import ConfigError
from simgen.files import write_json
from train.__main__ import COMMANDS
from train.config import SweepConfig, TrainConfig
from train.sweep.command import sweep
from train.sweep.report import draw_history
from train.sweep.space import SWEPT_KEYS
from train.sweep.study import JOURNAL, Study, Trial, claimed
from train.sweep.trial import run_training

BEST_LR = 3e-3
SPACE = ("model.lr=tag(log,interval(1e-5,1e-1))", "data.passes=range(1,6)", "model.backbone=choice(scratch,imagenet)")


class Killed(BaseException):
    """Simulates kill -9: nothing in the package may catch it."""


def known_loss(settings: dict[str, str]) -> float:
    """Least at BEST_LR with 2 passes; model.backbone hardly matters."""
    rate = math.log10(float(settings["model.lr"]) / BEST_LR)
    return rate**2 + 0.1 * abs(int(settings["data.passes"]) - 2) + 0.001 * (settings["model.backbone"] == "scratch")


class Trainings:
    """Stands in for the processes: a training that has, of its settings, the validation loss `loss`, or fails for a reason.
    With `kill`, called with the number of the trial before and after the training, a trial is killed."""

    def __init__(
        self,
        loss: Callable[[dict[str, str]], float | str] = known_loss,
        kill: Callable[[int, str], bool] = lambda *_: False,
    ) -> None:
        self.loss, self.kill = loss, kill
        self.begun: list[tuple[str, dict[str, str]]] = []

    def __call__(self, settings: Sequence[str], folder: Path, log: Path, claim: int) -> str | None:
        number, values = int(folder.name.removeprefix("trial-")), dict(text.split("=", 1) for text in settings)
        self.begun.append((folder.name, values))
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text("{}")
        if self.kill(number, "before"):
            raise Killed
        loss = self.loss(values)
        if isinstance(loss, str):
            return loss
        history = [
            {"epoch": 1, "val_loss": loss + 1},
            {"epoch": 2, "val_loss": loss},
            {"epoch": 3, "val_loss": loss + 2},
        ]
        (folder / "metrics.json").write_text(json.dumps({"history": history}))
        if self.kill(number, "after"):
            raise Killed
        return None


def call(trainings: Any, *arguments: str) -> Done:
    commands = {**COMMANDS, "sweep": replace(COMMANDS["sweep"], run=lambda composed: sweep(composed, train=trainings))}
    return run_command(lambda: main("train", commands, default="train"), "train", "sweep", *arguments)


def report_of(folder: Path) -> Any:
    return json.loads((folder / "report.json").read_text())


def in_order(folder: Path) -> list[dict[str, Any]]:
    return sorted(report_of(folder)["trials"], key=lambda row: row["trial"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("interval(1e-4,1e-2)", Interval("", 1e-4, 1e-2, log=False)),
        ("tag(log, interval(1e-4,1e-2))", Interval("", 1e-4, 1e-2, log=True)),
        ("range(1,4)", Range("", 1, 3, 1, log=False)),
        ("range(3)", Range("", 0, 2, 1, log=False)),
        ("range(5,0,-2)", Range("", 1, 5, 2, log=False)),
        ("range(0,0.5,0.1)", Range("", 0, 0.4, 0.1, log=False)),
        ("range(0.1,0.31,0.1)", Range("", 0.1, 0.3, 0.1, log=False)),
        ("tag(log,range(1,101))", Range("", 1, 100, 1, log=True)),
        ("choice(imagenet,'scratch',[1,2])", Choice("", ("imagenet", "scratch", "[1,2]"))),
    ],
)
def test_hydras_syntax_is_read(text: str, expected: Swept) -> None:
    assert read_swept("k", text) == replace(expected, text=text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("shuffle(range(1,4))", "leave out shuffle"),
        ("sort(choice(3,1))", "leave out sort"),
        ("int(interval(1,5))", "expected choice"),
        ("tag(log,choice(1,2))", "no logarithm"),
        ("tag(log,interval(0,1))", "above 0"),
        ("tag(log,range(0,4))", "above 0"),
        ("tag(log,range(1,9,2))", "step 1"),
        ("tag(fast,interval(1,2))", "no tag but log"),
        ("tag(log,tag(fast,interval(1,2)))", "expected choice"),
        ("interval(2,1)", "the least first"),
        ("interval(1,inf)", "finite"),
        ("range(1,inf)", "finite"),
        ("range(1,2)", "at least two values"),
        ("range(1,4,0)", "at least two values"),
        ("range(0,1000000000)", "at most 100000"),
        ("choice(a)", "at least two values"),
        ("choice(a,a)", "each once"),
        ("choice(${seed},1)", "expected choice"),
        ("choice()", "cannot read"),
        ("interval(1,2", "expected choice"),
    ],
)
def test_what_a_sweep_cannot_draw_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=r"^model\.lr: ") as caught:
        read_swept("model.lr", text)
    assert reason in str(caught.value) and text in str(caught.value)


def test_the_known_optimum_is_found(tmp_path: Path) -> None:
    """The first trial is the defaults, all values are of the space, and the key that matters is the most important."""
    trainings, out = Trainings(), tmp_path / "out"
    done = call(trainings, *SPACE, "trials=30", f"out={out}", "data.validation=64")
    assert done.returncode == 0, done.stderr
    defaults = compose("train", TrainConfig)
    rows, report = in_order(out), report_of(out)
    assert [row["trial"] for row in rows] == list(range(30))
    first = {"model.lr": defaults.model.lr, "data.passes": defaults.data.passes, "model.backbone": "imagenet"}
    assert rows[0]["values"] == first
    assert all(settings["data.validation"] == "64" for _, settings in trainings.begun)
    for row, (_, settings) in zip(rows, trainings.begun, strict=True):
        values = row["values"]
        assert {path: str(value) for path, value in values.items()}.items() <= settings.items()
        assert 1e-5 <= values["model.lr"] <= 1e-1 and values["data.passes"] in range(1, 6)
        assert (row["loss"], row["epoch"]) == (known_loss(settings), 2)  # the least of the history, and its epoch
    best = report["trials"][0]
    assert best["loss"] == min(row["loss"] for row in rows) < 0.05 < rows[0]["loss"]
    assert best["values"]["data.passes"] == 2 and abs(math.log10(best["values"]["model.lr"] / BEST_LR)) < 0.25
    assert [row["loss"] for row in report["trials"]] == sorted(row["loss"] for row in rows)
    importances = report["importances"]
    assert list(importances) == ["model.lr", "data.passes", "model.backbone"]
    assert importances["model.lr"] > 0.8 and sum(importances.values()) == pytest.approx(1)
    page = (out / "report.md").read_text()
    assert f"{' '.join(f'{path}={value}' for path, value in best['values'].items())} out=runs/best" in page
    assert page.index(f"| {best['trial']} | {best['loss']:.4f} | 2 |") < page.index(f"| 0 | {rows[0]['loss']:.4f} |")
    for name, size in (("history", (400, 800)), ("slices", (340, 1200))):
        assert cv2.imread(str(out / f"{name}.png")).shape[:2] == size
    study = optuna.load_study(
        study_name="sweep",
        storage=optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(out / JOURNAL))),
    )
    assert study.best_trial.number == best["trial"] and study.best_value == best["loss"]


def test_an_interrupted_sweep_has_the_trials_of_one_without_interruption(tmp_path: Path) -> None:
    """Killed in random trials and in those of TPE, in a training and after it. No trial is lost, or counted twice."""
    straight, broken = Trainings(), Trainings()
    assert call(straight, *SPACE, "trials=14", f"out={tmp_path / 'straight'}").returncode == 0
    for killed in [(0, "before"), (3, "before"), (12, "before"), (12, "after")]:
        broken.kill = lambda number, when, killed=killed: (number, when) == killed
        with pytest.raises(Killed):
            call(broken, *SPACE, "trials=14", f"out={tmp_path / 'broken'}")
    broken.kill = lambda *_: False
    done = call(broken, *SPACE, "trials=14", f"out={tmp_path / 'broken'}")
    assert done.returncode == 0, done.stderr
    assert in_order(tmp_path / "broken") == in_order(tmp_path / "straight")
    assert len(in_order(tmp_path / "broken")) == 14
    # One killed in the training goes on with its values; one killed after it does not train again.
    again = {"trial-0": 2, "trial-3": 2, "trial-12": 2}
    assert broken.begun == [one for one in straight.begun for _ in range(again.get(one[0], 1))]


def study_of(folder: Path) -> Study:
    return Study(
        folder, {path: read_swept(path, text) for path, text in (one.split("=", 1) for one in SPACE)}, {"a": 1}
    )


def filled(folder: Path, trials: int, *, seed: int = 7, limit: float = 4.0) -> list[Trial]:
    """The trials of a study that has or gets that many; a loss above `limit` is a failure."""
    first = {"model.lr": 1e-3, "data.passes": 3, "model.backbone": "imagenet"}
    with claimed(folder):
        study = study_of(folder)
        while len(study.trials) < trials:
            values = study.ask(seed, first)
            loss = known_loss({path: str(value) for path, value in values.items()})
            study.tell(values, "too large" if loss > limit else (loss, 1))
        return list(study.trials)


def test_a_study_cut_at_any_byte_continues_to_the_same_trials(tmp_path: Path) -> None:
    """A kill leaves the beginning of the file, and perhaps the lock."""
    expected = filled(tmp_path / "whole", 13)
    assert any(trial.loss is None for trial in expected) and any(trial.loss is not None for trial in expected)
    data = (tmp_path / "whole" / JOURNAL).read_bytes()
    ends = [k + 1 for k, byte in enumerate(data) if byte == 10]
    for cut in [0, 3, 40, *ends[::7], *(end - 1 for end in ends[1::7]), *(end + 25 for end in ends[2:-1:7])]:
        folder = tmp_path / f"cut-{cut}"
        folder.mkdir()
        (folder / JOURNAL).write_bytes(data[:cut])
        (folder / f"{JOURNAL}.lock").symlink_to(folder / JOURNAL)
        assert filled(folder, 13) == expected, cut


def test_values_come_nearer_to_the_optimum(tmp_path: Path) -> None:
    """The first ten are random; of those after them, which Optuna chooses by the losses, each seed has its own."""
    studies = [filled(tmp_path / str(seed), 30, seed=seed, limit=math.inf) for seed in range(5)]

    def distance(trials: slice) -> float:
        rates = [trial.values["model.lr"] for study in studies for trial in study[trials]]
        return sum(abs(math.log10(rate / BEST_LR)) for rate in rates) / len(rates)

    assert distance(slice(15, 30)) < 0.8 * distance(slice(1, 11))
    assert len({str(study[1].values) for study in studies}) == 5


def test_a_failed_trial_is_recorded_and_the_sweep_goes_on(tmp_path: Path) -> None:
    def loss(settings: dict[str, str]) -> float | str:
        return "the training loss is nan" if float(settings["model.lr"]) > 1e-2 else known_loss(settings)

    trainings, out = Trainings(loss), tmp_path / "out"
    done = call(trainings, *SPACE, "trials=8", f"out={out}")
    assert done.returncode == 0, done.stderr
    rows = in_order(out)
    failed = [row for row in rows if row["values"]["model.lr"] > 1e-2]
    assert 0 < len(failed) < 8 and report_of(out)["trials"][-len(failed) :] == failed  # last in the ranking
    for row in rows:
        assert row["failed"] == ("the training loss is nan" if row in failed else None)
        assert (row["loss"] is None) == (row in failed)
    number = failed[0]["trial"]
    assert f"trial {number}: failed: the training loss is nan" in done.stdout
    assert f"- trial {number} failed: the training loss is nan" in (out / "report.md").read_text()
    trainings.begun.clear()
    assert call(trainings, *SPACE, "trials=9", f"out={out}").returncode == 0  # raised: one trial more, none again
    assert [name for name, _ in trainings.begun] == ["trial-8"] and in_order(out)[:8] == rows


def test_a_failed_trial_is_marked_in_the_history() -> None:
    """Red, where without it is none."""
    trials = [Trial(k, {}, loss, 1, None) for k, loss in enumerate((3.0, 1.0, 2.0))]

    def red(image: Any) -> int:
        return int(((image[..., 0] > 180) & (image[..., 1] < 80)).sum())

    assert red(draw_history(trials, "loss")) == 0
    assert red(draw_history([*trials, Trial(3, {}, None, None, "nan")], "loss")) > 10


def test_if_all_trials_fail_the_status_is_1(tmp_path: Path) -> None:
    done = call(Trainings(lambda _: "no luck"), *SPACE, "trials=2", f"out={tmp_path / 'out'}")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "train: error: all 2 trials failed, the last one with: no luck"
    assert report_of(tmp_path / "out")["importances"] is None


def test_if_the_first_trial_cannot_begin_nothing_is_recorded(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = call(lambda *_: "data.root: no such folder", *SPACE, "trials=2", f"out={out}")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("sweep: the first trial cannot begin: data.root: no such folder")
    assert call(Trainings(), *SPACE, "trials=2", f"out={out}").returncode == 0
    assert [row["failed"] for row in in_order(out)] == [None, None]
    other = tmp_path / "other"
    assert call(lambda *_: "data.root: no such folder", *SPACE, "trials=2", "seed=1", f"out={other}").returncode == 2
    assert call(Trainings(), *SPACE, "trials=2", "seed=2", f"out={other}").returncode == 0  # the corrected command


def test_a_trial_that_cannot_begin_for_what_is_not_its_own_ends_the_sweep(tmp_path: Path) -> None:
    """As on a machine without the disk of the pictures: else all trials that are left would be recorded as failed."""
    out, trainings = tmp_path / "out", Trainings()
    assert call(trainings, *SPACE, "trials=2", f"out={out}").returncode == 0
    done = call(lambda *_: "data.root: no such folder", *SPACE, "trials=5", f"out={out}")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("sweep: trial 2 cannot begin: data.root: no such folder; correct that, and "
                                                 "repeat the command")  # fmt: skip
    assert call(trainings, *SPACE, "trials=5", f"out={out}").returncode == 0
    assert [row["failed"] for row in in_order(out)] == [None] * 5
    whole = tmp_path / "whole"
    assert call(Trainings(), *SPACE, "trials=5", f"out={whole}").returncode == 0
    assert [row["values"] for row in in_order(out)] == [row["values"] for row in in_order(whole)]
    done = call(lambda *_: "got 9 pictures; raise data.passes", *SPACE, "trials=6", f"out={out}")
    assert done.returncode == 0 and in_order(out)[5]["failed"] == "got 9 pictures; raise data.passes"


def test_a_sweep_is_not_continued_with_other_held_out_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    assert call(Trainings(), *SPACE, "trials=1", f"out={out}").returncode == 0
    monkeypatch.setattr("train.sweep.command.STREAM", 0)
    done = call(Trainings(), *SPACE, "trials=2", f"out={out}")
    assert done.returncode == 2 and "holds another sweep (stream was" in done.stderr
    write_dataset(tmp_path / "d", random_positions(8))
    write_json(tmp_path / "d" / MANIFEST, {"simgen": 1})
    keys = ["model=tobin_small", f"data.root={tmp_path / 'd'}", "model.lr=interval(0.1,1)", f"out={tmp_path / 'other'}"]
    history = {"history": [{"epoch": 1, "val_xy_cm": 2.0}]}

    def train(settings: Sequence[str], folder: Path, log: Path, claim: int) -> None:
        write_json(folder / "metrics.json", history)

    assert call(train, *keys, "trials=1").returncode == 0
    assert call(train, *keys, "trials=2").returncode == 0
    write_json(tmp_path / "d" / MANIFEST, {"simgen": 2})
    done = call(train, *keys, "trials=3")
    assert done.returncode == 2 and "holds another sweep (manifest was" in done.stderr


def test_equal_values_with_unequal_losses_have_no_importances(tmp_path: Path) -> None:
    """As on a GPU, where sums are rounded otherwise each time."""
    values = {"model.backbone": "imagenet"}
    with claimed(tmp_path):
        study = Study(tmp_path, {"model.backbone": read_swept("model.backbone", "choice(imagenet,scratch)")}, {})
        for loss in (1.0, 1.1):
            study.tell(values, (loss, 1))
        assert study.importances() is None
        study.tell({"model.backbone": "scratch"}, (2.0, 1))
        assert study.importances() == {"model.backbone": 1}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["trainer.batch_size=choice(8,9)"], "trainer.batch_size: got 9; expected a multiple of 2"),
        (["trainer.batch_size=range(8,33)"], "trainer.batch_size: got 9; expected a multiple of 2"),
        (["model.lrr=choice(1,2)"], "model.lrr: no such key of `sweep`; did you mean model.lr?"),
        (["model.height=range(64,128)"], "no such key with model=keypoints; it is a key of model=tobin_small"),
        (["model.lr=choice(0.1,fast)"], "model.lr: got fast; expected a number (in model.lr=choice(0.1,fast))"),
        (["model.backbone=choice(imagenet,vgg)"], "model.backbone: got 'vgg'; expected one of imagenet, scratch"),
        (["model.lr=interval(0,1)"], "model.lr: got 0.0; expected a number above 0"),
        (["data.passes=interval(1,3)"], "data.passes: got interval(1,3); expected whole numbers: range("),
        (["seed=range(1,4)"], "seed: cannot be swept"),
        (["randomize=choice(none,full)"], "randomize: cannot be swept"),
        (["randomize.light.count=range(1,4)"], "randomize.light.count: cannot be swept"),
        (["model.name=choice(a,b)"], "model.name: cannot be swept"),
        (["trainer.jitter=interval(0,1)"], "trainer.jitter has no effect with data=stream"),
        (["model.lr=0.1", "model.lr=interval(0.1,1)"], "model.lr: is given more than once"),
        (["-m", "model.lr=interval(0.1,1)"], "-m: "),
        (["model.lr=interval(0.1,1)", "trials=0"], "trials: got 0; expected at least 1"),
        (["model.lr=interval(0.1,1)", "trainer.nodes=2"], "trainer.nodes: got 2; expected 1"),
        (["model.lr=0.1"], "sweep: no key is swept"),
    ],
)
def test_a_mistake_is_one_line_before_the_first_trial(arguments: list[str], expected: str, tmp_path: Path) -> None:
    trainings = Trainings()
    done = call(trainings, *arguments, f"out={tmp_path / 'out'}")
    assert done.returncode == 2 and not trainings.begun and not (tmp_path / "out").exists()
    assert expected in done.stderr.splitlines()[-1]


def test_a_recipe_does_not_choose_the_folder_of_a_sweep() -> None:
    done = call(Trainings(), "experiment=kuka", *SPACE)
    assert done.returncode == 2 and "out: missing" in done.stderr


def test_a_default_outside_of_the_space_is_told(tmp_path: Path) -> None:
    space = ("model.lr=interval(1e-6,1e-4)", "data.passes=range(4,9,2)", "model.average=choice(0.9,0.99)")
    done = call(Trainings(lambda _: 1.0), *space, "trials=1", f"out={tmp_path / 'out'}")
    assert in_order(tmp_path / "out")[0]["values"] == {"model.lr": 1e-4, "data.passes": 4, "model.average": "0.9"}
    for line in (
        "model.lr=interval(1e-6,1e-4) lacks the default, 0.001: the first trial has 0.0001 instead",
        "data.passes=range(4,9,2) lacks the default, 3: the first trial has 4 instead",
        "model.average=choice(0.9,0.99) lacks the default, 0.998: the first trial has 0.9 instead",
        "model.lr=interval(1e-6,1e-4) is drawn evenly",
    ):
        assert f"train: note: {line}" in done.stderr


def test_a_folder_keeps_its_sweep(tmp_path: Path) -> None:
    out, trainings = tmp_path / "out", Trainings()
    assert call(trainings, *SPACE, "trials=1", f"out={out}").returncode == 0
    before = (out / JOURNAL).read_bytes()
    trainings.begun.clear()
    for change in ("data.epoch=9", "seed=1", "model.clip=choice(1,2)", "data.passes=2"):
        space = [one for one in SPACE if not one.startswith(change.split("=")[0])]
        done = call(trainings, *space, change, "trials=3", f"out={out}")
        assert done.returncode == 2 and "holds another sweep (" in done.stderr, change
        assert change.split("=")[0] in done.stderr
    with claimed(out):
        done = call(trainings, *SPACE, "trials=3", f"out={out}")
    assert done.returncode == 2 and "is still running; wait for it or end it" in done.stderr
    assert not trainings.begun and (out / JOURNAL).read_bytes() == before
    assert call(trainings, *SPACE, "trials=1", f"out={out}", "data.workers=0").returncode == 0  # only its speed
    for name, content in (
        ("notes.txt", b"mine"),
        (JOURNAL, b"mine"),
        (JOURNAL, before.replace(b'"sweep"', b'"other"')),
    ):
        folder = tmp_path / str(len(content))
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
        done = call(trainings, *SPACE, "trials=3", f"out={folder}")
        assert done.returncode == 2 and "name another folder" in done.stderr
        assert [path.name for path in folder.iterdir()] == [name] and (folder / name).read_bytes() == content
        (folder / name).unlink()


def test_the_keys_are_those_of_a_training() -> None:
    """With the same defaults, as conf/sweep.yaml repeats them; and each key that may be swept exists."""
    swept, trained = compose("sweep", SweepConfig, ["out=x"]), compose("train", TrainConfig, ["out=x"])
    assert {**vars(trained), "trials": 20} == vars(swept)
    known = {
        path
        for model in ("keypoints", "tobin_small")
        for data in ("stream", "bop")
        for path in keys_of(SweepConfig, {**groups_of("sweep"), "model": model, "data": data})
    }
    assert all(any(path.startswith(key.removesuffix("*")) for path in known) for key in SWEPT_KEYS)


def test_without_optuna_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "train.sweep.study")
    done = call(Trainings(), *SPACE, f"out={tmp_path / 'out'}")
    assert done.returncode == 2
    assert done.stderr == "train: error: sweep: needs optuna, which is not installed; pip install 'simgen[sweep]'\n"


def test_how_a_training_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stand-in for Python, which runs its first setting as a command."""
    python = tmp_path / "python"
    python.write_text('#!/bin/bash\neval "$3"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    log = tmp_path / "log"

    def run(script: str) -> str | None:
        with log.with_name("claim").open("ab") as claim:
            return run_training([script], tmp_path / "trial", log, claim.fileno())

    assert run("echo done") is None and log.read_text() == "done\n"
    assert run("echo more") is None and log.read_text() == "done\nmore\n"  # what an earlier attempt printed is kept
    assert run("echo 'train: error: the loss is nan' >&2; echo bye; exit 2") == "the loss is nan"
    assert run("echo 'Traceback'; echo 'OutOfMemoryError: CUDA'; exit 1") == "OutOfMemoryError: CUDA"
    assert run("exit 3") == "exit status 3"
    assert run("kill -KILL $$") == "ended by SIGKILL (out of memory?)"
    assert run("ls -l /proc/$$/fd") is None and str(tmp_path / "claim") in log.read_text()
    for interruption in ("exit 130", "kill -TERM $$"):
        with pytest.raises(KeyboardInterrupt):
            run(interruption)


def test_two_real_trainings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole command on a dataset of toy pictures, and the report has their losses. The second trains in this process,
    because a new one takes seconds to import torch."""

    def train(settings: Sequence[str], folder: Path, log: Path, claim: int) -> str | None:
        if folder.name == "trial-0":
            return run_training(settings, folder, log, claim)
        done = run_command(lambda: main("train", COMMANDS, default="train"), "train", *settings, f"out={folder}")
        return done.stderr if done.returncode else None

    write_dataset(tmp_path / "d", random_positions(24))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    monkeypatch.setattr("train.runs.tensorboard.TensorBoardPictures._show", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    settings = ["model=tobin_small", "data.root=d", "trainer.epochs=1", "trainer.batch_size=8", "data.workers=0"]
    small = [*settings, "model.height=48", "model.width=64"]
    space = ["model.lr=tag(log,interval(1e-4,1e-2))", "trainer.jitter=range(0,0.5,0.1)"]
    done = call(train, *small, *space, "trials=2", "out=s")
    assert done.returncode == 0, done.stderr + "".join(path.read_text() for path in Path("s").glob("*.log"))
    for row in in_order(Path("s")):
        folder = Path("s") / f"trial-{row['trial']}"
        metrics, config = (json.loads((folder / f"{name}.json").read_text()) for name in ("metrics", "config"))
        assert row["loss"] == metrics["best_val_xy_cm"] and row["epoch"] == metrics["best_epoch"]
        assert row["values"] == {"model.lr": config["model"]["lr"], "trainer.jitter": config["trainer"]["jitter"]}
    assert in_order(Path("s"))[0]["values"] == {"model.lr": 2e-3, "trainer.jitter": 0.2}
    assert {path.name for path in Path("s").glob("*.*")} == {
        JOURNAL, "report.json", "report.md", "history.png", "slices.png", "trial-0.log",
    }  # fmt: skip
