"""Values along a factor: rows of values over the range that the presets give it, for a strip of pictures."""

import colorsys
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simgen.catalogue import World
from simgen.command.help import shown
from simgen.distributions import Cap, Constant, Distribution, Integer, LogUniform, Normal
from simgen.errors import ConfigError
from simgen.explain.presets import allowed_values, factor_keys, preset_names, values_of_preset
from simgen.factors import bounds_of, is_whole, leaf_of, names_of, options_of, words_of
from simgen.geometry import rotation_between
from simgen.schema import Randomize

_COLORS = ("color", "color2", "sky", "ground")
_XYZ = ("X", "Y", "Z")
_PARTS = {  # the names of the numbers of a factor, by its name or its key
    "clutter.place": ("first", "second", "third"),
    "principal_point": ("right", "down"),
    "distortion": ("k1", "k2", "p1", "p2", "k3"),
    "white_balance": ("red", "green", "blue"),
}
# Ranges of factors that no preset varies and that have no bounds.
_RANGES = {"blocks.scale": (0.5, 1.5)}
_MOST_WORDS = 20


@dataclass(frozen=True)
class Row:
    """Pictures of one row: `values` in the configuration's form, and `captions`, one for each."""

    values: tuple[Any, ...]
    captions: tuple[str, ...]


def rows_along(factor: str, leaf: Any, world: World, randomize: Randomize, num: int) -> list[Row]:
    """Rows of `num` values along `factor` (its key below randomize), of which `leaf` is the configured value.

    The range is that of `leaf` if it varies, or else of the first preset that varies the factor, or else that of all allowed
    values. A factor of several numbers has a row for each of them, with the others in the middle; a color has hues and
    shades, a direction turns about the vertical and toward it. A factor whose values are words has a picture of each.
    """
    words = _words(factor, world, randomize)
    if words:
        return [Row(words, words)]
    distribution = _distribution(factor, leaf, world, randomize)
    name = factor.rpartition(".")[2]
    if name in _COLORS:
        return _colors(num)
    if name == "direction":
        return _directions(distribution, num)
    choices = options_of(distribution)
    if len(choices) > 1 and all(isinstance(one, Constant) for one in choices):
        values = list(dict.fromkeys(one.value for one in choices if isinstance(one, Constant)))
        return [Row(tuple(_plain(value) for value in values), tuple(map(_caption, values)))]
    low, high = _range(distribution)
    if distribution.dim == 1:
        return [_row(_steps(low[0], high[0], distribution, num, name))]
    names = _PARTS.get(factor) or _PARTS.get(name, _XYZ[: distribution.dim])
    rows = []
    for k, part in enumerate(names):
        if high[k] > low[k]:
            steps = _steps(low[k], high[k], distribution, num, name)
            numbers = [[float(step if j == k else (low[j] + high[j]) / 2) for j in range(len(low))] for step in steps]
            rows.append(Row(tuple(numbers), tuple(f"{part} {step:.3g}" for step in steps)))
    return rows


def given_rows(factor: str, values: Any, world: World) -> list[Row]:
    """One row of the `values` that the user gave, each a leaf of the configuration. Raises ConfigError if one of them is
    none of the factor, or not a single value."""
    if not isinstance(values, list) or not 1 <= len(values) <= _MOST_WORDS:
        raise ConfigError(f"values: got {values}; expected 1 to {_MOST_WORDS} values, [value, value, ...]")
    single = [_single(factor, value, world) for value in values]
    return [Row(tuple(single), tuple(map(_caption, single)))]


def _single(factor: str, leaf: Any, world: World) -> Any:
    """The one value, in the configuration's form, that the factor has with the `leaf`."""
    path = f"randomize.{factor}"
    low, high = leaf_of(leaf, path, world).support()
    if not np.array_equal(low, high):
        raise ConfigError(
            f"values: got {shown(leaf)}, which is no single value; expected {allowed_values(factor_keys()[factor])} for "
            "each picture"
        )
    words = {number: word for word, number in names_of(path, world).items()}
    return words[int(low[0])] if words else _plain(low.tolist())


def _words(factor: str, world: World, randomize: Randomize) -> tuple[str, ...]:
    """The words that the factor may have here; empty if its values are numbers. Pictures and meshes of the user's own need
    their folder."""
    if factor.endswith(".model"):
        return tuple(solid.name for solid in world.solids)[:_MOST_WORDS]
    without = [word for word, folder in (("image", randomize.images), ("mesh", randomize.clutter.meshes)) if not folder]
    return tuple(word for word in words_of(f"randomize.{factor}") if word not in without)


