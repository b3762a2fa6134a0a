"""Calibration of a camera and its pose over the table, from corners whose places are known."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from simgen.board.calibrate import View, calibrate
from simgen.board.find import Sighting
from simgen.board.place import corners_of_table, place_camera
from simgen.camera import Camera
from simgen.distortion import fisheye_lens
from simgen.errors import BoardError
from simgen.geometry import Array, inverse, look_at, project, rigid, rotation_about

SIZE = 640, 480
MATRIX = np.array([[620.0, 0, 325], [0, 621, 236], [0, 0, 1]])
STANDARD = np.array([-0.2, 0.06, 0.001, -0.0008, 0])
RATIONAL = np.array([0.4, -0.1, 0.001, -0.0008, 0.02, 0.5, -0.05, 0.01, 0])
FISHEYE = fisheye_lens([0.03, -0.01, 0.004, -0.001])
GRID = np.stack(np.meshgrid(np.arange(4) - 1.5, np.arange(6) - 2.5), -1).reshape(-1, 2) * 0.035
POINTS = np.pad(GRID, ((0, 0), (0, 1)))


def looking(distance: float, tilt_deg: float, azimuth_deg: float, aim: Array | None = None, roll: float = 0) -> Array:
    """camera_from_page (4, 4)."""
    tilt, azimuth = np.radians([tilt_deg, azimuth_deg])
    away = np.array([np.cos(azimuth) * np.sin(tilt), np.sin(azimuth) * np.sin(tilt), np.cos(tilt)])
    target = np.zeros(3) if aim is None else aim
    return rigid(rotation_about(2, roll), np.zeros(3)) @ inverse(look_at(target + distance * away, target))


def sighting(pose: Array, lens: Array, noise: float = 0.05, seed: int = 0, matrix: Array = MATRIX) -> Sighting:
    pixels = project(POINTS @ pose[:3, :3].T + pose[:3, 3], matrix, lens)
    pixels = pixels + np.random.default_rng(seed).normal(size=pixels.shape) * noise
    inside = np.all((pixels > 0) & (pixels < SIZE), axis=1)
    return Sighting(0, POINTS[inside], pixels[inside])


def views(lens: Array, count: int = 12, *, tilt: float = 50, farther: float = 1, matrix: Array = MATRIX) -> list[View]:
    """`count` photographs from all sides, tilted by up to `tilt` degrees, up to 0.1 m beside the middle, or `farther`."""
    rng = np.random.default_rng(5)
    found = []
    for k in range(count):
        target = np.array([*rng.uniform(-0.1, 0.1, 2), 0])
        pose = looking(farther * rng.uniform(0.3, 0.45), tilt * (k % 4 + 1) / 4, 137.5 * k, target, rng.uniform(-3, 3))
        found.append(View(f"{k}.jpg", (sighting(pose, lens, seed=k, matrix=matrix),)))
    return found


@pytest.mark.parametrize(
    ("name", "lens"), [("standard", STANDARD), ("rational", RATIONAL), ("fisheye", FISHEYE)], ids=str
)
def test_the_camera_is_found(name: str, lens: Array) -> None:
    """The focal length within 0.3%, the principal point within two pixels, and all corners within noise."""
    matrix = np.array([[330.0, 0, 325], [0, 331, 236], [0, 0, 1]]) if name == "fisheye" else MATRIX
    found = calibrate(views(lens, 14, matrix=matrix), *SIZE, name)
    focal = found.camera.intrinsics[[0, 1], [0, 1]]
    assert focal == pytest.approx(matrix[[0, 1], [0, 1]], rel=0.003)
    assert found.camera.intrinsics[:2, 2] == pytest.approx(matrix[:2, 2], abs=2)
    assert found.error == pytest.approx(0.05 * np.sqrt(2), rel=0.15)
    assert len(found.camera.distortion) == (9 if name != "standard" else 5)
    # Every pixel's ray is about the true one: what counts, whatever the coefficients are.
    rays = looking(0.4, 30, 50)
    away = project(POINTS @ rays[:3, :3].T + rays[:3, 3], matrix, lens)
    seen = project(POINTS @ rays[:3, :3].T + rays[:3, 3], found.camera.intrinsics, found.camera.distortion)
    assert np.linalg.norm((seen - seen.mean(0)) - (away - away.mean(0)), axis=1).max() < 0.5


def test_deviations_are_those_of_repeated_calibrations() -> None:
    """With other noise seven times: the spread of the focal length is what the jackknife states, within a factor of two."""
    rng = np.random.default_rng(0)
    plain = views(STANDARD)
    focal, stated = [], []
    for _ in range(7):
        noisy = [
            View(
                view.name,
                tuple(
                    Sighting(0, page.points, page.pixels + rng.normal(size=page.pixels.shape) * 0.3)
                    for page in view.sightings
                ),
            )
            for view in plain
        ]
        found = calibrate(noisy, *SIZE, "standard")
        focal.append(found.camera.intrinsics[0, 0])
        stated.append(found.deviations[0])
    assert 0.5 < np.mean(stated) / np.std(focal) < 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (views(STANDARD, 5), "the board is found in 5 photographs; take at least 6"),
        (views(STANDARD)[:1] * 8, "only 1 of 8 photographs differ"),
        (views(STANDARD, tilt=12), "0 of 12 views are tilted by over 20 degrees"),
        (views(STANDARD, farther=4), r"corners are seen in \d+% of the picture"),
    ],
)
def test_photographs_that_do_not_determine_the_camera(given: list[View], message: str) -> None:
    with pytest.raises(BoardError, match=f"^{message}"):
        calibrate(given, *SIZE, "standard")


def test_a_bent_page_and_another_camera_are_refused_and_named() -> None:
    bent = views(STANDARD)
    page = bent[7].sightings[0]
    off = np.random.default_rng(0).normal(size=page.pixels.shape) * 8
    bent[7] = View("bent.jpg", (Sighting(0, page.points, page.pixels + off),))
    with pytest.raises(BoardError, match=r"^bent\.jpg: \d+ of its \d+ corners do not fit the other photographs"):
        calibrate(bent, *SIZE, "standard")
    rng = np.random.default_rng(1)

    def noisy(view: View) -> View:
        pages = [
            replace(page, pixels=page.pixels + 1.2 * rng.normal(size=page.pixels.shape)) for page in view.sightings
        ]
        return View(view.name, tuple(pages))

    with pytest.raises(
        BoardError, match=r"^the RMS reprojection error is 1\.\d\d px, over the limit of 1 px, and largest"
    ):
        calibrate([noisy(view) for view in views(STANDARD)], *SIZE, "standard")


def test_corners_that_are_far_off_are_left_out_and_counted() -> None:
    """Two corners of one photograph are off by 5 px: the camera is as without them."""
    plain = views(STANDARD)
    most = max(range(len(plain)), key=lambda k: len(plain[k].sightings[0].points))
    page = plain[most].sightings[0]
    pixels = page.pixels.copy()
    pixels[[2, 9]] += [[5, 0], [0, -5]]
    torn = [*plain]
    torn[most] = View("torn.jpg", (Sighting(0, page.points, pixels),))
    one, other = (calibrate(given, *SIZE, "standard") for given in (plain, torn))
    assert one.left_out.sum() == 0 and other.left_out.tolist() == [2 * (k == most) for k in range(12)]
    assert other.camera.intrinsics == pytest.approx(one.camera.intrinsics, rel=1e-3)


# ---- over the table


@pytest.mark.parametrize("lens", [STANDARD, RATIONAL, FISHEYE], ids=["standard", "rational", "fisheye"])
@pytest.mark.parametrize("tilt", [5, 30, 60])
def test_the_plane_is_known_to_a_millimeter(lens: Array, tilt: float) -> None:
    """At 1 m within 1 mm and 0.2 degrees, with corners off by 0.04 px, as they are found, on a picture of 1280 x 960."""
    matrix = 2 * MATRIX - np.diag([0, 0, 1.0])
    camera = Camera(matrix, 1280, 960, lens)
    for seed in range(8):
        pose = looking(1.0, tilt, 40 * seed)
        pixels = project(POINTS @ pose[:3, :3].T + pose[:3, 3], matrix, lens)
        pixels = pixels + np.random.default_rng(seed).normal(size=pixels.shape) * 0.03
        found = place_camera(camera, POINTS, pixels)
        height = pose[:3, 2] @ (found.pose[:3, 3] - pose[:3, 3])
        tilted = np.degrees(np.arccos(min(1.0, float(found.pose[:3, 2] @ pose[:3, 2]))))
        assert abs(height) < 1e-3 and tilted < 0.2
        assert abs(height) < 5 * found.height and tilted < 5 * found.tilt  # and it states how well it is known


def test_the_stated_deviations_are_those_of_repeated_photographs() -> None:
    camera = Camera(MATRIX, *SIZE, STANDARD)
    pose = looking(0.6, 40, 20)
    true = project(POINTS @ pose[:3, :3].T + pose[:3, 3], MATRIX, STANDARD)
    rng = np.random.default_rng(0)
    heights, tilts, stated = [], [], []
    for _ in range(60):
        found = place_camera(camera, POINTS, true + rng.normal(size=true.shape) * 0.2)
        heights.append(pose[:3, 2] @ (found.pose[:3, 3] - pose[:3, 3]))
        tilts.append(np.degrees(np.arccos(min(1.0, float(found.pose[:3, 2] @ pose[:3, 2])))))
        stated.append((found.height, found.tilt))
    assert np.std(heights) == pytest.approx(np.mean(stated, axis=0)[0], rel=0.3)
    assert np.sqrt(np.mean(np.square(tilts))) == pytest.approx(np.mean(stated, axis=0)[1], rel=0.3)


def test_a_corner_that_is_far_off_does_not_move_the_plane() -> None:
    camera = Camera(MATRIX, *SIZE, STANDARD)
    pose = looking(0.8, 40, 20)
    true = project(POINTS @ pose[:3, :3].T + pose[:3, 3], MATRIX, STANDARD)
    pixels = true + np.random.default_rng(0).normal(size=true.shape) * 0.03
    whole = place_camera(camera, POINTS, pixels)
    pixels[5] += [3.5, -2]
    found = place_camera(camera, POINTS, pixels)
    assert np.abs(found.pose - whole.pose).max() < 2e-4 and found.error < 0.1


def test_a_board_so_small_that_two_tilts_fit_is_refused() -> None:
    camera = Camera(MATRIX, *SIZE, STANDARD)
    pose = looking(4, 25, 10)
    small = 0.3 * POINTS
    pixels = project(small @ pose[:3, :3].T + pose[:3, 3], MATRIX, STANDARD)
    pixels = pixels + np.random.default_rng(1).normal(size=pixels.shape) * 0.1
    with pytest.raises(BoardError, match=r"^the picture fits two tilts of the board, \d+ degrees apart"):
        place_camera(camera, small, pixels)


def test_a_mirrored_picture_and_another_camera_are_refused() -> None:
    camera = Camera(MATRIX, *SIZE)
    pose = looking(0.5, 30, 10)
    pixels = project(POINTS @ pose[:3, :3].T + pose[:3, 3], MATRIX)
    with pytest.raises(BoardError, match="is the picture mirrored"):
        place_camera(camera, POINTS * [-1, 1, 1], pixels)
    bent = pixels + 15 * np.sin(pixels[:, ::-1] / 40)
    with pytest.raises(BoardError, match=r"^the corners' reprojection error is \d+\.\d px"):
        place_camera(camera, POINTS, bent)


@pytest.mark.parametrize("first", range(4))
@pytest.mark.parametrize("clockwise", [False, True])
def test_the_tables_corners_in_any_order_around_it(first: int, clockwise: bool) -> None:
    """The pose has Z up, X along the first side that is named, and the table's middle as its origin."""
    length, width = 0.8, 0.6
    corners = np.array([[-0.4, -0.3, 0], [0.4, -0.3, 0], [0.4, 0.3, 0], [-0.4, 0.3, 0]])
    pose = looking(1.2, 45, 70)
    pixels = project(corners @ pose[:3, :3].T + pose[:3, 3], MATRIX, STANDARD)
    order = [(first + (-k if clockwise else k)) % 4 for k in range(4)]
    long_first = abs(corners[order[0], 0] - corners[order[1], 0]) > 0.5
    size = (length, width) if long_first else (width, length)
    points, given = corners_of_table(pixels[order], size)
    found = place_camera(Camera(MATRIX, *SIZE, STANDARD), points, given)
    assert found.error < 1e-6
    assert found.pose[:3, 3] == pytest.approx(pose[:3, 3], abs=1e-6)
    assert found.pose[:3, 2] == pytest.approx(pose[:3, 2], abs=1e-6)  # Z is up
    along = corners[order[1]] - corners[order[0]]
    side = pose[:3, :3] @ (along / np.linalg.norm(along))
    assert found.pose[:3, 0] @ side == pytest.approx(1, abs=1e-6)


def test_opencv_agrees_on_the_pose() -> None:
    """OpenCV's solver for a lens with distortion, started at the true pose."""
    pose = looking(0.6, 35, 110)
    pixels = project(POINTS @ pose[:3, :3].T + pose[:3, 3], MATRIX, STANDARD)
    pixels = pixels + np.random.default_rng(3).normal(size=pixels.shape) * 0.2
    found = place_camera(Camera(MATRIX, *SIZE, STANDARD), POINTS, pixels)
    turn, _ = cv2.Rodrigues(pose[:3, :3])
    _, turn, shift = cv2.solvePnP(
        POINTS, pixels, MATRIX, STANDARD, np.array(turn), pose[:3, 3:].copy(), True, cv2.SOLVEPNP_ITERATIVE
    )
    assert found.pose[:3, 3] == pytest.approx(np.ravel(shift), abs=2e-4)
    assert found.pose[:3, :3] == pytest.approx(np.asarray(cv2.Rodrigues(turn)[0]), abs=5e-4)
