"""Matches a detector's detections to the labeled blocks of a dataset, and measures the error of each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simgen.command.progress import Progress
from simgen.dataset.read import BopDataset, read_rgb
from simgen.dataset.scenes import Instance, Picture
from simgen.errors import ConfigError, DatasetError
from simgen.geometry import Array, inverse
from train.blocks.kinds import Kind
from train.detect.calibration import RIGHT
from train.detect.detector import Detector
from train.detect.types import Detection
from train.metrics import adds, match, mspd, reprojection_error, rotation_error, translation_error
from train.pose.view import View, table_of

SYMMETRY_STEPS = 315  # of a continuous symmetry: as fine as BOP has them
_EVERY = 10  # of the points on the surface that count in the reprojection error, for each of many symmetries
MATCH_LIMIT = 1.0  # diameters: a detection with a larger ADD-S is not matched to the block


@dataclass(frozen=True)
class BlockResult:
    """A labeled block `truth` of `kind` in `picture` and the `detection` that was matched to it, None for a miss, with the
    errors up to symmetry, infinite for a miss. `view` is the camera that the detector was given.

    `predicted` (2,) m is the place on the table for comparison with position models, which know the number of blocks and
    always predict a place. Of the detections of the kind as many as there are blocks are used, those with the best scores,
    matched at any distance; without one it is the table's center. Score and not confidence: a block that the border cuts is
    detected with a high score, but its pose is rarely right, so its confidence is low. `true` (2,) m is the labeled place.
    Both are NaN if the camera's pose is unknown.
    """

    picture: Picture
    view: View
    kind: Kind
    truth: Instance
    detection: Detection | None
    adds: float  # m
    rotation: float  # rad, up to symmetry
    translation: float  # m
    mspd: float  # px
    reprojection: float  # px
    predicted: Array
    true: Array

    @property
    def xy(self) -> float:
        """The distance between `predicted` and `true`, m."""
        return float(np.linalg.norm(self.predicted - self.true))

    @property
    def right(self) -> bool:
        return self.detection is not None and self.adds < RIGHT * self.kind.diameter


@dataclass(frozen=True)
class FalsePositive:
    """A `detection` that was matched to no labeled block."""

    picture: Picture
    view: View
    detection: Detection


def match_dataset(detector: Detector, dataset: BopDataset, batch: int) -> Iterator[BlockResult | FalsePositive]:
    """A BlockResult for each labeled block of a kind that the detector knows, and the false positives.

    Detections choose in the order of their confidence: each the remaining block of its kind with the least ADD-S, if that
    is under MATCH_LIMIT diameters.
    """
    names = {model.obj_id: model.name for model in dataset.models.values()}
    kinds = {kind.name: kind for kind in detector.blocks.kinds}
    groups = {name: kind.group_of(SYMMETRY_STEPS) for name, kind in kinds.items()}
    table = table_of(dataset.table_center, dataset.table_size)
    progress = Progress("evaluated", len(dataset.pictures), "images", ending=False)
    for start in range(0, len(dataset.pictures), batch):
        pictures = dataset.pictures[start : start + batch]
        images = [read_rgb(p.path) for p in pictures]
        views = [View(p.intrinsics, p.distortion, p.camera_from_table, table) for p in pictures]
        for picture, view, detections in zip(pictures, views, detector.find(images, views), strict=True):
            known = [one for one in picture.instances if names[one.obj_id] in kinds]
            truths = [(names[one.obj_id], one.camera_from_block) for one in known]
            costs = misses(detections, truths)
            matched = match(np.array([detection.confidence for detection in detections]), costs, MATCH_LIMIT)
            numbers = _detections_of(matched, len(known))
            best = _best_by_score(detections, [name for name, _ in truths], costs)
            for j, one in enumerate(known):
                kind, number = kinds[names[one.obj_id]], numbers[j]
                places = _predicted_place(best[j], view, dataset.table_center), _true(picture, one, kind, best[j])
                if number is None:
                    yield BlockResult(picture, view, kind, one, None, *(np.inf,) * 5, *places)
                    continue
                pose = detections[number].pose.camera_from_block
                truth = nearest_symmetric_pose(one.camera_from_block, kind, pose)
                yield BlockResult(
                    picture,
                    view,
                    kind,
                    one,
                    detections[number],
                    float(costs[number, j]) * kind.diameter,
                    rotation_error(pose, truth, groups[kind.name]),
                    translation_error(pose, truth),
                    mspd(pose, truth, kind.corners, groups[kind.name], view.intrinsics),
                    reprojection_error(pose, truth, kind.surface[::_EVERY], groups[kind.name], view.intrinsics),
                    *places,
                )
            unmatched = [detection for i, detection in enumerate(detections) if matched[i] < 0]
            yield from (FalsePositive(picture, view, detection) for detection in unmatched)
        progress.update(len(pictures))
    progress.close()


def sized_as_in(dataset: BopDataset, detector: Detector) -> Detector:
    """`detector` for the sizes that `dataset` states of its blocks. Raises DatasetError if the detector knows none of them,
    and ConfigError for two objects of one name with different sizes."""
    names = {number: model.name for number, model in sorted(dataset.models.items())}
    if not set(names.values()) & set(detector.blocks.names):
        first = next(iter(names))
        raise DatasetError(
            f"{dataset.root}: has no block that the model knows; it knows {', '.join(detector.blocks.names)}; the dataset "
            f"has {', '.join(names.values())}; if these are the same blocks, rename them, e.g. data.names="
            f"{{{first}:{detector.blocks.names[0]}}} for object {first}"
        )
    sizes: dict[str, Array] = {}
    for model in dataset.models.values():
        if not np.allclose(model.size, sizes.setdefault(model.name, model.size), rtol=1e-3):
            raise ConfigError(
                f"data.names: two objects of different sizes are named '{model.name}'; evaluate one at a time"
            )
    known = {kind.name: kind.size for kind in detector.blocks.kinds}
    return detector.sized(
        {
            model.name: model.size
            for model in dataset.models.values()
            if model.name in known and not np.allclose(model.size, known[model.name], rtol=1e-3)
        }
    )


def misses(detections: Sequence[Detection], truths: Sequence[tuple[str, Array]]) -> Array:
    """(D, T) the ADD-S of each of `detections` to each of `truths`, in diameters; infinite for another kind. A truth is the
    name of a kind and camera_from_block (4, 4)."""
    costs = np.full((len(detections), len(truths)), np.inf)
    for i, detection in enumerate(detections):
        kind, own = detection.kind, detection.pose.camera_from_block
        for j, (name, pose) in enumerate(truths):
            if name == kind.name:
                costs[i, j] = adds(own, kind.facing(pose, own), kind.surface) / kind.diameter
    return costs


def nearest_symmetric_pose(truth: Array, kind: Kind, pose: Array) -> Array:
    """The symmetric pose (4, 4) of `truth`, a block of `kind`, whose origin is nearest to that of `pose`. The origin is the
    center of a block's box, and a rotation about another axis moves it: a triangular prism's by 1.5 cm."""
    symmetric_poses = kind.facing(truth, pose) @ kind.symmetries  # a continuous symmetry's axis goes through the origin
    return np.asarray(symmetric_poses[np.linalg.norm(symmetric_poses[:, :3, 3] - pose[:3, 3], axis=1).argmin()])


def _best_by_score(detections: Sequence[Detection], names: Sequence[str], costs: Array) -> list[Detection | None]:
    """The detection of each block, given the kinds' `names` of the T blocks: see BlockResult.predicted."""
    best = np.zeros(len(detections), dtype=bool)
    for name in set(names):
        of_kind = [i for i, detection in enumerate(detections) if detection.kind.name == name]
        of_kind.sort(key=lambda i: -detections[i].score)
        best[of_kind[: names.count(name)]] = True
    scores = np.array([detection.score for detection in detections])
    matched = match(scores, np.where(best[:, None], costs, np.inf), np.inf)
    return [None if number is None else detections[number] for number in _detections_of(matched, len(names))]


def _detections_of(matched: NDArray[np.int64], truths: int) -> list[int | None]:
    """For each of `truths` truths the number of its detection, from the truths' numbers `matched` that `match` returns."""
    numbers = {int(truth): number for number, truth in enumerate(matched)}
    return [numbers.get(truth) for truth in range(truths)]


def _predicted_place(detection: Detection | None, view: View, center: Array | None) -> Array:
    if detection is None and center is not None:
        return center
    if detection is None or view.camera_from_table is None:
        return np.full(2, np.nan)
    return np.asarray((inverse(view.camera_from_table) @ detection.pose.camera_from_block)[:2, 3])


def _true(picture: Picture, one: Instance, kind: Kind, detection: Detection | None) -> Array:
    if picture.camera_from_table is None:
        return np.full(2, np.nan)
    pose = one.camera_from_block
    if detection is not None:
        pose = nearest_symmetric_pose(pose, kind, detection.pose.camera_from_block)
    return np.asarray((inverse(picture.camera_from_table) @ pose)[:2, 3])
