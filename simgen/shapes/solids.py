"""Block solids: vertices, facets, keypoints, rotational symmetries, resting faces and a mesh.

A `Solid` has its origin at the center of its bounding box and its axes along the box's edges (BOP's convention); lengths
are meters. The eight shapes of Tobin et al. 2017 and the sphere come from one table of unit vertices; any other comes from
a mesh file.
"""

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

from simgen import exact
from simgen.errors import SceneError
from simgen.geometry import Array, rigid
from simgen.shapes.hulls import corners_of, diameter_of, planes_of, rests_of
from simgen.shapes.meshfile import FORMATS, read_mesh
from simgen.shapes.meshrepair import Repaired, repaired
from simgen.shapes.symmetry import Shape

SEGMENTS = 64  # sides of a drawn circle: it stays within 0.13% of its radius
SPHERE_LEVEL = 4  # subdivisions of the icosahedron that approximates a sphere: it stays within 0.09% of its radius
_BALL = 0.02  # share of the radius: a mesh that deviates less from a sphere counts as a sphere
_FULL = 0.999  # a convex surface has at least this share of its hull's volume, and of the area of each hull face
_HOLLOW = 0.02  # diameters: a block of overlapping parts is not convex if a face lies deeper than this inside the hull
_OF_SURFACE = ("hull", "diameter", "planes", "corners", "_as_shape")  # of a Solid: what neither axis nor notes change
_UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class Solid:
    """One kind of block.

    vertices (V, 3) m and triangles (T, 3) counterclockwise from outside are the surface; `axis` (3,) is the direction of a
    continuous rotational symmetry through the origin, or None. `convex` states whether the surface is its own hull. A block
    of the shape "sphere" is symmetric about every axis; its `axis` is None. For a block from a mesh file, `mesh_origin` (3,)
    m is the position of the file's origin in the block frame, and `notes` are lines for the user about the file. For other
    blocks, `mesh_origin` is None.
    """

    name: str
    shape: str
    vertices: Array
    triangles: NDArray[np.int64]
    axis: Array | None
    convex: bool
    mesh_origin: Array | None = None
    notes: tuple[str, ...] = ()

    @property
    def sphere(self) -> bool:
        """Whether every rotation about the origin maps the block onto itself."""
        return self.shape == "sphere"

    @property
    def size(self) -> Array:
        """(3,) m, the edges of the bounding box."""
        return np.asarray(np.ptp(self.vertices, axis=0))

    @cached_property
    def radius(self) -> float:
        """The radius in m of the smallest sphere about the origin that holds the block."""
        return float(exact.norm(self.vertices).max())

    @cached_property
    def diameter(self) -> float:
        """The greatest distance in m between two points of the block (BOP's `diameter`)."""
        return float(self.size.max()) if self.sphere else diameter_of(self.vertices[self.hull.vertices])

    @cached_property
    def hull(self) -> ConvexHull:
        return ConvexHull(self.vertices)

    @cached_property
    def planes(self) -> Array:
        """(P, 4) half-spaces n.x <= d of the convex hull as rows [n, d], one for each facet, outward unit normals."""
        return planes_of(self.hull, self.diameter)

    @cached_property
    def corners(self) -> Array:
        """(C, 3) m, the corners of the convex hull."""
        if self.sphere:
            return self.vertices
        return np.asarray(self.vertices[corners_of(self.hull, self.planes, self.diameter)])

    @cached_property
    def slabs(self) -> Array:
        """(S, 5) rows [n, low, high]: the block is the set of points x with low <= n.x <= high for all rows, inside its
        `quadric` if it has one. Two parallel opposite facets share a row. A facet without an opposite one has its low end
        beyond the block, or at the tip of a cone."""
        if self.sphere:  # its quadric is its surface; the slab is larger, so a ray never enters through it
            return np.array([[0, 0, 1, -self.size[2], self.size[2]]])
        planes = self.planes
        if self.quadric is not None:  # the round side is not made of planes: only the ends are
            planes = planes[np.abs(planes[:, 2]) > 1 - 1e-9]
        rows = np.zeros((len(planes), 5))
        count = 0
        for plane in planes:
            opposite = np.flatnonzero(np.abs(rows[:count, :3] + plane[:3]).max(axis=1) < 1e-4)
            if len(opposite):
                rows[opposite[0], 3] = -plane[3]
            else:
                end = np.min(exact.dot(self.vertices, plane[:3]))
                rows[count] = [*plane[:3], end if self.quadric is not None else end - 1, plane[3]]
                count += 1
        return rows[:count]

    @property
    def quadric(self) -> tuple[float, float, float] | None:
        """(a, b, c) of a round side: x^2 + y^2 + c z^2 <= (a + b z)^2, in units of the bounding box's edges. None for a
        polyhedron."""
        return {"cylinder": (0.5, 0.0, 0.0), "cone": (0.25, -0.5, 0.0), "sphere": (0.5, 0.0, 1.0)}.get(self.shape)

    @cached_property
    def center_of_mass(self) -> Array:
        """(3,) m, the center of mass of the convex hull at constant density."""
        if self.sphere:
            return np.zeros(3)
        return np.asarray(trimesh.Trimesh(self.vertices, self.triangles).convex_hull.center_mass)

    @cached_property
    def rests(self) -> Array:
        """(R, 4, 4) table_from_block: the stable resting poses on the plane z = 0; see hulls.rests_of. A sphere has one.

        Raises SceneError if there are none.
        """
        if self.sphere:
            return rigid(np.eye(3), self.size[2] / 2 * _UP)[None]
        rests = rests_of(self.planes, self.center_of_mass, self.axis, self.diameter)
        if not len(rests):
            raise SceneError(
                f"block '{self.name}': has no side on which it rests; expected a flat side below its center of mass, or a "
                "sphere (shape: sphere)"
            )
        return rests

    @cached_property
    def symmetries(self) -> Array:
        """(S, 4, 4) block_from_block: the discrete rotations, identity first, that map the block onto itself.

        With a continuous symmetry about `axis`, only the identity and, if it is a symmetry, the half turn that swaps the
        ends. Only the identity for a sphere.
        """
        if self.sphere:
            return np.eye(4)[None]
        return self._as_shape.symmetries(self.axis)

    def keeps(self, transform: Array) -> bool:
        """Whether the isometry `transform` (4, 4), which may be a reflection, maps the block onto itself."""
        return self.sphere or self._as_shape.keeps(transform, self._as_shape.tolerance)

    @property
    def round_axis(self) -> Array | None:
        """(3,) the axis about which a block without a stated `axis` is approximately round; None if there is none."""
        return None if self.sphere or self.axis is not None else self._as_shape.round_axis()

    @cached_property
    def _as_shape(self) -> Shape:
        return Shape(self.corners, self.planes, self.diameter, None if self.convex else (self.vertices, self.triangles))

    @cached_property
    def keypoints(self) -> Array:
        """(K, 3) m, points on the surface: the corners of a polyhedron (the 12 that lie farthest apart if there are more),
        the ends of the axis and four points on each rim of a round one, or the six ends of a sphere's three diameters."""
        if self.sphere:
            return np.concatenate([np.eye(3), -np.eye(3)]) * self.size / 2
        if self.axis is not None and self.shape in ("cone", "cylinder"):
            rim = np.array([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]])
            top = [[0, 0, 1.0]] if self.shape == "cone" else [[0, 0, 1.0], *(rim + _UP)]
            return np.array([*top, [0, 0, -1], *(rim - _UP)]) * self.size / 2
        corners, unit = self.corners, self.diameter * 1e-8
        corners = corners[np.lexsort(np.round(corners / unit).T)]
        chosen = [0]
        while len(chosen) < min(12, len(corners)):  # farthest point sampling
            gaps = exact.norm(corners[:, None] - corners[chosen]).min(axis=1)
            chosen.append(int(np.argmax(np.round(gaps / unit))))
        return np.asarray(corners[np.sort(chosen)])

    @cached_property
    def mesh(self) -> "Mesh":
        """The surface with one normal for each face, and texture coordinates."""
        corners = self.vertices[self.triangles]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals /= np.maximum(exact.norm(normals)[:, None], 1e-30)
        return Mesh(corners, normals, box_mapping(corners / self.size + 0.5, normals))


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
    """(T,) the face of the block that each triangle with the outward normal `normals` (T, 3) belongs to: 2 s and 2 s + 1
    are the low and the high side of row s of Solid.slabs. -1 for a triangle that is parallel to no face, as on a round side.
    In a mesh with hollows, all triangles parallel to a face belong to it."""
    cosine = exact.product(normals, slabs[:, :3].T)
    slab = np.argmax(np.round(np.abs(cosine), 6), axis=1)
    along = cosine[np.arange(len(normals)), slab]
    return np.where(np.abs(along) > 0.9999, 2 * slab + (along > 0), -1)


