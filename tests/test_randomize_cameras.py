"""Cameras and fixtures as the factors state them."""

import json
from typing import Any

import numpy as np
import pytest
from builders import PHOTOGRAPHS
from samplers import changed, sampler_of, world_of

from simgen.errors import ConfigError
from simgen.geometry import inverse, project, transform_points


def test_the_kuka_camera_is_the_calibrated_one() -> None:
    path = PHOTOGRAPHS / "kuka_table" / "calibration.json"
    if not path.is_file():
        pytest.skip(f"{path.parent.name} is not here")
    calibration = json.loads(path.read_text(encoding="utf-8"))
    cameras = sampler_of("none", "kuka_table").sample(0, [0]).cameras
    expected = [
        [calibration["fx"], 0, calibration["cx"]],
        [0, calibration["fy"], calibration["cy"]],
        [0, 0, 1],
    ]
    assert np.abs(cameras.intrinsics[0] - expected).max() < 0.01
    assert cameras.distortion[0].tolist() == [calibration["k1"], 0, 0, 0, 0]
    assert (cameras.width, cameras.height) == (calibration["width"], calibration["height"])
    assert cameras.world_from_camera[0, :3, 3] == pytest.approx(calibration["camera_position_in_table_m"], abs=1e-3)
    camera_from_table = np.array(calibration["camera_from_table"])
    assert np.abs(inverse(cameras.world_from_camera[0]) - camera_from_table).max() < 1e-4
    corners = np.array([[x, y, 0.0] for x in (-1.26, -0.88, -0.5) for y in (-0.61, 0, 0.61)])
    pixels = project(transform_points(camera_from_table, corners), np.array(expected), cameras.distortion[0])
    found = project(
        transform_points(inverse(cameras.world_from_camera[0]), corners), cameras.intrinsics[0], cameras.distortion[0]
    )
    assert np.abs(found - pixels).max() < 0.1


def test_the_camera_leaves_mean_what_the_schema_says() -> None:
    leaves = {
        "camera.aim": [0.1, 0.2, 0.05],
        "camera.distance": 0.8,
        "camera.azimuth_deg": 30,
        "camera.elevation_deg": 40,
    }
    sampler = sampler_of("none", leaves=leaves, width=200, height=100)
    cameras = sampler.sample(0, [0]).cameras
    away = cameras.world_from_camera[0, :3, 3] - [0.1, 0.2, 0.05]
    assert np.linalg.norm(away) == pytest.approx(0.8)
    assert np.degrees(np.arctan2(away[1], away[0])) == pytest.approx(30)
    assert np.degrees(np.arcsin(away[2] / 0.8)) == pytest.approx(40)
    assert (cameras.width, cameras.height) == (200, 100)
    assert cameras.intrinsics[0, :2, 2] == pytest.approx([99.5, 49.5])

    def pixel(**changes: Any) -> np.ndarray:
        """Where the aim is in the picture."""
        also = {**leaves, **{f"camera.{name}": leaf for name, leaf in changes.items()}}
        found = sampler_of("none", leaves=also, width=200, height=100).sample(0, [0]).cameras
        point = transform_points(inverse(found.world_from_camera[0]), np.array([[0.1, 0.2, 0.05]]))
        return project(point, found.intrinsics[0])[0] - [99.5, 49.5]

    focal = cameras.intrinsics[0, 0, 0]
    assert np.degrees(2 * np.arctan(50 / focal)) == pytest.approx(45)  # vertical, from border to border
    assert pixel() == pytest.approx([0, 0], abs=1e-9)
    assert pixel(offset=[0.1, -0.1, 0.2]) == pytest.approx([0, 0], abs=1e-9)  # the aim stays
    assert pixel(roll_deg=50) == pytest.approx([0, 0], abs=1e-9)
    # Turned to the right and down, what was in the middle goes left and up.
    assert pixel(pan_deg=5) == pytest.approx([-focal * np.tan(np.radians(5)), 0], abs=1e-9)
    assert pixel(tilt_deg=5) == pytest.approx([0, -focal * np.tan(np.radians(5))], abs=1e-9)
    assert pixel(principal_point=[0.1, -0.05]) == pytest.approx([10, -5])


