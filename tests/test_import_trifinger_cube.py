"""The importer of the trifinger_cube photographs, on a folder of the same form and, if available, on the photographs."""

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from builders import PHOTOGRAPHS, run_script
from scipy.spatial.transform import Rotation

from simgen.dataset.read import open_dataset

SCRIPT = "import_trifinger_cube.py"
SOURCE = PHOTOGRAPHS / "trifinger_cube"
TURN = Rotation.from_euler("xyz", [0.3, -0.5, 0.2]).as_matrix()


def made(folder: Path) -> Path:
    (folder / "poses").mkdir(parents=True)
    (folder / "cube_v1").mkdir()
    PIL.Image.fromarray(np.full((90, 100, 3), 77, np.uint8)).save(folder / "cube_v1" / "camera60.png")
    lens = {"cam_K": [200.0, 0, 50, 0, 200, 45, 0, 0, 1], "dist_opencv5": [-0.2, 0.1, 0, 0, 0]}
    pose = {"obj_id": 1, "cam_R_m2c": TURN.ravel().tolist(), "cam_t_m2c": [10.0, -20, 500]}
    for name, content in (
        ("frames", {"0": "cube_v1/camera60.png"}),
        ("scene_camera", {"0": lens}),
        ("scene_gt", {"0": [pose]}),
    ):
        (folder / "poses" / f"{name}.json").write_text(json.dumps(content))
    return folder


def test_poses_and_pixels_come_through(tmp_path: Path) -> None:
    source = made(tmp_path / "source")
    done = run_script(SCRIPT, str(source), str(tmp_path / "set"))
    assert done.returncode == 0, done.stderr
    (picture,) = (dataset := open_dataset(tmp_path / "set")).pictures
    assert picture.path.read_bytes() == (source / "cube_v1" / "camera60.png").read_bytes()
    assert picture.camera_from_world is None
    (instance,) = picture.instances
    np.testing.assert_allclose(instance.camera_from_block[:3, :3], TURN, atol=1e-12)
    np.testing.assert_allclose(instance.camera_from_block[:3, 3], [0.01, -0.02, 0.5])
    np.testing.assert_allclose(instance.size, 0.065)
    assert dataset.models[1].name == "cube" and len(dataset.models[1].symmetries) == 24
    # The outline's box by hand: the corners' pixels, to a pixel.
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * 0.0325 @ TURN.T + [
        0.01,
        -0.02,
        0.5,
    ]
    x, y = corners[:, 0] / corners[:, 2], corners[:, 1] / corners[:, 2]
    radial = 1 - 0.2 * (x**2 + y**2) + 0.1 * (x**2 + y**2) ** 2
    u, v = 200 * x * radial + 50, 200 * y * radial + 45
    left, top, width, height = instance.box_amodal
    np.testing.assert_allclose([left, top, left + width, top + height], [u.min(), v.min(), u.max(), v.max()], atol=1.5)


@pytest.mark.parametrize(
    ("name", "content"), [("scene_gt", {"0": []}), ("scene_camera", {}), ("frames", {"0": "no.png"})]
)
def test_a_damaged_source_is_one_line_and_names_it(tmp_path: Path, name: str, content: object) -> None:
    source = made(tmp_path / "source")
    (source / "poses" / f"{name}.json").write_text(json.dumps(content))
    done = run_script(SCRIPT, str(source), str(tmp_path / "set"))
    assert done.returncode == 2
    assert done.stderr.startswith("import_trifinger_cube: error: ") and str(source) in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.photographs
@pytest.mark.skipif(not SOURCE.is_dir(), reason=f"no photographs in {SOURCE}, see README, Results")
def test_the_photographs_are_nine_with_a_block_each(tmp_path: Path) -> None:
    done = run_script(SCRIPT, str(SOURCE), str(tmp_path / "set"))
    assert "9 photographs" in done.stdout, done.stderr
    dataset = open_dataset(tmp_path / "set")
    names = [dataset.models[p.instances[0].obj_id].name for p in dataset.pictures]
    assert names == ["cube"] * 6 + ["rectangular_prism"] * 3
    assert all(p.instances[0].visible_fraction == 1 for p in dataset.pictures)
