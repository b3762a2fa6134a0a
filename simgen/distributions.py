"""The probability distributions that a factor in conf/randomize/ may have, and their parser.

A factor's value in YAML (a leaf of the configuration) is a constant (a number, a word or a list of numbers) or a list
`[kind, arguments...]` with one of the kinds of `KINDS`. Arguments are numbers or lists of as many numbers as the factor has;
those of `choice` and `hsv` are distributions themselves. A constant is a distribution, too, so no factor needs a switch to
turn it off. YAML can name the kinds of `KINDS` only, never code.
"""

import colorsys
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from simgen import exact
from simgen.draws import Draws
from simgen.errors import ConfigError
from simgen.geometry import Array, rotation_between


class Distribution(Protocol):
    """A random quantity of `dim` numbers. Which random words `sample` uses does not depend on their values."""

    @property
    def dim(self) -> int: ...

    def sample(self, draws: Draws) -> Array:
        """(R, dim) numbers from the random words at the path of `draws`; the R rows are those of Draws."""
        ...

    def support(self) -> tuple[Array, Array]:
        """The least and the greatest possible value of each number, (dim,) each."""
        ...


@dataclass(frozen=True)
class Constant:
    value: tuple[float, ...]

    @property
    def dim(self) -> int:
        return len(self.value)

    def sample(self, draws: Draws) -> Array:
        return np.broadcast_to(np.array(self.value, dtype=np.float64), (draws.rows, self.dim))

    def support(self) -> tuple[Array, Array]:
        return np.array(self.value, dtype=np.float64), np.array(self.value, dtype=np.float64)


@dataclass(frozen=True)
class Uniform:
    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def dim(self) -> int:
        return len(self.low)

    def sample(self, draws: Draws) -> Array:
        return draws.between(np.array(self.low), np.array(self.high))

    def support(self) -> tuple[Array, Array]:
        return np.array(self.low, dtype=np.float64), np.array(self.high, dtype=np.float64)


@dataclass(frozen=True)
class LogUniform(Uniform):
    """Uniform in the logarithm: all octaves are equally likely."""

    def sample(self, draws: Draws) -> Array:
        low, high = np.array(self.low), np.array(self.high)
        return np.asarray(np.clip(exact.exp(draws.between(exact.log(low), exact.log(high))), low, high))


@dataclass(frozen=True)
class Normal:
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @property
    def dim(self) -> int:
        return len(self.mean)

    def sample(self, draws: Draws) -> Array:
        return np.array(self.mean) + np.array(self.deviation) * draws.normal(self.dim)

    def support(self) -> tuple[Array, Array]:
        spread = 6.4 * np.array(self.deviation)  # above the quantile of 1 - 2^-33, the largest that Draws.normal meets
        return np.array(self.mean) - spread, np.array(self.mean) + spread


@dataclass(frozen=True)
class Integer:
    """Integers from `low` to `high`, both included, equally likely."""

    low: int
    high: int
    dim: int = 1

    def sample(self, draws: Draws) -> Array:
        return (self.low + draws.integers(self.high - self.low + 1, self.dim)).astype(np.float64)

    def support(self) -> tuple[Array, Array]:
        return np.full(self.dim, float(self.low)), np.full(self.dim, float(self.high))


@dataclass(frozen=True)
class Choice:
    """One of `options`, equally likely; an option is a distribution, with a path of its own."""

    options: tuple[Distribution, ...]

    @property
    def dim(self) -> int:
        return self.options[0].dim

    def sample(self, draws: Draws) -> Array:
        which = (draws / "which").integers(len(self.options))
        values = [option.value if isinstance(option, Constant) else (math.nan,) * self.dim for option in self.options]
        result = np.take(np.array(values).T, which[:, 0], axis=1).T
        for k, option in enumerate(self.options):
            if not isinstance(option, Constant):
                result = np.where(which == k, option.sample(draws / k), result)
        return result

    def support(self) -> tuple[Array, Array]:
        lows, highs = zip(*(option.support() for option in self.options), strict=True)
        return np.min(lows, axis=0), np.max(highs, axis=0)


