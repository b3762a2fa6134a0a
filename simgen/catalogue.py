"""Reads scene files: `load_world`. A scene file describes a table, a room, fixtures, a block set and a camera."""

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from simgen import exact
from simgen.errors import ConfigError, SceneError
from simgen.geometry import Array
from simgen.resources import resource_folder
from simgen.scene import CLUTTER, Bools, Fixtures
from simgen.shapes.bodies import Body
from simgen.shapes.clutter import object_of
from simgen.shapes.meshfile import mesh_sha256
from simgen.shapes.meshfolder import MeshFolder
from simgen.shapes.solids import SHAPES, Solid, load_solid, make_solid
from simgen.yamlfile import read_yaml

LEAST, MOST = 0.001, 5.0  # m: the longest edge of a block
MOST_TABLE = 50.0  # m
_UNITS = (0.001, 0.01, 0.0254, 1000.0, 100.0)  # meters per mm, cm and inch, and the inverse of the first two
_LIKELY = (0.004, 1.0)  # m: the usual range of a block's longest edge
_ALSO = {  # what else people call a shape
    **dict.fromkeys(("box", "cuboid", "brick", "block", "prism", "plate"), "rectangular_prism"),
    **dict.fromkeys(("ball", "globe", "icosphere"), "sphere"),
    **dict.fromkeys(("can", "disc", "disk", "rod", "tube"), "cylinder"),
    **dict.fromkeys(("hexagon", "hex_prism", "nut"), "hexagonal_prism"),
    **dict.fromkeys(("wedge", "triangle"), "triangular_prism"),
}
_NAMES = ("model",)  # keys of a scene file whose values are names of blocks


@dataclass(frozen=True)
class Box:
    """A box with edges along the world's axes: `center` (3,) and `size` (3,) m.

    The uncertainty of both, for randomize.fixture: `moves` (3,) m is the largest shift from `center`, 1 + `grows` the
    largest factor of the size and its inverse the smallest, and `missing` the fraction of the scenes without the box.
    """

    center: Array
    size: Array
    moves: Array = field(default_factory=lambda: np.zeros(3))
    grows: float = 0.0
    missing: float = 0.0


@dataclass(frozen=True)
class Room:
    """The floor's height `floor` m, the inner faces of the walls, `low` and `high` (2,) m in the world's X and Y, and the
    walls' `height` m."""

    floor: float
    low: Array
    high: Array
    height: float


@dataclass(frozen=True)
class World:
    """The content of a scene file, which is the same for all samples.

    The top of `table` is at z = 0. `fixtures` are boxes that represent the other objects in the cell, in groups with one
    material each. `nominal` and `varied` are the values to which conf/randomize/ can refer by these two words. `meshes` are
    those of randomize.clutter.meshes.
    """

    name: str
    solids: tuple[Solid, ...]
    table: Box
    room: Room
    fixtures: tuple[tuple[Box, ...], ...]
    width: int
    height: int
    nominal: Mapping[str, Any]
    varied: Mapping[str, Any]
    source: Mapping[str, Any]
    meshes: MeshFolder = field(default_factory=MeshFolder)

    def clutter_of(self, kind: int, variant: int) -> tuple[Body, ...]:
        """The unit object `variant` of the kind CLUTTER[kind]: Clutter's `kind` and `variant`."""
        name = CLUTTER[kind]
        return self.meshes.object_of(variant) if name == "mesh" else object_of(name, variant)

    @property
    def notes(self) -> tuple[str, ...]:
        """The notices for the user about the files of blocks and clutter, a line each."""
        return (*(note for solid in self.solids for note in solid.notes), *self.meshes.notices)

    @cached_property
    def radii(self) -> Array:
        """(M,) m: the radius of each of `solids`."""
        return np.array([solid.radius for solid in self.solids])

    @cached_property
    def loose(self) -> tuple[Box, ...]:
        """The boxes of all fixtures, in the order of Scenes.fixtures."""
        return tuple(box for group in self.fixtures for box in group)

    @cached_property
    def boxes(self) -> tuple[Box, ...]:
        """The table, then `loose`."""
        return (self.table, *self.loose)

    def standing(self, fixtures: Fixtures) -> tuple[Array, Array, Bools]:
        """The `boxes` in each of B scenes with these `fixtures`: center and size (B, N, 3) m, and whether each is present,
        (B, N)."""
        center, size = (np.stack([getattr(box, name) for box in self.boxes]) for name in ("center", "size"))
        return (
            center + np.pad(fixtures.shift, ((0, 0), (1, 0), (0, 0))),
            size * np.pad(fixtures.scale, ((0, 0), (1, 0)), constant_values=1.0)[..., None],
            np.pad(fixtures.present, ((0, 0), (1, 0)), constant_values=True),
        )


