"""Batches of scenes: all sampled values of a batch, as checked arrays.

Axes: B samples (a single scene has B = 1), N block slots with a `present` mask, L lights. Scenes hold values only: they
determine an image completely and are stored beside it as JSON. Whatever does not vary (solids, sizes of the table and of the
room around it) is in World (catalogue.py); integers here are indices into it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, TypeVar, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from simgen.distortion import BROWN, COEFFICIENTS
from simgen.geometry import Array

TEXTURES = (
    *("flat", "gradient", "checker", "stripes", "noise", "image", "faces"),
    *("collage", "print", "wood", "stone", "fabric", "fractal", "photograph"),
)
GENERATED = TEXTURES[7:13]  # families of generated pictures
PICTURES = ("image", *GENERATED, "photograph")
SURFACES = ("table", "floor", "wall", "background")
LIGHTS = ("directional", "point", "area", "window")
CLUTTER = (
    *("polytope", "ball", "capsule", "disc", "mug", "bottle", "tool", "cable", "sheet", "book", "keyboard", "screen"),
    *("hand", "mesh"),
)
ZONES = ("table", "around", "front")  # where clutter is: on the table, beside it, between the camera and the table
MOST_LIGHTS = 8

T = TypeVar("T")


Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
_DTYPES = {Array: np.float64, Ints: np.int64, Bools: np.bool_}


class _Checked:
    """Base class that checks and converts each array in the constructor. Raises ValueError for a wrong shape.

    Arrays are stored in C order: the last bit of a sum can depend on the memory layout, and results for a scene must not
    depend on the batch that it was sampled in.

    A field `Annotated[Array, "B N 3"]` is an array with these axes: a number is a length, a letter is a length that must be
    equal for all axes with this letter, and '*' is any number of leading axes.
    """

    def __post_init__(self) -> None:
        lengths: dict[str, int] = {}
        leads: dict[str, tuple[int, ...]] = {}
        for name, (kind, axes) in _arrays_of(type(self)).items():  # type: ignore[arg-type]
            value: NDArray[Any] = np.asarray(getattr(self, name), dtype=_DTYPES[kind], order="C")
            object.__setattr__(self, name, value)
            tail = [axis for axis in axes if axis != "*"]
            got = value.shape[len(value.shape) - len(tail) :] if "*" in axes else value.shape
            if "*" in axes:
                leading = value.shape[: len(value.shape) - len(tail)]
                if leads.setdefault("*", leading) != leading:
                    raise ValueError(f"{type(self).__name__}.{name}: leading axes {leading}, expected {leads['*']}")
            matches = len(got) == len(tail) and all(
                length == (int(axis) if axis.isdigit() else lengths.setdefault(axis, length))
                for axis, length in zip(tail, got, strict=True)
            )
            if not matches:
                raise ValueError(f"{type(self).__name__}.{name}: shape {value.shape}, expected ({' '.join(axes)})")


@cache
def _arrays_of(kind: type) -> dict[str, tuple[Any, list[str]]]:
    hints = get_type_hints(kind, include_extras=True)
    return {
        name: (hint.__origin__, hint.__metadata__[0].split())
        for name, hint in hints.items()
        if get_origin(hint) is Annotated
    }


@dataclass(frozen=True)
class Materials(_Checked):
    """Materials: the arguments of textures/procedural.py and of the reflection model in render/kernels/shading.py.

    Colors are sRGB values in [0, 1], angles radians.
    """

    texture: Annotated[Ints, "*"]  # index into TEXTURES
    color: Annotated[Array, "* 3"]
    color2: Annotated[Array, "* 3"]
    cycles: Annotated[Array, "*"]  # repetitions of the pattern across the face
    angle: Annotated[Array, "*"]
    pattern: Annotated[Ints, "*"]  # selects the noise, the picture and its crop
    crop: Annotated[Array, "*"]  # share of a picture's side that covers the longest side of the surface
    sides: Annotated[Bools, "*"]  # whether every face shows its own crop of the picture
    edge: Annotated[Array, "*"]  # m, radius to which the edges are rounded for light
    wear: Annotated[Array, "*"]  # share of the color that edges have lost
    grime: Annotated[Array, "*"]  # strength of dirt and scratches
    roughness: Annotated[Array, "*"]
    metalness: Annotated[Array, "*"]
    specular: Annotated[Array, "*"]  # reflectance of a dielectric, 0.5 = 4%


@dataclass(frozen=True)
class Blocks(_Checked):
    """Blocks, both labeled ones and distractors. Unused slots of a sample are not `present`."""

    model: Annotated[Ints, "B N"]  # index into World.solids
    scale: Annotated[Array, "B N"]  # factor on the solid's size
    world_from_block: Annotated[Array, "B N 4 4"]
    material: Materials
    present: Annotated[Bools, "B N"]
    labelled: Annotated[Bools, "B N"]


@dataclass(frozen=True)
class Surfaces(_Checked):
    """Everything that is not a block: S surfaces, which are SURFACES followed by the groups of fixtures; `walls` states
    whether walls are drawn."""

    material: Materials  # (B, S)
    walls: Annotated[Bools, "B"]


@dataclass(frozen=True)
class Fixtures(_Checked):
    """The F boxes of World.loose: shift from the position in the scene file, factor on the size, and presence."""

    shift: Annotated[Array, "B F 3"]  # m
    scale: Annotated[Array, "B F"]
    present: Annotated[Bools, "B F"]


@dataclass(frozen=True)
class Clutter(_Checked):
    """C objects that are no blocks and have no labels. A unit object, whose longest edge is 1, is a pure function of `kind`
    and `variant` (shapes/clutter.py); `size` is its longest edge in the scene."""

    kind: Annotated[Ints, "B C"]  # index into CLUTTER
    variant: Annotated[Ints, "B C"]
    size: Annotated[Array, "B C"]  # m
    world_from_object: Annotated[Array, "B C 4 4"]
    material: Materials
    present: Annotated[Bools, "B C"]


@dataclass(frozen=True)
class Lights(_Checked):
    """Lights at `direction` (unit, toward the light) and `distance` m from the table's center.

    `intensity` is the brightness of a white matte surface at the table's center that faces the light; 1 is white in a
    picture at neutral exposure. The light of point and area lights falls off with the square of the distance; directional
    lights have no distance and no falloff. Area lights and windows face the table's center; a window is itself visible.
    """

    present: Annotated[Bools, "B L"]
    kind: Annotated[Ints, "B L"]  # index into LIGHTS
    direction: Annotated[Array, "B L 3"]
    distance: Annotated[Array, "B L"]
    size: Annotated[
        Array, "B L"
    ]  # m, radius of an area light, a disc, or half the edge of a window, a square; see below
    color: Annotated[Array, "B L 3"]  # linear RGB
    intensity: Annotated[Array, "B L"]
    specular: Annotated[Array, "B L"]  # factor on the material's highlights
    shadow: Annotated[Bools, "B L"]


@dataclass(frozen=True)
class Ambient(_Checked):
    """Ambient light: linear RGB `sky` from `direction` (unit), `ground` from the opposite side, interpolated between by the
    cosine. `reflection` is the share of it in which glossy surfaces mirror the background's texture, 0 to 1."""

    intensity: Annotated[Array, "B"]
    sky: Annotated[Array, "B 3"]
    ground: Annotated[Array, "B 3"]
    direction: Annotated[Array, "B 3"]
    reflection: Annotated[Array, "B"]
    occlusion: Annotated[Array, "B"]  # share of the ambient light that is lost where surfaces touch