@dataclass(frozen=True)
class Hsv:
    """RGB values in [0, 1] from hue, saturation and value in [0, 1]."""

    hue: Distribution
    saturation: Distribution
    value: Distribution
    dim: int = 3

    def sample(self, draws: Draws) -> Array:
        h = self.hue.sample(draws / "h")[:, 0]
        s, v = self.saturation.sample(draws / "s")[:, 0], self.value.sample(draws / "v")[:, 0]
        # The hexcone model (Smith 1978) in closed form: the distance of each channel from its pure hue, in sixths of the
        # hue circle.
        away = np.abs(6 * h - np.array([[3.0], [2.0], [4.0]]))
        away[0] = 3 - away[0]  # pure red lies at hue 0, which is also hue 1
        return np.asarray((v * (1 - s * np.clip(away - 1, 0, 1))).T)

    def support(self) -> tuple[Array, Array]:
        if all(isinstance(part, Constant) for part in (self.hue, self.saturation, self.value)):
            h, s, v = (float(part.support()[0][0]) for part in (self.hue, self.saturation, self.value))
            rgb = np.array(colorsys.hsv_to_rgb(h, s, v))
            return rgb, rgb
        (least,), (greatest,) = self.value.support()
        (_,), (purest,) = self.saturation.support()
        return np.full(3, least * (1 - purest)), np.full(3, greatest)


@dataclass(frozen=True)
class Cap:
    """Unit vectors, uniform over the part of the sphere within `angle_deg` degrees of `axis`."""

    axis: tuple[float, ...]
    angle_deg: float
    dim: int = 3

    def sample(self, draws: Draws) -> Array:
        u = draws.uniform(2)
        # Archimedes: on a sphere the height along the axis is uniform.
        height = 1 - u[:, 0] * (1 - exact.cosine(np.radians(self.angle_deg)))
        radius, turn = np.sqrt(np.maximum(0, 1 - height**2)), 2 * np.pi * u[:, 1]
        axis = np.array(self.axis) / exact.norm(np.array(self.axis, dtype=np.float64))
        # Sums instead of a matrix product, whose last bit depends on the size of the batch.
        x, y, z = rotation_between(np.array([0.0, 0.0, 1.0]), axis).T[:, :, None]
        sine, cosine = exact.sine_cosine(turn)
        return np.asarray((radius * cosine * x + radius * sine * y + height * z).T)

    def support(self) -> tuple[Array, Array]:
        axis = np.array(self.axis) / exact.norm(np.array(self.axis, dtype=np.float64))
        away, angle = exact.arccos(np.clip(axis, -1, 1)), math.radians(self.angle_deg)
        return exact.cosine(np.minimum(away + angle, np.pi)), exact.cosine(np.maximum(away - angle, 0))


def parse(leaf: Any, path: str, dim: int = 1) -> Distribution:
    """The distribution of `dim` numbers that `leaf`, a value from YAML, describes.

    Raises ConfigError that begins with `path`, the factor's full key, and states what is expected.
    """
    if isinstance(leaf, list) and leaf and isinstance(leaf[0], str):
        kind, *arguments = leaf
        if kind not in KINDS:
            raise ConfigError(f"{path}: unknown kind '{kind}' in {leaf}; expected one of {', '.join(KINDS)}")
        make, usage = KINDS[kind]
        try:
            return make(arguments, path, dim)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{path}: got {leaf}; expected {usage}{f' ({error})' if str(error) else ''}") from error
    try:
        return Constant(_numbers(leaf, dim))
    except (TypeError, ValueError) as error:
        wanted = "a number" if dim == 1 else f"{dim} numbers"
        raise ConfigError(f"{path}: got {leaf!r}; expected {wanted} or [kind, arguments...] ({error})") from error


def parse_words(leaf: Any, path: str, options: Sequence[str], numbered: Sequence[str] | None = None) -> Distribution:
    """The distribution of an index into `numbered` that `leaf` describes: one of the words `options` or [choice, word, ...].
    `numbered` are the options themselves if they are not a part of more words.

    Raises ConfigError that begins with `path` and lists the options.
    """
    words = leaf[1:] if isinstance(leaf, list) and leaf[:1] == ["choice"] else [leaf]
    if not words:
        raise ConfigError(f"{path}: got {leaf}; expected [choice, word, ...] with words of {', '.join(options)}")
    for word in words:
        if word not in options:
            raise ConfigError(
                f"{path}: unknown '{word}'; expected one of {', '.join(options)}, or [choice, ...] of them"
            )
    indices = [Constant((float((numbered or options).index(word)),)) for word in words]
    return indices[0] if len(indices) == 1 else Choice(tuple(indices))


