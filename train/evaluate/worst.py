"""What an evaluation shows: where blocks are and where they were detected, in the worst cases and in the first pictures."""

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


def draw_worst_cases(answers: Sequence[BlockResult], false_positives: Sequence[FalsePositive]) -> Image:
    """(H, W, 3) RGB: the WORST cases, worst first: missed blocks, the greatest errors in diameters, and the most confident
    false positives. The labels are green, the predictions red."""
    cases: list[BlockResult | FalsePositive] = [*answers, *false_positives]
    return sheet([_tile(one) for one in sorted(cases, key=_badness, reverse=True)[:WORST]])


def _badness(one: BlockResult | FalsePositive) -> float:
    """The error in diameters. A missed block counts as its visible fraction, a false positive as its confidence."""
    if isinstance(one, FalsePositive):
        return one.found.confidence
    if one.found is None:
        return one.truth.visible_fraction
    return one.adds / one.kind.diameter


def draw_overlays(
    pictures: Sequence[Picture],
    answers: Sequence[BlockResult],
    false_positives: Sequence[FalsePositive],
    confidence: float,
) -> Image:
    """The first OVERLAYS of `pictures` (H, W, 3) with their labeled blocks green and, in red, what was detected in them with
    at least `confidence`."""
    tiles = []
    for picture in pictures[:OVERLAYS]:
        image, factor, lens = _picture(picture)
        blocks = [answer for answer in answers if answer.picture.path == picture.path]
        detected: list[BlockResult | FalsePositive] = [*blocks]
        detected += [one for one in false_positives if one.picture.path == picture.path]
        for answer in blocks:
            draw_block(image, answer.kind, answer.truth.camera_from_block, lens, GREEN)
        for one in detected:
            if one.found is not None and one.found.confidence >= confidence:
                pose = one.found.pose.camera_from_block
                draw_block(image, one.found.kind, pose, one.view.resized(factor, factor), RED)
        right = sum(answer.right for answer in blocks)
        tiles.append(headed(image, f"{picture.scene_id}/{picture.image_id}: {right} of {len(blocks)} right"))
    return sheet(tiles)


def _picture(picture: Picture) -> tuple[Image, float, View]:
    """The pixels of `picture`, TILE px wide, by how much that is larger, and the camera of the pixels."""
    image = read_rgb(picture.path)
    factor = TILE / image.shape[1]
    image = np.asarray(cv2.resize(image, (TILE, round(factor * image.shape[0]))), dtype=np.uint8)
    return image, factor, View(picture.intrinsics, picture.distortion).resized(factor, factor)


def _tile(one: BlockResult | FalsePositive) -> Image:
    picture, found = one.picture, one.found
    image, factor, lens = _picture(picture)
    place = f"{picture.scene_id}/{picture.image_id}"
    if isinstance(one, FalsePositive):
        label = f"{place}: no {one.found.kind.name} ({one.found.confidence:.2f})"
    else:
        draw_block(image, one.kind, one.truth.camera_from_block, lens, GREEN)
        label = f"{place}: {one.kind.name} not found ({100 * one.truth.visible_fraction:.0f}% seen)"
        if one.found is not None:
            label = f"{place}: {one.kind.name} {100 * one.adds:.1f} cm ({one.found.confidence:.2f})"
    if found is not None:
        draw_block(image, found.kind, found.pose.camera_from_block, one.view.resized(factor, factor), RED)
    return headed(image, label)
