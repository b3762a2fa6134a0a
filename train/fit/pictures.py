"""The pictures of a keypoint training for TensorBoard: its input with labels, its predictions, and its worst cases."""

import numpy as np

from simgen.geometry import Array
from train.blocks.kinds import BlockSet, Kind
from train.data.batch import Batch, pictures_of, views_of
from train.detect.detector import Detector
from train.detect.types import Detection
from train.draw.overlay import draw_targets
from train.draw.sheets import Image, sheet
from train.evaluate.matching import MATCH_LIMIT, misses
from train.evaluate.worst import draw_blocks, draw_case
from train.metrics import match
from train.nets.truth import detectable
from train.pose.view import View
from train.runs.tensorboard import PREDICTIONS, WORST

SHOWN = 6  # pictures on a sheet
_SEARCHED = 32  # pictures of a batch in which worst cases are searched: each takes the host a tenth of a second


def input_sheet(batch: Batch, blocks: BlockSet) -> Image:
    """(H, W, 3): the first SHOWN pictures of `batch` with their labels."""
    rows = range(min(SHOWN, len(batch.targets)))
    return sheet([draw_targets(batch.images, batch.targets, row, blocks) for row in rows])


def held_out_sheets(detector: Detector, batch: Batch) -> dict[str, Image]:
    """The sheets PREDICTIONS, the first SHOWN pictures of `batch` with labels and the best detections, as many as there are
    blocks, and WORST, the blocks that are missed or have the greatest errors among its first pictures, if there is any."""
    pictures, views = pictures_of(batch)[:_SEARCHED], views_of(batch.targets, batch.tables)[:_SEARCHED]
    shown, cases = [], []
    for row, (picture, view, detections) in enumerate(
        zip(pictures, views, detector.find(pictures, views), strict=True)
    ):
        truths = _truths(batch, row, detector.blocks)
        if row < SHOWN:
            best = sorted(detections, key=lambda one: -one.score)[: len(truths)]
            shown.append(draw_blocks(picture, view, [(kind, pose) for kind, pose, _ in truths], best))
        cases += _cases(picture, view, truths, detections)
    sheets = {PREDICTIONS: sheet(shown)}
    cases.sort(key=lambda case: case[0], reverse=True)
    if cases:
        sheets[WORST] = sheet([tile for _, tile in cases[:SHOWN]])
    return sheets


def _truths(batch: Batch, row: int, blocks: BlockSet) -> list[tuple[Kind, Array, float]]:
    """Kind, camera_from_block (4, 4) and visible share of each labeled block of a picture that can be detected."""
    targets = batch.targets
    truths = []
    for slot in (detectable(targets)[row] & targets.labelled[row]).nonzero()[:, 0].tolist():
        kind, scale = blocks.kinds[int(targets.model[row, slot])], float(targets.scale[row, slot])
        pose = targets.camera_from_block[row, slot].double().cpu().numpy()
        truths.append((kind.resized(scale * kind.size), pose, float(targets.share[row, slot])))
    return truths


def _cases(
    picture: Image, view: View, truths: list[tuple[Kind, Array, float]], detections: list[Detection]
) -> list[tuple[float, Image]]:
    """How bad each of the `truths` is detected, and its tile. The error in diameters; a missed block counts as its visible
    share above MATCH_LIMIT, the greatest error of a detected one."""
    costs = misses(detections, [(kind.name, pose) for kind, pose, _ in truths])
    matched = match(np.array([detection.confidence for detection in detections]), costs, MATCH_LIMIT)
    cases = []
    for number, (kind, pose, share) in enumerate(truths):
        (mine,) = np.nonzero(matched == number)
        detection = detections[mine[0]] if len(mine) else None
        error = float(costs[mine[0], number]) if len(mine) else MATCH_LIMIT + share
        label = f"{kind.name}: not detected ({100 * share:.0f}% visible)"
        if detection is not None:
            label = f"{kind.name}: {100 * error * kind.diameter:.1f} cm off ({detection.confidence:.2f})"
        cases.append((error, draw_case(picture, view, (kind, pose), detection, label)))
    return cases
