"""What a detector finds in held-out pictures of a stream, each find judged: the simulated validation in full."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from simgen.geometry import Array
from train.confidence import RIGHT
from train.detector import Detector, Found
from train.pose import View
from train.pose_metrics import adds, match
from train.stream import Shot


@dataclass(frozen=True)
class Judged:
    """One find and whether its pose is `right`: ADD-S to a block of its kind, which no better find has taken, under a tenth
    of the diameter. `sigmas`: its place's distance from the truth in stated deviations, NaN where it is wrong."""

    found: Found
    right: bool
    sigmas: float


def judged(detector: Detector, shots: Iterable[Shot]) -> Iterator[Judged]:
    """Every find in `shots`, whose targets speak of the classes of `detector.blocks`."""
    for shot in shots:
        targets = shot.targets
        pictures = list(shot.images.permute(0, 2, 3, 1).cpu().numpy())
        lenses, lines, tables, poses = (
            part.double().cpu().numpy()
            for part in (targets.intrinsics, targets.distortion, targets.camera_from_world, targets.camera_from_block)
        )
        views = [View(*one) for one in zip(lenses, lines, tables, strict=True)]
        there = (targets.present & (targets.model >= 0) & (targets.seen > 0)).cpu().numpy()
        model = targets.model.cpu().numpy()
        for row, finds in enumerate(detector.find(pictures, views)):
            slots = np.flatnonzero(there[row])
            truths = [(int(model[row, slot]), poses[row, slot]) for slot in slots]
            yield from judge(detector, finds, truths)


def judge(detector: Detector, finds: list[Found], truths: list[tuple[int, Array]]) -> Iterator[Judged]:
    """Each of `finds` in one picture that shows `truths`: classes and poses camera_from_block (4, 4)."""
    costs = np.full((len(finds), len(truths)), np.inf)
    for i, found in enumerate(finds):
        for j, (number, pose) in enumerate(truths):
            if detector.blocks.kinds[number].name == found.kind.name:
                points = found.kind.corners
                costs[i, j] = adds(found.pose.camera_from_block, pose, points) / found.kind.diameter
    taken = match(np.array([found.confidence for found in finds]), costs, RIGHT)
    for found, j in zip(finds, taken, strict=True):
        if j < 0:
            yield Judged(found, False, np.nan)
            continue
        shift = found.pose.camera_from_block[:3, 3] - truths[j][1][:3, 3]
        spread = np.sqrt(np.trace(found.pose.covariance[3:, 3:]))
        yield Judged(found, True, float(np.linalg.norm(shift) / max(spread, 1e-6)))
