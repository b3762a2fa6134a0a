"""Batches of scenes: every sampled number of them, as checked values, and nothing else.

The leading axis B is samples (B = 1 is a scene; there is no second type), N is block slots with a `present` mask, L is
lights. Scenes hold small numbers only: they are an image's full recipe and are stored beside it as JSON. What does not vary
(the solids, the sizes of the table and of the room around it) is in World (catalogue.py); numbers here are positions in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, TypeVar, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from simgen.distortion import BROWN, COEFFICIENTS
from simgen.geometry import Array

TEXTURES = ("flat", "gradient", "checker", "stripes", "noise", "image", "faces")
SURFACES = ("table", "floor", "wall", "background")
LIGHTS = ("directional", "point", "area")
MOST_LIGHTS = 8

T = TypeVar("T")


Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
_DTYPES = {Array: np.float64, Ints: np.int64, Bools: np.bool_}


class _Checked:
    """Checks and converts each array in the constructor, so that code that uses the value need not.

    Arrays are stored in C order: sums may depend on the memory layout in their last bit, and what is computed from a scene
    must not depend on the batch that it was sampled in.

    A field `Annotated[Array, "B N 3"]` is an array with these axes: a number is a length, a letter a length that is the
    same wherever it stands, and '*' any leading axes.
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
    """How surfaces look: the arguments of textures/procedural.py and of the reflection model in render/shading.py.

    Colors are RGB in [0, 1] as displayed, angles radians.
    """

    texture: Annotated[Ints, "*"]  # position in TEXTURES
    color: Annotated[Array, "* 3"]
    color2: Annotated[Array, "* 3"]
    cycles: Annotated[Array, "*"]  # repetitions of the pattern across the face
    angle: Annotated[Array, "*"]
    pattern: Annotated[Ints, "*"]  # which noise, which image
    roughness: Annotated[Array, "*"]
    metalness: Annotated[Array, "*"]
    specular: Annotated[Array, "*"]  # reflectance of a dielectric, 0.5 = 4%


@dataclass(frozen=True)
class Blocks(_Checked):
    """Labelled blocks and distractors alike; slots beyond a sample's number are not `present`."""

    model: Annotated[Ints, "B N"]  # position in World.solids
    scale: Annotated[Array, "B N"]  # times the solid's size
    world_from_block: Annotated[Array, "B N 4 4"]
    material: Materials
    present: Annotated[Bools, "B N"]
    labelled: Annotated[Bools, "B N"]


@dataclass(frozen=True)
class Surfaces(_Checked):
    """Everything that is not a block: SURFACES, then one entry for each group of fixtures; `walls` is whether walls are
    drawn."""

    material: Materials  # (B, S)
    walls: Annotated[Bools, "B"]


@dataclass(frozen=True)
class Fixtures(_Checked):
    """The F boxes of World.loose: how far each stands from its place in the scene file, how many times as large it is, and
    whether it is there."""

    shift: Annotated[Array, "B F 3"]  # m
    scale: Annotated[Array, "B F"]
    present: Annotated[Bools, "B F"]


@dataclass(frozen=True)
class Lights(_Checked):
    """Lights at `direction` (unit, towards the light) and `distance` m from the table's center.

    `intensity` is what a white matte surface at the table's center that faces the light sends to the camera, 1 being white
    in a picture of neutral exposure. Point and area lights fall off with the square of the distance from there;
    directional ones do not, and have no distance.
    """

    present: Annotated[Bools, "B L"]
    kind: Annotated[Ints, "B L"]  # position in LIGHTS
    direction: Annotated[Array, "B L 3"]
    distance: Annotated[Array, "B L"]
    size: Annotated[Array, "B L"]  # m, radius of an area light: a disc that faces the table's center
    color: Annotated[Array, "B L 3"]  # linear RGB
    intensity: Annotated[Array, "B L"]
    specular: Annotated[Array, "B L"]  # times the gloss that the material gives
    shadow: Annotated[Bools, "B L"]


