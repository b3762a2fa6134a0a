"""The control of each factor, `controls_of(config, world)`: which kind of input it needs, its range, and how the input's
value and the factor's leaf in the configuration become each other."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import yaml

from simgen.catalogue import World
from simgen.command.keys import Key
from simgen.config import compose
from simgen.distributions import Distribution
from simgen.errors import ConfigError, SimgenError
from simgen.factors import MOST_SLOTS, bounds_of, is_whole, leaves_of, names_of
from simgen.geometry import Array
from simgen.live.schema import Live
from simgen.live.settings import value_at
from simgen.schema import Preview

Kind = Literal["slider", "number", "switch", "words", "color", "vector", "text"]

# What has a value of its own of each factor of a section.
_EACH = {"blocks": "block", "distractors": "distractor", "clutter": "object", "light": "light", "fixture": "box"}
_STEPS = 200  # of a slider, at least
_MOST_SLOTS = 30  # of a slider
_MOST_WHOLE = 1000  # a slider of whole numbers has at most as many


@dataclass(frozen=True)
class Control:
    """The control of the factor with the full key `path`.

    - slider: a number from `low` to `high` in steps of `step`, only whole ones if `whole`; number: likewise without a slider
    - switch: whether the factor is 1; words: one of `words`
    - color: three numbers from 0 to 1, as an input of 0 to 255
    - vector: two or three numbers; text: the leaf as YAML, for factors of more numbers
    """

    path: str
    kind: Kind
    about: str
    leaf: Any
    dim: int = 1
    low: float = -math.inf
    high: float = math.inf
    step: float = 0.0
    whole: bool = False
    words: tuple[str, ...] = ()
    indices: tuple[int, ...] = ()  # of the words, as factors are drawn

    @property
    def section(self) -> tuple[str, ...]:
        """The parts of the key between `randomize` and the name."""
        return tuple(self.path.split(".")[1:-1])

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]

    @cached_property
    def hint(self) -> str:
        """What the factor is, its unit, whose value is shown, and its leaf in the configuration."""
        one = _EACH.get(self.section[0]) if self.section and self.name not in ("count", "slots") else None
        first = f" Shown: that of the first {one}; set or fixed, it is that of all." if one else ""
        return f"{self.about}.{first} Configured: {leaf_text(self.leaf)}"

    def shown(self, values: Array) -> Any:
        """The input's value for a sample with the numbers `values` (dim,) of the factor."""
        if self.kind == "words":
            return self.words[self.indices.index(int(values[0]))]
        if self.kind == "switch":
            return bool(values[0] > 0.5)
        if self.kind == "color":
            return tuple(int(x) for x in np.clip(np.rint(255 * values), 0, 255))
        if self.kind == "vector":
            return tuple(float(x) for x in values)
        if self.kind == "text":
            return leaf_text([float(f"{x:.6g}") for x in values])
        number = float(np.clip(values[0], self.low, self.high))
        return round(number) if self.whole else number

    def fixed(self, values: Array) -> Any:
        """The leaf that fixes the factor to the numbers `values` (dim,) of a sample, exactly: they are not rounded."""
        if self.kind == "words":
            return self.shown(values)
        numbers = _numbers(values)
        return numbers[0] if len(numbers) == 1 else numbers

    def read(self, shown: Any) -> Any:
        """The leaf for the input's value `shown`. Raises ConfigError if it is not one."""
        if self.kind == "text":
            return read_leaf(self.path, str(shown))
        if self.kind == "switch":
            return int(shown)
        if self.kind == "color":
            return [round(x / 255, 4) for x in shown]
        if self.kind == "vector":
            return [float(f"{x:.6g}") for x in shown]
        if self.kind == "words":
            return shown
        return round(shown) if self.whole else float(f"{shown:.6g}")