def without_fixtures(scenes: Sequence[str], given: Iterable[str]) -> list[str]:
    """A message for each of the keys `given` below randomize.fixture if none of `scenes` has a fixture. Raises as load_world
    does, but reads no scene without such a key."""
    keys = [key for key in given if key.startswith("randomize.fixture")]
    if not keys or any(load_world(scene).fixtures for scene in scenes):
        return []
    return [f"{key} has no effect: no fixtures in {', '.join(dict.fromkeys(scenes))}" for key in keys]


def load_world(scene: str) -> World:
    """The World of scenes/`scene`.yaml, or of the YAML file that `scene` names.

    Raises ConfigError for an unknown name and SceneError, naming file and key, for a malformed file.
    """
    path = _find(scene)
    data = _read(path, {"table", "room", "blocks", "camera", "nominal", "varied", "fixtures"}, optional={"fixtures"})
    table = _section(path, data, "table", {"center", "size", "thickness"})
    room = _section(path, data, "room", {"floor", "low", "high", "height"})
    camera = _section(path, data, "camera", {"width", "height"})
    if not isinstance(data["blocks"], str):
        raise SceneError(f"{path}: blocks: got {data['blocks']!r}; expected the name of a block set file")
    blocks = _resolve(path, data["blocks"])
    if not blocks.is_file():
        raise SceneError(f"{blocks}: no such file; {path} names it in blocks")
    low, high = _vector(path, "room.low", room.get("low"), 2), _vector(path, "room.high", room.get("high"), 2)
    if np.any(low >= high):
        raise SceneError(f"{path}: room.low: got {low.tolist()}; expected numbers below room.high {high.tolist()}")
    size = _vector(path, "table.size", table.get("size"), 2, positive=True)
    if size.max() > MOST_TABLE:
        raise SceneError(f"{path}: table.size: {_measures(size)}; expected at most {MOST_TABLE:g} m{_guess(size)}")
    center = _vector(path, "table.center", table.get("center"), 2)
    thickness = _number(path, "table.thickness", table.get("thickness"), positive=True)
    solids, stated = load_block_set(blocks), read_yaml(blocks)
    for solid in solids:
        if np.sort(solid.size)[1] > size.max():
            raise SceneError(
                f"{blocks}: block '{solid.name}' {_measures(solid.size)}, more than the table of {size[0]:g} x {size[1]:g} m"
                f"{_guess(solid.size, _scale_of(blocks, solid))}"
            )
    return World(
        name=path.stem,
        solids=solids,
        table=Box(np.array([*center, -thickness / 2]), np.array([*size, thickness])),
        room=Room(
            floor=_number(path, "room.floor", room.get("floor")),
            low=low,
            high=high,
            height=_number(path, "room.height", room.get("height"), positive=True),
        ),
        fixtures=tuple(_fixtures(path, data.get("fixtures") or [])),
        width=_pixels(path, "camera.width", camera.get("width")),
        height=_pixels(path, "camera.height", camera.get("height")),
        nominal=_section(path, data, "nominal"),
        varied=_section(path, data, "varied"),
        source={**data, "blocks": stated, **_hashes_of_meshes(blocks, stated)},
    )


def _hashes_of_meshes(blocks: Path, stated: Mapping[Any, Any]) -> dict[str, Any]:
    """The SHA-256 of each mesh of the block set `stated` in the file `blocks`, which determines samples like the set
    itself; nothing without any."""
    meshes = {str(name): block["mesh"] for name, block in stated.items() if "mesh" in block}
    return (
        {"block_meshes": {name: mesh_sha256(_resolve(blocks, mesh)) for name, mesh in meshes.items()}} if meshes else {}
    )


