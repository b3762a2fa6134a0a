"""Frames, rotations and the camera against scipy, OpenCV and the identities that define them."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from simgen.distortion import distort, undistort
from simgen.geometry import (
    intrinsics,
    inverse,
    look_at,
    matrix_from_quaternion,
    project,
    quaternion_from_matrix,
    rigid,
    rotation_about,
    rotation_between,
    transform_points,
    unproject,
)

FEW = settings(derandomize=True, deadline=None, max_examples=30)
SEED = st.integers(0, 2**32 - 1)
LENSES = [[0.0] * 5, [-0.0588, 0, 0, 0, 0], [0.1, -0.05, 0.003, -0.002, 0.02], [-0.25, 0.08, -0.001, 0.004, 0]]
CAMERA = intrinsics(550.0, 320.0, 240.0)


def poses(seed: int, n: int = 4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rigid(Rotation.random(n, rng=rng).as_matrix(), rng.normal(size=(n, 3)) * 3)


def unit(vector: object) -> np.ndarray:
    vector = np.asarray(vector, dtype=np.float64)
    return vector / np.linalg.norm(vector, axis=-1, keepdims=True)


def close(a: object, b: object, within: float = 1e-12) -> bool:
    return bool(np.allclose(a, b, rtol=0, atol=within))


# ---- rigid transforms


@FEW
@given(SEED)
def test_inverse_cancels_and_equals_linear_algebra(seed: int) -> None:
    a_from_b = poses(seed)
    assert close(inverse(a_from_b) @ a_from_b, np.eye(4))
    assert close(inverse(a_from_b), np.linalg.inv(a_from_b))
    assert close(inverse(a_from_b[0]), inverse(a_from_b)[0], 0)


@FEW
@given(SEED)
def test_transform_points_is_the_homogeneous_product(seed: int) -> None:
    a_from_b, points = poses(seed), np.random.default_rng(seed).normal(size=(4, 6, 3))
    moved = transform_points(a_from_b, points)
    for pose, before, after in zip(a_from_b, points, moved, strict=True):
        assert close((pose @ np.c_[before, np.ones(6)].T).T[:, :3], after)
        assert close(transform_points(pose, before), after)
    assert close(transform_points(inverse(a_from_b), moved), points)
    b_from_c = poses(seed + 1)
    twice = transform_points(a_from_b, transform_points(b_from_c, points))
    assert close(transform_points(a_from_b @ b_from_c, points), twice)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_rotation_about_is_right_handed(axis: int) -> None:
    angle = np.linspace(-7, 7, 29)
    vectors = angle[:, None] * np.eye(3)[axis]
    assert close(rotation_about(axis, angle), Rotation.from_rotvec(vectors).as_matrix())
    quarter = rotation_about(axis, np.pi / 2)
    assert close(quarter @ np.eye(3)[(axis + 1) % 3], np.eye(3)[(axis + 2) % 3])
    assert quarter.shape == (3, 3)


NEARLY = [10.0**-k for k in range(10)]


@pytest.mark.parametrize("angle", [0.0, *NEARLY, 2.0, *(np.pi - small for small in (*NEARLY, 2e-6, 1.5e-6, 0.0))])
def test_rotation_between_is_the_smallest_rotation_that_turns_a_into_b(angle: float) -> None:
    rng = np.random.default_rng(0)
    for a in [*np.eye(3), *-np.eye(3), *unit(rng.normal(size=(10, 3)))]:
        side = unit(np.cross(a, rng.normal(size=3)))
        b = a * np.cos(angle) + side * np.sin(angle)
        rotation = rotation_between(a, b)
        assert close(rotation @ rotation.T, np.eye(3), 2e-6)
        assert close(np.linalg.det(rotation), 1, 2e-6)
        assert close(rotation @ a, b, 2e-6)
        # Smallest: what is normal to both stays, so the angle is that between a and b.
        assert close((np.trace(rotation) - 1) / 2, np.cos(angle), 2e-6)


# ---- quaternions


SPECIAL = [
    *np.eye(4),
    *(-np.eye(4)),
    *unit([[0, 1, 1, 0], [0, 1, 0, -1], [0, 1, 1, 1], [1e-9, 1, 2, 3], [-1e-9, 1, 2, 3], [1, 1e-9, 0, 0], [1] * 4]),
]


@pytest.mark.parametrize("quaternion", SPECIAL, ids=lambda q: np.array2string(q, precision=2))
def test_half_turns_and_other_special_quaternions(quaternion: np.ndarray) -> None:
    rotation = matrix_from_quaternion(quaternion)
    assert close(rotation, Rotation.from_quat(quaternion, scalar_first=True).as_matrix(), 1e-14)
    back = quaternion_from_matrix(rotation)
    assert back[0] >= 0
    assert min(np.abs(back - quaternion).max(), np.abs(back + quaternion).max()) < 1e-12
    assert close(matrix_from_quaternion(back), rotation, 1e-14)


@FEW
@given(SEED)
def test_quaternions_equal_scipy_and_go_round(seed: int) -> None:
    rotation = poses(seed, 20)[:, :3, :3].reshape(4, 5, 3, 3)
    quaternion = quaternion_from_matrix(rotation)
    scipys = Rotation.from_matrix(rotation.reshape(-1, 3, 3)).as_quat(canonical=True, scalar_first=True)
    assert close(quaternion.reshape(-1, 4), scipys)
    assert close(np.linalg.norm(quaternion, axis=-1), 1)
    assert close(matrix_from_quaternion(quaternion), rotation)


@FEW
@given(SEED, st.floats(0, 1e-6))
def test_quaternions_of_nearly_half_turns(seed: int, short: float) -> None:
    axis = unit(np.random.default_rng(seed).normal(size=3))
    rotation = Rotation.from_rotvec(axis * (np.pi - short)).as_matrix()
    assert close(matrix_from_quaternion(quaternion_from_matrix(rotation)), rotation)


# ---- cameras


@FEW
@given(SEED)
def test_look_at_puts_its_target_at_the_principal_point(seed: int) -> None:
    rng = np.random.default_rng(seed)
    position, target, roll = rng.normal(size=(5, 3)), rng.normal(size=(5, 3)), rng.uniform(-4, 4, 5)
    world_from_camera = look_at(position, target, roll)
    seen = transform_points(inverse(world_from_camera), target[:, None])
    assert close(seen[:, 0, 2], np.linalg.norm(target - position, axis=1))
    assert close(project(seen, CAMERA)[:, 0], [320, 240], 1e-9)
    assert close(world_from_camera[:, :3, 3], position, 0)
    rotation = world_from_camera[:, :3, :3]
    assert close(rotation @ np.swapaxes(rotation, 1, 2), np.eye(3))
    assert close(np.linalg.det(rotation), 1)


@FEW
@given(SEED)
def test_without_roll_the_picture_is_upright(seed: int) -> None:
    rng = np.random.default_rng(seed)
    position, target = rng.normal(size=3), rng.normal(size=3)
    right, down, _ = look_at(position, target)[:3, :3].T
    assert abs(right[2]) < 1e-12  # the horizon is level
    assert down[2] < 0  # and what is higher in the world is higher in the picture


@pytest.mark.parametrize("roll", [0.1, 1.0, -0.7])
def test_roll_turns_the_picture_counterclockwise(roll: float) -> None:
    """A point at angle t in the picture, counterclockwise from the right, is at t + roll after the roll."""
    position, target = np.array([0.4, -1.0, 0.8]), np.array([0.1, 0.2, 0.0])
    level, rolled = look_at(position, target), look_at(position, target, roll)
    for t in (0.0, 0.5, 2.0):
        # v runs down, so counterclockwise is toward less v
        ray = np.array([[0.1 * np.cos(t), -0.1 * np.sin(t), 1.0]])
        u, v = project(transform_points(inverse(rolled) @ level, ray), CAMERA)[0] - CAMERA[:2, 2]
        assert close(np.hypot(u, v), 55)
        assert close(np.exp(1j * np.arctan2(-v, u)), np.exp(1j * (t + roll)))


@pytest.mark.parametrize("height", [1.0, -1.0])
def test_straight_down_and_up_have_world_x_to_the_right(height: float) -> None:
    pose = look_at(np.array([0.2, 0.3, height]), np.array([0.2, 0.3, 0.0]))
    right, down, forward = pose[:3, :3].T
    assert close(right, [1, 0, 0], 0)
    assert close(forward, [0, 0, -height], 0)
    assert close(down, [0, -height, 0], 0)
    assert close(np.linalg.det(pose[:3, :3]), 1)


def test_intrinsics() -> None:
    assert np.array_equal(intrinsics(500, 319.5, 239.5), [[500, 0, 319.5], [0, 500, 239.5], [0, 0, 1]])
    many = intrinsics(np.array([1.0, 2.0]), 3, np.array([4.0, 5.0]))
    assert np.array_equal(many[1], [[2, 0, 3], [0, 2, 5], [0, 0, 1]])


@pytest.mark.parametrize("lens", LENSES, ids=str)
def test_projection_equals_opencv(lens: list[float]) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform([-0.6, -0.5, 1], [0.6, 0.5, 2], (200, 3))
    expected, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), CAMERA, np.array(lens))
    assert close(project(points, CAMERA, np.array(lens)), expected[:, 0], 1e-9)
    plane = points[:, :2] / points[:, 2:]
    flat, _ = cv2.projectPoints(np.c_[plane, np.ones(200)], np.zeros(3), np.zeros(3), np.eye(3), np.array(lens))
    assert close(distort(plane, np.array(lens)), flat[:, 0])
    if not any(lens):
        assert close(project(points, CAMERA), expected[:, 0], 1e-9)


@pytest.mark.parametrize("lens", LENSES, ids=str)
def test_project_and_unproject_cancel(lens: list[float]) -> None:
    rng = np.random.default_rng(1)
    pixels = rng.uniform([-50, -50], [690, 530], (2, 100, 2))
    camera = intrinsics(np.array([500.0, 620.0]), np.array([300.0, 330.0]), 250.0)
    lenses = np.array([lens, lens])
    rays = unproject(pixels, camera, lenses)
    assert (rays[..., 2] == 1).all()
    assert close(project(rays * rng.uniform(0.1, 5, (2, 100, 1)), camera, lenses), pixels, 1e-8)
    assert close(unproject(pixels[1], camera[1], lenses[1]), rays[1])
    plane = rays[..., :2]
    assert close(undistort(distort(plane, lenses), lenses), plane, 1e-10)


def test_one_lens_for_each_camera() -> None:
    points = np.random.default_rng(2).uniform(-0.4, 0.4, (len(LENSES), 30, 2))
    together = distort(points, np.array(LENSES))
    for row, lens in enumerate(LENSES):
        assert close(distort(points[row], np.array(lens)), together[row], 1e-15)


def test_what_is_behind_the_camera_has_no_image() -> None:
    points = np.array([[0.1, 0.2, 1.0], [0.1, 0.2, 0.0], [0.1, 0.2, -1.0]])
    for lens in (None, np.array(LENSES[2])):
        assert np.isnan(project(points, CAMERA, lens)).all(axis=1).tolist() == [False, True, True]


def test_pixel_coordinates_start_at_the_center_of_the_first_pixel() -> None:
    assert project(np.array([[-320 / 550, -240 / 550, 1.0]]), CAMERA) == pytest.approx(np.zeros((1, 2)), abs=1e-12)
