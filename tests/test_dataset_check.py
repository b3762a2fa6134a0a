"""`python -m simgen check`: a clean dataset has no findings, and each of many faults is found by its name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from simgen.check import findings
from simgen.check.command import check, findings_of
from simgen.check.schema import CheckConfig
from simgen.config import compose
from simgen.schema import Render
from simgen.workers import render

SCENE = Path("train/000000")


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures whose first block is large and wholly visible."""
    root = tmp_path_factory.mktemp("clean") / "set"
    small = ["num=2", "workers=1", "width=320", "height=240", "physics=place", "seed=11", "randomize=none"]
    varied = [
        "randomize.blocks.count=2",
        "randomize.blocks.slots=2",
        "randomize.blocks.place=[uniform,[-0.2,-0.2],[0.2,0.2]]",
        "randomize.blocks.yaw_deg=[uniform,0,360]",
        "randomize.camera.azimuth_deg=[uniform,0,360]",
        "randomize.camera.distance=0.7",
    ]
    render(compose("render", Render, [f"out={root}", *small, *varied]))
    return root


def names(root: Path, **changes: Any) -> list[str]:
    config = CheckConfig(dataset=str(root), **{"hashes": False, **changes})
    return sorted({one.name for one in findings_of(config)})


def edit(root: Path, file: str, change: Callable[[Any], Any]) -> None:
    path = root / file if (root / file).exists() else root / SCENE / file
    content = json.loads(path.read_text())
    path.write_text(json.dumps(change(content) or content))


