"""The bounds of the factors that grow under randomize=adr, and the distributions between them.

A factor that is a range (uniform, loguniform, integer) has two bounds for each of its numbers, its ends. Any other that
varies, such as a choice of textures or a range that lacks the nominal value, has one: the share of the samples in which it
varies; in the others it is nominal.
Every second sample is at one bound, which tells whether the model succeeds there; which one is a function of (seed, index).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simgen import exact
from simgen.distributions import Constant, Distribution, Integer, LogUniform, Uniform
from simgen.draws import Draws
from simgen.errors import ConfigError
from simgen.geometry import Array

LOW, HIGH, SHARE = "low", "high", "share"
# Factors that keep their whole range: with few places, kinds or sizes blocks would find no free place.
_LAYOUT = (
    "model",
    "place",
    "yaw_deg",
    "face",
    "scale",
    "kind",
    "variant",
    "where",
    "tilt_deg",
    "size",
    "settle",
    "gather",
)
_WHOLE = tuple(f"{group}/{name}" for group in ("blocks", "distractors", "clutter") for name in _LAYOUT)
_FIXED = {*_WHOLE, "blocks/count", "settle", "gather"}
_FIXED_NAME = "pattern"
_PATH = "adr"  # below it are the numbers that choose a sample's bound


@dataclass(frozen=True)
class Bound:
    """One bound of the factor `path`: the LOW or HIGH end of its number `component`, or its SHARE."""

    path: str
    component: int
    side: str

    @property
    def name(self) -> str:
        return f"{self.path}/{self.component}/{self.side}"


@dataclass(frozen=True)
class Mixed:
    """`other` in the fraction `share` of the samples, else `nominal`. The words of `other` are the same for any share."""

    share: float
    other: Distribution
    nominal: Constant

    @property
    def dim(self) -> int:
        return self.other.dim

    def sample(self, draws: Draws) -> Array:
        chosen = (draws / "mixed").uniform() < self.share
        return np.where(chosen, self.other.sample(draws), self.nominal.sample(draws))

    def support(self) -> tuple[Array, Array]:
        ends = [one.support() for one in (self.other, self.nominal)]
        return np.min([low for low, _ in ends], axis=0), np.max([high for _, high in ends], axis=0)


@dataclass(frozen=True)
class AtBounds:
    """`inside`, but at bound number `numbers[k]` of `count` in all the number `components[k]` is `values[k]`; a component of
    -1 stands for all numbers, drawn from `other`."""

    inside: Distribution
    count: int
    numbers: tuple[int, ...]
    components: tuple[int, ...]
    values: tuple[float, ...]
    other: Distribution

    @property
    def dim(self) -> int:
        return self.inside.dim

    def sample(self, draws: Draws) -> Array:
        result = np.array(self.inside.sample(draws))
        which = np.tile(bound_of(draws.seed, draws.index, self.count), len(draws.lane) * len(draws.tried))
        for number, component, value in zip(self.numbers, self.components, self.values, strict=True):
            rows = which == number
            if component >= 0:
                result[rows, component] = value
            elif rows.any():
                result[rows] = self.other.sample(draws)[rows]
        return result

    def support(self) -> tuple[Array, Array]:
        return self.other.support()


def bound_of(seed: int, index: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """(B,) the number of the bound at which each of the samples `index` of the stream `seed` is, of `count`; -1 for none."""
    number = (Draws(seed, index) / _PATH).integers(2 * count)[:, 0]
    return np.where(number < count, number, -1)


def bounds_of(nominal: Mapping[str, Distribution], widest: Mapping[str, Distribution]) -> list[Bound]:
    """The bounds that can grow, from the factors of randomize=none to those of the configuration. Raises ConfigError for a
    factor without a single nominal value."""
    bounds = []
    for path, wide in sorted(widest.items()):
        if isinstance(wide, Constant) or path in _FIXED or path.rpartition("/")[2] == _FIXED_NAME:
            continue
        start = nominal[path]
        if not isinstance(start, Constant):
            raise ConfigError(
                f"randomize.{path.replace('/', '.')}: has no single nominal value from which randomize=adr could grow it; "
                "state a number in the scene file under `nominal:`, or fix this factor"
            )
        low, high = wide.support()
        middle = np.array(start.value, dtype=np.float64)
        if not isinstance(wide, Uniform | Integer) or np.any(middle < low) or np.any(middle > high):
            bounds.append(Bound(path, -1, SHARE))
            continue
        for component, (a, n, b) in enumerate(zip(low, middle, high, strict=True)):
            bounds += [Bound(path, component, side) for side, end in ((LOW, a), (HIGH, b)) if end != n]
    return bounds


def leaves_at(
    fractions: Mapping[str, float],
    names: Sequence[str],
    nominal: Mapping[str, Distribution],
    widest: Mapping[str, Distribution],
) -> dict[str, Distribution]:
    """The distributions of all factors where each bound has moved by its fraction (by Bound.name, 0 to 1) of the way from
    the nominal value to the widest range; a factor without any has its widest. `names` are those of the bounds of all
    scenes, their places are their numbers."""
    leaves = dict(widest)
    own: dict[str, list[Bound]] = {}
    for bound in (one for one in bounds_of(nominal, widest) if one.name in fractions):
        own.setdefault(bound.path, []).append(bound)
    for path, bounds in own.items():
        wide, start = widest[path], nominal[path]
        assert isinstance(start, Constant)
        if bounds[0].side == SHARE:
            inside: Distribution = Mixed(fractions[bounds[0].name], wide, start)
            values = [0.0]
        else:
            inside, values = _range(wide, start, bounds, fractions)
        numbers = tuple(names.index(bound.name) for bound in bounds)
        components = tuple(bound.component for bound in bounds)
        leaves[path] = AtBounds(inside, len(names), numbers, components, tuple(values), wide)
    return leaves


def _range(
    wide: Distribution, start: Constant, bounds: Sequence[Bound], fractions: Mapping[str, float]
) -> tuple[Distribution, list[float]]:
    """The range between `bounds`, and their values."""
    low, high = wide.support()
    middle = np.array(start.value, dtype=np.float64)
    scale = exact.log if isinstance(wide, LogUniform) else np.asarray
    back = exact.exp if isinstance(wide, LogUniform) else np.asarray
    ends = {LOW: np.array(middle), HIGH: np.array(middle)}
    for bound in bounds:
        k, end = bound.component, (low if bound.side == LOW else high)[bound.component]
        a, b = scale(np.array([middle[k], end]))
        part = fractions[bound.name]
        # The ends themselves are not computed: a rounding error would change every sample.
        value = middle[k] if part == 0 else end if part == 1 else back(np.array([a + part * (b - a)]))[0]
        value = float(np.clip(value, low[k], high[k]))
        ends[bound.side][k] = round(value) if isinstance(wide, Integer) else value
    values = [float(ends[bound.side][bound.component]) for bound in bounds]
    if isinstance(wide, Integer):
        return Integer(int(ends[LOW][0]), int(ends[HIGH][0]), wide.dim), values
    assert isinstance(wide, Uniform)
    return replace(wide, low=tuple(map(float, ends[LOW])), high=tuple(map(float, ends[HIGH]))), values
