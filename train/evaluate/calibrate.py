"""Fits a keypoint model's confidence and covariances to held-out pictures: at the end of a training, and with `python -m
train calibrate` for pictures of another scene or size.
"""

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import chi2
from torch.utils.data import Dataset

from simgen.dataset.read import BopDataset, read_rgb
from simgen.errors import ConfigError, SimgenError
from simgen.files import write_file
from simgen.geometry import Array, inverse
from train.config import CalibrateConfig
from train.data.batch import Batch, pictures_of, views_of
from train.data.dataset import open_source
from train.data.images import check_simulated
from train.detect.calibration import BINS, RIGHT, Inflation, calibrate, inflation
from train.detect.detector import Detector, load_detector
from train.detect.familiarity import LEAST, fit_familiarity
from train.detect.types import Detection
from train.evaluate.learned import note_what_was_learned
from train.evaluate.matching import BlockResult, match_dataset, misses, nearest_symmetric_pose, sized_as_in
from train.metrics import brier_skill, expected_calibration_error, match
from train.pose.solve import Keypoints, solve_free
from train.pose.view import Pose, View
from train.runs.checkpoint import WEIGHTS_SUFFIX, read_checkpoint
from train.runs.folder import check_same_model, origin_of
from train.runs.trainer import device_of

_WHERE = {True: "", False: " where no table is known"}
_NO_TABLE = (
    "no picture states where the table is, so that only the confidence of free poses is calibrated; that of poses on a "
    "table and covariances, which are fitted there, stay as they are"
)


@dataclass(frozen=True)
class EvaluatedDetection:
    """A detection and whether its pose is `right`, that is, its ADD-S to a labeled block of its kind is under a tenth of the
    diameter and no detection with more confidence was matched to this block. `truth` is the block's camera_from_block
    (4, 4), in the symmetric pose nearest to the detection, None for a wrong one; `view` is the picture's camera."""

    detection: Detection
    right: bool
    truth: Array | None
    view: View


# The detections of a detector in held-out pictures, with the table known to it or not.
Evaluate = Callable[[Detector, bool], list[EvaluatedDetection]]


def evaluate_batches(detector: Detector, batches: Iterable[Batch]) -> Iterator[EvaluatedDetection]:
    """Every detection in `batches`, whose targets have the classes of `detector.blocks`. As in a dataset, a distractor is
    not a labeled block, even if it is of a known kind: it has another size, which a pose on the table can reveal."""
    for batch in batches:
        targets = batch.targets
        poses = targets.camera_from_block.double().cpu().numpy()
        there = (targets.present & targets.labelled & (targets.model >= 0) & (targets.seen > 0)).cpu().numpy()
        model = targets.model.cpu().numpy()
        views = views_of(targets, batch.tables)
        for row, detections in enumerate(detector.find(pictures_of(batch), views)):
            slots = np.flatnonzero(there[row])
            truths = [(detector.blocks.names[model[row, slot]], poses[row, slot]) for slot in slots]
            matched = match(np.array([one.confidence for one in detections]), misses(detections, truths), RIGHT)
            for one, j in zip(detections, matched, strict=True):
                truth = nearest_symmetric_pose(truths[j][1], one.kind, one.pose.camera_from_block) if j >= 0 else None
                yield EvaluatedDetection(one, truth is not None, truth, views[row])


def evaluate_dataset(detector: Detector, dataset: BopDataset, batch: int) -> Iterator[EvaluatedDetection]:
    """Every detection in the pictures of `dataset`, matched by `train.evaluate.matching.match_dataset`."""
    for one in match_dataset(detector, dataset, batch):
        if one.detection is None:
            continue
        truth: Array | None = None
        if isinstance(one, BlockResult) and one.right:
            truth = nearest_symmetric_pose(one.truth.camera_from_block, one.kind, one.detection.pose.camera_from_block)
        yield EvaluatedDetection(one.detection, truth is not None, truth, one.view)


def squares_free(evaluated: Iterable[EvaluatedDetection], factor: float = 1.0) -> Array:
    """(N,) the squared Mahalanobis distances, in 3 dimensions, of the positions from the truth that the keypoints of the
    right detections have without a table, with standard deviations `factor` times as large. PnP fails for some, as for
    small blocks in the distance."""
    squares = []
    for one in evaluated:
        if one.truth is None:
            continue
        seen = Keypoints(one.detection.kind.keypoints, one.detection.keypoints, one.detection.sigma)
        (pose,) = solve_free([seen], one.view)
        if pose is not None:
            squares.append(_square(pose.inflated(factor), one.truth, np.eye(3)))
    return np.array(squares)


def squares_on_table(evaluated: Iterable[EvaluatedDetection]) -> Array:
    """(N,) the squared Mahalanobis distances, in the 2 dimensions of the table, of the positions on it from the truth, for
    the right detections that have a pose on it."""
    return np.array(
        [
            _square(one.detection.pose, one.truth, inverse(one.view.camera_from_table)[:2, :3])
            for one in evaluated
            if one.truth is not None and one.detection.on_table and one.view.camera_from_table is not None
        ]
    )


