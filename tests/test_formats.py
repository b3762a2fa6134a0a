"""`python -m simgen convert`: each format is read by its own reader, or by its published layout, and equals the source."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import trimesh
import yaml
from builders import ROOT
from foreign_bop import OBJECTS, PLACES, SHIFT, camera_from_block, write_foreign
from foreign_bop import K as FOREIGN_K
from scipy.spatial import ConvexHull

from simgen.check.command import findings_of
from simgen.check.schema import CheckConfig
from simgen.config import compose
from simgen.dataset.read import open_dataset
from simgen.files import read_json
from simgen.formats.command import FORMATS, convert
from simgen.formats.schema import FORMATS as NAMES
from simgen.formats.schema import ConvertConfig
from simgen.geometry import inverse, rigid
from simgen.schema import Render
from simgen.workers import render

SCENE = Path("train/000000")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five pictures of a lens that distorts: of no, one or two blocks, which the border may cut."""
    root = tmp_path_factory.mktemp("source") / "set"
    small = [
        "renderer=tiny",
        "physics=place",
        "randomize=none",
        "num=5",
        "workers=1",
        "width=96",
        "height=72",
        "seed=5",
    ]
    varied = [
        "randomize.blocks.slots=2",
        "randomize.blocks.count=[integer,0,2]",
        "randomize.blocks.model=[choice,cube,cone]",
        "randomize.blocks.place=[uniform,[-0.2,-0.2],[0.2,0.2]]",
        "randomize.blocks.yaw_deg=[uniform,0,360]",
        "randomize.camera.distance=[uniform,0.4,0.5]",
        "randomize.camera.distortion=[-0.08,0.01,0.002,-0.001,0]",
    ]
    render(compose("render", Render, [f"out={root}", *small, *varied]))
    return root


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_foreign(tmp_path_factory.mktemp("foreign") / "set")


def converted(dataset: Path, out: Path, format: str, **changes: Any) -> Path:
    convert(ConvertConfig(str(dataset), format, str(out), **changes))
    return out


def labels_in(root: Path) -> dict[str, Any]:
    names = ("camera", "gt", "gt_info", "keypoints")
    return {name: read_json(root / SCENE / f"scene_{name}.json") for name in names}


def test_the_help_names_the_formats_that_there_are() -> None:
    assert {*FORMATS, "shards"} == set(NAMES)


