"""Images of an evaluation: labels and detections in its worst cases and in its first pictures."""

from collections.abc import Sequence

import cv2
import numpy as np

from simgen.dataset.read import read_rgb
from simgen.dataset.scenes import Picture
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
        image, factor, lens = _picture(picture)
        blocks = [result for result in results if result.picture.path == picture.path]
        detected: list[BlockResult | FalsePositive] = [*blocks]
        detected += [one for one in false_positives if one.picture.path == picture.path]
        for result in blocks:
            draw_block(image, result.kind, result.truth.camera_from_block, lens, GREEN)
        for one in detected:
            if one.detection is not None and one.detection.confidence >= confidence:
                pose = one.detection.pose.camera_from_block
                draw_block(image, one.detection.kind, pose, one.view.resized(factor, factor), RED)
        right = sum(result.right for result in blocks)
        tiles.append(headed(image, f"{picture.scene_id}/{picture.image_id}: {right} of {len(blocks)} right"))
    return sheet(tiles)


def _picture(picture: Picture) -> tuple[Image, float, View]:
    """The pixels of `picture`, TILE px wide, the factor by which they are resized, and their camera."""
    image = read_rgb(picture.path)
    factor = TILE / image.shape[1]
    image = np.asarray(cv2.resize(image, (TILE, round(factor * image.shape[0]))), dtype=np.uint8)
    return image, factor, View(picture.intrinsics, picture.distortion).resized(factor, factor)


def _tile(one: BlockResult | FalsePositive) -> Image:
    picture, detection = one.picture, one.detection
    image, factor, lens = _picture(picture)
    place = f"{picture.scene_id}/{picture.image_id}"
    if isinstance(one, FalsePositive):
        label = f"{place}: no {one.detection.kind.name} ({one.detection.confidence:.2f})"
    else:
        draw_block(image, one.kind, one.truth.camera_from_block, lens, GREEN)
        label = f"{place}: {one.kind.name} not found ({100 * one.truth.visible_fraction:.0f}% visible)"
        if detection is not None:
            label = f"{place}: {one.kind.name} {100 * one.adds:.1f} cm ({detection.confidence:.2f})"
    if detection is not None:
        draw_block(image, detection.kind, detection.pose.camera_from_block, one.view.resized(factor, factor), RED)
    return headed(image, label)
