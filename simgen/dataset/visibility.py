"""Computes masks and visible fractions of blocks from poses and meshes.

For datasets without scene_gt_info.json or without masks. Silhouettes are exact; where two blocks overlap, each pixel belongs
to the nearer convex hull, which is exact for convex blocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simgen.geometry import Array, inverse, unproject
from simgen.shapes.solids import Solid
from simgen.silhouette import Silhouette, silhouette

_CHUNK = 2_000_000  # numbers at once


@dataclass(frozen=True)
class Placed:
    """A block in the camera frame: `solid` times `scale`, with the pose `camera_from_block` (4, 4) m."""

    solid: Solid
    scale: float
    camera_from_block: Array


@dataclass(frozen=True)
class Lens:
    """The camera of one image: intrinsics (3, 3) px, distortion (5,) or (9,), and the image's size px."""

    intrinsics: Array
    distortion: Array
    width: int
    height: int

    def outline(self, block: Placed) -> Silhouette:
        """The silhouette of the whole block, also beyond the image's border."""
        camera = self.intrinsics, self.distortion, self.width, self.height
        return silhouette(block.solid, block.scale, block.camera_from_block, *camera)

    def mask(self, outline: Silhouette) -> NDArray[np.bool_]:
        """(H, W), the part of a silhouette within the image."""
        return outline.mask(self.width, self.height)


def visible_masks(blocks: Sequence[Placed], masks: Sequence[NDArray[np.bool_]], lens: Lens) -> list[NDArray[np.bool_]]:
    """The visible part (H, W) of each of `masks` (H, W), if only blocks occlude each other."""
    if not blocks:
        return []
    crowded = np.sum(masks, axis=0) > 1
    if not crowded.any():
        return list(masks)
    depth = np.full((len(blocks), *crowded.shape), np.inf)
    for k, (block, mask) in enumerate(zip(blocks, masks, strict=True)):
        depth[k][mask & crowded] = hull_depth(block, lens, mask & crowded)
    nearest = depth.argmin(axis=0)
    return [mask & (~crowded | (nearest == k)) for k, mask in enumerate(masks)]


def hull_depth(block: Placed, lens: Lens, mask: NDArray[np.bool_]) -> Array:
    """(P,) m, the depth at which the rays through the P pixels of `mask` (H, W) enter the block's convex hull."""
    rows, columns = np.nonzero(mask)
    rays = unproject(np.stack([columns, rows], 1).astype(np.float64), lens.intrinsics, lens.distortion)
    block_from_camera = inverse(block.camera_from_block)
    rays, eye = rays @ block_from_camera[:3, :3].T, block_from_camera[:3, 3]
    normals, offsets = block.solid.planes[:, :3], block.solid.planes[:, 3] * block.scale
    ahead = offsets - normals @ eye  # negative where the camera is outside of the plane
    step = max(1, _CHUNK // len(normals))
    return np.concatenate(
        [_entry(rays[k : k + step] @ normals.T, ahead) for k in range(0, len(rays), step)] or [np.zeros(0)]
    )


def _entry(slope: Array, ahead: Array) -> Array:
    """(P,) the index of the plane through which each ray enters the hull, for `slope` (P, N) toward N planes."""
    with np.errstate(divide="ignore", invalid="ignore"):
        along = np.where(slope < 0, ahead / slope, -np.inf)
    return np.asarray(along.max(axis=1))
