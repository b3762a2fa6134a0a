"""The values: a batch of scenes, every sampled number of them, and nothing else.

The leading axis B is samples (B = 1 is a scene; there is no second type), N is block slots with a `present` mask, L is
lights. Scenes hold small numbers only: they are an image's full recipe and travel beside it as JSON. What does not vary
(the solids, the table's and the room's size) is the World of catalogue.py; numbers here refer to it by position.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from simgen.geometry import Array

TEXTURES = ("flat", "gradient", "checker", "stripes", "noise", "image")
SURFACES = ("table", "floor", "wall", "background")

T = TypeVar("T")


def _array(shape: str, dtype: type = np.float64) -> Any:
    """A field that must be an array of `shape`: axes by letter or number, '*' for any leading axes."""
    return field(metadata={"shape": shape.split(), "dtype": dtype})


class _Checked:
    """Checks each array's shape and type as it comes in, so that what is inside can be trusted."""

    def __post_init__(self) -> None:
        axes: dict[str, int] = {}
        for item in fields(self):  # type: ignore[arg-type]
            value = getattr(self, item.name)
            if "shape" not in item.metadata:
                continue
            wanted = item.metadata["shape"]
            value = np.asarray(value, dtype=item.metadata["dtype"])
            object.__setattr__(self, item.name, value)
            tail = [axis for axis in wanted if axis != "*"]
            got = value.shape[len(value.shape) - len(tail) :] if "*" in wanted else value.shape
            matches = len(got) == len(tail) and all(
                size == (int(axis) if axis.isdigit() else axes.setdefault(axis, size))
                for axis, size in zip(tail, got, strict=True)
            )
            if not matches:
                raise ValueError(f"{type(self).__name__}.{item.name}: shape {value.shape}, expected ({' '.join(wanted)})")


@dataclass(frozen=True)
class Materials(_Checked):
    """How surfaces look: the arguments of textures.paint. Colours are RGB in [0, 1] as displayed, angles radians."""

    texture: NDArray[np.int64] = _array("*", np.int64)  # position in TEXTURES
    color: Array = _array("* 3")
    color2: Array = _array("* 3")
    cycles: Array = _array("*")  # repetitions of the pattern across the face
    angle: Array = _array("*")
    pattern: NDArray[np.int64] = _array("*", np.int64)  # which noise, which image


@dataclass(frozen=True)
class Blocks(_Checked):
    """Labelled blocks and distractors alike; slots beyond a sample's number are not `present`."""

    model: NDArray[np.int64] = _array("B N", np.int64)  # position in World.solids
    scale: Array = _array("B N")  # times the solid's size
    world_from_block: Array = _array("B N 4 4")
    material: Materials
    present: NDArray[np.bool_] = _array("B N", np.bool_)
    labelled: NDArray[np.bool_] = _array("B N", np.bool_)


@dataclass(frozen=True)
class Surfaces(_Checked):
    """All that is not a block: SURFACES, then a group of fixtures each; `walls` says whether the room has any."""

    material: Materials  # (B, S)
    walls: NDArray[np.bool_] = _array("B", np.bool_)


@dataclass(frozen=True)
class Lights(_Checked):
    """Lights at `direction` (unit, towards the light) and `distance` m from the table's centre."""

    direction: Array = _array("B L 3")
    distance: Array = _array("B L")
    color: Array = _array("B L 3")
    ambient: Array = _array("B L")
    diffuse: Array = _array("B L")
    specular: Array = _array("B L")
    shadow: NDArray[np.bool_] = _array("B L", np.bool_)


@dataclass(frozen=True)
class Cameras(_Checked):
    """Pinhole cameras with a lens: geometry.project's arguments. `width` and `height` px are one for the batch."""

    intrinsics: Array = _array("B 3 3")
    distortion: Array = _array("B 5")
    world_from_camera: Array = _array("B 4 4")
    width: int
    height: int


@dataclass(frozen=True)
class Sensor(_Checked):
    """What happens between light and file; see sensor.py."""

    exposure: Array = _array("B")  # stops
    white_balance: Array = _array("B 3")  # gains
    gamma: Array = _array("B")
    noise: Array = _array("B")  # standard deviation, in units of 1/255
    noise_seed: NDArray[np.int64] = _array("B", np.int64)
    blur: Array = _array("B")  # standard deviation in px of a picture 480 px high
    jpeg_quality: NDArray[np.int64] = _array("B", np.int64)  # 0 = not compressed here


@dataclass(frozen=True)
class Scenes(_Checked):
    """A batch of scenes. `index` is each sample's place in its dataset, `attempt` how often its drop was repeated."""

    index: NDArray[np.int64] = _array("B", np.int64)
    attempt: NDArray[np.int64] = _array("B", np.int64)
    blocks: Blocks
    surfaces: Surfaces
    lights: Lights
    cameras: Cameras
    sensor: Sensor

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
        else:
            joined[item.name] = concatenate(values) if is_dataclass(values[0]) else values[0]
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
    parts = {}
    for item in fields(kind):  # type: ignore[arg-type]
        value = data[item.name]
        parts[item.name] = _build(_PARTS[item.name], value) if isinstance(value, dict) else value
    return kind(**parts)


_PARTS: dict[str, Any] = {
    "blocks": Blocks,
    "surfaces": Surfaces,
    "lights": Lights,
    "cameras": Cameras,
    "sensor": Sensor,
    "material": Materials,
}
