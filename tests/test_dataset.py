"""Written datasets follow BOP's format, are read back unchanged, and are never half-written."""

import errno
import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh
from builders import SMALL, pipeline_of, recipe_of, tree

from simgen.dataset.assemble import begin, finish, head_of
from simgen.dataset.models import solid_of
from simgen.dataset.read import open_dataset, read_depth, read_recipe, read_rgb
from simgen.dataset.write import encode, write_samples
from simgen.errors import DatasetError, RenderError
from simgen.files import differences
from simgen.geometry import inverse
from simgen.pipeline import Pipeline
from simgen.render import make_renderer
from simgen.scene import from_json, to_json
from simgen.shapes.surface import POINTS
from simgen.storage import Folder

NUM = 6


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return pipeline_of("randomize.blocks.count=[integer,2,6]", *SMALL)


@pytest.fixture(scope="module")
def samples(pipeline: Pipeline) -> list:
    return list(pipeline.samples(make_renderer("tiny", pipeline.world), range(NUM)))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, pipeline: Pipeline, samples: list) -> Path:
    out = tmp_path_factory.mktemp("data") / "set"
    write_all(out, pipeline, samples)
    return out


def write_all(out: Path, pipeline: Pipeline, samples: list, image_format: str = "jpg") -> None:
    begin(Folder(out), recipe_of(pipeline), 0, NUM, pipeline.world)
    for sample in samples:
        write_samples(Folder(out), [sample], image_format)
    finish(Folder(out), head_of(recipe_of(pipeline), 0, NUM, pipeline.world))


def test_comes_back_as_it_went_in(written: Path, pipeline: Pipeline, samples: list) -> None:
    dataset = open_dataset(written)
    assert len(dataset) == NUM
    assert dataset.split == "train"
    assert np.array_equal(dataset.table_center, [0, 0])
    for picture, sample in zip(dataset.pictures, samples, strict=True):
        cameras = sample.scene.cameras
        assert picture.image_id == int(sample.scene.index[0])
        assert np.allclose(picture.intrinsics, cameras.intrinsics[0], rtol=0, atol=1e-12)
        assert np.allclose(picture.camera_from_world, inverse(cameras.world_from_camera[0]), rtol=0, atol=1e-12)
        assert len(picture.instances) == len(sample.labels)
        for instance, label in zip(picture.instances, sample.labels, strict=True):
            assert dataset.models[instance.obj_id].name == pipeline.world.solids[label.model].name
            assert np.allclose(instance.camera_from_block, label.camera_from_block, rtol=0, atol=1e-12)
            assert np.allclose(instance.size, label.size)
            assert instance.box_amodal == label.box_amodal
            assert instance.box_visible == label.box_visible
            assert instance.visible_fraction == label.visible_fraction
        # JPEG at quality 95: close, in every pixel's neighborhood.
        loss = cv2.blur(read_rgb(picture.path).astype(np.float32) - sample.rgb, (5, 5))
        assert np.abs(loss).mean() < 2


def test_models_carry_sizes_and_symmetries(written: Path, pipeline: Pipeline) -> None:
    models = open_dataset(written).models
    for obj_id, solid in enumerate(pipeline.world.solids, start=1):
        model = models[obj_id]
        assert model.name == solid.name
        assert np.allclose(model.size, solid.size)
        assert model.diameter == pytest.approx(solid.diameter)
        assert np.allclose(model.symmetries, solid.symmetries)
        assert (model.axis is None) == (solid.axis is None)
        mesh = trimesh.load(written / "models" / f"obj_{obj_id:06d}.ply", process=False)
        # Millimeters, closed, of the solid's volume, and one normal for each face.
        assert np.allclose(mesh.extents, solid.size * 1000, atol=1e-3)
        corners = 3 * len(mesh.faces)  # and then points for ADD-S, of no face
        assert mesh.vertices.shape == (corners + POINTS, 3)
        assert np.allclose(np.repeat(mesh.face_normals, 3, axis=0), mesh.vertex_normals[:corners], atol=1e-4)
        merged = trimesh.Trimesh(mesh.vertices[:corners], mesh.faces, process=True)
        merged.merge_vertices(merge_norm=True, digits_vertex=3)
        assert merged.is_watertight
        assert merged.volume == pytest.approx(solid.hull.volume * 1e9, rel=1e-4)


