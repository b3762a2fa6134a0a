"""Repairs surfaces from mesh files: merges vertices, drops degenerate faces and turns every face outward."""

from dataclasses import dataclass

import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from simgen import exact
from simgen.geometry import Array

_SAME_CORNER = 1e-7  # diameters: nearer vertices are one
_NO_HEIGHT = 1e-7  # diameters: a triangle of less height has no area


@dataclass(frozen=True)
class Repaired:
    """vertices (V, 3), all of them corners of `triangles` (T, 3), which are counterclockwise from outside; whether the
    surface is `watertight`, and in how many separate `bodies` it is."""

    vertices: Array
    triangles: NDArray[np.int64]
    watertight: bool
    bodies: int


def repaired(vertices: Array, triangles: NDArray[np.int64]) -> Repaired:
    """The surface of `triangles` (T, 3) over `vertices` (V, 3), without vertices that no face uses, faces without area and
    faces that occur twice. Faces of a closed part that look inward are turned.

    Tolerances are shares of the bounding box's diagonal. Raises ValueError where no face with an area is left.
    """
    used, inverse = np.unique(vertices[triangles.ravel()], axis=0, return_inverse=True)
    faces = inverse.reshape(-1, 3)
    diameter = float(np.linalg.norm(np.ptp(used, axis=0)))
    if not diameter:
        raise ValueError("all its points are one")
    unit = (used - (used.min(axis=0) + used.max(axis=0)) / 2) / diameter
    pairs = cKDTree(unit).query_pairs(_SAME_CORNER, output_type="ndarray")
    if len(pairs):
        graph = coo_matrix((np.ones(len(pairs)), tuple(pairs.T)), shape=(len(unit), len(unit)))
        _, first, label = np.unique(connected_components(graph)[1], return_index=True, return_inverse=True)
        used, unit, faces = used[first], unit[first], label.ravel()[faces]
    ends = np.sort(faces, axis=1)
    faces = faces[(ends[:, 0] != ends[:, 1]) & (ends[:, 1] != ends[:, 2])]
    _, once = np.unique(np.sort(faces, axis=1), axis=0, return_index=True)
    faces = faces[np.sort(once)]
    if not len(faces):
        raise ValueError("none of its faces has an area")
    mesh = trimesh.Trimesh(unit, faces, process=False)
    watertight = bool(mesh.is_watertight)
    if not mesh.is_winding_consistent:
        trimesh.repair.fix_winding(mesh)
    faces, bodies = _outward(unit, np.asarray(mesh.faces, dtype=np.int64), mesh.face_adjacency)
    a, b, c = np.moveaxis(unit[faces], 1, 0)
    longest = np.max([np.linalg.norm(side, axis=1) for side in (b - a, c - b, a - c)], axis=0)
    height = np.linalg.norm(np.cross(b - a, c - a), axis=1) / np.maximum(longest, 1e-300)
    faces = faces[height > _NO_HEIGHT]
    if not len(faces):
        raise ValueError("none of its faces has an area")
    kept, inverse = np.unique(faces, return_inverse=True)
    return Repaired(used[kept], inverse.reshape(-1, 3), watertight, bodies)


def _outward(vertices: Array, faces: NDArray[np.int64], adjacency: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """`faces` (T, 3), those of each connected part turned together so that they look out of it; and the number of parts.

    A part inside another one is a closed cavity. It is not visible, and its faces correctly point inward.
    """
    count = len(faces)
    graph = coo_matrix((np.ones(len(adjacency)), tuple(adjacency.T)), shape=(count, count))
    bodies, label = connected_components(graph, directed=False)
    corners = vertices[faces]
    low = np.stack([np.full(3, np.inf)] * bodies)
    high = -low
    np.minimum.at(low, label, corners.min(axis=1))
    np.maximum.at(high, label, corners.max(axis=1))
    middle = ((low + high) / 2)[label]
    a, b, c = np.moveaxis(corners - middle[:, None], 1, 0)
    volume = np.bincount(label, exact.dot(a, np.cross(b, c)), bodies)
    faces = faces.copy()
    for body in np.flatnonzero(volume < 0):
        within = np.all((low < low[body] - 1e-9) & (high > high[body] + 1e-9), axis=1)
        if not within.any():
            rows = label == body
            faces[rows] = faces[rows][:, ::-1]
    return faces, int(bodies)
