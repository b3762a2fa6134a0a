"""`python -m simgen check`: a clean dataset has no findings, and each of many faults is found by its name."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from builders import scene_of_blocks

from simgen.check import findings
from simgen.check.command import check, findings_of
from simgen.check.pictures import Seen
from simgen.check.schema import CheckConfig
from simgen.check.shortcuts import check_shortcuts
from simgen.check.table import Table
from simgen.config import compose
from simgen.schema import Render
from simgen.workers import render

SCENE = Path("train/000000")


BLOCKS = "cube: {shape: cube, size: [0.05, 0.05, 0.05]}\nslab: {shape: rectangular_prism, size: [0.04, 0.08, 0.03]}\n"
VARIED = (
    "randomize.blocks.count=2",
    "randomize.blocks.slots=2",
    "randomize.blocks.model=any",
    "randomize.blocks.place=[uniform,[-0.2,-0.2],[0.2,0.2]]",
    "randomize.blocks.yaw_deg=[uniform,0,360]",
    "randomize.camera.azimuth_deg=[uniform,0,360]",
    "randomize.camera.elevation_deg=[uniform,35,60]",
    "randomize.camera.distance=[uniform,0.6,0.7]",
)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A scene of two kinds of blocks."""
    return str(scene_of_blocks(tmp_path_factory.mktemp("scene"), BLOCKS))


def rendered(root: Path, scene: str, *overrides: str) -> Path:
    render(compose("render", Render, [f"out={root}", f"scene={scene}", "workers=1", "physics=place", *overrides]))
    return root


@pytest.fixture(scope="module")
def clean(scene: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures whose first block is large and wholly visible."""
    size = ("width=320", "height=240")
    return rendered(
        tmp_path_factory.mktemp("clean") / "set", scene, "num=2", "seed=11", "randomize=none", *size, *VARIED
    )


@pytest.fixture(scope="module")
def many(scene: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 small pictures of which much varies, but not sensor.gamma."""
    less = [f"randomize.{name}.{key}=0" for name in ("clutter", "distractors") for key in ("slots", "count")]
    size = ("width=64", "height=48")
    frozen = "randomize.sensor.gamma=1"
    root = tmp_path_factory.mktemp("many") / "set"
    return rendered(root, scene, "num=24", "randomize=full", "randomize.blocks.count=1", *size, *less, frozen)


@pytest.fixture
def copy(clean: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clean, tmp_path / "set"))


@pytest.fixture
def copies(many: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(many, tmp_path / "set"))


def names(root: Path, **changes: Any) -> list[str]:
    return sorted({one.name for one in found_in(root, **changes)})


def found_in(root: Path, **changes: Any) -> list[findings.Finding]:
    return findings_of(CheckConfig(dataset=str(root), **{"hashes": False, "improbable": 0, "near": 0, **changes}))


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


def copied(source: str, to: str) -> Callable[[Path], Any]:
    return lambda root: shutil.copy(next(iter(sorted((root / SCENE).glob(source)))), root / SCENE / to)


def truncated(name: str, share: float = 0.0) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        path = next(iter(sorted((root / SCENE).glob(name))))
        data = path.read_bytes()
        path.write_bytes(data[: max(100, int(share * len(data)))])

    return apply


def huge(root: Path) -> None:
    """A PNG file that states a size of 100,000 x 100,000 pixels."""
    path = next(iter(sorted((root / SCENE).glob("mask/*"))))
    data = path.read_bytes()
    path.write_bytes(data[:16] + struct.pack(">II", 100_000, 100_000) + data[24:])


def target(**changes: int) -> Callable[[Path], None]:
    """A list of targets of the first object of the first picture, with `changes`."""

    def apply(root: Path) -> None:
        (root / "train").rename(root / "test")
        first = json.loads((root / "test" / "000000" / "scene_gt.json").read_text())["0"]
        obj_id = first[0]["obj_id"]
        count = sum(one["obj_id"] == obj_id for one in first)
        right = {"scene_id": 0, "im_id": 0, "obj_id": obj_id, "inst_count": count}
        (root / "test_targets_bop19.json").write_text(json.dumps([right | changes]))

    return apply


def linked(name: str) -> Callable[[Path], None]:
    """Moves a file or folder out of the dataset and leaves a link."""

    def apply(root: Path) -> None:
        path = next(iter(sorted(root.glob(name))))
        path.rename(root.parent / "elsewhere")
        path.symlink_to(root.parent / "elsewhere")

    return apply


def crowded(root: Path) -> None:
    """Labels of 200,000 pictures that do not exist."""
    path = root / SCENE / "scene_gt.json"
    path.write_text(path.read_text().rstrip("}\n ") + ",\n" + ",".join(f'"{k}":[]' for k in range(2, 200_000)) + "}")


