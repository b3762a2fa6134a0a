"""Packs the values of one factor for the page, in bins with round edges.

A value is stored as the number of its bin and its place within the bin, rounded down. So the page shows values to about
1/60,000 of their range, or finer, and a filter by whole bins is exact: it selects the values v with low <= v < high.
"""

import base64
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simgen.dataset.values import Value

_BINS = 24  # at most, of numbers
_LEVELS, _FINE = 64_000, 4_000_000_000  # of all bins together, in two bytes and in four
_MANY = 5000  # values: so many take two bytes each
_RELATIVE = 1e-12  # of the greatest value: a finer width cannot be distinguished from rounding
# Bins of factors with a natural range, by the end of the name: least value, width, number.
_RANGES = {"azimuth_deg": (-180, 15, 24), "elevation_deg": (-90, 10, 18)}

Column = dict[str, Any]


def pack(key: str, values: Sequence[Value | None]) -> Column | None:
    """The column `key` as JSON values; None if no value is known.

    `kind` is "number", "word" or "constant". Of a number, edge k = 0 .. `bins` is (`first` + k) * `over` / `under` +
    `shift`, and a code is k * `levels` + floor(`levels` * share of the bin below the value); the last bin includes its upper
    edge. Of a word, a code is its index in `words`. `codes` are unsigned little-endian integers of `bytes` bytes in base64;
    the greatest integer is no value.
    """
    if any(isinstance(value, str) for value in values):
        return _words([None if value is None else str(value) for value in values])
    numbers = np.array([math.nan if value is None else float(value) for value in values], dtype=np.float64)
    known = np.isfinite(numbers)
    if not known.any():
        return None
    low, high = float(numbers[known].min()), float(numbers[known].max())
    if known.all() and low == high:
        return {"kind": "constant", "value": low}
    whole = bool((numbers[known] == np.rint(numbers[known])).all())
    column = _bins(key, low, high, whole, _LEVELS if len(values) > _MANY else _FINE)
    edges = edges_of(column)
    bins = np.clip(np.searchsorted(edges, numbers[known], side="right") - 1, 0, column["bins"] - 1)
    share = (numbers[known] - edges[bins]) / (edges[bins + 1] - edges[bins])
    levels = column["levels"]
    codes = np.full(len(numbers), -1, dtype=np.int64)
    codes[known] = bins * levels + np.clip(np.floor(share * levels), 0, levels - 1).astype(np.int64)
    return {"kind": "number", **column, **_packed(codes, column["bins"] * levels)}


def edges_of(column: Column) -> NDArray[np.float64]:
    """(bins + 1,) the edges of the bins of a packed column of numbers."""
    whole = [(column["first"] + k) * column["over"] / column["under"] for k in range(column["bins"] + 1)]
    return np.array(whole, dtype=np.float64) + float(column["shift"])


def _words(values: Sequence[str | None]) -> Column:
    words = sorted({value for value in values if value is not None})
    if len(words) == 1 and None not in values:
        return {"kind": "constant", "value": words[0]}
    index = {word: k for k, word in enumerate(words)}
    codes = np.array([-1 if value is None else index[value] for value in values], dtype=np.int64)
    return {"kind": "word", "words": words, "bins": len(words), "levels": 1, **_packed(codes, len(words))}


def _packed(codes: NDArray[np.int64], count: int) -> Column:
    """`codes` of 0 .. `count` - 1, and -1 for no value."""
    wide = np.dtype("<u1" if count <= 0xFF else "<u2" if count <= 0xFFFF else "<u4")
    data = np.where(codes < 0, np.iinfo(wide).max, codes).astype(wide).tobytes()
    return {"bytes": wide.itemsize, "codes": base64.b64encode(data).decode("ascii")}


def _bins(key: str, low: float, high: float, whole: bool, most: int) -> Column:
    """The bins, with `most` levels in all, of numbers from `low` to `high`, which are `whole` numbers or not."""
    for ending, (least, width, count) in _RANGES.items():
        if key.endswith(ending) and least <= low and high <= least + width * count:
            return _column(least // width, width, 1, 0.0, count, most // count)
    over, under = _width((high - low) / _BINS or abs(high) or 1.0, max(abs(low), abs(high)), whole)
    shift = -0.5 if whole else 0.0
    # Exactly: the last edge that is not above `low`, and the first that is not below `high`.
    first = math.floor(low * under / over)
    first += ((first + 1) * over / under + shift <= low) - (first * over / under + shift > low)
    count = max(1, math.ceil(high * under / over) - first)
    count += ((first + count) * over / under + shift < high) - (
        count > 1 and (first + count - 1) * over / under + shift >= high
    )
    levels = over if whole and count * over <= most else max(1, most // count)  # each whole number has its own code
    return _column(first, over, under, shift, count, levels)


def _column(first: int, over: int, under: int, shift: float, bins: int, levels: int) -> Column:
    return {"first": first, "over": over, "under": under, "shift": shift, "bins": bins, "levels": levels}


def _width(least: float, largest: float, whole: bool) -> tuple[int, int]:
    """The smallest round width >= `least`, 1, 2, 2.5 or 5 times a power of ten, as a fraction of whole numbers."""
    least = max(least, _RELATIVE * largest, 1 if whole else 0)
    power = math.floor(math.log10(least))
    for tenths in (10, 20, 25, 50, 100):
        over, under = tenths * 10 ** max(power - 1, 0), 10 ** max(1 - power, 0)
        if over / under >= least * (1 - 1e-9) and not (whole and over % under):
            divisor = math.gcd(over, under)
            return over // divisor, under // divisor
    raise AssertionError(f"no round width above {least}")