def make_solid(name: str, shape: str, size: Array) -> Solid:
    """The block `name` with one of SHAPES, its bounding box `size` (3,) m."""
    x, y, z = map(float, size)
    return _made(name, shape, x, y, z)


# Readers of block sets share the symmetries and resting poses of a block, which take long to compute.
@lru_cache(maxsize=256)
def _made(name: str, shape: str, x: float, y: float, z: float) -> Solid:
    size, unit = np.array([x, y, z]), SHAPES[shape]()
    low, high = unit.min(axis=0), unit.max(axis=0)
    vertices = ((unit - low) / (high - low) - 0.5) * size
    round_shape = shape in ("cone", "cylinder") and abs(size[0] - size[1]) < 1e-9
    return Solid(name, shape, vertices, hull_triangles(vertices), _UP if round_shape else None, convex=True)


def load_solid(name: str, path: Path, scale: float, axis: Array | None = None, *, recognize: bool = True) -> Solid:
    """The block `name` from a mesh file (see meshfile.py), whose coordinates are multiplied by `scale` to get meters.

    The block's origin is the middle of the mesh's bounding box; `Solid.mesh_origin` is the file's origin in that frame.
    `axis` (3,) states a continuous symmetry. With `recognize`, a mesh that is a sphere gets the shape "sphere", and a mesh
    that is approximately round gets its axis. Raises SceneError that names the file if it is missing, is not a mesh, or is
    flat.
    """
    if not path.is_file():
        near = _names_beside(path)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise SceneError(
            f"{path}: {'is a folder' if path.is_dir() else 'missing'}; block '{name}' names it as its mesh{hint}"
        )
    try:
        surface = read_mesh(path)
        mesh = repaired(surface.vertices * scale, surface.triangles)
        middle = (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)) / 2
        mesh = Repaired(mesh.vertices - middle, mesh.triangles, mesh.watertight, mesh.bodies)
        hull = ConvexHull(mesh.vertices)
    except QhullError as error:
        raise SceneError(f"{path}: the mesh of block '{name}' is flat or empty; expected a solid") from error
    except OSError as error:
        raise SceneError(f"{path}: cannot be read ({error.strerror}); block '{name}' names it as its mesh") from error
    except ValueError as error:
        raise SceneError(f"{path}: cannot be read as a mesh for block '{name}': {error}") from error
    notes = []
    if np.abs(middle).max() > 1e-3 * np.ptp(mesh.vertices, axis=0).max():
        shift = ", ".join(f"{value:g}" for value in np.round(middle * 1000, 6) + 0.0)
        notes.append(
            f"the origin of its poses is the middle of its mesh's bounding box, which is at [{shift}] mm in the file's "
            "frame: models_info.json stores the shift as mesh_origin_mm"
        )
    if surface.wears:
        ending = "texture is" if surface.wears == "texture" else "colors are"
        notes.append(f"its own {ending} not drawn; all blocks have the material randomize.blocks.material")
    if not mesh.watertight:
        notes.append(
            "its mesh is not watertight: it is drawn as it is, open sides included, and rests on its convex hull"
        )
    if recognize and axis is None and _is_sphere(mesh, hull):
        notes.append("its mesh is a sphere: it is drawn and labeled as one, symmetric about every axis")
        solid = replace(make_solid(name, "sphere", np.ptp(mesh.vertices, axis=0)), mesh_origin=0.0 - middle)
    else:
        solid = _solid_of(name, mesh, hull, middle, axis)
    if axis is not None and not _is_round(solid, axis):
        raise SceneError(
            f"{path}: block '{name}' is not round about axis {axis.tolist()} through its middle; drop `axis`"
        )
    if recognize and axis is None and (found := solid.round_axis) is not None:
        shown = ", ".join(f"{value:.4g}" for value in found)
        notes.append(f"its mesh is round about [{shown}]: all rotations about that axis count as the same pose")
        solid = _copied(solid, axis=found)
    return _copied(solid, notes=tuple(f"block '{name}': {note}" for note in notes))


