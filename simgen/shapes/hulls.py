"""Convex hulls of blocks: their planes, their corners and the resting poses of a block on a table.

Every tolerance is relative to the block's diameter, so a part of 1 mm and one of 5 m behave alike.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, cKDTree
from scipy.spatial.distance import cdist

from simgen import exact
from simgen.geometry import Array, rigid, rotation_between

_SAME_PLANE = 1e-3  # between unit normals, and between offsets in diameters: two facets of one plane
_ON_PLANE = 3e-5  # diameters: a corner this near to a plane lies on it
_NEARLY_PARALLEL = 0.17  # between unit normals: facets that may share a plane, unless they are slivers
_CARRIED = 1e-6  # diameters: least distance of the projected center of mass from the edge of a stable resting facet
_SAME_TILT = 1e-3  # between cosines to the axis of a round block
_UP = np.array([0.0, 0.0, 1.0])


def diameter_of(corners: Array) -> float:
    """The greatest distance between two of `corners` (C, 3)."""
    return float(max(cdist(corners[k : k + 512], corners).max() for k in range(0, len(corners), 512)))


def planes_of(hull: ConvexHull, diameter: float) -> Array:
    """(P, 4) half-spaces n.x <= d of `hull` as rows [n, d] with outward unit normals. Coplanar facets are merged to one
    plane, which has the normal of the largest of them."""
    owner = _owners(hull, diameter)
    _, first = np.unique(owner, return_index=True)
    planes = hull.equations[owner[np.sort(first)]]
    return np.concatenate([planes[:, :3], -planes[:, 3:]], axis=1)


def _owners(hull: ConvexHull, diameter: float) -> NDArray[np.int64]:
    """(F,) for each facet of `hull` the index of the largest facet in the same plane."""
    equations = hull.equations
    corners = hull.points[hull.simplices]  # (F, 3, 3)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)
    slivers = np.flatnonzero(area < 2 * _ON_PLANE * diameter * longest)  # rounding makes their normals meaningless
    tree = cKDTree(equations[:, :3])
    # Most facets of a finely meshed round side are not coplanar with any neighbor.
    beside = hull.neighbors  # (F, 3)
    bend = np.linalg.norm(equations[beside, :3] - equations[:, None, :3], axis=2) > _SAME_PLANE
    rise = exact.dot(corners[beside], equations[:, None, None, :3]) + equations[:, 3, None, None]
    alone = np.all(bend & (np.abs(rise).max(axis=2) > _ON_PLANE * diameter), axis=1)
    alone &= ~np.isin(np.arange(len(alone)), beside[~alone])
    owner = np.where(alone, np.arange(len(alone)), -1)
    for facet in np.lexsort((np.arange(len(area)), -np.round(area / area.max(), 6))):
        if owner[facet] >= 0:
            continue
        near = np.union1d(tree.query_ball_point(equations[facet, :3], _NEARLY_PARALLEL), slivers).astype(np.int64)
        near = near[owner[near] < 0]
        offset = np.abs(equations[near, 3] - equations[facet, 3]) < _SAME_PLANE * diameter
        same = offset & (np.linalg.norm(equations[near, :3] - equations[facet, :3], axis=1) < _SAME_PLANE)
        height = np.abs(exact.dot(corners[near], equations[facet, :3]) + equations[facet, 3]).max(axis=1)
        owner[near[same | (height < _ON_PLANE * diameter)]] = facet
        owner[facet] = facet
    return owner


def corners_of(hull: ConvexHull, planes: Array, diameter: float) -> NDArray[np.int64]:
    """Indices into `hull.points` of its corners: vertices where at least three of `planes` meet. Vertices inside a face or
    an edge, as in a finely meshed flat face, are not corners."""
    vertices = np.asarray(hull.vertices, dtype=np.int64)
    meets = np.unique(np.stack([hull.simplices.ravel(), np.repeat(_owners(hull, diameter), 3)], axis=1), axis=0)
    touched = np.bincount(meets[:, 0], minlength=len(hull.points))[vertices]
    for k in np.flatnonzero(touched < 3):  # its facets may be slivers that were assigned to other planes
        touched[k] = (
            np.abs(exact.dot(planes[:, :3], hull.points[vertices[k]]) - planes[:, 3]) < _ON_PLANE * diameter
        ).sum()
    corners = vertices[touched >= 3]
    if len(corners) == len(vertices):
        return vertices
    # Rounding may move a corner off its planes. Keep all vertices if corners are missing.
    left = hull.points[corners]
    if len(corners) < 4 or ConvexHull(left).volume < 0.9999 * hull.volume:
        return vertices
    return corners


def rests_of(planes: Array, mass: Array, axis: Array | None, diameter: float) -> Array:
    """(R, 4, 4) table_from_block: the stable resting poses on the plane z = 0 of a block with the hull `planes` and the
    center of mass `mass` (3,). The pose without rotation is the first if it is stable.

    The block rests on a facet of the hull if the center of mass projects into that facet. Facets that are equivalent under
    the continuous symmetry about `axis` count once.
    """
    found: list[tuple[float, Array]] = []
    seen: list[float] = []
    feet = mass + planes[:, :3] * (planes[:, 3] - exact.dot(planes[:, :3], mass))[:, None]
    # A few planes rule out most facets; only the others are compared with all planes.
    few = planes[np.unique(np.linspace(0, len(planes) - 1, 64).astype(int))]
    likely = (exact.product(feet, few[:, :3].T) - few[:, 3]).max(axis=1) < _CARRIED * diameter
    for k in sorted(np.flatnonzero(likely), key=lambda k: (planes[k, 2], *planes[k, :3])):
        normal, offset = planes[k, :3], planes[k, 3]
        foot = mass + normal * (offset - exact.dot(normal, mass))
        beyond = exact.dot(planes[:, :3], foot) - planes[:, 3]
        beyond[k] = -np.inf
        # The projected center of mass lies on this facet if it is inside every other half-space.
        if beyond.max() > -_CARRIED * diameter:
            continue
        if axis is not None:
            tilt = float(exact.dot(normal, axis))
            if any(abs(tilt - other) < _SAME_TILT for other in seen):
                continue
            seen.append(tilt)
        found.append((offset, rotation_between(normal, -_UP)))
    return np.array([rigid(turn, offset * _UP) for offset, turn in found]).reshape(-1, 4, 4)
