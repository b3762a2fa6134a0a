"""Means over seeds and pictures with intervals, differences of pairs, and ranks."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import spearmanr
from scipy.stats import t as student

from simgen.draws import Draws
from simgen.geometry import Array

RESAMPLES = 2000


class Interval(NamedTuple):
    """A value with its 95% interval."""

    value: float
    low: float
    high: float


def mean_of(errors: Array, *, seed: int = 0) -> Interval:
    """The mean of `errors` (S, P) of S seeds and P pictures. The interval is the percentile bootstrap's, over seeds and
    pictures together: both are drawn with replacement (Davison and Hinkley 1997, section 3.8). With one seed it is over the
    pictures alone."""
    low, high = np.percentile(_resampled(errors, seed), [2.5, 97.5])
    return Interval(float(errors.mean()), float(low), float(high))


def difference_of(errors: Array, others: Array, *, seed: int = 0) -> Interval:
    """The mean of `errors` - `others`, both (S, P) of the same seeds and pictures, which are resampled in pairs."""
    return mean_of(errors - others, seed=seed)


def _resampled(errors: Array, seed: int) -> Array:
    """(RESAMPLES,) means of resampled rows and columns."""
    seeds, pictures = errors.shape
    draws = Draws(seed, np.arange(RESAMPLES)) / "transfer"
    rows, columns = (draws / "seeds").integers(seeds, seeds), (draws / "pictures").integers(pictures, pictures)
    return np.array([errors[row][:, column].mean() for row, column in zip(rows, columns, strict=True)])


def ranks_of(one: Sequence[float], other: Sequence[float], *, seed: int = 0) -> Interval:
    """Spearman's rank correlation of two columns over the same arms, with the bootstrap's interval over the arms. NaN with
    fewer than three arms."""
    a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if len(a) < 3:
        return Interval(np.nan, np.nan, np.nan)
    rows = (Draws(seed, np.arange(RESAMPLES)) / "transfer" / "arms").integers(len(a), len(a))
    values = [_spearman(a[row], b[row]) for row in rows]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return Interval(_spearman(a, b), float(low), float(high))


def _spearman(a: Array, b: Array) -> float:
    if np.ptp(a) == 0 or np.ptp(b) == 0:  # no order
        return np.nan
    return float(spearmanr(a, b).statistic)


def over_seeds(values: Sequence[float]) -> Interval:
    """The mean of one value a seed, with Student's 95% interval (1908); infinite for a single value."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, -np.inf, np.inf)
    half = float(student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return Interval(mean, mean - half, mean + half)


def shared(results: Mapping[int, Mapping[str, float]]) -> tuple[Array, list[str]]:
    """The errors (S, P) of the pictures that all seeds have, by seed and in the order of their names, and the names."""
    names = sorted(set.intersection(*(set(one) for one in results.values())))
    return np.array([[one[name] for name in names] for _, one in sorted(results.items())]), names


def rounded(interval: Interval) -> dict[str, Any]:
    """JSON values; null where there is no number."""
    return {name: round(value, 4) if np.isfinite(value) else None for name, value in interval._asdict().items()}
