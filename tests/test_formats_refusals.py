"""`python -m simgen convert` and `label`: what cannot be done is refused in one line, and nothing is left or overwritten."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
import trimesh
from builders import run_command
from foreign_bop import SHIFT, write_foreign

import simgen.__main__
from simgen.config import main
from simgen.diff.schema import DiffConfig
from simgen.diff.sides import open_sides
from simgen.errors import ConfigError, DatasetError
from simgen.formats.command import convert
from simgen.formats.schema import ConvertConfig
from simgen.report.samples import read_samples
from simgen.report.schema import ReportConfig


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_foreign(tmp_path_factory.mktemp("foreign") / "set")


@pytest.fixture
def copy(foreign: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(foreign, tmp_path / "set"))


def run(dataset: Path, out: Path, format: str = "coco", **changes: Any) -> None:
    convert(ConvertConfig(str(dataset), format, str(out), **changes))


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def scaled(truths: Any) -> None:
    truths["7"][0]["size_mm"] = [100, 100, 100]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "val"}, "split: .* has no split 'val'; it has test_real"),
        ({"val": 0.5}, "val: divides the only train split"),
        ({"val": 1.5}, "val: got 1.5; expected"),
        ({"min_visible": 2.0}, "min_visible: got 2; expected"),
        ({"format": "foundationpose"}, r"000007.png: missing; format=foundationpose needs depth"),
        ({"format": "foundationpose", "out": "rgbd"}, "out: its path contains 'rgb'"),
    ],
)
def test_a_setting_that_cannot_be(changes: dict[str, Any], message: str, foreign: Path, tmp_path: Path) -> None:
    out = tmp_path / changes.pop("out", "out")
    with pytest.raises((ConfigError, DatasetError), match=message):
        run(foreign, out, **changes)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("file", "full", "link"):
        with pytest.raises(ConfigError, match="exists and is not an empty folder"):
            run(foreign, tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full", "link"]
    with pytest.raises(DatasetError, match=r"the dataset is one folder up: dataset=.*set split=test_real"):
        run(foreign / "test_real", tmp_path / "new")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="exists and is not an empty folder"):
        run(foreign, Path())
    (tmp_path / "empty").mkdir()
    run(foreign, tmp_path / "empty")
    assert sorted(path.name for path in (tmp_path / "empty").iterdir()) == ["annotations", "test_real"]


def test_an_interrupted_conversion_leaves_nothing(
    foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        assert any(path.name.startswith(".out.") for path in tmp_path.iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr("simgen.formats.labels.LabelReader.report", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(foreign, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_hard_links_are_asked_for_by_name(foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(foreign, tmp_path / "link", pictures="link")
    run(foreign, tmp_path / "symlink", pictures="symlink")
    for kind in ("link", "symlink"):
        picture = tmp_path / kind / "test_real" / "000004_000007.png"
        assert picture.samefile(foreign / "test_real/000004/gray/000007.png")
        assert picture.is_symlink() == (kind == "symlink")

    def fails(*_: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", fails)
    with pytest.raises(DatasetError, match=r"pictures: .* cannot be hard-linked .*Invalid cross.*; use pictures=copy"):
        run(foreign, tmp_path / "other", pictures="link")


def test_an_optional_package_is_named(foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(ConfigError, match=r"format: coco needs pycocotools.*pip install 'simgen\[formats\]'"):
        run(foreign, tmp_path / "out")


def test_labels_that_a_format_cannot_state(copy: Path, tmp_path: Path) -> None:
    scene = copy / "test_real" / "000004"
    edit(scene / "scene_gt.json", scaled)
    with pytest.raises(DatasetError, match=r"1 objects, the first of object 3, have another size than their model"):
        run(copy, tmp_path / "out", "bop")
    (scene / "mask_visib").mkdir()
    cv2.imwrite(str(scene / "mask_visib" / "000007_000000.png"), np.full((72, 90), 255, np.uint8))
    with pytest.raises(DatasetError, match=r"mask of image 7, block 0 has 90 x 72 px; expected the image's 96 x 72"):
        run(copy, tmp_path / "out")
    for path in (copy / "models").glob("*.ply"):
        path.unlink()
    infos = {"7": [{"bbox_obj": [0, 0, 9, 9], "bbox_visib": [-5, 0, 9, 9], "px_count_visib": 9, "visib_fract": 1}] * 2}
    (scene / "scene_gt_info.json").write_text(json.dumps({**infos, "9": []}))
    shutil.rmtree(copy / "test_real" / "000011")
    with pytest.raises(DatasetError, match=r"yolo_pose needs keypoints.*obj_000003.ply: missing.*use format=yolo"):
        run(copy, tmp_path / "out", "yolo_pose")
    # Boxes need no mesh; one that the border cuts ends there.
    run(copy, tmp_path / "yolo", "yolo")
    line = (tmp_path / "yolo/labels/test_real/000004_000007.txt").read_text().splitlines()[0].split()
    np.testing.assert_allclose(np.array(line[1:], dtype=float) * [96, 72, 96, 72], [2, 4.5, 4, 9], atol=1e-5)
    run(copy, tmp_path / "whole", "yolo", boxes="whole")
    line = (tmp_path / "whole/labels/test_real/000004_000007.txt").read_text().splitlines()[0].split()
    np.testing.assert_allclose(np.array(line[1:], dtype=float) * [96, 72, 96, 72], [4.5, 4.5, 9, 9], atol=1e-5)


def test_a_turned_picture_is_written_as_it_is_seen(copy: Path, tmp_path: Path) -> None:
    """EXIF turns it, and some programs do not: labels are of the picture as it is seen."""
    path = copy / "test_real" / "000004" / "gray" / "000007.png"
    seen = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.fromarray(np.rot90(seen)).save(path, exif=exif)
    run(copy, tmp_path / "out")
    written = tmp_path / "out/test_real/000004_000007.png"
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(written).convert("L")), seen)


def test_names_that_two_objects_have_are_told_apart(copy: Path, tmp_path: Path) -> None:
    edit(copy / "models" / "models_info.json", lambda infos: [info.update(name="block/..") for info in infos.values()])
    run(copy, tmp_path / "out")
    content = json.loads((tmp_path / "out/annotations/instances_test_real.json").read_text())
    assert [one["name"] for one in content["categories"]] == ["block/.._3", "block/.._17"]


def test_a_frame_without_objects_everywhere_has_no_types(copy: Path, tmp_path: Path) -> None:
    for path in copy.glob("test_real/*/scene_gt.json"):
        edit(path, lambda truths: truths.update({key: [] for key in truths}))
    with pytest.raises(DatasetError, match="shows no object, so that Hugging Face's reader cannot infer"):
        run(copy, tmp_path / "out", "imagefolder")
    run(copy, tmp_path / "yolo", "yolo")
    assert {path.read_text() for path in (tmp_path / "yolo/labels/test_real").iterdir()} == {""}


def test_the_command_line(foreign: Path, tmp_path: Path) -> None:
    def command(*arguments: str) -> Any:
        return run_command(lambda: main("simgen", simgen.__main__.COMMANDS), "simgen", "convert", *arguments)

    done = command(f"dataset={foreign}", "format=imagefolder", f"out={tmp_path / 'out'}")
    assert done.returncode == 0 and "3 pictures of split test_real" in done.stdout
    done = command(f"dataset={foreign}", "format=cocoo", f"out={tmp_path / 'new'}")
    assert done.returncode == 2 and "format: got 'cocoo'; expected one of coco, yolo" in done.stderr
    done = command(f"dataset={foreign}", "format=yolo", f"out={tmp_path / 'new'}", "targets=true")
    assert done.returncode == 0 and "targets" in done.stderr  # a note: it has no effect


def textured(path: Path, picture: Path) -> None:
    """Writes the cube of foreign_bop with texture coordinates, as BOP's models have them."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * 25 + SHIFT
    faces = trimesh.convex.convex_hull(corners, qhull_options="Qt").faces
    head = ["ply", "format ascii 1.0", f"comment TextureFile {picture.name}", "element vertex 8"]
    head += [f"property float {name}" for name in ("x", "y", "z", "texture_u", "texture_v")]
    head += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
    hull = trimesh.convex.convex_hull(corners, qhull_options="Qt").vertices
    rows = [" ".join(map(str, [*corner, k / 8, 1 - k / 8])) for k, corner in enumerate(hull)]
    path.write_text("\n".join([*head, *rows, *(f"3 {a} {b} {c}" for a, b, c in faces)]) + "\n")
    cv2.imwrite(str(picture), np.full((8, 8, 3), (10, 200, 30), np.uint8))


