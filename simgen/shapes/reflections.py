"""Reflections that map a block onto itself: the mirror image of such a block is the block itself in another pose."""

from collections.abc import Iterator

import numpy as np

from simgen.geometry import Array
from simgen.shapes.solids import Solid

_PARALLEL = 1e-6  # cosine: a plane with such a normal contains the axis of a round block


def reflections(solid: Solid, points: Array, *, axis: Array | None, sphere: bool) -> Iterator[Array]:
    """The reflections (4, 4) block_from_block that map `solid` onto itself: those in planes in which two of `points` (K, 3)
    m are each other's mirror image or all of them lie, and the inversion. If the points are the corners of a polyhedron,
    these are all. `axis` (3,) is that of a continuous symmetry or None; every reflection maps a `sphere` onto itself.

    Raises SceneError for a mesh that cannot be used.
    """
    center = np.zeros(3) if sphere else solid.corners.mean(axis=0)
    if axis is not None:
        center = (center @ axis) * axis
    for normal in _normals(points):
        turn = np.eye(3) - 2 * np.outer(normal, normal) if normal is not None else -np.eye(3)
        transform = np.eye(4)
        transform[:3, :3], transform[:3, 3] = turn, center - turn @ center
        through_axis = axis is not None and normal is not None and abs(float(normal @ axis)) < _PARALLEL
        if sphere or through_axis or solid.keeps(transform):
            yield transform


def _normals(points: Array) -> list[Array | None]:
    """Unit normals (3,) of the planes in which `points` may be reflected onto each other; the last is None, for the
    inversion."""
    gaps = (points[:, None] - points)[np.triu_indices(len(points), 1)]
    lengths = np.linalg.norm(gaps, axis=1)
    normals = [gap / length for gap, length in zip(gaps, lengths, strict=True) if length > 0]
    if len(points) > 2:  # points in a plane, each on its own mirror image
        normals.append(np.linalg.svd(points - points.mean(axis=0))[2][2])
    unique: list[Array | None] = []
    for normal in normals:
        if all(other is None or abs(normal @ other) < 1 - 1e-9 for other in unique):
            unique.append(normal)
    return [*unique, None]
