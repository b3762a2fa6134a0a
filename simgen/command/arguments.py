"""Parses a command line of settings `key=value` and checks them against the command's keys.

A key that holds text takes it as it was typed. Characters have no special meaning, with these exceptions: `~/` at the
beginning is the home folder, `${key}` is the value of another key, `null` is no value if the key allows that, and quotes
around the whole value are removed. A key that holds several texts takes `[text, text]`. All other values are in Hydra's
override grammar, which config.py reads.
"""

import difflib
import itertools
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from simgen.command.keys import Key, choices_of, groups_of, is_own_file, keys_of
from simgen.errors import ConfigError

_SETTING = re.compile(r"([+~]{0,2})([A-Za-z_][\w.]*)=(.*)", re.DOTALL)
# Functions of Hydra that state several values of a key; swept.py reads them.
_SWEPT = re.compile(r"(choice|range|interval|tag|shuffle|sort|int|float|str|bool|json_str)\(.*", re.DOTALL)
# Parses the text of a key in Hydra's grammar; several values for a sweep.
ValuesOf = Callable[[str, str], list[str]]

_NEAR = 0.72  # least difflib ratio of a mistyped key and a suggestion
_SHOWN = 4  # greatest number of keys that a message suggests


@dataclass(frozen=True)
class Setting:
    """A key with its text or texts, or, for a key of another kind, its value in Hydra's grammar."""

    key: Key
    value: str | list[str] | None


@dataclass(frozen=True)
class Place:
    """A command, `python -m PROG COMMAND` or the script `python PROG.py`, with the keys of `schema`.

    Words without a key are the values of the keys in `words`, in that order. If the last of these keys holds several texts,
    it gets all remaining words. `others` are the schemas of the other commands, for messages. With `swept`, a value may be
    range(...), choice(...) or interval(...): see simgen/command/swept.py.
    """

    command: str
    schema: type
    prog: str = ""
    words: tuple[str, ...] = ()
    others: Mapping[str, type] | None = None
    swept: bool = False

    @property
    def call(self) -> str:
        """The command as it is typed."""
        return (
            f"python {self.prog}" if self.prog.endswith(".py") else f"python -m {self.prog or 'simgen'} {self.command}"
        )

    @property
    def help(self) -> str:
        """The command that lists the keys."""
        return f"`{self.call} --help` lists the keys"


@dataclass(frozen=True)
class Typed:
    """A parsed command line. `settings` holds pairs of key and text, in order; `swept` those whose text is range(...),
    choice(...) or interval(...), of a command that takes such."""

    settings: tuple[tuple[str, str | list[str]], ...]
    help: bool = False
    sweep: bool = False
    swept: tuple[tuple[str, str], ...] = ()


def take_apart(arguments: Sequence[str], place: Place) -> Typed:
    """Options, keys and bare words of `arguments`. Raises ConfigError, which shows the correct form, for anything else."""
    settings: list[tuple[str, str | list[str]]] = []
    swept: list[tuple[str, str]] = []
    bare: list[str] = []
    wanted_help = sweep = False
    for k, argument in enumerate(arguments):
        match = _SETTING.fullmatch(argument)
        if argument in ("-h", "--help"):
            wanted_help = True
        elif argument in ("-m", "--multirun"):
            sweep = True
        elif match and not (place.words and _is_file(argument)):
            if match[1]:
                raise ConfigError(f"{argument}: leave out the {match[1]}: write {match[2]}={match[3]}")
            if place.swept and _SWEPT.fullmatch(match[3]):
                swept.append((match[2], match[3]))
            else:
                settings.append((match[2], match[3]))
        elif place.words and not argument.startswith("-") and not _is_key(argument, place):
            bare.append(argument)
        else:
            raise ConfigError(_not_a_setting(arguments, k, place))
    return Typed((*_with_bare(settings, bare, place),), wanted_help, sweep, tuple(swept))


def given_twice(typed: Typed, place: Place) -> list[str]:
    """A line for each key that `typed` sets more than once, to different values: the last one counts."""
    hold_several = {path for path, key in keys_of(place.schema, {}).items() if key.kind == "text or texts"}
    values: dict[str, list[str]] = {}
    for path, text in typed.settings:
        values.setdefault(path, []).append(f"[{','.join(text)}]" if isinstance(text, list) else text)
    return [
        f"{path} is given {len(texts)} times: {path}={texts[-1]} counts"
        + (f"; several are {path}=[{','.join(texts)}]" if path in hold_several else "")
        for path, texts in values.items()
        if len(set(texts)) > 1
    ]


