"""Meshes as `check` sees them: their silhouettes, boxes and depth, with OpenCV's cameras and rays through triangles."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import trimesh
from numpy.typing import NDArray

from simgen.check.numbers import Array, numbers
from simgen.shapes.meshfile import read_mesh

Triangles = NDArray[np.int64]
_FINE = 8  # parts of a model's diameter: longer edges are divided where a lens bends them
_BENT = 0.25  # px by which it may bend them otherwise
_RADII = np.linspace(0, 10, 501)  # at z = 1, of points that a lens may project
_MARGIN = 1  # of a picture's size, on each side: how far beyond it a silhouette is drawn
_SOLID = 1e-3  # of its volume: how near to its hull a convex mesh is


@dataclass(frozen=True)
class Mesh:
    """`vertices` (V, 3) mm and `triangles` (T, 3) of a model. `convex` states that it is the hull of its vertices, `closed`
    that it has no holes. `base` is the mesh that it was scaled from, if it was."""

    vertices: Array
    triangles: Triangles
    convex: bool
    closed: bool
    base: "Mesh | None" = None

    @property
    def size(self) -> Array:
        return np.asarray(np.ptp(self.vertices, axis=0))

    @cached_property
    def edges(self) -> NDArray[np.int64]:
        """(E, 2) the two vertices of each edge, once."""
        pairs = np.sort(self.triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
        return np.unique(pairs, axis=0)

    @cached_property
    def fine(self) -> tuple[Array, Triangles]:
        """Vertices and triangles with edges shorter than an eighth of the diameter."""
        longest = float(np.linalg.norm(self.size)) / _FINE
        vertices, faces = trimesh.remesh.subdivide_to_size(self.vertices, self.triangles, longest, max_iter=8)
        return np.asarray(vertices, dtype=np.float64), np.asarray(faces, dtype=np.int64)

    def scaled(self, size: Array) -> "Mesh":
        """The mesh with this `size` (3,) mm."""
        factor = size / np.maximum(self.size, 1e-9)
        if np.abs(factor - 1).max() < 1e-9:
            return self
        return replace(self, vertices=self.vertices * factor, base=self)


@dataclass(frozen=True)
class Lens:
    """The intrinsics (3, 3) px and the distortion of one picture, as OpenCV takes them."""

    matrix: Array
    coefficients: Array
    fisheye: bool

    def project(self, points: Array) -> Array:
        """(N, 2) px of `points` (N, 3) before the camera."""
        zero = np.zeros(3)
        if self.fisheye:
            pixels, _ = cv2.fisheye.projectPoints(points[None], zero, zero, self.matrix, self.coefficients)
        else:
            pixels, _ = cv2.projectPoints(points, zero, zero, self.matrix, self.coefficients)
        return np.asarray(pixels, dtype=np.float64).reshape(-1, 2)

    def rays(self, pixels: Array) -> Array:
        """(N, 3) with z = 1 through `pixels` (N, 2)."""
        undistort = cv2.fisheye.undistortPoints if self.fisheye else cv2.undistortPoints
        plane = undistort(pixels[:, None], self.matrix, self.coefficients)
        return np.concatenate([np.asarray(plane, dtype=np.float64).reshape(-1, 2), np.ones((len(pixels), 1))], 1)

    def folds(self, points: Array) -> bool:
        """Whether the polynomial of the distortion, as far out as `points` (N, 3), is not monotonic: it describes no lens
        there, and projects what is far outside of the picture into it."""
        if self.reach == np.inf:
            return False
        plane = points[:, :2] / points[:, 2:]
        return float((plane**2).sum(axis=1).max()) > self.reach**2

    @cached_property
    def reach(self) -> float:
        """The distance from the optical axis, at z = 1, up to which points farther out are projected farther out."""
        if self.fisheye or not self.coefficients.any():
            return np.inf
        k = np.zeros(8)
        k[: len(self.coefficients)] = self.coefficients
        squares = _RADII**2
        above = 1 + squares * (k[0] + squares * (k[1] + squares * k[4]))
        below = 1 + squares * (k[5] + squares * (k[6] + squares * k[7]))
        with np.errstate(all="ignore"):
            falling = ~(np.diff(_RADII * above / below) > 0)
        return float(_RADII[falling.argmax()]) if falling.any() else np.inf


def lens_of(camera: Mapping[str, Any]) -> Lens:
    """The lens of an entry of scene_camera.json. Raises ValueError for what cannot be that of a camera."""
    if "cam_K" not in camera:
        raise ValueError("cam_K is missing")
    try:
        matrix = numbers(camera["cam_K"], 3, 3)
    except ValueError as error:
        raise ValueError(f"cam_K is {error}") from error
    for key in ("dist_fisheye4", "dist_opencv8", "dist_opencv5"):
        if key in camera:
            try:
                return Lens(matrix, numbers(camera[key], int(key[-1])), key == "dist_fisheye4")
            except ValueError as error:
                raise ValueError(f"{key} is {error}") from error
    return Lens(matrix, np.zeros(5), False)


def mesh_of(path: Path) -> Mesh:
    """The mesh in the file `path`, without vertices of no triangle. Raises OSError and ValueError."""
    mesh = read_mesh(path)
    whole = trimesh.Trimesh(mesh.vertices, mesh.triangles, process=True)  # joins equal vertices
    whole.remove_unreferenced_vertices()
    vertices, faces = np.asarray(whole.vertices, dtype=np.float64), np.asarray(whole.faces, dtype=np.int64)
    if not len(faces) or not np.isfinite(vertices).all():
        raise ValueError("it has no triangles, or coordinates that are not finite")
    closed = bool(whole.is_watertight and whole.is_winding_consistent)
    convex = False
    if closed:
        try:
            hull = float(trimesh.convex.convex_hull(vertices).volume)
            convex = abs(abs(float(whole.volume)) - hull) < _SOLID * hull
        except Exception:  # Qhull's error, for flat meshes; trimesh does not name it
            closed = False
    return Mesh(vertices, faces, convex, closed)


@dataclass(frozen=True)
class Silhouette:
    """`image` (h, w) uint8, 1 where a mesh is drawn; pixel (0, 0) of it is pixel (`left`, `top`) of the picture. `box` (4,)
    px is [u, v, width, height] of the projection, up to a picture's size beyond the picture."""

    image: NDArray[np.uint8]
    left: int
    top: int
    box: Array


