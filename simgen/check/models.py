"""Whether models_info.json describes the meshes beside it: sizes, diameters and symmetries."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import trimesh
from scipy.spatial import cKDTree
from scipy.spatial.distance import pdist

from simgen.check.findings import (
    BadValue,
    MeshUnlikeModelsInfo,
    MissingFile,
    NotARotation,
    Report,
    SymmetryUnlikeMesh,
    WrongUnit,
)
from simgen.check.folder import Folder
from simgen.check.meshes import Mesh, mesh_of
from simgen.check.numbers import Array, numbers
from simgen.dataset.layout import MODELS_INFO, mesh_path, models_folder
from simgen.errors import DatasetError

_DIAMETERS = 2.0, 20_000.0  # mm
_SIZE = 0.01  # of the diameter: greatest error of a size
_SYMMETRIC = 0.02  # of the diameter: how far a point of a symmetric mesh may be from its turned image
_ROTATION = 1e-3  # greatest error of an element of R R^T
_POINTS = 4000
_LOW, _EDGES = (tuple(f"{name}_{axis}" for axis in "xyz") for name in ("min", "size"))


@dataclass(frozen=True)
class ModelOf:
    """A model: its mesh, its diameter in mm, and its keypoints (K, 3) mm if models_info.json states some."""

    mesh: Mesh
    diameter: float
    keypoints: Array | None


def check_models(folder: Folder) -> dict[int, ModelOf]:
    """The models in `folder` by obj_id; reports those that models_info.json describes wrongly."""
    report = folder.report
    try:
        models = models_folder(folder.root)
    except DatasetError as error:
        report(MissingFile(str(folder.root), str(error)))
        return {}
    content = folder.json(f"{models.name}/{MODELS_INFO}")
    if content is not None and not isinstance(content, dict):
        report(BadValue(f"{models.name}/{MODELS_INFO}", "expected an object with an entry for each obj_id"))
    found = {}
    for key, info in (content if isinstance(content, dict) else {}).items():
        where = f"{models.name}/{MODELS_INFO}: model {key}"
        if not (key.isdecimal() and len(key) <= 18 and isinstance(info, dict)):
            report(BadValue(where, "expected a whole number as the key of an object"))
            continue
        try:
            diameter = float(_stated(info, ("diameter",))[0])
            low, size = _stated(info, _LOW), _stated(info, _EDGES)
            keypoints = _keypoints(info)
        except ValueError as error:
            report(BadValue(where, f"{error}; expected diameter, min_x to min_z and size_x to size_z"))
            continue
        path = mesh_path(models, int(key))
        name = f"{models.name}/{path.name}"
        if folder.is_outside(name):
            continue
        try:
            mesh = mesh_of(path)
        except (OSError, ValueError) as error:
            report(MissingFile(where, f"its mesh {name} cannot be read: {error}"))
            continue
        found[int(key)] = ModelOf(mesh, diameter, keypoints)
        _check(where, info, mesh, diameter, low, size, report)
    return found


def _stated(info: Mapping[str, Any], names: tuple[str, ...]) -> Array:
    found = []
    for name in names:
        if name not in info:
            raise ValueError(f"{name} is missing")
        try:
            found.append(float(numbers(info[name], 1)[0]))
        except ValueError as error:
            raise ValueError(f"{name} is {error}") from error
    return np.array(found)


def _keypoints(info: Mapping[str, Any]) -> Array | None:
    if not isinstance(info.get("keypoints"), list) or not info["keypoints"]:
        return None
    try:
        return np.array([numbers(point, 3) for point in info["keypoints"]])
    except ValueError as error:
        raise ValueError(f"a point of keypoints is {error}") from error


def _check(
    where: str, info: Mapping[str, Any], mesh: Mesh, diameter: float, low: Array, size: Array, report: Report
) -> None:
    if not _DIAMETERS[0] < diameter < _DIAMETERS[1]:
        report(WrongUnit(where, f"its diameter is {diameter:g} mm"))
    true = float(pdist(_farthest(mesh.vertices)).max())
    stated = np.concatenate([[diameter], low, size])
    measured = np.concatenate([[true], mesh.vertices.min(0), mesh.size])
    if np.abs(stated - measured).max() > _SIZE * true:
        report(
            MeshUnlikeModelsInfo(
                where,
                f"diameter, min and size are {stated.round(2).tolist()}, and of the mesh {measured.round(2).tolist()}",
            )
        )
    symmetries = _symmetries(info, where, report)
    if not symmetries:
        return
    points, _ = trimesh.sample.sample_surface(trimesh.Trimesh(mesh.vertices, mesh.triangles), _POINTS, seed=0)
    tree = cKDTree(points)
    spacing = 3 * float(np.median(tree.query(points, 2)[0][:, 1]))
    for name, transform in symmetries:
        moved = points[::10] @ transform[:3, :3].T + transform[:3, 3]
        off = float(np.quantile(tree.query(moved)[0], 0.95))
        if off > _SYMMETRIC * true + spacing:
            report(SymmetryUnlikeMesh(where, f"{name} moves points of the surface {off:.1f} mm away from it"))


def _farthest(points: Array) -> Array:
    """Those of `points` (N, 3) that are farthest in some direction: the two that are farthest apart, or nearly."""
    if len(points) <= _POINTS:
        return points
    directions = np.asarray(trimesh.creation.icosphere(subdivisions=4).vertices)
    return np.asarray(points[np.unique((points @ directions.T).argmax(axis=0))])


def _symmetries(info: Mapping[str, Any], where: str, report: Report) -> list[tuple[str, Array]]:
    """The discrete symmetries (4, 4), and two turns about each axis of a continuous one; reports those that are none."""
    found: list[tuple[str, Array]] = []
    for key in ("symmetries_discrete", "symmetries_continuous"):
        stated = info.get(key, [])
        if not isinstance(stated, list):
            report(BadValue(where, f"{key}: expected a list"))
            continue
        for k, one in enumerate(stated[:1000]):
            name = f"{key}[{k}]"
            try:
                found += _turns(one, name) if key == "symmetries_continuous" else [(name, _transform(one))]
            except ValueError as error:
                report(BadValue(where, f"{name}: {error}"))
    good = []
    for name, transform in found:
        turn = transform[:3, :3]
        if np.abs(turn @ turn.T - np.eye(3)).max() > _ROTATION or np.linalg.det(turn) < 0:
            report(NotARotation(where, f"{name} is no rotation with a shift"))
        else:
            good.append((name, transform))
    return good


def _transform(value: Any) -> Array:
    """(4, 4) of 16 numbers, flat or in four rows."""
    flat = [one for row in value for one in row] if isinstance(value, list) and _rows(value) else value
    return numbers(flat, 4, 4)


def _rows(value: list[Any]) -> bool:
    return all(isinstance(row, list) for row in value)


def _turns(value: Any, name: str) -> list[tuple[str, Array]]:
    """Two turns about the axis of a continuous symmetry."""
    if not isinstance(value, dict) or "axis" not in value:
        raise ValueError("expected an object with axis and offset")
    axis, offset = numbers(value["axis"], 3), numbers(value.get("offset", [0, 0, 0]), 3)
    if np.linalg.norm(axis) < 1e-6:
        raise ValueError("axis has no direction")
    return [(name, np.asarray(trimesh.transformations.rotation_matrix(angle, axis, offset))) for angle in (0.7, 2.1)]
