"""Edge-based refinement of poses on the table: a block's projected edges are fitted to the edges of the picture.

The networks predict a block's class and keypoints at a coarse resolution; edges in the picture locate the block more
exactly. Each likely hypothesis for a block is moved over the table and rotated about the vertical to where its edges fit
best. The result is the hypothesis with the best sum of the network's and the edges' evidence. The idea is that of
model-based tracking (Harris and Stennett 1990, "RAPID").
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

LEAST_PROBABILITY = 0.01  # classes below it are not tried
MOST_CLASSES = 6  # that are tried
TURNS = np.radians([0.0, 30.0, 90.0])  # rotations of each hypothesis: the most common errors for prisms and for boxes
KEPT = 6  # of these that are refined, no two alike
# The weight of the edges' evidence relative to the logarithm of a class's probability. This and the weights of the
# evidence's parts were fitted by maximum likelihood to 654 blocks in 200 simulated pictures (tabletop, randomize=full, seed
# 778).
WEIGHT = 8.0
_PRESENT, _ISOLATED, _STRONG = 1.0, 1.5, 0.4  # the weights of the three parts
_FLOOR = 4.0  # units of CIELAB: the contrast of noise
_BLUR = 0.7  # px
# Where the picture is sampled across an edge, in widths: two points on one side, two astride the edge, two on the other.
_ACROSS = np.array([-3.5, -1.5, -1.0, 1.0, 1.5, 3.5])
_WIDTH, _LEAST_WIDTH = 0.025, 0.8  # the width as a fraction of the block's extent in the picture, and its minimum in px
_SPACING = 8  # samples along an edge as long as the block's diameter
_ROUNDS, _FINEST = 10, 0.1  # of refinement; the fraction of the first step's size at which it ends
_SHIFT, _TURN = 0.06, np.radians(8.0)  # the first steps: diameters, and radians
_GAIN = 0.02  # of evidence: the least by which a step must improve it
_SAME = 0.05  # diameters: hypotheses of one kind whose ADD-S is below this are the same
_MOST_MARGIN = 10.0


@dataclass(frozen=True)
class Hypothesis:
    """One hypothesis for a block: its class `stance`, the class's `probability` as the network predicts it, the predicted
    keypoints `pixels` (K, 2) px, and its `pose`."""

    stance: int
    kind: Kind
    probability: float
    pixels: Array
    pose: Pose


@dataclass(frozen=True)
class Refined:
    """The best `hypothesis`, refined; the evidence of its edges; and the `margin` by which the sum of its evidence and log
    probability exceeds that of the best hypothesis of another kind or pose (at most _MOST_MARGIN)."""

    hypothesis: Hypothesis
    evidence: float
    margin: float


def blurred_lab(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W, 3) CIELAB of `picture` (H, W, 3), RGB, slightly blurred: the input of `evidence_of`."""
    lab = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return np.asarray(cv2.GaussianBlur(lab, (0, 0), _BLUR), dtype=np.float32)