def _copied(solid: Solid, **changes: Any) -> Solid:
    """`solid` with other `changes`, none of its surface: what was computed from that is kept, as it may have taken long."""
    copy = replace(solid, **changes)
    copy.__dict__.update({key: value for key, value in solid.__dict__.items() if key in _OF_SURFACE})
    return copy


def _names_beside(path: Path) -> list[str]:
    """The names of mesh files in the folder of `path` that are nearly its own. Another number is another mesh."""
    names = [p.name for p in path.parent.iterdir() if p.suffix.lower() in FORMATS] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name.lower(), [one.lower() for one in names], 1, 0.75)
    digits = re.sub(r"\D", "", path.name)
    return [one for one in sorted(names) if one.lower() in near and re.sub(r"\D", "", one) == digits]


def _solid_of(name: str, mesh: Repaired, hull: ConvexHull, middle: Array, axis: Array | None) -> Solid:
    diameter = diameter_of(mesh.vertices[hull.vertices])
    planes = planes_of(hull, diameter)
    if not _is_convex(mesh, hull, planes, diameter):
        return Solid(name, "mesh", mesh.vertices, mesh.triangles, axis, False, 0.0 - middle)
    corners = mesh.vertices[corners_of(hull, planes, diameter)]
    return Solid(name, "mesh", corners, hull_triangles(corners), axis, True, 0.0 - middle)


