"""Reports settings without effect: the schema states which values of other keys each key needs."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase as fnmatch
from typing import Any

from simgen.command.keys import Key
from simgen.errors import ConfigError

_STATED = ("camera_from_table",)  # what a condition may ask of a camera file
_OF_THE_SCENE = {"nominal", "varied"}  # stand for values in the scene file, which are not known here


def without_effect(
    config: Any, groups: Mapping[str, str], keys: Mapping[str, Key], given: tuple[str, ...]
) -> list[str]:
    """A message for each of the keys `given` that has no effect in `config`, whose groups have the choices `groups`."""
    lines = []
    for path in given:
        if keys[path].idle:
            lines.append(f"{path} has no effect: {keys[path].idle}")
            continue
        for condition in keys[path].needs:
            unmet = _unmet(condition, config, groups, keys)
            if unmet is not None:
                lines.append(f"{path} has no effect with {unmet}; it needs {in_words(condition)}")
                break
    return lines


def _unmet(condition: str, config: Any, groups: Mapping[str, str], keys: Mapping[str, Key]) -> str | None:
    """`key=value` of the key in `condition` if the condition is not met; None if it is met or the key is unknown."""
    differs = "!=" in condition
    path, _, wanted = condition.partition("!=" if differs else "=")
    file, _, name = path.rpartition(".")
    if file in keys and name in _STATED:
        return f"{file}={_value(config, file)}" if _states(_value(config, file), name) else None
    if path not in keys:
        return None
    value = groups[path] if path in groups else _value(config, path)
    there = set(_words(value))
    if there & _OF_THE_SCENE:
        return None
    options = wanted.split("|")
    matches = [any(fnmatch(word, option) for option in options) for word in there]
    met = not all(matches) if differs else any(matches)
    return None if met else f"{path}={next(_words(value)) if len(there) == 1 else value}"


def in_words(condition: str) -> str:
    """The text of a condition of the schema, for messages."""
    path, differs, wanted = condition.partition("!=")
    if differs:
        return f"{path} other than {wanted}"
    path, _, wanted = condition.partition("=")
    if not wanted:
        return f"no {path}"
    file, _, name = path.rpartition(".")
    return f"no {file} with {name}" if wanted == "null" and name in _STATED else condition.replace("|", " or ")


def _states(file: str, name: str) -> bool:
    """Whether the camera file `file` states `name`; not if there is none, or none that can be read, as reading it says."""
    if not file:
        return False
    from simgen.camera import read_camera  # heavy: only for those who have such a file

    try:
        return getattr(read_camera(file), name) is not None
    except ConfigError:
        return False


def _value(config: Any, path: str) -> Any:
    for name in path.split("."):
        config = getattr(config, name)
    return config


def _words(value: Any) -> Iterator[str]:
    """All numbers and words in a value, formatted as in conditions."""
    if isinstance(value, list):
        for item in value:
            yield from _words(item)
    elif value is None:
        yield "null"
    elif isinstance(value, bool):
        yield str(value).lower()
    else:
        yield f"{value:g}" if isinstance(value, int | float) else str(value)
