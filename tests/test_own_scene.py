"""`python -m simgen scene`: its camera is the calibrated one wherever that hangs, and varies by what the command states."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from simgen.board.cell import scene
from simgen.board.schema import SceneConfig
from simgen.camera import Camera
from simgen.config import compose
from simgen.geometry import Array, inverse, look_at, rotation_about
from simgen.pipeline import make_resized_pipeline
from simgen.schema import Render

MATRIX = np.array([[620.0, 0, 319.5], [0, 620.0, 239.5], [0, 0, 1]])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("blocks.yaml").write_text("brick: {shape: rectangular_prism, size: [0.06, 0.03, 0.02]}\n")


def poses(world_from_camera: Array, preset: str, *, turns_deg: float = 0.5, moves_mm: float = 0.0) -> Array:
    """(256, 4, 4) world_from_camera of samples of the scene that `scene` makes of this camera."""
    camera = Camera(MATRIX, 640, 480, camera_from_table=inverse(world_from_camera))
    Path("table.json").write_text(json.dumps(camera.to_json()))
    Path("x.yaml").unlink(missing_ok=True)
    scene(SceneConfig(blocks="blocks.yaml", size=[0.5, 0.4], turns_deg=turns_deg, moves_mm=moves_mm, out="x.yaml"))
    words = ["scene=x.yaml", f"randomize={preset}", "physics=place"]
    return np.asarray(
        make_resized_pipeline(compose("render", Render, words)).sampler.sample(1, range(256)).cameras.world_from_camera
    )


def turned(found: Array, true: Array) -> tuple[NDArray[np.float64], ...]:
    """Degrees (B,) by which the cameras `found` are turned from `true`: sideways, up and about the optical axis."""
    turn = true[:3, :3].T @ found[:, :3, :3]
    forward = turn[:, :, 2]
    sideways, up = np.arctan2(forward[:, 0], forward[:, 2]), np.arctan2(-forward[:, 1], forward[:, 2])
    roll = np.arctan2(turn[:, 1, 0] - turn[:, 0, 1], turn[:, 0, 0] + turn[:, 1, 1])
    return tuple(np.asarray(np.degrees(part)) for part in (sideways, up, roll))


def over(elevation: float, azimuth: float = 37.0, roll: float = 20.0) -> Array:
    """world_from_camera of a camera 0.6 m from a point near the origin; at an elevation of 90 it is turned in any way."""
    up, around = np.radians([elevation, azimuth])
    away = np.array([np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)])
    aim = np.array([0.01, -0.02, 0.0])
    return look_at(aim + 0.6 * away, aim, np.radians(roll))


@pytest.mark.parametrize("elevation", [30.0, 50.0, 60.0])
def test_the_direction_varies_by_as_much_to_each_side(elevation: float, capsys: pytest.CaptureFixture[str]) -> None:
    """And the calibrated pose itself is exact. Of 256 uniform numbers, the outermost are within 5% of the ends."""
    true = over(elevation, roll=0.0)
    assert max(np.abs(part).max() for part in turned(poses(true, "none"), true)) < 0.002
    sideways, up, roll = turned(poses(true, "full"), true)
    for part in (sideways, up):
        assert -0.51 < part.min() < -0.475 and 0.475 < part.max() < 0.51
    assert roll.min() < -0.475 and roll.max() > 0.475
    # An azimuth turns the picture, too.
    assert np.abs(roll).max() < 0.505 * (1 + np.tan(np.radians(elevation)))
    assert "steep" not in capsys.readouterr().err


@pytest.mark.parametrize("roll", [0.0, 90.0, 200.0])
@pytest.mark.parametrize("away", [0.0, 1e-7, 4e-4, 6e-4, 0.2])
def test_a_camera_that_looks_straight_down(away: float, roll: float, capsys: pytest.CaptureFixture[str]) -> None:
    """Its pictures are turned as those of the calibrated one; what its direction lacks is stated, with a remedy."""
    true = over(90 - away, roll=roll)
    if not away:  # exactly, in any way
        true[:3, :3] = np.diag([1.0, -1, -1]) @ rotation_about(2, np.radians(roll))
    assert max(np.abs(part).max() for part in turned(poses(true, "none"), true)) < 0.002
    printed = capsys.readouterr().err
    assert "looks down steeply" in printed and f"by {np.sin(np.radians(away)):.2f} degrees sideways" in printed
    words = "randomize.camera.pan_deg=[uniform,-0.5,0.5] randomize.camera.tilt_deg=[uniform,-0.5,0.5]"
    assert words in printed
    sideways, up, about = turned(poses(true, "full"), true)
    assert max(np.abs(sideways).max(), np.abs(up).max()) < 0.505
    assert about.min() < -0.475 and about.max() > 0.475 and np.abs(about).max() < 1.52
    pipeline = make_resized_pipeline(
        compose("render", Render, ["scene=x.yaml", "randomize=full", "physics=place", *words.split()])
    )
    wide = turned(pipeline.sampler.sample(1, range(256)).cameras.world_from_camera, true)
    assert all(part.min() < -0.4 and part.max() > 0.4 for part in wide)


def test_a_camera_that_stays_is_exact(capsys: pytest.CaptureFixture[str]) -> None:
    """Without moves and turns nothing is stated of a direction."""
    true = over(90.0)
    assert max(np.abs(part).max() for part in turned(poses(true, "full", turns_deg=0.0), true)) < 0.002
    assert "steep" not in capsys.readouterr().err
