"""Composes configurations from conf/ and the command line into dataclasses; the only module that uses Hydra and OmegaConf.

A command reads its configuration from conf/NAME.yaml and its settings from the command line: `python -m simgen render num=10
randomize=light`. All other modules get ordinary dataclasses, never a DictConfig. Hydra is imported lazily, because it is
slow to import and help does not need it.
"""

import contextlib
import difflib
import errno
import os
import pickle
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from simgen.command.arguments import Place, Setting, Typed, given_twice, jobs_of, take_apart, unknown_key
from simgen.command.effects import without_effect
from simgen.command.help import command_help, commands_help
from simgen.command.keys import Key, choices_of, groups_of, is_own_file, keys_of, read_conf
from simgen.errors import ConfigError, SimgenError
from simgen.resources import resource_folder
from simgen.yamlfile import read_yaml

T = TypeVar("T")

DONE, PARTLY, REFUSED, INTERRUPTED = 0, 1, 2, 130  # the exit statuses of all commands
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM, errno.EMFILE)  # errors of the disk, not of one file
_REFERENCE = re.compile(r"(?<!\\)\$\{[^{}]*\}")


@dataclass(frozen=True)
class Command:
    """One row of a command table: `schema` is the dataclass of conf/`name`.yaml, `run` gets an instance of it and may return
    an exit status. Words without a key are the values of the keys in `words`. `resumes` states whether the same command
    resumes an interrupted run. With `composed`, `run` gets the Composed, which also states what the user has set. With
    `swept`, values may be range(...), choice(...) or interval(...), which are left to `run`. `notes` gives further lines for
    the user about settings without effect, which depend on files."""

    help: str
    schema: type
    run: Callable[[Any], int | None]
    words: tuple[str, ...] = ()
    resumes: bool = False
    composed: bool = False
    swept: bool = False
    notes: "Callable[[Composed[Any]], Sequence[str]]" = lambda _: ()


@dataclass(frozen=True)
class Composed(Generic[T]):
    """A configuration: `value`, an instance of the schema; the choice of each group; all keys; the paths of those set by
    the user; and the command line."""

    value: T
    groups: dict[str, str]
    keys: dict[str, Key]
    given: tuple[str, ...]
    typed: Typed = field(default=Typed(()))


def compose(name: str, schema: type[T], overrides: Sequence[str] = ()) -> T:
    """The configuration conf/`name`.yaml with `overrides`, each `key=value`, as an instance of `schema`.

    Raises ConfigError that names the full key for an unknown key, a wrong type or a missing value.
    """
    return composed(name, schema, overrides).value


def composed(name: str, schema: type[T], overrides: Sequence[str] = ()) -> Composed[T]:
    """`compose`, with what `overrides` have set. Raises ConfigError as it does."""
    place = Place(name, schema)
    typed = Typed(tuple((path, text) for path, _, text in (override.partition("=") for override in overrides)))
    (settings,) = jobs_of(typed, place, values_of)
    return compose_job(place, settings)


