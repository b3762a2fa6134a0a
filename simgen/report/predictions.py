"""The errors of a model on a dataset, as `python -m train evaluate` wrote them, joined to the labeled blocks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simgen.dataset.fields import number, record, records
from simgen.dataset.layout import MANIFEST
from simgen.dataset.values import Value
from simgen.errors import ConfigError, DatasetError
from simgen.files import read_json, sha256_of
from simgen.report.samples import BLOCK, PICTURE, Sample

METRICS = "metrics.json"
RIGHT = 0.1  # diameters: the ADD-S below which a pose is right, as in train/
_ROWS = ("per_block", "per_picture")
# Key of the page, key of a block's row, factor to the page's unit, and the unit.
_ERRORS = (
    ("prediction.adds_cm", "adds_m", 100, "cm"),
    ("prediction.translation_cm", "translation_m", 100, "cm"),
    ("prediction.rotation_deg", "rotation_rad", 180 / np.pi, "degrees"),
    ("prediction.mspd_px", "mspd_px", 1, "px"),
    ("prediction.xy_cm", "xy_m", 100, "cm"),
    ("prediction.confidence", "confidence", 1, "0 to 1"),
)
RESULT, XY = "prediction.result", "prediction.xy_error_cm"
UNITS = {key: unit for key, _, _, unit in _ERRORS} | {XY: "cm"}


@dataclass(frozen=True)
class Evaluation:
    """What `python -m train evaluate` wrote: `path` of its metrics.json, and its content."""

    path: Path
    content: Mapping[str, Any]

    @property
    def dataset(self) -> Path:
        """The folder of the dataset that it was made on."""
        return Path(str(self.content.get("dataset", "")))


def find_evaluation(folder: Path) -> Evaluation | None:
    """The evaluation in `folder`; None if it holds none."""
    path = folder / METRICS
    if not path.is_file():
        return None
    content = read_json(path)
    return Evaluation(path, content) if isinstance(content, dict) and any(rows in content for rows in _ROWS) else None


def evaluation_of_run(folder: Path) -> Evaluation | None:
    """The evaluation in `folder`, or the only one in a folder below it, as `python -m train evaluate` leaves them beside a
    checkpoint; None if there is none. Raises ConfigError if there are several."""
    below = [find_evaluation(path) for path in sorted(folder.iterdir()) if path.is_dir()]
    found = [one for one in (find_evaluation(folder), *below) if one is not None]
    if len(found) > 1:
        raise ConfigError(
            f"dataset: {folder} holds the evaluations {', '.join(str(one.path.parent) for one in found)}; name one of them"
        )
    return found[0] if found else None


def read_evaluation(place: Path) -> Evaluation:
    """The evaluation in the folder or file `place`. Raises ConfigError if there is none."""
    is_file = place.name == METRICS and place.is_file()
    found = find_evaluation(place.parent if is_file else place)
    if found is None:
        raise ConfigError(
            f"predictions: {place} is no evaluation; expected the folder, or its {METRICS}, that "
            "`python -m train evaluate checkpoint=... data.root=DATASET` wrote"
        )
    return found


def columns_of_errors(
    evaluation: Evaluation, samples: Sequence[Sample], root: Path
) -> dict[str, dict[str, list[Value | None]]]:
    """The errors as columns of pictures or of blocks: None where nothing was predicted. `prediction.result` is right (ADD-S
    below a tenth of the diameter), wrong, missed, or not evaluated. Raises DatasetError for an evaluation of another
    dataset."""
    stated = evaluation.content.get("dataset_manifest_sha256")
    if stated is not None and (not (root / MANIFEST).is_file() or sha256_of(root / MANIFEST) != stated):
        raise DatasetError(
            f"{evaluation.path}: was made on {evaluation.dataset}, whose manifest is not that of {root}; name that dataset, "
            "or evaluate again"
        )
    place = {(sample.picture.scene_id, sample.picture.image_id): k for k, sample in enumerate(samples)}
    if len(place) < len(samples):
        raise DatasetError(f"{root}: has several splits, and {evaluation.path} is of one; name it with split=")
    if "per_block" in evaluation.content:
        return {BLOCK: _of_blocks(evaluation, samples, place)}
    return {PICTURE: _of_pictures(evaluation, samples, place)}


def _of_blocks(
    evaluation: Evaluation, samples: Sequence[Sample], place: Mapping[tuple[int, int], int]
) -> dict[str, list[Value | None]]:
    first = np.cumsum([0, *(len(sample.picture.instances) for sample in samples)])
    columns: dict[str, list[Value | None]] = {key: [None] * int(first[-1]) for key, *_ in _ERRORS}
    columns[RESULT] = ["not evaluated"] * int(first[-1])
    for k, row in enumerate(records(evaluation.content["per_block"], f"{evaluation.path}: per_block")):
        where = f"{evaluation.path}: per_block {k}"
        sample = samples[_place(row, where, place)]
        start = int(first[_place(row, where, place)])
        # Rows are in the order of the labels, but labels that were not evaluated have none.
        found = next(
            (
                start + j
                for j, one in enumerate(sample.picture.instances)
                if columns[RESULT][start + j] == "not evaluated"
                and sample.models[one.obj_id].name == row.get("name")
                and abs(one.visible_fraction - number(row, "visible_fraction", where)) < 1e-6
            ),
            None,
        )
        if found is None:
            known = {model.name for model in sample.models.values()}
            if row.get("name") not in known:
                raise DatasetError(
                    f"{where}: the dataset has no block '{row.get('name')}', but {', '.join(sorted(known))}; if the "
                    "evaluation renamed its objects with data.names=, give names= with the same value"
                )
            raise DatasetError(f"{where}: {sample.name} has no such block; name the dataset that it was made on")
        for key, name, factor, _ in _ERRORS:
            columns[key][found] = None if row.get(name) is None else factor * number(row, name, where)
        adds, model = row.get("adds_m"), sample.models[sample.picture.instances[found - start].obj_id]
        columns[RESULT][found] = (
            "missed" if adds is None else "right" if float(adds) < RIGHT * model.diameter else "wrong"
        )
    return columns


def _of_pictures(
    evaluation: Evaluation, samples: Sequence[Sample], place: Mapping[tuple[int, int], int]
) -> dict[str, list[Value | None]]:
    errors: list[Value | None] = [None] * len(samples)
    for k, row in enumerate(records(evaluation.content["per_picture"], f"{evaluation.path}: per_picture")):
        where = f"{evaluation.path}: per_picture {k}"
        errors[_place(row, where, place)] = number(row, "xy_error_cm", where)
    return {XY: errors}


def _place(row: Mapping[str, Any], where: str, place: Mapping[tuple[int, int], int]) -> int:
    scene, image = (int(number(record(row, where), key, where)) for key in ("scene_id", "image_id"))
    if (scene, image) not in place:
        raise DatasetError(
            f"{where}: the dataset has no image {image} in scene {scene}; name the dataset that it was made on"
        )
    return place[scene, image]
