"""Errors of positions and how sure they are: pure functions of numpy arrays."""

from collections.abc import Callable, Sequence

import numpy as np

from simgen.draws import Draws
from simgen.geometry import Array

RESAMPLES = 2000

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
    """The median of `errors`, infinite for what was not found; None where it is infinite, or of none."""
    median = float(np.median(errors)) if len(errors) else np.inf
    return median if np.isfinite(median) else None


def summary(errors_cm: Array, *, seed: int = 0) -> dict[str, dict[str, float]]:
    """Each of `STATISTICS` of `errors_cm` (N,), N >= 1: its value, and low and high of its 95% interval.

    The interval is the percentile bootstrap's (Efron and Tibshirani 1993, chapter 13) over `RESAMPLES` resamples. The
    resamples are f(seed, N), so two methods on the same N pictures are resampled alike.
    """
    count = len(errors_cm)
    draws = Draws(seed, np.arange(RESAMPLES)) / "bootstrap"
    resampled = errors_cm[draws.integers(count, count)]
    result = {}
    for name, statistic in STATISTICS.items():
        low, high = np.percentile(statistic(resampled), [2.5, 97.5])
        result[name] = {"value": float(statistic(errors_cm)), "low": float(low), "high": float(high)}
    return result