def test_models_keep_their_textures(copy: Path, tmp_path: Path) -> None:
    """In BOP's copy by name, in FoundationPose's mesh as its material; a name with a path is refused."""
    folder = copy / "models"
    textured(folder / "obj_000003.ply", folder / "wood.png")
    run(copy, tmp_path / "out", "bop")
    assert (tmp_path / "out/models/wood.png").read_bytes() == (folder / "wood.png").read_bytes()
    for path in copy.glob("test_real/*/gray/*.png"):
        depth = path.parent.parent / "depth" / path.name
        depth.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(depth), np.full(cv2.imread(str(path)).shape[:2], 512, np.uint16))
    run(copy, tmp_path / "fp", "foundationpose")
    mesh = trimesh.load(sorted((tmp_path / "fp").rglob("obj_000003/*/mesh/textured_simple.obj"))[-1])
    assert np.asarray(mesh.visual.material.image)[0, 0, :3].tolist() == [30, 200, 10]
    np.testing.assert_allclose(mesh.bounds, (SHIFT + np.array([[-25], [25]])) / 1000, atol=1e-7)
    # Depth in millimeters is handed over as it is.
    source = next(iter(copy.glob("test_real/000004/depth/000007.png")))
    assert {path.read_bytes() for path in (tmp_path / "fp").rglob("depth/000004*.png")} == {source.read_bytes()}
    text = (folder / "obj_000003.ply").read_text()
    (folder / "obj_000003.ply").write_text(text.replace("wood.png", "../wood.png"))
    for format in ("bop", "foundationpose"):
        with pytest.raises(DatasetError, match=r"obj_000003.ply: names the texture '../wood.png'"):
            run(copy, tmp_path / "other", format)


