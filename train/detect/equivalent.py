"""Which of a symmetric block's poses that look the same `predict` reports.

A cube looks the same in 24 poses, a cylinder in infinitely many, and noise alone decides which of them is estimated. In a
picture of its own the choice is a convention (`canonical_pose`). In a video it is the pose nearest to the one reported
before, so that the pose of a block that moves slowly changes slowly.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from simgen.geometry import Array, inverse, look_at, rigid
from train.blocks.kinds import Kind
from train.detect.types import Detection
from train.pose.view import Pose, View

MOST_MOVED = 1.0  # diameters: a block that is farther away from where it was is not taken for the same
MOST_MISSED = 30  # frames: as long is the pose of a block kept that is not detected, about a second

# The score of a pose is the sum of PREFERRED * rotation, both (3, 3), over all entries. An entry of the rotation
# table_from_block is the cosine between an axis of the table (row) and an axis of the block (column). So it counts most that
# the block's Z points up, then its Y, then its X. The rest decides the yaw: the block's X and Z point along a direction 22.5
# degrees from the table's X, because then blocks that are parallel or diagonal to the table are far from a tie.
PREFERRED = np.array([[0.37, 0.0, 0.37], [0.15, 0.0, 0.15], [0.17, 0.47, 0.87]])
# camera_from_table (4, 4) where the table is unknown: the camera looks down at 60 degrees, the table's X to the right.
NOMINAL = inverse(look_at(np.array([0.0, -0.5, 0.75**0.5]), np.zeros(3)))


@dataclass(frozen=True)
class Reported:
    """A block of an earlier frame: its kind, the `camera_from_block` (4, 4) that was reported, and how many frames ago."""

    kind: Kind
    camera_from_block: Array
    frames: int = 1


class _Pair(NamedTuple):
    """Detection number `row` may be block number `place` of the earlier ones, in the pose `camera_from_block` (4, 4). Pairs
    are sorted: the latest block first, then the nearest."""

    frames: int
    distance: float
    row: int
    place: int
    camera_from_block: Array


def canonical_pose(kind: Kind, camera_from_block: Array, view: View) -> Array:
    """Of the poses that look like `camera_from_block` (4, 4), that with the greatest score, see PREFERRED.

    A cube that lies on the table has its Z axis up and a yaw between -22.5 and 67.5 degrees. A round block is rotated about
    its axis as little as possible from the table's axes, and a sphere not at all. Where the table is unknown, it is assumed
    to be seen from NOMINAL.
    """
    camera_from_table = NOMINAL if view.camera_from_table is None else view.camera_from_table
    pose = inverse(camera_from_table) @ camera_from_block
    # `facing` maximizes the same sum. Nothing in it needs a rotation.
    best = kind.facing(pose, rigid(PREFERRED, np.zeros(3)))
    upright = replace(kind, symmetries=np.eye(4)[None])  # only the continuous symmetry is left
    return np.asarray(camera_from_table @ upright.facing(best, np.eye(4)))


def equivalent_poses(
    detections: Sequence[Detection], view: View, earlier: Sequence[Reported] = ()
) -> tuple[list[Detection], list[Reported]]:
    """The `detections` of a picture taken by `view`, in the same order, each in that of its equivalent poses which is to be
    reported; and the blocks reported so far, which are `earlier` for the next frame of the video.

    A detection that matches a block in `earlier` gets the pose nearest to that block's, by rotation; any other gets the
    canonical one. They match one to one if they are of one kind and at most MOST_MOVED diameters apart in the camera frame,
    those of the last frame first, then the nearest first. Blocks have no identity beyond that, and no pose is smoothed.
    """
    matched: dict[int, _Pair] = {}
    taken: set[int] = set()
    for pair in sorted(_pairs(detections, earlier), key=lambda pair: pair[:4]):
        if pair.row not in matched and pair.place not in taken:
            matched[pair.row] = pair
            taken.add(pair.place)
    result = []
    for row, detection in enumerate(detections):
        pose = detection.pose.camera_from_block
        chosen = matched[row].camera_from_block if row in matched else canonical_pose(detection.kind, pose, view)
        result.append(_moved(detection, chosen))
    missed = [replace(block, frames=block.frames + 1) for place, block in enumerate(earlier) if place not in taken]
    shown = [Reported(detection.kind, detection.pose.camera_from_block) for detection in result]
    return result, [*shown, *(block for block in missed if block.frames <= MOST_MISSED + 1)]


def _pairs(detections: Sequence[Detection], earlier: Sequence[Reported]) -> Iterable[_Pair]:
    """All detections and blocks that may be the same. A symmetry may move the origin, so positions are compared in the
    equivalent pose."""
    for row, detection in enumerate(detections):
        kind = detection.kind
        for place, block in enumerate(earlier):
            if block.kind.name == kind.name:
                pose = kind.facing(detection.pose.camera_from_block, block.camera_from_block)
                distance = float(np.linalg.norm(pose[:3, 3] - block.camera_from_block[:3, 3]))
                if distance <= MOST_MOVED * kind.diameter:
                    yield _Pair(block.frames, distance, row, place, pose)


def _moved(detection: Detection, towards: Array) -> Detection:
    """`detection` with the equivalent pose nearest to `towards` (4, 4)."""
    pose = detection.pose
    return replace(detection, pose=equivalent(pose, detection.kind.facing(pose.camera_from_block, towards)))


def equivalent(pose: Pose, camera_from_block: Array) -> Pose:
    """`pose` given as `camera_from_block` (4, 4), which looks the same, with the covariance that belongs to it.

    The covariance is in the camera frame, so it does not depend on how the block's axes are named. But a symmetry of a
    triangular prism moves the origin, by s. An error of the rotation vector w then moves it by w x s more.
    """
    change = np.eye(6)
    change[3:, :3] = -np.cross(np.eye(3), camera_from_block[:3, 3] - pose.camera_from_block[:3, 3])
    return Pose(camera_from_block, change @ pose.covariance @ change.T, pose.misfit)
