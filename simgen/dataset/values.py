"""The values of all factors in a picture of a dataset: what tables, histograms and tests of its distributions are made of.

The names of factors are those of the configuration's keys (docs/randomization.md); what follows from several factors has a
name that is no key. Where a factor has a value for each of several objects, a picture has that of the brightest light, and
means over all blocks or objects. Angles are in degrees, lengths in m.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from simgen.dataset.models import Model
from simgen.dataset.read import read_recipe
from simgen.dataset.scenes import Instance, Picture
from simgen.errors import DatasetError
from simgen.geometry import Array, inverse, project
from simgen.scene import LIGHTS, SURFACES, TEXTURES

Value = float | str
ROUNDING = 1e-9  # m, degrees or px below which two numbers that were computed in different ways are the same
_RGB, _XYZ = ("red", "green", "blue"), ("x", "y", "z")
_MATERIAL = ("pattern", "cycles", "crop", "sides", "wear", "grime", "roughness", "metalness", "specular")
_LENS = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6", "fisheye")  # the order of distortion.py
_SENSOR = {  # the configuration's name by the recipe's
    "defocus": "defocus_px",
    "motion": "motion_px",
    **{
        name: name for name in ("vignette", "exposure", "shot_noise", "read_noise", "shoulder", "gamma", "jpeg_quality")
    },
}


def picture_values(picture: Picture, recipe: Mapping[str, Any] | None = None) -> dict[str, Value]:
    """The value of each factor that is known of `picture`: of its labels, and of its recipe if the dataset stores it. Words
    are texts, all others numbers. Factors of which a picture has no value (the light of one without lights) are left out.

    `camera.from_origin.distance`, `.azimuth_deg` and `.elevation_deg` are those of the camera as seen from the world's
    origin, the middle of the table's top; `camera.vertical_fov_deg` is the field of view that follows from the focal length;
    `light.total` is the sum of `light.intensity`. `recipe` is the picture's, as read_recipe returns it, for a caller that
    has it; None reads it. Raises DatasetError for a damaged recipe.
    """
    values: dict[str, Value] = {"blocks.count": float(len(picture.instances))}
    world = picture.camera_from_table if picture.camera_from_table is not None else picture.camera_from_world
    if world is not None:
        values.update(_from_origin(inverse(world)[:3, 3]))
    values["camera.focal_px"] = float(picture.intrinsics[1, 1])
    values.update({f"camera.distortion.{_LENS[k]}": float(one) for k, one in enumerate(picture.distortion)})
    if picture.instances:
        values["blocks.distance"] = float(np.mean([_distance(one) for one in picture.instances]))
        values["blocks.visible_fraction"] = float(np.mean([one.visible_fraction for one in picture.instances]))
    recipe = read_recipe(picture) if recipe is None else recipe
    if recipe is not None:
        try:
            values.update(recipe_values(recipe))
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise _damaged(picture, error) from error
    return values


def instance_values(
    picture: Picture, number: int, models: Mapping[int, Model], recipe: Mapping[str, Any] | None = None
) -> dict[str, Value]:
    """The values of labeled block `number` of `picture`, whose kind is named by `models`, as of `picture_values`.

    `distance` is that from the camera, `u` and `v` are the pixel of its middle, `x`, `y` and `z` its middle on the table,
    `seen_from_elevation_deg` and `seen_from_azimuth_deg` the direction of the camera in the block's own frame. `recipe` is
    as for `picture_values`.
    """
    one = picture.instances[number]
    pose = one.camera_from_block
    u, v = project(pose[None, :3, 3], picture.intrinsics, picture.distortion)[0]
    values: dict[str, Value] = {
        "kind": models[one.obj_id].name,
        "distance": _distance(one),
        "u": float(u),
        "v": float(v),
        "visible_fraction": one.visible_fraction,
        "visible_pixels": float(one.visible_pixels),
    }
    seen = _viewpoint(inverse(pose)[:3, 3])
    values.update({f"seen_from_{name}": seen[name] for name in ("azimuth_deg", "elevation_deg")})
    if picture.camera_from_table is not None:
        place = (inverse(picture.camera_from_table) @ pose)[:3, 3]
        values.update(zip(_XYZ, map(float, place), strict=True))
    recipe = read_recipe(picture) if recipe is None else recipe
    if recipe is not None:
        try:
            blocks = _first(recipe["blocks"])
            slot = np.flatnonzero(np.array(blocks["present"]) & np.array(blocks["labelled"]))[one.number]
            values["scale"] = float(blocks["scale"][slot])
            values.update(_material({name: part[slot] for name, part in blocks["material"].items()}))
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise _damaged(picture, error) from error
    return values


def recipe_values(recipe: Mapping[str, Any], row: int = 0) -> dict[str, Value]:
    """The values of `picture_values` that are in the `recipe` of a sample alone: of sample `row` of Scenes as JSON. Raises
    KeyError, IndexError, TypeError, ValueError or AttributeError for what is none."""
    return dict(_of_recipe({name: _first(part, row) for name, part in recipe.items()}))


def columns_of(rows: Sequence[Mapping[str, Value]]) -> dict[str, list[Value | None]]:
    """The values of `rows` by name, in the order in which names appear; None where a row has none."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _of_recipe(recipe: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    """Names and values of the `recipe` of one sample, without its batch axis."""
    yield "settle", float(recipe.get("settled", False))
    yield "walls", float(recipe["surfaces"]["walls"])
    present, labelled = np.array(recipe["blocks"]["present"]), np.array(recipe["blocks"]["labelled"])
    scales = np.array(recipe["blocks"]["scale"])
    for name, there in (("blocks", present & labelled), ("distractors", present & ~labelled)):
        yield f"{name}.count", float(there.sum())
        if there.any():
            yield f"{name}.scale", float(scales[there].mean())
    clutter = recipe.get("clutter", {"present": []})
    there = np.array(clutter["present"], dtype=bool)
    yield "clutter.count", float(there.sum())
    if there.any():
        yield "clutter.size", float(np.array(clutter["size"])[there].mean())
    materials = recipe["surfaces"]["material"]
    for k in range(len(materials["texture"])):
        surface = SURFACES[k] if k < len(SURFACES) else f"fixture.{k - len(SURFACES)}"
        for name, value in _material({name: part[k] for name, part in materials.items()}):
            yield f"{surface}.{name}", value
    yield from _light(recipe["lights"])
    ambient = recipe["ambient"]
    for name in ("intensity", "reflection", "occlusion"):
        yield f"ambient.{name}", float(ambient.get(name, 0))
    for name, parts in (("sky", _RGB), ("ground", _RGB), ("direction", _XYZ)):
        yield from _vector(f"ambient.{name}", ambient.get(name), parts)
    cameras = recipe["cameras"]
    yield from _from_origin(np.array(cameras["world_from_camera"])[:3, 3]).items()
    size = np.array([cameras["width"], cameras["height"]])
    matrix = np.array(cameras["intrinsics"])
    yield "camera.vertical_fov_deg", float(np.degrees(2 * np.arctan(size[1] / 2 / matrix[1, 1])))
    shift = (matrix[:2, 2] - (size - 1) / 2) / size[1]
    yield from _vector("camera.principal_point", shift.tolist(), ("right", "down"))
    sensor = recipe["sensor"]
    for stored, name in _SENSOR.items():
        yield f"sensor.{name}", float(sensor[stored])
    yield "sensor.motion_deg", float(np.degrees(sensor["motion_angle"]))
    yield from _vector("sensor.white_balance", sensor["white_balance"], _RGB)


def _light(lights: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    there = np.flatnonzero(lights["present"])
    intensity = np.array(lights["intensity"])
    yield "light.count", float(len(there))
    yield "light.total", float(intensity[there].sum())
    if len(there):
        k = int(there[np.argmax(intensity[there])])
        yield "light.kind", LIGHTS[lights["kind"][k]]
        for name in ("distance", "size", "intensity", "specular", "shadow"):
            yield f"light.{name}", float(lights[name][k])
        yield from _vector("light.color", lights["color"][k], _RGB)
        yield from _vector("light.direction", lights["direction"][k], _XYZ)


def _material(material: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    yield "texture", TEXTURES[material["texture"]]
    for name in ("color", "color2"):
        yield from _vector(name, material[name], _RGB)
    for name in _MATERIAL:
        if name in material:  # recipes of data version 7 lack some
            yield name, float(material[name])
    yield "angle_deg", float(np.degrees(material["angle"]))
    if "edge" in material:
        yield "edge_mm", 1000 * float(material["edge"])


def _vector(name: str, vector: Sequence[float] | None, parts: Sequence[str]) -> Iterator[tuple[str, Value]]:
    for part, value in zip(parts, vector or (), strict=False):
        yield f"{name}.{part}", float(value)


def _from_origin(place: Array) -> dict[str, Value]:
    return {f"camera.from_origin.{name}": value for name, value in _viewpoint(place).items()}


def _viewpoint(place: Array) -> dict[str, Value]:
    """Distance and direction of the camera at `place` (3,). What rounding leaves of a 0 is 0: the signs of it would be
    azimuths half a turn apart."""
    x, y, z = (float(one) if abs(one) > ROUNDING else 0.0 for one in place)
    return {
        "distance": float(np.linalg.norm(place)),
        "azimuth_deg": float(np.degrees(np.arctan2(y, x))),
        "elevation_deg": float(np.degrees(np.arctan2(z, np.hypot(x, y)))),
    }


def _distance(one: Instance) -> float:
    return float(np.linalg.norm(one.camera_from_block[:3, 3]))


def _first(part: Any, row: int = 0) -> Any:
    """Sample `row` of a part of a recipe, without the batch axis."""
    if isinstance(part, Mapping):
        return {name: _first(inner, row) for name, inner in part.items()}
    return part[row] if isinstance(part, list) else part


def _damaged(picture: Picture, error: Exception) -> DatasetError:
    return DatasetError(
        f"{picture.path}: the recipe beside it is of another version or damaged ({error!r}); render again"
    )