def deep(root: Path) -> None:
    (root / SCENE / "scene_gt.json").write_text("[" * 100_000)


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
    "a count of pixels with depth": (info(times("px_count_valid", 0.5)), "count_unlike_mask"),
    "text in place of a box": (info(lambda entry: entry.update(bbox_obj="here")), "bad_value"),
    "a keypoint": (
        lambda root: edit(
            root, "scene_keypoints.json", lambda all: all["0"][0]["keypoints_px"].__setitem__(0, [1.0, 1.0])
        ),
        "keypoint_unlike_pose",
    ),
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
    "a symmetry that is no rotation": (
        model(lambda entry: entry.update(symmetries_discrete=[[0] * 15 + [1]])),
        "not_a_rotation",
    ),
    "a symmetry of 12 numbers": (model(lambda entry: entry.update(symmetries_discrete=[[0] * 12])), "bad_value"),
    "a camera in the world that is no rotation": (camera(times("cam_R_w2c", 2)), "not_a_rotation"),
    "text in place of a matrix": (camera(lambda entry: entry.update(cam_K="<script>alert(1)</script>")), "bad_value"),
    "targets of no picture": (target(im_id=7), "target_unlike_truth"),
    "targets of no object": (target(obj_id=77), "target_unlike_truth"),
    "too many targets": (target(inst_count=9), "target_unlike_truth"),
    "targets of no number": (target(scene_id=True), "bad_value"),
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
    "half a JPEG file": (truncated("rgb/*", 0.5), "unreadable_file"),
    "half a depth": (truncated("depth/*", 0.9), "unreadable_file"),
    "a mask of 10 gigapixels": (huge, "unreadable_file"),
    "a JSON of 200,000 entries": (crowded, "missing_file"),
    "a JSON of 100,000 brackets": (deep, "unreadable_file"),
    "a link to a picture elsewhere": (linked("train/*/rgb/*"), "link_outside"),
    "a link to labels elsewhere": (linked("train/*/scene_gt.json"), "link_outside"),
    "a link to a scene elsewhere": (linked("train/*"), "link_outside"),
    "a manifest of a newer version": (
        lambda root: edit(root, "manifest.json", lambda all: all["recipe"].update(data_version=99)),
        "newer_version",
    ),
    "a manifest without a version": (
        lambda root: edit(root, "manifest.json", lambda all: all["recipe"].pop("data_version") and None),
        "bad_value",
    ),
    "an unfinished dataset": (
        lambda root: edit(root, "manifest.json", lambda all: all.update(status="rendering")),
        "unfinished",
    ),
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


