"""The command that renders a dataset again, from the recipe in its manifest."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from simgen.command.grammar import setting
from simgen.command.keys import choices_of, groups_of, keys_of
from simgen.config import compose
from simgen.errors import SimgenError
from simgen.files import differences
from simgen.schema import Render

_FEW = 12  # settings beside a preset: no better preset is sought


def settings_again(manifest: Mapping[str, Any]) -> list[str] | None:
    """The settings key=value of `python -m simgen render` that make the dataset of `manifest` again, except `out` and
    `workers`; None if simgen did not render it, or with keys that this version lacks."""
    recipe = manifest.get("recipe")
    if not isinstance(recipe, Mapping) or "randomize" not in recipe:
        return None
    settings = [
        _setting(key, recipe[key])
        for key in ("scene", "seed", "renderer", "physics", "width", "height", "writer", "image_format")
        if recipe.get(key) is not None
    ]
    settings += [_setting(key, manifest[key]) for key in ("num", "start") if key in manifest]
    settings += [_setting(f"raycast.{key}", value) for key, value in recipe.get("raycast", {}).items()]
    plain = compose("render", Render)
    settings = [*_randomized(recipe["randomize"], plain), *_without_defaults(settings, asdict(plain))]
    try:
        compose("render", Render, settings)
    except SimgenError:  # a key of another version
        return None
    return settings


def command_of(settings: Sequence[str]) -> str:
    """The line of a shell that renders with `settings`."""
    return " ".join(["python -m simgen render", *map(shlex.quote, settings)])


def _randomized(wanted: Mapping[str, Any], plain: Render) -> list[str]:
    """A preset and the settings that differ from it, for the preset that needs the fewest. `plain` is the default."""
    default = groups_of("render")["randomize"]
    best: list[str] | None = None
    for preset in dict.fromkeys([default, "none", *choices_of("randomize")]):
        config = plain if preset == default else compose("render", Render, [f"randomize={preset}"])
        changed = [
            _setting(f"randomize.{key}", value)
            for key, _, value in differences(asdict(config.randomize), wanted)
            if value is not None
        ]
        if best is None or len(changed) < len(best) - 1:
            best = [f"randomize={preset}", *changed]
        if len(best) <= _FEW:
            break
    assert best is not None
    return best


def _without_defaults(settings: Sequence[str], plain: Mapping[str, Any]) -> list[str]:
    """`settings` without those that state what `render` does anyway, except the seed and the number of samples."""
    kept = []
    for one in settings:
        key, _, _ = one.partition("=")
        default: Any = plain
        for name in key.split("."):
            default = default.get(name) if isinstance(default, Mapping) else None
        if key in ("seed", "num") or _setting(key, default) != one:
            kept.append(one)
    return kept


def _setting(path: str, value: Any) -> str:
    """The setting of a key, which another version may have had."""
    return setting(keys_of(Render, groups_of("render")), path, value)