def truth(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """A change of the first object of the first picture."""
    return lambda root: edit(root, "scene_gt.json", lambda gt: change(gt["0"][0]))


def info(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    return lambda root: edit(root, "scene_gt_info.json", lambda infos: change(infos["0"][0]))


def camera(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    return lambda root: edit(root, "scene_camera.json", lambda cameras: change(cameras["0"]))


def model(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    return lambda root: edit(root, "models/models_info.json", lambda models: change(models[min(models)]))


def times(key: str, factor: float) -> Callable[[dict[str, Any]], None]:
    def change(entry: dict[str, Any]) -> None:
        value = entry[key]
        entry[key] = [factor * one for one in value] if isinstance(value, list) else factor * value

    return change


def picture(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        path = next(iter(sorted((root / SCENE).glob(name))))
        cv2.imwrite(str(path), change(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)))

    return apply


def in_meters(entry: dict[str, Any]) -> None:
    for key in ("diameter", *(f"{name}_{axis}" for name in ("min", "size") for axis in "xyz")):
        entry[key] *= 0.001


def turned(entry: dict[str, Any]) -> None:
    """A turn by 20 degrees about the camera's Z axis."""
    cosine, sine = np.cos(np.radians(20)), np.sin(np.radians(20))
    turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    entry["cam_R_m2c"] = (turn @ np.array(entry["cam_R_m2c"]).reshape(3, 3)).ravel().tolist()


def moved(entry: dict[str, Any]) -> None:
    entry["cam_t_m2c"][0] += 8  # mm


def farther(entry: dict[str, Any]) -> None:
    entry["cam_t_m2c"] = [1.1 * one for one in entry["cam_t_m2c"]]


def gone(name: str) -> Callable[[Path], None]:
    return lambda root: next(iter(sorted((root / SCENE).glob(name)))).unlink()


def copied(source: str, to: str) -> Callable[[Path], None]:
    return lambda root: shutil.copy(next(iter(sorted((root / SCENE).glob(source)))), root / SCENE / to)


def truncated(name: str) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        path = next(iter(sorted((root / SCENE).glob(name))))
        path.write_bytes(path.read_bytes()[:100])

    return apply


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a matrix that is no rotation": (truth(times("cam_R_m2c", 1.02)), "not_a_rotation"),
    "a mirrored pose": (
        truth(lambda entry: entry["cam_R_m2c"].__setitem__(slice(0, 3), [-x for x in entry["cam_R_m2c"][:3]])),
        "not_a_rotation",
    ),
    "meters": (truth(times("cam_t_m2c", 0.001)), "wrong_unit"),
    "behind the camera": (truth(times("cam_t_m2c", -1)), "behind_camera"),
    "a moved block": (truth(moved), "mask_unlike_pose"),
    "a turned block": (truth(turned), "mask_unlike_pose"),
    "a block farther away": (truth(farther), "depth_unlike_pose"),
    "no pose": (truth(lambda entry: entry.pop("cam_t_m2c")), "bad_value"),
    "a pose that is not finite": (truth(lambda entry: entry["cam_t_m2c"].__setitem__(0, float("nan"))), "bad_value"),
    "an object without a model": (truth(lambda entry: entry.update(obj_id=99)), "unknown_object"),
    "a box of another picture": (
        info(lambda entry: entry["bbox_visib"].__setitem__(0, 3 + entry["bbox_visib"][0])),
        "box_unlike_mask",
    ),
    "a box of the whole block": (
        info(lambda entry: entry["bbox_obj"].__setitem__(2, 9 + entry["bbox_obj"][2])),
        "box_unlike_mask",
    ),
    "a count of visible pixels": (
        info(lambda entry: entry.update(px_count_visib=entry["px_count_visib"] + 1)),
        "count_unlike_mask",
    ),
    "a count of all pixels": (info(times("px_count_all", 2)), "count_unlike_mask"),
    "a visible fraction": (info(times("visib_fract", 0.9)), "count_unlike_mask"),
    "an entry too many": (
        lambda root: edit(root, "scene_gt_info.json", lambda infos: infos["0"].append(infos["0"][0])),
        "unequal_counts",
    ),
    "a focal length of another size": (
        camera(lambda entry: entry["cam_K"].__setitem__(0, 1.2 * entry["cam_K"][0])),
        "mask_unlike_pose",
    ),
    "normalized intrinsics": (camera(times("cam_K", 1 / 320)), "camera_unlike_picture"),
    "a scale of depth": (camera(times("depth_scale", 10)), "depth_unlike_pose"),
    "no scale of depth": (camera(lambda entry: entry.pop("depth_scale")), "bad_value"),
    "no entry of a picture": (
        lambda root: edit(root, "scene_camera.json", lambda cameras: cameras.pop("0") and cameras),
        "unlisted_picture",
    ),
    "a diameter": (model(times("diameter", 1.1)), "mesh_unlike_models_info"),
    "a model in meters": (model(in_meters), "wrong_unit"),
    "a symmetry that is none": (
        model(lambda entry: entry.update(symmetries_discrete=[[1, 0, 0, 9, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]])),
        "symmetry_unlike_mesh",
    ),
    "no mesh": (lambda root: next(iter(sorted((root / "models").glob("*.ply")))).unlink(), "missing_file"),
    "an empty mask": (picture("mask/*.png", lambda mask: 0 * mask), "visible_beyond_mask"),
    "a shifted mask": (picture("mask/*.png", lambda mask: np.roll(mask, 6, 1)), "mask_unlike_pose"),
    "a mask of half the size": (picture("mask/*.png", lambda mask: mask[::2, ::2].copy()), "mask_size"),
    "no mask": (gone("mask/*.png"), "missing_file"),
    "two blocks in one pixel": (
        copied("mask_visib/000000_000000.png", "mask_visib/000000_000001.png"),
        "visible_twice",
    ),
    "a truncated picture": (truncated("rgb/*"), "unreadable_file"),
    "a truncated JSON": (truncated("scene_gt.json"), "unreadable_file"),
    "no truth": (gone("scene_gt.json"), "missing_file"),
    "a blank picture": (picture("rgb/*", lambda image: np.full_like(image, 90)), "blank_picture"),
    "a dark picture": (picture("rgb/*", lambda image: image // 20), "dark_picture"),
    "the same picture twice": (copied("rgb/000000.*", "rgb/000001.jpg"), "same_picture"),
    "a repeated picture in another split": (
        lambda root: shutil.copytree(root / "train", root / "test"),
        "same_picture",
    ),
}


def test_a_clean_dataset_has_no_findings(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert names(clean, hashes=True) == []
    assert check(CheckConfig(dataset=str(clean))) == 0
    assert capsys.readouterr().out.endswith("0 errors, 0 warnings\n")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_by_its_name(fault: str, clean: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    shutil.copytree(clean, root)
    change, name = FAULTS[fault]
    change(root)
    assert name in names(root)


def test_changed_and_missing_files_of_the_manifest(clean: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    shutil.copytree(clean, root)
    gone("depth/*.png")(root)
    info(lambda entry: None)(root)  # writes the same content with other spaces
    assert names(root, hashes=True) == ["changed_file", "missing_file"]


def test_findings_are_written_as_json_and_the_status_is_1(
    clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = tmp_path / "set", tmp_path / "findings.json"
    shutil.copytree(clean, root)
    truth(moved)(root)
    assert check(CheckConfig(dataset=str(root), hashes=False, out=str(out))) == 1
    (found,) = [one for one in json.loads(out.read_text())["findings"] if one["name"] == "mask_unlike_pose"]
    assert found["severity"] == "error" and found["where"] == "train/000000/000000 object 0" and found["remedy"]
    assert f"error: mask_unlike_pose: {found['where']}: {found['what']}; {found['remedy']}" in capsys.readouterr().out


def test_every_kind_of_finding_is_described_and_some_fault_leads_to_it() -> None:
    kinds = {kind("", "").name: kind for kind in findings.Finding.__subclasses__()}
    assert all(kind.remedy and kind.severity in ("error", "warning") for kind in kinds.values())
    assert {name for _, name in FAULTS.values()} | {"changed_file", "no_pictures"} == set(kinds)
