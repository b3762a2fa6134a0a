"""Every lens model against OpenCV, forth and back, in numpy and in torch, and wherever a picture is turned into rays."""

import cv2
import numpy as np
import pytest
import torch
import warp as wp
from scipy.spatial.transform import Rotation

from simgen.catalogue import load_world
from simgen.distortion import Array, bend, distort, fisheye_lens, lens_reach, padded, straighten, undistort
from simgen.geometry import inverse, look_at, project, rigid, rotation_about, transform_points, unproject
from simgen.render.kernels.device import STEP
from simgen.render.kernels.tracing import lens as lens_kernel
from simgen.render.pinhole import behind_lens
from simgen.silhouette import silhouette
from train.blocks.kinds import BlockSet
from train.nets.crop_net import planes_of
from train.nets.truth import _project
from train.pose.solve import Keypoints, Resting, solve_free, solve_on_table
from train.pose.view import View

# The coefficients of cameras that people have: an industrial one, Azure Kinect's, Luxonis OAK's, wide ones and fisheyes.
LENSES = {
    "5": np.array([-0.32, 0.12, 1e-3, -1e-3, -0.02]),
    "rational": np.array([0.02, 0.0055, -0.0006, -0.0005, 0, 0.01, 0.002, 0]),
    "kinect": np.array([0.4467, -2.45, 1.2e-3, -1e-4, 1.47, 0.328, -2.28, 1.40]),
    "oak": np.array([-9.09, 86.9, 1e-3, -5e-4, -145.0, -9.2, 86.6, -143.0]),
    "fisheye": fisheye_lens([-0.0017, 0.0244, -0.0358, 0.0199]),
    "equidistant": fisheye_lens([0, 0, 0, 0]),
}
CAMERA = np.array([[230.0, 0, 158.5], [0, 221, 121.25], [0, 0, 1]])
POSE = inverse(look_at(np.array([-0.3, 0.2, 0.35]), np.array([0.02, 0.0, 0.0]), 0.05))


def opencv(points: Array, lens: Array, camera: Array = np.eye(3)) -> Array:  # noqa: B008 - never changed
    """(P, 2) the points (P, 3) by OpenCV."""
    zero = np.zeros(3)
    if padded(lens)[8]:
        return cv2.fisheye.projectPoints(points[None], zero, zero, camera, lens[:4])[0].reshape(-1, 2)
    return cv2.projectPoints(points, zero, zero, camera, lens)[0].reshape(-1, 2)


@pytest.mark.parametrize("name", list(LENSES))
def test_every_lens_equals_opencv_and_has_an_inverse(name: str) -> None:
    lens = LENSES[name]
    rng = np.random.default_rng(0)
    widest = 1.5 if padded(lens)[8] else min(np.arctan(0.93 * lens_reach(lens)), 0.9)  # radians off the axis
    angle, around = rng.uniform(0, widest, 500), rng.uniform(0, 7, 500)
    points = np.tan(angle)[:, None] * np.stack([np.cos(around), np.sin(around)], 1)
    expected = opencv(np.c_[points, np.ones(500)], lens)
    size = np.linalg.norm(points, axis=1, keepdims=True)
    np.testing.assert_allclose(distort(points, lens), expected, rtol=0, atol=2e-15 * size.max() + 2e-14)
    assert np.abs((undistort(expected, lens) - points) / np.maximum(size, 1)).max() < 1e-11
    columns = [torch.tensor(column) for column in padded(lens)]
    seen = bend(*torch.tensor(points).T, columns, torch)
    np.testing.assert_allclose(torch.stack(seen, 1), expected, atol=1e-13)
    back = torch.stack(straighten(*torch.tensor(expected).T, columns, torch), 1).numpy()
    assert np.abs((back - points) / np.maximum(size, 1)).max() < 1e-9


