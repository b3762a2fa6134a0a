"""scripts/stack_blocks.py: what a gripper can hold, a trial from seed to verdict, and what a verdict is."""

import csv
import io
import json
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import ROOT, script_module

pytest.importorskip("pybullet")
sys.path.insert(0, str(ROOT / "scripts"))

from stacking import robot
from stacking.film import gif_bytes
from stacking.lying import Lying, tolerates
from stacking.poses import (
    DETECTOR,
    LOOKING,
    NOISE,
    REFUSING,
    TRUTH,
    Sighting,
    Source,
    detected_poses,
    errors,
    noisy_poses,
    paired,
    true_poses,
)
from stacking.results import curves_of, table_of
from stacking.robot import BASE, HOME, LIMIT, Kinematics, TroubleError
from stacking.rows import FAILED, REFUSED, STACKED, Bench, Row, _share, csv_of, summary
from stacking.success import GRASPING, PHYSICS, SEEING, Ended, cause, faults
from stacking.task import CLEARANCE, Task, task_of
from stacking.trial import run_trial

from simgen.catalogue import World, load_world
from simgen.errors import ConfigError, SimgenError
from simgen.files import sha256_of
from simgen.geometry import Array, rigid, rotation_about
from simgen.pictures import opened
from simgen.scene import to_json
from train.evaluate.factors import wilson
from train.runs.checkpoint import place_of

SURE = 1.5  # no detector is


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench("full", 5, "shipped", SURE)


@pytest.fixture(scope="module")
def world() -> World:
    return load_world("stacking")


@pytest.fixture(scope="module")
def task(bench: Bench) -> Task:
    return task_of(bench.pipeline, 0)


@pytest.fixture(scope="module")
def kinematics() -> Iterator[Kinematics]:
    made = Kinematics()
    yield made
    made.close()


def lying(world: World, name: str, *, x: float = 0.0, y: float = 0.0, yaw: float = 0.0, rest: int = 0) -> Lying:
    (solid,) = (one for one in world.solids if one.name == name)
    return Lying(solid, rigid(rotation_about(2, yaw), np.array([x, y, 0.0])) @ solid.rests[rest])


def upright(world: World, name: str, height: float, **place: float) -> Lying:
    """The block on the first side on which it is `height` m high, to a tenth of a mm: a cylinder's side is a polygon."""
    (solid,) = (one for one in world.solids if one.name == name)
    stands = (lying(world, name, rest=rest, **place) for rest in range(len(solid.rests)))  # type: ignore[arg-type]
    return next(block for block in stands if abs(block.height - height) < 1e-4)


@pytest.mark.parametrize(
    ("name", "height", "widths", "base", "stackable"),
    [
        ("cube", 0.050, [(0.05, 0.05)] * 2, 0.05, True),
        ("rectangular_prism", 0.030, [(0.04, 0.08)], 0.04, True),  # the other pair of sides is 8 cm apart
        ("rectangular_prism", 0.040, [(0.03, 0.08)], 0.03, False),  # slender
        ("rectangular_prism", 0.080, [(0.03, 0.04), (0.04, 0.03)], 0.03, False),
        ("hexagonal_prism", 0.045, [(0.0519615, 0.06)] * 3, 0.0519615, True),
        ("cone", 0.070, [], None, False),  # no top
        ("pyramid", 0.055, [], 0.06, False),
    ],
)
def test_what_a_gripper_can_hold_and_stack(
    world: World, name: str, height: float, widths: list[tuple[float, float]], base: float | None, stackable: bool
) -> None:
    for yaw in (0.0, 0.3, 2.0):
        block = upright(world, name, height, yaw=yaw)
        found = sorted((round(one.width, 5), round(one.length, 5)) for one in block.grasps)
        assert found == sorted((round(width, 5), round(length, 5)) for width, length in widths)
        assert base is None or block.base == pytest.approx(base, abs=1e-6)
        assert block.stackable == stackable


