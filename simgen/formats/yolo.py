"""format=yolo and format=yolo_pose: the folders that Ultralytics' YOLO trains on.

images/SPLIT/NAME.jpg with labels/SPLIT/NAME.txt, a line for each object: class, center and size of its box, and for
yolo_pose x, y and visibility of each keypoint; and data.yaml. https://docs.ultralytics.com/datasets/detect and /pose.
Positions are in units of the picture's width and height from its top-left corner, so pixel (u, v) of BOP is at
((u + 0.5) / width, (v + 0.5) / height).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from simgen.command.progress import Progress
from simgen.dataset.read import BopDataset
from simgen.dataset.scenes import Instance, Picture
from simgen.errors import DatasetError, SimgenError
from simgen.files import read_json, write_file, write_json
from simgen.formats.folder import place_picture
from simgen.formats.labels import (
    Category,
    LabelReader,
    box_of_object,
    camera_entry,
    clipped,
    file_name,
)
from simgen.formats.mirror import common_flip
from simgen.formats.schema import ConvertConfig
from simgen.geometry import Array
from simgen.labels import OUTSIDE

_LEAST = 10  # px: Ultralytics skips smaller pictures
_KEYS = ("train", "val", "test")  # of data.yaml
POSES = "poses.json"


def write_yolo(dataset: BopDataset, config: ConvertConfig) -> None:
    """Writes one split for detection. Raises DatasetError."""
    _write(dataset, config, LabelReader(dataset, config.min_visible), {}, [], None)


def write_yolo_pose(dataset: BopDataset, config: ConvertConfig) -> None:
    """Writes one split for keypoint detection, and poses.json with what 6D poses follow from: keypoints and cameras. Raises
    DatasetError."""
    reader = LabelReader(dataset, config.min_visible)
    try:
        most = max(len(one.keypoints) for one in reader.categories)
    except SimgenError as error:
        raise DatasetError(
            f"{dataset.root}: format=yolo_pose needs keypoints, which models_info.json does not state, and which cannot be "
            f"computed: {error}; use format=yolo"
        ) from error
    flip, reason = common_flip(reader.categories)
    keys: dict[str, Any] = {"kpt_shape": [most, 3]}
    notes = []
    if flip is not None:
        keys["flip_idx"] = flip
    else:
        notes = [f"No flip_idx: {reason}.", "Train with fliplr=0: a mirrored picture would have wrong keypoints."]
    _write(dataset, config, reader, keys, notes, _keypoint_rows(reader, most))
    out = Path(config.out)
    if flip is None and not (out / POSES).exists():
        print(f"data.yaml has no flip_idx, so train with fliplr=0: {reason}")
    poses = read_json(out / POSES) if (out / POSES).exists() else _models(reader.categories)
    poses["pictures"].update(
        {f"images/{dataset.split}/{file_name(one)}": camera_entry(one) for one in dataset.pictures}
    )
    write_json(out / POSES, poses)


Row = Callable[[Picture, Instance, int, int], list[float]]


def _write(
    dataset: BopDataset,
    config: ConvertConfig,
    reader: LabelReader,
    keys: dict[str, Any],
    notes: Sequence[str],
    keypoints: Row | None,
) -> None:
    out, split = Path(config.out), dataset.split
    labels = out / "labels" / split
    labels.mkdir(parents=True)
    small = 0
    with Progress(f"{split}: converted", len(dataset), "pictures", ending=False) as progress:
        for picture in dataset.pictures:
            target = out / "images" / split / file_name(picture)
            _, width, height = place_picture(picture.path, target, config.pictures)
            small += min(width, height) < _LEAST
            lines = []
            for one in reader.objects(picture):
                box = box_of_object(one, config.boxes, width, height)
                box = None if box is None else clipped(box, width, height)
                if box is None:
                    continue
                u, v, across, down = box
                row = [(u + across / 2) / width, (v + down / 2) / height, across / width, down / height]
                row += [] if keypoints is None else keypoints(picture, one, width, height)
                lines.append(" ".join([str(reader.category(one).number), *(f"{value:.8g}" for value in row)]) + "\n")
            # A picture without objects has an empty file: YOLO learns background from it.
            write_file(labels / f"{file_name(picture)}.txt", "".join(lines).encode())
            progress.update()
    reader.report()
    if small:
        raise DatasetError(
            f"{dataset.root / split}: {small} pictures have a side below {_LEAST} px, which Ultralytics skips; leave them "
            "out"
        )
    _write_yaml(out / "data.yaml", split, reader.categories, keys, notes)


def _write_yaml(
    path: Path, split: str, categories: Sequence[Category], keys: dict[str, Any], notes: Sequence[str]
) -> None:
    """Adds `split` to data.yaml. Splits count as train, val or test by the beginning of their names, else as train."""
    content = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    name = next((one for one in ("val", "test") if split.lower().startswith(one)), "train")
    content[name] = [*content.get(name, []), f"images/{split}"]
    content["names"] = {one.number: one.name for one in categories}
    content.update(keys)
    ordered = {key: content[key] for key in (*_KEYS, "names", "kpt_shape", "flip_idx") if key in content}
    head = ["Ultralytics resolves folders from this file's place.", *notes]
    if missing := [key for key in ("train", "val") if key not in content]:
        head.append(
            f"Ultralytics requires a split {missing[0]}, which this dataset lacks: name its folder of images here."
        )
    text = "".join(f"# {' '.join(line.split())}\n" for line in head)
    write_file(path, (text + yaml.safe_dump(ordered, sort_keys=False, default_flow_style=None)).encode())


def _keypoint_rows(reader: LabelReader, most: int) -> Row:
    def row(picture: Picture, one: Instance, width: int, height: int) -> list[float]:
        """x, y and visibility of `most` keypoints; zeros for those outside of the picture and those that a class lacks."""
        found = reader.keypoints(picture, one, width, height)
        seen = found.visibility != OUTSIDE
        places = np.clip((found.pixels + 0.5) / (width, height), 0.0, 1.0)
        values: Array = np.zeros((most, 3))
        values[: len(seen)] = np.where(seen[:, None], np.column_stack([places, found.visibility]), 0.0)
        return [float(value) for value in values.ravel()]

    return row


def _models(categories: Sequence[Category]) -> dict[str, Any]:
    """The head of poses.json: for each class its keypoints in the model's own frame."""
    classes = {
        str(one.number): {"name": one.name, "obj_id": one.obj_id, "keypoints_mm": one.keypoints_mm.tolist()}
        for one in categories
    }
    return {"classes": classes, "pictures": {}}