@dataclass(frozen=True)
class Cameras(_Checked):
    """Pinhole cameras with a lens: the arguments of geometry.project. All cameras of a batch have one `width` and `height`
    in px.

    `distortion` has 5 numbers for each camera (k1 k2 p1 p2 k3), or all 9 of distortion.py.
    """

    intrinsics: Annotated[Array, "B 3 3"]
    distortion: Annotated[Array, "B C"]
    world_from_camera: Annotated[Array, "B 4 4"]
    width: int
    height: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.distortion) and self.distortion.shape[1] not in (BROWN, COEFFICIENTS):
            raise ValueError(
                f"Cameras.distortion: shape {self.distortion.shape}, expected (B {BROWN}) or (B {COEFFICIENTS})"
            )


@dataclass(frozen=True)
class Sensor(_Checked):
    """Settings of the sensor model in sensor.py. Lengths in px are those at an image height of 480 px."""

    defocus: Annotated[Array, "B"]  # px, radius of the disk kernel
    motion: Annotated[Array, "B"]  # px, length of the line kernel
    motion_angle: Annotated[Array, "B"]  # radians, from u toward v
    vignette: Annotated[Array, "B"]  # share of the light that is lost in the corners
    exposure: Annotated[Array, "B"]  # stops
    shot_noise: Annotated[Array, "B"]  # standard deviation at white, in units of 1/255 of linear light
    read_noise: Annotated[Array, "B"]  # standard deviation everywhere, in the same units
    noise_seed: Annotated[Ints, "B"]
    white_balance: Annotated[Array, "B 3"]  # gains
    shoulder: Annotated[Array, "B"]  # 0: highlights are clipped; 1: they are rolled off
    gamma: Annotated[Array, "B"]
    jpeg_quality: Annotated[Ints, "B"]  # 0: no JPEG compression by the sensor


@dataclass(frozen=True)
class Scenes(_Checked):
    """A batch of scenes. `index` is each sample's number in its dataset. `settled` states whether its blocks are dropped and
    come to rest (physics.py), `attempt` is the number of its drops that failed."""

    index: Annotated[Ints, "B"]
    settled: Annotated[Bools, "B"]
    attempt: Annotated[Ints, "B"]
    blocks: Blocks
    surfaces: Surfaces
    fixtures: Fixtures
    clutter: Clutter
    lights: Lights
    ambient: Ambient
    cameras: Cameras
    sensor: Sensor

    def __post_init__(self) -> None:
        super().__post_init__()
        wanted = len(self.index)
        firsts = {
            "blocks": self.blocks.model,
            "blocks.material": self.blocks.material.texture,
            "surfaces": self.surfaces.walls,
            "surfaces.material": self.surfaces.material.texture,
            "fixtures": self.fixtures.present,
            "clutter": self.clutter.present,
            "clutter.material": self.clutter.material.texture,
            "lights": self.lights.distance,
            "ambient": self.ambient.intensity,
            "cameras": self.cameras.intrinsics,
            "sensor": self.sensor.gamma,
        }
        for name, value in firsts.items():
            if len(value) != wanted:
                raise ValueError(f"Scenes.{name}: {len(value)} samples, expected {wanted} as in index")
        if self.blocks.material.texture.shape != self.blocks.model.shape:
            raise ValueError(
                f"Scenes.blocks.material: shape {self.blocks.material.texture.shape}, expected that of model"
            )

    def __len__(self) -> int:
        return len(self.index)


