"""Images of an evaluation: labels and detections in its worst cases and in its first pictures."""

from collections.abc import Sequence

import cv2
import numpy as np

from simgen.dataset.read import read_rgb
from simgen.dataset.scenes import Picture
from simgen.geometry import Array
from train.blocks.kinds import Kind
from train.detect.types import Detection
from train.draw.overlay import draw_block
from train.draw.sheets import GREEN, RED, TILE, Image, headed, sheet
from train.evaluate.matching import BlockResult, FalsePositive
from train.pose.view import View

WORST = 12
OVERLAYS = 24


def draw_worst_cases(results: Sequence[BlockResult], false_positives: Sequence[FalsePositive]) -> Image:
    """(H, W, 3) RGB: the WORST cases, worst first: missed blocks, the greatest errors in diameters, and the most confident
    false positives. The labels are green, the predictions red."""
    cases: list[BlockResult | FalsePositive] = [*results, *false_positives]
    return sheet([_tile(one) for one in sorted(cases, key=_badness, reverse=True)[:WORST]])


def _badness(one: BlockResult | FalsePositive) -> float:
    """The error in diameters. A missed block counts as its visible fraction, a false positive as its confidence."""
    if isinstance(one, FalsePositive):
        return one.detection.confidence
    if one.detection is None:
        return one.truth.visible_fraction
    return one.adds / one.kind.diameter


def draw_overlays(
    pictures: Sequence[Picture],
    results: Sequence[BlockResult],
    false_positives: Sequence[FalsePositive],
    confidence: float,
) -> Image:
    """(H, W, 3) RGB: the first OVERLAYS of `pictures` with the labeled blocks in green and the detections with at least
    `confidence` in red."""
    tiles = []
    for picture in pictures[:OVERLAYS]:
        blocks = [result for result in results if result.picture.path == picture.path]
        detected: list[BlockResult | FalsePositive] = [*blocks]
        detected += [one for one in false_positives if one.picture.path == picture.path]
        image = draw_blocks(
            read_rgb(picture.path),
            View(picture.intrinsics, picture.distortion),
            [(result.kind, result.truth.camera_from_block) for result in blocks],
            [one.detection for one in detected if one.detection and one.detection.confidence >= confidence],
        )
        right = sum(result.right for result in blocks)
        tiles.append(headed(image, f"{picture.scene_id}/{picture.image_id}: {right} of {len(blocks)} right"))
    return sheet(tiles)


def _tile(one: BlockResult | FalsePositive) -> Image:
    picture, detection = one.picture, one.detection
    place = f"{picture.scene_id}/{picture.image_id}"
    if isinstance(one, FalsePositive):
        truth, label = None, f"{place}: no {one.detection.kind.name} ({one.detection.confidence:.2f})"
    else:
        truth = one.kind, one.truth.camera_from_block
        label = f"{place}: {one.kind.name} not found ({100 * one.truth.visible_fraction:.0f}% visible)"
        if detection is not None:
            label = f"{place}: {one.kind.name} {100 * one.adds:.1f} cm ({detection.confidence:.2f})"
    return draw_case(read_rgb(picture.path), one.view, truth, detection, label)


def draw_case(
    image: Image, view: View, truth: tuple[Kind, Array] | None, detection: Detection | None, label: str
) -> Image:
    """(H, W, 3) RGB, TILE px wide: the picture `image` of the camera `view` with a labeled block in green, the detection in
    red, and `label` above. A block is its kind and camera_from_block (4, 4)."""
    return headed(draw_blocks(image, view, [truth] if truth else [], [detection] if detection else []), label)


def draw_blocks(
    image: Image, view: View, truths: Sequence[tuple[Kind, Array]], detections: Sequence[Detection]
) -> Image:
    """(H, W, 3) RGB, TILE px wide: `image` with labeled blocks in green and detections in red, as in `draw_case`."""
    factor = TILE / image.shape[1]
    drawn = np.asarray(cv2.resize(image, (TILE, round(factor * image.shape[0]))), dtype=np.uint8)
    lens = view.resized(factor, factor)
    for kind, pose in truths:
        draw_block(drawn, kind, pose, lens, GREEN)
    for detection in detections:
        draw_block(drawn, detection.kind, detection.pose.camera_from_block, lens, RED)
    return drawn