def test_a_clean_dataset_has_no_findings(clean: Path, many: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for root in (clean, many):
        assert findings_of(CheckConfig(dataset=str(root), remake=1)) == []
    assert check(CheckConfig(dataset=str(clean))) == 0
    assert capsys.readouterr().out.endswith("0 errors, 0 warnings\n")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_by_its_name(fault: str, copy: Path) -> None:
    change, name = FAULTS[fault]
    change(copy)
    assert name in names(copy)


def recipes(root: Path, change: Callable[[dict[str, Any], int], None], first: int = 0, last: int = 23) -> None:
    """Changes the recipes of the pictures `first` to `last`."""
    for k in range(first, last + 1):
        edit(root, f"sample/{k:06d}.json", lambda record, k=k: change(record["recipe"], k))  # type: ignore[misc]


def stuck(key: str, value: Any) -> Callable[[dict[str, Any], int], None]:
    """A recipe whose table has the same `key` always."""
    return lambda recipe, k: recipe["surfaces"]["material"][key][0].__setitem__(0, value)


def shown_as(root: Path, quality: int) -> None:
    """Picture 7 is picture 3, compressed again."""
    image = np.asarray(cv2.imread(str(root / SCENE / "rgb/000003.jpg")))
    cv2.imwrite(str(root / SCENE / "rgb/000007.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, quality])


def repeated(root: Path) -> None:
    """Picture 7 is picture 3 brighter, with its labels."""
    for name in ("scene_gt.json", "scene_camera.json"):
        edit(root, name, lambda all: all.update({"7": all["3"]}))
    image = np.asarray(cv2.imread(str(root / SCENE / "rgb/000003.jpg"))).astype(float)
    cv2.imwrite(str(root / SCENE / "rgb/000007.jpg"), np.clip(image * 1.1 + 5, 0, 255))


def brighter_copy(root: Path) -> None:
    """The split "val", of the pictures of "train", one of them compressed again."""
    shutil.copytree(root / SCENE, root / "val/000000")
    for path in sorted((root / "val/000000/rgb").iterdir()):
        image = np.asarray(cv2.imread(str(path)))
        cv2.imwrite(str(path), image[::-1, ::-1] if path.stem != "000004" else image, [cv2.IMWRITE_JPEG_QUALITY, 60])


def relabeled(root: Path) -> None:
    """The kind of a block follows from the exposure."""
    by_exposure = {}
    for path in sorted((root / SCENE / "sample").iterdir()):
        by_exposure[str(int(path.stem))] = json.loads(path.read_text())["recipe"]["sensor"]["exposure"][0] > 0
    edit(
        root,
        "scene_gt.json",
        lambda all: [one.update(obj_id=1 + by_exposure[k]) for k in all for one in all[k]] and None,
    )


WHOLE: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "a table with one texture": (
        lambda root: recipes(root, stuck("texture", 3)),
        "stuck_texture",
        "table.texture: the same in 24 pictures in a row",
    ),
    "a table with one pattern in a few pictures": (
        lambda root: recipes(root, stuck("pattern", 77), 10, 15),
        "stuck_texture",
        "table.pattern: the same in 6 pictures in a row",
    ),
    "one exposure": (
        lambda root: recipes(root, lambda recipe, k: recipe["sensor"].update(exposure=[0.25])),
        "stuck_factor",
        "sensor.exposure: the same in 24 pictures in a row",
    ),
    "one viewpoint": (
        lambda root: recipes(
            root, lambda recipe, k: recipe["cameras"].update(world_from_camera=[np.eye(4).tolist()]), 3, 9
        ),
        "stuck_factor",
        "camera.from_origin.distance, camera.from_origin.azimuth_deg, camera.from_origin.elevation_deg: the same in 7 "
        "pictures in a row",
    ),
    "four lights always": (
        lambda root: recipes(root, lambda recipe, k: recipe["lights"].update(present=[[True] * 4])),
        "stuck_factor",
        "light.count: the same in 24 pictures in a row",
    ),
    "no long exposures": (
        lambda root: recipes(root, lambda recipe, k: recipe["sensor"].update(exposure=[-0.7 + 0.001 * k])),
        "hole_in_distribution",
        "none of 24 pictures has a value above -0.677",
    ),
    "a hole in the middle": (
        lambda root: recipes(root, lambda recipe, k: recipe["sensor"].update(vignette=[0.001 * k + 0.35 * (k % 2)])),
        "hole_in_distribution",
        "none of 24 pictures has a value between 0.022 and 0.351",
    ),
    "a recipe that is not finite": (
        lambda root: recipes(root, lambda recipe, k: recipe["sensor"].update(exposure=[float("nan")]), 0, 0),
        "bad_value",
        "its recipe is damaged",
    ),
    "a copy under other labels": (lambda root: shown_as(root, 60), "near_picture", "the same as train/000000/000003"),
    "a brighter copy with its labels": (repeated, "near_picture", "the same as train/000000/000003"),
    "a picture of another split, compressed": (
        brighter_copy,
        "near_picture_in_other_split",
        "nearly the same as train/000000/000004",
    ),
}


@pytest.mark.parametrize("fault", WHOLE)
def test_a_fault_of_the_whole_is_found_by_its_name(fault: str, copies: Path) -> None:
    change, name, what = WHOLE[fault]
    change(copies)
    found = [one for one in found_in(copies, improbable=1e-6, near=6) if one.name == name]
    assert len(found) == 1 and what in found[0].what


def pictures(
    kinds: list[int], brightness: list[float], area: list[int], values: dict[str, list[Any]]
) -> tuple[list[Seen], Table]:
    """Pictures of one object each, and the values of their factors."""
    small, none, table = np.zeros((24, 32), np.uint8), np.zeros((1, 3)), Table()
    for k in range(len(kinds)):
        table.add(str(k), {name: column[k] for name, column in values.items()})
    return [
        Seen(str(k), "train", "", light, small, b"", (kind,), none, np.eye(3)[None], (pixels,))
        for k, (kind, light, pixels) in enumerate(zip(kinds, brightness, area, strict=True))
    ], table


def test_shortcuts() -> None:
    """What gives the kind away is reported, and no more: neither noise nor a hint that is often wrong."""
    rng = np.random.default_rng(0)
    kinds = rng.integers(1, 4, 200)
    wood = ["wood" if kind == 1 else "stone" if kind == 2 else "noise" for kind in kinds]
    columns = {
        "table.texture": wood,
        "light.count": list(np.where(rng.random(200) < 0.4, kinds, rng.integers(1, 4, 200)).astype(float)),
        "sensor.gamma": list(rng.random(200)),
        "sensor.exposure": [0.0] * 200,
    }
    found: list[findings.Finding] = []
    noise = list(rng.random(200))
    check_shortcuts(
        *pictures(kinds.tolist(), list(40.0 * kinds + noise), (9 * kinds).tolist(), columns), 0.5, found.append
    )
    assert [one.where for one in found] == [
        "the brightness of the picture", "the visible area of the object", "table.texture",
    ]  # fmt: skip
    assert found[1].what == "predicts which of 3 kinds an object is in 100% of the cases (chance: 33%)"
    found.clear()
    few = slice(0, 30)  # too few to tell
    check_shortcuts(
        *pictures(kinds[few].tolist(), list(40.0 * kinds[few]), (9 * kinds[few]).tolist(), {"a": wood[few]}),
        0.5,
        found.append,
    )
    check_shortcuts(*pictures([1] * 200, noise, [5] * 200, columns), 0.5, found.append)  # one kind
    assert found == []


def test_what_is_frozen_by_configuration_is_no_fault(scene: str, tmp_path: Path) -> None:
    """Neither the same picture many times, nor pictures in which little varies, nor one picture."""
    size = ("width=64", "height=48", "randomize=none")
    assert findings_of(CheckConfig(dataset=str(rendered(tmp_path / "none", scene, "num=3", *size)))) == []
    light = "randomize.light.intensity=[uniform,0.5,0.7]"
    assert findings_of(CheckConfig(dataset=str(rendered(tmp_path / "light", scene, "num=6", *size, light)))) == []
    assert findings_of(CheckConfig(dataset=str(rendered(tmp_path / "one", scene, "num=1", *size)))) == []


def test_blocks_behind_the_camera_and_far_beyond_the_picture_are_no_faults(scene: str, tmp_path: Path) -> None:
    """Labels have them, too; silhouettes and boxes end a picture's size beyond the border."""
    near = ("randomize.camera.distance=0.25", "randomize.camera.elevation_deg=25")
    far = "randomize.blocks.place=[uniform,[-0.24,-0.24],[0.24,0.24]]"
    size = ("width=64", "height=48")
    root = rendered(tmp_path / "set", scene, "num=48", "randomize=none", *size, *VARIED, *near, far)
    poses, boxes = [], []
    for path in root.glob("train/*/scene_gt.json"):
        poses += [one["cam_t_m2c"][2] for here in json.loads(path.read_text()).values() for one in here]
        infos = json.loads(path.with_name("scene_gt_info.json").read_text()).values()
        boxes += [one["bbox_obj"] for here in infos for one in here if one["bbox_obj"][2] > 0]
    ends = [(u, v, u + width, v + height) for u, v, width, height in boxes]
    assert min(poses) < 0 and any(u == -64 or v == -48 or right == 128 or low == 96 for u, v, right, low in ends)
    assert found_in(root, dark=0) == []


def test_files_with_any_number_of_digits_are_found(copy: Path) -> None:
    (copy / "manifest.json").unlink()
    for path in [path for path in copy.rglob("*.*") if path.parent.name in ("rgb", "depth", "mask", "mask_visib")]:
        numbers = path.stem.split("_")
        path.rename(path.with_stem("_".join([f"{int(numbers[0]):08d}", *(f"{int(one):04d}" for one in numbers[1:])])))
    assert found_in(copy, dark=0) == []
    first = min((copy / SCENE / "mask_visib").iterdir())
    first.unlink()
    assert [finding.name for finding in found_in(copy, dark=0)] == ["missing_file"]


def test_changed_and_missing_files_of_the_manifest(copy: Path) -> None:
    gone("depth/*.png")(copy)
    info(lambda entry: None)(copy)  # writes the same content with other spaces
    edit(copy, "manifest.json", lambda all: all["files"].update({"../escaped": "0" * 64, "/etc/hostname": "0" * 64}))
    found = found_in(copy, hashes=True)
    assert sorted({one.name for one in found}) == ["bad_value", "changed_file", "missing_file"]
    assert sum("outside of the dataset; it was not read" in one.what for one in found) == 2


def test_findings_are_written_as_json_and_the_status_is_1(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = copy, tmp_path / "findings.json"
    truth(moved)(root)
    assert check(CheckConfig(dataset=str(root), hashes=False, out=str(out))) == 1
    (found,) = [one for one in json.loads(out.read_text())["findings"] if one["name"] == "mask_unlike_pose"]
    assert found["severity"] == "error" and found["where"] == "train/000000/000000 object 0" and found["remedy"]
    assert f"error: mask_unlike_pose: {found['where']}: {found['what']}; {found['remedy']}" in capsys.readouterr().out


def test_every_kind_of_finding_is_described_and_some_fault_leads_to_it() -> None:
    kinds = {kind("", "").name: kind for kind in findings.Finding.__subclasses__()}
    assert all(kind.remedy and kind.severity in ("error", "warning") for kind in kinds.values())
    elsewhere = {"changed_file", "no_pictures", "shortcut", "not_reproduced", "not_reproduced_here", "not_remade"}
    assert {name for _, name, *_ in [*FAULTS.values(), *WHOLE.values()]} | elsewhere == set(kinds)
