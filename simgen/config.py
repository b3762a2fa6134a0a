"""From conf/ and the command line to plain dataclasses; the only file that knows Hydra and OmegaConf.

A command is a Hydra application: `python -m simgen render num=10 randomize=light`. Everything below this file sees
ordinary dataclasses, never a DictConfig.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from simgen.errors import ConfigError, SimgenError
from simgen.resources import resource_folder

T = TypeVar("T")

# simgen writes where `out` says and nowhere else: Hydra keeps no folder and no log of its own, and changes no directory.
_QUIET = [
    "hydra/job_logging=none",
    "hydra/hydra_logging=none",
    "hydra.output_subdir=null",
    "hydra.run.dir=.",
    "hydra.sweep.subdir=.",
]


@dataclass(frozen=True)
class Command:
    """One row of a command table: `schema` is the dataclass of conf/`name`.yaml, `run` gets an instance of it. The first
    words without a key, where there are any, are the values of the keys in `words`."""

    help: str
    schema: type
    run: Callable[[Any], None]
    words: tuple[str, ...] = ()

    def named(self, arguments: Sequence[str]) -> list[str]:
        """`arguments` with a key before each of the first words."""
        rest, first = list(arguments), []
        for key in self.words:
            if not (rest and _is_word(rest[0])):
                break
            value = rest.pop(0).replace("\\", "\\\\").replace("'", "\\'")
            first.append(f"{key}='{value}'")
        return [*rest, *first]


def compose(name: str, schema: type[T], overrides: Sequence[str] = ()) -> T:
    """The configuration conf/`name`.yaml with `overrides` applied, as an instance of `schema`.

    Raises ConfigError that names the full key for an unknown key, a wrong type or a missing value.
    """
    _store(name, schema)
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(resource_folder("conf")), version_base="1.3"):
            return _plain(hydra.compose(name, list(overrides)), schema)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_one_line(error)) from error


def main(prog: str, commands: Mapping[str, Command], default: str | None = None) -> int:
    """Runs the command that sys.argv names and returns the process's exit status.

    0 done; 1 done but for some inputs, 2 any other SimgenError (one line on stderr); 130 interrupted. `default` is the
    command of a bare call.
    """
    arguments = sys.argv[1:]
    if arguments and arguments[0] in commands:
        name, arguments = arguments[0], arguments[1:]
    elif default is not None and not (arguments and (arguments[0] in ("-h", "--help") or _is_word(arguments[0]))):
        name = default
    else:
        return _usage(prog, commands, default, arguments)
    command = commands[name]
    _store(name, command.schema)
    # Hydra would print a traceback's end and exit by itself; this makes it raise, so that there is one place for errors.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    arguments = command.named(arguments)
    # Hydra's parser wants all overrides in one run: ours stand beside the user's first.
    place = next((k for k, argument in enumerate(arguments) if "=" in argument and argument[0] != "-"), len(arguments))
    failures: list[SimgenError] = []

    def job(config: Any) -> None:
        if failures:  # an earlier job of a sweep
            return
        try:
            command.run(_plain(config, command.schema))
        except SimgenError as error:  # Hydra would print a line of its own about it
            failures.append(error)

    try:
        with tempfile.TemporaryDirectory() as nowhere:  # a sweep leaves its multirun.yaml there
            sweep = f"hydra.sweep.dir='{nowhere}'"
            sys.argv = [f"{prog} {name}", *arguments[:place], *_QUIET, sweep, *arguments[place:]]
            hydra.main(version_base="1.3", config_path=str(resource_folder("conf")), config_name=name)(job)()
    except (HydraException, OmegaConfBaseException) as error:
        return _fail(prog, _one_line(error))
    except KeyboardInterrupt:
        print(f"\n{prog}: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return _fail(prog, str(failures[0]), failures[0].exit_status) if failures else 0


def _store(name: str, schema: type) -> None:
    """Makes `schema` known to conf/`name`.yaml, and to the files of each group what `options` says in its field's
    metadata."""
    store = ConfigStore.instance()
    store.store(name=f"{name}_schema", node=schema)
    for item in fields(schema):
        for option, node in item.metadata.get("options", {}).items():
            store.store(group=item.name, name=f"{option}_schema", node=node)


def _plain(config: Any, schema: type[T]) -> T:
    plain = OmegaConf.to_object(config)
    if not isinstance(plain, schema):  # conf/NAME.yaml lost NAME_schema from its defaults list
        raise ConfigError(f"the configuration is not a {schema.__name__}: its defaults list must begin with its schema")
    return plain


def _one_line(error: BaseException) -> str:
    causes: list[str] = []
    link: BaseException | None = error
    while link is not None:
        lines = [line.strip() for line in str(link).splitlines()]
        kept = [line for line in lines if line and not line.startswith("object_type=")]
        if kept and not any(kept[0] in cause for cause in causes):
            causes.append(" ".join(kept))
        link = link.__cause__
    return ": ".join(causes)


def _is_word(argument: str) -> bool:
    return "=" not in argument and not argument.startswith(("-", "+", "~"))


def _fail(prog: str, message: str, status: int = 2) -> int:
    print(f"{prog}: error: {' '.join(message.split())}", file=sys.stderr)
    return status


def _usage(prog: str, commands: Mapping[str, Command], default: str | None, arguments: Sequence[str]) -> int:
    if arguments and arguments[0] not in ("-h", "--help"):
        return _fail(prog, f"unknown command '{arguments[0]}': expected one of {', '.join(commands)}")
    print(f"usage: python -m {prog} COMMAND [key=value ...]\n")
    for name, command in commands.items():
        print(f"  {name:10} {command.help}{' (default)' if name == default else ''}")
    print(f"\n`python -m {prog} COMMAND --help` prints the command's configuration; every key can be set as key=value.")
    return 0 if arguments else 2
