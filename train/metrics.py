"""Metrics of poses, detections and confidence, as pure functions of NumPy arrays.

Poses are camera_from_block (4, 4) m, of the estimate and of the truth; points (V, 3) m are on the block's surface, in the
block frame; symmetries (S, 4, 4) are block_from_block and include the identity, a continuous one is a set of rotations.
Invalid arguments raise ValueError. The pose errors are those of the BOP benchmark (Hodan et al. 2018, 2020).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from simgen.draws import Draws
from simgen.geometry import Array, project, transform_points

RESAMPLES = 2000
_MOST_AT_ONCE = 1_000_000  # resampled errors in memory: some 50 MB
STATISTICS: dict[str, Callable[[Array], Array]] = {
    "mean": lambda errors: errors.mean(-1),
    "median": lambda errors: np.median(errors, axis=-1),
    "percentile_90": lambda errors: np.percentile(errors, 90, axis=-1),
    "max": lambda errors: errors.max(-1),
    "share_under_1_cm": lambda errors: (errors < 1).mean(-1),
    "share_under_2_cm": lambda errors: (errors < 2).mean(-1),
    "share_under_5_cm": lambda errors: (errors < 5).mean(-1),
}


def xy_errors(predicted: Array, truth: Array) -> Array:
    """Distances (N,) along the table between `predicted` (N, 2 or 3) and `truth` (N, 2 or 3), in their unit."""
    return np.asarray(np.hypot(predicted[:, 0] - truth[:, 0], predicted[:, 1] - truth[:, 1]))


def median_of(errors: Sequence[float]) -> float | None:
    """The median of `errors`, infinite for misses; None if it is infinite or there are no errors."""
    median = float(np.median(errors)) if len(errors) else np.inf
    return median if np.isfinite(median) else None


def summary(errors_cm: Array, *, seed: int = 0) -> dict[str, dict[str, float]]:
    """Each of `STATISTICS` of `errors_cm` (N,), N >= 1: its value, and low and high of its 95% interval.

    The interval is the percentile bootstrap's (Efron and Tibshirani 1993, chapter 13) over `RESAMPLES` resamples. The
    resamples are f(seed, N), so two methods on the same N pictures are resampled alike.
    """
    count = len(errors_cm)
    each = max(1, _MOST_AT_ONCE // count)
    parts: dict[str, list[Array]] = {name: [] for name in STATISTICS}
    for first in range(0, RESAMPLES, each):
        draws = Draws(seed, np.arange(first, min(first + each, RESAMPLES))) / "bootstrap"
        resampled = errors_cm[draws.integers(count, count)]
        for name, statistic in STATISTICS.items():
            parts[name].append(statistic(resampled))
    result = {}
    for name, statistic in STATISTICS.items():
        low, high = np.percentile(np.concatenate(parts[name]), [2.5, 97.5])
        result[name] = {"value": float(statistic(errors_cm)), "low": float(low), "high": float(high)}
    return result


class PrecisionRecall(NamedTuple):
    """`scores` (P,) are the distinct scores in descending order; `precision` and `recall` (P,) are those of all detections
    with at least that score."""

    scores: Array
    precision: Array
    recall: Array
    average_precision: float


class RiskCoverage(NamedTuple):
    """`risk` (N,) is the mean error of the share `coverage` (N,) of estimates with the greatest confidence; `area` is the
    area under that curve."""

    coverage: Array
    risk: Array
    area: float


def rotation_error(estimate: Array, truth: Array, symmetries: Array) -> float:
    """The rotation angle in rad between truth and estimate, the least over all `symmetries`."""
    estimate, truths = _pose("estimate", estimate), _symmetric(truth, symmetries)
    relative = estimate[:3, :3].T @ truths[:, :3, :3]
    # The arccosine of the trace alone would lose half of the digits near 0 and near half a turn.
    skew = relative - np.swapaxes(relative, -1, -2)
    sine, cosine = np.linalg.norm(skew, axis=(-2, -1)) / np.sqrt(2), np.trace(relative, axis1=-2, axis2=-1) - 1
    return float(np.arctan2(sine, cosine).min())


def translation_error(estimate: Array, truth: Array) -> float:
    """The distance in m between the block's origins in both poses."""
    return float(np.linalg.norm(_pose("estimate", estimate)[:3, 3] - _pose("truth", truth)[:3, 3]))


def adds(estimate: Array, truth: Array, points: Array) -> float:
    """ADD-S, also ADI, in m: the mean distance from each point in the true pose to the nearest point in the estimated one
    (Hinterstoisser et al. 2012)."""
    a, b = _moved(estimate, truth, points)
    return float(cKDTree(a).query(b)[0].mean())


