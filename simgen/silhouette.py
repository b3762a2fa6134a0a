"""Silhouettes: the pixels whose centers a solid covers if nothing occludes it, computed exactly and without a renderer."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

from simgen import exact
from simgen.distortion import lens_reach
from simgen.geometry import NEAR, Array, project, transform_points
from simgen.shapes.solids import Solid

Box = tuple[int, int, int, int]  # [u, v, width, height] px, all -1 where empty


@dataclass(frozen=True)
class Silhouette:
    """Covered pixels as R runs: row `rows[r]` from column `left[r]` to `right[r]`, both included. Runs may overlap and may
    lie outside the picture, up to one picture's size beyond each border (as in BOP's toolkit)."""

    rows: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]

    def mask(self, width: int, height: int) -> NDArray[np.bool_]:
        """(height, width), the covered pixels within the picture."""
        mask = np.zeros((height, width), np.bool_)
        for row, left, right in zip(self.rows, self.left, self.right, strict=True):
            if 0 <= row < height and right >= 0:
                mask[row, max(left, 0) : right + 1] = True
        return mask

    def box(self) -> tuple[int, int, int, int]:
        """[u, v, width, height] px, the box around all covered pixels, also those outside the picture; all -1 if none."""
        if not len(self.rows):
            return -1, -1, -1, -1
        u, v = int(self.left.min()), int(self.rows.min())
        return u, v, int(self.right.max()) - u + 1, int(self.rows.max()) - v + 1

    def count(self) -> int:
        """The number of covered pixels, also those outside the picture."""
        if not len(self.rows):
            return 0
        if len(np.unique(self.rows)) == len(self.rows):  # one run in each row: none overlap
            return int(np.sum(self.right - self.left + 1))
        u, v, width, height = self.box()
        return int(Silhouette(self.rows - v, self.left - u, self.right - u).mask(width, height).sum())


def silhouette(
    solid: Solid, scale: float, camera_from_block: Array, camera: Array, distortion: Array, width: int, height: int
) -> Silhouette:
    """The silhouette of `solid` times `scale` at `camera_from_block` (4, 4) m in a picture of `width` x `height` px, with
    the intrinsics `camera` (3, 3) px and the lens `distortion` of distortion.py."""
    vertices = transform_points(camera_from_block, solid.vertices * scale)
    corners = vertices[solid.triangles]
    faces = [_before_camera(corners.reshape(-1, 3, 3))] if solid.convex else [_before_camera(c[None]) for c in corners]
    lens = (distortion, lens_reach(distortion)) if np.any(distortion) else None  # once: a scan has 20,000 faces
    runs = [_runs(_outline(points, camera, lens), width, height) for points in faces if len(points) >= 3]
    if not runs:
        return Silhouette(*(np.zeros(0, np.int64) for _ in range(3)))
    return Silhouette(*(np.concatenate(parts) for parts in zip(*runs, strict=True)))


def box_of(mask: NDArray[np.bool_]) -> Box:
    """[u, v, width, height] px, the box around the pixels in `mask` (H, W); all -1 if the mask is empty."""
    u, v, width, height = cv2.boundingRect(mask.view(np.uint8))
    return (int(u), int(v), int(width), int(height)) if width else (-1, -1, -1, -1)


def around(one: Box, two: Box) -> Box:
    """The box around both; an empty one, all -1, adds nothing."""
    if min(one[2], two[2]) < 0:
        return max(one, two, key=lambda box: box[2])
    u, v = min(one[0], two[0]), min(one[1], two[1])
    right, bottom = (max(box[k] + box[k + 2] for box in (one, two)) for k in (0, 1))
    return u, v, right - u, bottom - v


def _before_camera(corners: Array) -> Array:
    """The corners (P, 3) of triangles (T, 3, 3) cut at the plane z = NEAR."""
    points = corners.reshape(-1, 3)
    if points[:, 2].min() > NEAR:
        return points
    start, end = corners.reshape(-1, 3), np.roll(corners, -1, axis=1).reshape(-1, 3)
    crosses = (start[:, 2] > NEAR) != (end[:, 2] > NEAR)
    start, end = start[crosses], end[crosses]
    share = (NEAR - start[:, 2:]) / (end[:, 2:] - start[:, 2:])
    return np.concatenate([points[points[:, 2] > NEAR], start + share * (end - start)])


def _outline(points: Array, camera: Array, lens: tuple[Array, float] | None) -> Array:
    """The image (P, 2) px of the convex hull of `points` (., 3), counterclockwise or clockwise. `lens` is the distortion and
    its reach, None without distortion."""
    flat = project(points, camera)
    try:
        hull = np.asarray(flat[ConvexHull(flat).vertices])
    except QhullError:  # seen edge-on it covers no pixel's center
        return np.zeros((0, 2))
    if lens is None:
        return hull
    distortion, reach = lens
    # A lens bends straight edges, so they are split into short ones.
    steps = np.linspace(0, 1, 33)[:-1, None, None]
    edges = (hull + steps * (np.roll(hull, -1, axis=0) - hull)).transpose(1, 0, 2).reshape(-1, 2)
    plane = (edges - camera[:2, 2]) / np.diag(camera)[:2]
    # Beyond lens_reach the distortion formula would map points back into the picture.
    radius = exact.norm(plane)[:, None]
    plane = plane * np.minimum(1, reach / np.maximum(radius, 1e-12))
    return project(np.concatenate([plane, np.ones((len(plane), 1))], 1), camera, distortion)


def _runs(outline: Array, width: int, height: int) -> tuple[NDArray[np.int64], ...]:
    """Rows, left and right ends of the pixels with their centers in the polygon `outline` (P, 2), by the even-odd rule."""
    if len(outline) < 3:
        return tuple(np.zeros(0, np.int64) for _ in range(3))
    top, bottom = max(np.ceil(outline[:, 1].min()), -height), min(np.floor(outline[:, 1].max()), 2 * height - 1)
    rows = np.arange(int(top), int(bottom) + 1)
    start, end = outline, np.roll(outline, -1, axis=0)
    # Half-open, so that a corner on a row counts once.
    meets = (start[:, 1] <= rows[:, None]) != (end[:, 1] <= rows[:, None])
    rise = np.where(end[:, 1] == start[:, 1], 1.0, end[:, 1] - start[:, 1])
    across = start[:, 0] + (rows[:, None] - start[:, 1]) / rise * (end[:, 0] - start[:, 0])
    across = np.sort(np.where(meets, across, np.inf), axis=1)[:, : int(meets.sum(axis=1).max(initial=0))]
    left, right = np.ceil(across[:, 0::2]), np.floor(across[:, 1::2])
    left, right = np.maximum(left, -width), np.minimum(right, 2 * width - 1)
    covered = left <= right
    where = np.broadcast_to(rows[:, None], left.shape)
    return where[covered], left[covered].astype(np.int64), right[covered].astype(np.int64)
