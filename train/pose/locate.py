"""The pose and focal length of an uncalibrated camera, from the table coordinates that the network predicts.

In a scene that it was trained on the network predicts, for each cell of its maps, the point of the table that the cell
shows. The camera is fitted to these points.
"""

import cv2
import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from simgen.geometry import Array, inverse, project, rigid
from train.pose.view import View

_CELLS = 400  # the cells with the least uncertainty, which are used
_LEAST_CELLS = 30
_TRIALS = 300  # of RANSAC, each with a few cells
_INLIER = 0.03  # focal lengths: the reprojection error of an inlier
_NEAR = 0.15  # the largest relative difference of the focal length from the guess
_FOCAL_SIGMA = 0.04  # its standard deviation: about the accuracy of a data sheet's field of view
_EYE_SIGMA = 0.03  # m: standard deviation of each coordinate of a camera position that was measured by hand
_CORRELATED = 10  # cells that count as one, because the errors of neighboring cells are correlated
_LEAST_INLIERS = 0.4  # the fraction of the cells that must agree on a camera
_LEAST_DEPTH = 0.05  # m: visible points are farther from the camera


def find_camera(pixels: Array, places: Array, scale: Array, guess: View, eye: Array | None = None) -> View | None:
    """The camera that images the table's points `places` (N, 2) m at `pixels` (N, 2). `scale` (N,) m is the uncertainty of
    each point. The focal length is within 15% of that of `guess`, whose other intrinsics are used unchanged. `eye` (3,) m is
    the camera's position in the table's frame if it was measured by hand. None if the points are too few, on a line, or
    inconsistent.

    OpenCV's RANSAC on the most certain points gives the initial pose. Pose and focal length then maximize the likelihood,
    with Cauchy's loss for the points, so that outliers have little influence.
    """
    certain = np.argsort(scale)[:_CELLS]
    pixels, scale = pixels[certain], scale[certain]
    points = np.concatenate([places[certain], np.zeros((len(certain), 1))], 1)
    spread = np.linalg.svd(points[:, :2] - points[:, :2].mean(0), compute_uv=False) if len(points) else np.zeros(2)
    if len(points) < _LEAST_CELLS or spread[1] < 0.05 * np.sqrt(len(points)):
        return None
    # Few points in each trial, so that outliers spoil only some of them (Fischler and Bolles 1981). OpenCV's RANSAC is
    # deterministic.
    success, turn, shift, inliers = cv2.solvePnPRansac(
        points[:, None],
        pixels[:, None],
        guess.intrinsics,
        guess.distortion,
        iterationsCount=_TRIALS,
        reprojectionError=_INLIER * guess.intrinsics[0, 0],
        flags=cv2.SOLVEPNP_SQPNP,
    )
    if not success or len(inliers) < _LEAST_INLIERS * len(points) or not np.isfinite(turn).all():
        return None
    start = np.concatenate([turn[:, 0], shift[:, 0], [0.0]])
    depth = points @ Rotation.from_rotvec(start[:3]).as_matrix()[2] + start[5]
    ahead = depth > _LEAST_DEPTH
    points, pixels, scale, depth = points[ahead], pixels[ahead], scale[ahead], depth[ahead]
    sigma = scale * guess.intrinsics[0, 0] / depth  # px: a point's uncertainty, projected at its depth

    def view_of(values: Array) -> View:
        intrinsics = guess.intrinsics.copy()
        intrinsics[:2, :2] *= np.exp(values[6])
        pose = rigid(Rotation.from_rotvec(values[:3]).as_matrix(), values[3:6])
        return View(intrinsics, guess.distortion, pose)

    def residuals(values: Array) -> Array:
        view = view_of(values)
        assert view.camera_from_table is not None
        seen = points @ view.camera_from_table[:3, :3].T + view.camera_from_table[:3, 3]
        seen[:, 2] = np.maximum(seen[:, 2], _LEAST_DEPTH)
        cells = (project(seen, view.intrinsics, view.distortion) - pixels) / sigma[:, None]
        priors = [values[6:] / _FOCAL_SIGMA]
        if eye is not None:
            priors.append(_eye_residuals(view.camera_from_table, eye))
        return np.concatenate([cells.ravel(), *priors])

    weight = min(1.0, _CORRELATED / len(points))

    def loss(squares: Array) -> Array:
        """SciPy's rho and its first two derivatives: weighted Cauchy for the cells, squares for the priors."""
        rho = np.stack([squares, np.ones_like(squares), np.zeros_like(squares)])
        cells = squares[: 2 * len(points)]
        rho[:, : len(cells)] = weight * np.stack([np.log1p(cells), 1 / (1 + cells), -1 / (1 + cells) ** 2])
        return rho

    bounds = np.append(np.full(6, np.inf), np.log(1 + _NEAR))
    view = view_of(least_squares(residuals, start, bounds=(-bounds, bounds), loss=loss, x_scale="jac").x)
    assert view.camera_from_table is not None
    return view if inverse(view.camera_from_table)[2, 3] > 0 else None


def _eye_residuals(camera_from_table: Array, eye: Array) -> Array:
    """(3,) the difference of the camera's position from `eye` (3,), in standard deviations."""
    return np.asarray((inverse(camera_from_table)[:3, 3] - eye) / _EYE_SIGMA)
