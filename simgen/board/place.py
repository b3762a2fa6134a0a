"""The camera's pose over the table, from a board that lies on it or from the table's corners."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from simgen.board.find import Sighting, error_limit
from simgen.camera import Camera
from simgen.distortion import undistort
from simgen.errors import BoardError
from simgen.geometry import Array, project, rigid

_LEAST_ERROR = 0.1  # px: corners are not known better than this
_AMBIGUOUS = 2.0  # times the error: a mirrored pose that fits no worse may be the true one
_OUTLIER, _USUAL, _FEW = 5.0, 1.0, 0.9  # times the median distance, px, and the share of the corners that are kept
_WORST = 3.0  # px: a greater error is not that of this camera or of this board


@dataclass(frozen=True)
class Placed:
    """A pose camera_from_page (4, 4); `error` px, the root mean square distance of the corners; and the standard deviations
    of the plane: `height` m, of the distance of the page's middle along its normal, and `tilt` degrees, of that normal."""

    pose: Array
    error: float
    height: float
    tilt: float


def place_camera(camera: Camera, points: Array, pixels: Array) -> Placed:
    """The pose of `camera` over the plane z = 0 in which `points` (N, 3) m are seen at `pixels` (N, 2); at least four.

    A plane has two poses that look much alike from afar (Collins and Bartoli 2014, "Infinitesimal Plane-Based Pose
    Estimation"). Of at least ten, a few corners that are far off, such as those at the edge of a hand, are left out. Raises
    BoardError where the picture does not tell them apart, and where neither fits.
    """
    matrix = camera.intrinsics
    plane = (pixels - matrix[:2, 2]) / np.diag(matrix)[:2]
    rays = undistort(plane, camera.distortion)
    _, turns, shifts, _ = cv2.solvePnPGeneric(points, rays[:, None], np.eye(3), None, flags=cv2.SOLVEPNP_IPPE)
    found = []
    for turn, shift in zip(turns, shifts, strict=True):
        turn, shift = cv2.solvePnPRefineLM(points, rays[:, None], np.eye(3), None, np.array(turn), np.array(shift))
        pose = rigid(np.asarray(cv2.Rodrigues(turn)[0], dtype=np.float64), np.ravel(shift))
        # Below the plane it would be seen from behind.
        if pose[:3, 2] @ pose[:3, 3] < 0:
            found.append((_error(camera, pose, points, pixels), pose))
    if not found:
        raise BoardError(
            "the board's points are in the order of a board that is seen from behind: is the picture mirrored?"
        )
    found.sort(key=lambda one: one[0])
    error, pose = found[0]
    off = np.linalg.norm(_seen(camera, pose, points) - pixels, axis=1)
    near = off < max(_OUTLIER * float(np.median(off)), _USUAL)
    if _FEW * len(off) <= near.sum() < len(off):
        return place_camera(camera, points[near], pixels[near])
    if not error <= error_limit(_WORST, camera.width, camera.height):
        raise BoardError(
            f"the corners' reprojection error is {error:.1f} px: is this the calibration of this camera at this zoom and "
            "size, and the file of this board?"
        )
    if len(found) > 1 and found[1][0] < _AMBIGUOUS * max(error, _LEAST_ERROR) and _apart(pose, found[1][1]) > 2:
        raise BoardError(
            f"the picture fits two tilts of the board, {_apart(pose, found[1][1]):.0f} degrees apart: show it larger, or "
            "take the picture from another side"
        )
    height, tilt = _deviations(camera, pose, points, max(error, _LEAST_ERROR))
    return Placed(pose, error, height, tilt)


def place_over(camera: Camera, sightings: Sequence[Sighting]) -> Placed:
    """`place_camera` for the first page of the board that is among `sightings`, so that it is the same from picture to
    picture."""
    first = min(sightings, key=lambda sighting: sighting.page)
    return place_camera(camera, first.points, first.pixels)


def corners_of_table(pixels: Array, size: tuple[float, float]) -> tuple[Array, Array]:
    """The corners (4, 3) m of a table of `size` m around the origin, seen at `pixels` (4, 2), which are in order around it,
    and these pixels; `size[0]` is the length from the first to the second, which is along X."""
    x, y = pixels.T
    # Seen from above, a table is seen counterclockwise if its corners are in this order.
    area = float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())
    across, along = size[0] / 2, size[1] / 2
    points = np.array([[-across, -along, 0], [across, -along, 0], [across, along, 0], [-across, along, 0]])
    return (points if area < 0 else points * [1, -1, 1]), pixels  # v points down: a negative area is counterclockwise


def _error(camera: Camera, pose: Array, points: Array, pixels: Array) -> float:
    return float(np.sqrt(((_seen(camera, pose, points) - pixels) ** 2).sum(1).mean()))


def _seen(camera: Camera, pose: Array, points: Array) -> Array:
    return project(points @ pose[:3, :3].T + pose[:3, 3], camera.intrinsics, camera.distortion)


def _apart(one: Array, other: Array) -> float:
    """Degrees between the normals of two poses."""
    return float(np.degrees(np.arccos(np.clip(one[:3, 2] @ other[:3, 2], -1, 1))))


def _deviations(camera: Camera, pose: Array, points: Array, error: float) -> tuple[float, float]:
    """The standard deviations of the plane's height at the points' middle, in m, and of its normal, in degrees, if each
    coordinate of a corner has one of `error` / sqrt(2) px."""
    step = 1e-6
    columns = []
    for k in range(6):
        change = np.zeros(6)
        change[k] = step
        moved = rigid(cv2.Rodrigues(change[:3])[0] @ pose[:3, :3], pose[:3, 3] + change[3:])
        both = [_seen(camera, one, points) for one in (moved, pose)]
        columns.append(((both[0] - both[1]) / step).ravel())
    jacobian = np.stack(columns, 1)
    # Six of the residuals' degrees of freedom are fitted.
    freedom = 2 * len(points) / max(2 * len(points) - 6, 1)
    covariance = np.linalg.inv(jacobian.T @ jacobian) * freedom * error**2 / 2
    normal = pose[:3, 2]
    middle = points.mean(0) @ pose[:3, :3].T
    # The middle moves by cross(rotation, middle) + shift; along the normal that is (cross(middle, normal), normal).
    along = np.concatenate([np.cross(middle, normal), normal])
    tilt = np.trace((np.eye(3) - np.outer(normal, normal)) @ covariance[:3, :3])
    return float(np.sqrt(along @ covariance @ along)), float(np.degrees(np.sqrt(tilt)))