def load_block_set(path: Path) -> tuple[Solid, ...]:
    """The solids of a block set file, in the order of the file: obj_id in a BOP dataset is the place plus one.

    A block is `{shape: NAME, size: [x, y, z]}` with a shape of shapes.SHAPES, or `{mesh: FILE, scale: meters per unit,
    axis: [x, y, z] if it is round}`, FILE beside the block set. Its name is the key as it is written, even if that looks
    like a number. Raises SceneError that names file and block, also for a block of an implausible size.
    """
    data = read_yaml(path)
    if not isinstance(data, dict) or not data:
        got = (
            "; got a list: begin each block with its name and a colon, without a dash" if isinstance(data, list) else ""
        )
        raise SceneError(f"{path}: expected blocks as NAME: {{shape, size}} or NAME: {{mesh, scale}}{got}")
    solids = []
    for name, block in data.items():
        where = f"block '{name}'"
        if not name:
            raise SceneError(f"{path}: {where}: expected a name")
        if not isinstance(block, dict):
            raise SceneError(f"{path}: {where}: got {block!r}; expected {{shape, size}} or {{mesh, scale}}")
        keys = set(block) - {"scale", "axis"} if "mesh" in block else set(block)
        if keys not in ({"mesh"}, {"shape", "size"}):
            got = ", ".join(sorted(map(str, block))) or "none"
            raise SceneError(
                f"{path}: {where}: got the keys {got}; expected shape and size, or mesh and scale (and axis)"
            )
        if "mesh" in block:
            scale = _number(path, f"{where}: scale", block.get("scale", 1.0), positive=True)
            axis = _vector(path, f"{where}: axis", block["axis"], 3) if "axis" in block else None
            if axis is not None:
                if not axis.any():
                    raise SceneError(f"{path}: {where}: axis: got [0, 0, 0]; expected a direction")
                axis = axis / exact.norm(axis)
            if not isinstance(block["mesh"], str):
                raise SceneError(f"{path}: {where}: mesh: got {block['mesh']!r}; expected the name of a mesh file")
            solid = load_solid(str(name), _resolve(path, block["mesh"]), scale, axis)
            _check_size(path, solid, scale)
        elif not isinstance(block["shape"], str) or block["shape"] not in SHAPES:
            raise SceneError(
                f"{path}: {where}: unknown shape '{block['shape']}'; expected one of {', '.join(SHAPES)}"
                f"{_meant(str(block['shape']))}"
            )
        else:
            size = _vector(path, f"{where}: size", block.get("size"), 3, positive=True)
            if block["shape"] == "sphere" and np.ptp(size) > 0:
                raise SceneError(
                    f"{path}: {where}: size: got {block['size']}; expected a sphere's diameter three times"
                )
            solid = make_solid(str(name), block["shape"], size)
            _check_size(path, solid, None)
        solids.append(solid)
    return tuple(solids)


def _meant(shape: str) -> str:
    """The end of a message: which shape an unknown one may stand for, if one is likely."""
    word = shape.lower().replace("-", "_").replace(" ", "_")
    near = [_ALSO[word]] if word in _ALSO else difflib.get_close_matches(word, SHAPES, 1)
    return f"; did you mean {near[0]}?" if near else ""


def _scale_of(path: Path, solid: Solid) -> float | None:
    """The scale that the block set in `path` gives the mesh of `solid`, None for a built-in shape."""
    return None if solid.mesh_origin is None else float(read_yaml(path)[solid.name].get("scale", 1.0))


def _check_size(path: Path, solid: Solid, scale: float | None) -> None:
    """Raises SceneError for a block of an implausible size, with a guess at the `scale` of its mesh."""
    longest = float(solid.size.max())
    if not LEAST * (1 - 1e-6) <= longest <= MOST * (1 + 1e-6):
        raise SceneError(
            f"{path}: block '{solid.name}' {_measures(solid.size)}; expected a longest edge from 1 mm to {MOST:g} m"
            f"{_guess(solid.size, scale)}"
        )


def _measures(size: Array) -> str:
    unit, name = (1000, "mm") if size.max() < 0.01 else (1, "m")
    return f"measures {' x '.join(f'{edge * unit:.3g}' for edge in size)} {name}"


def _guess(size: Array, scale: float | None = None) -> str:
    """The end of a message: the size or scale that was probably meant; empty if no unit makes it plausible."""
    likely = [unit for unit in _UNITS if _LIKELY[0] <= size.max() * unit <= _LIKELY[1]]
    if not likely:
        return ""
    if scale is None:
        return f"; size is in meters: [{', '.join(f'{edge * likely[0]:.3g}' for edge in size)}]?"
    return f"; scale: {scale * likely[0]:.3g}?"


def scene_names() -> list[str]:
    """The names of the bundled scenes."""
    return sorted(path.stem for path in resource_folder("scenes").glob("*.yaml"))


