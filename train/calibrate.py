"""What a trained keypoint model states of its finds, learnt from pictures that training has not seen: as a run ends, and by
`python -m train calibrate` for pictures of another scene or size.
"""

import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import chi2
from torch.utils.data import Dataset

from simgen.dataset.read import open_dataset
from simgen.errors import ConfigError, SimgenError
from simgen.geometry import Array
from train.checkpoint import read_checkpoint
from train.confidence import BINS, calibrate, inflation
from train.config import CalibrateConfig
from train.data import check_simulated
from train.detector import Detector, Inflation, load_detector
from train.evaluate import device_of
from train.held_out import Judged, judged, judged_in, squares_free, squares_on_table
from train.judge import sized_as_in
from train.pose_metrics import expected_calibration_error
from train.stream import Shot

Finds = Callable[[Detector], list[Judged]]


def calibrate_checkpoint(config: CalibrateConfig) -> dict[str, Any]:
    """Writes `config.checkpoint`, calibrated on every second picture of a rendered dataset, to `config.out`, and prints and
    returns how well it comes true on the others. Raises CheckpointError, DatasetError, ConfigError, and SimgenError where
    there is too little to learn from."""
    dataset = open_dataset(config.data.root, config.data.split)
    check_simulated(dataset)
    detector = sized_as_in(dataset, _raw(config.checkpoint).zoomed(config.zoom))
    if config.edges is not None:
        detector = replace(detector, edges=config.edges)
    if detector.edges and detector.net.crops is None:
        raise ConfigError(
            f"edges: {config.checkpoint} has no second look, whose classes are held against pictures; train with model.crop"
        )
    detector.net.to(device_of(config.accelerator))
    learn, check = (replace(dataset, pictures=dataset.pictures[first::2]) for first in (0, 1))

    def finds(detector: Detector) -> list[Judged]:
        return list(judged_in(detector, learn, config.batch_size))

    detector = _sure(_grown(detector, finds), finds)
    out = Path(config.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    _write(detector, config.checkpoint, out)
    result = comes_true(detector, list(judged_in(detector, check, config.batch_size)))
    print(f"wrote {out}")
    return result


def add_confidence(path: Path, held_out: Dataset[Shot], learn: range, check: range) -> dict[str, Any] | None:
    """Calibrates the detector in the checkpoint `path` on the items `learn` of `held_out`, its uncertainties and
    then its confidence, and tells how well they come true on the items `check`; None where it finds nothing there. Where
    there is too little to learn either from, it says so and leaves that as the network has it."""
    detector = _raw(path)
    drawn = [held_out[k] for k in learn]

    def finds(detector: Detector) -> list[Judged]:
        return list(judged(detector, drawn))

    try:
        detector = _grown(detector, finds)
    except SimgenError as error:
        print(f"WARNING: {error}; until then uncertainties are what the keypoints' imply", file=sys.stderr)
    try:
        detector = _sure(detector, finds)
    except SimgenError as error:
        print(f"WARNING: {error}; until then a find's confidence is the network's score", file=sys.stderr)
    _write(detector, path, path)
    checked = list(judged(detector, (held_out[k] for k in check)))
    return comes_true(detector, checked) if checked else None


def comes_true(detector: Detector, finds: list[Judged]) -> dict[str, Any]:
    """Prints and returns how far what `detector` states of `finds` is from what is so."""
    chance, right = np.array([one.found.confidence for one in finds]), np.array([one.right for one in finds])
    score = np.array([one.found.score for one in finds])
    stated, of_score = (expected_calibration_error(said, right, BINS) for said in (chance, score))
    on_table, free = _share_within(squares_on_table(finds), 2), _share_within(squares_free(finds), 3)
    print(
        f"confidence: {right.sum()} of {len(finds)} finds on other held-out pictures are right; what is stated is off by "
        f"{stated:.3f} (the network's score by {of_score:.3f})\n"
        f"uncertainty: the place's deviations grown {detector.inflation.on_table:.2f} times on the table, "
        f"{detector.inflation.free:.2f} times free; "
        f"of right finds {100 * on_table:.0f}% and {100 * free:.0f}% are within their ellipses of 95%"
    )
    return {
        "finds": len(finds),
        "right": int(right.sum()),
        "expected_calibration_error": stated,
        "expected_calibration_error_of_score": of_score,
        "inflation": asdict(detector.inflation),
        "within_95": {"on_table": on_table, "free": free},
    }


def _raw(path: Path | str) -> Detector:
    """As the network is, even if this was done before: a run that is started again when it is done comes here again."""
    return replace(load_detector(path), calibration=None, inflation=Inflation())


def _grown(detector: Detector, finds: Finds) -> Detector:
    found = finds(detector)
    return replace(
        detector, inflation=Inflation(inflation(squares_free(found), 3), inflation(squares_on_table(found), 2))
    )


def _sure(detector: Detector, finds: Finds) -> Detector:
    found = finds(detector)
    learnt = calibrate([one.found.features for one in found], [one.right for one in found])
    return replace(detector, calibration=learnt)


def _write(detector: Detector, checkpoint: Path | str, out: Path) -> None:
    """The `checkpoint` with what `detector` has learnt since, to `out`."""
    calibration = detector.calibration and detector.calibration.to_json()
    learnt = {"inflation": asdict(detector.inflation), "calibration": calibration, "edges": detector.edges}
    content = {**read_checkpoint(checkpoint), **learnt}
    part = out.with_suffix(".part")
    torch.save(content, part)
    part.replace(out)


def _share_within(squares: Array, freedom: int) -> float:
    """Of finds, the share that lies within the ellipses that should hold 95%; 0 where there is no find."""
    return float(np.mean(squares < chi2.ppf(0.95, freedom))) if len(squares) else 0.0