def _square(pose: Pose, truth: Array, axes: Array) -> float:
    """The squared Mahalanobis distance of the position along `axes` (n, 3), directions in the camera frame."""
    error = axes @ (pose.camera_from_block[:3, 3] - truth[:3, 3])
    return float(error @ np.linalg.pinv(axes @ pose.covariance[3:, 3:] @ axes.T, hermitian=True) @ error)


def calibrate_checkpoint(config: CalibrateConfig) -> dict[str, Any] | None:
    """Writes `config.checkpoint`, calibrated on every second picture of a rendered dataset, to `config.out`. Prints and
    returns the calibration's errors on the other pictures, None without detections there.

    Raises CheckpointError, DatasetError, ConfigError, and SimgenError for too few detections. Too few right ones without a
    known table, which are rare, only cause a warning.
    """
    out = Path(config.out)
    if out.suffix != ".ckpt":
        raise ConfigError(
            f"out: got {out}; expected a name that ends in .ckpt; `python -m train export` makes a {WEIGHTS_SUFFIX} of it"
        )
    check_same_model(out, config.checkpoint)
    dataset = open_source(config.data)
    check_simulated(dataset)
    note_what_was_learned(origin_of(config.checkpoint, read_checkpoint(config.checkpoint)), dataset)
    detector = sized_as_in(dataset, load_detector(config.checkpoint, calibrated=False).zoomed(config.zoom))
    detector.net.to(device_of(config.accelerator))
    learn, check = (replace(dataset, pictures=dataset.pictures[first::2]) for first in (0, 1))

    def evaluate_on(part: BopDataset) -> Evaluate:
        no_table = replace(part, pictures=tuple(replace(picture, camera_from_table=None) for picture in part.pictures))
        return lambda detector, known: list(evaluate_dataset(detector, part if known else no_table, config.batch_size))

    evaluate = evaluate_on(learn)
    if any(picture.camera_from_table is not None for picture in dataset.pictures):
        detector = _fit_covariance_scale(detector, evaluate)
        detector = _fit_confidence_or_warn(_fit_confidence(detector, evaluate, True), evaluate, False)
    else:
        print(f"{dataset.root}: {_NO_TABLE}; data.table=true if the world's plane z = 0 is a table", file=sys.stderr)
        before = load_detector(config.checkpoint)
        kept = replace(detector.calibration, on_table=before.calibration.on_table)
        detector = _fit_confidence(replace(detector, inflation=before.inflation, calibration=kept), evaluate, False)
    detector = _fit_familiarity_or_warn(detector, *(_features(detector, part) for part in (learn, check)))
    out.parent.mkdir(parents=True, exist_ok=True)
    _write(detector, config.checkpoint, out)
    result = report_calibration(detector, evaluate_on(check))
    print(f"wrote {out}")
    return result


def add_confidence(path: Path, held_out: Dataset[Batch], learn: range, check: range) -> dict[str, Any] | None:
    """Calibrates the detector in the checkpoint `path` on the items `learn` of `held_out`: its covariances, then its
    confidence. Prints and returns the calibration's errors on the items `check`, None without detections there. What has too
    few detections stays uncalibrated, with a warning."""
    # Without an earlier calibration: a finished run that is started again is calibrated again.
    detector = load_detector(path, calibrated=False)

    learned, checked = ([held_out[k] for k in items] for items in (learn, check))

    def evaluate_on(batches: list[Batch]) -> Evaluate:
        def evaluate(detector: Detector, known: bool) -> list[EvaluatedDetection]:
            return list(evaluate_batches(detector, batches if known else map(_without_table, batches)))

        return evaluate

    evaluate = evaluate_on(learned)
    if all(bool(batch.targets.camera_from_world.isnan().any((1, 2)).all()) for batch in learned):
        print(_NO_TABLE, file=sys.stderr)
    else:
        try:
            detector = _fit_covariance_scale(detector, evaluate)
        except SimgenError as error:
            print(
                f"WARNING: {error}; until then covariances are propagated from the keypoints unscaled", file=sys.stderr
            )
        detector = _fit_confidence_or_warn(detector, evaluate, True)
    detector = _fit_confidence_or_warn(detector, evaluate, False)
    pictures = ([one for batch in part for one in pictures_of(batch)] for part in (learned, checked))
    detector = _fit_familiarity_or_warn(detector, *(detector.features(part) for part in pictures))
    _write(detector, path, path)
    return report_calibration(detector, evaluate_on(checked))


