"""Reads models_info.json of a BOP dataset and converts it to simgen's block frame and to meters.

BOP's poses refer to the model's own origin, which may be anywhere. simgen's block frame has its origin at the middle of the
bounding box. `Model.center` is the offset between the two; `simgen.dataset.scenes` applies it to poses.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from simgen.dataset.fields import ROTATION, entries, number, numbers, record, records
from simgen.dataset.hashes import unchanged
from simgen.dataset.layout import MODELS_INFO, mesh_path
from simgen.errors import ConfigError, DatasetError
from simgen.geometry import Array, rigid
from simgen.shapes.meshfile import read_mesh
from simgen.shapes.solids import Solid, load_solid, make_solid

_SMALLEST, _LARGEST = 2.0, 20_000.0  # mm: a diameter outside this range is in another unit
_CENTERED = 1e-6  # of the diameter: a smaller offset is rounding
_PARALLEL = 0.999  # cosine
_ROUND = 0.02  # of the size: how far a sphere's box may be from a cube
_ON_AXIS = 1e-3  # of the diameter: how far two axes of a sphere, or an axis and the box's middle, may be apart


@dataclass(frozen=True)
class Model:
    """One object of a BOP dataset, in meters and in the block frame.

    The block frame has the axes of the model's own frame; its origin is at `center` (3,) of that frame: the middle of the
    bounding box, or, where an axis of symmetry does not go through the middle, the nearest point of the axis. `middle` (3,)
    is the box's middle in the block frame: zero but in that case. `size` (3,) are the edges of the bounding box, `diameter`
    is BOP's. `symmetries` (S, 4, 4) are the discrete ones, the identity first; `axes` (A, 3) are the directions of the
    continuous ones, all through the origin: none, one, or two for a sphere. `keypoints` (K, 3) is None if the dataset
    states none. `mesh` is the path of its mesh, which need not exist.
    `mesh_origin` (3,) is the origin of the user's own model in the block frame, None if the two origins are the same. For
    datasets of simgen it is the origin of the user's mesh file (mesh_origin_mm), for any other dataset that of its models.
    """

    obj_id: int
    name: str
    size: Array
    diameter: float
    symmetries: Array
    axes: Array
    keypoints: Array | None
    center: Array
    middle: Array
    mesh: Path
    mesh_origin: Array | None

    @property
    def axis(self) -> Array | None:
        """(3,) the direction of the only continuous symmetry; None for a model without one, and for a sphere."""
        return self.axes[0] if len(self.axes) == 1 else None

    @property
    def sphere(self) -> bool:
        """Whether every rotation about the origin is a symmetry."""
        return len(self.axes) > 1

    def block_pose(self, pose: Array, scale: float | Array = 1.0) -> Array:
        """(4, 4) m, the pose of the block frame from the pose of the model's own frame, for a model scaled by `scale`."""
        return (
            pose if not self.center.any() else rigid(pose[:3, :3], pose[:3, :3] @ (scale * self.center) + pose[:3, 3])
        )


def models_of(content: Any, path: Path, names: Mapping[int, str] | None = None) -> dict[int, Model]:
    """The models in `content` of models_info.json at `path`, by obj_id; `names` replace the names in the file.

    Raises DatasetError that names the file, the model and the key.
    """
    infos = entries(content, path, "object")
    if not infos:
        raise DatasetError(f"{path}: lists no model; expected at least one")
    names = names or {}
    for obj_id in names:
        if obj_id not in infos:
            raise DatasetError(f"data.names: object {obj_id} is not in {path}; it has {', '.join(map(str, infos))}")
    return {
        obj_id: _model(obj_id, record(info, f"{path}: model {obj_id}"), path, names) for obj_id, info in infos.items()
    }


def names_of(value: Any, key: str) -> dict[int, str]:
    """The setting `key`, names of objects by obj_id, as plain values; empty for null. Raises ConfigError."""
    names = value or {}
    if not isinstance(names, dict) or not all(str(number).isdecimal() and str(name) for number, name in names.items()):
        raise ConfigError(
            f"{key}: got {value!r}; expected the names of objects by obj_id, e.g. '{key}={{1:cube,2:cone}}'"
        )
    return {int(number): str(name) for number, name in names.items()}


