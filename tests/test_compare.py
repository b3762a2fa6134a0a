"""The differences between two runs are printed, with a warning if there are several."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simgen.config import main
from simgen.errors import ConfigError
from train.__main__ import COMMANDS
from train.config import CompareConfig
from train.runs.compare import Change, compare, compare_runs

Run = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Writes a run's folder: leaves of its configuration, its validation loss, and the error on a set of photographs."""

    def write(name: str, *, loss: float, error: float | None = None, **leaves: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        config = {"model": {"lr": 0.002, "name": "keypoints"}, "seed": 0, "out": name, "code": {"commit": "abc"}}
        for key, value in leaves.items():
            place: Any = config
            *above, last = key.split("__")
            for part in above:
                place = place[part]
            place[last] = value
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "metrics.json").write_text(json.dumps({"best_epoch": 3, "val_loss": loss, "history": [loss]}))
        if error is not None:
            (folder / "evaluate-best-real").mkdir()
            result = {"checkpoint": str(folder), "xy_error_cm": {"model": {"mean": {"value": error}}}}
            (folder / "evaluate-best-real" / "metrics.json").write_text(json.dumps(result))
        return folder

    return write


def test_one_change_and_its_results(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = run("a", loss=0.5, error=2.0), run("b", loss=0.4, error=1.5, model__lr=0.001)
    found = compare(CompareConfig(str(a), str(b)))
    assert found.configuration == [Change("model.lr", 0.002, 0.001)]
    assert found.code == found.missing == []
    assert found.results == [
        Change("evaluate-best-real.xy_error_cm.model.mean.value", 2.0, 1.5),
        Change("training.val_loss", 0.5, 0.4),
    ]
    printed = capsys.readouterr().out
    assert "WARNING" not in printed
    assert "0.002 | 0.001" in printed and "-0.5" in printed


def test_several_changes_cause_a_warning(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    first = run("a", loss=0.5)
    compare(CompareConfig(str(first), str(run("b", loss=0.4, model__lr=0.001, seed=1))))
    assert "several things were changed (2 in configuration)" in capsys.readouterr().out
    compare(CompareConfig(str(first), str(run("c", loss=0.4, seed=1, code__commit="def"))))
    assert "several things were changed (1 in configuration, and the code)" in capsys.readouterr().out


def test_no_change_and_a_result_of_one_run_only_are_reported(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = run("a", loss=0.5), run("b", loss=0.6, error=1.0)
    assert compare(CompareConfig(str(a), str(b))).missing == ["evaluate-best-real"]
    printed = capsys.readouterr().out
    assert "nothing was changed" in printed
    assert "only one of the runs has evaluate-best-real" in printed


def test_a_leaf_that_only_one_run_has(run: Run) -> None:
    a, b = run("a", loss=0.5), run("b", loss=0.5, model__extra=7)
    assert compare_runs(a, b).configuration == [Change("model.extra", None, 7)]


def test_settings_without_effect_on_results_are_ignored_and_other_pictures_reported(run: Run) -> None:
    a, b = run("a", loss=0.5, error=1.0, data={"workers": 1}), run("b", loss=0.5, error=1.0, data={"workers": 4})
    assert compare_runs(a, b).configuration == []
    for folder, sha in ((a, "x"), (b, "y")):
        path = folder / "evaluate-best-real" / "metrics.json"
        result = {**json.loads(path.read_text()), "dataset_manifest_sha256": sha, "checkpoint_sha256": sha}
        path.write_text(json.dumps(result))
    assert [change.key for change in compare_runs(a, b).results] == ["evaluate-best-real.dataset_manifest_sha256"]


def test_a_folder_without_a_run_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere: holds no config\.json"):
        compare_runs(run("a", loss=0.5), tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["plain", "two words", "it's", "a,b"])
def test_the_command_takes_two_folders(
    run: Run, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = run("first", loss=0.5), run(name, loss=0.4)
    monkeypatch.setattr(sys, "argv", ["train", "compare", str(a), str(b)])
    assert main("train", COMMANDS, default="train") == 0
    assert f"{a} | {b}" in capsys.readouterr().out
