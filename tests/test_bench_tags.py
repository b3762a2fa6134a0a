"""scripts/bench_tags.py: the tags that it draws are found where they are, on every side of a cube."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from builders import script_module

from simgen.geometry import Array, inverse, look_at
from simgen.shapes.solids import make_solid
from train.blocks.kinds import Kind
from train.pose.view import View

CUBE = Kind.of(make_solid("cube", "cube", [0.05, 0.05, 0.05]))
MATRIX = np.array([[900.0, 0, 159.5], [0, 900, 119.5], [0, 0, 1]])


@pytest.fixture(scope="module")
def script() -> Any:
    return script_module("bench_tags")


def drawn(script: Any, pose: Array, dictionary: int) -> Array:
    """(240, 320, 3) a cube with tags at `pose` (4, 4) camera_from_block, by casting rays at its sides."""
    half = 0.025
    v, u = np.indices((3 * 240, 3 * 320)) / 3 - 1 / 3
    rays = np.stack([u, v, np.ones_like(u)], -1).reshape(-1, 3) @ np.linalg.inv(MATRIX).T @ pose[:3, :3]
    eye = -pose[:3, :3].T @ pose[:3, 3]
    with np.errstate(all="ignore"):
        ends = np.stack([(sign * half - eye) / rays for sign in (-1, 1)])
    near, far = ends.min(0).max(1), ends.max(0).min(1)
    hit = near < far
    light = np.full(len(rays), 0.4)
    light[hit] = script.reflectance(eye + near[hit, None] * rays[hit], half, dictionary)
    picture = np.repeat(light.reshape(240, 3, 320, 3).mean((1, 3))[..., None], 3, -1)
    return np.asarray(np.round(255 * picture).astype(np.uint8))


@pytest.mark.parametrize("name", ["ArUco 4x4", "AprilTag 36h11"])
def test_a_tag_on_any_side_gives_the_cubes_pose(name: str, script: Any) -> None:
    rng = np.random.default_rng(0)
    sides = set()
    for _ in range(12):
        eye = rng.normal(size=3)
        camera = inverse(look_at(0.4 * eye / np.linalg.norm(eye), rng.uniform(-0.01, 0.01, 3)))
        picture = drawn(script, camera, script.TAGS[name])
        case = script.Case(
            {}, View(MATRIX, np.zeros(5), camera, None), camera, CUBE
        )  # the block's axes are the table's
        pose = script.tag_pose(picture, case, script.TAGS[name])
        assert pose is not None
        assert np.linalg.norm(pose[:3, 3] - camera[:3, 3]) < 0.004 and script.is_right(pose, case)
        assert np.allclose(pose[:3, :3], camera[:3, :3], atol=0.08)  # not only up to symmetry: each side has its number
        sides |= {k for k, (normal, _, _) in enumerate(script.SIDES) if normal @ eye > 0.5 * np.linalg.norm(eye)}
    assert sides == set(range(6))


def test_without_a_tag_there_is_no_pose(script: Any) -> None:
    case = script.Case({}, View(MATRIX, np.zeros(5), np.eye(4), None), np.eye(4), CUBE)
    assert script.tag_pose(np.full((240, 320, 3), 90, np.uint8), case, cv2.aruco.DICT_4X4_50) is None
    assert not script.is_right(None, case)


def test_the_comparison_of_one_scene(script: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Near, both see the cube; half of it covered, fewer of its pixels are left."""
    near, covered = script.FACTORS["distance"], script.FACTORS["occlusion"]
    monkeypatch.setattr(script, "FACTORS", {"distance": (*near[:2], [0.35]), "occlusion": (*covered[:2], [0.5])})
    out = tmp_path / "docs" / "tags.png"
    out.parent.mkdir()
    monkeypatch.setattr("sys.argv", ["x", "--num", "1", "--out", str(out), "--look", str(tmp_path / "look")])
    script.main()
    results = json.loads(out.with_suffix(".json").read_text())
    assert results["distance"][0]["right"] == {"detector": 1, "ArUco 4x4": 1, "AprilTag 36h11": 1}
    assert cv2.imread(str(out)) is not None
    sheet = cv2.imread(str(tmp_path / "look" / "occlusion_0.5.png"))
    assert sheet is not None and sheet.shape == (480, 3 * 640, 3)
    mask = np.zeros((40, 60), np.bool_)
    mask[10:30, 15:45] = True
    for share in (0.2, 0.5, 0.8):
        bar = script._bar(mask, share, 3)
        assert bar[mask].mean() == pytest.approx(share, abs=0.03) and not bar.all()
