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

    `score` in [0, 1] is the product of the `probabilities` (4,): the heat, and the probabilities of being a block, of
    its kind, and of having its size. `agreement` is the mean logarithm of the density per cell that the keypoints' maps
    have where the pose puts the keypoints. `confidence` is the probability that the pose is right; the score if the
    detector is not calibrated for such poses. keypoints (K, 2) and their standard deviations `sigma` (K,) are in px of
    the picture. `on_table` states whether the `pose` is restricted to a known table's plane. Of a symmetric block,
    `train.detect.equivalent` may replace the pose by an equivalent one, but not the keypoints.
    """

    kind: Kind
    score: float
    confidence: float
    probabilities: Array
    agreement: float
    keypoints: Array
    sigma: Array
    pose: Pose
    on_table: bool

    @property
    def features(self) -> Array:
        """(8,) the input of the confidence's calibration, see FEATURES."""
        return features_of(
            self.probabilities,
            self.agreement,
            self.pose.misfit,
            float(self.sigma.mean()),
            float(np.ptp(self.keypoints, axis=0).max()),
            float(np.sqrt(np.trace(self.pose.covariance[3:, 3:]))),
            self.kind.diameter,
        )


@dataclass(frozen=True)
class Seen:
    """What a picture shows: its `detections`, greatest confidence first; and its `familiarity` in [0, 1], None if the
    detector has no held-out pictures to compare with."""

    detections: list[Detection]
    familiarity: float | None