def test_a_cylinder_is_held_from_any_side_and_stacked_on_its_end(world: World) -> None:
    standing, rolling = upright(world, "cylinder", 0.06), upright(world, "cylinder", 0.05)
    assert standing.stackable and len(standing.grasps) >= 16
    assert all(0.0495 < one.width <= 0.05 + 1e-9 for one in standing.grasps)
    assert not rolling.stackable


def test_tolerances_of_the_gripper(world: World) -> None:
    truth = lying(world, "cube")
    assert tolerates(truth, truth)
    assert tolerates(truth, lying(world, "cube", x=0.0124)) and not tolerates(truth, lying(world, "cube", x=0.0126))
    assert tolerates(truth, lying(world, "cube", yaw=np.pi / 4))  # 71 mm between fingers that are 80 mm apart
    flat = upright(world, "rectangular_prism", 0.03)
    assert tolerates(flat, upright(world, "rectangular_prism", 0.03, yaw=np.pi))
    assert tolerates(flat, upright(world, "rectangular_prism", 0.03, yaw=0.5))
    assert not tolerates(flat, upright(world, "rectangular_prism", 0.03, yaw=0.8))  # 85 mm
    assert not tolerates(flat, upright(world, "rectangular_prism", 0.04))
    assert not tolerates(truth, upright(world, "hexagonal_prism", 0.045))


def test_errors_are_up_to_what_a_gripper_cannot_tell(world: World) -> None:
    truth = lying(world, "cube", yaw=0.1)
    assert errors(truth, lying(world, "cube", x=0.003, y=0.004, yaw=0.1 + np.pi / 2)) == pytest.approx((5, 0), abs=1e-6)
    assert errors(truth, lying(world, "cube", yaw=0.1 + np.radians(80)))[1] == pytest.approx(10)


def test_a_task_is_a_function_of_seed_and_index(bench: Bench, task: Task) -> None:
    again = task_of(Bench("full", 5, "shipped", SURE).pipeline, 0)
    assert to_json(again.scene) == to_json(task.scene) != to_json(task_of(bench.pipeline, 1).scene)
    assert len(task.blocks) == 3 and all(block.stackable for block in task.blocks)
    assert sorted((block.base for block in task.blocks), reverse=True) == [block.base for block in task.blocks]
    for block in task.blocks:
        for other in (*task.blocks, *task.others):
            gap = np.linalg.norm(block.center - other.center) - block.radius - other.radius
            assert other is block or gap >= CLEARANCE


def test_the_arm_reaches_a_place_by_frankas_own_parameters(kinematics: Kinematics) -> None:
    """The kinematics by the Denavit-Hartenberg parameters of Franka's documentation, Craig's convention."""
    a, d = [0, 0, 0, 0.0825, -0.0825, 0, 0.088], [0.333, 0, 0.316, 0, 0.384, 0, 0]
    twist = np.array([0, -1, 1, 1, -1, 1, 1]) * np.pi / 2

    def forward(joints: Array) -> Array:
        pose = rigid(np.eye(3), np.array(BASE))
        for k in range(7):
            pose = pose @ rigid(rotation_about(0, twist[k]), np.array([a[k], 0, 0]))
            pose = pose @ rigid(rotation_about(2, joints[k]), np.array([0, 0, d[k]]))
        return pose @ rigid(rotation_about(2, -np.pi / 4), np.array([0, 0, 0.107 + 0.105]))  # hand and fingertips

    for tip, angle in (((0.1, -0.2, 0.02), 0.3), ((-0.1, 0.15, 0.25), 1.2), ((0.12, 0.0, 0.15), -0.5)):
        pose = forward(kinematics.joints(np.array(tip), angle, HOME))
        assert pose[:3, 3] == pytest.approx(tip, abs=1.1e-3)
        assert pose[:3, 2] == pytest.approx([0, 0, -1], abs=0.02)
        assert abs(pose[:2, 1] @ [np.cos(angle), np.sin(angle)]) == pytest.approx(1, abs=1e-3)
    with pytest.raises(TroubleError, match="unreachable"):
        kinematics.joints(np.array([0.6, 0.0, 0.1]), 0.0, HOME)


