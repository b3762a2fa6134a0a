"""The help texts of the commands: their table, and one line for each key of a command."""

from collections.abc import Iterator, Mapping
from typing import Any

from simgen.command.arguments import Place
from simgen.command.grammar import in_grammar, setting
from simgen.command.keys import Key, choices_of, keys_of, read_conf

_COLUMN = 36  # where explanations begin, unless a value reaches further
_LISTS = """
Values: out='my folder' (text is taken as typed; the quotes are for the shell), num=10, true or false, null for no value,
[a,b] for lists. -m before the settings runs each combination of comma-separated values."""
_FACTORS = """
A factor below randomize is a constant or a distribution: [uniform,low,high], [loguniform,low,high], [normal,mean,deviation],
[integer,low,high], [choice,a,b,...], [hsv,hue,saturation,value] or [cap,[x,y,z],angle_deg]; nominal and varied stand for the
scene file's own values. docs/randomization.md has the factors with their units and presets."""


def commands_help(prog: str, helps: Mapping[str, str], default: str | None) -> str:
    """The text of `python -m PROG --help`: a line for each command."""
    lines = [f"usage: python -m {prog} COMMAND [key=value ...]", ""]
    lines += [f"  {name:10} {text}{' (default)' if name == default else ''}" for name, text in helps.items()]
    return "\n".join([*lines, "", f"`python -m {prog} COMMAND --help` explains the command's keys."])


def command_help(place: Place, about: str, groups: Mapping[str, str]) -> str:
    """The text of `--help` of a command with the choices `groups`: each key with its explanation and, unless it is
    a factor, its default."""
    keys = keys_of(place.schema, groups)
    values: dict[str, Any] = dict(_flat(read_conf(place.command)))
    for group, choice in groups.items():
        if group != "randomize":
            values.update(_flat(read_conf(f"{group}/{choice}"), f"{group}."))
    values.update(groups)
    words = "".join(f" [{word.upper()}]" for word in place.words)
    lines = [f"usage: {place.call}{words} [key=value ...]", "", about, ""]
    lines += _lines(keys, values)
    factors = _FACTORS if any(path.startswith("randomize.") for path in keys) else ""
    return "\n".join([*lines, _LISTS, *([factors.lstrip()] if factors else [])])


def _lines(keys: Mapping[str, Key], values: Mapping[str, Any]) -> Iterator[str]:
    for path, key in keys.items():
        unit = f" [{key.unit}]" if key.unit else ""
        choices = f" ({', '.join(choices_of(path))})" if key.kind == "group" else ""
        if key.kind == "section":
            left = f"{path}.*"
        elif path in values:
            left = f"{path}=" if values[path] == "???" else setting(keys, path, values[path])
        else:
            left = path
        yield f"  {left:{_COLUMN}}  {key.help}{choices}{unit}"


def _flat(tree: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def shown(value: Any) -> str:
    """A value for a text: text as it is, all else as typed on the command line; "" for a required value."""
    if value == "???":
        return ""
    return value if isinstance(value, str) else in_grammar(value)