def mspd(estimate: Array, truth: Array, points: Array, symmetries: Array, intrinsics: Array) -> float:
    """Maximum symmetry-aware projection distance, in px, through `intrinsics` (3, 3) (Hodan et al. 2020).

    Infinite for an estimate that has a point behind the camera: it has no projection.
    """
    return float(_pixel_distances(estimate, _symmetric(truth, symmetries), points, intrinsics).max(-1).min())


def reprojection_error(estimate: Array, truth: Array, points: Array, symmetries: Array, intrinsics: Array) -> float:
    """The mean distance, in px, between the projections of the points in both poses, the least over all `symmetries`
    (Brachmann et al. 2016); the other arguments and an infinite value are as in `mspd`."""
    return float(_pixel_distances(estimate, _symmetric(truth, symmetries), points, intrinsics).mean(-1).min())


def auc(errors: Array, greatest: float) -> float:
    """The area under the curve, in [0, 1], of the share of `errors` (...) below a threshold that goes from 0 to `greatest`.

    For ADD and ADD-S, Xiang et al. 2018 (PoseCNN) use 0.1 m. This is the exact area; their program places each step of the
    curve one error too early, and so gives up to 1/N more for N errors.
    """
    _positive(greatest=greatest)
    return float(np.maximum(0, 1 - _errors(errors) / greatest).mean())


def match(scores: Array, costs: Array, limit: float) -> NDArray[np.int64]:
    """For each detection (D,) the number of the truth that is matched to it, or -1.

    Greedy matching, as in BOP (Hodan et al. 2018): in descending order of `scores` (D,), the earlier one first if they are
    equal, each detection is matched to the remaining truth with the least of its `costs` (D, T), if that is below `limit`. D
    and T may be 0.
    """
    scores = _array("scores", scores, "D", least=0)
    costs = _array("costs", costs, len(scores), "T", least=0, infinite=True)
    if np.isnan(limit):
        raise ValueError("limit: expected a number, not NaN")
    matched = np.full(len(scores), -1)
    costs = costs.copy()
    if costs.shape[1] > 0:
        for detection in np.argsort(-scores, kind="stable"):
            nearest = int(costs[detection].argmin())
            if costs[detection, nearest] < limit:
                matched[detection] = nearest
                costs[:, nearest] = np.inf
    return matched


def precision_recall(scores: Array, right: NDArray[np.bool_], truths: int) -> PrecisionRecall:
    """Precision and recall of detections with `scores` (D,), `right` (D,) if matched to one of `truths` truths.

    Average precision is the exact area under the interpolated precision, which is the greatest precision at the same or a
    greater recall: as in PASCAL VOC since 2010 (Everingham et al. 2015), not COCO's mean at 101 points. Detections of equal
    score count as one step.
    """
    scores = _array("scores", scores, "D", least=0)
    right = _flags("right", right, len(scores))
    if truths < 1 or right.sum() > truths:
        raise ValueError(f"truths: expected at least 1, and as many as are right ({right.sum()}), not {truths}")
    order = np.argsort(-scores)
    last = np.flatnonzero(np.diff(scores[order], append=-np.inf))  # of each score
    hits = np.cumsum(right[order])[last]
    precision, recall = hits / (last + 1), hits / truths
    monotone = np.maximum.accumulate(precision[::-1])[::-1]
    area = float(np.sum(np.diff(recall, prepend=0.0) * monotone))
    return PrecisionRecall(scores[order][last], precision, recall, area)


def expected_calibration_error(confidence: Array, right: NDArray[np.bool_], bins: int) -> float:
    """The expected calibration error of `confidence` (N,) in [0, 1]: the mean difference to the share that is `right` (N,).

    Guo et al. 2017, with `bins` of equal width, which exclude their lower and include their upper end; 0 is in the first.
    """
    confidence = _array("confidence", confidence, "N")
    if confidence.min() < 0 or confidence.max() > 1:
        raise ValueError(f"confidence: expected from 0 to 1, not {confidence.min()} to {confidence.max()}")
    right = _flags("right", right, len(confidence))
    if bins < 1:
        raise ValueError(f"bins: expected at least 1, not {bins}")
    bin_of = np.searchsorted(np.arange(1, bins) / bins, confidence)
    gaps = np.bincount(bin_of, weights=confidence - right)  # a bin's count times its gap
    return float(np.abs(gaps).sum() / len(confidence))


