"""`python -m train evaluate` for a keypoint model: what it finds in a dataset's pictures beside what is there."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simgen.dataset.read import BopDataset, Instance, Picture, open_dataset, read_rgb, sha256_of
from simgen.errors import DatasetError
from simgen.geometry import Array, inverse
from train.confidence import BINS, RIGHT
from train.config import EvaluateConfig
from train.detector import Detector, Found, load_detector
from train.evaluate import default_folder, device_of, table
from train.metrics import summary
from train.pose import View
from train.pose_metrics import (
    adds,
    auc,
    expected_calibration_error,
    match,
    mspd,
    precision_recall,
    risk_coverage,
    rotation_error,
    translation_error,
)
from train.runfolder import METRICS, manifest_hash, write_json

TURNS = 315  # of a continuous symmetry: as fine as BOP has them
SEEN = 0.5  # of a block that counts in the share of right poses
_AUC = 0.1  # m: the greatest ADD-S that counts (Xiang et al. 2018)


@dataclass(frozen=True)
class Answer:
    """A labelled block `truth` of kind `name` in `picture`, and the find taken for it, with its errors (infinite
    without)."""

    picture: Picture
    name: str
    truth: Instance
    found: Found | None
    adds: float  # m
    rotation: float  # rad, up to symmetry
    translation: float  # m
    mspd: float  # px
    xy: float  # m along the table; of the table's centre without a find; NaN where the camera's place is not known

    @property
    def right(self) -> bool:
        return self.found is not None and self.adds < RIGHT * self.found.kind.diameter


@dataclass(frozen=True)
class Stray:
    """A find that was taken for no labelled block."""

    picture: Picture
    found: Found


def evaluate_keypoints(config: EvaluateConfig) -> dict[str, Any]:
    """Prints and returns the errors of `config.checkpoint` on a dataset; leaves metrics.json.

    Raises CheckpointError, DatasetError and ConfigError.
    """
    detector = load_detector(config.checkpoint)
    detector.net.to(device_of(config.accelerator))
    dataset = open_dataset(config.data.root, config.data.split)
    # The dataset says how large its blocks are.
    known = {kind.name: kind.size for kind in detector.blocks.kinds}
    detector = detector.sized(
        {
            model.name: model.size
            for model in dataset.models.values()
            if model.name in known and not np.allclose(model.size, known[model.name], rtol=1e-3)
        }
    )
    answers: list[Answer] = []
    strays: list[Stray] = []
    for one in judge_dataset(detector, dataset, config.batch_size):
        if isinstance(one, Stray):
            strays.append(one)
        elif one.truth.visible_fraction >= max(config.data.min_visible, 1e-9) and config.data.target in (
            "auto",
            one.name,
        ):
            answers.append(one)
    if not answers:
        raise DatasetError(f"{config.data.root}: shows no block that the model knows; it knows {', '.join(known)}")
    result = {
        "checkpoint": str(config.checkpoint),
        "checkpoint_sha256": sha256_of(Path(config.checkpoint)),
        "dataset": str(dataset.root),
        "dataset_manifest_sha256": manifest_hash(dataset.root),
        "pictures": len(dataset.pictures),
        **measures(answers, strays),
    }
    print(
        f"{dataset.root}: {result['blocks']} blocks in {result['pictures']} pictures, {result['not_found']} not found"
    )
    if all(np.isfinite(answer.xy) for answer in answers):
        result["baseline"] = "the table's centre"
        result["xy_error_cm"] = {
            "model": summary(100 * np.array([a.xy for a in answers]), seed=config.seed),
            "baseline": summary(
                100 * np.array([_xy(a.picture, a.truth, None, dataset) for a in answers]), seed=config.seed
            ),
        }
        print(table(result))
    print(lines(result))
    result["per_block"] = [_row(answer) for answer in answers]
    out = Path(config.out) if config.out else default_folder(Path(config.checkpoint), dataset.root)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / METRICS, result)
    print(f"wrote {out / METRICS}")
    return result


def judge_dataset(detector: Detector, dataset: BopDataset, batch: int) -> Iterator[Answer | Stray]:
    """An Answer for each labelled block of a kind that the detector knows, and the strays.

    Finds choose in the order of their confidence, each the block of its kind that is left with the least ADD-S.
    """
    names = {model.obj_id: model.name for model in dataset.models.values()}
    kinds = {kind.name: kind for kind in detector.blocks.kinds}
    groups = {name: kind.group_of(TURNS) for name, kind in kinds.items()}
    for start in range(0, len(dataset.pictures), batch):
        pictures = dataset.pictures[start : start + batch]
        views = [View(p.intrinsics, p.distortion, p.camera_from_world) for p in pictures]
        all_finds = detector.find([read_rgb(p.path) for p in pictures], views)
        for picture, finds in zip(pictures, all_finds, strict=True):
            wanted = [one for one in picture.instances if names[one.obj_id] in kinds]
            costs = np.full((len(finds), len(wanted)), np.inf)
            for i, found in enumerate(finds):
                for j, one in enumerate(wanted):
                    if names[one.obj_id] == found.kind.name:
                        costs[i, j] = adds(found.pose.camera_from_block, one.camera_from_block, found.kind.corners)
            taken = match(np.array([found.confidence for found in finds]), costs, np.inf)
            by_truth = {int(j): i for i, j in enumerate(taken) if j >= 0}
            for j, one in enumerate(wanted):
                number = by_truth.get(j)
                name = names[one.obj_id]
                if number is None:
                    lost = _xy(picture, one, None, dataset)
                    yield Answer(picture, name, one, None, np.inf, np.inf, np.inf, np.inf, lost)
                    continue
                found = finds[number]
                pose, truth = found.pose.camera_from_block, one.camera_from_block
                yield Answer(
                    picture,
                    name,
                    one,
                    found,
                    float(costs[number, j]),
                    rotation_error(pose, truth, groups[name]),
                    translation_error(pose, truth),
                    mspd(pose, truth, found.kind.corners, groups[name], picture.intrinsics),
                    _xy(picture, one, found, dataset),
                )
            yield from (Stray(picture, found) for i, found in enumerate(finds) if taken[i] < 0)


def measures(answers: list[Answer], strays: list[Stray]) -> dict[str, Any]:
    """The numbers of an evaluation: shares in [0, 1], cm, degrees and px."""
    found = [answer for answer in answers if answer.found is not None]
    seen = [answer for answer in answers if answer.truth.visible_fraction > SEEN]
    confidence = np.array([a.found.confidence for a in found if a.found] + [s.found.confidence for s in strays])
    right = np.array([a.right for a in found] + [False] * len(strays), dtype=bool)
    result: dict[str, Any] = {
        "blocks": len(answers),
        "not_found": len(answers) - len(found),
        "strays": len(strays),
        "seen_by_half": len(seen),
        "right": float(np.mean([a.right for a in seen])) if seen else None,
        "adds_auc": auc(np.array([a.adds for a in answers]), _AUC),
        "translation_cm_median": _median([100 * a.translation for a in found]),
        "rotation_deg_median": _median([float(np.degrees(a.rotation)) for a in found]),
        "mspd_px_median": _median([a.mspd for a in found]),
    }
    if len(confidence):
        curve = precision_recall(confidence, right, len(answers))
        result["average_precision"] = curve.average_precision
        result["expected_calibration_error"] = expected_calibration_error(confidence, right, BINS)
        result["risk_coverage_area"] = risk_coverage(confidence, (~right).astype(np.float64)).area
    return result


def lines(result: dict[str, Any]) -> str:
    """The numbers of `measures` as text."""

    def shown(key: str, unit: str, factor: float = 1) -> str:
        value = result.get(key)
        return f"{'-':>8}" if value is None else f"{factor * value:8.2f} {unit}"

    rows = [
        ("right (ADD-S < 10%)", shown("right", "%", 100) + f" of {result['seen_by_half']} blocks seen by over half"),
        ("ADD-S area to 10 cm", shown("adds_auc", "%", 100)),
        ("translation, median", shown("translation_cm_median", "cm")),
        ("rotation, median", shown("rotation_deg_median", "deg")),
        ("MSPD, median", shown("mspd_px_median", "px")),
        ("average precision", shown("average_precision", "%", 100) + f" with {result['strays']} strays"),
        ("calibration error", shown("expected_calibration_error", "")),
    ]
    return "\n".join(f"{name:22}{value}" for name, value in rows)


def _median(values: list[float]) -> float | None:
    return float(np.median(values)) if values else None


def _xy(picture: Picture, truth: Instance, found: Found | None, dataset: BopDataset) -> float:
    """How far along the table, in m, `found`, or the table's centre, is from the truth; NaN where that is not known."""
    if picture.camera_from_world is None or (found is None and dataset.table_center is None):
        return float("nan")
    world_from_camera = inverse(picture.camera_from_world)
    true = (world_from_camera @ truth.camera_from_block)[:2, 3]
    place: Array | None = dataset.table_center
    if found is not None:
        place = (world_from_camera @ found.pose.camera_from_block)[:2, 3]
    assert place is not None
    return float(np.linalg.norm(place - true))


def _row(answer: Answer) -> dict[str, Any]:
    found = answer.found
    errors = {"xy_m": answer.xy, "adds_m": answer.adds, "rotation_rad": answer.rotation, "mspd_px": answer.mspd}
    return {
        "scene_id": answer.picture.scene_id,
        "image_id": answer.picture.image_id,
        "name": answer.name,
        "visible_fraction": answer.truth.visible_fraction,
        "confidence": None if found is None else found.confidence,
        "score": None if found is None else found.score,
        "misfit": None if found is None else found.pose.misfit,
        "sigma_px": None if found is None else float(np.mean(found.sigma)),
        **{name: float(value) if np.isfinite(value) else None for name, value in errors.items()},
    }
