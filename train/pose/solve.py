"""The 6D pose of a block from its keypoints in a picture: PnP by OpenCV, then the maximum-likelihood pose given each
keypoint's uncertainty, either free or restricted to blocks that lie on the table.
"""

from collections.abc import Callable

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from simgen.geometry import NEAR, Array, inverse, project, rigid, rotation_about, transform_points, unproject
from train.blocks.kinds import turns_about
from train.pose.view import Pose, View

ROUNDS = 12  # iterations of the optimizer; most starts need four
LEAST_SIGMA = 0.25  # px: the least uncertainty of a keypoint, whatever the network predicts
_ROBUST = 2.0  # sigmas: beyond it the loss of a residual is linear (Huber 1964)
_LEAST_VARIANCE = 1.1e-5  # of the keypoints on the plane at distance 1: OpenCV's SQPnP rejects less than 1e-5
_STEP = 1e-6  # m and radians, for numerical derivatives
_UPRIGHT = 0.99  # cosine: a round block whose axis is nearer than this to the vertical does not lie on its side
_ROLLS = 8  # starts of the optimizer for a round block on its side


def solve_free(points: Array, pixels: Array, sigma: Array, view: View) -> Pose | None:
    """The pose of a block whose keypoints `points` (K, 3) m, K >= 4, are imaged at `pixels` (K, 2). `sigma` (K,) px is the
    standard deviation of each coordinate. None if no pose puts the block in front of the camera, or if the pixels are too
    close together for PnP.

    OpenCV's SQPnP (Terzakis and Lourakis 2020) gives the start.
    """
    sigma = np.maximum(sigma, LEAST_SIGMA)
    rays = unproject(pixels, view.intrinsics, view.distortion)[:, None, :2]
    if rays.var(axis=0).sum() < _LEAST_VARIANCE:
        return None
    success, turn, shift = cv2.solvePnP(points[:, None], rays.copy(), np.eye(3), None, flags=cv2.SOLVEPNP_SQPNP)
    if not success or not np.isfinite(turn).all() or not np.isfinite(shift).all() or shift[2, 0] <= NEAR:
        return None
    start = rigid(Rotation.from_rotvec(turn[:, 0]).as_matrix(), np.asarray(shift[:, 0], dtype=np.float64))

    def pose_of(change: Array) -> Array:
        moved = rigid(Rotation.from_rotvec(change[:, :3]).as_matrix() @ start[:3, :3], start[:3, 3] + change[:, 3:])
        return np.asarray(moved)

    change, hessian, misfit = _optimize(pose_of, np.zeros((1, 6)), points, pixels, sigma, view)
    pose = pose_of(change)[0]
    if not np.isfinite(pose).all() or pose[2, 3] <= NEAR:
        return None
    return Pose(pose, _inverted(hessian[0]), float(misfit[0]))


def solve_on_table(
    points: Array, pixels: Array, sigma: Array, view: View, rests: Array, axis: Array | None = None
) -> Pose | None:
    """As `solve_free`, for a block that lies on the table in one of its resting poses `rests` (R, 4, 4), table_from_block.

    Only its place and yaw are estimated. Its height and tilt are known, so its distance does not depend on a few pixels. For
    a round block, `axis` (3,), that lies on its side the rotation about this axis is estimated, too: its keypoints are
    predicted relative to the camera.
    """
    assert view.camera_from_table is not None
    sigma = np.maximum(sigma, LEAST_SIGMA)
    rolls = np.zeros(len(rests), dtype=bool) if axis is None else np.abs(rests[:, 2, :3] @ axis) < _UPRIGHT
    fits = []
    if not rolls.all():
        fits.append(_fit_on_table(points, pixels, sigma, view, rests[~rolls], None))
    if axis is not None and rolls.any():
        rolled = rests[rolls][:, None] @ turns_about(axis, 2 * np.pi * np.arange(_ROLLS) / _ROLLS)
        fits.append(_fit_on_table(points, pixels, sigma, view, rolled.reshape(-1, 4, 4), axis))
    return min((fit for fit in fits if fit is not None), key=lambda fit: fit.misfit, default=None)


def misfit_of(poses: Array, points: Array, pixels: Array, sigma: Array, view: View) -> float:
    """The least Pose.misfit of the symmetric `poses` (S, 4, 4); the other arguments are those of `solve_free`."""
    return float(_misfits(_residuals(poses, points, pixels, np.maximum(sigma, LEAST_SIGMA), view)).min())