def brier_skill(confidence: Array, right: NDArray[np.bool_]) -> float:
    """The Brier skill of `confidence` (N,) in [0, 1] for the outcomes `right` (N,): 1 - score / score of the base rate.

    1 is perfect, 0 is as good as the base rate (the share that is right) as a constant confidence, negative is worse (Brier
    1950, Murphy 1973). A constant at the base rate has no calibration error but no skill. NaN if all or none are right.
    """
    confidence = _array("confidence", confidence, "N")
    right = _flags("right", right, len(confidence))
    spread = right.mean() * (1 - right.mean())
    return float(1 - ((confidence - right) ** 2).mean() / spread) if spread > 0 else float("nan")


def risk_coverage(confidence: Array, errors: Array) -> RiskCoverage:
    """The risk-coverage curve: the mean of `errors` (N,) over the k estimates of greatest `confidence` (N,), k = 1 ... N.

    El-Yaniv and Wiener 2010; the area is the mean risk over the N coverages (Geifman et al. 2019). Estimates of equal
    confidence count with their mean error each, which is the expectation over all their orders.
    """
    confidence = _array("confidence", confidence, "N")
    errors = _array("errors", errors, len(confidence))
    _, level, counts = np.unique(-confidence, return_inverse=True, return_counts=True)
    means = np.bincount(level, weights=errors) / counts
    kept = np.arange(1, len(errors) + 1)
    risk = np.cumsum(np.repeat(means, counts)) / kept
    return RiskCoverage(kept / len(errors), risk, float(risk.mean()))


def _array(name: str, value: Any, *shape: int | str, least: int = 1, infinite: bool = False) -> Array:
    """`value` as float64 with `shape`, in which a letter is any length of at least `least`. Raises ValueError for another
    shape and for NaN."""
    array = np.asarray(value, dtype=np.float64)
    fits = [n >= least if isinstance(want, str) else n == want for n, want in zip(array.shape, shape, strict=False)]
    if array.ndim != len(shape) or not all(fits):
        letters = [want for want in shape if isinstance(want, str)]
        about = f", {' and '.join(letters)} at least {least}" if letters else ""
        wanted = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
        raise ValueError(f"{name}: expected shape ({wanted}){about}, not {array.shape}")
    if np.isnan(array).any() or not (infinite or np.isfinite(array).all()):
        raise ValueError(f"{name}: expected {'no NaN' if infinite else 'finite numbers'}")
    return array


def _flags(name: str, value: Any, *shape: int) -> NDArray[np.bool_]:
    flags = np.asarray(value)
    if flags.shape != shape or (flags.dtype != np.bool_ and flags.size):
        raise ValueError(f"{name}: expected shape {shape} of bool, not {flags.shape} of {flags.dtype}")
    return flags.astype(np.bool_)


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < np.inf:
            raise ValueError(f"{name}: expected more than 0 and finite, not {value}")


def _errors(errors: Array) -> Array:
    """`errors` as an array of any shape. Raises ValueError if it is empty or has NaN or negative values; inf is valid."""
    errors = np.asarray(errors, dtype=np.float64)
    if errors.size == 0 or not (errors >= 0).all():
        raise ValueError("errors: expected at least one, none NaN and none below 0")
    return errors


def _pose(name: str, pose: Array) -> Array:
    return _array(name, pose, 4, 4)


def _symmetric(truth: Array, symmetries: Array) -> Array:
    """The poses (S, 4, 4) that are equivalent to `truth` by symmetry."""
    return np.asarray(_pose("truth", truth) @ _array("symmetries", symmetries, "S", 4, 4))


def _moved(estimate: Array, truth: Array, points: Array) -> tuple[Array, Array]:
    points = _array("points", points, "V", 3)
    return transform_points(_pose("estimate", estimate), points), transform_points(_pose("truth", truth), points)


def _pixel_distances(estimate: Array, truths: Array, points: Array, intrinsics: Array) -> Array:
    """(S, V) px between the projections of `points` in the estimated pose and in each of `truths` (S, 4, 4)."""
    points, intrinsics = _array("points", points, "V", 3), _array("intrinsics", intrinsics, 3, 3)
    true = project(transform_points(truths, points), intrinsics)
    if np.isnan(true).any():
        raise ValueError("truth: expected every point before the camera")
    guess = project(transform_points(_pose("estimate", estimate), points), intrinsics)
    distances = np.linalg.norm(guess - true, axis=-1)
    return np.where(np.isnan(distances), np.inf, distances)