def test_pixels_scale_with_the_size_of_the_picture() -> None:
    """The same view at another size: intrinsics scale about the corner of the picture, half a pixel out."""
    small, large = (sampler_of("full", width=w, height=h).sample(0, range(5)) for w, h in ((320, 240), (960, 720)))
    differ = changed(small, large) - {"clutter.position", "clutter.size"}
    assert differ == {"cameras.focal", "cameras.center", "cameras.width", "cameras.height"}
    assert np.allclose(small.clutter.world_from_object, large.clutter.world_from_object, rtol=0, atol=1e-9)
    assert np.allclose(large.cameras.intrinsics[:, 0, 0], 3 * small.cameras.intrinsics[:, 0, 0])
    assert np.allclose(large.cameras.intrinsics[:, :2, 2] + 0.5, 3 * (small.cameras.intrinsics[:, :2, 2] + 0.5))


@pytest.mark.parametrize(
    ("scene", "leaves", "what"),
    [
        ("tabletop", {"camera.distance": 0.01, "camera.elevation_deg": 0}, "the table"),
        ("tabletop", {"camera.aim": [0, 0, -0.02]}, "the table"),
        ("tabletop", {"camera.elevation_deg": -60}, "the floor"),
        ("tabletop", {"camera.distance": 2.5, "camera.elevation_deg": 10}, "a wall"),
        ("tabletop", {"camera.distance": 2.5, "camera.elevation_deg": 10, "camera.azimuth_deg": -90}, "a wall"),
        ("tabletop", {"camera.offset": [0, 0, 3]}, "the ceiling"),
        ("kuka_table", {"camera.aim": [0, 0, 0.3], "camera.distance": 0.05}, "a fixture"),
        # Beside the arm's column as it stands, and in it as it may stand, or as large as it may be.
        (
            "kuka_table",
            {"camera.aim": [0.12, 0, 0.3], "camera.distance": 0.01, "fixture.shift": [1, 0, 0]},
            "a fixture",
        ),
        ("kuka_table", {"camera.aim": [0.08, 0, 0.3], "camera.distance": 0.001, "fixture.growth": 1}, "a fixture"),
    ],
)
def test_a_camera_inside_or_behind_something_is_refused(scene: str, leaves: dict[str, Any], what: str) -> None:
    if what == "the table":
        leaves = {"camera.distance": 0.001, **leaves}
    sampler = sampler_of("none", scene, leaves)
    if what == "the ceiling":  # there is none: a camera may look down from above the walls
        sampler.sample(0, [0])
        return
    with pytest.raises(ConfigError, match=what) as caught:
        sampler.sample(4, [9])
    assert str(caught.value).startswith("randomize.camera: sample 9 of seed 4 ")
    if what == "a wall":
        assert len(sampler_of("none", scene, {**leaves, "walls": 0}).sample(4, [9])) == 1
    if what == "a fixture":
        assert len(sampler_of("none", scene, {**leaves, "fixture.presence": 0}).sample(4, [9])) == 1


def test_fixtures_vary_as_their_scene_says() -> None:
    """Every box by itself, within what the scene file allows and over all of it."""
    boxes = world_of("kuka_table").loose
    fixtures = sampler_of("full", "kuka_table").sample(3, range(400)).fixtures
    moves, grows = np.stack([box.moves for box in boxes]), np.array([box.grows for box in boxes])
    missing = np.array([box.missing for box in boxes])
    share = np.divide(fixtures.shift, moves, out=np.zeros_like(fixtures.shift), where=moves > 0)
    assert (np.abs(share) <= 1).all()
    assert (np.abs(share).max(0)[moves > 0] > 0.97).all()
    assert not fixtures.shift[:, moves == 0].any()
    assert np.log(fixtures.scale).min(0) == pytest.approx(-np.log1p(grows), rel=0.05)
    assert np.log(fixtures.scale).max(0) == pytest.approx(np.log1p(grows), rel=0.05)
    assert (np.abs(1 - fixtures.present.mean(0) - missing) < 4 * np.sqrt(missing * (1 - missing) / 400) + 1e-9).all()
    apart = np.corrcoef(share[:, moves[:, 0] > 0, 0].T)
    assert np.abs(apart - np.eye(len(apart))).max() < 0.3


@pytest.mark.parametrize("preset", ["none", "tobin2017"])
def test_fixtures_stand_where_they_are_said_to_unless_they_vary(preset: str) -> None:
    sampler = sampler_of(preset, "kuka_table")
    fixtures = sampler.sample(3, range(5)).fixtures
    # What is a guess, the marks and stains and what stands behind the table, is not there.
    assert [len(group) for group in sampler.world.fixtures[-2:]] == [4, 2]
    assert fixtures.present[:, :-6].all()
    assert not fixtures.present[:, -6:].any()
    assert not fixtures.shift.any()
    assert (fixtures.scale == 1).all()
