"""Draws finds over the picture that they were made in."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen.geometry import project, transform_points
from train.detector import Found
from train.pose import View

Image = NDArray[np.uint8]

COLORS = ((0, 220, 0), (255, 140, 0), (60, 140, 255), (255, 60, 200), (255, 230, 0), (0, 220, 220))
_AXES = ((255, 0, 0), (0, 255, 0), (0, 0, 255))  # x, y, z, as everybody draws them


def draw_finds(picture: Image, finds: Sequence[Found], view: View) -> Image:
    """`picture` (H, W, 3) RGB with the outline, the axes, the kind and the confidence of each of `finds`."""
    drawn = np.ascontiguousarray(picture).copy()
    thick = max(1, round(picture.shape[1] / 640))
    for number, found in enumerate(finds):
        color, pose = COLORS[number % len(COLORS)], found.pose.camera_from_block
        corners = project(transform_points(pose, found.kind.corners), view.intrinsics, view.distortion)
        reach = 0.5 * found.kind.size.max() * np.eye(3)
        axes = project(
            transform_points(pose, np.concatenate([np.zeros((1, 3)), reach])), view.intrinsics, view.distortion
        )
        if not np.isfinite(corners).all() or not np.isfinite(axes).all() or np.abs(corners).max() > 1e5:
            continue  # a part of it is behind the camera
        outline = cv2.convexHull(corners.astype(np.float32)[:, None]).round().astype(np.int32)
        cv2.polylines(drawn, [outline], True, color, thick, cv2.LINE_AA)
        start = (round(axes[0, 0]), round(axes[0, 1]))
        for end, axis_color in zip(axes[1:], _AXES, strict=True):
            cv2.line(drawn, start, (round(end[0]), round(end[1])), axis_color, thick, cv2.LINE_AA)
        left, top = outline[:, 0].min(0)
        text = f"{found.kind.name} {found.confidence:.2f}"
        place = (int(left), max(int(top) - 4 * thick, 12 * thick))
        for shade, width in (((0, 0, 0), 3 * thick), (color, thick)):
            cv2.putText(drawn, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4 * thick, shade, width, cv2.LINE_AA)
    return drawn