@dataclass(frozen=True)
class Ambient(_Checked):
    """Light from everywhere: linear RGB `sky` from above, `ground` from below, blended by height between."""

    intensity: Annotated[Array, "B"]
    sky: Annotated[Array, "B 3"]
    ground: Annotated[Array, "B 3"]
    occlusion: Annotated[Array, "B"]  # share of it that is lost where surfaces touch


@dataclass(frozen=True)
class Cameras(_Checked):
    """Pinhole cameras with a lens: geometry.project's arguments. `width` and `height` px are one for the batch.

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
    """What happens between light and file; see sensor.py. Lengths in px are those of a picture 480 px high."""

    defocus: Annotated[Array, "B"]  # px, radius of the disc that a point becomes
    motion: Annotated[Array, "B"]  # px, length of the line that a point becomes
    motion_angle: Annotated[Array, "B"]  # radians, from u towards v
    vignette: Annotated[Array, "B"]  # share of the light that the corners lose
    exposure: Annotated[Array, "B"]  # stops
    shot_noise: Annotated[Array, "B"]  # standard deviation at white, in units of 1/255 of linear light
    read_noise: Annotated[Array, "B"]  # standard deviation everywhere, likewise
    noise_seed: Annotated[Ints, "B"]
    white_balance: Annotated[Array, "B 3"]  # gains
    shoulder: Annotated[Array, "B"]  # 0: highlights are cut; 1: they are rolled off
    gamma: Annotated[Array, "B"]
    jpeg_quality: Annotated[Ints, "B"]  # 0 = not compressed here


@dataclass(frozen=True)
class Scenes(_Checked):
    """A batch of scenes. `index` is each sample's place in its dataset, `attempt` how often its drop was repeated."""

    index: Annotated[Ints, "B"]
    attempt: Annotated[Ints, "B"]
    blocks: Blocks
    surfaces: Surfaces
    fixtures: Fixtures
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
    """The samples `rows` (anything that indexes the batch axis and keeps it) of Scenes or any part of them."""
    parts = {}
    for item in fields(scenes):  # type: ignore[arg-type]
        value = getattr(scenes, item.name)
        if isinstance(value, np.ndarray):
            parts[item.name] = value[rows]
        else:
            parts[item.name] = take(value, rows) if is_dataclass(value) else value
    return type(scenes)(**parts)


def concatenate(parts: Sequence[T]) -> T:
    """One batch of the samples of several, in order."""
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
    """Scenes as plain lists and numbers, exactly: `from_json` gives the same bits back."""
    result: dict[str, Any] = {}
    for item in fields(scenes):
        value = getattr(scenes, item.name)
        if isinstance(value, np.ndarray):
            result[item.name] = value.tolist()
        else:
            result[item.name] = to_json(value) if is_dataclass(value) else value
    return result


def from_json(data: dict[str, Any]) -> Scenes:
    """The inverse of `to_json`. Raises KeyError or ValueError for what is not a recipe of this version."""
    return _build(Scenes, data)


def _build(kind: type[T], data: dict[str, Any]) -> T:
    parts: dict[str, Any] = {}
    arrays = _arrays_of(kind)  # type: ignore[arg-type]
    for item in fields(kind):  # type: ignore[arg-type]
        value = data[item.name]
        if isinstance(value, dict):
            parts[item.name] = _build(_PARTS[item.name], value)
        else:
            parts[item.name] = _with_all_axes(value, arrays[item.name][1]) if item.name in arrays else value
    return kind(**parts)


def _with_all_axes(value: Any, axes: list[str]) -> Any:
    """`value` from JSON, whose lists know no axes beyond one of length 0: an empty one gets the rest of `axes`. What '*'
    stands for is unknown, and is left."""
    shape = np.shape(value)
    if 0 not in shape or "*" in axes:
        return value
    return np.zeros((*shape, *(int(axis) if axis.isdigit() else 0 for axis in axes[len(shape) :])))


_PARTS: dict[str, Any] = {
    "blocks": Blocks,
    "surfaces": Surfaces,
    "fixtures": Fixtures,
    "lights": Lights,
    "ambient": Ambient,
    "cameras": Cameras,
    "sensor": Sensor,
    "material": Materials,
}
