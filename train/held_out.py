"""What a detector finds in held-out pictures, a stream's or a dataset's, each find judged: simulated validation in full."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from simgen.dataset.read import BopDataset
from simgen.geometry import Array, inverse
from train.confidence import RIGHT
from train.detector import Detector, Found
from train.judge import Answer, judge_dataset, misses, nearest_guise
from train.pose import Pose, pose_or_nan, views_of
from train.pose_metrics import match
from train.stream import Shot


@dataclass(frozen=True)
class Judged:
    """One find and whether its pose is `right`: ADD-S to a labelled block of its kind, which no better find has taken,
    under a tenth of the diameter. `truth` is that block's camera_from_block (4, 4), in the symmetric guise nearest to the
    find, None where the find is wrong; `table` camera_from_table (4, 4)."""

    found: Found
    right: bool
    truth: Array | None
    table: Array


def judged(detector: Detector, shots: Iterable[Shot]) -> Iterator[Judged]:
    """Every find in `shots`, whose targets speak of the classes of `detector.blocks`. As in a dataset's labels, a
    distractor is no block, even if it is of a known kind: its size is another, which a find on the table can tell."""
    for shot in shots:
        targets = shot.targets
        pictures = list(shot.images.permute(0, 2, 3, 1).cpu().numpy())
        tables, poses = (p.double().cpu().numpy() for p in (targets.camera_from_world, targets.camera_from_block))
        there = (targets.present & targets.labelled & (targets.model >= 0) & (targets.seen > 0)).cpu().numpy()
        model = targets.model.cpu().numpy()
        for row, finds in enumerate(detector.find(pictures, views_of(targets, shot.tables))):
            slots = np.flatnonzero(there[row])
            truths = [(detector.blocks.names[model[row, slot]], poses[row, slot]) for slot in slots]
            taken = match(np.array([found.confidence for found in finds]), misses(finds, truths), RIGHT)
            for found, j in zip(finds, taken, strict=True):
                truth = nearest_guise(truths[j][1], found.kind, found.pose.camera_from_block) if j >= 0 else None
                yield Judged(found, truth is not None, truth, tables[row])


def judged_in(detector: Detector, dataset: BopDataset, batch: int) -> Iterator[Judged]:
    """Every find in the pictures of `dataset`, as `train.judge.judge_dataset` has them."""
    for one in judge_dataset(detector, dataset, batch):
        if one.found is None:
            continue
        table = pose_or_nan(one.picture.camera_from_world)
        if isinstance(one, Answer) and one.right:
            truth = nearest_guise(one.truth.camera_from_block, one.kind, one.found.pose.camera_from_block)
            yield Judged(one.found, True, truth, table)
        else:
            yield Judged(one.found, False, None, table)


def squares_free(judgements: Iterable[Judged]) -> Array:
    """(N,) squared distances of the right finds' free places from the truth, in stated deviations, of 3 dimensions."""
    return np.array([_square(one.found.free, one.truth, np.eye(3)) for one in judgements if one.truth is not None])


def squares_on_table(judgements: Iterable[Judged]) -> Array:
    """(N,) the same along the table, of 2 dimensions, of those that have a pose there."""
    return np.array(
        [
            _square(one.found.on_table, one.truth, inverse(one.table)[:2, :3])
            for one in judgements
            if one.truth is not None and one.found.on_table is not None
        ]
    )


def _square(pose: Pose, truth: Array, axes: Array) -> float:
    """Of the place along `axes` (n, 3), the rows of directions in the camera frame."""
    miss = axes @ (pose.camera_from_block[:3, 3] - truth[:3, 3])
    return float(miss @ np.linalg.pinv(axes @ pose.covariance[3:, 3:] @ axes.T, hermitian=True) @ miss)
