"""randomize.camera.file: pictures and labels are those of the camera in the file, by OpenCV's own projection."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from builders import pipeline_of, recipe_of, sampler_of

from simgen.camera import Camera
from simgen.catalogue import load_world
from simgen.command.effects import without_effect
from simgen.command.grammar import in_grammar
from simgen.command.keys import groups_of, keys_of
from simgen.config import compose
from simgen.dataset.assemble import begin, finish, head_of
from simgen.dataset.read import open_dataset
from simgen.dataset.write import write_samples
from simgen.distortion import fisheye_lens, padded
from simgen.errors import ConfigError
from simgen.geometry import inverse, look_at, project, transform_points, unproject
from simgen.preview import preview
from simgen.render import Renderer, make_renderer
from simgen.schema import Preview, Render
from simgen.storage import Folder

K = np.array([[150.0, 0, 84.5], [0, 141, 55.25], [0, 0, 1]])
SIZE = (160, 120)
POSE = inverse(look_at(np.array([0.25, -0.3, 0.4]), np.array([0.05, 0.02, 0.0]), 0.2))
LENSES = {
    "none": np.zeros(5),
    "5": np.array([-0.25, 0.08, 0.004, -0.003, 0.01]),
    "8": padded([-0.2, 0.1, 0.003, -0.002, 0.02, 0.1, 0.05, 0.01]),
    "fisheye": fisheye_lens([0.08, -0.06, 0.03, -0.01]),
}


def camera_file(path: Path, lens: str = "5", pose: np.ndarray | None = POSE, **changes: Any) -> str:
    wide = np.diag([0.55, 0.55, 1]) if lens == "fisheye" else np.eye(3)  # 75 degrees to a side
    matrix = K.copy()
    matrix[:2, :2] = wide[:2, :2] @ K[:2, :2]
    content = {**Camera(matrix, *SIZE, LENSES[lens], pose).to_json(), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return str(path)


def opencv(points: np.ndarray, matrix: np.ndarray, lens: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """(P, 2) px of `points` (P, 3) in the table frame."""
    turn, shift = cv2.Rodrigues(pose[:3, :3])[0], pose[:3, 3]
    if padded(lens)[8]:
        return cv2.fisheye.projectPoints(points[None], turn, shift, matrix, padded(lens)[:4])[0].reshape(-1, 2)
    return cv2.projectPoints(points, turn, shift, matrix, padded(lens)[:8])[0].reshape(-1, 2)


@cache
def renderer_of(name: str) -> Renderer:
    return make_renderer(name, load_world("tabletop"))


@pytest.mark.parametrize("lens", list(LENSES))
@pytest.mark.parametrize("renderer", ["raycast", "tiny"])
def test_a_picture_is_what_opencv_projects(tmp_path: Path, renderer: str, lens: str) -> None:
    file = camera_file(tmp_path / "c.json", lens)
    pipeline = pipeline_of(
        f"randomize.camera.file={file}", f"renderer={renderer}", "randomize=none", "randomize.blocks.count=1",
        "randomize.distractors.count=0", "randomize.blocks.model=cube", "randomize.blocks.place=[0.06,0.03]",
        "randomize.blocks.yaw_deg=25",
    )  # fmt: skip
    (sample,) = pipeline.samples(renderer_of(renderer), [0])
    cameras = sample.scene.cameras
    assert sample.rgb.shape == (120, 160, 3)
    np.testing.assert_allclose(cameras.world_from_camera[0], inverse(POSE), atol=1e-12)
    matrix, distortion = cameras.intrinsics[0], cameras.distortion[0]
    (label,) = sample.labels
    solid = pipeline.world.solids[label.model]
    world_from_block = sample.scene.blocks.world_from_block[0, label.slot]
    corners = transform_points(world_from_block, solid.keypoints)
    np.testing.assert_allclose(label.keypoints, opencv(corners, matrix, distortion, POSE), atol=1e-6)
    # The mask: edges bend through the lens, so many points along them.
    a, b = corners[:, None], corners[None]
    along = (a + np.linspace(0, 1, 60)[:, None, None, None] * (b - a)).reshape(-1, 3)
    hull = cv2.convexHull(opencv(along, matrix, distortion, POSE).astype(np.float32))[:, 0]
    filled = np.zeros((120, 160), np.uint8)
    cv2.fillConvexPoly(filled, np.round(hull * 16).astype(np.int32), 1, shift=4)
    border = cv2.dilate(filled, np.ones((3, 3))) - cv2.erode(filled, np.ones((3, 3)))
    assert filled.sum() > 80
    assert not np.any((filled != label.visible) & (border == 0))
    v, u = np.nonzero(label.visible)
    assert np.abs([u.min(), v.min(), u.max(), v.max()] - np.concatenate([hull.min(0), hull.max(0)])).max() < 1.2
    # And the depth: that of the table where nothing stands, along OpenCV's own rays.
    pixels = np.array([[50.0, 90], [130, 95], [80, 110]])
    rays = unproject(pixels, matrix, distortion)
    np.testing.assert_allclose(project(rays, matrix, distortion), pixels, atol=1e-7)
    directions = rays @ POSE[:3, :3]
    expected = -inverse(POSE)[2, 3] / directions[:, 2]
    drawn = sample.depth[pixels[:, 1].astype(int), pixels[:, 0].astype(int)]
    np.testing.assert_allclose(drawn, expected, rtol=0.01)


def test_without_a_pose_the_scenes_own_stays_and_no_other_factor_moves(tmp_path: Path) -> None:
    file = camera_file(tmp_path / "c.json", pose=None)
    options = ([f"randomize.camera.file={file}"], ["width=160", "height=120"])
    given, plain = (sampler_of(*option)[0].sample(3, range(4)) for option in options)
    assert np.array_equal(given.cameras.world_from_camera, plain.cameras.world_from_camera)
    assert np.array_equal(given.blocks.world_from_block, plain.blocks.world_from_block)
    assert np.array_equal(given.sensor.noise_seed, plain.sensor.noise_seed)
    assert (
        given.cameras.intrinsics[2].tolist() == K.tolist()
        and given.cameras.distortion[2].tolist() == LENSES["5"].tolist()
    )
    sampler = sampler_of(f"randomize.camera.file={file}")[0]
    assert "fov_deg" in sampler.notices[-1] and "elevation_deg" not in sampler.notices[-1]


def test_a_dataset_records_its_camera_and_is_read_back(tmp_path: Path) -> None:
    file = camera_file(tmp_path / "c.json", "fisheye")
    pipeline, out = pipeline_of(f"randomize.camera.file={file}"), tmp_path / "d"
    assert "replaces randomize.camera's aim, distance" in pipeline.sampler.notices[-1]
    recipe = recipe_of(pipeline)
    begin(Folder(out), recipe, 0, 1, pipeline.world)
    (sample,) = pipeline.samples(renderer_of("tiny"), [0])
    write_samples(Folder(out), [sample], "png")
    finish(Folder(out), head_of(recipe, 0, 1, pipeline.world))
    dataset = open_dataset(tmp_path / "d")
    assert dataset.manifest["recipe"]["camera"]["distortion_model"] == "fisheye"
    picture = dataset.pictures[0]
    assert picture.distortion.tolist() == LENSES["fisheye"].tolist()
    np.testing.assert_allclose(picture.camera_from_world, POSE, atol=1e-9)
    entry = json.loads((tmp_path / "d" / "train" / "000000" / "scene_camera.json").read_text())["0"]
    assert entry["dist_fisheye4"] == LENSES["fisheye"][:4].tolist()
    plain = recipe_of(pipeline_of("width=160", "height=120"))
    assert (
        "camera" not in plain and "file" not in plain["randomize"]["camera"]
    )  # so that older datasets can be finished


def test_preview_of_one_group_keeps_the_camera(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = camera_file(tmp_path / "c.json")
    overrides = [f"randomize.camera.file={file}", "vary=light", "num=1", f"out={tmp_path / 'sheet.png'}"]
    preview(compose("preview", Preview, overrides))
    assert cv2.imread(str(tmp_path / "sheet.png")).shape == (240, 320, 3)  # the tiles are 320 px wide
    assert "replaces randomize.camera" in capsys.readouterr().err


UNDER_GLASS = inverse(look_at(np.array([0.0, 0.0, 30.0]), np.array([0.0, 0.1, 0.0])))
BESIDE = inverse(look_at(np.array([5.0, 5.0, 0.5]), np.array([5.5, 5.0, 0.0])))


@pytest.mark.parametrize(
    ("changes", "overrides", "message"),
    [
        ({}, ["width=320"], r"^width: got 320, but randomize\.camera\.file=.*c\.json is a camera of 160 x 120 px"),
        ({}, ["height=121"], r"^height: got 121, but randomize\.camera\.file="),
        ({"width": None, "height": None}, [], r"does not state the pictures' size; set width= and height="),
        ({"camera_from_table": BESIDE.tolist()}, [], r"scene=tabletop: camera_from_table: no part of the table"),
        ({"camera_from_table": UNDER_GLASS.tolist()}, [], r"the table is .* m away"),
        ({"distortion": [-3.0, 0, 0, 0, 0]}, [], r"shows nothing in the corners of the picture of 160 x 120 px"),
        (
            {"intrinsics": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]},
            [],
            r"^randomize\.camera\.file: .*c\.json: intrinsics: looks norm",
        ),
    ],
)
def test_a_camera_that_does_not_fit_is_refused(
    tmp_path: Path, changes: dict[str, Any], overrides: list[str], message: str
) -> None:
    file = camera_file(tmp_path / "c.json", **changes)
    with pytest.raises(ConfigError, match=message):
        sampler_of(f"randomize.camera.file={file}", *overrides)[0].sample(0, [0])


def test_a_camera_behind_the_scenes_wall_names_the_file(tmp_path: Path) -> None:
    pose = inverse(look_at(np.array([6.0, 0.0, 3.0]), np.zeros(3)))
    file = camera_file(tmp_path / "c.json", pose=pose)
    with pytest.raises(ConfigError, match=r"camera of .*c\.json at \(6\.000, .*, 3\.000\) m, .* a wall .*walls=0"):
        sampler_of(f"randomize.camera.file={file}", "randomize=none")[0].sample(0, [0])


@pytest.mark.parametrize("pose", [None, POSE])
def test_what_a_camera_file_replaces_has_no_effect(pose: np.ndarray | None, tmp_path: Path) -> None:
    """Each factor of the camera is reported exactly where it changes none: with a pose all, without one the lens alone."""
    keys, groups = keys_of(Render, groups_of("render")), groups_of("render")
    of_lens = {"fov_deg": 31, "fov_scale": 0.9, "principal_point": [0.01, 0], "distortion": [0.01, 0, 0, 0, 0]}
    of_pose: dict[str, Any] = {"aim": [0, 0, 0.05], "distance": 1.23, "offset": [0, 0, 0.01]}
    of_pose |= {f"{name}_deg": 31 for name in ("azimuth", "elevation", "pan", "tilt", "roll")}
    assert {"file", *of_lens, *of_pose} == set(vars(compose("render", Render).randomize.camera))
    file = camera_file(tmp_path / "c.json", pose=pose)
    given = ["randomize=none", f"randomize.camera.file={file}"]
    before = sampler_of(*given)[0].sample(3, [0]).cameras
    for name, value in (of_lens | of_pose).items():
        path = f"randomize.camera.{name}"
        setting = f"{path}={in_grammar(value)}"
        after = sampler_of(*given, setting)[0].sample(3, [0]).cameras
        same = all(np.array_equal(*pair) for pair in zip(vars(before).values(), vars(after).values(), strict=True))
        assert same == (pose is not None or name in of_lens), name
        needed = "no randomize.camera.file" + ("" if name in of_lens else " with camera_from_table")
        wanted = [f"{path} has no effect with randomize.camera.file={file}; it needs {needed}"] if same else []
        assert without_effect(compose("render", Render, [*given, setting]), groups, keys, (path,)) == wanted
        assert without_effect(compose("render", Render, [setting]), groups, keys, (path,)) == []
