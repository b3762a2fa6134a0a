"""Bodies that rays meet: a block, or a part of an object, in its own frame. `body_of(Solid)`, and constructors for parts."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from simgen import exact
from simgen.geometry import Array, rigid, rotation_between, transform_points
from simgen.shapes.solids import Mesh, Solid, box_mapping, face_numbers, hull_triangles, make_solid

POLYTOPE, QUADRIC, CAPSULE, MESH = range(4)  # what closes a body beside its planes
_EYE = np.eye(4)
_UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class Body:
    """The points inside all half-spaces n.x <= d, `planes` (P, 4) rows [n, d] with outward unit normals, and inside the
    curved surface that `kind` names:

    - QUADRIC: x^2 + y^2 + c z^2 <= (a + b z)^2 in the coordinates that `frame` (3, 4) maps points to; `curve` is (a, b, c).
    - CAPSULE: within `curve[0]` of the segment between frame[0, :3] and frame[1, :3]; it has no planes.
    - MESH: the inside of the closed surface `vertices` (V, 3), `triangles` (T, 3); it has no planes.

    `face` (P,) is each plane's number, as in shapes.solids.face_numbers; (T,) for a mesh, -1 where a triangle is on none.
    `low` and `high` (3,) are the corners of the bounding box. `tone` states the part's color: 0 is the first color of its
    material, 1 the second, and between them a mixture; None is the material's whole texture. Lengths are meters, or the unit
    of the object that the body is a part of.
    """

    kind: int
    planes: Array
    face: NDArray[np.int64]
    low: Array
    high: Array
    frame: Array = field(default_factory=lambda: np.zeros((3, 4)))
    curve: Array = field(default_factory=lambda: np.zeros(3))
    vertices: Array = field(default_factory=lambda: np.zeros((0, 3)))
    triangles: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 3), np.int64))
    tone: float | None = None

    @cached_property
    def center(self) -> Array:
        """(3,) the middle of the bounding box."""
        return np.asarray((self.low + self.high) / 2)

    @cached_property
    def radius(self) -> float:
        """The radius of a sphere about `center` that holds the body."""
        if self.kind == CAPSULE:
            return float(exact.norm(self.frame[1, :3] - self.frame[0, :3]) / 2 + self.curve[0])
        if self.kind in (POLYTOPE, MESH) and len(self.vertices):
            return float(exact.norm(self.vertices - self.center).max())
        return float(exact.norm(self.high - self.low) / 2)

    @cached_property
    def mesh(self) -> Mesh:
        """The surface as triangles; curved surfaces are approximated as in shapes.solids."""
        if self.kind == CAPSULE:
            a, b = self.frame[:2, :3]
            length = float(np.linalg.norm(b - a))
            shape = trimesh.creation.capsule(length, float(self.curve[0]), count=[8, 16])
            turn = rigid(rotation_between(_UP, (b - a) / length), (a + b) / 2) if length > 0 else rigid(np.eye(3), a)
            vertices = np.asarray(shape.vertices)
            vertices = vertices - (vertices.min(axis=0) + vertices.max(axis=0)) / 2
            vertices, triangles = vertices @ turn[:3, :3].T + turn[:3, 3], np.asarray(shape.faces, np.int64)
        else:
            vertices, triangles = self.vertices, self.triangles
        corners = vertices[triangles]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
        unit = (corners - self.low) / np.maximum(self.high - self.low, 1e-12)
        return Mesh(corners, normals, box_mapping(unit, normals))


def body_of(solid: Solid, pose: Array = _EYE, tone: float | None = None) -> Body:
    """The Body of `solid` at `pose` (4, 4) in the frame of an object, or in its own frame."""
    vertices = transform_points(pose, solid.vertices)
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    if not solid.convex:
        face = face_numbers(solid.mesh.normals, solid.slabs)
        nothing = np.zeros((0, 4))
        return Body(MESH, nothing, face, low, high, vertices=vertices, triangles=solid.triangles, tone=tone)
    rows, numbers = [], []
    for k, (x, y, z, least, most) in enumerate(solid.slabs):
        normal = np.array([x, y, z])
        along = exact.dot(solid.vertices, normal)
        rows.append([*normal, most])
        numbers.append(2 * k + 1)
        if (solid.quadric is None and abs(along.min() - least) < 1e-6 * solid.diameter) or (
            solid.quadric is not None and solid.shape == "cylinder"
        ):
            rows.append([*-normal, -least])
            numbers.append(2 * k)
    planes = np.zeros((0, 4)) if solid.sphere else np.array(rows, dtype=np.float64)
    face = np.array([] if solid.sphere else numbers, dtype=np.int64)
    turned = planes.copy()
    turned[:, :3] = exact.product(planes[:, :3], pose[:3, :3].T)
    turned[:, 3] += exact.dot(turned[:, :3], pose[:3, 3])
    if solid.quadric is None:
        return Body(POLYTOPE, turned, face, low, high, vertices=vertices, triangles=solid.triangles, tone=tone)
    scale = pose[:3, :3].T / solid.size[:, None]
    frame = np.concatenate([scale, -exact.dot(scale, pose[:3, 3])[:, None]], axis=1)
    curve = np.array(solid.quadric)
    if solid.shape == "cone":  # the half-space of its base alone leaves the mirrored cone above the tip
        top = exact.dot(pose[:3, :3], _UP)
        turned = np.concatenate([turned, [[*top, exact.dot(top, pose[:3, 3]) + solid.size[2] / 2]]])
        face = np.append(face, -1)
    if solid.shape in ("cylinder", "sphere"):  # the exact bounds of the curved surface, not of its approximation
        reach = _reach(solid, pose)
        low, high = pose[:3, 3] - reach, pose[:3, 3] + reach
    return Body(QUADRIC, turned, face, low, high, frame, curve, vertices=vertices, triangles=solid.triangles, tone=tone)


def _reach(solid: Solid, pose: Array) -> Array:
    """(3,) half the bounding box of a cylinder or ellipsoid about its middle, along the axes of the frame of `pose`."""
    half, turn = solid.size / 2, pose[:3, :3]
    if solid.shape == "sphere":
        return exact.norm(turn * half)
    return np.asarray(exact.norm(turn[:, :2] * half[:2]) + np.abs(turn[:, 2]) * half[2])


def make_body(
    shape: str, size: Array | tuple[float, float, float], pose: Array = _EYE, tone: float | None = None
) -> Body:
    """A box, cylinder, cone, sphere or any other of shapes.solids.SHAPES with the bounding box `size` (3,) at `pose`. A
    sphere with unequal sizes is an ellipsoid."""
    return body_of(
        make_solid(shape, "cube" if shape == "box" else shape, np.asarray(size, dtype=np.float64)), pose, tone
    )


def make_capsule(a: Array, b: Array, radius: float, tone: float | None = None) -> Body:
    """The points within `radius` of the segment from `a` to `b`, (3,) each."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    frame = np.zeros((3, 4))
    frame[0, :3], frame[1, :3] = a, b
    low, high = np.minimum(a, b) - radius, np.maximum(a, b) + radius
    return Body(
        CAPSULE, np.zeros((0, 4)), np.zeros(0, np.int64), low, high, frame, np.array([radius, 0.0, 0.0]), tone=tone
    )


def make_polytope(points: Array, tone: float | None = None) -> Body:
    """The convex hull of `points` (V, 3). Raises scipy's QhullError if it is flat."""
    hull = ConvexHull(points)
    vertices = points[hull.vertices]
    equations = np.unique(np.round(hull.equations, 9), axis=0)  # a face of several triangles is one plane
    planes = np.concatenate([equations[:, :3], -equations[:, 3:]], axis=1)
    return Body(
        POLYTOPE,
        planes,
        np.arange(len(planes)),
        vertices.min(axis=0),
        vertices.max(axis=0),
        vertices=vertices,
        triangles=hull_triangles(vertices),
        tone=tone,
    )