def _fit_on_table(
    points: Array, pixels: Array, sigma: Array, view: View, rests: Array, axis: Array | None
) -> Pose | None:
    """The maximum-likelihood place and yaw in the best of `rests`; with an `axis` also the rotation about it."""
    assert view.camera_from_table is not None
    camera_from_table = view.camera_from_table
    resting = transform_points(rests, points)  # (R, K, 3): before yaw and place
    starts = _initial_places(resting, pixels, sigma, view)
    usable = np.isfinite(starts).all(1)
    if not usable.any():
        return None
    rests, starts = rests[usable], starts[usable]
    if axis is not None:
        starts = np.concatenate([starts, np.zeros((len(starts), 1))], 1)

    def pose_of(change: Array) -> Array:
        place = np.concatenate([change[:, :2], np.zeros((len(change), 1))], 1)
        each = rests if len(change) == len(rests) else np.repeat(rests, len(change) // len(rests), axis=0)
        pose = camera_from_table @ rigid(rotation_about(2, change[:, 2]), place) @ each
        return np.asarray(pose if axis is None else pose @ turns_about(axis, change[:, 3]))

    change, hessian, misfit = _optimize(pose_of, starts, points, pixels, sigma, view)
    pose = pose_of(change)
    misfit = np.where(np.isfinite(pose).all((1, 2)) & (pose[:, 2, 3] > NEAR), misfit, np.inf)
    best = int(np.argmin(misfit))
    if not np.isfinite(misfit[best]):
        return None
    # The Jacobian of the pose in the camera frame with respect to the estimated parameters; all else is known.
    turn = camera_from_table[:3, :3]
    jacobian = np.zeros((6, starts.shape[1]))
    jacobian[:3, 2] = turn[:, 2]
    jacobian[3:, :2] = turn[:, :2]
    if axis is not None:
        jacobian[:3, 3] = pose[best][:3, :3] @ axis
    return Pose(pose[best], jacobian @ _inverted(hessian[best]) @ jacobian.T, float(misfit[best]))


def _initial_places(resting: Array, pixels: Array, sigma: Array, view: View) -> Array:
    """(R, 3) the place and yaw for which the points `resting` (R, K, 3) of each resting pose are nearest to their pixels'
    rays.

    The intersection of a ray with the horizontal plane at its point's height gives the point's place. The yaw between two
    sets of places has a closed form (Kabsch 1976, in the plane). NaN where a ray does not meet its plane.
    """
    assert view.camera_from_table is not None
    table_from_camera = inverse(view.camera_from_table)
    rays = unproject(pixels, view.intrinsics, view.distortion) @ table_from_camera[:3, :3].T
    origin = table_from_camera[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        along = (resting[..., 2] - origin[2]) / rays[:, 2]
    places = origin[:2] + along[..., None] * rays[:, :2]  # (R, K, 2)
    weight = (1 / sigma**2)[:, None] / (1 / sigma**2).sum()
    own = resting[..., :2]
    own_mean, place_mean = (own * weight).sum(1), (places * weight).sum(1)
    a, b = own - own_mean[:, None], places - place_mean[:, None]
    sine = ((a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]) * weight[:, 0]).sum(1)
    cosine = ((a * b).sum(2) * weight[:, 0]).sum(1)
    yaw = np.arctan2(sine, cosine)
    turned = np.stack(
        [
            np.cos(yaw) * own_mean[:, 0] - np.sin(yaw) * own_mean[:, 1],
            np.sin(yaw) * own_mean[:, 0] + np.cos(yaw) * own_mean[:, 1],
        ],
        1,
    )
    start = np.concatenate([place_mean - turned, yaw[:, None]], 1)
    start[(along <= 0).any(1)] = np.nan
    return start


def _optimize(
    pose_of: Callable[[Array], Array], start: Array, points: Array, pixels: Array, sigma: Array, view: View
) -> tuple[Array, Array, Array]:
    """Levenberg-Marquardt from S starts (S, n) at once: the parameters (S, n), the Hessians (S, n, n) there and the misfits
    (S,)."""
    count, n = start.shape

    def residuals_of(change: Array) -> Array:
        return _residuals(pose_of(change), points, pixels, sigma, view)

    def cost_of(residual: Array) -> Array:
        size = np.abs(residual)
        return np.asarray(np.where(size <= _ROBUST, size**2, 2 * _ROBUST * size - _ROBUST**2).sum(1))

    change, damping = start.copy(), np.full(count, 1e-3)
    residual = residuals_of(change)
    cost = cost_of(residual)
    hessian = np.zeros((count, n, n))
    for _ in range(ROUNDS):
        nudged = (change[:, None] + _STEP * np.eye(n)).reshape(-1, n)
        slope = (residuals_of(nudged).reshape(count, n, -1) - residual[:, None]) / _STEP  # (S, n, 2 K)
        weight = np.minimum(1, _ROBUST / np.maximum(np.abs(residual), 1e-9))
        hessian = np.einsum("sik,sjk,sk->sij", slope, slope, weight)
        down = np.einsum("sik,sk->si", slope, residual * weight)
        diagonal = np.einsum("sii->si", hessian)
        damped = hessian + (damping[:, None] * diagonal + 1e-12)[:, :, None] * np.eye(n)
        trial = change - np.linalg.solve(damped, down[..., None])[..., 0]
        trial_residual = residuals_of(trial)
        trial_cost = cost_of(trial_residual)
        better = trial_cost < cost
        change[better], residual[better] = trial[better], trial_residual[better]
        gain = np.where(better, cost - trial_cost, 0)
        cost = np.where(better, trial_cost, cost)
        damping = np.where(better, damping / 10, damping * 10)
        if np.all(gain < 1e-6 * np.maximum(cost, 1e-9)) and np.all(better | (damping > 1)):
            break
    return change, hessian, _misfits(residual)


def _residuals(poses: Array, points: Array, pixels: Array, sigma: Array, view: View) -> Array:
    """(S, 2 K) in sigmas: the projections of the points in `poses` (S, 4, 4) less `pixels`."""
    with np.errstate(invalid="ignore"):
        projected = project(transform_points(poses, points), view.intrinsics, view.distortion)
    residual = (projected - pixels) / sigma[:, None]
    return np.asarray(np.nan_to_num(residual.reshape(len(poses), -1), nan=1e6))


def _misfits(residual: Array) -> Array:
    """(S,) Pose.misfit of the residuals (S, 2 K)."""
    return np.asarray(np.sqrt(np.mean(np.minimum(np.abs(residual), 1e3) ** 2, axis=1)))


def _inverted(hessian: Array) -> Array:
    return np.asarray(np.linalg.pinv(hessian, hermitian=True))