def test_lenses_of_all_kinds_in_one_batch() -> None:
    points = np.random.default_rng(2).uniform(-0.4, 0.4, (len(LENSES), 30, 2))
    together = np.stack([padded(lens) for lens in LENSES.values()])
    bent = distort(points, together)
    straight = undistort(bent, together)
    for row, lens in enumerate(LENSES.values()):
        np.testing.assert_allclose(bent[row], distort(points[row], lens), rtol=0, atol=1e-15)
        np.testing.assert_allclose(straight[row], points[row], atol=1e-10)


def test_zeros_at_the_end_change_no_bit() -> None:
    points = np.random.default_rng(3).uniform(-0.7, 0.7, (200, 2))
    lens = np.array([-0.1, 0.02, 0.004, -0.003, 0.01])
    for other in (lens, padded(lens)):
        assert np.array_equal(distort(points, other), distort(points, lens))
        assert np.array_equal(undistort(points, other), undistort(points, lens))


def test_the_reach_is_where_the_picture_folds() -> None:
    for lens in (LENSES["5"], LENSES["oak"], np.array([0, 0, 0, 0, 0, 0.5, -0.6, 0]), fisheye_lens([-0.3, 0, 0, 0])):
        reach = lens_reach(lens)
        assert np.isfinite(reach)
        radii = reach * np.linspace(0, 1.02, 2000)
        radial = padded(lens) * ([1] * 9 if padded(lens)[8] else [1, 1, 0, 0, 1, 1, 1, 1, 1])
        shown = distort(np.stack([radii, 0 * radii], 1), radial)[:, 0]
        grows = np.diff(shown) > 0
        assert grows[radii[1:] < 0.999 * reach].all()
        assert not grows[radii[:-1] > 1.0005 * reach].all() or np.abs(shown).max() > 1e3  # it turns, or has a pole
    for name in ("kinect", "equidistant"):
        assert lens_reach(LENSES[name]) == np.inf


@pytest.mark.parametrize("name", list(LENSES))
def test_a_pixel_that_a_lens_shows_nowhere_gets_a_ray_all_the_same(name: str) -> None:
    rays = unproject(np.array([[1e5, 0.0], [158.5, 121.25], [-9e4, 3e4]]), CAMERA, LENSES[name])
    assert np.isfinite(rays).all()
    assert np.allclose(rays[1], [0, 0, 1])


@pytest.mark.parametrize("name", list(LENSES))
def test_rays_and_maps_of_the_renderers(name: str) -> None:
    lens = LENSES[name]
    camera = CAMERA.copy()
    if name == "oak":  # it shows nothing beyond 34 degrees
        camera[:2, :2] *= 2
    k = wp.array(camera[[0, 1, 0, 1], [0, 1, 2, 2]][None], dtype=wp.float64)
    nodes = wp.zeros((1, 60, 80), dtype=wp.vec2, device="cpu")
    wp.launch(lens_kernel, nodes.shape, [k, wp.array(padded(lens)[None], dtype=wp.float64), 60, 80, 0.0, 0.0], [nodes])
    v, u = (part.ravel() for part in np.mgrid[0:240:STEP, 0:320:STEP])
    rays = np.c_[nodes.numpy()[0].reshape(-1, 2).astype(np.float64), np.ones(len(u))]
    assert np.abs(opencv(rays, lens, camera) - np.stack([u, v], 1)).max() < 1e-3
    v, u = (part.ravel() for part in np.mgrid[0:240:7, 0:320:7])
    pinhole, size, maps = behind_lens(camera, lens, 320, 240)
    where = np.stack([part[v, u] for part in maps], 1)
    assert where.min() >= 0 and (where <= np.array(size) - 1).all()
    rays = np.c_[(where - pinhole[:2, 2]) / np.diag(pinhole)[:2], np.ones(len(u))]
    assert np.abs(opencv(rays, lens, camera) - np.stack([u, v], 1)).max() < 0.1


