"""What the page sets: seed, index and factors. As a configuration, a command line and a preset of conf/randomize/."""

import copy
import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from simgen.catalogue import load_world, without_fixtures
from simgen.command.effects import without_effect
from simgen.command.grammar import setting
from simgen.command.keys import is_own_file
from simgen.config import Composed, read_own_file
from simgen.errors import ConfigError
from simgen.factors import check_factors, leaves_of
from simgen.files import write_new_file
from simgen.live.schema import Live

_ONLY_LIVE = ("host", "port", "presets", "start", "seed", "width", "height")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Settings:
    """A command line of `live`, and the changes since: `factors` are the factors set on the page, each full key's leaf."""

    composed: Composed[Live]
    seed: int
    index: int
    factors: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(composed: Composed[Live]) -> "Settings":
        return Settings(composed, composed.value.seed, composed.value.start)

    def with_factor(self, path: str, leaf: Any) -> "Settings":
        """With another leaf for the factor with the full key `path`."""
        return replace(self, factors={**self.factors, path: leaf})

    def without_factor(self, path: str) -> "Settings":
        """With the leaf of the command line for the factor `path`."""
        return replace(self, factors={key: leaf for key, leaf in self.factors.items() if key != path})

    def leaf(self, path: str) -> Any:
        """The leaf of the factor with the full key `path`."""
        return self.factors[path] if path in self.factors else value_at(self.composed.value, path)

    def config(self) -> Live:
        """The configuration that these settings are."""
        source = self.composed.value
        config = replace(source, seed=self.seed, start=self.index, randomize=copy.deepcopy(source.randomize))
        for path, leaf in self.factors.items():
            above, _, name = path.rpartition(".")
            setattr(value_at(config, above), name, leaf)
        return config

    def notes(self) -> list[str]:
        """A message for each factor set on the page that has no effect."""
        composed, given = self.composed, tuple(self.factors)
        return [
            *without_effect(self.config(), composed.groups, composed.keys, given),
            *without_fixtures([composed.value.scene], given),
        ]

    def command(self) -> str:
        """The command line that renders this picture."""
        source, groups = self.composed.value, self.composed.groups
        settings: dict[str, Any] = {"seed": self.seed, "start": self.index, "num": 1}
        if (
            not self.config().randomize.camera.file
        ):  # else the picture has the camera's size, where the page's is scaled
            settings |= {"width": source.width, "height": source.height}
        given = [path for path in self.composed.given if path not in (*_ONLY_LIVE, "randomize")]
        keys = self.composed.keys
        texts = [setting(keys, path, value) for path, value in settings.items()]
        if "randomize" in self.composed.given:
            texts.append(f"randomize={groups['randomize']}")
        for path in dict.fromkeys([*given, *self.factors]):
            texts.append(setting(keys, path, _plain(self.leaf(path))))
        return shlex.join(["python", "-m", "simgen", "render", *texts])

    def preset(self) -> dict[str, Any]:
        """The factors as the content of a file like those of conf/randomize/: the preset they change, and all changes."""
        choice = self.composed.groups["randomize"]
        content: dict[str, Any] = {"defaults": [choice, "_self_"]}
        if is_own_file("randomize", choice):
            content = copy.deepcopy(read_own_file("randomize", choice))
        given = [path for path in self.composed.given if path.startswith("randomize.")]
        for path in dict.fromkeys([*given, *self.factors]):
            _, *above, name = path.split(".")
            node = content
            for part in above:
                node = node.setdefault(part, {})
            node[name] = _plain(self.leaf(path))
        return content

    def save(self, name: str) -> Path:
        """Writes the preset as the new file `name`.yaml in the folder `presets`, and returns its path. Raises ConfigError
        for a name that is no file name or is taken and for an invalid factor, FileError if it cannot be written."""
        if not _NAME.fullmatch(name):
            raise ConfigError(f"preset: got {name!r}; expected a name of letters, digits, - and _, without .yaml")
        randomize = self.config().randomize
        check_factors(randomize, leaves_of(randomize, load_world(self.composed.value.scene)))
        path = Path(self.composed.value.presets) / f"{name}.yaml"
        about = f"# Saved by `python -m simgen live`. To use it: python -m simgen render randomize={path}\n"
        text = about + yaml.safe_dump(self.preset(), sort_keys=False, default_flow_style=None, width=120)
        if not write_new_file(path, text.encode()):
            raise ConfigError(f"preset: {path} exists; choose another name")
        return path


def value_at(config: Any, path: str) -> Any:
    """The value of the key `path` of a configuration."""
    for name in path.split("."):
        config = getattr(config, name)
    return config


def _plain(value: Any) -> Any:
    """`value` as YAML holds it."""
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
