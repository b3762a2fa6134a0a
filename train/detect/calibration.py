"""What a find's confidence means: the chance that its pose is right, learnt from held-out simulated pictures alone.

The network's own score says how sure it is that a block of the kind is there. Whether the pose is right shows in more: how
well the keypoints fit a pose, and how sure each of them is. A logistic regression weighs these (Platt 1999), and its answer
is compared with what comes true on pictures that it has not seen.
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
FEATURES = ("score", "misfit", "sigma", "place")  # and of poses that are held against the picture evidence and margin
BINS = 15  # of confidence, where it is compared with what came true, as Guo et al. 2017 have them
LEAST = 50  # finds, and of right and wrong ones a tenth of it, that a calibration needs
_MORE = "train longer, or on more pictures: raise data.validation of a training, num of what is rendered to calibrate"
_PENALTY = 1e-4  # on the squared weights: keeps them finite where right and wrong can be told apart perfectly


@dataclass(frozen=True)
class Calibration:
    """The chance of `features` (..., F) being right is expit(bias + weights . (features - mean) / scale)."""

    mean: Array
    scale: Array
    weights: Array
    bias: float

    def chance(self, features: Array) -> Array:
        """(...) in [0, 1] for `features` (..., F)."""
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
        return Calibration(mean, scale, weights, float(bias))


def features_of(
    score: float, misfit: float, sigma_px: float, extent_px: float, place_m: float, diameter_m: float
) -> Array:
    """(4,) what FEATURES names: the logit of the score; the logarithms of the pose's misfit in sigmas, of the
    keypoints' mean sigma as a share of the block's extent in the picture, and of the pose's stated deviation of place
    as a share of the diameter."""
    score = min(max(score, 1e-6), 1 - 1e-6)
    ratios = misfit, sigma_px / max(extent_px, 1.0), place_m / diameter_m
    return np.array([np.log(score / (1 - score)), *np.log(np.clip(ratios, 1e-4, 1e4))])


def calibrate(features: Sequence[Array] | Array, right: Sequence[bool] | Array, where: str = "") -> Calibration:
    """The likeliest Calibration of finds with `features` (N, F), of which those in `right` (N,) were right; `where`, for
    errors, says what finds they are.

    Raises SimgenError where there are too few of either to tell.
    """
    given, truth = np.asarray(features, dtype=np.float64), np.asarray(right, dtype=bool)
    few = min(int(truth.sum()), int((~truth).sum()))
    if len(truth) < LEAST or few < LEAST // 10:
        raise SimgenError(
            f"confidence{where}: {len(truth)} finds on held-out pictures, {int(truth.sum())} of them right; expected at "
            f"least {LEAST} with {LEAST // 10} of each; {_MORE}"
        )
    mean, scale = given.mean(0), np.maximum(given.std(0), 1e-6)
    x = (given - mean) / scale
    sign = np.where(truth, 1.0, -1.0)

    def loss(values: Array) -> tuple[float, Array]:
        margin = sign * (values[0] + x @ values[1:])
        slope = -sign * expit(-margin) / len(x)
        gradient = np.concatenate([[slope.sum()], x.T @ slope + 2 * _PENALTY * values[1:]])
        return float(-log_expit(margin).mean() + _PENALTY * (values[1:] ** 2).sum()), gradient

    best = minimize(loss, np.zeros(1 + x.shape[1]), jac=True, method="L-BFGS-B")
    return Calibration(mean, scale, best.x[1:], float(best.x[0]))


def inflation(squares: Array, freedom: int) -> float:
    """By how much stated deviations must grow for the squared distances `squares` (N,), in stated deviations, of estimates
    in `freedom` dimensions to be as chi-square has them: their medians are made equal, which a few gross errors do not
    move. Raises SimgenError for fewer than LEAST of them."""
    if len(squares) < LEAST:
        raise SimgenError(
            f"uncertainty: {len(squares)} right finds on held-out pictures; expected at least {LEAST}; {_MORE}"
        )
    return float(np.sqrt(np.median(squares) / chi2.median(freedom)))


@dataclass(frozen=True)
class Inflation:
    """How many times the keypoints' uncertainties understate the pose's, by what was seen on held-out pictures: of free
    poses and of those on the table, both of finds that are right on the table, as the free pose's own error must not choose
    those that it is measured by. Keypoints of one block err together, which first order knows nothing of."""

    free: float = 1.0
    on_table: float = 1.0


@dataclass(frozen=True)
class Calibrations:
    """What tells the confidence of free poses and of those on the table, where it has been learnt: the latter are right more
    often, and more is known of them."""

    free: Calibration | None = None
    on_table: Calibration | None = None

    def to_json(self) -> dict[str, Any]:
        return {name: value and value.to_json() for name, value in vars(self).items()}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Calibrations":
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError for anything else."""
        return Calibrations(**{name: value and Calibration.from_json(value) for name, value in data.items()})
