"""`python -m train evaluate` for a keypoint model: what it finds in a dataset's pictures beside what is there."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simgen.dataset.read import BopDataset, Instance, Picture, open_dataset, read_rgb, sha256_of
from simgen.errors import DatasetError
from simgen.geometry import Array, inverse
from train.config import EvaluateConfig
from train.detector import Detector, Found, load_detector
from train.evaluate import default_folder, device_of, table
from train.metrics import summary
from train.pose import View
from train.runfolder import METRICS, manifest_hash, write_json


@dataclass(frozen=True)
class Answer:
    """A labelled block `truth` of kind `name` in `picture`, and the find that was taken for it, or None."""

    picture: Picture
    name: str
    truth: Instance
    found: Found | None


def evaluate_keypoints(config: EvaluateConfig) -> dict[str, Any]:
    """Prints and returns the errors of `config.checkpoint` on a dataset; leaves metrics.json and worst.png.

    Raises CheckpointError, DatasetError and ConfigError.
    """
    detector = load_detector(config.checkpoint)
    detector.net.to(device_of(config.accelerator))
    dataset = open_dataset(config.data.root, config.data.split)
    names = {model.obj_id: model.name for model in dataset.models.values()}
    answers = [
        answer
        for answer in answers_of(detector, dataset, config.batch_size)
        if answer.truth.visible_fraction > 0
        and answer.truth.visible_fraction >= config.data.min_visible
        and config.data.target in ("auto", answer.name)
    ]
    if not answers:
        raise DatasetError(
            f"{config.data.root}: shows no block that the model knows; it knows {', '.join(detector.blocks.names)}"
        )
    lost = [answer for answer in answers if answer.found is None]
    errors_cm = 100 * np.array([xy_error(answer, dataset) for answer in answers])
    baseline_cm = 100 * np.array([xy_error(Answer(a.picture, a.name, a.truth, None), dataset) for a in answers])
    result = {
        "checkpoint": str(config.checkpoint),
        "checkpoint_sha256": sha256_of(Path(config.checkpoint)),
        "dataset": str(dataset.root),
        "dataset_manifest_sha256": manifest_hash(dataset.root),
        "blocks": len(answers),
        "not_found": len(lost),
        "baseline": "the table's centre",
        "xy_error_cm": {
            "model": summary(errors_cm, seed=config.seed),
            "baseline": summary(baseline_cm, seed=config.seed),
        },
        "per_block": [_row(answer, float(error)) for answer, error in zip(answers, errors_cm, strict=True)],
    }
    print(f"{dataset.root}: {len(answers)} blocks of {', '.join(sorted(set(names.values())))}; {len(lost)} not found")
    print(table(result))
    out = Path(config.out) if config.out else default_folder(Path(config.checkpoint), dataset.root)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / METRICS, result)
    print(f"wrote {out / METRICS}")
    return result


def answers_of(detector: Detector, dataset: BopDataset, batch: int) -> Iterator[Answer]:
    """For each labelled block of a kind that the detector knows, the find of its kind that is nearest to it in the picture,
    each find serving one block at most, the best first."""
    names = {model.obj_id: model.name for model in dataset.models.values()}
    for start in range(0, len(dataset.pictures), batch):
        pictures = dataset.pictures[start : start + batch]
        views = [View(p.intrinsics, p.distortion, p.camera_from_world) for p in pictures]
        for picture, finds in zip(pictures, detector.find([read_rgb(p.path) for p in pictures], views), strict=True):
            wanted = [one for one in picture.instances if names[one.obj_id] in detector.blocks.names]
            taken = match(finds, wanted, names)
            for instance, found in zip(wanted, taken, strict=True):
                yield Answer(picture, names[instance.obj_id], instance, found)


def match(finds: list[Found], wanted: list[Instance], names: dict[int, str]) -> list[Found | None]:
    """For each of `wanted` the find taken for it: going by score, a find takes the nearest block of its kind that is
    left."""
    taken: list[Found | None] = [None] * len(wanted)
    for found in finds:
        place = found.pose.camera_from_block[:3, 3]
        left = [k for k, one in enumerate(wanted) if taken[k] is None and names[one.obj_id] == found.kind.name]
        if left:
            nearest = min(left, key=lambda k: float(np.linalg.norm(wanted[k].camera_from_block[:3, 3] - place)))
            taken[nearest] = found
    return taken


def xy_error(answer: Answer, dataset: BopDataset) -> float:
    """How far along the table, in m, the find is from the truth. Where nothing is found the answer is the table's centre."""
    assert answer.picture.camera_from_world is not None
    world_from_camera = inverse(answer.picture.camera_from_world)
    true = (world_from_camera @ answer.truth.camera_from_block)[:2, 3]
    if answer.found is None:
        center = dataset.table_center if dataset.table_center is not None else np.zeros(2)
        return float(np.linalg.norm(center - true))
    place: Array = (world_from_camera @ answer.found.pose.camera_from_block)[:2, 3]
    return float(np.linalg.norm(place - true))


def _row(answer: Answer, error_cm: float) -> dict[str, Any]:
    found = answer.found
    return {
        "scene_id": answer.picture.scene_id,
        "image_id": answer.picture.image_id,
        "name": answer.name,
        "visible_fraction": answer.truth.visible_fraction,
        "xy_error_cm": error_cm,
        "score": None if found is None else found.score,
        "misfit": None if found is None else found.pose.misfit,
        "sigma_px": None if found is None else float(np.mean(found.sigma)),
    }