def test_true_poses_stack_and_a_trial_repeats_to_the_bit(task: Task, world: World, kinematics: Kinematics) -> None:
    results = [run_trial(task, world, task.blocks, task.others, kinematics) for _ in range(2)]
    assert results[0] == results[1]
    assert faults(results[0].ended, task.kinds) == [] and results[0].trouble == ""
    assert results[0].lifted == 2 and results[0].steps < LIMIT
    places = np.array([one.place for one in results[0].ended])
    assert np.linalg.norm(places[:, :2] - task.blocks[0].center, axis=1).max() < 0.005


def test_who_cannot_reach_fails_with_its_reason(task: Task, world: World, kinematics: Kinematics) -> None:
    far = Lying(task.blocks[1].solid, rigid(np.eye(3), np.array([0.5, 0.1, 0.0])) @ task.blocks[1].solid.rests[0])
    given = replace(task, blocks=(task.blocks[0], far, task.blocks[2]))
    result = run_trial(given, world, given.blocks, task.others, kinematics)
    assert (result.trouble, result.lifted) == ("unreachable", 0) and result.steps < LIMIT
    assert "not on top" in faults(result.ended, task.kinds)
    assert cause(given.blocks, given.blocks, result.trouble) == GRASPING


def test_a_wrong_place_ends_without_a_block(task: Task, world: World, kinematics: Kinematics) -> None:
    """The robot closes its fingers on nothing: the pose is at fault."""
    pose = task.blocks[1].pose.copy()
    pose[:2, 3] = [0.0, 0.33]
    predicted = (task.blocks[0], Lying(task.blocks[1].solid, pose), task.blocks[2])
    result = run_trial(task, world, predicted, (), kinematics)
    assert (result.trouble, result.lifted) == ("nothing in the gripper", 0)
    assert cause(task.blocks, predicted, result.trouble) == SEEING


def test_every_trial_has_a_step_limit(
    task: Task, world: World, kinematics: Kinematics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(robot, "LIMIT", 300)
    result = run_trial(task, world, task.blocks, task.others, kinematics)
    assert (result.trouble, result.steps) == ("step limit", 300)


def stack(*, shift: float = 0.0, lift: float = 0.0, **last: float | bool) -> list[Ended]:
    """Three cubes on each other, the uppermost moved sideways and up."""
    cubes = [Ended("cube", (0.1, 0.2, 0.025 + 0.05 * k), 0.05, 0.05, 0.0, 0.0, False) for k in range(3)]
    x, y, z = cubes[2].place
    return [*cubes[:2], replace(cubes[2], place=(x + shift, y, z + lift), **last)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ended", "missing"),
    [
        (stack(), []),
        (stack(shift=0.0403), []),  # half a diagonal and 5 mm: 40.4 mm
        (stack(shift=0.0405), ["not on top"]),
        (stack(lift=0.0049), []),
        (stack(lift=0.0051), ["not on top"]),
        (stack(lift=-0.0051), ["not on top"]),  # leans on an edge
        (stack(speed=0.011), ["not at rest"]),  # rolls
        (stack(turning=0.51), ["not at rest"]),
        (stack(speed=0.009, turning=0.49), []),
        (stack(touched=True), ["not released"]),
        (stack(shift=0.06, lift=-0.10), ["not on top"]),  # on the table
        (stack(shift=0.1, speed=0.3, touched=True), ["not on top", "not at rest", "not released"]),
    ],
)
def test_a_stack_is_that_of_maniskill(ended: list[Ended], missing: list[str]) -> None:
    assert faults(ended, ["cube"] * 3) == missing
    assert faults(ended[::-1], ["cube"] * 3) == missing  # whichever of the cubes is on top


def test_a_stack_has_the_asked_order() -> None:
    base, middle, top = stack()
    other = replace(middle, kind="cylinder")
    assert faults([base, other, top], ["cube", "cylinder", "cube"]) == []
    assert faults([base, other, top], ["cube", "cube", "cylinder"]) == ["order"]


def test_causes_of_failures(world: World) -> None:
    truth = [lying(world, "cube", x=0.1 * k) for k in range(3)]
    off = [*truth[:2], lying(world, "cube", x=0.22)]
    assert cause(truth, truth, "") == PHYSICS
    assert cause(truth, truth, "nothing in the gripper") == GRASPING
    assert cause(truth, truth, "blocked") == GRASPING
    assert cause(truth, off, "") == cause(truth, off, "blocked") == SEEING
    assert cause(truth, [*truth[:2], None], "") == SEEING


def test_wilsons_interval_by_the_book() -> None:
    """Newcombe 1998, table I, the score method without continuity correction."""
    for successes, trials, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)
        assert wilson(trials - successes, trials) == pytest.approx((1 - high, 1 - low), abs=5e-5)
    assert _share(0, 0) == {"share": None, "interval": [0, 1]}