def _find(scene: str) -> Path:
    path = Path(scene)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise ConfigError(
                f"scene: {scene}: no such file; expected a scene file or one of {', '.join(scene_names())}"
            )
        return path
    if scene not in scene_names():
        raise ConfigError(
            f"scene: unknown scene '{scene}'; expected one of {', '.join(scene_names())}, or the path of a .yaml file"
        )
    return resource_folder("scenes") / f"{scene}.yaml"


def _resolve(beside: Path, name: str) -> Path:
    """The path of `name`, in which ~ and backslashes are understood: next to the file that refers to it, or else among the
    bundled scenes."""
    place = Path(name).expanduser()
    if "\\" in name and not (beside.parent / place).exists():
        place = Path(name.replace("\\", "/")).expanduser()
    local, own = beside.parent / place, resource_folder("scenes") / place
    return own if own.exists() and not local.exists() else local


def _read(path: Path, keys: set[str], optional: set[str]) -> dict[str, Any]:
    data = read_yaml(path, names=_NAMES)
    if not isinstance(data, dict):
        raise SceneError(f"{path}: expected a mapping with the keys {', '.join(sorted(keys))}")
    unknown, missing = set(data) - keys, keys - optional - set(data)
    if unknown or missing:
        what = [f"unknown key {key!r}" for key in sorted(unknown, key=str)]
        what += [f"missing key {key!r}" for key in sorted(missing)]
        raise SceneError(f"{path}: {', '.join(what)}; expected {', '.join(sorted(keys))}")
    return data


def _section(path: Path, data: Mapping[str, Any], key: str, keys: set[str] | None = None) -> dict[str, Any]:
    value = data[key]
    if not isinstance(value, dict):
        raise SceneError(f"{path}: {key}: got {value!r}; expected a mapping")
    unknown = sorted(map(str, set(value) - keys)) if keys is not None else []
    if keys is not None and unknown:
        raise SceneError(f"{path}: {key}.{unknown[0]}: unknown key; expected {', '.join(sorted(keys))}")
    return value


def _fixtures(path: Path, items: Any) -> Iterator[tuple[Box, ...]]:
    if not isinstance(items, list):
        raise SceneError(f"{path}: fixtures: got {items!r}; expected a list")
    for k, item in enumerate(items):
        if not isinstance(item, dict) or set(item) - {"moves", "grows", "missing"} != {"size", "centers"}:
            raise SceneError(
                f"{path}: fixtures[{k}]: got {item!r}; expected {{size: [x, y, z], centers: [[x, y, z], ...]}}, and "
                "optionally moves: [x, y, z], grows: FRACTION and missing: FRACTION"
            )
        size = _vector(path, f"fixtures[{k}].size", item["size"], 3, positive=True)
        if not isinstance(item["centers"], list) or not item["centers"]:
            raise SceneError(f"{path}: fixtures[{k}].centers: got {item['centers']!r}; expected a list of [x, y, z]")
        centers = [_vector(path, f"fixtures[{k}].centers[{j}]", c, 3) for j, c in enumerate(item["centers"])]
        moves = _vector(path, f"fixtures[{k}].moves", item.get("moves", [0, 0, 0]), 3)
        missing = _number(path, f"fixtures[{k}].missing", item.get("missing", 0))
        grows = _number(path, f"fixtures[{k}].grows", item.get("grows", 0))
        for key, least in (("moves", moves.min()), ("grows", grows), ("missing", missing)):
            if least < 0:
                raise SceneError(f"{path}: fixtures[{k}].{key}: got {item[key]}; expected at least 0")
        if missing > 1:
            raise SceneError(f"{path}: fixtures[{k}].missing: got {missing}; expected a fraction from 0 to 1")
        yield tuple(Box(center, size, moves, grows, missing) for center in centers)


def _number(path: Path, key: str, value: Any, *, positive: bool = False) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SceneError(f"{path}: {key}: got {value!r}; expected a number")
    if positive and value <= 0:
        raise SceneError(f"{path}: {key}: got {value}; expected a number above 0")
    return float(value)


def _pixels(path: Path, key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 8 <= value <= 16384:
        raise SceneError(f"{path}: {key}: got {value!r}; expected a whole number from 8 to 16384")
    return value


def _vector(path: Path, key: str, value: Any, n: int, *, positive: bool = False) -> Array:
    if not isinstance(value, list) or len(value) != n:
        raise SceneError(f"{path}: {key}: got {value!r}; expected {n} numbers")
    return np.array([_number(path, key, item, positive=positive) for item in value])