def evidence_of(lab: NDArray[np.float32], kind: Kind, poses: Array, view: View) -> Array:
    """(N,) how well the edges of `kind` in `poses` (N, 4, 4), camera_from_block, projected by `view`, coincide with edges in
    `lab`: 0 where the colors do not change across them, about 3 where they change strongly and only there. -inf behind the
    camera. Beyond its border the picture is continued with the border's pixels.

    The contrast across an edge counts in three ways, each averaged along all visible edges: whether there is any, whether it
    is greater than beside the edge, and the logarithm of its size.
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
            lab,
            places[..., 0].reshape(len(places), -1),
            places[..., 1].reshape(len(places), -1),
            cv2.INTER_LINEAR,
            # Of 79 simulated blocks that the border cuts 49 were right with this; 45 with a constant beyond the border, and
            # 43 with samples beyond it left out.
            borderMode=cv2.BORDER_REPLICATE,
        ).reshape(*places.shape[:3], 3)
        if len(places)
        else np.zeros((*places.shape[:3], 3), np.float32)
    )
    change = sampled[:, :, 1::2] - sampled[:, :, ::2]
    low, here, high = np.sqrt(np.einsum("ekac,ekac->aek", change, change))
    contrast = (
        _PRESENT * here / (here + _FLOOR) + _ISOLATED * here / (here + low + high + _FLOOR) + _STRONG * np.log1p(here)
    ).mean(1)
    total = np.bincount(number, length * contrast, len(poses))
    return np.where(before, total / np.maximum(np.bincount(number, length, len(poses)), 1e-9), -np.inf)


def refine_on_table(lab: NDArray[np.float32], hypotheses: Sequence[Hypothesis], view: View) -> Refined | None:
    """The best of the `hypotheses` for one block on the table of `view`, after refinement against the edges in `lab`; each
    is also tried rotated by TURNS. None if there is no hypothesis in front of the camera."""
    assert view.camera_from_table is not None
    tried = []
    for hypothesis in hypotheses:
        poses = _rotated(hypothesis.pose.camera_from_block, view.camera_from_table)
        evidence = evidence_of(lab, hypothesis.kind, poses, view)
        tried += [
            (np.log(hypothesis.probability) + WEIGHT * float(edges), _with_pose(hypothesis, pose))
            for edges, pose in zip(evidence, poses, strict=True)
            if np.isfinite(edges)
        ]
    kept: list[Hypothesis] = []
    for _, hypothesis in sorted(tried, key=lambda one: -one[0]):
        if len(kept) < KEPT and not any(_same(hypothesis, other) for other in kept):
            kept.append(hypothesis)
    refined = []
    for kind in {id(hypothesis.kind): hypothesis.kind for hypothesis in kept}.values():
        own = [hypothesis for hypothesis in kept if hypothesis.kind is kind]
        poses, evidence = _climb(lab, kind, np.stack([one.pose.camera_from_block for one in own]), view)
        for hypothesis, pose, edges in zip(own, poses, evidence, strict=True):
            total = np.log(hypothesis.probability) + WEIGHT * float(edges)
            refined.append((total, float(edges), _with_pose(hypothesis, pose)))
    if not refined:
        return None
    best, edges, hypothesis = max(refined, key=lambda one: one[0])
    others = [total for total, _, other in refined if not _same(other, hypothesis)]
    return Refined(hypothesis, edges, min(best - max(others, default=-np.inf), _MOST_MARGIN))


def _with_pose(hypothesis: Hypothesis, pose: Array) -> Hypothesis:
    return replace(hypothesis, pose=replace(hypothesis.pose, camera_from_block=pose))


def _rotated(pose: Array, camera_from_table: Array) -> Array:
    """(len(TURNS), 4, 4): `pose` rotated by each of TURNS about the vertical through the block's origin."""
    table_from_block = inverse(camera_from_table) @ pose
    return _moved(table_from_block[None].repeat(len(TURNS), 0), np.zeros((len(TURNS), 2)), TURNS, camera_from_table)


def _moved(table_from_block: Array, shift: Array, turn: Array, camera_from_table: Array) -> Array:
    """(N, 4, 4) camera_from_block of blocks in the poses `table_from_block` (N, 4, 4), shifted by `shift` (N, 2) m and
    rotated about the vertical through their origins by `turn` (N,)."""
    rotated = rotation_about(2, turn) @ table_from_block[:, :3, :3]
    place = table_from_block[:, :3, 3].copy()
    place[:, :2] += shift
    return np.asarray(camera_from_table @ rigid(rotated, place))


def _climb(lab: NDArray[np.float32], kind: Kind, poses: Array, view: View) -> tuple[Array, Array]:
    """`poses` (N, 4, 4) of `kind` after hill climbing, by shifts over the table and rotations about the vertical, to the
    greatest evidence; and that evidence, (N,)."""
    assert view.camera_from_table is not None
    table_from_block = inverse(view.camera_from_table) @ poses
    place, best = np.zeros((len(poses), 3)), evidence_of(lab, kind, poses, view)
    first = np.array([_SHIFT * kind.diameter, _SHIFT * kind.diameter, _TURN])
    steps, scale = np.concatenate([np.eye(3), -np.eye(3)]), np.ones(len(poses))
    for _ in range(_ROUNDS):
        rows = np.flatnonzero(scale > _FINEST)
        if not len(rows):
            break
        tried = place[rows, None] + steps * (scale[rows, None] * first)[:, None]  # (R, 6, 3)
        flat = tried.reshape(-1, 3)
        moved = _moved(table_from_block[rows].repeat(len(steps), 0), flat[:, :2], flat[:, 2], view.camera_from_table)
        evidence = evidence_of(lab, kind, moved, view).reshape(len(rows), -1)
        step = evidence.argmax(1)
        gain = evidence.max(1) - best[rows]
        better = gain > _GAIN
        place[rows[better]] = tried[np.arange(len(rows)), step][better]
        best[rows[better]] += gain[better]
        scale[rows[~better]] /= 2
    return _moved(table_from_block, place[:, :2], place[:, 2], view.camera_from_table), best


def _same(one: Hypothesis, other: Hypothesis) -> bool:
    """Whether two hypotheses are of one kind and have the same pose or symmetric ones."""
    poses = one.pose.camera_from_block, other.pose.camera_from_block
    return one.kind is other.kind and adds(*poses, one.kind.corners) < _SAME * one.kind.diameter