def silhouette(mesh: Mesh, pose: Array, lens: Lens, width: int, height: int, border: int) -> Silhouette | None:
    """The silhouette of `mesh` at `pose` (4, 4) mm, also up to a picture's size beyond the picture, with `border` px around
    it; None if the lens has no projection of the whole mesh."""
    points = mesh.vertices @ pose[:3, :3].T + pose[:3, 3]
    if lens.folds(points):
        return None
    pixels, triangles = lens.project(points), mesh.triangles
    bent = lens.coefficients.any() and _bend(mesh, points, pixels, lens) > _BENT
    if bent:
        vertices, triangles = (mesh.base or mesh).fine
        if mesh.base is not None:
            vertices = vertices * mesh.size / mesh.base.size
        pixels = lens.project(vertices @ pose[:3, :3].T + pose[:3, 3])
    if not np.isfinite(pixels).all():
        return None
    low, high = pixels.min(0), pixels.max(0)
    most = np.array([width, height])
    first = np.clip(np.floor(low) - border - 1, -_MARGIN * most, (1 + _MARGIN) * most).astype(int)
    last = np.clip(np.ceil(high) + border + 2, -_MARGIN * most, (1 + _MARGIN) * most).astype(int)
    image = np.zeros(np.maximum(last - first, 1)[::-1], np.uint8)
    corners = np.round(np.clip(pixels - first, -1e5, 1e5) * 16).astype(np.int32)
    if mesh.convex and not bent:
        cv2.fillConvexPoly(image, cv2.convexHull(corners), 1, shift=4)
    else:
        for triangle in _to_draw(corners[triangles], mesh.closed):
            cv2.fillConvexPoly(image, triangle, 1, shift=4)
    box = np.concatenate([low, high - low])
    if (low < -_MARGIN * most - 0.5).any() or (high > (1 + _MARGIN) * most - 0.5).any():  # of the part that is drawn
        u, v, across, down = cv2.boundingRect(image)
        box = np.array([first[0] + u - 0.5, first[1] + v - 0.5, across, down])
    return Silhouette(image, int(first[0]), int(first[1]), box)


def _bend(mesh: Mesh, points: Array, pixels: Array, lens: Lens) -> float:
    """The greatest distance in px of an edge's middle from the straight line between its projected ends."""
    one, two = (mesh.base or mesh).edges.T
    middle = lens.project((points[one] + points[two]) / 2)
    along, across = pixels[two] - pixels[one], middle - pixels[one]
    off = np.abs(along[:, 0] * across[:, 1] - along[:, 1] * across[:, 0]) / np.maximum(np.hypot(*along.T), 1e-9)
    return float(off.max())


def _to_draw(triangles: NDArray[np.int32], closed: bool) -> NDArray[np.int32]:
    """Of the projected `triangles` (T, 3, 2) those that cover the silhouette: of a closed mesh, those that face one way."""
    if not closed:
        return triangles
    a, b, c = (triangles[:, k].astype(np.int64) for k in range(3))
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    front = area > 0
    return triangles[front if 2 * np.count_nonzero(front) <= len(front) else area < 0]


def depth_at(mesh: Mesh, pose: Array, rays: Array) -> Array:
    """(N,) mm along the optical axis at which `rays` (N, 3) with z = 1 first meet `mesh` at `pose`; infinite for a miss.

    A ray from the origin meets a triangle if it is on the same side of the three planes through the origin and an edge.
    """
    points = mesh.vertices @ pose[:3, :3].T + pose[:3, 3]
    a, b, c = (points[mesh.triangles[:, k]] for k in range(3))
    sides = [np.cross(one, two) for one, two in ((a, b), (b, c), (c, a))]
    volume = (a * sides[1]).sum(1)
    first, second, third = (rays @ side.T for side in sides)
    total = first + second + third
    slack = 1e-9 * np.abs(total)
    hit = ((first >= -slack) & (second >= -slack) & (third >= -slack)) | (
        (first <= slack) & (second <= slack) & (third <= slack)
    )
    with np.errstate(all="ignore"):
        t = volume / total
    return np.asarray(np.where(hit & (t > 0), t, np.inf).min(axis=1))
