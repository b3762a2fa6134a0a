"""`python -m train evaluate` for a keypoint model: its detections in a dataset's pictures compared with the labels."""

import sys
from typing import Any

import numpy as np

from simgen.dataset.read import BopDataset
from simgen.errors import ConfigError, DatasetError
from simgen.files import sha256_of, write_json
from simgen.geometry import Array
from train.config import EvaluateConfig
from train.data.dataset import open_source
from train.data.images import manifest_hash
from train.detect.calibration import BINS
from train.detect.detector import load_detector, note_if_uncalibrated
from train.detect.types import Detection
from train.draw.sheets import write_png
from train.evaluate.bop_results import Found, write_bop_results
from train.evaluate.factors import by_factor, draw_factors, factor_lines
from train.evaluate.learned import note_what_was_learned
from train.evaluate.matching import (
    BlockResult,
    FalsePositive,
    match_dataset,
    nearest_symmetric_pose,
    sized_as_in,
)
from train.evaluate.summary import FACTORS, OVERLAYS, WORST, results_folder, settings_of, table
from train.evaluate.worst import draw_overlays, draw_worst_cases
from train.metrics import (
    auc,
    brier_skill,
    expected_calibration_error,
    median_of,
    precision_recall,
    risk_coverage,
    summary,
    translation_error,
    xy_errors,
)
from train.runs.checkpoint import place_of, read_checkpoint
from train.runs.folder import METRICS, origin_of
from train.runs.trainer import device_of

WHOLE = 0.999  # visible fraction of a block that is entirely visible
SEEN = 0.5  # a block with a greater visible fraction counts in the fraction of right poses
CONFIDENT = 0.5
_AUC = 0.1  # m: the greatest ADD-S that counts (Xiang et al. 2018)


def evaluate_keypoints(config: EvaluateConfig) -> dict[str, Any]:
    """Prints and returns the errors of `config.checkpoint` on a dataset; leaves metrics.json, worst.png, overlays.png, the
    detections in BOP's files and, with more than one block, factors.png.

    Raises CheckpointError, DatasetError and ConfigError.
    """
    out = results_folder(config)
    detector = load_detector(config.checkpoint).zoomed(config.zoom)
    detector.net.to(device_of(config.accelerator))
    if config.data.target != "auto":
        detector.blocks.check_names([config.data.target], "data.target")
    dataset = open_source(config.data)
    names = {model.name for model in dataset.models.values()}
    if config.data.target != "auto" and config.data.target not in names:
        raise ConfigError(
            f"data.target: {dataset.root} has no block '{config.data.target}'; it has {', '.join(sorted(names))}"
        )
    note_what_was_learned(origin_of(config.checkpoint, read_checkpoint(config.checkpoint)), dataset)
    detector = sized_as_in(dataset, detector)
    tables = {picture.camera_from_table is not None for picture in dataset.pictures}
    calibrated = note_if_uncalibrated(config.checkpoint, detector, tables)
    known, unknown = names & set(detector.blocks.names), names - set(detector.blocks.names)
    if unknown:
        print(
            f"{dataset.root}: the model does not know {', '.join(sorted(unknown))}: these blocks are left out",
            file=sys.stderr,
        )
    results: list[BlockResult] = []
    false_positives: list[FalsePositive] = []
    found: list[Found] = []  # all detections, also of objects that are no targets
    for one in match_dataset(detector, dataset, config.batch_size):
        if one.detection is not None:
            found.append((one.picture, one.view, one.detection))
        if isinstance(one, FalsePositive):
            false_positives.append(one)
        elif (
            one.truth.target
            and one.truth.visible_fraction >= max(config.data.min_visible, 1e-9)
            and config.data.target in ("auto", one.kind.name)
        ):
            results.append(one)
    if not results:
        listed = f" that data.targets={config.data.targets} lists" if config.data.targets else ""
        raise DatasetError(
            f"{config.data.root}: no picture shows a block{listed} of the kinds that the model knows "
            f"({', '.join(sorted(known))}) with a visible fraction of data.min_visible={config.data.min_visible:g}"
            + (f", and data.target={config.data.target}" if config.data.target != "auto" else "")
        )
    result = {
        "checkpoint": str(config.checkpoint),
        "checkpoint_sha256": sha256_of(place_of(config.checkpoint)),
        "dataset": str(dataset.root),
        "dataset_manifest_sha256": manifest_hash(dataset.root),
        "settings": settings_of(config),
        "calibrated": calibrated,
        "left_out": dict(dataset.left_out),
        "pictures": len(dataset.pictures),
        **measures(results, false_positives, config.data.target),
    }
    # Printed after the files are written: if the pipe is closed by then, only the printout is lost.
    text = [
        f"{dataset.root}: {result['blocks']} blocks in {result['pictures']} pictures, {result['not_found']} not found",
        lines(result),
    ]
    if dataset.table_center is not None and all(np.isfinite(one.xy) for one in results):
        result["baseline"] = "the table's center"
        result["xy_error_cm"] = _xy_summary(results, dataset, config.seed)
        along_x, along_y = result["xy_error_cm"]["bias"]
        text.append("where on the table (a block that was not found counts as at its center):")
        text += [table(result), f"mean offset: {along_x:+.2f} cm along X, {along_y:+.2f} cm along Y"]
        whole = [one for one in results if one.truth.visible_fraction > WHOLE]
        if 0 < len(whole) < len(results):
            result["xy_error_cm_whole"] = _xy_summary(whole, dataset, config.seed)
            text.append(f"only the {len(whole)} blocks that are entirely visible:")
            text.append(table({**result, "xy_error_cm": result["xy_error_cm_whole"]}))
    result["by_factor"] = by_factor(results)
    text.append(factor_lines(result["by_factor"]))
    result["per_block"] = [_row(one) for one in results]
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / METRICS, result, indent=1)
    write_png(out / WORST, draw_worst_cases(results, of_kind(false_positives, config.data.target)))
    write_png(out / OVERLAYS, draw_overlays(dataset.pictures, results, false_positives, CONFIDENT))
    written = [METRICS, WORST, OVERLAYS, *write_bop_results(out, dataset, found)]
    (out / FACTORS).unlink(missing_ok=True)
    if result["by_factor"]:  # with a single block there is nothing to compare
        write_png(out / FACTORS, draw_factors(result["by_factor"]))
        written.append(FACTORS)
    print("\n".join([*text, f"wrote {', '.join(written)} in {out}"]))
    return result