def _distribution(factor: str, leaf: Any, world: World, randomize: Randomize) -> Distribution:
    """The distribution that states the range of the pictures."""
    path = f"randomize.{factor}"
    presets = (values_of_preset(preset)[factor] for preset in ("full", *preset_names()))
    for one in itertools.chain([leaf], presets):  # a preset is composed only if it is needed
        try:
            distribution = leaf_of(one, path, world)
        except ConfigError:  # this scene does not define `varied`
            continue
        if np.any(np.less(*distribution.support())):
            return distribution
    _, low, high = bounds_of(path)
    if factor.endswith(".count"):
        high = getattr(randomize, factor.partition(".")[0]).slots
    low, high = _RANGES.get(factor, (low, high))
    if not np.isfinite([low, high]).all():
        raise ConfigError(
            f"factor: {factor} has no bounds, and neither the configuration nor a preset varies it; give values=[...]"
        )
    return leaf_of(["integer" if is_whole(path) else "uniform", low, high], path, world)


def _range(distribution: Distribution) -> tuple[Any, Any]:
    if isinstance(distribution, Normal):  # its support is far wider than what is ever seen
        mean, spread = np.array(distribution.mean), 2 * np.array(distribution.deviation)
        return mean - spread, mean + spread
    return distribution.support()


def _steps(low: float, high: float, distribution: Distribution, num: int, name: str) -> list[float]:
    whole = all(
        isinstance(one, Integer) or (isinstance(one, Constant) and one.value[0] == int(one.value[0]))
        for one in options_of(distribution)
    )
    if whole:
        return sorted({float(round(step)) for step in np.linspace(low, high, num)})
    if low > 0 and any(isinstance(one, LogUniform) for one in options_of(distribution)):
        return [float(step) for step in np.geomspace(low, high, num)]
    full_circle = name.endswith("_deg") and high - low == 360
    return [float(step) for step in np.linspace(low, high, num, endpoint=not full_circle)]


def _row(steps: Sequence[float]) -> Row:
    return Row(
        tuple(_plain([step]) for step in steps),
        tuple(f"{step:.10g}" if step == int(step) else f"{step:.3g}" for step in steps),
    )


def _colors(num: int) -> list[Row]:
    hues = [[round(part, 3) for part in colorsys.hsv_to_rgb(k / num, 0.8, 0.9)] for k in range(num)]
    grays = [[round(float(shade), 3)] * 3 for shade in np.linspace(0.1, 1, num)]
    return [Row(tuple(row), tuple(map(_caption, row))) for row in (hues, grays)]


def _directions(distribution: Distribution, num: int) -> list[Row]:
    """Directions around the axis of the caps of `distribution`, and from the axis to the border of the widest cap."""
    caps = [one for one in options_of(distribution) if isinstance(one, Cap)]
    widest = max(caps, key=lambda cap: cap.angle_deg) if caps else Cap((0.0, 0.0, 1.0), 70.0)
    axis = np.array(widest.axis) / np.linalg.norm(widest.axis)
    turn = rotation_between(np.array([0.0, 0.0, 1.0]), axis)

    def direction(away_deg: float, around_deg: float) -> list[float]:
        away, around = np.radians([away_deg, around_deg])
        vector = turn @ np.array([np.sin(away) * np.cos(around), np.sin(away) * np.sin(around), np.cos(away)])
        return [round(float(one), 4) for one in vector]

    half = widest.angle_deg * 0.7
    around = [k * 360 / num for k in range(num)]
    away = np.linspace(0, widest.angle_deg, num).tolist()
    return [
        Row(tuple(direction(half, one) for one in around), tuple(f"azimuth {one:.0f}" for one in around)),
        Row(tuple(direction(one, 60) for one in away), tuple(f"{one:.0f} from the axis" for one in away)),
    ]


def _plain(value: Sequence[float]) -> Any:
    """A value in the configuration's form: a number, whole if it is, or a list of several."""
    numbers = [int(one) if one == int(one) else float(one) for one in value]
    return numbers[0] if len(numbers) == 1 else numbers


def _caption(value: Any) -> str:
    if isinstance(value, str):
        return value
    return " ".join(f"{one:.3g}" for one in np.atleast_1d(value))
