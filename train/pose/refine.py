"""Edge-based refinement of poses on the table: a block's projected edges are fitted to the edges of the picture.

The network predicts a block's class and keypoints from maps of a coarse resolution; edges in the picture locate the block
more exactly. Each likely hypothesis for a block is moved over the table and turned about the vertical to where its edges
fit best, and the one with the best sum of the network's and the edges' evidence is taken. The idea is that of model-based
tracking (Harris and Stennett 1990, "RAPID").
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen.geometry import NEAR, Array, inverse, project, rigid, rotation_about, transform_points
from train.blocks.kinds import Kind
from train.metrics import adds
from train.pose.view import Pose, View

LEAST_CHANCE = 0.01  # of a class that is tried
MOST_CLASSES = 6  # tried
TURNS = np.radians([0.0, 30.0, 90.0])  # by which each is also turned: the most common mistakes for prisms and for boxes
KEPT = 6  # of these that are moved, each unlike the others
# How much the evidence of edges weighs beside the logarithm of a class's chance: by the likeliest choice among the answers
# for 654 blocks in 200 simulated pictures (tabletop, randomize=full, seed 778), as are the parts of the evidence.
WEIGHT = 8.0
_PLAIN, _ALONE, _STRONG = 1.0, 1.5, 0.4
_FLOOR = 4.0  # of contrast, in units of CIELAB: noise has as much
_BLUR = 0.7  # px
# Where the picture is sampled across an edge, in widths: two places on one side, two about it, two on the other.
_ACROSS = np.array([-3.5, -1.5, -1.0, 1.0, 1.5, 3.5])
_WIDTH, _LEAST_WIDTH = 0.025, 0.8  # of a width: shares of the block's extent in the picture, px
_SPACING = 8  # samples along an edge as long as the block's diameter
_ROUNDS, _FINEST = 10, 0.1  # of moving, until steps are this share of the first
_SHIFT, _TURN = 0.06, np.radians(8.0)  # the first steps: diameters, and radians
_GAIN = 0.02  # of evidence: what a step must bring
_SAME = 0.05  # diameters: answers of one kind whose ADD-S is under this are one


@dataclass(frozen=True)
class Hypothesis:
    """One hypothesis for a block: its class `stance`, the class's probability `chance` by the network, the predicted
    keypoints `pixels` (K, 2) px, and its `pose`."""

    stance: int
    kind: Kind
    chance: float
    pixels: Array
    pose: Pose


@dataclass(frozen=True)
class Held:
    """The hypothesis `answer` that is taken, refined; the evidence of its edges, and the `margin` by which the sum of its
    evidence and log probability exceeds that of the best hypothesis of another kind or place (at most 10)."""

    answer: Hypothesis
    evidence: float
    margin: float


def light_of(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W, 3) CIELAB of `picture` (H, W, 3), RGB, slightly blurred: the input of `evidence_of`."""
    lab = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return np.asarray(cv2.GaussianBlur(lab, (0, 0), _BLUR), dtype=np.float32)


def evidence_of(light: NDArray[np.float32], kind: Kind, poses: Array, view: View) -> Array:
    """(N,) how well the edges of `kind` in `poses` (N, 4, 4), camera_from_block, as `view` sees them, lie on edges of
    `light`: 0 where nothing changes across them, about 3 where much does, and there alone. -inf behind the camera. Beyond
    the picture its border goes on as it is.

    The contrast across an edge counts in three ways, each the mean along all that is seen: whether it is there, whether it
    is greater than beside the edge, and, by its logarithm, how great it is.
    """
    edges = kind.edges
    turn, shift = poses[:, :3, :3], poses[:, :3, 3]
    eye = -(np.swapaxes(turn, 1, 2) @ shift[..., None])[..., 0]  # (N, 3): the camera in the block's frame
    front = eye @ edges.facets[:, :3].T > edges.facets[:, 3]
    one, other = front[:, edges.sides[:, 0]], front[:, edges.sides[:, 1]]
    corners = transform_points(poses, kind.corners)
    before = corners[..., 2].min(1) > NEAR
    seen = ((one != other) | (one & other & edges.sharp)) & before[:, None]
    pixels = project(np.where(before[:, None, None], corners, [0.0, 0, 1]), view.intrinsics, view.distortion)
    extent = np.ptp(pixels, axis=1).max(1)
    number, edge = np.nonzero(seen)
    start, end = (pixels[number, edges.ends[edge, k]] for k in range(2))
    along = end - start
    length = np.linalg.norm(along, axis=1)
    normal = np.stack([-along[:, 1], along[:, 0]], 1) / np.maximum(length, 1e-9)[:, None]
    count = int(np.ceil(_SPACING * edges.longest / kind.diameter))
    step = (np.arange(count) + 0.5) / count
    width = np.maximum(_LEAST_WIDTH, _WIDTH * extent)[number]
    places = (
        start[:, None, None]
        + step[:, None, None] * along[:, None, None]
        + (_ACROSS * width[:, None])[:, None, :, None] * normal[:, None, None]
    ).astype(np.float32)  # (edges, count, across, 2)
    sampled = (
        cv2.remap(
            light,
            places[..., 0].reshape(len(places), -1),
            places[..., 1].reshape(len(places), -1),
            cv2.INTER_LINEAR,
            # Of 79 simulated blocks that the border cuts 49 were right so; 45 where nothing changes beyond it, and 43 where
            # what lies there does not count.
            borderMode=cv2.BORDER_REPLICATE,
        ).reshape(*places.shape[:3], 3)
        if len(places)
        else np.zeros((*places.shape[:3], 3), np.float32)
    )
    change = sampled[:, :, 1::2] - sampled[:, :, ::2]
    low, here, high = np.sqrt(np.einsum("ekac,ekac->aek", change, change))
    contrast = (
        _PLAIN * here / (here + _FLOOR) + _ALONE * here / (here + low + high + _FLOOR) + _STRONG * np.log1p(here)
    ).mean(1)
    total = np.bincount(number, length * contrast, len(poses))
    return np.where(before, total / np.maximum(np.bincount(number, length, len(poses)), 1e-9), -np.inf)