def test_textures_of_any_name_and_missing_ones(copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = copy / "models"
    textured(folder / "obj_000003.ply", folder / "wood.png")
    (folder / "wood.png").rename(folder / "große Späne (1).png")
    text = (folder / "obj_000003.ply").read_text()
    (folder / "obj_000003.ply").write_text(text.replace("wood.png", "große Späne (1).png"), encoding="utf-8")
    run(copy, tmp_path / "out", "bop")
    assert (
        tmp_path / "out/models/große Späne (1).png"
    ).is_file() and "names the texture" not in capsys.readouterr().err
    (folder / "große Späne (1).png").unlink()
    run(copy, tmp_path / "other", "bop")
    assert "names the texture große Späne (1).png, which is missing: it is left out" in capsys.readouterr().err


def test_depth_of_another_size_than_its_picture_is_refused(copy: Path, tmp_path: Path) -> None:
    depth = copy / "test_real" / "000004" / "depth" / "000007.png"
    depth.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(depth), np.full((8, 10), 512, np.uint16))
    with pytest.raises(DatasetError, match=r"000007\.png: 10 x 8 pixels, its picture \d+ x \d+; expected depth of the"):
        run(copy, tmp_path / "out", "bop")


def test_train_is_divided_where_there_is_no_val(copy: Path, tmp_path: Path) -> None:
    (copy / "test_real").rename(copy / "train")
    shutil.copytree(copy / "train", copy / "test")
    run(copy, tmp_path / "divided", "yolo", split="train")
    shutil.copytree(copy / "train", copy / "val")
    run(copy, tmp_path / "whole", "yolo", split="train")
    found = {name: {path.name for path in (tmp_path / name / "images").iterdir()} for name in ("divided", "whole")}
    assert found == {"divided": {"train", "val"}, "whole": {"train"}}


