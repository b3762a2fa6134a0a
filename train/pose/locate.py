"""The pose and focal length of an uncalibrated camera, from the table coordinates that the network predicts.

In a known scene the network predicts, for each cell of its maps, which place on the table the cell sees. The camera that
explains these places best is that of the picture.
"""

import cv2
import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from simgen.geometry import Array, inverse, project, rigid
from train.pose.view import View

_CELLS = 400  # the most certain cells, by which the camera is estimated
_LEAST = 30
_TRIALS = 300  # of the start, each from a few cells
_WITHIN = 0.03  # of the focal length: cells that agree with a trial
_NEAR = 0.15  # of the focal length: how far it may be from the guess
_FOCAL = 0.04  # the same as a standard deviation: about the accuracy of a data sheet's field of view
_EYE = 0.03  # m: standard deviation of each coordinate of a camera's position that was measured by hand
_ALIKE = 10  # cells that count as one: the errors of neighboring cells are alike
_AGREED = 0.4  # of these cells must agree on a camera
_CLOSE = 0.05  # m: nothing that is seen is nearer to the camera


def find_camera(pixels: Array, places: Array, scale: Array, guess: View, eye: Array | None = None) -> View | None:
    """The camera that sees the table's `places` (N, 2) m at `pixels` (N, 2), each known to within `scale` (N,) m; its focal
    length is near, and within 15% of, that of `guess`, whose other intrinsics are taken as they are. `eye` (3,) m is where
    the camera stands in the table's frame, if it was measured by hand. None where the places are too few, or on
    a line, or do not agree on a camera.

    The most certain cells count. OpenCV's RANSAC gives the start and the cells that agree; the rest is the likeliest pose
    and focal length, cells with Cauchy's loss, so that gross errors pull little.
    """
    surest = np.argsort(scale)[:_CELLS]
    pixels, scale = pixels[surest], scale[surest]
    points = np.concatenate([places[surest], np.zeros((len(surest), 1))], 1)
    spread = np.linalg.svd(points[:, :2] - points[:, :2].mean(0), compute_uv=False) if len(points) else np.zeros(2)
    if len(points) < _LEAST or spread[1] < 0.05 * np.sqrt(len(points)):
        return None
    # Few cells at a time, so that gross errors spoil but some of the trials (Fischler and Bolles 1981); OpenCV draws alike
    # in every run.
    found, turn, shift, agreed = cv2.solvePnPRansac(
        points[:, None],
        pixels[:, None],
        guess.intrinsics,
        guess.distortion,
        iterationsCount=_TRIALS,
        reprojectionError=_WITHIN * guess.intrinsics[0, 0],
        flags=cv2.SOLVEPNP_SQPNP,
    )
    if not found or len(agreed) < _AGREED * len(points) or not np.isfinite(turn).all():
        return None
    start = np.concatenate([turn[:, 0], shift[:, 0], [0.0]])
    depth = points @ Rotation.from_rotvec(start[:3]).as_matrix()[2] + start[5]
    ahead = depth > _CLOSE
    points, pixels, scale, depth = points[ahead], pixels[ahead], scale[ahead], depth[ahead]
    sigma = scale * guess.intrinsics[0, 0] / depth  # a place's scale in meters, at its distance, in pixels

    def view_of(values: Array) -> View:
        intrinsics = guess.intrinsics.copy()
        intrinsics[:2, :2] *= np.exp(values[6])
        pose = rigid(Rotation.from_rotvec(values[:3]).as_matrix(), values[3:6])
        return View(intrinsics, guess.distortion, pose)

    def misses(values: Array) -> Array:
        view = view_of(values)
        assert view.camera_from_table is not None
        seen = points @ view.camera_from_table[:3, :3].T + view.camera_from_table[:3, 3]
        seen[:, 2] = np.maximum(seen[:, 2], _CLOSE)
        cells = (project(seen, view.intrinsics, view.distortion) - pixels) / sigma[:, None]
        known = [values[6:] / _FOCAL] if eye is None else [values[6:] / _FOCAL, _eye(view.camera_from_table, eye)]
        return np.concatenate([cells.ravel(), *known])

    weight = min(1.0, _ALIKE / len(points))

    def loss(squares: Array) -> Array:
        """SciPy's rho, its slope and its curvature: weighted Cauchy for the cells, plain squares for what is known."""
        rho = np.stack([squares, np.ones_like(squares), np.zeros_like(squares)])
        cells = squares[: 2 * len(points)]
        rho[:, : len(cells)] = weight * np.stack([np.log1p(cells), 1 / (1 + cells), -1 / (1 + cells) ** 2])
        return rho

    ends = np.append(np.full(6, np.inf), np.log(1 + _NEAR))
    view = view_of(least_squares(misses, start, bounds=(-ends, ends), loss=loss, x_scale="jac").x)
    assert view.camera_from_table is not None
    return view if inverse(view.camera_from_table)[2, 3] > 0 else None


def _eye(camera_from_table: Array, eye: Array) -> Array:
    """How far the camera is from `eye`, in deviations."""
    return np.asarray((inverse(camera_from_table)[:3, 3] - eye) / _EYE)