def _numbers(value: Any, dim: int) -> tuple[float, ...]:
    items = value if isinstance(value, list) else [value] * dim
    if len(items) != dim:
        raise ValueError(f"expected {dim} numbers, got {len(items)}")
    for item in items:
        if isinstance(item, bool) or not isinstance(item, int | float) or not abs(item) < math.inf:
            raise ValueError(f"'{item}' is not a finite number")
    try:
        return tuple(float(item) for item in items)
    except OverflowError as error:
        raise ValueError("a number has more than 308 digits") from error


def _bounds(arguments: list[Any], dim: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    low, high = arguments
    low, high = _numbers(low, dim), _numbers(high, dim)
    if any(a > b for a, b in zip(low, high, strict=True)):
        raise ValueError("the low end is above the high end; swap them")
    return low, high


def _uniform(arguments: list[Any], path: str, dim: int) -> Distribution:
    return Uniform(*_bounds(arguments, dim))


def _loguniform(arguments: list[Any], path: str, dim: int) -> Distribution:
    low, high = _bounds(arguments, dim)
    if min(low) <= 0:
        raise ValueError("both ends must be above 0")
    return LogUniform(low, high)


def _normal(arguments: list[Any], path: str, dim: int) -> Distribution:
    mean, deviation = arguments
    mean, deviation = _numbers(mean, dim), _numbers(deviation, dim)
    if min(deviation) < 0:
        raise ValueError("the deviation is negative")
    return Normal(mean, deviation)


def _integer(arguments: list[Any], path: str, dim: int) -> Distribution:
    low, high = (_numbers(argument, 1)[0] for argument in arguments)
    if low != int(low) or high != int(high):
        raise ValueError("both ends must be whole numbers")
    if low > high:
        raise ValueError("the low end is above the high end; swap them")
    if high - low >= 2**32:
        raise ValueError("more than 2^32 numbers to choose from")
    return Integer(int(low), int(high), dim)


def _choice(arguments: list[Any], path: str, dim: int) -> Distribution:
    if not arguments:
        raise ValueError("nothing to choose from")
    return Choice(tuple(parse(argument, path, dim) for argument in arguments))


def _hsv(arguments: list[Any], path: str, dim: int) -> Distribution:
    if dim != 3 or len(arguments) != 3:
        raise ValueError("hsv gives a color")
    parts = [parse(argument, f"{path}.{name}") for argument, name in zip(arguments, "hsv", strict=True)]
    for part, name in zip(parts, "hsv", strict=True):
        low, high = part.support()
        if low[0] < 0 or high[0] > 1:
            raise ValueError(f"{name} leaves [0, 1]")
    hue, saturation, value = parts
    return Hsv(hue, saturation, value)


def _cap(arguments: list[Any], path: str, dim: int) -> Distribution:
    axis, angle = arguments
    axis, angle = _numbers(axis, 3), _numbers(angle, 1)[0]
    if dim != 3 or not any(axis):
        raise ValueError("cap gives a direction and needs an axis that is not 0")
    if not 0 <= angle <= 180:
        raise ValueError("the angle must lie in [0, 180]")
    return Cap(axis, angle)


# For each kind its constructor, and the form that error messages show.
KINDS: dict[str, tuple[Callable[[list[Any], str, int], Distribution], str]] = {
    "uniform": (_uniform, "[uniform, low, high] with low <= high"),
    "loguniform": (_loguniform, "[loguniform, low, high] with 0 < low <= high"),
    "normal": (_normal, "[normal, mean, deviation] with deviation >= 0"),
    "integer": (_integer, "[integer, low, high] with whole low <= high, both included"),
    "choice": (_choice, "[choice, leaf, leaf, ...]"),
    "hsv": (_hsv, "[hsv, hue, saturation, value], each a leaf within [0, 1]"),
    "cap": (_cap, "[cap, [x, y, z], angle_deg] with an angle in [0, 180]"),
}
