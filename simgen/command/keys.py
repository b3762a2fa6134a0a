"""The keys of a command: allowed values, explanation, and the keys that each depends on.

A schema is a dataclass. The metadata of a field made by `key` hold its explanation; the commands' help and
docs/randomization.md are generated from it.
"""

import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING as ABSENT
from dataclasses import Field, dataclass, field, fields, is_dataclass, replace
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from simgen.errors import ConfigError
from simgen.resources import resource_folder

MISSING: Any = "???"  # OmegaConf's value for a required key

Kind = Literal["text", "texts", "text or texts", "value", "section", "group"]
_OWN_FILES = (
    "randomize",
)  # groups whose choice may be the path of a user's own file: those with one schema for all files


def key(help: str, default: Any = ABSENT, *, unit: str = "", needs: str = "", idle: str = "", **metadata: Any) -> Any:
    """A field of a schema. `default` may be a class, which is then called for each instance.

    `unit` is the unit of its values, `choices` are its allowed words. `needs` is a condition on another key, without which
    this key, and all keys below it, have no effect: `key=value`, `key=value|value` or `key!=value`. In a condition, a key
    that begins with a dot is in the same section as the field; `key=` is met if the key is empty, and
    `key.camera_from_table=null` if its camera file states no pose. `idle` is why it never has an effect; `unread` says so of
    the keys of a section that the command does not read, by name. `regardless` is a key on whose value this one does not
    depend, even if a section above it does. `names_keys` states that its values are names of keys.
    """
    metadata |= {"help": help, "unit": unit, "needs": needs, "idle": idle}
    if isinstance(default, type) or callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(metadata=metadata) if default is ABSENT else field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Key:
    """One key of a command. `path` is dotted; `expects` describes its values; `needs` are conditions with full keys, its own
    and those of the sections above it; `idle` is why it never has an effect, "" if it has."""

    path: str
    kind: Kind
    expects: str
    help: str
    unit: str
    optional: bool  # whether it may be null
    empty: bool  # whether it may be ""
    needs: tuple[str, ...]
    idle: str

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]


def check_choices(config: Any) -> None:
    """Raises ConfigError for the first field of the schema `config` whose value is none of its `choices`."""
    for item in fields(config):
        words, value = item.metadata.get("choices"), getattr(config, item.name)
        if words and value is not None and value not in words:
            raise ConfigError(f"{item.name}: got '{value}'; expected one of {', '.join(words)}")


def keys_of(schema: type, groups: Mapping[str, str]) -> dict[str, Key]:
    """All keys and sections of `schema` by path, where `groups` maps each group to its choice.

    A group whose choices have their own schemas (`options` in the metadata of its field) has the keys of its choice, none if
    the choice is unknown.
    """
    return dict(_keys_of(schema, tuple(groups.items())))


@cache
def _keys_of(schema: type, groups: tuple[tuple[str, str], ...]) -> dict[str, Key]:
    return {found.path: found for found in _walk(schema, dict(groups), "", (), {})}


def groups_of(command: str) -> dict[str, str]:
    """The groups in the defaults list of conf/`command`.yaml with their default choices, in that order."""
    chosen: dict[str, str] = {}
    for item in read_conf(command)["defaults"]:
        if isinstance(item, dict):
            chosen.update({str(group): str(choice) for group, choice in item.items()})
    return chosen


def choices_of(group: str) -> list[str]:
    """The choices of `group`: the files in conf/`group`/."""
    return sorted(path.stem for path in (resource_folder("conf") / group).glob("*.yaml"))


def is_own_file(group: str, choice: str) -> bool:
    """Whether `choice` is the path of a user's own file, and not the name of a file in conf/`group`/."""
    return group in _OWN_FILES and choice.lower().endswith((".yaml", ".yml"))


@cache
def read_conf(name: str) -> Any:
    """The content of conf/`name`.yaml itself, without the files in its defaults list."""
    return yaml.safe_load((resource_folder("conf") / f"{name}.yaml").read_text(encoding="utf-8"))


def _walk(
    schema: type, groups: Mapping[str, str], above: str, needs: tuple[str, ...], unread: Mapping[str, str]
) -> Iterator[Key]:
    hints = get_type_hints(schema)
    for item in fields(schema):
        path = f"{above}{item.name}"
        apart = item.metadata.get("regardless", "")
        below = (*(need for need in needs if not apart or not need.startswith(f"{apart}=")), *_needs_of(item, above))
        hint, inner = hints[item.name], None
        if is_dataclass(hint):
            inner = hint
        elif "options" in item.metadata:
            inner = _schema_of(path, groups.get(path, ""), item.metadata["options"])
        if inner is not None or "options" in item.metadata:
            kind: Kind = "group" if path in groups else "section"
            expects = f"one of {', '.join(choices_of(path))}" if kind == "group" else f"the keys {path}.*"
            if path in _OWN_FILES and kind == "group":
                expects += ", or the path of your own .yaml file"
            yield _key_of(item, path, kind, expects, False, below)
            if inner is not None:
                yield from _walk(inner, groups, f"{path}.", below, item.metadata.get("unread", {}))  # type: ignore[arg-type]
        elif path in groups:  # its files set keys of the whole command
            yield _key_of(item, path, "group", f"one of {', '.join(choices_of(path))}", False, below)
        else:
            found = _key_of(item, path, *_values_of(hint, item), below)
            yield replace(found, idle=unread.get(item.name, found.idle))


def _key_of(item: Field[Any], path: str, kind: Kind, expects: str, optional: bool, needs: tuple[str, ...]) -> Key:
    help, unit, idle = (item.metadata.get(name, "") for name in ("help", "unit", "idle"))
    return Key(path, kind, expects, help, unit, optional, item.default == "", needs, idle)


def _needs_of(item: Field[Any], above: str) -> tuple[str, ...]:
    condition = item.metadata.get("needs", "")
    return (above.removesuffix(".") + condition if condition.startswith(".") else condition,) if condition else ()


def _values_of(hint: Any, item: Field[Any]) -> tuple[Kind, str, bool]:
    """The kind of values of a key of type `hint`, its description for messages, and whether it may be null."""
    options = set(get_args(hint)) if get_origin(hint) in (Union, types.UnionType) else {hint}
    words = item.metadata.get("choices")
    optional = type(None) in options
    options -= {type(None)}
    if item.metadata.get("texts"):  # OmegaConf has no type for "one text or several"
        return "text or texts", "a text, or [text, text, ...]", optional
    (plain,) = options if len(options) == 1 else (Any,)
    if plain is str:
        return "text", f"one of {', '.join(words)}" if words else "a text", optional
    if get_origin(plain) is list:
        inner = get_args(plain)[0]
        return ("texts", "[text, text, ...]", optional) if inner is str else ("value", _LISTS[inner], optional)
    return "value", _WORDS.get(plain, "a number, words or [kind, arguments...]"), optional


_WORDS = {int: "a whole number", float: "a number", bool: "true or false"}
_LISTS = {int: "[whole number, ...]", float: "[number, ...]"}


@cache
def _default_schema(group: str, choice: str) -> str:
    """The name of the schema in the defaults list of conf/`group`/`choice`.yaml; "" if there is no such file."""
    return str(read_conf(f"{group}/{choice}")["defaults"][0]).removesuffix("_schema") if choice else ""


def _schema_of(group: str, choice: str, options: Mapping[str, type]) -> type | None:
    return options.get(_default_schema(group, choice))