def mesh_box(path: Path) -> tuple[Array, Array]:
    """Least and greatest coordinates (3,) of the vertices in a mesh file, in the file's unit. Raises DatasetError."""
    try:
        vertices = read_mesh(unchanged(path)).vertices
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: missing, or cannot be read as a mesh ({error})") from error
    return vertices.min(axis=0), vertices.max(axis=0)


def solid_of(model: Model) -> Solid:
    """The solid of the mesh of `model`, in the block frame, in m.

    Raises SceneError for a mesh that is missing or not a solid, DatasetError for one that contradicts models_info.json.
    """
    if model.sphere:
        return make_solid(model.name, "sphere", model.size)
    centered = not model.middle.any()
    solid = load_solid(model.name, unchanged(model.mesh), 0.001, model.axis if centered else None, recognize=False)
    if not np.allclose(solid.size, model.size, rtol=1e-3):
        ratio = float(np.median(model.size / solid.size))
        unit = f"; it looks to be {ratio:.3g} times too {'small' if ratio > 1 else 'large'}"
        raise DatasetError(
            f"{model.mesh}: the mesh measures {(1000 * solid.size).round(3).tolist()} mm; expected the "
            f"{(1000 * model.size).round(3).tolist()} mm of {MODELS_INFO}{unit if max(ratio, 1 / ratio) > 9 else ''}"
        )
    assert solid.mesh_origin is not None
    found, stated = -solid.mesh_origin, model.center + model.middle  # in the model's own frame
    if np.abs(found - stated).max() > 1e-2 * model.diameter:
        raise DatasetError(
            f"{model.mesh}: the middle of the mesh's box is at {(1000 * found).round(3).tolist()} mm; expected "
            f"{(1000 * stated).round(3).tolist()} mm, as min_x, min_y and min_z of {MODELS_INFO} state"
        )
    return solid if centered else replace(solid, vertices=solid.vertices + model.middle, axis=model.axis)


