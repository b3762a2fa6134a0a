"""Parses the distributions of all factors from the configuration, with checks of dimensions and bounds."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from operator import attrgetter
from typing import Any

import numpy as np

from simgen.catalogue import World
from simgen.distributions import Choice, Constant, Distribution, Integer, parse, parse_words
from simgen.errors import ConfigError
from simgen.scene import CLUTTER, LIGHTS, MOST_LIGHTS, SURFACES, TEXTURES, ZONES
from simgen.schema import Randomize

LIMITS = "distinct_materials", "distinct_layouts"
SETTINGS = ("slots", "images", "meshes", "file", "automatic", *LIMITS)  # keys below `randomize` that are no factors
MOST_SLOTS = {"blocks": 1000, "distractors": 1000, "clutter": 200, "light": MOST_LIGHTS}
_INF = math.inf
# Factors with several numbers or with bounds: the count, the least and the greatest value. By the factor's name, or by group
# and name if the name alone is ambiguous. All others are one number without bounds.
_SHAPES: dict[str, tuple[int, float, float]] = {
    "color": (3, 0, 1),
    "color2": (3, 0, 1),
    "cycles": (1, 0.01, 64),
    "pattern": (1, 0, 2**31),
    "crop": (1, 0.02, 16),
    "grime": (1, 0, 1),
    "sides": (1, 0, 1),
    "edge_mm": (1, 0, 5),
    "wear": (1, 0, 1),
    "reflection": (1, 0, 1),
    "count": (1, 0, _INF),
    "scale": (1, 1e-6, _INF),
    "place": (2, -_INF, _INF),
    "variant": (1, 0, 2**31),
    "clutter.size": (1, 0.005, 5),
    "clutter.place": (3, 0, 1),
    "face": (1, 0, 1),
    "walls": (1, 0, 1),
    "settle": (1, 0, 1),
    "gather": (1, 0, 1),
    "direction": (3, -_INF, _INF),
    "light.distance": (1, 1e-6, _INF),
    "light.size": (1, 0, _INF),
    "light.specular": (1, 0, _INF),
    "intensity": (1, 0, _INF),
    "shadow": (1, 0, 1),
    "sky": (3, 0, _INF),
    "ground": (3, 0, _INF),
    "occlusion": (1, 0, 1),
    "roughness": (1, 0, 1),
    "metalness": (1, 0, 1),
    "specular": (1, 0, 1),
    "shift": (3, -1, 1),
    "growth": (1, -1, 1),
    "presence": (1, 0, 1),
    "aim": (3, -_INF, _INF),
    "camera.distance": (1, 1e-6, _INF),
    "elevation_deg": (1, -90, 90),
    "offset": (3, -_INF, _INF),
    "fov_deg": (1, 1, 170),
    "fov_scale": (1, 0.5, 1.05),
    "principal_point": (2, -1, 1),
    "distortion": (5, -_INF, _INF),
    "white_balance": (3, 0, _INF),
    "gamma": (1, 1e-3, _INF),
    "exposure": (1, -16, 16),
    "vignette": (1, 0, 1),
    "shoulder": (1, 0, 1),
    "shot_noise": (1, 0, 255),
    "read_noise": (1, 0, 255),
    "defocus_px": (1, 0, 30),
    "motion_px": (1, 0, 60),
    "jpeg_quality": (1, 0, 100),
}
_WHOLE = ("count", "variant", "pattern", "walls", "settle", "shadow", "sides", "jpeg_quality")


def leaves_of(randomize: Randomize, world: World) -> dict[str, Distribution]:
    """The distribution of every factor, by its path: its key in the configuration, with slashes for dots.

    Raises ConfigError, which begins with the full key, for an invalid value.
    """
    leaves: dict[str, Distribution] = {}
    _collect(randomize, "randomize", world, leaves)
    for word, tree in (("nominal", world.nominal), ("varied", world.varied)):
        for path in _paths(tree):
            if path not in leaves:
                raise ConfigError(
                    f"scene: {world.name}: {word}.{path.replace('/', '.')}: no such factor in conf/randomize/"
                )
    return leaves


def words_of(key: str) -> tuple[str, ...]:
    """The words that are values of the factor with the full key `key`; empty if its values are numbers."""
    if key.endswith(".texture"):
        return (
            TEXTURES
            if ".material." in key and ".clutter." not in key
            else tuple(word for word in TEXTURES if word != "faces")
        )
    words = {"clutter.kind": CLUTTER, "light.kind": LIGHTS, "clutter.where": ZONES}
    return words.get(key.removeprefix("randomize."), ())


def names_of(key: str, world: World) -> dict[str, int]:
    """The words that are values of the factor with the full key `key` in `world`, with the number that each is drawn as;
    empty if its values are numbers."""
    words = words_of(key)
    if key.endswith(".model"):
        words = tuple(solid.name for solid in world.solids)
    return {word: (TEXTURES if key.endswith(".texture") else words).index(word) for word in words}


def bounds_of(key: str) -> tuple[int, float, float]:
    """The count of numbers of the factor with the full key `key`, and the least and the greatest value of each."""
    section, name = key.split(".")[-2:]
    return _SHAPES.get(f"{section}.{name}", _SHAPES.get(name, (1, -_INF, _INF)))


def is_whole(key: str) -> bool:
    """Whether the values of the factor with the full key `key` are whole numbers."""
    return key.rpartition(".")[2] in _WHOLE


def options_of(distribution: Distribution) -> list[Distribution]:
    """The options of a choice, with nested choices expanded; for any other distribution, itself."""
    if isinstance(distribution, Choice):
        return [inner for option in distribution.options for inner in options_of(option)]
    return [distribution]


def check_factors(randomize: Randomize, leaves: Mapping[str, Distribution]) -> None:
    """Raises ConfigError, with the full key, for factors that contradict each other: more objects than slots, directions of
    no length, and pictures or meshes without their folder or a folder that nothing uses."""
    for name in LIMITS:
        if not 0 <= getattr(randomize, name) < 2**32:
            given = getattr(randomize, name)
            raise ConfigError(f"randomize.{name}: got {given}; expected 0 (no limit) or a number below 2^32")
    for name, greatest in MOST_SLOTS.items():
        n = getattr(randomize, name).slots
        if not 0 <= n <= greatest:
            raise ConfigError(f"randomize.{name}.slots: got {n}; expected 0 to {greatest}")
        most = leaves[f"{name}/count"].support()[1][0]
        if most > n:
            raise ConfigError(
                f"randomize.{name}.count: up to {most:g}, but randomize.{name}.slots={n}; raise the slots or lower the count"
            )
    if not randomize.blocks.slots and not randomize.distractors.slots:
        raise ConfigError("randomize.blocks.slots: got 0 and no distractors either; expected at least one slot")
    for key in ("light", "ambient"):
        if any(
            isinstance(option, Constant) and not any(option.value) for option in options_of(leaves[f"{key}/direction"])
        ):
            raise ConfigError(f"randomize.{key}.direction: got [0, 0, 0]; expected a direction towards the light")
    for folder in FOLDERS:
        given, users = folder.given(randomize), folder.users(leaves)
        if users and not given:
            name = users[0].replace("/", ".")
            raise ConfigError(
                f"randomize.{name}: '{folder.word}' needs a folder of {folder.what}; set randomize.{folder.key}=FOLDER"
            )
        if given and not users:
            kind = folder.paths[0].rsplit("/", 1)[1]
            raise ConfigError(
                f"randomize.{folder.key}: {given} has no effect: no {kind} is {folder.word}; set one, for example "
                f"randomize.{folder.example}={folder.word}"
            )


@dataclass(frozen=True)
class Folder:
    """A folder of the user's own, the value of the `key` below randomize, which holds `what`. Factors at the `paths` that
    may be the `word` of `words` need it; `example` is one of them."""

    key: str
    word: str
    what: str
    example: str
    words: tuple[str, ...]
    paths: tuple[str, ...]

    def given(self, randomize: Randomize) -> str:
        """The folder in `randomize`, "" for none."""
        return str(attrgetter(self.key)(randomize))

    def users(self, leaves: Mapping[str, Distribution]) -> list[str]:
        """The paths of the factors that may need the folder."""
        return [path for path in self.paths if may_be(leaves[path], self.words.index(self.word))]


THINGS = (*SURFACES, "fixture", "blocks/material", "distractors/material", "clutter/material")
_TEXTURED = tuple(f"{thing}/texture" for thing in THINGS)
FOLDERS = (
    Folder("images", "image", "pictures", "table.texture", TEXTURES, _TEXTURED),
    Folder("clutter.meshes", "mesh", "mesh files", "clutter.kind", CLUTTER, ("clutter/kind",)),
)


def may_be(words: Distribution, index: int) -> bool:
    """Whether a factor with the distribution `words` may be the word number `index`."""
    return any(option.support()[0][0] == index for option in options_of(words))


def _collect(node: Any, key: str, world: World, leaves: dict[str, Distribution]) -> None:
    for item in fields(node):
        leaf, path = getattr(node, item.name), f"{key}.{item.name}"
        if is_dataclass(leaf):
            _collect(leaf, path, world, leaves)
        elif item.name not in SETTINGS:
            leaves[path.removeprefix("randomize.").replace(".", "/")] = leaf_of(leaf, path, world)


def _paths(tree: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _paths(value, f"{above}{key}/")
        else:
            yield f"{above}{key}"


def leaf_of(leaf: Any, path: str, world: World) -> Distribution:
    """The distribution of `leaf`, the value of the factor with the full key `path`. Raises ConfigError as leaves_of does."""
    if leaf in ("nominal", "varied"):
        keys = path.split(".")[1:]
        value: Any = world.nominal if leaf == "nominal" else world.varied
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is None:
            raise ConfigError(
                f"{path}: '{leaf}' needs the leaf {leaf}.{'.'.join(keys)} in scene '{world.name}'; add it"
            )
        leaf = value
    names = names_of(path, world)
    if names:
        options = list(names)
        whole = ["choice", *options] if leaf == "any" and path.endswith(".model") else leaf
        return parse_words(whole, path, options, TEXTURES if path.endswith(".texture") else options)
    dim, low, high = bounds_of(path)
    distribution = parse(leaf, path, dim)
    least, greatest = distribution.support()
    if np.any(least < low) or np.any(greatest > high):
        bounds = f"at least {low:g}" if high == _INF else f"within [{low:g}, {high:g}]"
        raise ConfigError(f"{path}: got {leaf}, which reaches {least.min():g} to {greatest.max():g}; expected {bounds}")
    if is_whole(path) and not _has_whole_values(distribution):
        raise ConfigError(f"{path}: got {leaf}; expected a whole number, [integer, low, high] or [choice, ...] of them")
    return distribution


def _has_whole_values(distribution: Distribution) -> bool:
    return all(
        isinstance(option, Integer)
        or (isinstance(option, Constant) and all(value == int(value) for value in option.value))
        for option in options_of(distribution)
    )
