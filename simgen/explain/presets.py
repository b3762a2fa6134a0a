"""The presets of conf/randomize/: the value that each gives each factor, and the values that a factor may have."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from typing import Any

from simgen.command.keys import Key, choices_of, groups_of, keys_of
from simgen.config import compose
from simgen.factors import LIMITS, MOST_SLOTS, bounds_of, words_of
from simgen.resources import resource_folder
from simgen.schema import Randomize, Render


def arms() -> list[str]:
    """The presets that vary one group of factors."""
    varying = resource_folder("conf") / "randomize" / "vary"
    return [preset for preset in choices_of("randomize") if (varying / f"{preset}.yaml").is_file()]


def preset_names() -> list[str]:
    """The names of all presets: `none`, those that vary one group, `full`, and the others."""
    ordered = ["none", *arms(), "full"]
    return [*ordered, *(name for name in choices_of("randomize") if name not in ordered)]


@cache
def values_of_preset(preset: str) -> Mapping[str, Any]:
    """The value of each key below randomize, by its path there: "camera.distance"."""
    return flat_values(compose("render", Render, [f"randomize={preset}"]).randomize)


def flat_values(randomize: Randomize) -> dict[str, Any]:
    """The value of each key of `randomize` by its path: "camera.distance"."""
    return _flat(asdict(randomize))


def factor_keys() -> dict[str, Key]:
    """All keys and sections below randomize, by their path there."""
    keys = keys_of(Render, groups_of("render"))
    begin = "randomize."
    return {path.removeprefix(begin): key for path, key in keys.items() if path.startswith(begin)}


def allowed_values(key: Key) -> str:
    """The values that a factor may have, in words."""
    if key.name == "slots":
        return f"0 to {MOST_SLOTS[key.path.split('.')[-2]]}"
    if key.kind == "text":
        return f"a {key.unit}"
    if key.name == "automatic":
        return key.expects
    if key.name in LIMITS:
        return "0 or a number below 2^32"
    if key.name == "model":
        return "the block set's names"
    words = words_of(key.path)
    if words:
        return ", ".join(words)
    count, low, high = bounds_of(key.path)
    numbers = "a number" if count == 1 else f"{count} numbers"
    if math.isinf(low) and math.isinf(high):
        return numbers
    return f"{numbers}, at least {low:g}" if math.isinf(high) else f"{numbers}, {low:g} to {high:.10g}"


def _flat(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{above}{name}.") if isinstance(value, dict) else {f"{above}{name}": value}
    return flat