def take(scenes: T, rows: Any) -> T:
    """The samples `rows` of Scenes or of any of its parts; `rows` is a slice or an array that indexes the batch axis."""
    parts = {}
    for item in fields(scenes):  # type: ignore[arg-type]
        value = getattr(scenes, item.name)
        if isinstance(value, np.ndarray):
            parts[item.name] = value[rows]
        else:
            parts[item.name] = take(value, rows) if is_dataclass(value) else value
    return type(scenes)(**parts)


def concatenate(parts: Sequence[T]) -> T:
    """The samples of several batches as one batch, in order."""
    joined = {}
    for item in fields(parts[0]):  # type: ignore[arg-type]
        values = [getattr(part, item.name) for part in parts]
        if isinstance(values[0], np.ndarray):
            joined[item.name] = np.concatenate(values)
        elif is_dataclass(values[0]):
            joined[item.name] = concatenate(values)
        elif any(value != values[0] for value in values):
            raise ValueError(f"{item.name}: got {sorted(set(values))}; expected one for the batch")
        else:
            joined[item.name] = values[0]
    return type(parts[0])(**joined)


def to_json(scenes: Any) -> dict[str, Any]:
    """Scenes as plain lists and numbers, without loss: `from_json` restores the same bits."""
    result: dict[str, Any] = {}
    for item in fields(scenes):
        value = getattr(scenes, item.name)
        if isinstance(value, np.ndarray):
            result[item.name] = value.tolist()
        else:
            result[item.name] = to_json(value) if is_dataclass(value) else value
    return result


def from_json(data: dict[str, Any]) -> Scenes:
    """The inverse of `to_json`. Recipes of data version 7, which have no clutter, are read as well: what they lack has the
    value that draws what they drew. Raises KeyError or ValueError for any other JSON that this version does not write."""
    return _build(Scenes, data if "clutter" in data else _upgraded(data))


def _upgraded(data: dict[str, Any]) -> dict[str, Any]:
    """A recipe of data version 7 with the fields that came later."""

    def material(old: dict[str, Any]) -> dict[str, Any]:
        ones = np.ones(np.shape(old["texture"]))
        added = {name: (0 * ones).tolist() for name in ("edge", "wear", "grime")}
        return {**old, "crop": ones.tolist(), "sides": (ones == 0).tolist(), **added}

    batch = len(data["index"])
    none: dict[str, Any] = {name: [[]] * batch for name in ("kind", "variant", "size", "world_from_object", "present")}
    none["material"] = {item.name: [[]] * batch for item in fields(Materials)}
    parts = {name: {**data[name], "material": material(data[name]["material"])} for name in ("blocks", "surfaces")}
    ambient = {**data["ambient"], "direction": [[0, 0, 1]] * batch, "reflection": [0] * batch}
    return {**data, "settled": [False] * batch, "clutter": none, **parts, "ambient": ambient}


def _build(kind: type[T], data: dict[str, Any]) -> T:
    parts: dict[str, Any] = {}
    arrays = _arrays_of(kind)  # type: ignore[arg-type]
    # A list from JSON that is empty has lost the axes after the empty one. The number of leading axes is that of a field
    # that has no others.
    alone = next((name for name, (_, axes) in arrays.items() if axes == ["*"]), None)
    leading = ["*"] * (np.ndim(data[alone]) if alone else 0)
    for item in fields(kind):  # type: ignore[arg-type]
        value = data[item.name]
        if isinstance(value, dict):
            parts[item.name] = _build(_PARTS[item.name], value)
        else:
            axes = arrays[item.name][1] if item.name in arrays else []
            parts[item.name] = _with_all_axes(value, [*leading, *axes[1:]] if "*" in axes else axes)
    return kind(**parts)


def _with_all_axes(value: Any, axes: list[str]) -> Any:
    """`value`; an empty one with all of its `axes`."""
    shape = np.shape(value)
    if 0 not in shape:
        return value
    return np.zeros((*shape, *(int(axis) if axis.isdigit() else 0 for axis in axes[len(shape) :])))


_PARTS: dict[str, Any] = {
    "blocks": Blocks,
    "surfaces": Surfaces,
    "fixtures": Fixtures,
    "clutter": Clutter,
    "lights": Lights,
    "ambient": Ambient,
    "cameras": Cameras,
    "sensor": Sensor,
    "material": Materials,
}