def _model(obj_id: int, info: Mapping[str, Any], path: Path, names: Mapping[int, str]) -> Model:
    where = f"{path}: model {obj_id}"
    diameter = number(info, "diameter", where)
    size = _size(info, path, obj_id, where)
    if diameter <= 0 or (size <= 0).any():
        raise DatasetError(f"{where}: diameter {diameter:g} mm and size {size.tolist()} mm; expected numbers above 0")
    _check_unit(diameter, where)
    middle = _middle(info, size, path, obj_id, where) / 1000
    diameter, size = diameter / 1000, size / 1000
    directions, points = _continuous(info, where)
    center = _center(middle, directions, points, diameter, where)
    center = np.where(np.abs(center) < _CENTERED * diameter, 0.0, center)
    keypoints = None
    if "keypoints" in info:
        keypoints = numbers(info, "keypoints", (np.size(info["keypoints"]) // 3, 3), where) / 1000 - center
    offset = middle - center
    own = {"mesh_origin_mm": [0.0, 0.0, 0.0], **info}  # in the model's frame
    origin = numbers(own, "mesh_origin_mm", (3,), where) / 1000 - center
    if len(directions) > 1 and np.ptp(size) > _ROUND * size.max():
        raise DatasetError(
            f"{where}: symmetries_continuous: has two axes, as a sphere has, but size {(1000 * size).tolist()} mm"
        )
    return Model(
        obj_id=obj_id,
        name=str(names.get(obj_id, info.get("name", f"obj_{obj_id:06d}"))),
        size=size if len(directions) < 2 else np.full(3, size.mean()),
        diameter=diameter,
        symmetries=_discrete(info, center, where),
        axes=directions,
        keypoints=keypoints,
        center=center,
        middle=np.where(np.abs(offset) < _CENTERED * diameter, 0.0, offset),
        mesh=mesh_path(path.parent, obj_id),
        mesh_origin=origin if np.abs(origin).max() > _CENTERED * diameter else None,
    )


def _check_unit(diameter: float, where: str) -> None:
    if _SMALLEST <= diameter <= _LARGEST:
        return
    guess = "in meters: multiply all lengths by 1000" if diameter < _SMALLEST else "in micrometers: divide by 1000"
    raise DatasetError(f"{where}: diameter: got {diameter:g}; BOP states millimeters, this looks to be {guess}")


def _size(info: Mapping[str, Any], path: Path, obj_id: int, where: str) -> Array:
    """(3,) mm: the edges of the bounding box; where they are not stated, those of the mesh."""
    mesh = mesh_path(path.parent, obj_id)
    if any(f"size_{axis}" in info for axis in "xyz") or not mesh.is_file():
        return np.array([number(info, f"size_{axis}", where) for axis in "xyz"])
    low, high = mesh_box(mesh)
    return np.asarray(high - low)


def _middle(info: Mapping[str, Any], size: Array, path: Path, obj_id: int, where: str) -> Array:
    """(3,) mm: the middle of the bounding box in the model's own frame."""
    if all(f"min_{axis}" in info for axis in "xyz"):
        return np.array([number(info, f"min_{axis}", where) for axis in "xyz"]) + size / 2
    mesh = mesh_path(path.parent, obj_id)
    if not mesh.is_file():
        return np.zeros(3)  # without min_x and without a mesh, the origin is assumed in the middle
    low, high = mesh_box(mesh)
    return np.asarray((low + high) / 2)


def _discrete(info: Mapping[str, Any], center: Array, where: str) -> Array:
    """(S, 4, 4) m in the block frame, the identity first."""
    found = [np.eye(4)]
    for k, values in enumerate(info.get("symmetries_discrete") or []):
        matrix = numbers({"symmetries_discrete": values}, "symmetries_discrete", (4, 4), f"{where}, symmetry {k}")
        if np.abs(matrix[:3, :3] @ matrix[:3, :3].T - np.eye(3)).max() > ROTATION or np.linalg.det(matrix[:3, :3]) < 0:
            raise DatasetError(
                f"{where}: symmetries_discrete {k}: got {matrix[:3, :3].ravel().round(4).tolist()}; expected a rotation (no "
                "mirror image) and a translation, 16 numbers by rows"
            )
        shift = matrix[:3, 3] / 1000
        if center.any():
            shift = matrix[:3, :3] @ center + shift - center
        found.append(rigid(matrix[:3, :3], shift))
    return np.stack(found)


def _continuous(info: Mapping[str, Any], where: str) -> tuple[Array, Array]:
    """Directions (A, 3) of the continuous symmetries and a point (A, 3) m on each axis, in the model's own frame.

    Parallel and opposite directions count as one; at most two are kept, which state a sphere."""
    directions: list[Array] = []
    points: list[Array] = []
    for k, one in enumerate(records(info.get("symmetries_continuous") or [], f"{where}: symmetries_continuous")):
        place = f"{where}: symmetries_continuous {k}"
        direction = numbers(one, "axis", (3,), place)
        length = float(np.linalg.norm(direction))
        if length < 1e-9:
            raise DatasetError(f"{place}: axis: got {direction.tolist()}; expected a direction")
        direction = direction / length if abs(length - 1) > 1e-12 else direction
        if all(abs(direction @ other) < _PARALLEL for other in directions) and len(directions) < 2:
            directions.append(direction)
            points.append(numbers({"offset": [0, 0, 0], **one}, "offset", (3,), place) / 1000)
    return np.reshape(directions, (-1, 3)), np.reshape(points, (-1, 3))


def _center(middle: Array, directions: Array, points: Array, diameter: float, where: str) -> Array:
    """(3,) m: the block frame's origin in the model's own frame, on all axes."""
    if not len(directions):
        return middle
    across = np.eye(3) - directions[:, :, None] * directions[:, None]  # (A, 3, 3): projections along the axes
    gaps = (across @ (middle - points)[..., None])[..., 0]
    if (np.linalg.norm(gaps, axis=1) < _ON_AXIS * diameter).all():
        return middle
    # The point of the axis that is nearest to the middle, or the intersection of two axes.
    shift = np.linalg.lstsq(across.reshape(-1, 3), -gaps.ravel(), rcond=None)[0]
    center = middle + shift
    gaps = (across @ (center - points)[..., None])[..., 0]
    if np.linalg.norm(gaps, axis=1).max() > _ON_AXIS * diameter:
        raise DatasetError(
            f"{where}: the axes of symmetries_continuous do not meet; expected one axis, or those of a sphere"
        )
    return np.asarray(center)