def test_a_sequence_has_one_camera_and_each_object_once(copy: Path, tmp_path: Path) -> None:
    for path in copy.glob("test_real/*/gray/*.png"):
        depth = path.parent.parent / "depth" / path.name
        depth.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(depth), np.full(cv2.imread(str(path)).shape[:2], 512, np.uint16))
    with pytest.raises(DatasetError, match="scene 11, object 3: is in a picture several times"):
        run(copy, tmp_path / "out", "foundationpose", sequence=True)
    shutil.rmtree(copy / "test_real" / "000011")
    scene = copy / "test_real" / "000004"
    edit(scene / "scene_gt.json", lambda truths: truths["9"].append(truths["7"][1]))
    run(copy, tmp_path / "out", "foundationpose", sequence=True)
    folder = tmp_path / "out" / "test_real" / "obj_000017" / "000004"
    for kind in ("rgb", "depth", "masks", "annotated_poses"):
        assert [path.stem for path in sorted((folder / kind).iterdir())] == ["000004_000007", "000004_000009"]
    edit(scene / "scene_camera.json", lambda cameras: cameras["9"]["cam_K"].__setitem__(0, 91.0))
    with pytest.raises(DatasetError, match="images 7 and 9 have different cameras, and a sequence has one"):
        run(copy, tmp_path / "other", "foundationpose", sequence=True)


def test_gray_pictures_stay_gray(copy: Path, tmp_path: Path) -> None:
    """Also those that are made straight, or have 16 bits: BOP's folder gray/ holds pictures of one channel."""
    for path in copy.glob("test_real/*/gray/*.png"):
        cv2.imwrite(str(path), 257 * cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.uint16))
    run(copy, tmp_path / "deep", "bop")
    edit(
        copy / "test_real/000004/scene_camera.json", lambda cameras: cameras["9"].update(dist_opencv5=[0.1, 0, 0, 0, 0])
    )
    run(copy, tmp_path / "bent", "bop")
    for folder in ("deep", "bent"):
        shapes = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED).ndim for path in (tmp_path / folder).rglob("gray/*.png")]
        assert shapes and set(shapes) == {2}


def test_shards_are_of_one_split_and_not_divided(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^val: got 0\.2, but shards hold one split"):
        run(copy, tmp_path / "out", "shards", val=0.2)
    assert not (tmp_path / "out").exists()


def test_messages_name_the_keys_of_convert_diff_and_report(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"up: dataset=\S+ split=test_real"):
        run(copy / "test_real", tmp_path / "out", "bop")
    with pytest.raises(DatasetError, match=r"dataset=|split=") as caught:
        read_samples(copy, ReportConfig(str(copy), split="nothing"))
    assert "data.split" not in str(caught.value) and "split=nothing is not among them" in str(caught.value)
    with pytest.raises(DatasetError) as other:
        open_sides(DiffConfig(str(copy / "test_real"), str(copy / "test_real")), ExitStack())
    assert "data." not in str(other.value) and f"up: {copy} split=test_real" in str(other.value)


def test_a_picture_that_has_changed_is_not_handed_on(copy: Path, tmp_path: Path) -> None:
    picture = next(path for path in sorted(copy.rglob("*")) if path.parent.name in ("rgb", "gray"))
    files = {picture.relative_to(copy).as_posix(): "0" * 64}
    (copy / "manifest.json").write_text(json.dumps({"status": "complete", "files": files}))
    with pytest.raises(DatasetError, match=rf"{picture.name}: truncated or changed since manifest\.json was written"):
        run(copy, tmp_path / "out", "yolo")
    assert not (tmp_path / "out").exists()
