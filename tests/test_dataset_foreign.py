"""BOP datasets that other tools wrote: other origins, layouts and gaps give the same labels."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import trimesh
from builders import pipeline_of
from small_bop import (
    CAMERA,
    CAMERA_FROM_WORLD,
    HEIGHT,
    MODELS,
    SHIFTS,
    SOLIDS,
    TRUTH,
    WIDTH,
    K,
    edit,
    poses,
    write_foreign,
)

from simgen.dataset.models import models_of, solid_of
from simgen.dataset.photographs import Photograph, write_photographs
from simgen.dataset.read import BopDataset, open_dataset, read_recipe
from simgen.dataset.visibility import Lens, Placed, visible_masks
from simgen.errors import ConfigError, DatasetError
from simgen.files import sha256_of
from simgen.geometry import rigid, transform_points
from simgen.render import make_renderer
from simgen.silhouette import box_of
from train.blocks.kinds import BlockSet, Kind
from train.config import DatasetConfig
from train.data.bop_labels import classes_of, slots_of
from train.data.dataset import open_source, size_advice, table_advice
from train.detect.predict import describe
from train.evaluate.matching import match_dataset
from train.pose.view import Pose, View


def detection_of(kind: Kind, pose: np.ndarray) -> Any:
    """A detection as `describe` reads it."""
    return SimpleNamespace(
        kind=kind, confidence=0.9, pose=Pose(pose, np.eye(6), 1.0), keypoints=np.zeros((1, 2)), on_table=False
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_foreign(tmp_path / "set")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> BopDataset:
    return open_dataset(write_foreign(tmp_path_factory.mktemp("plain") / "set"))


def assert_same_labels(dataset: BopDataset, other: BopDataset) -> None:
    assert len(dataset) == len(other) > 0
    for a, b in zip(dataset.pictures, other.pictures, strict=True):
        assert a.image_id == b.image_id
        for one, two in zip(a.instances, b.instances, strict=True):
            np.testing.assert_allclose(one.camera_from_block, two.camera_from_block, atol=1e-9)
            assert replace(one, camera_from_block=None, size=None) == replace(two, camera_from_block=None, size=None)  # type: ignore[arg-type]
    for model, wanted in zip(dataset.models.values(), other.models.values(), strict=True):
        np.testing.assert_allclose(model.symmetries, wanted.symmetries, atol=1e-9)
        np.testing.assert_allclose(model.axes, wanted.axes)
        np.testing.assert_allclose(model.size, wanted.size)


def test_labels_are_those_of_the_blocks_wherever_the_origin_is(plain: BopDataset, tmp_path: Path) -> None:
    """Poses, symmetries, computed boxes, kinds and targets of models whose own origin is not their middle."""
    for number, picture in enumerate(plain.pictures):
        for one, (k, pose) in zip(picture.instances, poses(number), strict=True):
            assert one.obj_id == k + 1
            np.testing.assert_allclose(one.camera_from_block, pose, atol=1e-12)
    moved = open_dataset(write_foreign(tmp_path / "set", SHIFTS))
    np.testing.assert_allclose([model.center for model in moved.models.values()], SHIFTS, atol=1e-9)
    assert_same_labels(moved, plain)
    ours, theirs = classes_of(moved, "auto"), classes_of(plain, "auto")
    # Predictions can be given in the model's own frame: that is what the file states.
    for kind, k in zip(ours.blocks.kinds, range(2), strict=True):
        again = BlockSet.from_json(json.loads(json.dumps(BlockSet([kind.resized(2 * kind.size)]).to_json()))).kinds[0]
        np.testing.assert_allclose(again.mesh_origin, -2 * SHIFTS[k], atol=1e-9)
        given = describe(detection_of(kind, poses(0)[0][1]), View(K, np.zeros(5)))["camera_from_mesh"]
        expected = (poses(0)[0][1] @ rigid(np.eye(3), -SHIFTS[k]))[:3, 3]
        np.testing.assert_allclose(given["translation_m"], expected, atol=1e-5)
    assert all(kind.mesh_origin is None for kind in theirs.blocks.kinds)
    for name in ("keypoints", "group", "members", "frame", "real"):
        np.testing.assert_allclose(getattr(ours.blocks, name), getattr(theirs.blocks, name), atol=1e-6)
    lens = Lens(K, np.zeros(5), WIDTH, HEIGHT)
    for picture, other in zip(moved.pictures, plain.pictures, strict=True):
        pairs = zip(slots_of(moved, picture, ours, lens, 0.1), slots_of(plain, other, theirs, lens, 0.1), strict=True)
        for slot, wanted in pairs:
            np.testing.assert_array_equal(slot.box, wanted.box)
            assert (slot.seen, slot.share) == (wanted.seen, pytest.approx(wanted.share))
    edit(moved.root / "models" / "models_info.json", lambda infos: infos["2"].pop("min_x"))  # then by the mesh
    assert_same_labels(open_dataset(moved.root), plain)


def test_a_scaled_block_is_scaled_about_its_own_origin(tmp_path: Path) -> None:
    root = write_foreign(tmp_path / "set", SHIFTS)
    edit(root / "train_pbr" / "000000" / "scene_gt.json", lambda gt: gt["1"][0].update(size_mm=[120, 120, 160]))
    one = open_dataset(root).pictures[1].instances[0]
    pose = poses(1)[0][1]
    vertices = SOLIDS[1].vertices + SHIFTS[1]  # in the model's own frame, whose origin stays
    expected = transform_points(pose @ rigid(np.eye(3), -SHIFTS[1]), 2 * vertices)
    np.testing.assert_allclose(transform_points(one.camera_from_block, 2 * SOLIDS[1].vertices), expected, atol=1e-9)


def test_computed_visibility_is_what_the_renderer_drew() -> None:
    """Blocks that hide each other, and a border that cuts them: masks and fractions of scenes without distractors."""
    alone = ("randomize.distractors.count=0", "randomize.clutter.count=0", "randomize.blocks.count=4")
    recipe = ("renderer=raycast", "width=96", "height=72", *alone)
    near = "randomize.blocks.place=[uniform,[-0.12,-0.12],[0.12,0.12]]", "randomize.camera.aim=[0,0,0]"
    pipeline = pipeline_of(*recipe, *near, "randomize.camera.distance=0.35", "randomize.camera.elevation_deg=8")
    renderer = make_renderer("raycast", pipeline.world, pipeline.images, pipeline.source.raycast)
    hidden = 0
    for sample in pipeline.samples(renderer, range(3)):
        cameras = sample.scene.cameras
        lens = Lens(cameras.intrinsics[0], cameras.distortion[0], 96, 72)
        solids = [pipeline.world.solids[label.model] for label in sample.labels]
        blocks = [
            Placed(solid, float((label.size / solid.size).mean()), label.camera_from_block)
            for solid, label in zip(solids, sample.labels, strict=True)
        ]
        masks = [lens.mask(lens.outline(block)) for block in blocks]
        for mask, whole, label in zip(visible_masks(blocks, masks, lens), masks, sample.labels, strict=True):
            assert np.count_nonzero(mask ^ label.visible) <= 2
            hidden += np.count_nonzero(whole & ~mask)
            if np.array_equal(mask, label.visible):
                assert box_of(mask) == label.box_visible
    assert hidden > 20


def rename_images(folder: Path, name: str, digits: int, suffix: str, as_gray: bool = False) -> None:
    scene = folder / "train_pbr" / "000000"
    images = sorted((scene / "rgb").iterdir())
    (scene / name).mkdir(exist_ok=True)
    for number, path in enumerate(images):
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE if as_gray else cv2.IMREAD_COLOR)
        path.unlink()
        cv2.imwrite(str(scene / f"image{suffix.lower()}"), image)
        (scene / f"image{suffix.lower()}").rename(scene / name / f"{number:0{digits}d}{suffix}")
    if name != "rgb":
        (scene / "rgb").rmdir()


def leave_behind(root: Path) -> None:
    """What macOS writes beside the user's files, and a scene that was emptied."""
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        (folder / ".DS_Store").write_bytes(b"Bud1")
    for path in [path for path in root.rglob("*.*") if path.is_file() and not path.name.startswith(".")]:
        (path.parent / f"._{path.name}").write_bytes(b"\0\5\26\7")
    (root / "lost+found").write_bytes(b"")
    (root / "__MACOSX" / "train_pbr" / "000000").mkdir(parents=True)
    (root / "__MACOSX" / "train_pbr" / "000000" / "scene_camera.json").write_text("{}")
    (root / "train_pbr" / "000001" / "rgb").mkdir(parents=True)


