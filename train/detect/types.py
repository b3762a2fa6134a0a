"""What a detector finds in a picture."""

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
    """One block: its `kind`, `score` in [0, 1] (how much the network's heat and its choice of kind say so),
    `confidence` (the chance that the pose is right; the score itself where the detector has not been calibrated for such),
    keypoints (K, 2) px of the picture with their `sigma` (K,) px, the pose from these alone, and that on the table
    where the view knows one. A detector that holds poses against the picture has moved the latter to the edges there: its
    covariance is still what the keypoints imply, grown by what was seen of moved poses on held-out pictures, and its misfit
    how far it was moved from them. `edges` (2,) are then the evidence and the margin of train.pose.refine.Held."""

    kind: Kind
    score: float
    confidence: float
    keypoints: Array
    sigma: Array
    free: Pose
    on_table: Pose | None
    edges: Array | None = None

    @property
    def pose(self) -> Pose:
        """The best there is."""
        return self.on_table or self.free

    @property
    def features(self) -> Array:
        """(4,) what the confidence is made of; (6,) of a pose that was held against the picture."""
        own = features_of(
            self.score,
            self.pose.misfit,
            float(self.sigma.mean()),
            float(np.ptp(self.keypoints, axis=0).max()),
            float(np.sqrt(np.trace(self.pose.covariance[3:, 3:]))),
            self.kind.diameter,
        )
        return own if self.edges is None else np.concatenate([own, self.edges])
