"""Confidence of detections: the probability that the pose is right, calibrated on held-out simulated pictures alone.

The network's score measures only whether a block of the kind is present. How well the keypoints fit a pose and how
uncertain they are also predict whether the pose is right. A logistic regression combines these features (Platt 1999). Its
calibration error is measured on other held-out pictures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit
from scipy.stats import chi2

from simgen.errors import SimgenError
from simgen.geometry import Array

RIGHT = 0.1  # of the diameter: a pose is right if ADD-S is under this (Hinterstoisser et al. 2012)
FEATURES = ("heat", "block", "kind", "sized", "misfit", "sigma", "place", "agreement")
BINS = 15  # of confidence, for the expected calibration error (Guo et al. 2017)
LEAST = 50  # detections that a calibration needs; a tenth of it of right and of wrong ones
_MORE = "train longer or use more pictures (data.validation of a training, num of a dataset rendered to calibrate)"
_PENALTY = 1e-4  # on the squared weights: keeps them finite if right and wrong are linearly separable


@dataclass(frozen=True)
class Calibration:
    """A detection with `features` (..., F) is right with probability expit(bias + weights . (features - mean) / scale)."""

    mean: Array
    scale: Array
    weights: Array
    bias: float

    def probability(self, features: Array) -> Array:
        """(...) the probability in [0, 1] that a detection with `features` (..., F) is right."""
        return np.asarray(expit(self.bias + (features - self.mean) / self.scale @ self.weights))

    def to_json(self) -> dict[str, list[float]]:
        return {
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
            "weights": self.weights.tolist(),
            "bias": [self.bias],
        }

    @staticmethod
    def from_json(data: dict[str, list[float]]) -> "Calibration":
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError for anything else."""
        (bias,) = data["bias"]
        mean, scale, weights = (np.array(data[name], dtype=np.float64) for name in ("mean", "scale", "weights"))
        if not len(mean) == len(scale) == len(weights) == len(FEATURES):
            raise ValueError(f"{len(weights)} weights; expected {len(FEATURES)}")
        return Calibration(mean, scale, weights, float(bias))


def features_of(
    probabilities: Array,
    agreement: float,
    misfit: float,
    sigma_px: float,
    extent_px: float,
    place_m: float,
    diameter_m: float,
) -> Array:
    """(8,) the FEATURES: the logits of Detection.probabilities (4,); the logarithms of the pose's misfit in sigmas, of the
    keypoints' mean sigma over the block's extent in the picture, and of the standard deviation of the pose's position over
    the diameter; and Detection.agreement."""
    probabilities = np.clip(probabilities, 1e-4, 1 - 1e-4)
    ratios = misfit, sigma_px / max(extent_px, 1.0), place_m / diameter_m
    logits = np.log(probabilities / (1 - probabilities))
    return np.concatenate([logits, np.log(np.clip(ratios, 1e-4, 1e4)), [agreement]])


def calibrate(features: Sequence[Array] | Array, right: Sequence[bool] | Array, where: str = "") -> Calibration:
    """The Calibration of greatest likelihood for N detections with `features` (N, F), `right` (N,) or not. `where` follows
    "confidence" in error messages and names the detections.

    Raises SimgenError if there are too few right or too few wrong ones.
    """
    values, truth = np.asarray(features, dtype=np.float64), np.asarray(right, dtype=bool)
    few = min(int(truth.sum()), int((~truth).sum()))
    if len(truth) < LEAST or few < LEAST // 10:
        raise SimgenError(
            f"confidence{where}: {len(truth)} detections on held-out pictures, {int(truth.sum())} of them right; expected "
            f"at least {LEAST}, among them {LEAST // 10} right and {LEAST // 10} wrong ones; {_MORE}"
        )
    mean, scale = values.mean(0), np.maximum(values.std(0), 1e-6)
    x = (values - mean) / scale
    sign = np.where(truth, 1.0, -1.0)

    def loss(parameters: Array) -> tuple[float, Array]:
        margin = sign * (parameters[0] + x @ parameters[1:])
        slope = -sign * expit(-margin) / len(x)
        gradient = np.concatenate([[slope.sum()], x.T @ slope + 2 * _PENALTY * parameters[1:]])
        return float(-log_expit(margin).mean() + _PENALTY * (parameters[1:] ** 2).sum()), gradient

    best = minimize(loss, np.zeros(1 + x.shape[1]), jac=True, method="L-BFGS-B")
    return Calibration(mean, scale, best.x[1:], float(best.x[0]))


def inflation(squares: Array, freedom: int) -> float:
    """The factor by which predicted standard deviations are to be multiplied. `squares` (N,) are the squared Mahalanobis
    distances of N estimates in `freedom` dimensions from the truth. The factor makes their median that of the chi-square
    distribution, which gross errors hardly affect. Raises SimgenError for fewer than LEAST estimates."""
    if len(squares) < LEAST:
        raise SimgenError(
            f"uncertainty: {len(squares)} right detections on held-out pictures; expected at least {LEAST}; {_MORE}"
        )
    return float(np.sqrt(np.median(squares) / chi2.median(freedom)))


@dataclass(frozen=True)
class Inflation:
    """The factors by which the standard deviations of `free` poses and of poses `on_table` are multiplied, fitted on
    held-out pictures. They are needed because first-order propagation ignores that the errors of a block's keypoints are
    correlated. Both are fitted to detections that are right on the table: to select by the free pose's own error would
    bias its factor."""

    free: float = 1.0
    on_table: float = 1.0


@dataclass(frozen=True)
class Calibrations:
    """The calibrations of free poses and of poses on the table, None if not fitted. They are separate because poses on the
    table are right more often."""

    free: Calibration | None = None
    on_table: Calibration | None = None

    def to_json(self) -> dict[str, Any]:
        return {name: value and value.to_json() for name, value in vars(self).items()}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Calibrations":
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError for anything else."""
        return Calibrations(**{name: value and Calibration.from_json(value) for name, value in data.items()})
