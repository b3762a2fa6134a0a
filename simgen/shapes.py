"""Block solids: vertices, facets, keypoints, rotational symmetries, resting faces and a mesh.

A `Solid` has its origin at the centre of its bounding box and its axes along the box's edges (BOP's convention); lengths
are metres. The eight shapes of Tobin et al. 2017 come from one table of unit vertices; any other comes from a mesh file.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError, cKDTree

from simgen.errors import SceneError
from simgen.geometry import Array, rigid, rotation_between

SEGMENTS = 64  # sides of a drawn circle: it stays within 0.13% of its radius
_UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class Solid:
    """One kind of block.

    vertices (V, 3) m and triangles (T, 3) anticlockwise from outside are the surface; `axis` (3,) is the direction of a
    continuous rotational symmetry through the origin, or None. `convex` says whether the surface is its own hull.
    """

    name: str
    shape: str
    vertices: Array
    triangles: NDArray[np.int64]
    axis: Array | None
    convex: bool

    @property
    def size(self) -> Array:
        """(3,) m, the edges of the bounding box."""
        return np.asarray(np.ptp(self.vertices, axis=0))

    @cached_property
    def radius(self) -> float:
        """The radius in m of the smallest sphere about the origin that holds the block."""
        return float(np.linalg.norm(self.vertices, axis=1).max())

    @cached_property
    def diameter(self) -> float:
        """The greatest distance in m between two points of the block (BOP's `diameter`)."""
        corners = self.vertices[self.hull.vertices]
        return float(max(np.linalg.norm(corners - corner, axis=1).max() for corner in corners))

    @cached_property
    def hull(self) -> ConvexHull:
        return ConvexHull(self.vertices)

    @cached_property
    def planes(self) -> Array:
        """(P, 4) half-spaces n.x <= d of the convex hull as rows [n, d], one for each facet, outward unit normals."""
        equations = self.hull.equations
        _, first = np.unique(np.round(equations, 6), axis=0, return_index=True)
        planes = equations[np.sort(first)]
        return np.concatenate([planes[:, :3], -planes[:, 3:]], axis=1)

    @cached_property
    def slabs(self) -> Array:
        """(S, 5) rows [n, low, high]: the block is where low <= n.x <= high for all of them, and within `taper` if it has
        one. Opposite facets share a slab; one without an opposite has its low side beyond the block,
        or at the tip of a cone."""
        planes = self.planes
        if self.taper is not None:  # its side is no set of planes
            planes = planes[np.abs(planes[:, 2]) > 1 - 1e-9]
        rows: list[Array] = []
        for plane in planes:
            opposite = next((row for row in rows if np.allclose(row[:3], -plane[:3], atol=1e-6)), None)
            if opposite is not None:
                opposite[3] = -plane[3]
            else:
                end = np.min(self.vertices @ plane[:3])
                rows.append(np.array([*plane[:3], end if self.taper is not None else end - 1, plane[3]]))
        return np.stack(rows)

    @property
    def taper(self) -> tuple[float, float] | None:
        """(a, b) of a round side: in units of the bounding box x^2 + y^2 <= (a + b z)^2. None for a polyhedron."""
        return {"cylinder": (0.5, 0.0), "cone": (0.25, -0.5)}.get(self.shape)

    @cached_property
    def center_of_mass(self) -> Array:
        """(3,) m, that of the convex hull filled evenly."""
        return np.asarray(trimesh.Trimesh(self.vertices, self.triangles).convex_hull.center_mass)

    @cached_property
    def rests(self) -> Array:
        """(R, 4, 4) table_from_block: each way to lie on the plane z = 0, with its base down (no turn) first if it has one
        that carries it.

        A facet of the hull carries the block if the hull's centre of mass is over it. Facets that a continuous symmetry
        turns into each other count once.
        """
        mass = self.center_of_mass
        found: list[tuple[float, Array]] = []
        seen: list[float] = []
        for normal, offset in sorted(((p[:3], p[3]) for p in self.planes), key=lambda item: (item[0][2], *item[0])):
            foot = mass + normal * (offset - normal @ mass)
            others = self.planes[np.abs(self.planes[:, :3] @ normal - 1) > 1e-9]
            # Inside every other half-space: the foot of the plumb line lies on this facet and not at its edge.
            if np.any(others[:, :3] @ foot > others[:, 3] - 1e-9):
                continue
            if self.axis is not None:
                tilt = round(float(normal @ self.axis), 4)
                if tilt in seen:
                    continue
                seen.append(tilt)
            found.append((offset, rotation_between(normal, -_UP)))
        return np.stack([rigid(turn, offset * _UP) for offset, turn in found])

    @cached_property
    def symmetries(self) -> Array:
        """(S, 4, 4) block_from_block: the discrete rotations, identity first, that map the block onto itself.

        With a continuous symmetry about `axis`, only those beside it: the half turn that swaps the ends, if there is one.
        """
        if self.axis is not None:
            flip = rigid(2 * np.outer(side := _normal_to(self.axis), side) - np.eye(3), np.zeros(3))
            return np.stack([np.eye(4), flip] if self._maps_to_itself(flip) else [np.eye(4)])
        corners = self.vertices[self.hull.vertices]
        center = corners.mean(axis=0)
        spokes = corners - center
        length = np.linalg.norm(spokes, axis=1)
        a = spokes[0]
        b = next(s for s in spokes[1:] if np.linalg.norm(np.cross(a, s)) > 0.1 * length[0] * np.linalg.norm(s))
        tolerance = 1e-4 * self.diameter
        found = []
        # A rotation is fixed by where it takes two spokes; lengths and the angle between them must be kept.
        for first in spokes[np.abs(length - np.linalg.norm(a)) < tolerance]:
            for second in spokes[np.abs(length - np.linalg.norm(b)) < tolerance]:
                if abs(first @ second - a @ b) < tolerance * self.diameter:
                    turn = _frame(first, second) @ _frame(a, b).T
                    candidate = rigid(turn, center - turn @ center)
                    if self._maps_to_itself(candidate):
                        found.append(candidate)
        found.sort(key=lambda s: -np.trace(s[:3, :3]))
        return np.stack(found)

    @cached_property
    def keypoints(self) -> Array:
        """(K, 3) m, points on the surface: the corners of a polyhedron (the 12 that lie farthest apart if there are more),
        or the ends of the axis and four points on each rim of a round one."""
        if self.axis is not None and self.shape in ("cone", "cylinder"):
            rim = np.array([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]])
            top = [[0, 0, 1.0]] if self.shape == "cone" else [[0, 0, 1.0], *(rim + _UP)]
            return np.array([*top, [0, 0, -1], *(rim - _UP)]) * self.size / 2
        corners = self.vertices[self.hull.vertices]
        corners = corners[np.lexsort(np.round(corners, 9).T)]
        chosen = [0]
        while len(chosen) < min(12, len(corners)):  # farthest point sampling
            gaps = np.linalg.norm(corners[:, None] - corners[chosen], axis=2).min(axis=1)
            chosen.append(int(np.argmax(np.round(gaps, 9))))
        return np.asarray(corners[np.sort(chosen)])

    @cached_property
    def mesh(self) -> "Mesh":
        """The surface with one normal for each face, and texture coordinates."""
        corners = self.vertices[self.triangles]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
        return Mesh(corners, normals, box_mapping(corners / self.size + 0.5, normals))

    def _maps_to_itself(self, transform: Array) -> bool:
        tolerance = 1e-3 * self.diameter
        moved = self.vertices @ transform[:3, :3].T + transform[:3, 3]
        if np.max(self._tree.query(moved)[0]) > tolerance:
            return False
        if self.convex:
            return True
        # Of a surface with hollows the corners do not say everything: points spread over its faces must fit as well.
        spread, _ = trimesh.sample.sample_surface_even(trimesh.Trimesh(self.vertices, self.triangles), 200, seed=0)
        moved = spread @ transform[:3, :3].T + transform[:3, 3]
        corners = self.vertices[self.triangles]
        nearest = trimesh.triangles.closest_point(
            np.tile(corners, (len(moved), 1, 1)), np.repeat(moved, len(corners), 0)
        )
        gaps = np.linalg.norm(nearest.reshape(len(moved), -1, 3) - moved[:, None], axis=2)
        return bool(gaps.min(axis=1).max() < tolerance)

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self.vertices)


