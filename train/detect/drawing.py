"""Detections drawn over their picture."""

from collections.abc import Sequence

import numpy as np

from train.detect.types import Detection
from train.draw.overlay import COLORS, Image, draw_block, label
from train.pose.view import View


def draw_detections(picture: Image, detections: Sequence[Detection], view: View) -> Image:
    """A copy of `picture` (H, W, 3) RGB with the outline, the axes, the kind and the confidence of each of `detections`."""
    drawn = np.ascontiguousarray(picture).copy()
    thick = max(1, round(picture.shape[1] / 640))
    for number, detection in enumerate(detections):
        color = COLORS[number % len(COLORS)]
        top_left = draw_block(drawn, detection.kind, detection.pose.camera_from_block, view, color)
        if top_left is None:
            continue
        label(drawn, f"{detection.kind.name} {detection.confidence:.2f}", top_left, color, thick)
    return drawn
