"""What a trained keypoint model states of its finds, learnt from pictures that training has not seen: as a run ends, and by
`python -m train calibrate` for pictures of another scene or size.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import chi2
from torch.utils.data import Dataset

from simgen.dataset.read import BopDataset
from simgen.errors import ConfigError, SimgenError
from simgen.geometry import Array, inverse
from train.config import CalibrateConfig
from train.data.batch import Batch, views_of
from train.data.dataset import open_source
from train.data.images import check_simulated
from train.detect.calibration import BINS, RIGHT, Inflation, calibrate, inflation
from train.detect.detector import Detector, load_detector
from train.detect.types import Detection
from train.evaluate.matching import BlockResult, match_dataset, misses, nearest_symmetric_pose, sized_as_in
from train.metrics import brier_skill, expected_calibration_error, match
from train.pose.view import Pose, pose_or_nan
from train.runs.checkpoint import read_checkpoint
from train.runs.folder import origin_of
from train.runs.trainer import device_of

_WHERE = {True: "", False: " where no table is known"}


@dataclass(frozen=True)
class JudgedDetection:
    """One find and whether its pose is `right`: ADD-S to a labelled block of its kind, which no better find has taken,
    under a tenth of the diameter. `truth` is that block's camera_from_block (4, 4), in the symmetric pose nearest to the
    find, None where the find is wrong; `table` camera_from_table (4, 4)."""

    found: Detection
    right: bool
    truth: Array | None
    table: Array


Finds = Callable[[Detector, bool], list[JudgedDetection]]  # in held-out pictures; whether the table's place is known


def judged(detector: Detector, batches: Iterable[Batch]) -> Iterator[JudgedDetection]:
    """Every find in `batches`, whose targets speak of the classes of `detector.blocks`. As in a dataset's labels, a
    distractor is no block, even if it is of a known kind: its size is another, which a find on the table can tell."""
    for batch in batches:
        targets = batch.targets
        pictures = list(batch.images.permute(0, 2, 3, 1).cpu().numpy())
        tables, poses = (p.double().cpu().numpy() for p in (targets.camera_from_world, targets.camera_from_block))
        there = (targets.present & targets.labelled & (targets.model >= 0) & (targets.seen > 0)).cpu().numpy()
        model = targets.model.cpu().numpy()
        for row, finds in enumerate(detector.find(pictures, views_of(targets, batch.tables))):
            slots = np.flatnonzero(there[row])
            truths = [(detector.blocks.names[model[row, slot]], poses[row, slot]) for slot in slots]
            taken = match(np.array([found.confidence for found in finds]), misses(finds, truths), RIGHT)
            for found, j in zip(finds, taken, strict=True):
                truth = (
                    nearest_symmetric_pose(truths[j][1], found.kind, found.pose.camera_from_block) if j >= 0 else None
                )
                yield JudgedDetection(found, truth is not None, truth, tables[row])


def judged_in(detector: Detector, dataset: BopDataset, batch: int) -> Iterator[JudgedDetection]:
    """Every find in the pictures of `dataset`, as `train.evaluate.matching.match_dataset` has them."""
    for one in match_dataset(detector, dataset, batch):
        if one.found is None:
            continue
        table = pose_or_nan(one.picture.camera_from_table)
        if isinstance(one, BlockResult) and one.right:
            truth = nearest_symmetric_pose(one.truth.camera_from_block, one.kind, one.found.pose.camera_from_block)
            yield JudgedDetection(one.found, True, truth, table)
        else:
            yield JudgedDetection(one.found, False, None, table)


def squares_free(judgements: Iterable[JudgedDetection]) -> Array:
    """(N,) squared distances of the right finds' free places from the truth, in stated deviations, of 3 dimensions."""
    return np.array([_square(one.found.free, one.truth, np.eye(3)) for one in judgements if one.truth is not None])


def squares_on_table(judgements: Iterable[JudgedDetection]) -> Array:
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


