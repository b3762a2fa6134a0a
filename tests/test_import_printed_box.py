"""The importer of printed_box: a known plane comes out of the labels, and nothing else changes."""

import json
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from builders import PHOTOGRAPHS, run_script, script_module, tree
from scipy.spatial.transform import Rotation

from simgen.dataset.photographs import Photograph, write_photographs
from simgen.dataset.read import open_dataset
from simgen.files import sha256_of
from simgen.geometry import inverse, rigid
from simgen.shapes.solids import make_solid

SCRIPT = "import_printed_box.py"
SOURCE = PHOTOGRAPHS / "printed_box"
SIZE = np.array([0.165, 0.068, 0.08])
INTRINSICS = np.array([[400.0, 0, 160], [0, 400, 120], [0, 0, 1]])
PLANE = rigid(Rotation.from_euler("xyz", [2.3, 0.2, 0.1]).as_matrix(), np.array([0.05, 0.1, 0.9]))


def made(folder: Path, photograph: Path) -> Path:
    """Boxes that turn about the vertical and move on PLANE; the stated plane is another one for each picture."""
    shown = []
    for k in range(4):
        box = PLANE @ rigid(Rotation.from_euler("z", 0.4 * k).as_matrix(), np.array([0.02 * k, -0.01 * k, SIZE[2] / 2]))
        wrong = rigid(Rotation.from_euler("x", 0.4 * k).as_matrix(), np.array([0, 0, 0.8]))
        shown.append(Photograph(photograph, f"{k}.png", INTRINSICS, np.zeros(5), wrong, 0, box))
    solid = make_solid("tea_box", "rectangular_prism", SIZE)
    for name in ("desk", "turntable"):
        write_photographs(folder / name, shown, [solid], "test")
    return folder


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    path = tmp_path / "gray.png"
    PIL.Image.fromarray(np.full((240, 320, 3), 77, np.uint8)).save(path)
    return path


def test_the_plane_is_that_on_which_the_boxes_stand(tmp_path: Path, photograph: Path) -> None:
    source, out = made(tmp_path / "source", photograph), tmp_path / "out"
    done = run_script(SCRIPT, str(source), str(out))
    assert done.returncode == 0, done.stderr
    assert f"{out}: 8 photographs" in done.stdout
    before, after = open_dataset(source / "turntable", table=True), open_dataset(out / "turntable", table=True)
    for k, (old, new) in enumerate(zip(before.pictures, after.pictures, strict=True)):
        np.testing.assert_array_equal(new.instances[0].camera_from_block, old.instances[0].camera_from_block)
        assert new.camera_from_table is not None
        own = inverse(new.camera_from_table) @ PLANE  # X, Y and the origin within the plane are free
        np.testing.assert_allclose(own[2], [0, 0, 1, 0], atol=1e-9)
        box = inverse(new.camera_from_table) @ new.instances[0].camera_from_block
        np.testing.assert_allclose(box[2], [0, 0, 1, SIZE[2] / 2], atol=1e-9)
        assert old.camera_from_table is not None
        assert not np.allclose(inverse(old.camera_from_table)[2] @ PLANE, [0, 0, 1, 0], atol=0.01), k
    changed = ["scene_camera.json", "manifest.json"]
    assert tree(source / "desk") == tree(out / "desk")
    assert tree(source / "turntable", changed) == tree(out / "turntable", changed)
    files = json.loads((out / "turntable" / "manifest.json").read_text())["files"]
    assert files["test/000000/scene_camera.json"] == sha256_of(out / "turntable" / "test/000000/scene_camera.json")


def test_labels_without_one_plane_are_refused(tmp_path: Path, photograph: Path) -> None:
    plane_of = script_module("import_printed_box").plane_of
    box = PLANE @ rigid(np.eye(3), np.array([0, 0, 0.04]))
    tilted = box @ rigid(Rotation.from_euler("x", 15, degrees=True).as_matrix(), np.zeros(3))
    with pytest.raises(ValueError, match=r"differ by up to 7\.5 degrees from their mean"):
        plane_of(np.array([box, tilted]), np.full(2, 0.08))
    upside_down = box @ rigid(np.diag([1.0, -1, -1]), np.zeros(3))
    with pytest.raises(ValueError, match="the camera is below the plane"):
        plane_of(upside_down[None], np.full(1, 0.08))
    source = made(tmp_path / "source", photograph)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    done = run_script(SCRIPT, str(source), str(tmp_path / "out"))
    assert done.returncode == 2 and "is not empty; name a new folder" in done.stderr
    shutil.rmtree(source / "desk")
    done = run_script(SCRIPT, str(source), str(tmp_path / "new"))
    assert done.returncode == 2 and "desk" in done.stderr and not (tmp_path / "new").exists()


@pytest.mark.photographs
@pytest.mark.skipif(not SOURCE.is_dir(), reason=f"no photographs in {SOURCE}")
def test_the_photographs(tmp_path: Path) -> None:
    """The disc's plane is the same in all pictures, 4 mm deep at most by the labels, and the camera is 0.4 m above it."""
    done = run_script(SCRIPT, str(SOURCE), str(tmp_path / "set"))
    assert done.returncode == 0 and "26 photographs" in done.stdout
    pictures = open_dataset(tmp_path / "set" / "turntable", table=True).pictures
    assert len(pictures) == 13
    planes = np.array([one.camera_from_table for one in pictures])
    assert (planes == planes[0]).all()
    boxes = inverse(planes[0]) @ np.array([one.instances[0].camera_from_block for one in pictures])
    assert np.ptp(boxes[:, 2, 3]) < 0.008 and boxes[:, 2, 3].mean() == pytest.approx(0.04, abs=1e-6)
    assert inverse(planes[0])[2, 3] > 0.2