def jobs_of(typed: Typed, place: Place, values_of: ValuesOf) -> list[list[Setting]]:
    """The settings of each run: one run, or with -m one for each combination of values. Those in `typed.swept` are left out,
    but their keys must exist.

    `values_of(key, text)` parses a text in Hydra's grammar to its values. Raises ConfigError for an unknown key, with the
    most similar known ones, and for an invalid value.
    """
    defaults = groups_of(place.command)
    chosen = {group: [choice] for group, choice in defaults.items()}
    columns: list[list[Setting]] = []
    for path, text in typed.settings:
        if path in chosen:
            chosen[path] = [_choice(path, choice) for choice in _alternatives(path, str(text), typed.sweep)]
    for group, choice in _implied(typed, place, defaults):
        chosen[group] = [choice]
        columns.append([Setting(keys_of(place.schema, defaults)[group], choice)])
    known: dict[str, Key] = {}
    for choices in itertools.product(*chosen.values()):
        known |= keys_of(place.schema, dict(zip(chosen, choices, strict=True)))
    for path, _ in (*typed.settings, *typed.swept):
        if path not in known:
            raise ConfigError(unknown_key(path, known, {group: some[0] for group, some in chosen.items()}, place))
    for path, text in typed.settings:
        columns.append(list(_settings_of(known[path], text, typed.sweep, values_of)))
    return [list(job) for job in itertools.product(*columns)]


