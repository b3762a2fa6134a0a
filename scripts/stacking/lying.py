"""What a parallel gripper can do with a block that lies on a table: where it can hold it, and whether it can stack it.

The table frame is the world's: Z up, the top at z = 0, meters and radians.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.spatial import ConvexHull

from simgen.geometry import Array, transform_points
from simgen.shapes.solids import Solid

OPENING = 0.08  # m between the open fingers of a Franka hand
WIDEST = 0.066  # m: a wider block leaves no room for an error of its pose
SLENDER = 1.25  # a block is stacked if its height is at most this multiple of the shorter side of its base
_LEVEL = 0.995  # cosine: a face whose normal is nearer to the vertical is level
_UPRIGHT = 0.05  # sine: a side whose normal is nearer to the horizontal is upright


@dataclass(frozen=True)
class Grasp:
    """The fingers close along the horizontal direction at `angle` from X, around `width` m; the block is `length` m wide
    across it."""

    angle: float
    width: float
    length: float


@dataclass(frozen=True)
class Lying:
    """A block of the shape of `solid` at `pose` (4, 4), table_from_block."""

    solid: Solid
    pose: Array

    @cached_property
    def corners(self) -> Array:
        """(C, 3) m in the table frame."""
        return transform_points(self.pose, self.solid.corners)

    @property
    def center(self) -> Array:
        """(2,) m: the place of the block's origin on the table."""
        return np.asarray(self.pose[:2, 3])

    @property
    def height(self) -> float:
        return float(np.ptp(self.corners[:, 2]))

    @property
    def radius(self) -> float:
        """m: the radius of the circle about `center` that holds the block, as seen from above."""
        return float(np.linalg.norm(self.corners[:, :2] - self.center, axis=1).max())

    @cached_property
    def base(self) -> float:
        """m: the shorter side of the face that the block lies on."""
        low = self.corners[self.corners[:, 2] < self.corners[:, 2].min() + 1e-3, :2]
        if len(low) < 3:
            return 0.0
        # The narrowest strip that holds a polygon lies along one of its sides.
        return float(np.ptp(low @ ConvexHull(low).equations[:, :2].T, axis=0).min())

    @cached_property
    def grasps(self) -> tuple[Grasp, ...]:
        """The ways to hold the block from above, by two parallel upright sides that are at most WIDEST apart, angles in
        [0, pi)."""
        normals = self.solid.planes[:, :3] @ self.pose[:3, :3].T
        found: list[Grasp] = []
        for normal in normals[np.abs(normals[:, 2]) < _UPRIGHT]:
            if np.min(normals @ normal) > -_LEVEL:  # no opposite side
                continue
            angle = float(np.arctan2(normal[1], normal[0]) % np.pi)
            if any(abs((angle - other.angle + np.pi / 2) % np.pi - np.pi / 2) < 1e-3 for other in found):
                continue
            width, length = (extent(self, angle + turn) for turn in (0.0, np.pi / 2))
            if width <= WIDEST:
                found.append(Grasp(angle, width, length))
        return tuple(found)

    @property
    def stackable(self) -> bool:
        """Whether the gripper can hold the block, its top is level, and it is not slender."""
        normals = self.solid.planes[:, :3] @ self.pose[:3, :3].T
        level = normals[:, 2].max() > _LEVEL and normals[:, 2].min() < -_LEVEL
        return bool(level and self.grasps and self.height <= SLENDER * self.base)


def extent(block: Lying, angle: float) -> float:
    """m: the extent of `block` along the horizontal direction at `angle`."""
    return float(np.ptp(block.corners[:, :2] @ [np.cos(angle), np.sin(angle)]))


def tolerates(truth: Lying, predicted: Lying) -> bool:
    """Whether a robot that works by the pose of `predicted`, while the block is at `truth`, can hold and stack it.

    It is of the same kind and lies as high, the open fingers pass it on both sides in all grasps, and it is no farther away
    than a quarter of its base's shorter side.
    """
    shift = truth.center - predicted.center
    if np.linalg.norm(shift) > truth.base / 4 or truth.solid.name != predicted.solid.name:
        return False
    if abs(truth.height - predicted.height) > 0.005:  # it lies on another side
        return False
    for grasp in predicted.grasps:
        along = np.array([np.cos(grasp.angle), np.sin(grasp.angle)])
        if extent(truth, grasp.angle) / 2 + abs(shift @ along) > OPENING / 2:
            return False
    return bool(predicted.grasps)