def compose_job(place: Place, settings: Sequence[Setting]) -> Composed[Any]:
    """The configuration of one run. Raises ConfigError as `compose` does."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    given = {setting.key.path: setting for setting in settings}
    groups = groups_of(place.command) | {s.key.path: str(s.value) for s in settings if s.key.kind == "group"}
    keys = keys_of(place.schema, groups)
    for path in given:
        if path not in keys:  # in a sweep over groups, not all choices have the same keys
            raise ConfigError(
                f"{path}: no such key with {', '.join(f'{key}={value}' for key, value in groups.items())}"
            )
    _check_recipes(place, groups, keys)
    own = {group: read_own_file(group, choice) for group, choice in groups.items() if is_own_file(group, choice)}
    for group, content in own.items():
        for path in _paths(content, keys, f"{group}."):
            if path not in keys and path != f"{group}.defaults":
                raise ConfigError(f"{groups[group]}: {unknown_key(path, keys, groups, place)}")
            if path in keys and keys[path].kind == "section":
                raise ConfigError(f"{groups[group]}: {path}: expected {keys[path].expects}")
    names = {group: _store_own_file(group, groups[group], content) for group, content in own.items()}
    choices = [f"{s.key.path}={names.get(s.key.path, s.value)}" for s in settings if s.key.kind == "group"]
    plain = [s for s in settings if s.key.kind in ("section", "value")]
    try:
        with contextlib.ExitStack() as stack:
            # A reference to Hydra may be to all settings, and a file of the user's may change.
            if own or any("${hydra:" in str(s.value) for s in settings):
                overrides = [*choices, *(f"{s.key.path}={s.value}" for s in plain)]
                config = stack.enter_context(_hydra(place.command, place.schema, overrides))
            else:
                config = pickle.loads(_of_choices(place.command, place.schema, tuple(choices)))
                for setting in plain:
                    (override,) = OverridesParser.create().parse_overrides([f"{setting.key.path}={setting.value}"])
                    OmegaConf.update(config, setting.key.path, override.value())
            for setting in settings:
                if setting.key.kind not in ("group", "section", "value"):
                    OmegaConf.update(config, setting.key.path, _literal(setting.value), merge=False)
            # Not OmegaConf.missing_keys, which resolves references, such as ${scene}, to missing keys.
            missing = sorted(
                path
                for path, found in keys.items()
                if OmegaConf.is_missing(OmegaConf.select(config, path.rpartition(".")[0] or "."), found.name)
            )
            if missing:
                raise ConfigError(_missing(keys[missing[0]], place))
            value = OmegaConf.to_object(config)
    except (HydraException, OmegaConfBaseException) as error:
        path = _key_at_fault(error)
        if path in given:
            value = "nothing" if given[path].value == "" else given[path].value
            raise ConfigError(f"{path}: got {value}; expected {_expected(keys[path])}") from error
        raise ConfigError("".join(f"{groups[group]}: " for group in own) + _one_line(error)) from error
    if not isinstance(value, place.schema):  # NAME_schema is missing in the defaults list of conf/NAME.yaml
        raise ConfigError(
            f"conf/{place.command}.yaml is not a {place.schema.__name__}: its defaults list must begin with its schema"
        )
    return Composed(value, groups, keys, tuple(given))


def main(prog: str, commands: Mapping[str, Command], default: str | None = None) -> int:
    """Runs the command that sys.argv names and returns the process's exit status.

    0 done; 1 partly done; 2 a SimgenError or a file that cannot be read or written, with one line on stderr; 130
    interrupted. `prog` is the module that is run, or the path of a script, which has one command. `default` is the command
    of a call without one.
    """
    resumes = False
    try:
        name, arguments = _command(prog, commands, default)
        if name is None:
            print(commands_help(prog, {name: command.help for name, command in commands.items()}, default))
            return DONE if arguments else REFUSED
        command = commands[name]
        resumes = command.resumes
        others = {other: row.schema for other, row in commands.items() if other != name}
        status = _run(command, Place(name, command.schema, prog, command.words, others, command.swept), arguments)
        sys.stdout.flush()
        return status
    except SimgenError as error:
        return _fail(prog, str(error), getattr(error, "exit_status", REFUSED))
    except BrokenPipeError:  # the reader, such as `| head`, has closed the pipe
        with contextlib.suppress(OSError, ValueError):  # stdout may have no file descriptor
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PARTLY
    except OSError as error:
        if error.filename is None and error.errno not in _FULL:
            raise
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        return _fail(prog, ": ".join([*names, error.strerror or str(error)]))
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in ("simgen", "train"):  # a fault of this package
            raise
        return _fail(
            prog,
            f"{error.name} is not installed for {sys.executable}; activate the environment that simgen is installed in "
            "(source .venv/bin/activate), or install it: pip install -e .",
        )
    except KeyboardInterrupt:
        print(f"\n{prog}: interrupted{'; the same command resumes it' if resumes else ''}", file=sys.stderr)
        return INTERRUPTED


def _command(prog: str, commands: Mapping[str, Command], default: str | None) -> tuple[str | None, list[str]]:
    """The name of the command in sys.argv, or None for the general help, and its arguments."""
    arguments = sys.argv[1:]
    if arguments and arguments[0] in commands:
        return arguments[0], arguments[1:]
    is_word = bool(arguments) and "=" not in arguments[0] and not arguments[0].startswith("-")
    if is_word:
        near = difflib.get_close_matches(arguments[0], commands, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ConfigError(f"unknown command '{arguments[0]}': {hint}expected one of {', '.join(commands)}")
    if arguments and arguments[0] in ("-h", "--help") and len(commands) > 1:
        of_command = len(arguments) > 1 and arguments[1] in commands
        return (arguments[1], ["--help"]) if of_command else (None, arguments)
    if default is None and arguments:
        raise ConfigError(f"{arguments[0]}: the command comes first: expected one of {', '.join(commands)}")
    return default, arguments


def _run(command: Command, place: Place, arguments: Sequence[str]) -> int:
    typed = take_apart(arguments, place)
    jobs = jobs_of(typed, place, values_of)
    if typed.help:
        chosen = {setting.key.path: str(setting.value) for setting in jobs[0] if setting.key.kind == "group"}
        print(command_help(place, command.help, groups_of(place.command) | chosen))
        return DONE
    for line in given_twice(typed, place):
        print(f"{place.prog}: note: {line}", file=sys.stderr)
    statuses = []
    for settings in jobs:
        job = replace(compose_job(place, settings), typed=typed)
        for line in (*without_effect(job.value, job.groups, job.keys, job.given), *command.notes(job)):
            print(f"{place.prog}: note: {line}", file=sys.stderr)
        statuses.append(command.run(job if command.composed else job.value) or DONE)
    return max(statuses)


def _fail(prog: str, message: str, status: int = REFUSED) -> int:
    with contextlib.suppress(BrokenPipeError):
        print(f"{prog}: error: {' '.join(message.split())}", file=sys.stderr)
    return status


def values_of(key: str, text: str) -> list[str]:
    """The values of `key` in `text`, in Hydra's grammar: one, or several for a sweep such as 1,2 or range(0,3)."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        (override,) = OverridesParser.create().parse_overrides([f"{key}={text}"])
    except HydraException as error:
        raise ConfigError(
            f"{key}: cannot read {text!r}; expected a number, true, false, null, a word or a list such as [uniform,0,1]"
        ) from error
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    return [text]


