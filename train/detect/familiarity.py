"""How much a picture resembles those of the training: a low value warns that its detections are not to be trusted.

The detection network's features of a picture, averaged over it, are compared with those of held-out simulated pictures by
their Mahalanobis distance (Lee et al. 2018, "A Simple Unified Framework for Detecting Out-of-Distribution Samples"). The
familiarity is the share of other held-out pictures that are at least as far away: among pictures like these it is uniform
from 0 to 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simgen.geometry import Array

LEAST = 100  # pictures, for the axes and for the distances
STRANGE = 0.01  # a picture with a lower familiarity is reported
_AXES = 32  # the greatest number of directions
_FLAT = 1e-6  # the least standard deviation, so that pictures which are all alike have distances, too
_LEVELS = 3, 4, 5  # the backbone's stages whose outputs are averaged


@dataclass(frozen=True)
class Familiarity:
    """mean (F,) of the features of simulated pictures; directions (F, k), orthonormal, in which they differ most, with their
    standard deviations spread (k,); `rest`, the mean squared length of what these leave out; distances (N,) of other
    simulated pictures."""

    mean: Array
    directions: Array
    spread: Array
    rest: float
    distances: Array

    def of(self, features: Array) -> float:
        """The share in [0, 1] of simulated pictures that are at least as far from the mean as one with `features` (F,)."""
        return float(np.mean(self.distances >= _distance(self, features)))

    def to_json(self) -> dict[str, Any]:
        """JSON values with six significant digits."""
        short = np.vectorize(lambda value: float(f"{value:.6g}"), otypes=[float])
        return {name: short(value).tolist() for name, value in vars(self).items()}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Familiarity":
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError for anything else."""
        mean, directions, spread, distances = (
            np.array(data[name], dtype=np.float64) for name in ("mean", "directions", "spread", "distances")
        )
        return Familiarity(mean, directions, spread, float(data["rest"]), distances)


def features_of_levels(levels: Sequence[Tensor]) -> Tensor:
    """(B, F) the means and standard deviations over each picture of the outputs `levels` of the backbone's stages."""
    parts = [levels[level].float().flatten(2) for level in _LEVELS]
    return torch.cat([number for part in parts for number in (part.mean(2), part.std(2).clamp_min(1e-6).log())], 1)


def fit_familiarity(features: Array, others: Array) -> Familiarity | None:
    """The Familiarity with the axes of the pictures with `features` (M, F) and the distances of `others` (N, F); None if
    there are fewer than LEAST of either."""
    if min(len(features), len(others)) < LEAST:
        return None
    mean = features.mean(0)
    _, spread, rows = np.linalg.svd((features - mean) / np.sqrt(len(features)), full_matrices=False)
    count = min(_AXES, len(features) // 4)
    spread = spread.clip(_FLAT)
    fitted = Familiarity(mean, rows[:count].T, spread[:count], float((spread[count:] ** 2).sum()), np.zeros(0))
    return replace(fitted, distances=np.sort([_distance(fitted, one) for one in others]))


def _distance(fitted: Familiarity, features: Array) -> float:
    """The squared distance of `features` (F,) from the mean: along the axes in standard deviations, and for the rest
    relative to its mean square, which counts as much as one axis."""
    off = features - fitted.mean
    along = off @ fitted.directions
    outside = max((off**2).sum() - (along**2).sum(), 0.0)
    return float(((along / fitted.spread) ** 2).sum() + outside / fitted.rest)