def test_noise_is_paired(task: Task) -> None:
    """The same numbers times the standard deviation, and one kind of noise does not change the other."""
    half, whole, both = (
        np.stack([block.pose for block in noisy_poses(task, Source(NOISE, mm, degrees), 5).blocks if block])
        for mm, degrees in ((5.0, 0.0), (10.0, 0.0), (10.0, 20.0))
    )
    true = np.stack([block.pose for block in task.blocks])
    assert whole[:, :2, 3] - true[:, :2, 3] == pytest.approx(2 * (half[:, :2, 3] - true[:, :2, 3]))
    assert np.abs(half[:, :2, 3] - true[:, :2, 3]).min() > 1e-5
    assert np.array_equal(both[:, :3, 3], whole[:, :3, 3]) and np.array_equal(whole[:, :3, :3], true[:, :3, :3])
    assert both[:, 2, :3] == pytest.approx(true[:, 2, :3]) and not np.allclose(both[:, :2, :3], true[:, :2, :3])


def test_the_robot_takes_the_most_confident_of_each_kind(world: World) -> None:
    first, second = lying(world, "cube"), lying(world, "cube", x=0.2)
    again = lying(world, "cube", x=0.005)  # the first in another picture
    rolling, standing = upright(world, "cylinder", 0.05, y=0.2), upright(world, "cylinder", 0.06, y=-0.2)
    seen = [Sighting(0.6, second), Sighting(0.9, first), Sighting(0.8, again), Sighting(0.7, rolling)]
    found = detected_poses(["cube", "cube", "cylinder"], seen)
    assert found.blocks == (first, second, None) and found.confidences == (0.9, 0.6, 0.0)
    assert found.around == (rolling,)
    found = detected_poses(["cube", "cube", "cylinder"], [*seen, Sighting(0.1, standing)])
    assert found.blocks == (first, second, standing) and found.confidences[2] == 0.1
    assert paired([second, first, standing], found.blocks) == [second, first, standing]


def test_rows_of_a_task(bench: Bench) -> None:
    """No detector is sure enough for this bench: what refuses does nothing, and what looks again refuses at last."""
    sources = [Source(TRUTH), Source(DETECTOR), Source(REFUSING), Source(LOOKING)]
    truth, seen, refusing, looking = bench.rows(0, sources)
    assert (truth.outcome, truth.off_mm, truth.off_deg, truth.confidence) == (STACKED, 0, 0, None)
    assert seen.outcome in (STACKED, FAILED) and seen.confidence is not None and 0 <= seen.confidence <= 1
    assert (seen.outcome == FAILED) == bool(seen.cause and seen.reason)
    for row in (refusing, looking):
        assert (row.outcome, row.cause, row.reason, row.lifted, row.steps) == (REFUSED, "", "", 0, 0)
    assert refusing.confidence == seen.confidence
    easy = replace(bench, confidence=0.0)
    easy.__dict__.update({name: bench.__dict__[name] for name in ("pipeline", "renderer", "detector", "kinematics")})
    assert easy.rows(0, sources)[1:] == [replace(seen, source=name) for name in (DETECTOR, REFUSING, LOOKING)]