def test_coco_is_read_by_pycocotools(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pycocotools.coco import COCO

    out, labels = converted(source, tmp_path / "coco", "coco", val=0.4), labels_in(source)
    assert sorted(path.name for path in (out / "annotations").iterdir()) == [
        "instances_train.json",
        "instances_val.json",
    ]
    compared = 0
    for split, images in (("train", range(3)), ("val", range(3, 5))):
        coco = COCO(str(out / "annotations" / f"instances_{split}.json"))
        models = read_json(source / "models" / "models_info.json")
        for category in coco.loadCats(coco.getCatIds()):
            model = models[str(category["id"])]
            assert category["name"] == model["name"]
            assert len(set(category["keypoints"])) == len(category["keypoints"]) == len(model["keypoints"])
            np.testing.assert_allclose(category["keypoints_mm"], model["keypoints"], atol=1e-9)
        assert [image["im_id"] for image in coco.loadImgs(coco.getImgIds())] == list(images)
        for image in coco.loadImgs(coco.getImgIds()):
            key = str(image["im_id"])
            assert (image["width"], image["height"]) == (96, 72)
            copy, original = out / split / image["file_name"], source / SCENE / "rgb" / f"{int(key):06d}.jpg"
            assert copy.read_bytes() == original.read_bytes() and not copy.samefile(original)
            assert image["cam_K"] == labels["camera"][key]["cam_K"]
            assert image["dist_opencv5"] == labels["camera"][key]["dist_opencv5"]
            annotations = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
            shown = [k for k, info in enumerate(labels["gt_info"][key]) if info["px_count_visib"]]
            assert [one["gt_id"] for one in annotations] == shown
            for one in annotations:
                k = one["gt_id"]
                truth, info, points = (labels[name][key][k] for name in ("gt", "gt_info", "keypoints"))
                mask = cv2.imread(
                    str(source / SCENE / "mask_visib" / f"{int(key):06d}_{k:06d}.png"), cv2.IMREAD_UNCHANGED
                )
                np.testing.assert_array_equal(coco.annToMask(one), mask > 0)
                assert one["bbox"] == info["bbox_visib"] and one["area"] == info["px_count_visib"] and one["id"] > 0
                assert one["category_id"] == truth["obj_id"] and one["size_mm"] == truth["size_mm"]
                np.testing.assert_allclose(one["cam_R_m2c"] + one["cam_t_m2c"], truth["cam_R_m2c"] + truth["cam_t_m2c"])
                wanted = [
                    [*pixel, seen] if seen else [0, 0, 0]
                    for pixel, seen in zip(points["keypoints_px"], points["visibility"], strict=True)
                ]
                np.testing.assert_array_equal(np.reshape(one["keypoints"], (-1, 3)), wanted)
                assert one["num_keypoints"] == sum(seen > 0 for seen in points["visibility"])
                compared += 1
    assert compared >= 4 and any(not blocks for blocks in labels["gt"].values())


def test_yolo_has_boxes_in_units_of_the_picture(source: Path, tmp_path: Path) -> None:
    out, labels = converted(source, tmp_path / "yolo", "yolo", pictures="link"), labels_in(source)
    content = yaml.safe_load((out / "data.yaml").read_text())
    assert content == {"train": ["images/train"], "val": ["images/val"], "names": content["names"]}
    models = read_json(source / "models" / "models_info.json")
    assert content["names"] == {k: models[key]["name"] for k, key in enumerate(sorted(models, key=int))}
    for key, infos in labels["gt_info"].items():
        split = "val" if key == "4" else "train"
        name = f"000000_{int(key):06d}"
        assert (out / f"images/{split}/{name}.jpg").samefile(source / SCENE / f"rgb/{int(key):06d}.jpg")
        lines = (out / f"labels/{split}/{name}.txt").read_text().splitlines()
        wanted = [
            [truth["obj_id"] - 1, *info["bbox_visib"]]
            for truth, info in zip(labels["gt"][key], infos, strict=True)
            if info["px_count_visib"]
        ]
        rows = np.array([line.split() for line in lines], dtype=float).reshape(-1, 5)
        size = rows[:, 3:] * (96, 72)
        found = np.column_stack([rows[:, 0], rows[:, 1:3] * (96, 72) - size / 2, size])
        np.testing.assert_allclose(found, np.reshape(wanted, (-1, 5)), atol=1e-5)
        assert ((rows[:, 1:] >= 0) & (rows[:, 1:] <= 1)).all()


def test_6d_poses_come_out_of_yolo_poses_labels(source: Path, tmp_path: Path) -> None:
    """The recipe of docs/formats.md, run on the labels in place of predictions."""
    (recipe,) = re.findall(r"```python\n(import cv2.*?)```", (ROOT / "docs" / "formats.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(recipe, names)
    out, labels = converted(source, tmp_path / "yolo", "yolo_pose", val=0.0), labels_in(source)
    content, poses = yaml.safe_load((out / "data.yaml").read_text()), read_json(out / "poses.json")
    assert content["kpt_shape"] == [max(len(one["keypoints_mm"]) for one in poses["classes"].values()), 3]
    compared = 0
    for path in sorted((out / "labels" / "train").iterdir()):
        key = str(int(path.stem.split("_")[1]))
        camera = poses["pictures"][f"images/train/{path.stem}"]
        shown = [k for k, info in enumerate(labels["gt_info"][key]) if info["px_count_visib"]]
        for line, k in zip(path.read_text().splitlines(), shown, strict=True):
            truth, (number, *values) = labels["gt"][key][k], line.split()
            keypoints = np.array(values[4:], dtype=float).reshape(content["kpt_shape"])
            model = poses["classes"][number]["keypoints_mm"]
            places = np.concatenate([np.array(values[:4], dtype=float), keypoints[:, :2].ravel()])
            assert places.min() >= 0 and places.max() <= 1  # Ultralytics rejects the file otherwise
            assert not keypoints[len(model) :].any()
            if (keypoints[: len(model), 2] > 0).sum() < 6:
                continue
            rotation, translation = names["pose"](keypoints, model, camera, 96, 72)
            np.testing.assert_allclose(translation, truth["cam_t_m2c"], atol=0.05)
            np.testing.assert_allclose(rotation.ravel(), truth["cam_R_m2c"], atol=1e-3)
            compared += 1
    assert compared >= 3


def test_data_yaml_states_the_mirror_pairs_or_why_there_are_none(
    source: Path, foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(foreign, tmp_path / "set"))
    infos = read_json(copy / "models" / "models_info.json")
    (copy / "models" / "models_info.json").write_text(json.dumps({"3": infos["3"]}))
    out = converted(copy, tmp_path / "cubes", "yolo_pose")
    content, (cube,) = (
        yaml.safe_load((out / "data.yaml").read_text()),
        read_json(out / "poses.json")["classes"].values(),
    )
    points, flip = np.array(cube["keypoints_mm"]) - SHIFT, content["flip_idx"]
    assert content["kpt_shape"] == [8, 3] and sorted(flip) == list(range(8)) and flip != list(range(8))
    # The pairs of a reflection: distances stay, and the handedness of three corners changes.
    gaps = np.linalg.norm(points[:, None] - points, axis=2)
    np.testing.assert_allclose(gaps[flip][:, flip], gaps, atol=1e-3)
    three = [0, *np.argsort(gaps[0])[1:3]]
    assert np.linalg.det(points[three]) * np.linalg.det(points[[flip[k] for k in three]]) < 0
    assert "flip_idx" not in capsys.readouterr().out
    text = (converted(source, tmp_path / "all", "yolo_pose") / "data.yaml").read_text()
    assert "flip_idx" not in yaml.safe_load(text) and "# Train with fliplr=0" in text
    assert "no flip_idx, so train with fliplr=0: 'hexagonal_prism' and 'cone'" in capsys.readouterr().out


def test_keypoints_that_are_not_stored_are_computed(source: Path, tmp_path: Path) -> None:
    """From poses and masks: the same as those that the renderer's depth gave, but for a few within a pixel of an outline."""
    copy = Path(shutil.copytree(source, tmp_path / "set"))
    (copy / "manifest.json").unlink()
    (copy / SCENE / "scene_keypoints.json").unlink()
    found = {}
    for name, root in (("stored", source), ("computed", copy)):
        content = read_json(converted(root, tmp_path / name, "coco") / "annotations" / "instances_train.json")
        found[name] = [np.reshape(one["keypoints"], (-1, 3)) for one in content["annotations"]]
    compared = same = 0
    for stored, computed in zip(found["stored"], found["computed"], strict=True):
        np.testing.assert_allclose(computed[:, :2], stored[:, :2], atol=1e-6)
        np.testing.assert_array_equal(computed[:, 2] > 0, stored[:, 2] > 0)
        compared, same = compared + len(stored), same + int((computed[:, 2] == stored[:, 2]).sum())
    assert compared > 20 and same >= 0.9 * compared


def test_yolo_pose_is_read_by_ultralytics(source: Path, tmp_path: Path) -> None:
    data = pytest.importorskip("ultralytics.data")
    out = converted(source, tmp_path / "yolo", "yolo_pose")
    content = data.utils.check_det_dataset(str(out / "data.yaml"))
    read = data.YOLODataset(img_path=content["train"], data=content, task="pose")
    assert len(read.labels) == 4 and all(len(one["cls"]) == len(one["keypoints"]) for one in read.labels)


def test_the_demo_of_foundationpose_finds_what_it_reads(source: Path, tmp_path: Path) -> None:
    """By the layout that its reader expects, with the paths replaced as it does."""
    out, labels = converted(source, tmp_path / "fp", "foundationpose"), labels_in(source)
    folders = sorted((out / "train").glob("obj_*/*"))
    assert len(folders) == sum(info["px_count_visib"] > 0 for infos in labels["gt_info"].values() for info in infos)
    compared = 0
    for folder in folders:
        (color,) = sorted((folder / "rgb").glob("*.png"))
        _, image, k = (int(part) for part in folder.name.split("_"))
        intrinsics = np.loadtxt(folder / "cam_K.txt").reshape(3, 3)
        np.testing.assert_array_equal(intrinsics.ravel(), labels["camera"][str(image)]["cam_K"])
        depth = cv2.imread(str(color).replace("rgb", "depth"), -1)
        mask = cv2.imread(str(color).replace("rgb", "masks"), -1)
        assert cv2.imread(str(color)).shape[:2] == depth.shape == mask.shape == (72, 96) and depth.dtype == np.uint16
        pose = np.loadtxt(folder / "annotated_poses" / f"{color.stem}.txt").reshape(4, 4)
        truth = labels["gt"][str(image)][k]
        np.testing.assert_allclose(1000 * pose[:3, 3], truth["cam_t_m2c"])
        mesh = trimesh.load(folder / "mesh" / "textured_simple.obj")
        np.testing.assert_allclose(mesh.extents, np.array(truth["size_mm"]) / 1000, rtol=1e-5)
        # What it is for: rays through the mask, without distortion, meet the mesh at the depth.
        rows, columns = np.nonzero(cv2.erode(mask, np.ones((3, 3), np.uint8)))
        rays = np.column_stack([columns, rows, np.ones(len(rows))]) @ np.linalg.inv(intrinsics).T
        planes = ConvexHull(mesh.vertices).equations
        slopes, ahead = rays @ pose[:3, :3] @ planes[:, :3].T, -planes[:, 3] - planes[:, :3] @ inverse(pose)[:3, 3]
        expected = np.where(slopes < 0, ahead / slopes, -np.inf).max(axis=1)
        assert np.abs(depth[rows, columns] / 1000 - expected).max(initial=0) < 0.004
        compared += len(rows)
    assert compared > 100


def test_imagefolder_is_read_by_datasets(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    out, labels = converted(source, tmp_path / "folder", "imagefolder", val=0.4), labels_in(source)
    read = datasets.load_dataset("imagefolder", data_dir=str(out), cache_dir=str(tmp_path / "cache"))
    rows = [*read["train"], *read["validation"]]
    assert [row["im_id"] for row in rows] == list(range(5))
    for row in rows:
        key = str(row["im_id"])
        original = cv2.imread(str(source / SCENE / "rgb" / f"{int(key):06d}.jpg"))[..., ::-1]
        assert np.abs(np.asarray(row["image"], dtype=int) - original).max() <= 2  # two decoders of JPEG
        camera = json.loads(row["camera"])
        assert camera["dist_opencv5"] == labels["camera"][key]["dist_opencv5"]
        shown = [k for k, info in enumerate(labels["gt_info"][key]) if info["px_count_visib"]]
        assert row["objects"]["gt_id"] == shown
        assert row["objects"]["bbox"] == [labels["gt_info"][key][k]["bbox_visib"] for k in shown]
        assert row["objects"]["category"] == [labels["gt"][key][k]["obj_id"] for k in shown]
        for name in ("cam_R_m2c", "cam_t_m2c", "size_mm"):
            wanted = [labels["gt"][key][k][name] for k in shown]
            np.testing.assert_allclose(row["objects"][name], wanted)


def test_bop_is_undistorted_and_consistent(source: Path, tmp_path: Path) -> None:
    """`check`, which shares no code with what computes masks and counts, has no findings in pictures without distortion."""
    out, labels = converted(source, tmp_path / "bop", "bop", targets=True), labels_in(source)
    assert findings_of(CheckConfig(dataset=str(out))) == []
    scene = out / "train" / "000000"
    assert sorted(path.name for path in scene.iterdir()) == [
        "depth", "mask", "mask_visib", "rgb", "scene_camera.json", "scene_gt.json", "scene_gt_info.json",
    ]  # fmt: skip
    for key, truths in read_json(scene / "scene_gt.json").items():
        for one, truth in zip(truths, labels["gt"][key], strict=True):
            assert sorted(one) == ["cam_R_m2c", "cam_t_m2c", "obj_id"]
            np.testing.assert_allclose(one["cam_t_m2c"], truth["cam_t_m2c"])
    assert not any("dist" in name for entry in read_json(scene / "scene_camera.json").values() for name in entry)
    infos = read_json(scene / "scene_gt_info.json")
    wanted = {
        (0, int(key), truth["obj_id"])
        for key, truths in labels["gt"].items()
        for truth, info in zip(truths, infos[key], strict=True)
        if info["visib_fract"] >= 0.1
    }
    targets = read_json(out / "test_targets_bop19.json")
    assert {(one["scene_id"], one["im_id"], one["obj_id"]) for one in targets} == wanted
    read = open_dataset(out, targets="test_targets_bop19.json")
    assert sum(one["inst_count"] for one in targets) == sum(one.target for p in read.pictures for one in p.instances)


def test_foreign_labels_are_computed_and_handed_over_in_their_own_frame(foreign: Path, tmp_path: Path) -> None:
    """No masks, keypoints, infos or names; gaps in obj_id; another origin; scenes and pictures of several sizes."""
    from pycocotools.coco import COCO

    source = open_dataset(foreign)
    coco = COCO(str(converted(foreign, tmp_path / "coco", "coco") / "annotations" / "instances_test_real.json"))
    assert coco.getCatIds() == OBJECTS and not any("keypoints" in one for one in coco.loadCats(OBJECTS))
    sizes = {(one["scene_id"], one["im_id"]): (one["width"], one["height"]) for one in coco.dataset["images"]}
    assert sizes == {(4, 7): (96, 72), (4, 9): (96, 72), (11, 7): (106, 72)}
    boxes = {
        (picture.scene_id, picture.image_id, one.number): list(one.box_visible)
        for picture in source.pictures
        for one in picture.instances
    }
    images = {one["id"]: one for one in coco.dataset["images"]}
    for one in coco.dataset["annotations"]:
        image = images[one["image_id"]]
        scene, number = image["scene_id"], image["im_id"]
        assert one["bbox"] == boxes[scene, number, one["gt_id"]]
        v, u = np.nonzero(coco.annToMask(one))
        assert one["bbox"] == [u.min(), v.min(), np.ptp(u) + 1, np.ptp(v) + 1]
        k, *place = PLACES[scene][number][one["gt_id"]]
        own = camera_from_block(k, *place) @ rigid(np.eye(3), -SHIFT / 1000 * (k == 0))
        np.testing.assert_allclose(one["cam_t_m2c"], 1000 * own[:3, 3], atol=1e-6)
    assert len(boxes) == len(coco.dataset["annotations"]) == 4
    # BOP, too: the same labels again, now stored.
    again = open_dataset(converted(foreign, tmp_path / "bop", "bop"))
    assert findings_of(CheckConfig(dataset=str(tmp_path / "bop"), dark=0)) == []
    for a, b in zip(source.pictures, again.pictures, strict=True):
        assert (a.scene_id, a.image_id, a.path.parent.name) == (b.scene_id, b.image_id, b.path.parent.name)
        assert a.path.read_bytes() == b.path.read_bytes()
        assert [one.box_visible for one in a.instances] == [one.box_visible for one in b.instances]


def test_keypoints_of_a_foreign_dataset_are_corners_of_its_meshes(foreign: Path, tmp_path: Path) -> None:
    """Computed and projected by OpenCV; a corner on the far side of a cube is occluded."""
    out = converted(foreign, tmp_path / "yolo", "yolo_pose")
    content, poses = yaml.safe_load((out / "data.yaml").read_text()), read_json(out / "poses.json")
    assert content["test"] == ["images/test_real"] and content["names"] == {0: "obj_000003", 1: "obj_000017"}
    line = (out / "labels" / "test_real" / "000011_000007.txt").read_text().splitlines()[-1].split()
    keypoints = np.array(line[5:], dtype=float).reshape(-1, 3)[:8]
    model = np.array(poses["classes"][line[0]]["keypoints_mm"])
    np.testing.assert_allclose(np.abs(model - SHIFT), 25, atol=1e-3)
    k, *place = PLACES[11][7][1]
    pose = camera_from_block(k, *place)
    projected = cv2.projectPoints((model - SHIFT) / 1000, cv2.Rodrigues(pose[:3, :3])[0], pose[:3, 3], FOREIGN_K, None)[
        0
    ]
    np.testing.assert_allclose(keypoints[:, :2] * (106, 72) - 0.5, projected[:, 0], atol=1e-3)
    assert sorted(keypoints[:, 2]) == [1, 2, 2, 2, 2, 2, 2, 2]  # from above and aside, one corner of a cube is hidden
    distances = np.linalg.norm((inverse(pose)[:3, 3] - (model - SHIFT) / 1000), axis=1)
    assert keypoints[np.argmax(distances), 2] == 1