@pytest.mark.parametrize(("greatest", "scale"), [(6.5, 0.1), (65.5, 1.0), (66, 2.0), (6553, 100.0)])
def test_far_depth_has_a_coarser_unit(samples: list, greatest: float, scale: float) -> None:
    far = replace(samples[0], depth=np.full_like(samples[0].depth, greatest))
    made = encode(far, "jpg")
    assert json.loads(made.record)["camera"]["depth_scale"] == scale
    name = next(name for name in made.files if "depth/" in name)
    depth = cv2.imdecode(np.frombuffer(made.files[name], np.uint8), cv2.IMREAD_UNCHANGED)
    assert abs(depth * scale / 1000 - greatest).max() <= scale / 2000 + 1e-3


def test_a_depth_that_cannot_be_stored_is_an_error(samples: list) -> None:
    with pytest.raises(RenderError, match=r"a depth of 7000 m; expected at most 6554 m"):
        encode(replace(samples[0], depth=np.full_like(samples[0].depth, 7000)), "jpg")


def test_bop_files_follow_the_format(written: Path, samples: list) -> None:
    folder = written / "train" / "000000"
    camera = json.loads((folder / "scene_camera.json").read_text())
    truth = json.loads((folder / "scene_gt.json").read_text())
    info = json.loads((folder / "scene_gt_info.json").read_text())
    assert set(camera) == set(truth) == set(info) == {str(k) for k in range(NUM)}
    assert set(json.loads((written / "camera.json").read_text())) == {
        "fx",
        "fy",
        "cx",
        "cy",
        "width",
        "height",
        "depth_scale",
    }
    for key, sample in zip(camera, samples, strict=True):
        assert len(camera[key]["cam_K"]) == 9
        name = f"{int(key):06d}"
        depth = cv2.imread(str(folder / "depth" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        assert depth.dtype == np.uint16
        restored = depth * camera[key]["depth_scale"] / 1000
        assert np.abs(restored - sample.depth).max() <= 0.5 * camera[key]["depth_scale"] / 1000 + 1e-6
        assert len(truth[key]) == len(info[key]) == len(sample.labels)
        for k, (t, i) in enumerate(zip(truth[key], info[key], strict=True)):
            rotation = np.reshape(t["cam_R_m2c"], (3, 3))
            assert np.allclose(rotation @ rotation.T, np.eye(3)) and np.linalg.det(rotation) > 0
            assert np.linalg.norm(t["cam_t_m2c"]) > 100  # millimeters
            mask = cv2.imread(str(folder / "mask" / f"{name}_{k:06d}.png"), cv2.IMREAD_UNCHANGED)
            visible = cv2.imread(str(folder / "mask_visib" / f"{name}_{k:06d}.png"), cv2.IMREAD_UNCHANGED)
            assert set(np.unique(mask)) <= {0, 255}
            assert np.array_equal(mask > 0, sample.labels[k].amodal)
            assert np.array_equal(visible > 0, sample.labels[k].visible)
            assert i["px_count_visib"] == np.count_nonzero(visible)
            assert i["px_count_all"] >= np.count_nonzero(mask) >= i["px_count_valid"] >= i["px_count_visib"]
            assert i["visib_fract"] == pytest.approx(i["px_count_visib"] / max(i["px_count_all"], 1))
    keypoints = json.loads((folder / "scene_keypoints.json").read_text())
    for key, sample in zip(keypoints, samples, strict=True):
        for entry, label in zip(keypoints[key], sample.labels, strict=True):
            assert entry["visibility"] == label.visibility.tolist()
            assert np.allclose([p or [np.nan] * 2 for p in entry["keypoints_px"]], label.keypoints, equal_nan=True)


def test_every_sampled_factor_lies_beside_its_image(written: Path, pipeline: Pipeline, samples: list) -> None:
    """The record's recipe gives back the scene, bit for bit, and the scene gives back the picture."""
    renderer = make_renderer("tiny", pipeline.world)
    for k, sample in enumerate(samples):
        record = json.loads((written / "train" / "000000" / "sample" / f"{k:06d}.json").read_text())
        scene = from_json(record["recipe"])
        assert to_json(scene) == to_json(sample.scene)
        assert np.array_equal(renderer.render(scene).slot, renderer.render(sample.scene).slot)


def test_manifest_lists_every_file_with_its_hash(written: Path) -> None:
    manifest = json.loads((written / "manifest.json").read_text())
    files = tree(written, skip=["manifest.json"])
    assert manifest["files"] == {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    assert manifest["status"] == "complete"
    assert manifest["recipe"]["seed"] == 0
    assert manifest["recipe"]["renderer"] == "raycast"
    assert manifest["recipe"]["data_version"] == 11
    assert {"numpy", "pybullet", "python", "simgen"} <= set(manifest["recipe"]["versions"])
    assert (manifest["start"], manifest["num"]) == (0, NUM)


def test_png_keeps_every_pixel(tmp_path: Path, pipeline: Pipeline, samples: list) -> None:
    write_all(tmp_path / "png", pipeline, samples, "png")
    for picture, sample in zip(open_dataset(tmp_path / "png").pictures, samples, strict=True):
        assert np.array_equal(read_rgb(picture.path), sample.rgb)


@pytest.mark.parametrize("damage", ["missing", "truncated", "changed"])
@pytest.mark.parametrize(
    "name",
    [
        "train/000000/rgb/000003.jpg",
        "train/000000/depth/000003.png",
        "train/000000/sample/000003.json",
        "train/000000/scene_gt.json",
        "models/obj_000002.ply",
    ],
)
def test_damage_is_noticed_before_it_is_used(
    tmp_path: Path, pipeline: Pipeline, samples: list, damage: str, name: str
) -> None:
    """A missing file and a damaged JSON file at opening; another damaged file as soon as it is read."""
    write_all(tmp_path / "set", pipeline, samples)
    path = tmp_path / "set" / name
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(data[: len(data) // 2] if damage == "truncated" else data[:-20] + b"x" + data[-19:])
    if damage == "missing" or "scene_" in name:
        with pytest.raises(DatasetError, match=name):
            open_dataset(tmp_path / "set")
        return
    dataset = open_dataset(tmp_path / "set")
    reading = {"rgb": lambda one: read_rgb(one.path), "depth": read_depth, "sample": read_recipe}
    kind = path.parent.name
    if kind in reading:
        assert all(reading[kind](picture) is not None for picture in dataset.pictures[:3])
    with pytest.raises(DatasetError, match=rf"{name}: truncated or changed since manifest\.json was written"):
        reading[kind](dataset.pictures[3]) if kind in reading else solid_of(dataset.models[2])
    path.write_bytes(data)
    assert kind not in reading or reading[kind](dataset.pictures[3]) is not None


def test_opening_reads_no_picture(written: Path) -> None:
    """But the JSON files of the scenes and of the models."""
    opened: set[str] = set()
    watched = [True]

    def watch(event: str, arguments: tuple) -> None:  # a hook cannot be removed
        if watched and event == "open" and str(arguments[0]).startswith(str(written)):
            opened.add(Path(str(arguments[0])).name)

    sys.addaudithook(watch)
    assert len(open_dataset(written)) == NUM
    watched.clear()
    tables = {f"scene_{name}.json" for name in ("camera", "gt", "gt_info")}
    assert tables <= opened <= {*tables, "models_info.json", "manifest.json"}


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../b"])
def test_a_manifest_that_leads_out_of_the_dataset_is_refused(written: Path, tmp_path: Path, name: str) -> None:
    manifest = json.loads((written / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "files": {name: "0"}}))
    with pytest.raises(DatasetError, match="expected paths inside the dataset"):
        open_dataset(tmp_path)


def test_an_unfinished_dataset_is_refused(tmp_path: Path, pipeline: Pipeline, samples: list) -> None:
    begin(Folder(tmp_path), recipe_of(pipeline), 0, NUM, pipeline.world)
    write_samples(Folder(tmp_path), [samples[0]], "jpg")
    with pytest.raises(DatasetError, match="unfinished"):
        open_dataset(tmp_path)
    assert begin(Folder(tmp_path), recipe_of(pipeline), 0, NUM, pipeline.world) == {0}


def test_truncated_pictures_are_found_without_a_manifest(written: Path, tmp_path: Path) -> None:
    data = (written / "train" / "000000" / "rgb" / "000000.jpg").read_bytes()
    for content in (data[: len(data) // 2], b"", b"not a picture"):
        (tmp_path / "a.jpg").write_bytes(content)
        with pytest.raises(DatasetError, match=r"a\.jpg"):
            read_rgb(tmp_path / "a.jpg")


def test_a_full_disk_leaves_nothing_half_written(
    tmp_path: Path, pipeline: Pipeline, samples: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each write in turn fails half-way for want of space: one line, no temporary file, and the sample does not count."""
    whole = Path.write_bytes
    for fails_at in range(2 * len(samples[0].labels) + 3):
        out = tmp_path / str(fails_at)
        begin(Folder(out), recipe_of(pipeline), 0, NUM, pipeline.world)
        calls = iter(range(1000))

        def write(path: Path, data: bytes, calls=calls, fails_at=fails_at) -> int:
            if next(calls) == fails_at:
                whole(path, data[: len(data) // 2])
                raise OSError(errno.ENOSPC, "No space left on device")
            return whole(path, data)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", write)
            with pytest.raises(DatasetError, match=r"No space left on device.*run the same command again"):
                write_samples(Folder(out), [samples[0]], "jpg")
        assert not list(out.rglob("*.tmp"))
        assert begin(Folder(out), recipe_of(pipeline), 0, NUM, pipeline.world) == set()


def test_another_recipe_is_refused_and_the_difference_named(written: Path, pipeline: Pipeline) -> None:
    before = tree(written)
    recipe = recipe_of(pipeline)
    with pytest.raises(DatasetError, match="seed is 0 there and 5 here"):
        begin(Folder(written), {**recipe, "seed": 5}, 0, NUM, pipeline.world)
    other = json.loads(json.dumps(recipe))
    other["randomize"]["ambient"]["intensity"] = 0.5
    with pytest.raises(DatasetError, match=r"randomize\.ambient\.intensity is \['loguniform'.* there and 0\.5 here"):
        begin(Folder(written), other, 0, NUM, pipeline.world)
    with pytest.raises(DatasetError, match=f"num is {NUM} there and only 3 here"):
        begin(Folder(written), recipe, 0, 3, pipeline.world)
    with pytest.raises(DatasetError, match="start is 0 there and 2 here"):
        begin(Folder(written), recipe, 2, NUM, pipeline.world)
    with pytest.raises(DatasetError, match=r"with data version 11, and this simgen renders version 12.*another folder"):
        begin(Folder(written), {**recipe, "data_version": 12}, 0, NUM, pipeline.world)
    assert tree(written) == before


def test_a_foreign_folder_is_left_alone(tmp_path: Path, pipeline: Pipeline) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DatasetError, match="is not a dataset of simgen's"):
        begin(Folder(tmp_path), recipe_of(pipeline), 0, NUM, pipeline.world)
    assert tree(tmp_path) == {"thesis.tex": b"years of work"}


def test_differences() -> None:
    assert list(differences({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 2}})) == []
    assert list(differences({"b": {"c": 2}}, {"b": {"c": 3}, "d": 1})) == [("b.c", 2, 3), ("d", None, 1)]
