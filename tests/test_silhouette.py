"""Silhouettes against rays: a pixel is covered if the ray through its center meets the block."""

import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation
from test_shapes import L_CORNERS, L_FACES, SOLIDS, solid_of, write_obj

from simgen.geometry import Array, intrinsics, project, rigid, unproject
from simgen.shapes.solids import Solid, load_solid
from simgen.silhouette import NEAR, Silhouette, silhouette

WIDTH, HEIGHT = 56, 42
FOCAL = 110.0
CAMERA = intrinsics(FOCAL, 27.0, 21.5)
NO_LENS = np.zeros(5)
KUKA = np.array([-0.0588, 0, 0, 0, 0])
LENSES = {
    "none": NO_LENS,
    "barrel": KUKA,
    "pincushion": np.array([0.15, 0, 0, 0, 0]),
    "all": np.array([-0.1, 0.02, 0.004, -0.003, 0.01]),
}
TIE = 0.01  # px: within this of an outline a pixel's center may count as inside or as outside


@cache
def rays_of(lens: str, shift: tuple[float, float]) -> Array:
    """(3 H, 3 W, 3) rays through the pixels of the picture and of one picture's size around it."""
    v, u = np.mgrid[-HEIGHT : 2 * HEIGHT, -WIDTH : 2 * WIDTH].astype(float)
    pixels = np.stack([u + shift[0], v + shift[1]], -1).reshape(-1, 2)
    rays = unproject(pixels, CAMERA, LENSES[lens])
    assert np.abs(project(rays, CAMERA, LENSES[lens]) - pixels).max() < 1e-6  # the lens has an inverse this far out
    return rays.reshape(3 * HEIGHT, 3 * WIDTH, 3)


def meets_hull(solid: Solid, scale: float, pose: Array, rays: Array) -> np.ndarray:
    """Whether rays from the camera, from z = NEAR on, pass through all of the convex solid's half-spaces at once."""
    rotation, place = pose[:3, :3], pose[:3, 3]
    start, toward = -rotation.T @ place, rays @ rotation  # in the block's frame
    low, high = np.full(rays.shape[:2], NEAR), np.full(rays.shape[:2], np.inf)
    for *normal, offset in solid.planes:
        speed, room = toward @ normal, offset * scale - np.dot(normal, start)
        with np.errstate(divide="ignore", invalid="ignore"):
            at = room / speed
        low = np.where(speed < 0, np.maximum(low, at), low)
        high = np.where(speed > 0, np.minimum(high, at), high)
        high = np.where((speed == 0) & (room < 0), -np.inf, high)
    return low <= high


def meets_a_triangle(solid: Solid, scale: float, pose: Array, rays: Array) -> np.ndarray:
    """Whether rays meet any of the triangles at z >= NEAR: Cramer's rule for a + s (b - a) + t (c - a) = z ray."""
    corners = (solid.vertices * scale @ pose[:3, :3].T + pose[:3, 3])[solid.triangles]
    met = np.zeros(rays.shape[:2], bool)
    for a, b, c in corners:
        normal = np.cross(b - a, c - a)
        along = rays @ normal
        with np.errstate(divide="ignore", invalid="ignore"):
            z = (a @ normal) / along
            p = z[..., None] * rays - a
            s = np.cross(p, c - a) @ normal / (normal @ normal)
            t = np.cross(b - a, p) @ normal / (normal @ normal)
            met |= (z >= NEAR) & (s >= 0) & (t >= 0) & (s + t <= 1)
    return met


