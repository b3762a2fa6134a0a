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


def mean_of(errors: Array) -> Interval:
    """The mean of `errors` (S, P) of S seeds and P pictures, which are the same for all seeds, with Student's interval.

    Seeds and pictures are crossed random effects: the variance of the mean is that of the seeds' means over S, plus that of
    the pictures' means over P, less that of what is left over S P, which both contain (Searle et al. 1992, section 4.7). The
    degrees of freedom are Satterthwaite's (1946) of the first two. A bootstrap of three seeds never leaves their range. With
    one seed nothing is known of others, and the interval is over the pictures alone.
    """
    seeds, pictures = errors.shape
    mean, of_seeds, of_pictures = float(errors.mean()), errors.mean(1), errors.mean(0)
    a = float(of_seeds.var(ddof=1)) / seeds if seeds > 1 else 0.0
    b = float(of_pictures.var(ddof=1)) / pictures if pictures > 1 else 0.0
    rest = errors - of_seeds[:, None] - of_pictures + mean
    both = float((rest**2).sum()) / max(1, (seeds - 1) * (pictures - 1)) / (seeds * pictures) if seeds > 1 else 0.0
    variance = max(a + b - both, a, b)
    if variance == 0:
        return Interval(mean, mean, mean)
    free = (a + b) ** 2 / ((a**2 / (seeds - 1) if seeds > 1 else 0) + (b**2 / (pictures - 1) if pictures > 1 else 0))
    half = float(student.ppf(0.975, free)) * variance**0.5
    return Interval(mean, mean - half, mean + half)


def difference_of(errors: Array, others: Array) -> Interval:
    """The mean of `errors` - `others`, both (S, P) of the same seeds and pictures: what pairs have in common cancels."""
    if errors.shape != others.shape:
        raise ValueError(f"errors of {errors.shape} and {others.shape} seeds and pictures are no pairs")
    return mean_of(errors - others)


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


def shared(results: Mapping[int, Mapping[str, float]]) -> tuple[Array, list[str]]:
    """The errors (S, P) of the pictures that all seeds have, by seed and in the order of their names, and the names."""
    names = sorted(set.intersection(*(set(one) for one in results.values())))
    return np.array([[one[name] for name in names] for _, one in sorted(results.items())]), names


def rounded(interval: Interval) -> dict[str, Any]:
    """JSON values; null where there is no number."""
    return {name: round(value, 4) if np.isfinite(value) else None for name, value in interval._asdict().items()}