def _is_convex(mesh: Repaired, hull: ConvexHull, planes: Array, diameter: float) -> bool:
    """Whether the surface is its own hull: it has the hull's volume, or, if it is not watertight and so has no volume, its
    faces cover every face of the hull."""
    a, b, c = np.moveaxis(mesh.vertices[mesh.triangles], 1, 0)
    volume = exact.dot(a, np.cross(b, c)).sum() / 6
    if mesh.watertight and mesh.bodies == 1:
        return bool(volume > _FULL * hull.volume)
    depth = np.zeros(len(mesh.triangles))
    plane = np.zeros(len(mesh.triangles), dtype=np.int64)
    for start in range(0, len(depth), 512):
        rows = slice(start, start + 512)
        inside = planes[:, 3] - ((a + b + c)[rows] / 3) @ planes[:, :3].T
        depth[rows], plane[rows] = inside.min(axis=1), inside.argmin(axis=1)
    if mesh.watertight and volume > _FULL * hull.volume and depth.max() < _HOLLOW * diameter:
        return True
    if depth.max() > 1e-4 * diameter:
        return False
    area = np.bincount(plane, np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2, len(planes))
    p, q, r = np.moveaxis(hull.points[hull.simplices], 1, 0)
    owner = (((p + q + r) / 3) @ planes[:, :3].T - planes[:, 3]).argmax(axis=1)
    wanted = np.bincount(owner, np.linalg.norm(np.cross(q - p, r - p), axis=1) / 2, len(planes))
    return bool(np.all(area >= _FULL * wanted - 1e-6 * diameter**2))


def _is_round(solid: Solid, axis: Array) -> bool:
    turn = trimesh.transformations.rotation_matrix(0.7, axis)[:3, :3]
    both = ConvexHull(np.concatenate([solid.vertices, solid.vertices @ turn.T]))
    return bool(both.volume - solid.hull.volume <= 0.02 * solid.hull.volume)


def _is_sphere(mesh: Repaired, hull: ConvexHull) -> bool:
    """Whether the surface deviates from a sphere about the origin by less than _BALL of its radius."""
    radius = np.linalg.norm(mesh.vertices, axis=1)
    return bool(mesh.watertight and min(radius.min(), -hull.equations[:, 3].max()) > (1 - _BALL) * radius.max())


def hull_triangles(vertices: Array) -> NDArray[np.int64]:
    """(T, 3) the triangles of the convex hull of `vertices` (V, 3), counterclockwise from outside."""
    hull = ConvexHull(vertices)
    a, b, c = (vertices[hull.simplices[:, k]] for k in range(3))
    inward = exact.dot(np.cross(b - a, c - a), hull.equations[:, :3]) < 0
    return np.asarray(np.where(inward[:, None], hull.simplices[:, ::-1], hull.simplices), dtype=np.int64)


def _ring(sides: int, height: float, turn: float = 0.0) -> Array:
    angle = turn + 2 * np.pi * np.arange(sides) / sides
    return np.stack([exact.cosine(angle), exact.sine(angle), np.full(sides, height)], axis=1)


def _ball() -> Array:
    vertices = np.asarray(trimesh.creation.icosphere(subdivisions=SPHERE_LEVEL).vertices)
    return np.where(np.abs(vertices) < 1e-12, 0.0, vertices)


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
    "sphere": _ball,
    "tetrahedron": lambda: _spire(3, np.pi / 2),
    "triangular_prism": lambda: _prism(3, np.pi / 2),
}