@contextlib.contextmanager
def _hydra(command: str, schema: type, overrides: Sequence[str]) -> Iterator[Any]:
    """Hydra's configuration of conf/`command`.yaml with `overrides`, in which ${hydra:runtime.choices.GROUP} is known until
    exit. Then Hydra has its caller's state again."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig

    there, before = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(resource_folder("conf")), version_base="1.3"):
            _store(command, schema)
            config: Any = hydra.compose(command, list(overrides), return_hydra_config=True)
            HydraConfig.instance().set_config(config)
            del config._content["hydra"]
            yield config
    finally:
        GlobalHydra.instance().hydra, HydraConfig.instance().cfg = there, before


@cache
def _of_choices(command: str, schema: type, choices: tuple[str, ...]) -> bytes:
    """The configuration of these choices of groups, pickled: Hydra reads and merges some twenty files for it, which takes
    half a second, and reading it back takes a hundredth of that."""
    with _hydra(command, schema, choices) as config:
        return pickle.dumps(config)


def _store(name: str, schema: type) -> None:
    """Registers `schema` for conf/`name`.yaml, and the schemas in `options` of its fields for the files of their groups."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    store.store(name=f"{name}_schema", node=schema)
    for item in fields(schema):
        for option, node in item.metadata.get("options", {}).items():
            store.store(group=item.name, name=f"{option}_schema", node=node)