def recode(root: Path) -> None:
    for name, encoding in (("scene_gt", "utf-8-sig"), ("scene_camera", "utf-16")):
        path = root / "train_pbr" / "000000" / f"{name}.json"
        path.write_text(path.read_text(), encoding=encoding)


def pad_keys(root: Path) -> None:
    for path in (root / "train_pbr" / "000000").glob("*.json"):
        path.write_text(json.dumps({f"{int(k):06d}": v for k, v in json.loads(path.read_text()).items()}))
    info = root / "models" / "models_info.json"
    info.write_text(json.dumps({f"{int(k):06d}": v for k, v in json.loads(info.read_text()).items()}))
    (root / "models" / "obj_000002.ply").rename(root / "models" / "obj_02.PLY")


def models_as_obj(root: Path) -> None:
    """The meshes in another format than BOP's, and no sizes stated: they are the meshes' own."""
    for path in (root / "models").glob("*.ply"):
        path.with_suffix(".OBJ").write_text(trimesh.load(path, process=False).export(file_type="obj"))
        path.unlink()
    edit(root / MODELS, lambda infos: [info.pop(f"size_{axis}") for info in infos.values() for axis in "xyz"])


LAYOUTS: dict[str, Callable[[Path], Any]] = {
    "gray tif": lambda root: rename_images(root, "gray", 6, ".tif", as_gray=True),
    "JPG": lambda root: rename_images(root, "rgb", 6, ".JPG"),
    "jpeg": lambda root: rename_images(root, "rgb", 6, ".jpeg"),
    "TIFF": lambda root: rename_images(root, "rgb", 4, ".TIFF"),
    "bmp": lambda root: rename_images(root, "rgb", 1, ".bmp"),
    "four digits": lambda root: rename_images(root, "RGB", 4, ".png"),
    "leftovers": leave_behind,
    "encodings": recode,
    "keys": pad_keys,
    "obj": models_as_obj,
    "models_eval": lambda root: (root / "models").rename(root / "models_eval"),
    "models_cad": lambda root: (root / "models").rename(root / "models_cad"),
    "models_other": lambda root: (root / "models").rename(root / "models_old_format"),
    "named scene": lambda root: (root / "train_pbr" / "000000").rename(root / "train_pbr" / "kitchen"),
    "empty scene": lambda root: (
        (root / "train_pbr" / "000007").mkdir(),
        (root / "train_pbr" / "000007" / "scene_camera.json").write_text("{}"),
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_that_people_use_are_read(plain: BopDataset, root: Path, layout: str) -> None:
    LAYOUTS[layout](root)
    dataset = open_dataset(root)
    assert_same_labels(dataset, plain)
    assert all(solid_of(model).size == pytest.approx(model.size, rel=1e-4) for model in dataset.models.values())
    assert len({picture.path for picture in dataset.pictures}) == 3 and not dataset.skipped


def test_visibility_comes_from_stored_masks(root: Path) -> None:
    scene = root / "train_pbr" / "000000"
    (scene / "mask_visib").mkdir()
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[10:14, 20:30] = 255
    cv2.imwrite(str(scene / "mask_visib" / "000001_000000.png"), mask)
    one = open_dataset(root).pictures[1].instances[0]
    assert (one.visible_pixels, one.box_visible) == (40, (20, 10, 10, 4))
    assert one.visible_fraction < 0.6
    (scene / "mask_visib" / "000001_000000.png").rename(scene / "mask_visib" / "0001_0000.png")  # as other tools write
    again = open_dataset(root).pictures[1].instances[0]
    assert (again.visible_pixels, again.box_visible) == (40, (20, 10, 10, 4))
    (scene / "mask_visib" / "0001_0000.png").unlink()
    cv2.imwrite(str(scene / "mask_visib" / "000001_000000.png"), np.kron(mask, np.ones((2, 2), np.uint8)))
    with pytest.raises(
        DatasetError, match=r"mask_visib: the mask of image 1, block 0 has 128 x 96 px; expected .* 64 x 48"
    ):
        open_dataset(root)


def test_targets_and_names(root: Path, tmp_path: Path) -> None:
    targets = [{"scene_id": 0, "im_id": 2, "obj_id": 1, "inst_count": 1}, {"scene_id": 0, "im_id": 0, "obj_id": 2}]
    (root / "test_targets_bop19.json").write_text(json.dumps(targets))
    dataset = open_dataset(root, targets="test_targets_bop19.json", names={1: "brick"})
    assert [model.name for model in dataset.models.values()] == ["brick", "cone"]
    first, last = dataset.pictures
    assert (first.image_id, last.image_id) == (0, 2)
    assert [one.target for one in first.instances] == [False, True]
    # One of two is asked for: that which is seen better.
    assert sum(one.target for one in last.instances) == 1
    best = max(last.instances, key=lambda one: one.visible_fraction)
    assert best.target
    (root / "other.json").write_text(json.dumps([{"scene_id": 0, "im_id": 1, "obj_id": 1}]))  # there is a cone alone
    other = open_dataset(root, targets="other.json")
    assert other.skipped == "skipped 1 targets without a block in scene_gt.json"
    # Targets of detection name images alone: all of their blocks count.
    (root / "test_targets_bop24.json").write_text(json.dumps([{"scene_id": 0, "im_id": 2}]))
    detection = open_dataset(root, targets="test_targets_bop24.json")
    assert [[one.target for one in picture.instances] for picture in detection.pictures] == [[True, True]]
    (root / "away.json").write_text(json.dumps([{"scene_id": 48, "im_id": 2, "obj_id": 1}]))
    with pytest.raises(DatasetError, match=r"train_pbr: away\.json lists none of its images"):
        open_dataset(root, targets="away.json")
    (root / "train_pbr").rename(root / "train")
    write_foreign(tmp_path / "test")
    (tmp_path / "test" / "train_pbr").rename(root / "test")
    with pytest.raises(DatasetError, match=r"holds the splits test, train; name one with data\.split="):
        open_dataset(root)
    assert open_dataset(root, targets="test_targets_bop19.json").split == "test"
    with pytest.raises(DatasetError, match=r"data\.targets: neither .*nowhere\.json"):
        open_dataset(root, "test", targets="nowhere.json")
    with pytest.raises(DatasetError, match=r"data\.names: object 7 is not in .*; it has 1, 2"):
        open_dataset(root, "test", names={7: "brick"})
    with pytest.raises(ConfigError, match=r"^data\.names: got \['cube'\]; expected"):
        open_source(DatasetConfig(str(root), "test", names=["cube"]))
    with pytest.raises(ConfigError, match=r"^data\.names: two objects are named 'cone'"):
        classes_of(open_dataset(root, "test", names={1: "cone"}), "auto")


def test_a_table_is_where_one_is_stated(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    views: list[Any] = []
    detector = SimpleNamespace(
        blocks=SimpleNamespace(kinds=()), find=lambda images, found: [views.extend(found), [[] for _ in images]][1]
    )
    for table, known in ((None, False), (True, True), (False, False)):
        dataset = open_source(DatasetConfig(str(root), table=table))
        views.clear()
        assert not list(match_dataset(detector, dataset, 2))  # type: ignore[arg-type]
        assert [view.camera_from_table is not None for view in views] == [known] * 3
        assert ("data.table=true makes poses" in capsys.readouterr().err) == (table is None)
    np.testing.assert_allclose(
        open_dataset(root, table=True).pictures[0].camera_from_table, CAMERA_FROM_WORLD, atol=1e-12
    )

    raised = write_foreign(tmp_path / "raised", world=CAMERA_FROM_WORLD @ rigid(np.eye(3), np.array([0, 0, 0.3])))
    assert table_advice(open_dataset(raised), None) == table_advice(open_dataset(raised), False) == ""
    advice = table_advice(open_dataset(raised, table=True), True)
    assert re.match(r"WARNING: data\.table=true, but 0 of 5 labeled blocks .*: -300 mm\)", advice)
    edit(
        raised / CAMERA,
        lambda cameras: [camera.pop(k) for camera in cameras.values() for k in ("cam_R_w2c", "cam_t_w2c")],
    )
    with pytest.raises(DatasetError, match=r"data\.table=true, but no image states cam_R_w2c"):
        open_dataset(raised, table=True)


def test_blocks_of_another_size_than_their_model_are_reported(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert size_advice(open_dataset(root)) == ""
    edit(root / TRUTH, lambda truths: truths["1"][0].update(size_mm=[72, 72, 96]))
    edit(root / TRUTH, lambda truths: truths["0"][0].update(size_mm=[50.2, 50.2, 50.2]))  # rounded
    edit(root / TRUTH, lambda truths: truths["2"][1].update(size_mm=[40, 40, 40]))
    open_source(DatasetConfig(str(root), table=False))
    advice = capsys.readouterr().err
    assert "2 of 5 labeled blocks are 0.80 to 1.20 times as large as their model" in advice
    assert "render with randomize.blocks.scale=1" in advice


def test_a_manifest_of_windows_is_read(root: Path) -> None:
    files = {str(path.relative_to(root)).replace("/", "\\"): sha256_of(path) for path in root.rglob("*.*")}
    assert any("\\" in name for name in files)
    (root / "manifest.json").write_text(json.dumps({"name": "another tool's"}))
    assert open_dataset(root).manifest == {}
    (root / "manifest.json").write_text("[]")
    for content in ('{"status": "ok", "files": ["a"]}', '{"status": "ok", "files": {"a": 3}}', "no JSON"):
        (root.parent / "manifest.json").write_text(content)  # of a program that lists datasets
        assert open_dataset(root).manifest == {} and read_recipe(open_dataset(root).pictures[0]) is None
    (root / "train_pbr" / "000000" / "sample").mkdir()
    for content in ("[]", "{}", '{"recipe": 3}'):
        (root / "train_pbr" / "000000" / "sample" / "000000.json").write_text(content)
        with pytest.raises(DatasetError, match=r"holds no recipe of simgen's: it is of another version or program"):
            read_recipe(open_dataset(root).pictures[0])
    (root / "manifest.json").write_text(json.dumps({"status": "complete", "files": files}))
    assert len(open_dataset(root)) == 3
    (root / TRUTH).write_text("{}")
    with pytest.raises(DatasetError, match=r"scene_gt\.json: truncated or changed"):
        open_dataset(root)


def test_photographs_are_read_back_whatever_their_suffix(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.jpg"), np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    (tmp_path / "a.jpg").rename(tmp_path / "IMG_1.JPG")
    one = Photograph(tmp_path / "IMG_1.JPG", "IMG_1", K, np.zeros(5), CAMERA_FROM_WORLD, 0, poses(0)[0][1])
    write_photographs(tmp_path / "out", [one], SOLIDS, "a test")
    (picture,) = open_dataset(tmp_path / "out").pictures
    assert picture.path.name == "000000.JPG"
    np.testing.assert_allclose(picture.instances[0].camera_from_block, poses(0)[0][1], atol=1e-12)


def test_axes_of_symmetry(tmp_path: Path) -> None:
    def model_of(*axes: tuple[list[float], list[float]], low: float = -50.0, height: float = 100.0) -> Any:
        sizes = {"diameter": 100, **{f"size_{a}": 100.0 for a in "xyz"}, **{f"min_{a}": low for a in "xyz"}}
        sizes |= {"size_z": height, "min_z": low * height / 100}
        continuous = [{"axis": axis, "offset": offset} for axis, offset in axes]
        return models_of({"1": {**sizes, "symmetries_continuous": continuous}}, tmp_path / "models_info.json")[1]

    ball = model_of(([0, 0, 1], [50, 50, 0]), ([1, 0, 0], [0, 50, 50]), low=0.0)
    assert ball.sphere and ball.axis is None and solid_of(ball).sphere
    with pytest.raises(DatasetError, match=r"has two axes, as a sphere has, but size"):
        model_of(([0, 0, 1], [0, 0, 0]), ([1, 0, 0], [0, 0, 0]), height=60.0)
    np.testing.assert_allclose(ball.center, [0.05, 0.05, 0.05])
    twice = model_of(([0, 0, 2], [0, 0, 0]), ([0, 0, -1], [0, 0, 30]))
    np.testing.assert_allclose(twice.axes, [[0, 0, 1]])
    # An axis beside the box's middle: the block's origin is its nearest point.
    beside = model_of(([0, 0, 1], [10, 0, 70]))
    np.testing.assert_allclose(beside.center, [0.01, 0, 0], atol=1e-12)
    np.testing.assert_allclose(beside.middle, [-0.01, 0, 0], atol=1e-12)
    with pytest.raises(DatasetError, match=r"axes of symmetries_continuous do not meet"):
        model_of(([0, 0, 1], [0, 0, 0]), ([1, 0, 0], [0, 40, 0]))