def row(source: Source, outcome: str, of: str = "", reason: str = "", index: int = 0) -> Row:
    return Row(index, source.name, source.millimeters, source.degrees, "", outcome, of, reason, 0, 0, None, None, None)


def test_results_count_what_the_rows_say() -> None:
    truth, seen, noise = Source(REFUSING), Source(DETECTOR), Source(NOISE, 5.0)
    rows = [row(seen, STACKED, index=k) for k in range(15)] + [row(seen, FAILED, SEEING, "missed", 20)]
    rows += [row(truth, STACKED, index=k) for k in range(15)] + [row(truth, REFUSED, index=15)]
    rows += [row(noise, FAILED, PHYSICS, "not on top"), row(noise, FAILED, GRASPING, "blocked", 1)]
    found = [summary(rows, source) for source in (truth, seen, noise)]
    assert [one["stacked"] for one in found] == [15, 15, 0] and [one["refused"] for one in found] == [1, 0, 0]
    assert found[0]["of_all"]["share"] == 15 / 16 and found[0]["of_attempted"]["share"] == 1
    assert found[1]["causes"] == {SEEING: 1} and found[1]["reasons"] == {"seeing: missed": 1}
    lines = table_of(found).splitlines()
    assert lines[2] == "| detector, unsure ones refused | 15 of 16 | 72% to 99% | 1 | 100% (80% to 100%) | 0 | 0 | 0 |"
    assert lines[3] == "| detector | 15 of 16 | 72% to 99% | 0 |  | 1 | 0 | 0 |"
    assert lines[4] == "| 5 mm | 0 of 2 | 0% to 66% | 0 |  | 0 | 1 | 1 |"
    assert curves_of(found).startswith(b"\x89PNG")
    table = list(csv.DictReader(io.StringIO(csv_of(rows).decode())))
    assert [int(one["index"]) for one in table] == sorted(one.index for one in rows)
    assert {one["outcome"] for one in table} == {STACKED, FAILED, REFUSED}


def test_a_film_has_all_frames(tmp_path: Path) -> None:
    frames = [np.full((24, 64, 3), 80 * k, np.uint8) for k in range(3)]
    (tmp_path / "film.gif").write_bytes(gif_bytes(frames))
    with opened(tmp_path / "film.gif") as film:
        assert (film.n_frames, film.size) == (3, (64, 24))  # type: ignore[attr-defined]


def test_a_folder_is_of_one_bench(tmp_path: Path) -> None:
    script = script_module("stack_blocks")
    script.claim_folder(tmp_path / "out", {"seed": 1})
    script.claim_folder(tmp_path / "out", {"seed": 1})
    with pytest.raises(ConfigError, match="holds trials of other settings"):
        script.claim_folder(tmp_path / "out", {"seed": 2})
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "photograph.jpg").touch()
    for path in (tmp_path / "own", tmp_path / "own" / "photograph.jpg"):
        with pytest.raises(ConfigError, match="is not empty and holds no trials"):
            script.claim_folder(path, {"seed": 1})


