"""Whether the factors of a dataset of simgen vary as its configuration states.

What the configuration makes probable is not derived from its distributions but counted: the sampler draws other scenes of
the same configuration, and the same function reads the factors of both. So factors that are derived (the camera's distance,
the brightest light) and frozen ones need no special case. Limits on probabilities have a margin of four standard deviations
of that count.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from simgen.check.findings import HoleInDistribution, Report, StuckFactor, StuckTexture
from simgen.check.table import Table
from simgen.dataset.values import Value, columns_of, recipe_values
from simgen.distributions import Constant, Distribution, Integer
from simgen.draws import Draws
from simgen.factors import options_of
from simgen.pipeline import Pipeline
from simgen.scene import SURFACES, to_json

_LEAST, _MOST = 200, 4000  # scenes that are drawn for comparison
_THINGS = {
    "blocks": ["blocks.scale"],
    "distractors": ["distractors.scale"],
    "clutter": ["clutter.size"],
}  # and their means
_FIRST = 2**40  # index of the first of them
_LOOKS = ("texture", "pattern", "color", "color2", "cycles", "crop", "angle_deg", "sides")  # of a surface's texture
_RUN = 3  # pictures, at least, with the same value
_DIGITS = 9  # to which equal values agree
_BITS, _VARIED = 8.0, 24.0  # of one number at most; of all, if no two pictures are alike by chance


def expected_values(pipeline: Pipeline, count: int) -> list[dict[str, Value]]:
    """The values of the factors of scenes that `pipeline` draws, for comparison with `count` pictures."""
    number = min(max(2 * count, _LEAST), _MOST)
    index = np.arange(_FIRST, _FIRST + number)
    sampler, seed = pipeline.sampler, pipeline.source.seed
    # To place many objects takes most of the time, and says nothing about the other factors.
    recipe = to_json(replace(sampler, slots=(1, 0), clutter=0).sample(seed, index))
    rows = [recipe_values(recipe, row) for row in range(number)]
    for thing, factors in _THINGS.items():
        counts = sampler.leaves[f"{thing}/count"].sample(Draws(seed, index) / f"{thing}/count")[:, 0]
        for row, count in zip(rows, counts, strict=True):
            row[f"{thing}.count"] = float(count)
            for factor in factors:
                row.pop(factor, None)
    return rows


def variety_of(leaves: Mapping[str, Distribution]) -> tuple[bool, bool]:
    """Whether the factors with these distributions make every picture unlike all others, and whether what is where does so
    alone: the camera, the blocks, the clutter."""
    bits = {path: min(_bits(leaf), _BITS) * leaf.dim for path, leaf in leaves.items()}
    places = sum(
        count for path, count in bits.items() if path.split("/")[0] in ("camera", *_THINGS) and "material" not in path
    )
    return sum(bits.values()) >= _VARIED, places >= _VARIED


def _bits(leaf: Distribution) -> float:
    """Logarithm to base 2 of about the number of values of a factor; many for a continuous one."""
    options = options_of(leaf)
    if len(options) > 1:
        constant = {one.value for one in options if isinstance(one, Constant)}
        return float(np.log2(max(len(constant), 1))) + max(_bits(one) for one in options)
    if isinstance(leaf, Integer):
        return float(np.log2(leaf.high - leaf.low + 1))
    low, high = leaf.support()
    return _BITS if np.any(low < high) else 0.0


def check_factors(table: Table, expected: Sequence[Mapping[str, Value]], improbable: float, report: Report) -> None:
    """Reports factors of the pictures in `table` that stay the same, or leave out values, though by those of the scenes
    `expected` this happens less than `improbable` times in a dataset of this size."""
    drawn = columns_of(expected)
    runs: dict[tuple[str, int, int], list[str]] = defaultdict(list)
    for name, column in table.columns():
        known = [k for k, value in enumerate(column) if value is not None]
        there = [value for value in drawn.get(name, []) if value is not None]
        values = [value for value in column if value is not None]
        if not there or len(values) < _RUN or len({type(one) for one in (*there, *values)}) > 1:
            continue
        for first, last in _stuck(_rounded(values), _rounded(there), improbable):
            runs[_thing_of(name), known[first], known[last]].append(name)
        hole = _hole(values, there, improbable)
        if hole:
            report(HoleInDistribution(name, hole))
    for (thing, first, last), names in runs.items():
        kind = StuckTexture if thing else StuckFactor
        count = last - first + 1
        report(
            kind(
                f"{table.names[first]} to {table.names[last]}",
                f"{', '.join(names)}: the same in {count} pictures in a row",
            )
        )


def _thing_of(name: str) -> str:
    """The surface whose texture the factor `name` determines; "" for any other factor."""
    parts = name.split(".")
    surface = parts[0] in SURFACES or parts[0] == "fixture"
    return parts[0] if surface and any(part in _LOOKS for part in parts[1:]) else ""


def _rounded(values: Sequence[Value]) -> list[Value]:
    return [value if isinstance(value, str) else float(f"{value:.{_DIGITS}g}") for value in values]


def _stuck(values: Sequence[Value], there: Sequence[Value], improbable: float) -> list[tuple[int, int]]:
    """The runs of an equal value, by their first and last number, that are improbable by the values `there`."""
    counts, total = Counter(there), len(there)
    found = []
    first = 0
    for k in range(1, len(values) + 1):
        if k < len(values) and values[k] == values[first]:
            continue
        length = k - first
        if length >= _RUN:
            count = counts[values[first]]
            # Of a value that was drawn once or never, equal values were drawn in none of total^2 / 2 pairs.
            chance = (count + 4 * count**0.5) / total if count > 1 else 20 / total**2
            if chance < 1 and len(values) * chance ** (length - 1) < improbable:
                found.append((first, k - 1))
        first = k
    return found


def _hole(values: Sequence[Value], there: Sequence[Value], improbable: float) -> str:
    """The widest part of the values `there` that none of `values` is in, as a text; "" if it is not improbable."""
    if isinstance(values[0], str):
        missing = {one: count for one, count in Counter(there).items() if one not in set(values)}
        if not missing:
            return ""
        word = max(missing, key=lambda one: missing[one])
        share = _share(missing[word], len(there))
        if len(missing) * (1 - share) ** len(values) >= improbable:
            return ""
        return f"none of {len(values)} pictures has {word}, of which {share:.1%} are expected"
    have: NDArray[np.float64] = np.unique(np.array(values, dtype=np.float64))
    drawn = np.sort(np.array(there, dtype=np.float64))
    slack = 1e-6 * max(float(np.ptp(drawn)), 1e-9)
    # The number of drawn values before, between and after those of the pictures.
    low = np.searchsorted(drawn, have - slack, "left")
    high = np.searchsorted(drawn, have + slack, "right")
    inside = np.concatenate([low[:1], low[1:] - high[:-1], [len(drawn) - high[-1]]])
    k = int(inside.argmax())
    share = _share(int(inside[k]), len(drawn))
    if share <= 0 or len(inside) * (1 - share) ** len(values) >= improbable:
        return ""
    place = (
        f"below {have[0]:.4g}" if k == 0
        else f"above {have[-1]:.4g}" if k == len(have)
        else f"between {have[k - 1]:.4g} and {have[k]:.4g}"
    )  # fmt: skip
    return f"none of {len(values)} pictures has a value {place}, where {share:.1%} are expected"


def _share(count: int, total: int) -> float:
    """A lower limit of a probability of which `count` of `total` draws were seen."""
    return max(0.0, (count - 4 * math.sqrt(count)) / total)