def _implied(typed: Typed, place: Place, defaults: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The choices of groups that follow from the given keys: data.root, a key of data=bop only, implies data=bop."""
    paths = [path for path, _ in typed.settings]
    for group in defaults:
        if group in paths:
            continue
        known = {choice: keys_of(place.schema, {**defaults, group: choice}) for choice in choices_of(group)}
        for path in paths:
            owners = [choice for choice, keys in known.items() if path in keys]
            if path.startswith(f"{group}.") and path not in known[defaults[group]] and len(owners) == 1:
                yield group, owners[0]
                break


def unknown_key(path: str, known: Mapping[str, Key], chosen: Mapping[str, str], place: Place) -> str:
    """The message for the unknown key `path`, with the choice, command or similar keys that the user may have meant."""
    for group, choice in chosen.items():
        for other in choices_of(group):
            if path in keys_of(place.schema, {**chosen, group: other}):
                wanted = f"{path}: no such key with {group}={choice}; it is a key of {group}={other}"
                return f"{wanted}: add {group}={other}"
    above, _, name = path.rpartition(".")
    near = [
        f"{group}={choice}"
        for group in chosen
        if above in ("", group)
        for choice in difflib.get_close_matches(name, choices_of(group), 1, _NEAR)
    ]
    near += nearest(path, known)
    if near:
        return f"{path}: no such key of `{place.command}`; did you mean {_listed(near)}? {place.help}"
    owners = [
        command
        for command, schema in (place.others or {}).items()
        if path in keys_of(schema, groups_of(command)) and command != place.command
    ]
    if owners:
        return f"{path}: no key of `{place.command}`, but of {' and '.join(owners)}; {place.help}"
    return f"{path}: no such key of `{place.command}`; {place.help}"


def nearest(path: str, known: Mapping[str, Key]) -> list[str]:
    """The keys of `known` most similar to `path`, the likeliest first; the last part is compared first, then the whole."""

    def alike(one: str, two: str) -> float:
        return difflib.SequenceMatcher(None, one, two).ratio()

    name = path.rpartition(".")[2]
    scores = []
    for other, key in known.items():
        if key.kind == "section":
            continue
        by_name, by_path = alike(name.lower(), key.name), alike(path.lower(), other)
        if by_name >= _NEAR or by_path > 0.85:
            scores.append((round(max(by_name, by_path), 2), by_path, other))
    best = max((score for score, _, _ in scores), default=0.0)
    return [other for score, _, other in sorted(scores, key=lambda row: row[:2], reverse=True) if score > best - 0.1]


def read_text(key: Key, text: str) -> str | None:
    """The value of `text` for a key that holds text; None for no value. Raises ConfigError if it must not be empty."""
    if key.optional and text == "null":
        return None
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" and text[0] not in text[1:-1]:
        text = text[1:-1]
    if text == "" and not key.empty:
        raise ConfigError(f"{key.path}: got nothing; expected {key.expects}{', or null' if key.optional else ''}")
    return os.path.expanduser(text) if text == "~" or text.startswith(("~/", "~\\")) else text  # noqa: PTH111


def _settings_of(key: Key, text: str | list[str], sweep: bool, values_of: ValuesOf) -> Iterator[Setting]:
    if isinstance(text, list):
        yield Setting(key, [str(read_text(key, one)) for one in text])
    elif key.kind == "group":
        for choice in _alternatives(key.path, text, sweep):
            yield Setting(key, _choice(key.path, choice))
    elif key.kind in ("text", "texts", "text or texts"):
        for one in split(text) if sweep else [text]:
            yield Setting(key, _read(key, one))
    else:
        if key.kind == "section" and not text.startswith("{"):
            raise ConfigError(f"{key.path}: got {text}; that is a section: set {key.expects}")
        values = values_of(key.path, text)
        if len(values) > 1 and not sweep:
            raise ConfigError(
                f"{key.path}: got {text}; expected {key.expects}; to run once for each, write -m before it"
            )
        for value in values:
            yield Setting(key, value)


def _read(key: Key, text: str) -> str | list[str] | None:
    if key.kind == "text" or not (text.startswith("[") and text.endswith("]")):
        one = read_text(key, text)
        return [one] if key.kind == "texts" and one is not None else one
    return [str(read_text(replace(key, optional=False), item)) for item in split(text[1:-1])]


def split(text: str) -> list[str]:
    """The parts of `text` between commas. Commas in `${...}`, or in quotes or brackets at the beginning of a part, do not
    split."""
    parts, part, closing = [], "", ""
    for character in text:
        if not closing and character == ",":
            parts.append(part.strip())
            part = ""
            continue
        if not closing and not part.strip() and character in "'\"[":
            closing = "]" if character == "[" else character
        elif not closing and character == "{" and part.endswith("$"):
            closing = "}"
        elif character == closing:
            closing = ""
        part += character
    return [*parts, part.strip()] if part.strip() or parts else []


def _alternatives(group: str, text: str, sweep: bool) -> list[str]:
    if "," in text and not sweep:
        raise ConfigError(f"{group}: got {text}; expected one choice; to run once for each, write -m before it")
    return [part.strip("'\"") for part in split(text)] if text else [""]


def _choice(group: str, choice: str) -> str:
    choices = choices_of(group)
    if choice in choices:
        return choice
    if is_own_file(group, choice):
        path = Path(choice).expanduser()
        if path.is_file():
            return str(path)
        raise ConfigError(f"{group}: {choice}: no such file; expected a .yaml file, or one of {', '.join(choices)}")
    near = difflib.get_close_matches(choice, choices, 1, _NEAR)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ConfigError(f"{group}: got {choice or 'nothing'}; {hint}expected one of {', '.join(choices)}")


def _with_bare(settings: list[tuple[str, str | list[str]]], bare: list[str], place: Place) -> Iterator[tuple[str, Any]]:
    """`settings` with the bare words assigned to their keys."""
    hold_several = {path for path, key in keys_of(place.schema, {}).items() if key.kind == "text or texts"}
    given = dict(settings)
    for path in place.words:
        if path in hold_several and bare:
            typed = str(given[path]) if path in given else None
            first = [] if typed is None else split(typed[1:-1]) if typed[:1] == "[" and typed[-1:] == "]" else [typed]
            settings = [(other, text) for other, text in settings if other != path]
            yield path, [*first, *bare] if first or len(bare) > 1 else bare[0]
            bare = []
        elif path not in given and bare:
            yield path, bare.pop(0)
    if bare:
        raise ConfigError(f"{bare[0]}: unexpected word; settings are key=value; {place.help}")
    yield from settings


def _is_file(argument: str) -> bool:
    try:
        return Path(argument).exists()
    except OSError:  # the text is longer than a name may be, such as a list of folders
        return False


def _is_key(argument: str, place: Place) -> bool:
    """Whether a bare word is the name of a key, as in `--key value`, and not of a file, nor the value of a key whose values
    are names of keys."""
    if any(item.metadata.get("names_keys") for item in fields(place.schema) if item.name in place.words):
        return False
    return argument in keys_of(place.schema, groups_of(place.command)) and not _is_file(argument)


def _all_keys(place: Place) -> dict[str, Key]:
    """The keys of `place` for all choices of its groups, those of the default choices first."""
    groups = groups_of(place.command)
    known = keys_of(place.schema, groups)
    for choices in itertools.product(*(choices_of(group) for group in groups if group != "randomize")):
        known = keys_of(place.schema, {**groups, **dict(zip(groups, choices, strict=False))}) | known
    return known


def _not_a_setting(arguments: Sequence[str], k: int, place: Place) -> str:
    """The message for the argument `k`, which is not key=value, with the correct form."""
    known = _all_keys(place)
    name, equals, value = arguments[k].partition("=")
    if not equals and k + 2 < len(arguments) and arguments[k + 1] == "=":  # spaces around it
        value = arguments[k + 2]
    elif not equals and k + 1 < len(arguments) and "=" not in arguments[k + 1]:
        value = arguments[k + 1]
    path = name.lstrip("-").replace("-", "_")
    if len(path) == 1:
        near = [other for other in known if other.startswith(path) and "." not in other]
    else:
        near = [other for other in known if other.replace(".", "_") == path]
        near = near or (nearest(path, known) if name.startswith("-") else [])
    if near:
        return f"{name}: write {near[0]}={value or 'VALUE'}"
    if place.words and _is_file(arguments[k]):
        return f"{arguments[k]}: begins with a dash: write {place.words[0]}={arguments[k]} or ./{arguments[k]}"
    if name.startswith("-"):
        return f"{name}: no such option; settings are key=value; {place.help}"
    before = (
        f", and a value with spaces in quotes: '{arguments[k - 1]} {name}'" if k and "=" in arguments[k - 1] else ""
    )
    return f"{name}: settings are written as key=value{before}; {place.help}"


def _listed(keys: Sequence[str]) -> str:
    return ", ".join(keys[:_SHOWN]) + (", ..." if len(keys) > _SHOWN else "")