def test_a_refused_trial_has_the_poses_that_were_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those after the last look, not those of the first picture."""
    task = task_of(bench.pipeline, 0)
    first = bench._row(task, 0, Source(DETECTOR), true_poses(task))
    first = replace(first, confidence=0.4)
    for looks in ([], [Sighting(0.3, task.blocks[0])]):
        monkeypatch.setattr(Bench, "seen", lambda self, task, count, looks=looks: looks)
        row = bench._careful(task, 0, Source(LOOKING), first)
        assert (row.source, row.outcome, row.confidence, row.steps) == (LOOKING, REFUSED, 0.0, 0)
        assert (row.off_mm, row.off_deg) == ((0.0, 0.0) if looks else (None, None))
    row = bench._careful(task, 0, Source(REFUSING), first)
    assert row == replace(first, source=REFUSING, outcome=REFUSED, cause="", reason="", lifted=0, steps=0)


def test_bad_input_is_refused_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, message in (
        (["--trials", "0"], "--trials: got 0; expected 1 or more"),
        (["--mm", "-2"], "--mm: got [-2.0]; expected different numbers above 0"),
        (["--mm", "4", "4.0"], "--mm: got [4.0, 4.0]; expected different numbers above 0"),
        (["--degrees", "nan"], "--degrees: got [nan]; expected different numbers above 0"),
        (["--confidence", "50"], "--confidence: got 50.0; expected 0 to 1"),
        (["--trials", "12", "--noise-trials", "13"], "--noise-trials: got 13; expected at most --trials, 12"),
        (["--mm", "--degrees", "--noise-trials", "7"], "--noise-trials: has no effect without noise"),
        (["--randomize", "phot"], "randomize: "),
        (["--checkpoint", "none.ckpt"], "none.ckpt: "),
    ):
        monkeypatch.setattr(sys, "argv", ["stack_blocks.py", str(tmp_path / "out"), *arguments])
        with pytest.raises(SimgenError, match=re.escape(message)):
            script_module("stack_blocks").main()
    assert not (tmp_path / "out").exists()


def test_a_process_that_was_ended_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bench: Bench) -> None:
    """As where memory is short; what is done is kept."""
    script = script_module("stack_blocks")

    class Ended(ThreadPoolExecutor):
        def __init__(self, workers: int, *_: object) -> None:
            super().__init__(workers)

        def map(self, *_: object) -> Iterator[list[Row]]:  # type: ignore[override]
            yield []
            raise BrokenProcessPool

    monkeypatch.setattr(script, "ProcessPoolExecutor", Ended)
    with pytest.raises(SimgenError, match="the same command goes on, with fewer --workers"):
        script.run_trials(tmp_path, bench, 2, 1, script.sources_of([], []), 1)
    assert [path.name for path in (tmp_path / "tasks").iterdir()] == ["000000.json"]


def row_of(cells: dict[str, str]) -> Row:
    """A row of trials.csv."""
    numbers = {name: int(cells[name]) for name in ("index", "lifted", "steps")}
    reals = {name: float(cells[name]) if cells[name] else None for name in ("confidence", "off_mm", "off_deg")}
    noise = {name: float(cells[name]) for name in ("millimeters", "degrees")}
    return Row(**{**cells, **numbers, **reals, **noise})  # type: ignore[arg-type]


def test_published_results_are_of_the_script() -> None:
    """scripts/results/stack_blocks.json has the sources of the defaults and is of the bundled model, docs/results.md has its
    table, and all of it follows from the trials in stack_blocks.csv."""
    stored = json.loads((ROOT / "scripts" / "results" / "stack_blocks.json").read_text())
    assert stored["sha256"] == sha256_of(place_of("shipped"))
    with (ROOT / "scripts" / "results" / "stack_blocks.csv").open(newline="") as file:
        rows = [row_of(row) for row in csv.DictReader(file)]
    for one in stored["sources"]:
        assert summary(rows, Source(one["name"], one["millimeters"], one["degrees"])) == one
    script = script_module("stack_blocks")
    sources = script.sources_of(list(script.MILLIMETERS), list(script.DEGREES))
    assert [Source(one["name"], one["millimeters"], one["degrees"]) for one in stored["sources"]] == sources
    page = (ROOT / "docs" / "results.md").read_text()
    assert table_of(stored["sources"]) in page
