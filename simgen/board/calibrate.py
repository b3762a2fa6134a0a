"""Calibrates a camera from photographs of a board, and says whether they determine it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen.board.find import Sighting, error_limit
from simgen.camera import Camera
from simgen.distortion import fisheye_lens, padded
from simgen.errors import BoardError
from simgen.geometry import Array, project, rigid

LEAST = 6  # photographs
WORST = 1.0  # px: the greatest error of a calibration that is accepted
_TILT = 20.0  # degrees: a view tilted by less says hardly anything of the focal length
_TILTED = 3  # photographs that must be
_SAME = 4.0, 0.06  # degrees, and share of the distance: two views that differ by less are one
_CELLS = 6, 4  # into which the picture is divided: where corners are
_COVERED = 0.5  # share of them that must have corners
_ROUNDS = 6  # in which outliers are left out, at most
_WORST_OF = 0.7  # of a view's greatest distance: what is left out at once
_MOST_LEFT_OUT = 1 / 3  # share of the corners of a photograph
_OUTLIER = 4.0  # times the median distance: a corner that is farther off is left out
_FOCAL = 0.01  # relative standard deviation of the focal length that is still accepted
_FLAGS = {"standard": cv2.CALIB_FIX_K3, "rational": cv2.CALIB_RATIONAL_MODEL}


@dataclass(frozen=True)
class View:
    """What one photograph shows of a board: `name` for messages, and the sightings of its pages."""

    name: str
    sightings: tuple[Sighting, ...]


@dataclass(frozen=True)
class Calibration:
    """A camera; errors (V,) px, the root mean square distance of corners in each of `views`; residuals, (N, 2) px for each
    of them; left_out (V,), the number of corners in each that are not used, because they are far off beside the others;
    poses (P, 4, 4), camera_from_page for each page in each view, in order; deviations (4,) px of fx, fy, cx and cy;
    `covered` (rows, columns) bool, the parts of the picture in which there are corners."""

    camera: Camera
    views: tuple[View, ...]
    errors: Array
    residuals: tuple[Array, ...]
    left_out: NDArray[np.int64]
    poses: Array
    deviations: Array
    covered: NDArray[np.bool_]

    @property
    def error(self) -> float:
        """px: the root mean square distance of all corners."""
        every = np.concatenate(self.residuals)
        return float(np.sqrt((every**2).sum(1).mean()))


def calibrate(views: Sequence[View], width: int, height: int, lens: str) -> Calibration:
    """The camera that took the `views`, pictures of `width` x `height` px, with the distortion model `lens`, one of
    simgen.board.schema.LENSES: k1, k2, p1 and p2; k3 to k6 beside them; or OpenCV's fisheye model. Its deviations are those
    of a jackknife: what changes if a view is left out (Efron and Stein 1981).

    Raises BoardError, which says what to photograph, for views that do not determine the camera, and for an error over
    WORST.
    """
    if len(views) < LEAST:
        raise BoardError(
            f"the board is found in {len(views)} photograph{'s' if len(views) != 1 else ''}; take at least {LEAST}, "
            f"better 12"
        )
    every = views
    matrix, coefficients, poses = _solved(views, (width, height), lens)
    residuals = _residuals(views, matrix, coefficients, poses)
    for _ in range(_ROUNDS):
        fewer = _without_worst(views, residuals)
        if all(_count(one) == _count(other) for one, other in zip(views, fewer, strict=True)):
            break
        views = fewer
        matrix, coefficients, poses = _solved(views, (width, height), lens)
        residuals = _residuals(views, matrix, coefficients, poses)
    left_out = np.array([_count(one) - _count(other) for one, other in zip(every, views, strict=True)])
    shares = left_out / [_count(view) for view in every]
    worst_view = int(shares.argmax())
    if shares[worst_view] > _MOST_LEFT_OUT:
        raise BoardError(
            f"{every[worst_view].name}: {left_out[worst_view]} of its {_count(every[worst_view])} corners do not fit the "
            f"other "
            "photographs: the paper is bent there, or the picture is not sharp; remove it"
        )
    matrix, coefficients, poses = _solved(views, (width, height), lens)
    residuals = _residuals(views, matrix, coefficients, poses)
    errors = np.array([np.sqrt((part**2).sum(1).mean()) for part in residuals])
    covered = _covered(views, width, height)
    # The error for missing views comes first: it is the cause of the others.
    _check_views(views, poses, covered)
    total = float(np.sqrt((np.concatenate(residuals) ** 2).sum(1).mean()))
    limit = error_limit(WORST, width, height)
    if total > limit:
        worst = ", ".join(f"{views[k].name} ({errors[k]:.1f} px)" for k in np.argsort(-errors)[:3])
        raise BoardError(
            f"the RMS reprojection error is {total:.2f} px, over the limit of {limit:.2g} px, and largest in {worst}; the "
            "paper must lie flat, the focus and the zoom must stay as they are, and the lens may need lens=rational or "
            "lens=fisheye"
        )
    without = np.array(
        [_four(_solved([*views[:k], *views[k + 1 :]], (width, height), lens)[0]) for k in range(len(views))]
    )
    count = len(views)
    deviations = np.sqrt((count - 1) / count * ((without - without.mean(0)) ** 2).sum(0))
    if deviations[:2].max() > _FOCAL * matrix[0, 0]:
        raise BoardError(
            f"the focal length has a standard deviation of {100 * deviations[:2].max() / matrix[0, 0]:.1f}%, over "
            f"{100 * _FOCAL:g}%: take more photographs, with the board tilted by 30 to 45 degrees in all directions and "
            "large in the picture"
        )
    camera = Camera(matrix, width, height, coefficients)
    return Calibration(camera, tuple(views), errors, tuple(residuals), left_out, poses, deviations, covered)


def _solved(views: Sequence[View], size: tuple[int, int], lens: str) -> tuple[Array, Array, Array]:
    """The intrinsics (3, 3), the lens of distortion.py and the poses (P, 4, 4) of all pages, in order."""
    pages = [sighting for view in views for sighting in view.sightings]
    try:
        if lens == "fisheye":
            names = ("CALIB_RECOMPUTE_EXTRINSIC", "CALIB_FIX_SKEW", "CALIB_USE_INTRINSIC_GUESS")
            # OpenCV 5 has them elsewhere, with other values.
            flags = sum(getattr(cv2.fisheye, name, None) or getattr(cv2, name) for name in names)
            points = [page.points[None] for page in pages]
            pixels = [page.pixels[None] for page in pages]
            start = np.array([[0.5 * size[0], 0, size[0] / 2], [0, 0.5 * size[0], size[1] / 2], [0, 0, 1]])
            _, matrix, numbers, turns, shifts = cv2.fisheye.calibrate(
                points, pixels, size, start, np.zeros((4, 1)), flags=flags
            )
            found = fisheye_lens(np.ravel(numbers))
        else:
            points32 = [page.points.astype(np.float32) for page in pages]
            pixels32 = [page.pixels.astype(np.float32) for page in pages]
            _, matrix, numbers, turns, shifts = cv2.calibrateCamera(
                points32, pixels32, size, None, None, flags=_FLAGS[lens]
            )
            full = padded(np.ravel(numbers)[:8])
            found = full if full[5:].any() else full[:5]
    except cv2.error as error:
        raise BoardError(
            f"no camera with lens={lens} fits the photographs ({' '.join(str(error.err).split())}); is it the right "
            "model, and are all photographs from one camera?"
        ) from error
    poses = np.stack(
        [
            rigid(np.asarray(cv2.Rodrigues(turn)[0], dtype=np.float64), np.ravel(shift))
            for turn, shift in zip(turns, shifts, strict=True)
        ]
    )
    return np.asarray(matrix), found, poses


def _residuals(views: Sequence[View], matrix: Array, lens: Array, poses: Array) -> list[Array]:
    """For each view (N, 2) px: how far its corners are from where the camera places them."""
    each = iter(poses)
    found = []
    for view in views:
        parts = []
        for page in view.sightings:
            pose = next(each)
            parts.append(page.pixels - project(page.points @ pose[:3, :3].T + pose[:3, 3], matrix, lens))
        found.append(np.concatenate(parts))
    return found


def _count(view: View) -> int:
    return sum(len(page.points) for page in view.sightings)


def _without_worst(views: Sequence[View], residuals: Sequence[Array]) -> list[View]:
    """The views without the corners that are far off beside the others, such as those at the edge of a shadow; of each
    view only the worst, as they draw others along."""
    off = [np.linalg.norm(part, axis=1) for part in residuals]
    most = _OUTLIER * float(np.median(np.concatenate(off)))
    found = []
    for view, distances in zip(views, off, strict=True):
        pages, start = [], 0
        limit = max(most, _WORST_OF * float(distances.max()))
        for page in view.sightings:
            near = distances[start : start + len(page.points)] < limit
            start += len(page.points)
            pages.append(replace(page, points=page.points[near], pixels=page.pixels[near]) if near.sum() >= 6 else page)
        found.append(replace(view, sightings=tuple(pages)))
    return found


def _four(matrix: Array) -> Array:
    return np.array([matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]])


def _covered(views: Sequence[View], width: int, height: int) -> NDArray[np.bool_]:
    columns, rows = _CELLS
    pixels = np.concatenate([page.pixels for view in views for page in view.sightings])
    covered = np.zeros((rows, columns), np.bool_)
    place = np.clip(((pixels + 0.5) / [width, height] * [columns, rows]).astype(int), 0, [columns - 1, rows - 1])
    covered[place[:, 1], place[:, 0]] = True
    return covered


def _check_views(views: Sequence[View], poses: Array, covered: NDArray[np.bool_]) -> None:
    """Raises BoardError for photographs that are too similar, not tilted, or of one part of the picture only."""
    seen: list[Array] = []
    for pose in poses:
        if not any(_alike(pose, other) for other in seen):
            seen.append(pose)
    if len(seen) < LEAST:
        raise BoardError(
            f"only {len(seen)} of {len(views)} photographs differ: move the camera between them, so that the board is "
            f"seen from {LEAST} sides or more"
        )
    normals = np.stack([pose[:3, 2] for pose in seen])
    tilts = np.degrees(np.arccos(np.clip(-normals[:, 2], -1, 1)))
    tilted = int((tilts > _TILT).sum())
    if tilted < _TILTED:
        raise BoardError(
            f"{tilted} of {len(seen)} views are tilted by over {_TILT:g} degrees: hold the camera so that the board "
            "leans to one side and to the other, toward it and away, by 30 to 45 degrees each"
        )
    if covered.mean() < _COVERED:
        columns = np.asarray(covered.any(axis=0))
        sides = {
            "left": not columns[0],
            "right": not columns[-1],
            "top": not covered[0].any(),
            "bottom": not covered[-1].any(),
        }
        missing = [name for name, empty in sides.items() if empty]
        raise BoardError(
            f"corners are seen in {100 * covered.mean():.0f}% of the "
            f"picture{', none near its ' + ' and '.join(missing) + ' border' if missing else ''}: take photographs in "
            "which the board reaches into each corner of the picture"
        )


def _alike(one: Array, other: Array) -> bool:
    turn = np.degrees(np.arccos(np.clip((np.trace(one[:3, :3].T @ other[:3, :3]) - 1) / 2, -1, 1)))
    moved = np.linalg.norm(one[:3, 3] - other[:3, 3]) / np.linalg.norm(one[:3, 3])
    return bool(turn < _SAME[0] and moved < _SAME[1])