def agree(solid: Solid, pose: Array, lens: str = "none", scale: float = 1.0) -> tuple[Silhouette, np.ndarray]:
    """Asserts that silhouette and rays agree at all pixels that a shift by TIE does not change; returns both."""
    meets = meets_hull if solid.convex else meets_a_triangle
    shifts = [(0, 0), (TIE, 0), (-TIE, 0), (0, TIE), (0, -TIE)]
    answers = np.stack([meets(solid, scale, pose, rays_of(lens, shift)) for shift in shifts])
    inside, outside = answers.all(axis=0), ~answers.any(axis=0)
    found = silhouette(solid, scale, pose, CAMERA, LENSES[lens], WIDTH, HEIGHT)
    # Seen from the corner of the surroundings, all runs lie within the picture.
    everywhere = Silhouette(found.rows + HEIGHT, found.left + WIDTH, found.right + WIDTH).mask(3 * WIDTH, 3 * HEIGHT)
    missed, extra = inside & ~everywhere, outside & everywhere
    ties = ~(inside | outside)
    assert not missed.any(), f"{np.count_nonzero(missed)} of {np.count_nonzero(inside)} pixels are missing"
    assert not extra.any(), f"{np.count_nonzero(extra)} pixels too many beside {np.count_nonzero(inside)}"
    assert np.count_nonzero(ties) <= 4 + 0.1 * np.count_nonzero(inside)
    picture = slice(HEIGHT, 2 * HEIGHT), slice(WIDTH, 2 * WIDTH)
    assert np.array_equal(found.mask(WIDTH, HEIGHT), everywhere[picture])
    assert found.count() == np.count_nonzero(everywhere)
    rows, columns = np.nonzero(everywhere)
    if len(rows):
        u, v, width, height = found.box()
        assert (u + WIDTH, v + HEIGHT) == (columns.min(), rows.min())
        assert (width, height) == (np.ptp(columns) + 1, np.ptp(rows) + 1)
    else:
        assert found.box() == (-1, -1, -1, -1)
    return found, everywhere


def pose_at(place: list[float], seed: int) -> Array:
    return rigid(Rotation.random(rng=np.random.default_rng(seed)).as_matrix(), np.array(place))


@pytest.mark.parametrize("lens", LENSES)
@pytest.mark.parametrize("name", ["cube", "brick", "regular tetrahedron", "square pyramid", "cylinder", "cone"])
def test_a_convex_block_covers_what_the_rays_meet(name: str, lens: str) -> None:
    for seed in range(2):
        for place in ([0, 0, 0.25], [0.06, -0.05, 0.3], [-0.03, 0.02, 0.15]):
            _, everywhere = agree(solid_of(name), pose_at(place, seed), lens)
            assert everywhere.sum() > 20


def test_size_scales_with_scale() -> None:
    cube, pose = solid_of("cube"), rigid(np.eye(3), np.array([0.0, 0, 1.0]))
    for scale in (0.5, 1.0, 6.0):
        found, _ = agree(cube, pose, scale=scale)
        side = FOCAL * 0.05 * scale / (1 - 0.025 * scale)  # of the face in front
        assert abs(found.box()[2] - side) <= 1
        assert abs(found.box()[3] - side) <= 1


def test_a_sphere_seen_straight_has_the_area_of_its_circle(tmp_path: Path) -> None:
    """A known answer with no polygon in it: distance d, radius r, so the circle of radius f r / sqrt(d^2 - r^2)."""
    path = tmp_path / "ball.stl"
    trimesh.creation.icosphere(subdivisions=3).export(path)
    ball = load_solid("ball", path, 0.05)
    found = silhouette(ball, 1.0, rigid(np.eye(3), np.array([0.0, 0, 0.4])), CAMERA, NO_LENS, WIDTH, HEIGHT)
    radius = FOCAL * 0.05 / math.sqrt(0.4**2 - 0.05**2)
    assert found.count() == pytest.approx(math.pi * radius**2, rel=0.03)


@pytest.mark.parametrize("lens", LENSES)
def test_a_block_with_a_hollow_covers_what_the_rays_meet(tmp_path: Path, lens: str) -> None:
    solid = load_solid("L", write_obj(tmp_path / "l.obj", L_CORNERS, L_FACES), 0.03)
    assert not solid.convex
    for seed in range(4):
        agree(solid, pose_at([0.02, 0.01, 0.2], seed), lens)
    facing, everywhere = agree(solid, rigid(np.eye(3), np.array([0.0, 0, 0.2])), lens)
    assert not everywhere[HEIGHT : 2 * HEIGHT, WIDTH : 2 * WIDTH][31, 38]  # within the hull, but not in the L
    assert facing.count() > 100


