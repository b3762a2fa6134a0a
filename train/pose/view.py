"""A picture's camera and a block's pose in it."""

from dataclasses import dataclass

import numpy as np

from simgen.geometry import Array, inverse

_SURELY = 3.0  # deviations
_MISMEASURED = 0.02  # m


@dataclass(frozen=True)
class Pose:
    """`camera_from_block` (4, 4) m. `covariance` (6, 6): of its rotation vector (rad), then its translation (m), both
    in the camera frame, as the keypoints' uncertainties imply to first order. `misfit`: how far the keypoints are from
    where the pose puts them, as the root of the mean square in sigmas; about 1 where all is well."""

    camera_from_block: Array
    covariance: Array
    misfit: float

    def inflated(self, factor: float) -> "Pose":
        """The same with deviations `factor` times as large."""
        return Pose(self.camera_from_block, factor**2 * self.covariance, self.misfit)


@dataclass(frozen=True)
class View:
    """A picture's camera.

    intrinsics         (3, 3) px
    distortion         (5,) or (9,): a lens of simgen/distortion.py
    camera_from_table  (4, 4) m, where the table's top is the plane z = 0; None where it is not known
    table              (2, 2) m: the least and greatest X and Y of the table's top; None where they are not known
    """

    intrinsics: Array
    distortion: Array
    camera_from_table: Array | None = None
    table: Array | None = None

    def resized(self, width: float, height: float) -> "View":
        """The camera of the picture made `width` and `height` times as large; pixel centers are at whole numbers."""
        matrix = self.intrinsics.copy()
        matrix[0] *= width
        matrix[1] *= height
        matrix[:2, 2] += [(width - 1) / 2, (height - 1) / 2]
        return View(matrix, self.distortion, self.camera_from_table, self.table)

    def off_table(self, pose: Pose) -> bool:
        """Whether the middle of a block in `pose` is beyond the table's edge, farther than its uncertainty allows
        (_SURELY deviations) and than a table is mismeasured (_MISMEASURED). Nothing can lie there."""
        if self.camera_from_table is None or self.table is None:
            return False
        table_from_camera = inverse(self.camera_from_table)
        axes = table_from_camera[:2, :3]
        place = axes @ pose.camera_from_block[:3, 3] + table_from_camera[:2, 3]
        beyond = np.maximum(self.table[0] - place, place - self.table[1])
        deviation = np.sqrt(np.diag(axes @ pose.covariance[3:, 3:] @ axes.T))
        return bool(np.any(beyond > np.maximum(_SURELY * deviation, _MISMEASURED)))


def table_of(center: Array | None, size: Array | None) -> Array | None:
    """View.table of a table by its `center` (2,) and `size` (2,) m; None where either is not known."""
    return None if center is None or size is None else np.stack([center - size / 2, center + size / 2])


def pose_or_nan(pose: Array | None) -> Array:
    """(4, 4) `pose`, and NaN for one that is unknown: as tensors have it."""
    return np.full((4, 4), np.nan) if pose is None else pose
