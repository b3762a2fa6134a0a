"""Whether models_info.json describes the meshes beside it: sizes, diameters and symmetries."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from scipy.spatial import cKDTree
from scipy.spatial.distance import pdist

from simgen.check.findings import BadValue, MeshUnlikeModelsInfo, MissingFile, Report, SymmetryUnlikeMesh, WrongUnit
from simgen.check.meshes import Array, Mesh, mesh_of
from simgen.check.tree import read_json
from simgen.dataset.layout import MODELS_INFO, mesh_path, models_folder
from simgen.errors import DatasetError

_DIAMETERS = 2.0, 20_000.0  # mm
_SIZE = 0.01  # of the diameter: greatest error of a size
_SYMMETRIC = 0.02  # of the diameter: how far a point of a symmetric mesh may be from its turned image
_POINTS = 4000


def check_models(root: Path, report: Report) -> dict[int, tuple[Mesh, float]]:
    """The mesh and the diameter in mm of each model in `root`; reports those that models_info.json describes wrongly."""
    try:
        folder = models_folder(root)
    except DatasetError as error:
        report(MissingFile(str(root), str(error)))
        return {}
    content = read_json(folder / MODELS_INFO, report)
    found = {}
    for key, info in (content if isinstance(content, dict) else {}).items():
        where = f"{folder.name}/{MODELS_INFO}: model {key}"
        try:
            mesh = mesh_of(mesh_path(folder, int(key)))
            diameter, low, size = (_numbers(info, names) for names in (("diameter",), _low, _size))
        except (OSError, ValueError) as error:
            report(MissingFile(where, f"its mesh cannot be read: {error}"))
            continue
        except (KeyError, TypeError) as error:
            report(BadValue(where, f"{error!r}; expected diameter, min_x to min_z and size_x to size_z"))
            continue
        found[int(key)] = mesh, float(diameter[0])
        _check(where, info, mesh, float(diameter[0]), low, size, report)
    return found


_low, _size = (tuple(f"{name}_{axis}" for axis in "xyz") for name in ("min", "size"))


def _numbers(info: Mapping[str, Any], names: tuple[str, ...]) -> Array:
    return np.array([float(info[name]) for name in names])


def _check(
    where: str, info: Mapping[str, Any], mesh: Mesh, diameter: float, low: Array, size: Array, report: Report
) -> None:
    if not _DIAMETERS[0] < diameter < _DIAMETERS[1]:
        report(WrongUnit(where, f"its diameter is {diameter:g} mm"))
    corners = trimesh.convex.hull_points(mesh.vertices)
    true = float(pdist(corners).max())
    stated = np.concatenate([[diameter], low, size])
    measured = np.concatenate([[true], mesh.vertices.min(0), mesh.size])
    if np.abs(stated - measured).max() > _SIZE * true:
        report(
            MeshUnlikeModelsInfo(
                where,
                f"diameter, min and size are {stated.round(2).tolist()}, and of the mesh {measured.round(2).tolist()}",
            )
        )
    points, _ = trimesh.sample.sample_surface(trimesh.Trimesh(mesh.vertices, mesh.triangles), _POINTS, seed=0)
    tree = cKDTree(points)
    spacing = 3 * float(np.median(tree.query(points, 2)[0][:, 1]))
    for name, transform in _symmetries(info, where, report):
        moved = points[::10] @ transform[:3, :3].T + transform[:3, 3]
        off = float(np.quantile(tree.query(moved)[0], 0.95))
        if off > _SYMMETRIC * true + spacing:
            report(SymmetryUnlikeMesh(where, f"{name} moves points of the surface {off:.1f} mm away from it"))


def _symmetries(info: Mapping[str, Any], where: str, report: Report) -> list[tuple[str, Array]]:
    """The discrete symmetries (4, 4), and two turns about each axis of a continuous one."""
    found = []
    try:
        for k, numbers in enumerate(info.get("symmetries_discrete", [])):
            found.append((f"symmetries_discrete[{k}]", np.array(numbers, dtype=np.float64).reshape(4, 4)))
        for k, axis in enumerate(info.get("symmetries_continuous", [])):
            for angle in (0.7, 2.1):
                turn = trimesh.transformations.rotation_matrix(angle, axis["axis"], axis.get("offset", [0, 0, 0]))
                found.append((f"symmetries_continuous[{k}]", np.asarray(turn)))
    except (KeyError, TypeError, ValueError) as error:
        report(BadValue(where, f"symmetries: {error!r}"))
    return found