def report_calibration(detector: Detector, evaluate: Evaluate) -> dict[str, Any] | None:
    """Prints and returns the errors of `detector`'s confidence and covariances; None without detections. Without any on a
    known table there are only those of the confidence of free poses, `no_table`."""
    with_table = [one for one in evaluate(detector, True) if one.detection.on_table]
    without_table = evaluate(detector, False)
    known, unknown = (_confidence(part) if part else None for part in (with_table, without_table))
    for where, measured in ((_WHERE[True], known), (_WHERE[False], unknown)):
        if measured is not None:
            skill = "undefined" if measured["brier_skill"] is None else f"{measured['brier_skill']:.2f}"
            print(
                f"confidence{where}: {measured['right']} of {measured['finds']} detections on other held-out pictures are "
                f"right; expected calibration error {measured['expected_calibration_error']:.3f} (of the network's score "
                f"{measured['expected_calibration_error_of_score']:.3f}), Brier skill {skill}"
            )
    if known is None:
        return None if unknown is None else {"no_table": unknown}
    on_table, free = (
        _share_within(squares_on_table(with_table), 2),
        _share_within(squares_free(with_table, detector.inflation.free), 3),
    )
    within = ("-" if share is None else f"{share:.0%}" for share in (on_table, free))
    print(
        f"uncertainty: standard deviations multiplied by {detector.inflation.on_table:.2f} on the table and by "
        f"{detector.inflation.free:.2f} for free poses; {' and '.join(within)} of the right detections "
        "are within their 95% ellipses"
    )
    return {
        **known,
        "no_table": unknown,
        "inflation": asdict(detector.inflation),
        "within_95": {"on_table": on_table, "free": free},
    }


def _confidence(evaluated: list[EvaluatedDetection]) -> dict[str, Any]:
    right = np.array([one.right for one in evaluated], dtype=bool)
    stated, score = (np.array([getattr(one.detection, name) for one in evaluated]) for name in ("confidence", "score"))
    skill = brier_skill(stated, right)
    return {
        "finds": len(evaluated),
        "right": int(right.sum()),
        "expected_calibration_error": expected_calibration_error(stated, right, BINS),
        "expected_calibration_error_of_score": expected_calibration_error(score, right, BINS),
        "brier_skill": skill if np.isfinite(skill) else None,
    }


def _without_table(batch: Batch) -> Batch:
    """The same pictures with unknown camera poses."""
    targets = batch.targets
    return replace(
        batch, targets=replace(targets, camera_from_world=torch.full_like(targets.camera_from_world, torch.nan))
    )


def _fit_covariance_scale(detector: Detector, evaluate: Evaluate) -> Detector:
    """`detector` with fitted factors of the covariances. Raises SimgenError for too few right detections."""
    evaluated = evaluate(detector, True)
    factors = Inflation(inflation(squares_free(evaluated), 3), inflation(squares_on_table(evaluated), 2))
    return replace(detector, inflation=factors)


def _fit_confidence(detector: Detector, evaluate: Evaluate, known: bool) -> Detector:
    """`detector` with a fitted confidence of poses on tables that are `known`, or else of free poses. Raises SimgenError for
    too few detections."""
    evaluated = [one for one in evaluate(detector, known) if one.detection.on_table == known]
    fitted = calibrate([one.detection.features for one in evaluated], [one.right for one in evaluated], _WHERE[known])
    calibration = replace(detector.calibration, **{"on_table" if known else "free": fitted})
    return replace(detector, calibration=calibration)


def _fit_confidence_or_warn(detector: Detector, evaluate: Evaluate, known: bool) -> Detector:
    """As `_fit_confidence`; with too few detections it prints a warning and returns `detector` unchanged."""
    try:
        return _fit_confidence(detector, evaluate, known)
    except SimgenError as error:
        print(f"WARNING: {error}; until then their confidence is the network's score", file=sys.stderr)
        return detector


def _features(detector: Detector, dataset: BopDataset) -> Array:
    """(B, F) the features of the pictures of `dataset`."""
    return np.concatenate([detector.features([read_rgb(picture.path)]) for picture in dataset.pictures])


def _fit_familiarity_or_warn(detector: Detector, features: Array, others: Array) -> Detector:
    """`detector` with the familiarity of pictures, fitted to the `features` (M, F) of some held-out pictures and those (N,
    F) of others; with too few it prints a warning and returns `detector` unchanged."""
    fitted = fit_familiarity(features, others)
    if fitted is None:
        print(
            f"WARNING: familiarity: {len(features)} and {len(others)} held-out pictures; expected at least {LEAST} of each; "
            "until then predictions do not state it",
            file=sys.stderr,
        )
    return replace(detector, familiarity=fitted)


def _write(detector: Detector, checkpoint: Path | str, out: Path) -> None:
    """Writes the `checkpoint` with the calibration of `detector` to `out`."""
    calibration, inflation = detector.calibration.to_json(), asdict(detector.inflation)
    familiarity = None if detector.familiarity is None else detector.familiarity.to_json()
    fitted = {"inflation": inflation, "calibration": calibration, "familiarity": familiarity}
    content = read_checkpoint(checkpoint)
    content |= {"origin": origin_of(checkpoint, content), **fitted}
    data = io.BytesIO()
    torch.save(content, data)
    write_file(out, data.getvalue())


def _share_within(squares: Array, freedom: int) -> float | None:
    """The fraction of squared Mahalanobis distances within the 95% ellipse; None for none."""
    return float(np.mean(squares < chi2.ppf(0.95, freedom))) if len(squares) else None
