"""BOP datasets with faults, units and axes that are not BOP's: one line that says what is wrong, where, and what to do."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_bop import (
    CAMERA,
    MODELS,
    PLACES,
    SHIFTS,
    TRUTH,
    K,
    edit,
    write_foreign,
)

from simgen.dataset.read import open_dataset
from simgen.errors import DatasetError, FileError
from train.data.bop_labels import classes_of


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_foreign(tmp_path / "set")


def in_meters(infos: dict[str, Any]) -> None:
    for info in infos.values():
        for key in ("diameter", *(f"{end}_{axis}" for end in ("min", "size") for axis in "xyz")):
            info[key] /= 1000


def divide(truths: dict[str, Any], key: str = "cam_t_m2c") -> None:
    for block in [block for blocks in truths.values() for block in blocks]:
        block[key] = [value / 1000 for value in block[key]]


def to_opengl(truths: dict[str, Any]) -> None:
    flip = np.diag([1.0, -1, -1])
    for block in [block for blocks in truths.values() for block in blocks]:
        block["cam_R_m2c"] = (flip @ np.reshape(block["cam_R_m2c"], (3, 3))).ravel().tolist()
        block["cam_t_m2c"] = (flip @ block["cam_t_m2c"]).tolist()


FAULTS: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "models in meters": (MODELS, in_meters, r"model 1: diameter: got 0\.0866\S*; .* in meters: multiply"),
    "poses in meters": (TRUTH, divide, r"scene_gt\.json: cam_t_m2c: .* in meters: multiply them by 1000"),
    "OpenGL axes": (TRUTH, to_opengl, r"behind the camera; .* OpenGL"),
    "no intrinsics": (CAMERA, lambda c: c["1"].pop("cam_K"), r"scene_camera\.json: image 1: no cam_K"),
    "short intrinsics": (CAMERA, lambda c: c["1"].update(cam_K=[1, 2]), r"image 1: cam_K: got \[1, 2\]; expected 9"),
    "zero intrinsics": (CAMERA, lambda c: c["1"].update(cam_K=[0] * 9), r"image 1: cam_K: is all zeros"),
    "normalized": (
        CAMERA,
        lambda c: c["1"].update(cam_K=[1.1, 0, 0.5, 0, 1.4, 0.5, 0, 0, 1]),
        r"image 1: cam_K: got .*; expected px",
    ),
    "transposed": (CAMERA, lambda c: c["1"].update(cam_K=K.T.ravel().tolist()), r"image 1: cam_K: looks transposed"),
    "null": (CAMERA, lambda c: c.update({"2": None}), r"scene_camera\.json: image 2: got None; expected an object"),
    "world by half": (CAMERA, lambda c: c["0"].pop("cam_t_w2c"), r"image 0: no cam_t_w2c"),
    "no camera": (CAMERA, lambda c: c.pop("2"), r"scene_camera\.json: no entry for image 2, which scene_gt\.json"),
    "no rotation": (
        TRUTH,
        lambda t: t["1"][0].update(cam_R_m2c=[1.0] * 9),
        r"image 1, block 0: cam_R_m2c: .* rotation",
    ),
    "NaN": (TRUTH, lambda t: t["1"][0].update(cam_t_m2c=[1, 2, float("nan")]), r"cam_t_m2c: got .* 3 finite numbers"),
    "no object": (TRUTH, lambda t: t["0"][1].pop("obj_id"), r"scene_gt\.json: image 0, block 1: no obj_id"),
    "one dict": (TRUTH, lambda t: t.update({"1": t["1"][0]}), r"image 1: got .*; expected a list"),
    "words for keys": (TRUTH, lambda t: t.update(a=[]), r"scene_gt\.json: key 'a' is no image number"),
    "key twice": (TRUTH, lambda t: t.update({"01": []}), r"image 1 is there twice"),
    "no diameter": (MODELS, lambda m: m["2"].pop("diameter"), r"models_info\.json: model 2: no diameter"),
    "no size": (MODELS, lambda m: m["2"].update(size_x="8 cm"), r"model 2: size_x: got '8 cm'"),
    "odd axis": (MODELS, lambda m: m["2"]["symmetries_continuous"][0].pop("axis"), r"symmetries_continuous 0: no axis"),
    "odd symmetry": (MODELS, lambda m: m["1"].update(symmetries_discrete=[[1, 2]]), r"symmetry 0: .* 16 finite"),
    "mirror symmetry": (
        MODELS,
        lambda m: m["1"].update(symmetries_discrete=[[-1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]]),
        r"model 1: symmetries_discrete 0: got .*; expected a rotation \(no mirror image\)",
    ),
    "axis without a list": (
        MODELS,
        lambda m: m["2"].update(symmetries_continuous={"axis": [0, 0, 1]}),
        r"model 2: symmetries_continuous: got .*; expected a list of objects$",
    ),
    "no model": (MODELS, lambda m: m.clear(), r"models_info\.json: lists no model"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named_in_words(root: Path, fault: str) -> None:
    name, change, message = FAULTS[fault]
    edit(root / name, change)
    with pytest.raises(DatasetError, match=message) as caught:
        open_dataset(root)
    assert str(root) in str(caught.value) and "Error(" not in str(caught.value)


def test_missing_and_truncated_files_are_named(root: Path) -> None:
    image = root / "train_pbr" / "000000" / "rgb" / "000002.png"
    data = image.read_bytes()
    image.unlink()
    with pytest.raises(DatasetError, match=r"no file for image 2 in rgb/ or gray/; expected e\.g\. rgb/000002\.jpg"):
        open_dataset(root)
    image.write_bytes(data[:10])
    with pytest.raises(DatasetError, match=r"000002\.png: .*; it is a picture of a dataset: restore"):
        open_dataset(root)
    image.write_bytes(data)
    truth = root / TRUTH
    truth.write_text(truth.read_text()[:100])
    with pytest.raises(FileError, match=r"scene_gt\.json: cannot be read as JSON"):
        open_dataset(root)
    (root / MODELS).unlink()
    with pytest.raises(DatasetError, match=r"models_info\.json: missing; bop_toolkit's calc_model_info\.py"):
        open_dataset(root)


def test_infos_that_do_not_belong_to_the_labels_are_refused(root: Path) -> None:
    scene = root / "train_pbr" / "000000"
    info = {"bbox_obj": [0, 0, 5, 5], "bbox_visib": [0, 0, 5, 5], "px_count_visib": 9, "visib_fract": 0.5}
    (scene / "scene_gt_info.json").write_text(json.dumps({"0": [info], "1": [info]}))
    with pytest.raises(DatasetError, match=r"scene_gt_info\.json: image 0: has 1 blocks, and 2 in scene_gt\.json"):
        open_dataset(root)
    (scene / "scene_gt_info.json").write_text(json.dumps({"1": [info]}))  # the others are computed
    assert [len(picture.instances) for picture in open_dataset(root).pictures] == [2, 1, 2]
    assert open_dataset(root).pictures[1].instances[0].visible_pixels == 9


def test_the_message_for_a_wrong_folder_names_the_right_one(root: Path, tmp_path: Path) -> None:
    def message_of(folder: Path) -> str:
        with pytest.raises(DatasetError, match=r"no SPLIT/SCENE/scene_camera\.json here; ") as caught:
            open_dataset(folder)
        return str(caught.value)

    assert f"the dataset is one folder up: data.root={root} data.split=train_pbr" in message_of(root / "train_pbr")
    assert f"the dataset is two folders up: data.root={root} data.split=train_pbr" in message_of(
        root / "train_pbr" / "000000"
    )
    assert f"the dataset is one folder down: data.root={root}" in message_of(tmp_path)
    coco = tmp_path / "other" / "coco"
    (coco / "annotations").mkdir(parents=True)
    assert "it looks like a COCO dataset" in message_of(coco)
    (coco / "train_pbr" / "000000").mkdir(parents=True)
    (coco / "train_pbr" / "000000" / "scene_camera_cam1.json").write_text("{}")
    assert "scene_camera_SENSOR.json" in message_of(coco)


def test_what_has_no_label_or_no_model_is_skipped_and_counted(root: Path) -> None:
    def change(truths: dict[str, Any]) -> None:
        del truths["1"]
        truths["0"][1]["obj_id"] = 31
        truths["2"] = []

    edit(root / TRUTH, change)
    dataset = open_dataset(root)
    assert [(picture.image_id, len(picture.instances)) for picture in dataset.pictures] == [(0, 1), (2, 0)]
    assert dataset.skipped == (
        "skipped 1 blocks of object 31, which is not in models_info.json; "
        "skipped 1 images without an entry in scene_gt.json"
    )
    (root / TRUTH).unlink()
    with pytest.raises(DatasetError, match=r"no labeled image \(3 images without an entry in scene_gt\.json\)"):
        open_dataset(root)


def test_a_mesh_that_is_not_as_stated_is_refused(tmp_path: Path) -> None:
    root = write_foreign(tmp_path / "set", SHIFTS)
    edit(root / MODELS, lambda infos: infos["1"].update(min_z=-25.0))
    with pytest.raises(DatasetError, match=r"obj_000001\.ply: the middle of the mesh's box is at .* expected"):
        classes_of(open_dataset(write_info(root)), "auto")
    path = root / "models" / "obj_000001.ply"
    lines = [re.sub(r"^(-?\d+)\.(\d+) ", r"\1\2 ", line) for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DatasetError, match=r"obj_000001\.ply: the mesh measures"):
        classes_of(open_dataset(root), "auto")


def write_info(root: Path) -> Path:
    """With a scene_gt_info.json, so that opening needs no mesh."""
    info = {"bbox_obj": [0, 0, 5, 5], "bbox_visib": [0, 0, 5, 5], "px_count_visib": 9, "visib_fract": 0.5}
    infos = {str(k): [info] * len(places) for k, places in enumerate(PLACES)}
    (root / "train_pbr" / "000000" / "scene_gt_info.json").write_text(json.dumps(infos))
    return root