def controls_of(config: Live, world: World, keys: Mapping[str, Key]) -> list[Control]:
    """A control for every factor of `config`, and for the numbers of slots, in the order of the schema. Raises ConfigError
    for an invalid factor."""
    leaves = leaves_of(config.randomize, world)
    wide = _leaves_of_full(world)
    controls = [
        _control(f"randomize.{path.replace('/', '.')}", leaf, wide.get(path, leaf), config, world, keys)
        for path, leaf in leaves.items()
    ]
    for section, most in MOST_SLOTS.items():
        slots = keys[f"randomize.{section}.slots"]
        before = next(k for k, control in enumerate(controls) if control.section == (section,))
        leaf = value_at(config, slots.path)
        about = f"{slots.help} ({slots.unit})"
        controls.insert(
            before, Control(slots.path, "slider", about, leaf, 1, 0, max(leaf, min(most, _MOST_SLOTS)), 1, True)
        )
    return controls


def read_leaf(path: str, text: str) -> Any:
    """The leaf that `text` is in YAML, such as [uniform, 0.5, 1]. Raises ConfigError that begins with `path`."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: cannot read {text!r}; expected a number, a word or [kind, arguments...]") from error


def leaf_text(leaf: Any) -> str:
    """`leaf` as YAML in one line."""
    return yaml.safe_dump(leaf, default_flow_style=True, width=math.inf).removesuffix("\n").removesuffix("\n...")


def _leaves_of_full(world: World) -> dict[str, Distribution]:
    """The distributions of randomize=full, for the ranges of factors that do not vary; none if the scene lacks its words."""
    try:
        return leaves_of(compose("preview", Preview, ["randomize=full"]).randomize, world)
    except SimgenError:
        return {}


def _control(
    path: str, leaf: Distribution, wide: Distribution, config: Live, world: World, keys: Mapping[str, Key]
) -> Control:
    key = keys[path]
    value = value_at(config, path)
    about = f"{key.help} ({key.unit})" if key.unit else key.help
    named = names_of(path, world)
    if named:
        return Control(path, "words", about, value, words=tuple(named), indices=tuple(named.values()))
    dim, least, greatest = bounds_of(path)
    if dim == 3 and (least, greatest) == (0, 1) and key.name in ("color", "color2"):
        return Control(path, "color", about, value, dim)
    if dim > 1:
        return Control(path, "vector" if dim < 4 else "text", about, value, dim)
    whole = is_whole(path)
    if whole and (least, greatest) == (0, 1):
        return Control(path, "switch", about, value)
    low, high = _range(leaf, wide, least, greatest, 45.0 if key.name.endswith("_deg") else 1.0)
    if key.name == "count":
        low, high = 0.0, max(high, value_at(config, f"{path.rpartition('.')[0]}.slots"))
    if whole:
        if greatest - least <= _MOST_WHOLE:
            low, high = least, greatest
        kind: Kind = "slider" if high - low <= _MOST_WHOLE else "number"
        return Control(path, kind, about, value, 1, math.floor(low), math.ceil(high), 1, True)
    return Control(path, "slider", about, value, 1, low, high, _step(high - low))


def _range(leaf: Distribution, wide: Distribution, least: float, greatest: float, reach: float) -> tuple[float, float]:
    """The range of a slider: the support of the distributions `leaf` and `wide`; for constants the bounds, or at least
    `reach` on each side of the constant where there are none."""
    supports = [one.support() for one in (leaf, wide)]
    low, high = min(float(s[0][0]) for s in supports), max(float(s[1][0]) for s in supports)
    if low == high:
        reach = max(reach, abs(low))
        low = least if math.isfinite(least) else low - reach
        high = greatest if math.isfinite(greatest) else high + reach
    step = _step(high - low)
    low, high = (float(f"{end:.9g}") for end in (math.floor(low / step) * step, math.ceil(high / step) * step))
    return max(least, low), min(greatest, high)


def _step(span: float) -> float:
    """The greatest of 1, 2 and 5 times a power of ten that divides `span` into at least _STEPS."""
    power = 10.0 ** math.floor(math.log10(span / _STEPS))
    return max(power * factor for factor in (1, 2, 5) if power * factor <= span / _STEPS * (1 + 1e-9))


def _numbers(values: Array) -> list[float | int]:
    """`values` as plain numbers, whole ones as int."""
    return [int(x) if x == int(x) else float(x) for x in values]
