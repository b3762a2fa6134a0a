"""`python -m simgen check` on input that nobody should trust, on samples made again, and within `render check=true`."""

import copy as copies
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import run_command, scene_of_blocks
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import simgen.pipeline
from simgen.__main__ import COMMANDS
from simgen.check.command import findings_of
from simgen.check.remake import source_of
from simgen.check.schema import CheckConfig
from simgen.config import compose, main
from simgen.dataset.recipe import describe
from simgen.errors import SimgenError
from simgen.labels import Label, labels_of
from simgen.pipeline import make_pipeline
from simgen.schema import Render
from simgen.workers import render

SCENE = Path("train/000000")
SMALL = ("num=4", "workers=1", "width=64", "height=48", "physics=place", "randomize=none")
VARIED = (
    "randomize.blocks.yaw_deg=[uniform,0,360]",
    "randomize.camera.azimuth_deg=[uniform,0,360]",
    "randomize.camera.elevation_deg=[uniform,35,60]",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A scene of one kind of block."""
    blocks = "cube: {shape: cube, size: [0.05, 0.05, 0.05]}\n"
    return f"scene={scene_of_blocks(tmp_path_factory.mktemp('scene'), blocks)}"


@pytest.fixture(scope="module")
def clean(world: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clean") / "set"
    render(compose("render", Render, [f"out={root}", world, *SMALL, *VARIED]))
    (root / "test_targets_bop19.json").write_text(
        json.dumps([{"scene_id": 0, "im_id": 0, "obj_id": 1, "inst_count": 1}])
    )
    return root


@pytest.fixture
def copy(clean: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clean, tmp_path / "set"))


def check(*arguments: str) -> Any:
    return run_command(lambda: main("simgen", COMMANDS), "simgen", "check", *arguments)


# ---- hostile files

FILES = (
    "manifest.json",
    "models/models_info.json",
    "train/000000/scene_gt.json",
    "train/000000/scene_gt_info.json",
    "train/000000/scene_camera.json",
    "train/000000/scene_keypoints.json",
    "train/000000/sample/000000.json",
    "test_targets_bop19.json",
)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(), st.text(max_size=5), st.just("<img src=x onerror=alert(1)>"),
    st.sampled_from([10**30, -(10**400), 1e308, -1e308, 2**63, "\ud800", "\x1b[2J\n", "${oc.env:HOME}", "???", "../.."]),
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def nodes(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to all values in a JSON value."""
    yield above
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from nodes(value[key], (*above, key))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy of `value` with `new` at `path`; without it if `new` is an Ellipsis."""
    if not path:
        return None if new is ... else new
    result = copies.deepcopy(value)
    inner = result
    for key in path[:-1]:
        inner = inner[key]
    if new is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = new
    return result


@given(st.data())
@settings(
    max_examples=int(os.environ.get("FUZZ", "20")),
    deadline=None,
    derandomize="FUZZ" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_mutated_files_lead_to_findings_and_never_to_an_exception(clean: Path, data: st.DataObject) -> None:
    """One to three values of one file are replaced by others, or removed."""
    path = clean / data.draw(st.sampled_from(FILES))
    before = path.read_bytes()
    content = json.loads(before)
    for _ in range(data.draw(st.integers(1, 3))):
        every = list(nodes(content))
        by_depth = sorted({len(one) for one in every})  # deep values are many: each depth is as likely
        depth = data.draw(st.sampled_from(by_depth))
        at = data.draw(st.sampled_from([one for one in every if len(one) == depth]))
        content = changed(content, at, data.draw(VALUES | st.just(...)))
    path.write_text(json.dumps(content))
    try:
        for one in findings_of(CheckConfig(dataset=str(clean), hashes=False, improbable=0)):
            assert one.line.isprintable()
            json.dumps(one.to_json(), allow_nan=False).encode()
    except SimgenError:
        pass
    finally:
        path.write_bytes(before)


def test_names_from_a_dataset_cannot_draw_on_the_terminal(copy: Path) -> None:
    """Line ends, escapes and bytes that are no UTF-8, in the names of files and in values."""
    info = json.loads((copy / "models/models_info.json").read_text())
    (copy / "models/models_info.json").write_text(json.dumps({"1": info["1"], "<b>\x1b[2J\n": {}}))
    (copy / os.fsdecode(b"train/000000/rgb/\xff\xfe.jpg")).write_bytes(b"")
    done = check(f"dataset={copy}", f"out={copy.parent / 'findings.json'}", "hashes=false")
    assert done.returncode == 1
    assert "bad_value: models/models_info.json: model <b>\\x1b[2J\\n: expected" in done.stdout
    assert all(line.isprintable() for line in done.stdout.splitlines())


def test_a_full_disk_and_a_file_of_somebody_else(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is overwritten but earlier findings, and those only by whole new ones."""
    other, out = tmp_path / "notes.json", tmp_path / "findings.json"
    other.write_text("{}")
    done = check(f"dataset={copy}", f"out={other}")
    assert done.returncode == 2 and "out:" in done.stderr and "name another file" in done.stderr
    assert other.read_text() == "{}"
    assert check(f"dataset={copy}", f"out={out}").returncode == 0
    before = out.read_text()
    assert json.loads(before)["errors"] == 0

    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        done = check(f"dataset={copy}", f"out={out}")
    assert done.returncode == 2 and "No space left on device" in done.stderr and done.stderr.count("\n") == 1
    assert out.read_text() == before and sorted(path.name for path in tmp_path.glob("*findings*")) == ["findings.json"]


@pytest.mark.parametrize("setting", ["dataset=nowhere", "border_px=-1", "shortcut=nan", "remake=-2"])
def test_bad_settings(setting: str, clean: Path) -> None:
    done = check(*([] if setting.startswith("dataset") else [f"dataset={clean}"]), setting)
    assert done.returncode == 2 and setting.split("=")[0] in done.stderr


# ---- samples made again


def remade(root: Path, **changes: Any) -> list[tuple[str, str, str]]:
    config = CheckConfig(dataset=str(root), **{"hashes": False, "improbable": 0, "near": 0, "remake": 2, **changes})
    return [(one.name, one.where, one.what) for one in findings_of(config)]


def edit(path: Path, change: Any) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_samples_are_made_again_and_compared(copy: Path) -> None:
    """A file of another seed is reported; with other versions of packages, or last bits, this is given as the reason."""
    assert remade(copy, remake=9) == []  # all four
    sample, manifest = copy / SCENE / "sample/000002.json", copy / "manifest.json"
    before, recipe = sample.read_bytes(), manifest.read_bytes()
    edit(sample, lambda record: record["recipe"]["sensor"].update(gamma=[1 + 2**-50]))
    ((name, where, what),) = remade(copy, remake=4)
    assert (name, where) == (
        "not_reproduced_here",
        "sample 2",
    ) and "another architecture of the processor is likely" in what
    edit(sample, lambda record: record["recipe"]["sensor"].update(gamma=[1.1]))
    ((name, where, what),) = remade(copy, remake=4)
    assert (name, where) == ("not_reproduced", "sample 2")
    assert what.startswith("1 of its") and "train/000000/sample/000002.json" in what
    edit(manifest, lambda all: all["recipe"]["versions"].update(numpy="1.0"))
    ((name, _, what),) = remade(copy, remake=4)
    assert name == "not_reproduced_here" and "rendered with other versions: numpy 1.0, here" in what
    sample.write_bytes(before)
    manifest.write_bytes(recipe)
    picture = next((copy / SCENE / "rgb").glob("000002.*"))
    whole = picture.read_bytes()
    picture.write_bytes(b"")
    found = [one for one in remade(copy, remake=4) if one[0] == "not_reproduced"]
    assert [where for _, where, _ in found] == ["sample 2"] and picture.name in found[0][2]
    picture.write_bytes(whole)
    edit(manifest, lambda all: all["recipe"].update(seed=1))
    assert [one[0] for one in remade(copy)] == ["not_reproduced"] * 2
    edit(manifest, lambda all: all["recipe"].update(scene="/nowhere/scene.yaml"))
    ((name, _, what),) = remade(copy)
    assert name == "not_remade" and "/nowhere/scene.yaml: no such file" in what
    edit(manifest, lambda all: all["recipe"].update(data_version=8))
    ((name, _, what),) = remade(copy)
    assert name == "not_remade" and "data version 8" in what


def test_a_recipe_is_the_configuration_it_came_from(world: str) -> None:
    """For every preset, and a camera's file or none."""
    for preset in ("none", "full", "tobin2017"):
        config = compose(
            "render", Render, [world, f"randomize={preset}", "physics=place", "seed=5", "width=64", "height=48"]
        )
        made = make_pipeline(config)
        recipe = json.loads(json.dumps(describe(config, made.world, made.sampler, made.images)))
        again = source_of(recipe)
        assert again.randomize == config.randomize and (again.seed, again.physics) == (5, "place")
        assert json.loads(json.dumps(describe(again, made.world, made.sampler, made.images))) == recipe


# ---- within a render


def test_a_wrong_sample_ends_the_render(world: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names it; those before it are stored, and after the cause is gone the same command completes the dataset."""

    def wrong(scenes: Any, *others: Any) -> list[list[Label]]:
        made = labels_of(scenes, *others)
        shift = np.eye(4)
        shift[0, 3] = 0.06  # m
        return [
            [replace(one, camera_from_block=shift @ one.camera_from_block) if index == 2 else one for one in labels]
            for index, labels in zip(scenes.index, made, strict=True)
        ]

    arguments = ("render", "check=true", f"out={tmp_path / 'set'}", world, *SMALL, *VARIED)
    with monkeypatch.context() as patch:
        patch.setattr(simgen.pipeline, "labels_of", wrong)
        done = run_command(lambda: main("simgen", COMMANDS), "simgen", *arguments)
    assert done.returncode == 2
    assert "check: sample 2: mask_unlike_pose: sample 2 object 0" in done.stderr and done.stderr.count("error:") == 1
    stored = sorted(path.relative_to(tmp_path / "set").as_posix() for path in (tmp_path / "set").glob("train/*/*/*"))
    assert {path.split("/")[-1][:6] for path in stored} == {"000000", "000001"}
    assert run_command(lambda: main("simgen", COMMANDS), "simgen", *arguments).returncode == 0
    assert findings_of(CheckConfig(dataset=str(tmp_path / "set"))) == []
