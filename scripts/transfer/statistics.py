"""Means over seeds and pictures with intervals, differences of pairs, and ranks."""

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
    """The mean of the `finished` part of `errors` (S, P) of S seeds and P pictures, with Student's interval.

    Seeds and pictures are crossed random effects: the variance of the mean is that of the seeds' means over S, plus that of
    the pictures' means over P, less that of what is left over S P, which both contain (Searle et al. 1992, section 4.7). The
    degrees of freedom are Satterthwaite's (1946) of the first two. A bootstrap of three seeds never leaves their range. With
    one seed nothing is known of others, and the interval is over the pictures alone.
    """
    errors = finished(errors)
    seeds, pictures = errors.shape
    if errors.size == 0:
        return Interval(np.nan, np.nan, np.nan)
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


def finished(errors: Array) -> Array:
    """`errors` (S, P), in which what was not measured is NaN, without the seeds that have nothing, and without the pictures
    that one of the others lacks."""
    some = errors[np.isfinite(errors).any(1)]
    return np.asarray(some[:, np.isfinite(some).all(0)])


def ranks_of(one: Array, other: Array) -> Interval:
    """Spearman's rank correlation of the mean errors of A arms in two columns, `one` (A, S, P) and `other` (A, S, Q),
    NaN where nothing was measured, with the bootstrap's interval over arms, seeds and pictures. NaN with fewer than three
    arms. It is the correlation of these trained models: what chance gives one of them is in both columns.
    """
    if len(one) < 3:
        return Interval(np.nan, np.nan, np.nan)
    draws = Draws(0, np.arange(RESAMPLES)) / "transfer"
    arms = (draws / "arms").integers(len(one), len(one))
    seeds = _counted((draws / "seeds").integers(one.shape[1], one.shape[1]), one.shape[1])
    means = []
    for number, errors in enumerate((one, other)):
        count = errors.shape[2]
        pictures = _counted((draws / "pictures" / number).integers(count, count), count)
        measured = np.isfinite(errors)
        sums, counts = (
            np.einsum("rs,asp,rp->ra", seeds, part, pictures, optimize=True)
            for part in (np.where(measured, errors, 0.0), measured.astype(np.float64))
        )
        means.append(sums / np.where(counts > 0, counts, np.nan))
    values = [_spearman(a[row], b[row]) for a, b, row in zip(*means, arms, strict=True)]
    low, high = np.nanpercentile(values, [2.5, 97.5]) if np.isfinite(values).any() else (np.nan, np.nan)
    return Interval(_spearman(*(np.nanmean(part, axis=(1, 2)) for part in (one, other))), float(low), float(high))


def _counted(rows: Array, count: int) -> Array:
    """(R, count) how often each of `count` numbers is in each of `rows` (R, n)."""
    counts = np.zeros((len(rows), count))
    np.add.at(counts, (np.arange(len(rows))[:, None], rows), 1)
    return counts


def _spearman(a: Array, b: Array) -> float:
    known = np.isfinite(a) & np.isfinite(b)
    a, b = a[known], b[known]
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:  # no order
        return np.nan
    return float(spearmanr(a, b).statistic)


def rounded(interval: Interval) -> dict[str, Any]:
    """JSON values; null where there is no number."""
    return {name: round(value, 4) if np.isfinite(value) else None for name, value in interval._asdict().items()}