def calibrate_checkpoint(config: CalibrateConfig) -> dict[str, Any] | None:
    """Writes `config.checkpoint`, calibrated on every second picture of a rendered dataset, to `config.out`, and prints and
    returns how well it comes true on the others, None where it finds nothing there. Raises CheckpointError, DatasetError,
    ConfigError, and SimgenError where there is too little to learn from; of poses where no table is known, which are seldom
    right, that is but a warning."""
    dataset = open_source(config.data)
    check_simulated(dataset)
    detector = sized_as_in(dataset, load_detector(config.checkpoint, calibrated=False).zoomed(config.zoom))
    if config.edges is not None:
        detector = replace(detector, edges=config.edges)
    if detector.edges and detector.net.crops is None:
        raise ConfigError(
            f"edges: {config.checkpoint} has no second look, whose classes are held against pictures; train with model.crop"
        )
    detector.net.to(device_of(config.accelerator))
    learn, check = (replace(dataset, pictures=dataset.pictures[first::2]) for first in (0, 1))

    def finds_in(some: BopDataset) -> Finds:
        blind = replace(some, pictures=tuple(replace(picture, camera_from_table=None) for picture in some.pictures))
        return lambda detector, known: list(judged_in(detector, some if known else blind, config.batch_size))

    finds = finds_in(learn)
    detector = _grown(detector, finds)
    detector = _sure_if_told(_sure(detector, finds, True), finds, False)
    out = Path(config.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    _write(detector, config.checkpoint, out)
    result = comes_true(detector, finds_in(check))
    print(f"wrote {out}")
    return result


def add_confidence(path: Path, held_out: Dataset[Batch], learn: range, check: range) -> dict[str, Any] | None:
    """Calibrates the detector in the checkpoint `path` on the items `learn` of `held_out`, its uncertainties and
    then its confidence, and tells how well they come true on the items `check`; None where it finds nothing there. Where
    there is too little to learn any of these from, it says so and leaves that as the network has it."""
    # As the network is, even if this was done before: a run that is started again when it is done comes here again.
    detector = load_detector(path, calibrated=False)

    def finds_in(items: range) -> Finds:
        drawn = [held_out[k] for k in items]

        def finds(detector: Detector, known: bool) -> list[JudgedDetection]:
            return list(judged(detector, drawn if known else map(_blind, drawn)))

        return finds

    finds = finds_in(learn)
    try:
        detector = _grown(detector, finds)
    except SimgenError as error:
        print(f"WARNING: {error}; until then uncertainties are what the keypoints' imply", file=sys.stderr)
    for known in (True, False):
        detector = _sure_if_told(detector, finds, known)
    _write(detector, path, path)
    return comes_true(detector, finds_in(check))


def comes_true(detector: Detector, finds: Finds) -> dict[str, Any] | None:
    """Prints and returns how far what `detector` states of `finds` is from what is so; None where there is none with a
    table that is known."""
    with_table, without = finds(detector, True), finds(detector, False)
    if not with_table:
        return None
    on_table, free = _share_within(squares_on_table(with_table), 2), _share_within(squares_free(with_table), 3)
    told, blind = _confidence(with_table), _confidence(without) if without else None
    for where, said in ((_WHERE[True], told), (_WHERE[False], blind)):
        if said is not None:
            skill = (
                "no skill to speak of" if said["brier_skill"] is None else f"a Brier skill of {said['brier_skill']:.2f}"
            )
            print(
                f"confidence{where}: {said['right']} of {said['finds']} finds on other held-out pictures are right; what is "
                f"stated is off by {said['expected_calibration_error']:.3f} (the network's score by "
                f"{said['expected_calibration_error_of_score']:.3f}), with {skill}"
            )
    print(
        f"uncertainty: the place's deviations grown {detector.inflation.on_table:.2f} times on the table, "
        f"{detector.inflation.free:.2f} times free; "
        f"of finds that are right on the table {100 * on_table:.0f}% and {100 * free:.0f}% are within their ellipses of 95%"
    )
    return {
        **told,
        "no_table": blind,
        "inflation": asdict(detector.inflation),
        "within_95": {"on_table": on_table, "free": free},
    }


def _confidence(finds: list[JudgedDetection]) -> dict[str, Any]:
    right = np.array([one.right for one in finds], dtype=bool)
    stated, score = (np.array([getattr(one.found, name) for one in finds]) for name in ("confidence", "score"))
    skill = brier_skill(stated, right)
    return {
        "finds": len(finds),
        "right": int(right.sum()),
        "expected_calibration_error": expected_calibration_error(stated, right, BINS),
        "expected_calibration_error_of_score": expected_calibration_error(score, right, BINS),
        "brier_skill": skill if np.isfinite(skill) else None,
    }


def _blind(batch: Batch) -> Batch:
    """The same pictures, of cameras that nobody knows the place of."""
    targets = batch.targets
    return replace(
        batch, targets=replace(targets, camera_from_world=torch.full_like(targets.camera_from_world, torch.nan))
    )


def _grown(detector: Detector, finds: Finds) -> Detector:
    found = finds(detector, True)
    return replace(
        detector, inflation=Inflation(inflation(squares_free(found), 3), inflation(squares_on_table(found), 2))
    )


def _sure(detector: Detector, finds: Finds, known: bool) -> Detector:
    """With the confidence of poses on tables that are `known`, or of free ones."""
    found = [one for one in finds(detector, known) if (one.found.on_table is not None) == known]
    learnt = calibrate([one.found.features for one in found], [one.right for one in found], _WHERE[known])
    changed = replace(detector.calibration, **{"on_table" if known else "free": learnt})
    return replace(detector, calibration=changed)


def _sure_if_told(detector: Detector, finds: Finds, known: bool) -> Detector:
    """As `_sure`; where there is too little to learn from, it says so and is as it was."""
    try:
        return _sure(detector, finds, known)
    except SimgenError as error:
        print(f"WARNING: {error}; until then such a find's confidence is the network's score", file=sys.stderr)
        return detector


def _write(detector: Detector, checkpoint: Path | str, out: Path) -> None:
    """The `checkpoint` with what `detector` has learnt since, to `out`."""
    calibration, inflation = detector.calibration.to_json(), asdict(detector.inflation)
    learnt = {"inflation": inflation, "calibration": calibration, "edges": detector.edges}
    content = read_checkpoint(checkpoint)
    content |= {"origin": origin_of(checkpoint, content), **learnt}
    part = out.with_suffix(".part")
    torch.save(content, part)
    part.replace(out)


def _share_within(squares: Array, freedom: int) -> float:
    """Of finds, the share that lies within the ellipses that should hold 95%; 0 where there is no find."""
    return float(np.mean(squares < chi2.ppf(0.95, freedom))) if len(squares) else 0.0
