"""Meshes as `check` sees them: their silhouettes, boxes and depth, with OpenCV's cameras and rays through triangles."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import trimesh
from numpy.typing import NDArray

from simgen.shapes.meshfile import read_mesh

Array = NDArray[np.float64]
_FINE = 8  # parts of a model's diameter: longer edges are divided, because a lens bends them
_MARGIN = 1.0  # of a picture's size, on each side: how far beyond it a silhouette is drawn


@dataclass(frozen=True)
class Mesh:
    """`vertices` (V, 3) mm and `triangles` (T, 3) of a model, and its `size` (3,) mm."""

    vertices: Array
    triangles: NDArray[np.int64]

    @property
    def size(self) -> Array:
        return np.asarray(np.ptp(self.vertices, axis=0))


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


def lens_of(camera: Mapping[str, Any]) -> Lens:
    """Raises ValueError for numbers that cannot be those of a camera."""
    matrix = np.array(camera["cam_K"], dtype=np.float64).reshape(3, 3)
    for key in ("dist_fisheye4", "dist_opencv8", "dist_opencv5"):
        if key in camera:
            return Lens(matrix, np.array(camera[key], dtype=np.float64), key == "dist_fisheye4")
    return Lens(matrix, np.zeros(5), False)


def mesh_of(path: Path) -> Mesh:
    """The mesh file `path`, with edges shorter than an eighth of its diameter. Raises OSError and ValueError."""
    mesh = read_mesh(path)
    used = np.unique(mesh.triangles)
    number = np.full(len(mesh.vertices), -1)
    number[used] = np.arange(len(used))
    vertices, faces = np.asarray(mesh.vertices)[used], number[mesh.triangles]
    longest = float(np.linalg.norm(np.ptp(vertices, axis=0))) / _FINE
    vertices, faces = trimesh.remesh.subdivide_to_size(vertices, faces, longest, max_iter=8)
    return Mesh(np.asarray(vertices, dtype=np.float64), np.asarray(faces, dtype=np.int64))


def silhouette(mesh: Mesh, pose: Array, lens: Lens, width: int, height: int) -> tuple[NDArray[np.bool_], Array]:
    """(3 H, 3 W) which pixels show `mesh` at `pose` (4, 4) mm, of a picture that is wider by itself on each side; and the
    box (4,) px [u, v, width, height] of the projection."""
    points = mesh.vertices @ pose[:3, :3].T + pose[:3, 3]
    pixels = lens.project(points)
    first = np.array([width, height]) * _MARGIN
    image = np.zeros((round(height * (1 + 2 * _MARGIN)), round(width * (1 + 2 * _MARGIN))), np.uint8)
    corners = np.clip(pixels + first, -1e5, 1e5)
    for triangle in np.round(corners[mesh.triangles] * 16).astype(np.int32):
        cv2.fillConvexPoly(image, triangle, 1, shift=4)
    low, high = pixels.min(0), pixels.max(0)
    return image.astype(np.bool_), np.concatenate([low, high - low])


def inside(image: NDArray[np.bool_], width: int, height: int) -> NDArray[np.bool_]:
    """(H, W): the part of a `silhouette` within the picture."""
    top, left = round(height * _MARGIN), round(width * _MARGIN)
    return image[top : top + height, left : left + width]


def depth_at(mesh: Mesh, pose: Array, rays: Array) -> Array:
    """(N,) mm along the optical axis at which `rays` (N, 3) with z = 1 first meet `mesh` at `pose`; infinite for a miss.

    Moeller and Trumbore 1997, "Fast, Minimum Storage Ray/Triangle Intersection", for every ray and triangle.
    """
    points = mesh.vertices @ pose[:3, :3].T + pose[:3, 3]
    a, b, c = (points[mesh.triangles[:, k]] for k in range(3))
    one, two = b - a, c - a
    found = np.full(len(rays), np.inf)
    for k, ray in enumerate(rays):
        across = np.cross(ray, two)
        with np.errstate(all="ignore"):
            scale = 1 / (one * across).sum(1)
            u = -(a * across).sum(1) * scale
            other = np.cross(-a, one)
            v = (other @ ray) * scale
            t = (two * other).sum(1) * scale
        hit = (u >= -1e-9) & (v >= -1e-9) & (u + v <= 1 + 1e-9) & (t > 0)
        found[k] = t[hit].min(initial=np.inf)
    return found
