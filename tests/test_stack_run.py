"""scripts/stack_blocks.py as it is called: trials, what it writes, and going on."""

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import ROOT
from stacking.task import cell, picture_of, task_of

from simgen.pictures import opened
from simgen.scene import Scenes, to_json

pytest.importorskip("pybullet")


def stacked(out: Path, *arguments: str) -> list[dict[str, str]]:
    """The rows of trials.csv."""
    command = [
        sys.executable,
        str(ROOT / "scripts" / "stack_blocks.py"),
        str(out),
        "--mm",
        "4",
        "--degrees",
        "--workers",
        "1",
    ]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    with (out / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_trials_are_kept_and_others_added(tmp_path: Path) -> None:
    first = stacked(tmp_path, "--trials", "1")
    assert [row["source"] for row in first] == ["truth", "detector", "refusing", "looking", "noise"]
    assert [row["outcome"] for row in first if row["source"] in ("truth", "noise")] == ["stacked", "stacked"]
    assert {row["kinds"] for row in first} == {first[0]["kinds"]} and len(first[0]["kinds"].split()) == 3
    (kept,) = tmp_path.glob("tasks/*0000.json")
    before = kept.stat().st_mtime_ns
    both = stacked(tmp_path, "--trials", "2", "--noise-trials", "1")
    assert [row for row in both if row["index"] == "0"] == first and kept.stat().st_mtime_ns == before
    assert [row["source"] for row in both if row["index"] == "1"] == ["truth", "detector", "refusing", "looking"]
    counts = {one["name"]: one["trials"] for one in json.loads((tmp_path / "results.json").read_text())["sources"]}
    assert counts == {"truth": 2, "detector": 2, "refusing": 2, "looking": 2, "noise": 1}
    with opened(tmp_path / "stacking.gif") as film:
        assert film.size == (640, 240) and film.n_frames > 30  # type: ignore[attr-defined]
    with opened(tmp_path / "curves.png") as curves:
        assert min(curves.size) > 200


def test_a_robot_that_looks_again_sees_the_same_scene_by_another_camera() -> None:
    pipeline = cell("photographs", 21)
    task, seen = task_of(pipeline, 0), []

    class Spy:
        def render(self, scene: Scenes) -> Any:
            seen.append(scene)
            raise InterruptedError

    for look in (0, 1, 1, 2):
        with pytest.raises(InterruptedError):
            picture_of(task, pipeline, Spy(), look)  # type: ignore[arg-type]
    assert to_json(seen[0]) == to_json(task.scene) and to_json(seen[1]) == to_json(seen[2])
    places = [scene.cameras.world_from_camera[0, :3, 3] for scene in seen]
    assert (
        min(np.linalg.norm(a - b) for a, b in ((places[0], places[1]), (places[0], places[3]), (places[1], places[3])))
        > 0.05
    )
    for scene in seen:
        same = replace(scene, cameras=task.scene.cameras, sensor=task.scene.sensor)
        assert to_json(same) == to_json(task.scene)