def hold(light: NDArray[np.float32], answers: Sequence[Hypothesis], view: View) -> Held | None:
    """The best of the hypotheses `answers` for one block on the table of `view`, each also turned by TURNS, after it was
    moved to where its edges fit `light` best. None where there is no hypothesis."""
    assert view.camera_from_table is not None
    tried = []
    for answer in answers:
        poses = _turned(answer.pose.camera_from_block, view.camera_from_table)
        evidence = evidence_of(light, answer.kind, poses, view)
        tried += [
            (np.log(answer.chance) + WEIGHT * float(edges), _at(answer, pose))
            for edges, pose in zip(evidence, poses, strict=True)
            if np.isfinite(edges)
        ]
    kept: list[Hypothesis] = []
    for _, answer in sorted(tried, key=lambda one: -one[0]):
        if len(kept) < KEPT and not any(_same(answer, other) for other in kept):
            kept.append(answer)
    moved = []
    for kind in {id(answer.kind): answer.kind for answer in kept}.values():
        own = [answer for answer in kept if answer.kind is kind]
        poses, evidence = _moved(light, kind, np.stack([answer.pose.camera_from_block for answer in own]), view)
        for answer, pose, edges in zip(own, poses, evidence, strict=True):
            moved.append((np.log(answer.chance) + WEIGHT * float(edges), float(edges), _at(answer, pose)))
    if not moved:
        return None
    best, edges, answer = max(moved, key=lambda one: one[0])
    rest = [total for total, _, other in moved if not _same(other, answer)]
    return Held(answer, edges, min(best - max(rest, default=-np.inf), 10.0))


def _at(answer: Hypothesis, pose: Array) -> Hypothesis:
    return replace(answer, pose=replace(answer.pose, camera_from_block=pose))


def _turned(pose: Array, camera_from_table: Array) -> Array:
    """(len(TURNS), 4, 4): `pose` turned by each about the vertical through the block's origin."""
    lying = inverse(camera_from_table) @ pose
    return _placed(lying[None].repeat(len(TURNS), 0), np.zeros((len(TURNS), 2)), TURNS, camera_from_table)


def _placed(lying: Array, shift: Array, turn: Array, camera_from_table: Array) -> Array:
    """(N, 4, 4) camera_from_block of blocks that lie as `lying` (N, 4, 4), table_from_block, moved by `shift` (N, 2) m and
    turned about the vertical through their origins by `turn` (N,)."""
    placed = rotation_about(2, turn) @ lying[:, :3, :3]
    place = lying[:, :3, 3].copy()
    place[:, :2] += shift
    return np.asarray(camera_from_table @ rigid(placed, place))


def _moved(light: NDArray[np.float32], kind: Kind, poses: Array, view: View) -> tuple[Array, Array]:
    """`poses` (N, 4, 4) of `kind` moved over the table and turned about the vertical, uphill in evidence, and that, (N,)."""
    assert view.camera_from_table is not None
    lying = inverse(view.camera_from_table) @ poses
    place, best = np.zeros((len(poses), 3)), evidence_of(light, kind, poses, view)
    first = np.array([_SHIFT * kind.diameter, _SHIFT * kind.diameter, _TURN])
    ways, scale = np.concatenate([np.eye(3), -np.eye(3)]), np.ones(len(poses))
    for _ in range(_ROUNDS):
        rows = np.flatnonzero(scale > _FINEST)
        if not len(rows):
            break
        tried = place[rows, None] + ways * (scale[rows, None] * first)[:, None]  # (R, 6, 3)
        flat = tried.reshape(-1, 3)
        there = _placed(lying[rows].repeat(len(ways), 0), flat[:, :2], flat[:, 2], view.camera_from_table)
        evidence = evidence_of(light, kind, there, view).reshape(len(rows), -1)
        way = evidence.argmax(1)
        gain = evidence.max(1) - best[rows]
        better = gain > _GAIN
        place[rows[better]] = tried[np.arange(len(rows)), way][better]
        best[rows[better]] += gain[better]
        scale[rows[~better]] /= 2
    return _placed(lying, place[:, :2], place[:, 2], view.camera_from_table), best


def _same(one: Hypothesis, other: Hypothesis) -> bool:
    """Whether two hypotheses have ended in the same pose, or in poses that look the same."""
    poses = one.pose.camera_from_block, other.pose.camera_from_block
    return one.kind is other.kind and adds(*poses, one.kind.corners) < _SAME * one.kind.diameter