def read_own_file(group: str, path: str) -> dict[str, Any]:
    """The content of a user's own file of `group`, whose `defaults` end with _self_: it changes those presets. Raises
    ConfigError or SceneError that names the file."""
    content = read_yaml(Path(path))
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a mapping with keys as in conf/{group}/")
    defaults = content.get("defaults", [])
    known = [*choices_of(group), "_self_"]
    folder = resource_folder("conf") / group
    for name in defaults if isinstance(defaults, list) else [defaults]:
        if not isinstance(name, str) or (name not in known and not (folder / f"{name}.yaml").is_file()):
            raise ConfigError(f"{path}: defaults: got {name}; expected a list of {', '.join(known)}")
    return {**content, "defaults": [*(name for name in defaults if name != "_self_"), "_self_"]}


def _store_own_file(group: str, path: str, content: dict[str, Any]) -> str:
    """Registers `content` as a choice of `group` and returns its name: that of the file, unless conf/ has it already."""
    from hydra.core.config_store import ConfigStore

    name = re.sub(r"[^A-Za-z0-9_-]", "_", Path(path).stem)  # Hydra's grammar has no other words
    name = f"{name}-own" if name in choices_of(group) or not re.match(r"[A-Za-z_]", name) else name
    ConfigStore.instance().store(group=group, name=name, node=content)
    return name


def _literal(value: str | list[str] | None) -> str | list[str] | None:
    """`value` escaped so that OmegaConf takes it literally; `${key}` stays a reference."""
    if isinstance(value, list):
        return [str(_literal(item)) for item in value]
    if value is None or "${" not in value or _REFERENCE.search(value):
        return value
    return re.sub(r"(\\*)\$\{", lambda match: f"{match[1] * 2}\\${{", value)


def _check_recipes(place: Place, groups: Mapping[str, str], keys: Mapping[str, Key]) -> None:
    """Raises ConfigError if a recipe, a file that sets keys of the whole command, sets a key that the choice of another
    group lacks: experiment=kuka sets data.scenes, a key of data=stream."""
    for recipe, choice in groups.items():
        if any(path.startswith(f"{recipe}.") for path in keys):  # its file sets its own keys alone
            continue
        for path in _paths(read_conf(f"{recipe}/{choice}"), keys):
            group = path.partition(".")[0]
            able = [
                f"{group}={other}"
                for other in choices_of(group)
                if path not in keys and path in keys_of(place.schema, {**groups, group: other})
            ]
            if able:
                raise ConfigError(
                    f"{recipe}={choice}: is for {' or '.join(able)}, because it sets {path}, not for "
                    f"{group}={groups[group]}: leave out one of the two"
                )


def _paths(content: Mapping[str, Any], keys: Mapping[str, Key], above: str = "") -> Iterator[str]:
    """The keys that a file of conf/ with this `content` sets, and those of its keys that are unknown."""
    for name, value in content.items():
        path = f"{above}{name}"
        if isinstance(value, dict) and path in keys and keys[path].kind in ("group", "section"):
            yield from _paths(value, keys, f"{path}.")
        elif path != "defaults":
            yield path


def _missing(key: Key, place: Place) -> str:
    about = f" ({key.help})" if key.help else ""
    return f"{key.path}: missing{about}; write {key.path}=...; {place.help}"


def _expected(key: Key) -> str:
    return f"{key.expects}, or null" if key.optional else key.expects


def _key_at_fault(error: BaseException | None) -> str:
    """The key with a value of the wrong type if that is what `error` or its cause reports; else ""."""
    from omegaconf.errors import ValidationError

    while error is not None:
        if isinstance(error, ValidationError):
            return str(error.full_key)
        error = error.__cause__
    return ""


def _one_line(error: BaseException) -> str:
    causes: list[str] = []
    link: BaseException | None = error
    while link is not None:
        lines = [line.strip() for line in str(link).splitlines()]
        kept = [line for line in lines if line and not line.startswith(("object_type=", "See https://hydra"))]
        if kept and not any(kept[0] in cause for cause in causes):
            causes.append(" ".join(kept))
        link = link.__cause__
    return ": ".join(causes)