@dataclass(frozen=True)
class Mesh:
    """A triangle soup: corners (T, 3, 3), outward unit normals (T, 3), texture coordinates (T, 3, 2)."""

    corners: Array
    normals: Array
    texture: Array


def box_mapping(unit: Array, normals: Array) -> Array:
    """Texture coordinates (T, 3, 2) of corners `unit` (T, 3, 3) given in units of the bounding box, [0, 1].

    Each triangle is projected along the coordinate axis that its normal is nearest to, so a texture covers each side of
    the bounding box once.
    """
    dominant = np.argmax(np.round(np.abs(normals), 6), axis=1)
    keep = np.array([[1, 2], [0, 2], [0, 1]])[dominant]
    return np.take_along_axis(unit, keep[:, None, :], axis=2)


def face_numbers(normals: Array, slabs: Array) -> NDArray[np.int64]:
    """(T,) which face of a block each triangle with its outward normal, `normals` (T, 3), belongs to: 2 s and 2 s + 1 are
    the low and the high side of row s of Solid.slabs. -1 for what lies along none, as a round side. In a mesh with hollows
    what is parallel to a face counts as of it."""
    cosine = normals @ slabs[:, :3].T
    slab = np.argmax(np.round(np.abs(cosine), 6), axis=1)
    along = cosine[np.arange(len(normals)), slab]
    return np.where(np.abs(along) > 0.9999, 2 * slab + (along > 0), -1)