@pytest.mark.parametrize("lens", LENSES)
def test_long_edges_along_the_rows_bend_with_the_lens(lens: str) -> None:
    """A face that fills the picture: its upper and lower edges bend by a part of a pixel, so in their rows the block
    may begin and end more than once."""
    for shift in np.linspace(0, 0.001, 6):
        agree(solid_of("cube"), rigid(np.eye(3), np.array([0.0, shift, 0.14])), lens)
        agree(solid_of("cube"), rigid(np.eye(3), np.array([0.002, 0.03 + shift, 0.14])), lens)


@pytest.mark.parametrize("lens", ["none", "barrel"])
@pytest.mark.parametrize("place", [[0.12, 0, 0.2], [-0.13, 0.1, 0.2], [0, -0.11, 0.2], [0.18, 0, 0.25], [5.0, 0, 1.0]])
def test_what_lies_beyond_the_border_counts(place: list[float], lens: str) -> None:
    found, everywhere = agree(solid_of("cube"), pose_at(place, 1), lens)
    inside = np.count_nonzero(found.mask(WIDTH, HEIGHT))
    assert inside < found.count() or place[0] == 5.0
    if place[0] == 5.0:  # more than a picture's size away
        assert found.count() == inside == 0 == everywhere.sum()


@pytest.mark.parametrize("lens", ["none", "barrel"])
@pytest.mark.parametrize("name", ["cube", "cone"])
@pytest.mark.parametrize("place", [[0.01, 0.005, 0.03], [0.0, 0.03, 0.02], [-0.04, 0.0, 0.01], [0.02, -0.03, -0.01]])
def test_a_block_partly_behind_the_camera(place: list[float], name: str, lens: str) -> None:
    for seed in range(3):
        agree(solid_of(name), pose_at(place, seed), lens)


def test_a_hollow_block_partly_behind_the_camera(tmp_path: Path) -> None:
    solid = load_solid("L", write_obj(tmp_path / "l.obj", L_CORNERS, L_FACES), 0.05)
    for seed in range(4):
        agree(solid, pose_at([0.02, 0.01, 0.04], seed))


@pytest.mark.parametrize("z", [-0.2, -1e-3 - 0.05, NEAR - 0.05])
def test_what_is_behind_the_camera_covers_nothing(z: float) -> None:
    found, _ = agree(solid_of("cube"), rigid(np.eye(3), np.array([0.0, 0.0, z])))
    assert found.count() == 0
    assert found.box() == (-1, -1, -1, -1)
    assert not found.mask(WIDTH, HEIGHT).any()


@pytest.mark.parametrize("angle", [55, 62, 70, 80])
def test_a_lens_shows_nothing_that_is_far_to_its_side(angle: float) -> None:
    """Beyond the angle at which its formula turns back, a barrel lens has no image: it must not put one in the picture."""
    distance = 0.5
    place = [distance * math.sin(math.radians(angle)), 0.0, distance * math.cos(math.radians(angle))]
    found = silhouette(solid_of("cube"), 1.0, pose_at(place, 2), CAMERA, np.array([-0.2, 0, 0, 0, 0]), WIDTH, HEIGHT)
    assert not found.mask(WIDTH, HEIGHT).any()


def test_too_far_away_to_cover_a_pixels_center() -> None:
    found, _ = agree(solid_of("cube"), rigid(np.eye(3), np.array([0.013, 0.013, 40.0])))
    assert found.count() == 0


def test_runs_may_overlap_and_leave_the_picture() -> None:
    runs = Silhouette(np.array([0, 0, -1, 2, 3]), np.array([-2, 1, 0, 3, 1]), np.array([1, 2, 5, 9, 1]))
    assert runs.mask(4, 3).astype(int).tolist() == [[1, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    assert runs.box() == (-2, -1, 12, 5)
    assert runs.count() == 5 + 6 + 7 + 1


def test_every_solid_covers_what_the_rays_meet() -> None:
    for name in SOLIDS:
        agree(solid_of(name), pose_at([0.01, 0.0, 0.18], 5), "barrel")