def _xy_summary(results: list[BlockResult], dataset: BopDataset, seed: int) -> dict[str, Any]:
    predicted, true = np.array([one.predicted for one in results]), np.array([one.true for one in results])
    center = np.broadcast_to(dataset.table_center, true.shape)  # type: ignore[arg-type]  # the caller has checked it
    return {
        "model": summary(100 * xy_errors(predicted, true), seed=seed),
        "baseline": summary(100 * xy_errors(center, true), seed=seed),
        "bias": (100 * (predicted - true).mean(0)).tolist(),
    }


def of_kind(false_positives: list[FalsePositive], target: str) -> list[FalsePositive]:
    """Those of `false_positives` that are of the kind `target`; all if it is "auto"."""
    return [one for one in false_positives if target in ("auto", one.detection.kind.name)]


def measures(results: list[BlockResult], false_positives: list[FalsePositive], target: str = "auto") -> dict[str, Any]:
    """The numbers of an evaluation: fractions in [0, 1], cm, degrees and px. Medians are over all blocks; a miss counts as
    infinite, and an infinite median is None. `results` are those of the kind `target`, or of all kinds if it is "auto";
    false positives of other kinds then tell only what else a missed block was taken for."""
    everything, false_positives = false_positives, of_kind(false_positives, target)
    detected = [one for one in results if one.detection is not None]
    visible = [one for one in results if one.truth.visible_fraction > SEEN]
    detections = [one.detection for one in detected] + [one.detection for one in false_positives]
    confidence = np.array([detection.confidence for detection in detections if detection is not None])
    right = np.array([one.right for one in detected] + [False] * len(false_positives), dtype=bool)
    asked = asked_for(results, false_positives)
    result: dict[str, Any] = {
        "blocks": len(results),
        "not_found": len(results) - len(detected),
        "false_positives": len(false_positives),
        "confident_false_positives": sum(one.detection.confidence >= CONFIDENT for one in false_positives),
        "seen_by_half": len(visible),
        "right": float(np.mean([one.right for one in visible])) if visible else None,
        "missed": missed_by_cause(visible, everything),
        "adds_auc": auc(np.array([one.adds for one in results]), _AUC),
        "translation_cm_median": median_of([100 * one.translation for one in results]),
        "rotation_deg_median": median_of([float(np.degrees(one.rotation)) for one in results]),
        "mspd_px_median": median_of([one.mspd for one in results]),
        "reprojection_px_median": median_of([one.reprojection for one in results]),
        "within_5_cm_5_deg": float(
            np.mean([one.translation < 0.05 and one.rotation < np.radians(5) for one in results])
        ),
        "asked": len(asked),
        "asked_within_1_cm": float(np.mean(asked < 0.01)) if len(asked) else None,
    }
    if len(confidence):
        curve = precision_recall(confidence, right, len(results))
        result["average_precision"] = curve.average_precision
        result["expected_calibration_error"] = expected_calibration_error(confidence, right, BINS)
        skill = brier_skill(confidence, right)
        result["brier_skill"] = skill if np.isfinite(skill) else None
        result["risk_coverage_area"] = risk_coverage(confidence, (~right).astype(np.float64)).area
    return result