def make_solid(name: str, shape: str, size: Array) -> Solid:
    """The block `name` with one of SHAPES, its bounding box `size` (3,) m."""
    unit = SHAPES[shape]()
    low, high = unit.min(axis=0), unit.max(axis=0)
    vertices = ((unit - low) / (high - low) - 0.5) * size
    round_shape = shape in ("cone", "cylinder") and abs(size[0] - size[1]) < 1e-9
    return Solid(name, shape, vertices, _hull_triangles(vertices), _UP if round_shape else None, convex=True)


def load_solid(name: str, path: Path, scale: float, axis: Array | None = None) -> Solid:
    """The block `name` from a mesh file (OBJ, PLY, STL), its coordinates times `scale` being metres.

    `axis` (3,) states a continuous symmetry. Raises SceneError that names the file if it is missing, is no mesh, or is
    flat.
    """
    if not path.is_file():
        raise SceneError(f"{path}: missing; block '{name}' names it as its mesh")
    try:
        loaded: Any = trimesh.load(path, force="mesh", process=False, skip_materials=True)
        if not np.isfinite(loaded.vertices).all():
            raise ValueError("it has coordinates that are not finite")
        mesh = trimesh.Trimesh(np.asarray(loaded.vertices) * scale, loaded.faces)
        mesh.merge_vertices(merge_tex=True, merge_norm=True)
        if mesh.is_watertight and mesh.volume < 0:  # inside out
            mesh.invert()
        vertices = np.asarray(mesh.vertices, dtype=np.float64)
        vertices = vertices - (vertices.min(axis=0) + vertices.max(axis=0)) / 2
        hull = ConvexHull(vertices)
    except QhullError as error:
        raise SceneError(f"{path}: the mesh of block '{name}' is flat or empty; expected a solid") from error
    except Exception as error:  # trimesh raises whatever its parsers meet
        raise SceneError(f"{path}: cannot be read as a mesh for block '{name}' ({error})") from error
    convex = bool(mesh.is_watertight and mesh.volume > 0.999 * hull.volume)
    if convex:
        vertices = vertices[hull.vertices]
    triangles = _hull_triangles(vertices) if convex else np.asarray(mesh.faces, dtype=np.int64)
    if axis is not None:
        turn = trimesh.transformations.rotation_matrix(0.7, axis)
        spread = np.abs(
            ConvexHull(vertices).volume - ConvexHull(np.concatenate([vertices, vertices @ turn[:3, :3].T])).volume
        )
        if spread > 0.02 * hull.volume:
            raise SceneError(
                f"{path}: block '{name}' is not round about axis {axis.tolist()} through its middle; drop `axis`"
            )
    return Solid(name, "mesh", vertices, triangles, axis, convex)


def _hull_triangles(vertices: Array) -> NDArray[np.int64]:
    hull = ConvexHull(vertices)
    a, b, c = (vertices[hull.simplices[:, k]] for k in range(3))
    inward = np.einsum("ij,ij->i", np.cross(b - a, c - a), hull.equations[:, :3]) < 0
    return np.asarray(np.where(inward[:, None], hull.simplices[:, ::-1], hull.simplices), dtype=np.int64)


def _normal_to(axis: Array) -> Array:
    normal = np.cross(axis, np.eye(3)[np.argmin(np.abs(axis))])
    return np.asarray(normal / np.linalg.norm(normal))


def _frame(a: Array, b: Array) -> Array:
    x = a / np.linalg.norm(a)
    z = np.cross(a, b)
    z = z / np.linalg.norm(z)
    return np.stack([x, np.cross(z, x), z], axis=1)


def _ring(sides: int, height: float, turn: float = 0.0) -> Array:
    angle = turn + 2 * np.pi * np.arange(sides) / sides
    return np.stack([np.cos(angle), np.sin(angle), np.full(sides, height)], axis=1)


def _prism(sides: int, turn: float = 0.0) -> Array:
    return np.concatenate([_ring(sides, -1, turn), _ring(sides, 1, turn)])


def _spire(sides: int, turn: float = 0.0) -> Array:
    return np.concatenate([_ring(sides, -1, turn), [_UP]])


# Corners in any scale: make_solid stretches them to the bounding box.
SHAPES: dict[str, Callable[[], Array]] = {
    "cone": lambda: _spire(SEGMENTS),
    "cube": lambda: _prism(4, np.pi / 4),
    "cylinder": lambda: _prism(SEGMENTS),
    "hexagonal_prism": lambda: _prism(6),
    "pyramid": lambda: _spire(4, np.pi / 4),
    "rectangular_prism": lambda: _prism(4, np.pi / 4),
    "tetrahedron": lambda: _spire(3, np.pi / 2),
    "triangular_prism": lambda: _prism(3, np.pi / 2),
}
