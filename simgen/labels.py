"""The labels of each picture, from geometry and the rendered block masks: `labels_of(Scenes, Frames, World)`."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simgen import exact
from simgen.catalogue import World
from simgen.geometry import Array, inverse, project, transform_points
from simgen.render import Frames
from simgen.scene import Scenes
from simgen.shapes.solids import Solid
from simgen.silhouette import Box, around, box_of, silhouette

OUTSIDE, OCCLUDED, VISIBLE = 0, 1, 2  # a keypoint's visibility; the numbers are COCO's
TOLERANCE = 0.003  # m: a keypoint this far behind the rendered surface still counts as on it
_PART = 0.06  # of the diameter, if that is less: the far corners of a block of 2 mm are not on its near side


@dataclass(frozen=True)
class Label:
    """One labeled block in one picture.

    `camera_from_block` (4, 4) m; `size` (3,) m; `keypoints` (K, 2) px, NaN behind the camera, with `visibility` (K,),
    OUTSIDE, OCCLUDED or VISIBLE. `amodal` and `visible` are masks (H, W). `pixels` is the area of the whole silhouette,
    including the part beyond the picture's border, and `visible_fraction` the visible fraction of it. Boxes are [u, v,
    width, height] px, all -1 if empty.
    """

    slot: int
    model: int
    camera_from_block: Array
    size: Array
    keypoints: Array
    visibility: NDArray[np.int64]
    amodal: NDArray[np.bool_]
    visible: NDArray[np.bool_]
    box_amodal: Box
    box_visible: Box
    pixels: int
    visible_fraction: float


def labels_of(scenes: Scenes, frames: Frames, world: World) -> list[list[Label]]:
    """For each sample the labels of its labeled blocks, in the order of their slots. `frames` must be in host memory."""
    blocks, cameras = scenes.blocks, scenes.cameras
    all_slots, depth = np.asarray(frames.slot), np.asarray(frames.depth)
    result = []
    for row, camera_from_world in enumerate(inverse(cameras.world_from_camera)):
        slots = np.flatnonzero(blocks.present[row] & blocks.labelled[row])
        lens = cameras.intrinsics[row], cameras.distortion[row]
        labels = []
        for slot in slots:
            solid, scale = world.solids[blocks.model[row, slot]], float(blocks.scale[row, slot])
            pose = exact.product(camera_from_world, blocks.world_from_block[row, slot])
            outline = silhouette(solid, scale, pose, *lens, cameras.width, cameras.height)
            visible = all_slots[row] == slot
            inside = outline.mask(cameras.width, cameras.height)
            # A renderer may draw a pixel that the outline just misses; visible pixels belong to the block.
            beyond = int(np.count_nonzero(visible & ~inside))
            pixels = outline.count() + beyond
            keypoints, visibility = _keypoints(solid, scale, pose, *lens, depth[row])
            labels.append(
                Label(
                    slot=int(slot),
                    model=int(blocks.model[row, slot]),
                    camera_from_block=pose,
                    size=solid.size * scale,
                    keypoints=keypoints,
                    visibility=visibility,
                    amodal=inside | visible,
                    visible=visible,
                    box_amodal=around(outline.box(), box_of(visible)),
                    box_visible=box_of(visible),
                    pixels=pixels,
                    visible_fraction=float(np.count_nonzero(visible) / pixels) if pixels else 0.0,
                )
            )
        result.append(labels)
    return result


def _keypoints(
    solid: Solid, scale: float, pose: Array, camera: Array, distortion: Array, depth: NDArray[np.float32]
) -> tuple[Array, NDArray[np.int64]]:
    """The keypoints in px and their visibility: VISIBLE inside the picture and on the surface of the depth image."""
    height, width = depth.shape
    points = transform_points(pose, solid.keypoints * scale)
    behind = min(TOLERANCE, _PART * solid.diameter * scale)
    pixels = project(points, camera, distortion)
    inside = np.all((pixels >= -0.5) & (pixels < np.array([width, height]) - 0.5), axis=1)
    visibility = np.where(inside, OCCLUDED, OUTSIDE)
    for k in np.flatnonzero(inside):
        u, v = np.rint(pixels[k]).astype(int)
        # Corners lie on the outline, where the pixel itself may show the background: its neighbors count, too.
        patch = depth[max(v - 1, 0) : v + 2, max(u - 1, 0) : u + 2]
        if np.any((patch >= points[k, 2] - behind) | (patch == 0)):
            visibility[k] = VISIBLE
    return pixels, visibility