def missed_by_cause(results: list[BlockResult], false_positives: list[FalsePositive]) -> dict[str, int]:
    """How many of `results` are not right, by cause: `pose`, a block of this kind is detected but not within a tenth of its
    diameter; `kind`, only one of another kind is detected, with its origin within half of a diameter of the block's; else
    `nothing`."""
    others: dict[tuple[int, int], list[Detection]] = {}
    for one in false_positives:
        others.setdefault((one.picture.scene_id, one.picture.image_id), []).append(one.detection)
    causes = {"kind": 0, "pose": 0, "nothing": 0}
    for block in (one for one in results if not one.right):
        place = block.truth.camera_from_block[:3, 3]
        near = [
            np.linalg.norm(other.pose.camera_from_block[:3, 3] - place) < block.kind.diameter / 2
            for other in others.get((block.picture.scene_id, block.picture.image_id), [])
            if other.kind.name != block.kind.name
        ]
        causes["pose" if block.detection is not None else "kind" if any(near) else "nothing"] += 1
    return causes


def asked_for(results: list[BlockResult], false_positives: list[FalsePositive]) -> Array:
    """(Q,) m: "where is the cube?", for each picture and each kind of which it shows a block over half visible: the distance
    of the most confident detection of the kind from the nearest of these blocks, infinite without a detection."""
    truths: dict[tuple[int, int, str], list[BlockResult]] = {}
    best: dict[tuple[int, int, str], Detection] = {}
    for one in results:
        if one.truth.visible_fraction > SEEN:
            truths.setdefault((one.picture.scene_id, one.picture.image_id, one.kind.name), []).append(one)
    found = [(one.picture, one.detection) for one in results]
    for picture, detection in found + [(one.picture, one.detection) for one in false_positives]:
        if detection is not None:
            key = picture.scene_id, picture.image_id, detection.kind.name
            if key not in best or detection.confidence > best[key].confidence:
                best[key] = detection
    distances = []
    for key, blocks in truths.items():
        if key not in best:
            distances.append(np.inf)
            continue
        pose = best[key].pose.camera_from_block
        truth_poses = [nearest_symmetric_pose(one.truth.camera_from_block, one.kind, pose) for one in blocks]
        distances.append(min(translation_error(pose, truth) for truth in truth_poses))
    return np.array(distances)


def lines(result: dict[str, Any]) -> str:
    """The numbers of `measures` as text, one a line."""

    def shown(key: str, unit: str, factor: float = 1) -> str:
        value = result.get(key)
        return f"{'-':>8}" if value is None else f"{factor * value:8.2f} {unit}".rstrip()

    rows = [
        ("right (ADD-S < 10%)", shown("right", "%", 100) + f" of {result['seen_by_half']} blocks over half visible"),
        (
            "  the others",
            "{kind:8} as another kind, {pose} with another pose, {nothing} not at all".format(**result["missed"]),
        ),
        ("ADD-S area to 10 cm", shown("adds_auc", "%", 100)),
        ("translation, median", shown("translation_cm_median", "cm")),
        ("rotation, median", shown("rotation_deg_median", "deg")),
        ("MSPD, median", shown("mspd_px_median", "px")),
        ("reprojection, median", shown("reprojection_px_median", "px")),
        ("under 5 cm and 5 deg", shown("within_5_cm_5_deg", "%", 100)),
        ("asked for a kind", shown("asked_within_1_cm", "% within 1 cm", 100) + f" of {result['asked']} questions"),
        (
            "average precision",
            shown("average_precision", "%", 100)
            + f", {result['confident_false_positives']} false positives over {CONFIDENT:g}",
        ),
        ("calibration error", shown("expected_calibration_error", "") + f", Brier skill{shown('brier_skill', '')}"),
    ]
    return "\n".join(f"{name:22}{value}" for name, value in rows)


def _row(result: BlockResult) -> dict[str, Any]:
    detection = result.detection
    errors = {"xy_m": result.xy, "adds_m": result.adds, "mspd_px": result.mspd}
    errors |= {"translation_m": result.translation, "rotation_rad": result.rotation}
    places = {"predicted_m": result.predicted, "true_m": result.true}
    return {
        "scene_id": result.picture.scene_id,
        "image_id": result.picture.image_id,
        "name": result.kind.name,
        "visible_fraction": result.truth.visible_fraction,
        "right": result.right,
        "confidence": None if detection is None else detection.confidence,
        "score": None if detection is None else detection.score,
        "misfit": None if detection is None else detection.pose.misfit,
        "sigma_px": None if detection is None else float(np.mean(detection.sigma)),
        **{name: float(value) if np.isfinite(value) else None for name, value in errors.items()},
        **{name: value.round(5).tolist() if np.isfinite(value).all() else None for name, value in places.items()},
    }
