"""The detector's output: one Detection for each block."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simgen.geometry import Array
from train.blocks.kinds import Kind
from train.detect.calibration import features_of
from train.pose.view import Pose

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Detection:
    """A detected block of `kind`.

    `score` in [0, 1] is the heat times the probability of the kind. `confidence` is the probability that the pose is
    right; the score if the detector is not calibrated for such poses. keypoints (K, 2) and their standard deviations
    `sigma` (K,) are in px of the picture. `free` is the pose from the keypoints alone, None where PnP fails, as for distant
    small blocks. `on_table` is the pose restricted to the table plane, None without a known table. At least one is a pose.

    With edge-based refinement `on_table` is the refined pose. Its covariance is still that of the keypoints, scaled by a
    factor fitted to refined poses on held-out pictures, and its misfit is its distance from the keypoints. `edges` (2,) are
    then the refinement's evidence and margin (train.pose.refine), else None.
    """

    kind: Kind
    score: float
    confidence: float
    keypoints: Array
    sigma: Array
    free: Pose | None
    on_table: Pose | None
    edges: Array | None = None

    @property
    def pose(self) -> Pose:
        """`on_table` if it is known, else `free`."""
        pose = self.on_table or self.free
        assert pose is not None
        return pose

    @property
    def features(self) -> Array:
        """(4,) the input of the confidence's calibration, see FEATURES; (6,) with `edges` for a refined pose."""
        features = features_of(
            self.score,
            self.pose.misfit,
            float(self.sigma.mean()),
            float(np.ptp(self.keypoints, axis=0).max()),
            float(np.sqrt(np.trace(self.pose.covariance[3:, 3:]))),
            self.kind.diameter,
        )
        return features if self.edges is None else np.concatenate([features, self.edges])
