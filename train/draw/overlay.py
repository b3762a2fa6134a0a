"""Draws blocks in their poses over a picture."""

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from simgen.geometry import Array, project, transform_points
from train.blocks.kinds import BlockSet, Kind
from train.data.batch import views_of
from train.data.targets import Targets
from train.pose.view import View

Image = NDArray[np.uint8]
COLORS = ((0, 220, 0), (255, 140, 0), (60, 140, 255), (255, 60, 200), (255, 230, 0), (0, 220, 220))
_AXES = ((255, 0, 0), (0, 255, 0), (0, 0, 255))  # of the axes x, y, z, by convention


def label(image: Image, text: str, place: tuple[int, int], color: tuple[int, int, int], thick: int) -> None:
    """Writes `text` in black on a box of `color` into `image` (H, W, 3). The lower left corner of the box is at `place`
    (u, v) px, or as near as the border allows; `thick` is the width of the strokes in px."""
    font, size, gap = cv2.FONT_HERSHEY_SIMPLEX, 0.4 * thick, 2 * thick
    (width, height), below = cv2.getTextSize(text, font, size, thick)
    across, down = width + 2 * gap, height + below + 2 * gap
    left = max(0, min(place[0], image.shape[1] - 1 - across))
    bottom = max(down, min(place[1] - gap, image.shape[0] - 1))
    cv2.rectangle(image, (left, bottom - down), (left + across, bottom), color, cv2.FILLED)
    cv2.putText(image, text, (left + gap, bottom - below - gap), font, size, (0, 0, 0), thick, cv2.LINE_AA)


def draw_targets(images: Tensor, targets: Targets, row: int, blocks: BlockSet) -> Image:
    """Picture `row` of `images` (B, 3, H, W) with its `targets`: outline, axes and visible box of each visible block of a
    known kind, (H, W, 3) RGB."""
    drawn = np.ascontiguousarray(images[row].permute(1, 2, 0).cpu().numpy())
    scale, poses, boxes = (
        part[row].double().cpu().numpy() for part in (targets.scale, targets.camera_from_block, targets.box)
    )
    view = views_of(targets)[row]
    wanted = targets.present[row] & (targets.model[row] >= 0) & (targets.seen[row] > 0)
    for slot in wanted.nonzero()[:, 0].tolist():
        kind, color = blocks.kinds[int(targets.model[row, slot])], COLORS[slot % len(COLORS)]
        draw_block(drawn, kind.resized(scale[slot] * kind.size), poses[slot], view, color)
        left, top, right, bottom = np.rint(boxes[slot]).astype(int).tolist()
        cv2.rectangle(drawn, (left, top), (right, bottom), color, 1)
    return drawn


def draw_block(
    image: Image, kind: Kind, camera_from_block: Array, view: View, color: tuple[int, int, int]
) -> tuple[int, int] | None:
    """Draws the outline and the axes of a block into `image` (H, W, 3), which must be contiguous. Returns the upper left
    corner (u, v) px of the outline's bounding box. If a part of the block is behind the camera, nothing is drawn and the
    result is None."""
    thick = max(1, round(image.shape[1] / 640))
    corners = project(transform_points(camera_from_block, kind.corners), view.intrinsics, view.distortion)
    reach = 0.5 * kind.size.max() * np.concatenate([np.zeros((1, 3)), np.eye(3)])
    axes = project(transform_points(camera_from_block, reach), view.intrinsics, view.distortion)
    if not np.isfinite(corners).all() or not np.isfinite(axes).all() or np.abs(corners).max() > 1e5:
        return None
    outline = cv2.convexHull(corners.astype(np.float32)[:, None]).round().astype(np.int32)
    cv2.polylines(image, [outline], True, color, thick, cv2.LINE_AA)
    start = (round(axes[0, 0]), round(axes[0, 1]))
    for end, axis_color in zip(axes[1:], _AXES, strict=True):
        cv2.line(image, start, (round(end[0]), round(end[1])), axis_color, thick, cv2.LINE_AA)
    left, top = outline[:, 0].min(0)
    return int(left), int(top)
