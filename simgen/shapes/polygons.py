"""Triangulates the polygons of a mesh, convex or concave."""

from collections.abc import Sequence

import mapbox_earcut
import numpy as np
from numpy.typing import NDArray

from simgen import exact
from simgen.geometry import Array

_SAME_AREA = 1e-3  # share of a polygon's area by which its triangles may differ


def triangulated(vertices: Array, polygons: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """The triangles (T, 3) of `polygons`, lists of indices into `vertices` (V, 3), with the orientation of their polygon.

    A polygon is split into a fan about its first corner if that covers it; any other is triangulated by ear clipping
    (mapbox_earcut) in the plane normal to its area vector (Newell's method). Polygons with fewer than three corners are
    left out. Raises ValueError for a polygon that crosses itself.
    """
    sizes = np.array([len(polygon) for polygon in polygons], dtype=np.int64)
    parts = [np.zeros((0, 3), dtype=np.int64)]
    for size in np.unique(sizes[sizes >= 3]):
        rows = np.array([polygons[int(k)] for k in np.flatnonzero(sizes == size)], dtype=np.int64)
        fans = np.stack([np.repeat(rows[:, :1], size - 2, axis=1), rows[:, 1:-1], rows[:, 2:]], axis=2)
        if size == 3:
            parts.append(fans[:, 0])
            continue
        a, b, c = np.moveaxis(vertices[fans], 2, 0)
        areas = np.cross(b - a, c - a) / 2  # (M, size - 2, 3)
        whole = areas.sum(axis=1)
        along = exact.dot(areas, whole[:, None])
        fits = along.min(axis=1) >= -1e-9 * exact.dot(whole, whole)
        parts.append(fans[fits].reshape(-1, 3))
        parts.extend(_ears(vertices, row, area) for row, area in zip(rows[~fits], whole[~fits], strict=True))
    return np.concatenate(parts)


def _ears(vertices: Array, polygon: NDArray[np.int64], area: Array) -> NDArray[np.int64]:
    """The triangles of one polygon whose area vector is `area` (3,)."""
    size = float(np.linalg.norm(area))
    normal = area / np.maximum(size, 1e-300)
    across = np.cross(normal, np.eye(3)[np.argmin(np.abs(normal))])
    across /= np.linalg.norm(across)
    corners = vertices[polygon] - vertices[polygon].mean(axis=0)
    flat = corners @ np.stack([across, np.cross(normal, across)]).T  # counterclockwise
    flat /= np.maximum(np.abs(flat).max(), 1e-300)
    ends = np.array([len(flat)], dtype=np.uint32)
    triangles = mapbox_earcut.triangulate_float64(flat, ends).astype(np.int64).reshape(-1, 3)
    a, b, c = np.moveaxis(flat[triangles], 1, 0)
    turn = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    x, y = flat.T
    wanted = (x * np.roll(y, -1) - y * np.roll(x, -1)).sum()
    if wanted <= 0 or abs(np.abs(turn).sum() - wanted) > _SAME_AREA * wanted:
        raise ValueError(f"a face of {len(polygon)} corners crosses itself; triangulate the mesh where you made it")
    triangles[turn < 0] = triangles[turn < 0][:, ::-1]
    return np.asarray(polygon[triangles], dtype=np.int64)
