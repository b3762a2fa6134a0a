"""Poses from predicted keypoints: the pose of greatest likelihood given each keypoint's uncertainty, either free or
restricted to blocks that lie on the table.

All blocks of a picture are solved at once, because NumPy's cost for each call exceeds that of the arithmetic.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
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


@dataclass(frozen=True)
class Keypoints:
    """The keypoints of a block: `points` (K, 3) m, K >= 4, in its frame, imaged at `pixels` (K, 2); `sigma` (K,) px is
    the standard deviation of each coordinate."""

    points: Array
    pixels: Array
    sigma: Array


@dataclass(frozen=True)
class Resting:
    """A block that is `seen` and lies on the table in one of its resting poses `rests` (R, 4, 4), table_from_block. For a
    round one, `axis` (3,), that lies on its side the rotation about this axis is unknown: its keypoints are predicted
    relative to the camera."""

    seen: Keypoints
    rests: Array
    axis: Array | None = None


@dataclass(frozen=True)
class _Starts:
    """S starts of the optimizer: `owner` (S,), the block of each; points (S, K, 3) m, pixels (S, K, 2) and sigma (S, K) px,
    padded, with an infinite sigma."""

    owner: NDArray[np.int64]
    points: Array
    pixels: Array
    sigma: Array

    @staticmethod
    def of(blocks: Sequence[Keypoints], owner: NDArray[np.int64]) -> "_Starts":
        most = max(len(block.points) for block in blocks)
        points, pixels = np.zeros((len(blocks), most, 3)), np.zeros((len(blocks), most, 2))
        sigma = np.full((len(blocks), most), np.inf)
        for row, block in enumerate(blocks):
            count = len(block.points)
            points[row], pixels[row] = block.points[0], block.pixels[0]
            points[row, :count], pixels[row, :count] = block.points, block.pixels
            sigma[row, :count] = np.maximum(block.sigma, LEAST_SIGMA)
        return _Starts(owner, points[owner], pixels[owner], sigma[owner])

    @property
    def real(self) -> NDArray[np.bool_]:
        return np.isfinite(self.sigma)


def solve_free(blocks: Sequence[Keypoints], view: View) -> list[Pose | None]:
    """The pose of each of `blocks`. None if no pose puts the block in front of the camera, or if the pixels are too close
    together for PnP.

    OpenCV's SQPnP (Terzakis and Lourakis 2020) gives the start.
    """
    begins = [_pnp(block, view) for block in blocks]
    owner = np.array([number for number, begin in enumerate(begins) if begin is not None], dtype=np.int64)
    poses: list[Pose | None] = [None] * len(blocks)
    if not len(owner):
        return poses
    begin = np.stack([one for one in begins if one is not None])
    starts = _Starts.of(blocks, owner)

    def pose_of(change: Array) -> Array:
        each = np.repeat(begin, len(change) // len(begin), axis=0)
        turn = Rotation.from_rotvec(change[:, :3]).as_matrix() @ each[:, :3, :3]
        return np.asarray(rigid(turn, each[:, :3, 3] + change[:, 3:]))

    change, hessian, misfit = _optimize(pose_of, np.zeros((len(owner), 6)), starts, view)
    pose = pose_of(change)
    right = np.isfinite(pose).all((1, 2)) & (pose[:, 2, 3] > NEAR)
    for row, number in enumerate(owner):
        if right[row]:
            poses[number] = Pose(pose[row], _inverted(hessian[row]), float(misfit[row]))
    return poses


def solve_on_table(blocks: Sequence[Resting], view: View) -> list[Pose | None]:
    """The pose of each of `blocks` in the likeliest of its resting poses; None as for `solve_free`.

    Only the place and the angle about the vertical are estimated. Height and tilt are known, so the distance does not depend
    on a few pixels.
    """
    assert view.camera_from_table is not None
    camera_from_table = view.camera_from_table
    rests, axes, owner = _rests_of(blocks)
    poses: list[Pose | None] = [None] * len(blocks)
    if not len(owner):
        return poses
    starts = _Starts.of([block.seen for block in blocks], owner)
    begin = _initial_places(transform_points(rests, starts.points), starts, view)
    usable = np.isfinite(begin).all(1)
    if not usable.any():
        return poses
    rests, axes, begin = rests[usable], axes[usable], begin[usable]
    starts = _Starts(starts.owner[usable], starts.points[usable], starts.pixels[usable], starts.sigma[usable])
    rolls = axes.any(1)

    def pose_of(change: Array) -> Array:
        times = len(change) // len(rests)
        place = np.concatenate([change[:, :2], np.zeros((len(change), 1))], 1)
        stands = camera_from_table @ rigid(rotation_about(2, change[:, 2]), place) @ np.repeat(rests, times, axis=0)
        if rolls.any():
            stands = stands @ turns_about(np.repeat(axes, times, axis=0), change[:, 3])
        return np.asarray(stands)

    change, hessian, misfit = _optimize(pose_of, np.concatenate([begin, np.zeros((len(begin), 1))], 1), starts, view)
    pose = pose_of(change)
    misfit = np.where(np.isfinite(pose).all((1, 2)) & (pose[:, 2, 3] > NEAR), misfit, np.inf)
    # The Jacobian of the pose in the camera frame with respect to the estimated parameters; all else is known.
    jacobian = np.zeros((len(pose), 6, 4))
    jacobian[:, :3, 2] = camera_from_table[:3, 2]
    jacobian[:, 3:, :2] = camera_from_table[:3, :2]
    jacobian[:, :3, 3] = (pose[:, :3, :3] @ axes[:, :, None])[..., 0]
    for number in np.unique(starts.owner):
        rows = np.flatnonzero(starts.owner == number)
        best = rows[np.argmin(misfit[rows])]
        if np.isfinite(misfit[best]):
            covariance = jacobian[best] @ _inverted(hessian[best]) @ jacobian[best].T
            poses[number] = Pose(pose[best], covariance, float(misfit[best]))
    return poses


def _pnp(block: Keypoints, view: View) -> Array | None:
    """The start (4, 4) of `solve_free` for `block`."""
    rays = unproject(block.pixels, view.intrinsics, view.distortion)[:, None, :2]
    if rays.var(axis=0).sum() < _LEAST_VARIANCE:
        return None
    success, turn, shift = cv2.solvePnP(block.points[:, None], rays.copy(), np.eye(3), None, flags=cv2.SOLVEPNP_SQPNP)
    if not success or not np.isfinite(turn).all() or not np.isfinite(shift).all() or shift[2, 0] <= NEAR:
        return None
    return rigid(Rotation.from_rotvec(turn[:, 0]).as_matrix(), np.asarray(shift[:, 0], dtype=np.float64))


def _rests_of(blocks: Sequence[Resting]) -> tuple[Array, Array, NDArray[np.int64]]:
    """The resting poses (S, 4, 4) from which the optimizer starts, the axes (S, 3) about which it rotates the block, 0 for
    none, and the block (S,) of each."""
    rests, axes, owner = [np.zeros((0, 4, 4))], [np.zeros((0, 3))], []
    for number, block in enumerate(blocks):
        one, axis = block.rests, np.zeros((len(block.rests), 3))
        if block.axis is not None:
            upright = np.abs(one[:, 2, :3] @ block.axis) >= _UPRIGHT
            angle = np.tile(2 * np.pi * np.arange(_ROLLS) / _ROLLS, int((~upright).sum()))
            about = np.broadcast_to(block.axis, (len(angle), 3))
            rolled = np.repeat(one[~upright], _ROLLS, axis=0) @ turns_about(about, angle)
            one, axis = np.concatenate([one[upright], rolled]), np.concatenate([axis[upright], about])
        rests.append(one)
        axes.append(axis)
        owner += [number] * len(one)
    return np.concatenate(rests), np.concatenate(axes), np.array(owner, dtype=np.int64)


def _initial_places(resting: Array, starts: _Starts, view: View) -> Array:
    """(S, 3) the place and the angle for which the points `resting` (S, K, 3) of each start are nearest to their pixels'
    rays.

    The intersection of a ray with the horizontal plane at its point's height gives the point's place. The angle between two
    sets of places has a closed form (Kabsch 1976, in the plane). NaN where a ray does not meet its plane.
    """
    assert view.camera_from_table is not None
    table_from_camera = inverse(view.camera_from_table)
    flat = unproject(starts.pixels.reshape(-1, 2), view.intrinsics, view.distortion)
    rays = flat.reshape(*starts.pixels.shape[:2], 3) @ table_from_camera[:3, :3].T
    origin = table_from_camera[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        along = (resting[..., 2] - origin[2]) / rays[..., 2]
    places = origin[:2] + along[..., None] * rays[..., :2]  # (S, K, 2)
    weight = 1 / starts.sigma**2
    weight = (weight / weight.sum(1, keepdims=True))[..., None]
    own = resting[..., :2]
    own_mean, place_mean = (own * weight).sum(1), (places * weight).sum(1)
    a, b = own - own_mean[:, None], places - place_mean[:, None]
    sine = ((a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]) * weight[..., 0]).sum(1)
    cosine = ((a * b).sum(2) * weight[..., 0]).sum(1)
    yaw = np.arctan2(sine, cosine)
    turned = np.stack(
        [
            np.cos(yaw) * own_mean[:, 0] - np.sin(yaw) * own_mean[:, 1],
            np.sin(yaw) * own_mean[:, 0] + np.cos(yaw) * own_mean[:, 1],
        ],
        1,
    )
    start = np.concatenate([place_mean - turned, yaw[:, None]], 1)
    start[((along <= 0) & starts.real).any(1)] = np.nan
    return start


def _optimize(
    pose_of: Callable[[Array], Array], begin: Array, starts: _Starts, view: View
) -> tuple[Array, Array, Array]:
    """Levenberg-Marquardt from all `starts` at once, with the parameters `begin` (S, n): the parameters (S, n), the Hessians
    (S, n, n) there and the misfits (S,)."""
    count, n = begin.shape

    def residuals_of(change: Array) -> Array:
        """(M, 2 K) in sigmas, for M = S or a multiple of it: the projections less the pixels."""
        times = len(change) // count
        points, pixels, sigma = (
            np.repeat(part, times, axis=0) for part in (starts.points, starts.pixels, starts.sigma)
        )
        with np.errstate(invalid="ignore"):
            seen = project(transform_points(pose_of(change), points), view.intrinsics, view.distortion)
        residual = ((seen - pixels) / sigma[..., None]).reshape(len(change), -1)
        return np.asarray(np.nan_to_num(residual, nan=1e6))

    def cost_of(residual: Array) -> Array:
        size = np.abs(residual)
        return np.asarray(np.where(size <= _ROBUST, size**2, 2 * _ROBUST * size - _ROBUST**2).sum(1))

    change, damping = begin.copy(), np.full(count, 1e-3)
    residual = residuals_of(change)
    cost = cost_of(residual)
    hessian = np.zeros((count, n, n))
    for _ in range(ROUNDS):
        nudged = (change[:, None] + _STEP * np.eye(n)).reshape(-1, n)
        slope = (residuals_of(nudged).reshape(count, n, -1) - residual[:, None]) / _STEP  # (S, n, 2 K)
        weight = np.minimum(1, _ROBUST / np.maximum(np.abs(residual), 1e-9))
        weighted = slope * weight[:, None]
        hessian = weighted @ slope.swapaxes(1, 2)
        down = (weighted @ residual[..., None])[..., 0]
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
    size = np.minimum(np.abs(residual), 1e3) ** 2
    return change, hessian, np.sqrt(size.sum(1) / (2 * starts.real.sum(1)))


def _inverted(hessian: Array) -> Array:
    return np.asarray(np.linalg.pinv(hessian, hermitian=True))
