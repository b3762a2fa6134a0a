"""Compares the values of factors on two sides: picture by picture, and their distributions."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import chi2, ks_2samp, kstwo

from simgen.dataset.values import ROUNDING, Value
from simgen.diff.sides import DRAWN, Name, Side

_RELATIVE = 1e-10  # of large numbers, beside ROUNDING: whole ones, at most 2^31, stay apart
_NONE = "no value"
_EXPECTED = 5.0  # words that are expected less often than this are taken together, for the chi-square test


@dataclass(frozen=True)
class Factor:
    """One factor on both sides. `distance` is that of the two distributions, from 0 to 1: the Kolmogorov-Smirnov statistic
    of numbers, the total variation of words. `p` is the probability of at least this distance by chance, times the number
    of factors. `a` and `b` describe the values. `other` of the `pairs` of pictures (or blocks) have different values."""

    name: str
    distance: float
    p: float
    a: str
    b: str
    other: int
    pairs: int

    @property
    def only_in(self) -> str:
        """The side, A or B, that alone states values of the factor; "" if both do."""
        return "B" if self.a == _NONE else "A" if self.b == _NONE else ""

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


def compare_factors(a: Side, b: Side) -> list[Factor]:
    """All factors of the two sides, those with the least p first.

    Pictures are independent, blocks of one picture are not: they share its camera. So tests of what blocks have count the
    pictures with a block as the number of values, which makes p too large rather than too small.
    """
    tables = [_Table(*(_rows(side.rows) for side in (a, b))), _Table(*(_block_rows(side.blocks) for side in (a, b)))]
    counts = [tuple(len(side.rows) for side in (a, b))]
    counts.append(tuple(sum(bool(blocks) for blocks in side.blocks.values()) for side in (a, b)))
    found = [
        _compare(name, table, count)
        for table, count in zip(tables, counts, strict=True)
        for name in table.names()
        if name not in DRAWN or (a.is_dataset and b.is_dataset)
    ]
    corrected = [Factor(**{**vars(one), "p": min(1.0, one.p * len(found))}) for one in found]
    return sorted(corrected, key=lambda one: (one.p, -one.distance, -one.other))


def kinds_of(side: Side) -> Counter[str]:
    """How many labeled blocks of each kind a side has."""
    return Counter(str(block["block.kind"]) for blocks in side.blocks.values() for block in blocks)


Rows = Mapping[tuple[int, ...], Mapping[str, Value]]


@dataclass(frozen=True)
class _Table:
    a: Rows
    b: Rows

    def names(self) -> list[str]:
        return list(dict.fromkeys(name for rows in (self.a, self.b) for row in rows.values() for name in row))


def _rows(rows: Mapping[Name, Mapping[str, Value]]) -> Rows:
    return {tuple(name): row for name, row in rows.items()}


def _block_rows(blocks: Mapping[Name, Sequence[Mapping[str, Value]]]) -> Rows:
    return {(*name, k): row for name, rows in blocks.items() for k, row in enumerate(rows)}


def _compare(name: str, table: _Table, count: tuple[int, ...]) -> Factor:
    # NaN is no value, such as the place in the picture of a block behind the camera.
    sides = _merged(
        [
            {key: row[name] for key, row in rows.items() if name in row and row[name] == row[name]}
            for rows in (table.a, table.b)
        ]
    )
    both = table.a.keys() & table.b.keys()
    other = sum(sides[0].get(key) != sides[1].get(key) for key in both)
    values = [list(side.values()) for side in sides]
    shares = [min(1.0, n / len(one)) if one else 0.0 for n, one in zip(count, values, strict=True)]
    if not values[0] or not values[1]:
        distance, p = (1.0, 0.0) if values[0] or values[1] else (0.0, 1.0)  # one side alone has the factor, or neither
    elif all(isinstance(value, str) for one in values for value in one):
        distance, p = _words(values, min(shares))
    else:
        distance, p = _numbers(values, shares)
    return Factor(name, distance, p, _described(values[0]), _described(values[1]), other, len(both))


def _numbers(values: Sequence[Sequence[Any]], shares: Sequence[float]) -> tuple[float, float]:
    """The two-sample Kolmogorov-Smirnov statistic and its p value, for the `shares` of the values that are independent."""
    # Of its methods only the p value differs, which is not used; with one value on both sides that of asymp is 0 / 0.
    one = len(values[0]) == len(values[1]) == 1
    statistic = float(ks_2samp(*values, method="exact" if one else "asymp").statistic)
    a, b = (max(1.0, len(one) * share) for one, share in zip(values, shares, strict=True))
    return statistic, float(kstwo.sf(statistic, max(1, round(a * b / (a + b))))) if statistic else 1.0


def _words(values: Sequence[Sequence[Any]], share: float) -> tuple[float, float]:
    """The total variation of two samples of words, and the p value of a chi-square test of their counts; `share` of the
    values are independent."""
    counts = [Counter(one) for one in values]
    words = sorted(set(counts[0]) | set(counts[1]))
    table = np.array([[count[word] for word in words] for count in counts], dtype=np.float64)
    parts = table / table.sum(axis=1, keepdims=True)
    variation = float(np.abs(parts[0] - parts[1]).sum() / 2)
    rare = (_expected(table) < _EXPECTED).any(axis=0)
    if rare.any():
        table = np.column_stack([table[:, ~rare], table[:, rare].sum(axis=1)])
    if table.shape[1] < 2 or not variation:
        return variation, 1.0
    wanted = _expected(table)
    statistic = float(((table - wanted) ** 2 / wanted).sum()) * share
    return variation, float(chi2.sf(statistic, table.shape[1] - 1))


def _expected(table: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.asarray(table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum())


def _merged(sides: Sequence[Mapping[tuple[int, ...], Value]]) -> list[dict[tuple[int, ...], Value]]:
    """The values of both sides, where numbers that differ by rounding alone are one number, the least of them. A place on
    the table is computed from the poses of camera and block: its last bits are others if another camera sees it."""
    numbers = np.unique([value for side in sides for value in side.values() if not isinstance(value, str)])
    begins = np.diff(numbers, prepend=-np.inf) > ROUNDING + _RELATIVE * np.abs(numbers)
    least = numbers[begins]

    def merged(value: Value) -> Value:
        return value if isinstance(value, str) else float(least[np.searchsorted(least, value, side="right") - 1])

    return [{key: merged(value) for key, value in side.items()} for side in sides]


def _described(values: Sequence[Value]) -> str:
    if not values:
        return _NONE
    if all(isinstance(value, str) for value in values):
        return ", ".join(f"{word} {count / len(values):.0%}" for word, count in _most(Counter(map(str, values))))
    numbers = np.array(values, dtype=np.float64)
    low, middle, high = float(numbers.min()), float(numbers.mean()), float(numbers.max())
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}, mean {middle:.4g}"


def _most(counts: Counter[str]) -> Iterator[tuple[str, int]]:
    yield from counts.most_common(5)
    rest = sum(counts.values()) - sum(count for _, count in counts.most_common(5))
    if rest:
        yield "others", rest