@pytest.mark.parametrize("name", list(LENSES))
def test_masks_poses_and_losses_see_through_the_lens(name: str) -> None:
    lens = LENSES[name]
    world = load_world("tabletop")
    kind = BlockSet.of_worlds([world.solids]).kinds[0]
    solid = next(solid for solid in world.solids if solid.name == kind.name)
    pose = np.asarray(POSE @ rigid(rotation_about(2, 0.9), np.array([0.06, 0.03, 0])) @ kind.rests[0])
    points = transform_points(pose, kind.keypoints)
    pixels = opencv(points, lens, CAMERA)
    assert np.all((pixels > 0) & (pixels < [320, 240]))
    # The mask: OpenCV's image of many points on the hull's surface fills its outline.
    outline = silhouette(solid, 1.0, pose, CAMERA, lens, 320, 240).mask(320, 240)
    corners = transform_points(pose, solid.vertices[solid.triangles].reshape(-1, 3)).reshape(-1, 3, 3)
    mix = np.random.default_rng(0).dirichlet([1, 1, 1], 400)
    dots = np.round(opencv((mix @ corners).reshape(-1, 3), lens, CAMERA)).astype(int)
    drawn = np.zeros((240, 320), np.uint8)
    drawn[dots[:, 1], dots[:, 0]] = 1
    grown = cv2.dilate(outline.astype(np.uint8), np.ones((3, 3)))
    assert not np.any(drawn & ~grown) and drawn.sum() > 0.9 * outline.sum() > 100
    # Poses from keypoints.
    view, sigma = View(CAMERA, lens, POSE), np.ones(len(pixels))
    keypoints = Keypoints(kind.keypoints, pixels, sigma)
    resting = Resting(keypoints, kind.rests, kind.axis)
    for solved in (*solve_free([keypoints], view), *solve_on_table([resting], view)):
        assert solved is not None
        np.testing.assert_allclose(transform_points(solved.camera_from_block, kind.keypoints), points, atol=2e-5)
    # What the losses compare with, with its gradient.
    leaf = torch.tensor(points).float()[None, None].requires_grad_()
    seen = _project(leaf, torch.tensor(CAMERA).float()[None], torch.tensor(padded(lens)).float()[None])
    np.testing.assert_allclose(seen[0, 0].detach(), pixels, atol=2e-3)
    seen.sum().backward()
    assert leaf.grad is not None and torch.isfinite(leaf.grad).all()


def test_the_gradient_on_the_axis_of_a_fisheye_lens_is_finite() -> None:
    leaf = torch.tensor([[[[0.0, 0, 1]]]], requires_grad=True)
    lens = torch.tensor(padded(LENSES["fisheye"])).float()[None]
    _project(leaf, torch.tensor(CAMERA).float()[None], lens).sum().backward()
    assert leaf.grad is not None
    np.testing.assert_allclose(leaf.grad[0, 0, 0, :2], [230, 221], rtol=1e-5)


def test_a_crop_gets_the_tables_plane_along_the_ray_of_a_fisheye_lens() -> None:
    pixels = np.array([[60.0, 90], [300, 200]])
    windows = torch.tensor(np.c_[pixels, [30.0, 30]]).float()
    lens = torch.tensor(padded(LENSES["fisheye"])).float().expand(2, 9)
    camera = torch.tensor(CAMERA).float().expand(2, 3, 3)
    planes = planes_of(windows, camera, torch.tensor(POSE).float().expand(2, 4, 4), lens).numpy()
    for pixel, one in zip(pixels, planes, strict=True):
        ray = unproject(pixel[None], CAMERA, LENSES["fisheye"])[0]
        depth = POSE[:3, 2] @ POSE[:3, 3] / (POSE[:3, 2] @ ray)  # of the table along the optical axis
        assert depth > 0 and 0.1 * np.exp(one[3]) == pytest.approx(30 * depth / CAMERA[0, 0], rel=1e-4)
        ray /= np.linalg.norm(ray)
        axis = np.cross(ray, [0, 0, 1])
        turn = Rotation.from_rotvec(np.arccos(ray[2]) * axis / np.linalg.norm(axis))
        np.testing.assert_allclose(one[:3], turn.apply(POSE[:3, 2]), atol=1e-5)
    seen = project(unproject(pixels, CAMERA, LENSES["fisheye"]), CAMERA, LENSES["fisheye"])
    np.testing.assert_allclose(seen, pixels, atol=1e-9)
