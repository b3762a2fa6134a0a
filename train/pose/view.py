"""A picture's camera and a block's pose in it."""

from dataclasses import dataclass

import numpy as np

from simgen.geometry import Array, inverse

_DEVIATIONS = 3.0  # of a block's place
_TABLE_TOLERANCE = 0.02  # m: the accuracy of a table's measured edges


@dataclass(frozen=True)
class Pose:
    """`camera_from_block` (4, 4) m; the `covariance` (6, 6) of its rotation vector (rad), then its translation (m), both in
    the camera frame, propagated to first order from the keypoints' uncertainties; and the `misfit`, the root mean square of
    the keypoints' residuals in sigmas, about 1 for a good pose."""

    camera_from_block: Array
    covariance: Array
    misfit: float

    def inflated(self, factor: float) -> "Pose":
        """The same pose with standard deviations `factor` times as large."""
        return Pose(self.camera_from_block, factor**2 * self.covariance, self.misfit)


@dataclass(frozen=True)
class View:
    """A picture's camera.

    intrinsics         (3, 3) px
    distortion         (5,) or (9,): a lens of simgen/distortion.py
    camera_from_table  (4, 4) m, where the table's top is the plane z = 0; None if unknown
    table              (2, 2) m: the least and greatest X and Y of the table's top; None if unknown
    """

    intrinsics: Array
    distortion: Array
    camera_from_table: Array | None = None
    table: Array | None = None

    def resized(self, width: float, height: float) -> "View":
        """The camera of the picture resized by the factors `width` and `height`; pixel centers are at whole numbers."""
        matrix = self.intrinsics.copy()
        matrix[0] *= width
        matrix[1] *= height
        matrix[:2, 2] += [(width - 1) / 2, (height - 1) / 2]
        return View(matrix, self.distortion, self.camera_from_table, self.table)

    def off_table(self, pose: Pose) -> bool:
        """Whether the origin of a block in `pose` is beyond the table's edge by more than _DEVIATIONS of its standard
        deviations and more than _TABLE_TOLERANCE. No block can lie there."""
        if self.camera_from_table is None or self.table is None:
            return False
        table_from_camera = inverse(self.camera_from_table)
        axes = table_from_camera[:2, :3]
        place = axes @ pose.camera_from_block[:3, 3] + table_from_camera[:2, 3]
        beyond = np.maximum(self.table[0] - place, place - self.table[1])
        deviation = np.sqrt(np.diag(axes @ pose.covariance[3:, 3:] @ axes.T))
        return bool(np.any(beyond > np.maximum(_DEVIATIONS * deviation, _TABLE_TOLERANCE)))


def table_of(center: Array | None, size: Array | None) -> Array | None:
    """View.table of a table with `center` (2,) and `size` (2,) m; None if either is unknown."""
    return None if center is None or size is None else np.stack([center - size / 2, center + size / 2])


def pose_or_nan(pose: Array | None) -> Array:
    """(4, 4) `pose`; NaN if it is unknown, as in tensors."""
    return np.full((4, 4), np.nan) if pose is None else pose
