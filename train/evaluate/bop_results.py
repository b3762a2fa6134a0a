"""Detections in the files of the BOP challenge, which bop_toolkit evaluates.

https://bop.felk.cvut.cz/challenges: a CSV file of 6D poses, and a JSON file of 2D detections as of COCO.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from simgen.dataset.read import BopDataset
from simgen.dataset.scenes import Picture
from simgen.files import write_file
from simgen.geometry import Array, project, rigid, transform_points
from train.detect.types import Detection
from train.pose.view import View

Found = tuple[Picture, View, Detection]
_UNKNOWN = -1  # seconds: no result depends on a clock, so the time of a picture is not stated


def write_bop_results(out: Path, dataset: BopDataset, found: Sequence[Found]) -> list[str]:
    """Writes simgen_DATASET-SPLIT.csv and simgen_DATASET-SPLIT_coco.json into `out`; their names. bop_toolkit takes dataset
    and split from the name, so the dataset's has letters and digits alone.

    A detection of a kind that the dataset lacks is in neither. Where several objects have the kind's name, it is of the
    first. Boxes are around the whole object, beyond the picture's border, too.
    """
    objects = {model.name: obj_id for obj_id, model in sorted(dataset.models.items(), reverse=True)}
    rows, boxes = ["scene_id,im_id,obj_id,score,R,t,time"], []
    for picture, view, one in found:
        obj_id = objects.get(one.kind.name)
        if obj_id is None:
            continue
        pose, score = pose_of_model(one, dataset.models[obj_id].center), float(one.confidence)
        numbers = [
            " ".join(repr(float(value)) for value in part.ravel()) for part in (pose[:3, :3], 1000 * pose[:3, 3])
        ]
        rows.append(f"{picture.scene_id},{picture.image_id},{obj_id},{score!r},{numbers[0]},{numbers[1]},{_UNKNOWN}")
        box = _box(one, view)
        if box is not None:
            place = {"scene_id": picture.scene_id, "image_id": picture.image_id, "category_id": obj_id}
            boxes.append({**place, "score": score, "bbox": box, "time": _UNKNOWN})
    name = re.sub(r"[^0-9A-Za-z]", "", dataset.root.resolve().name) or "dataset"
    names = [f"simgen_{name}-{dataset.split}.csv", f"simgen_{name}-{dataset.split}_coco.json"]
    write_file(out / names[0], ("\n".join(rows) + "\n").encode())
    lines = ",\n".join(json.dumps(box, allow_nan=False) for box in boxes)
    write_file(out / names[1], f"[\n{lines}\n]\n".encode())
    return names


def pose_of_model(detection: Detection, center: Array) -> Array:
    """(4, 4) m: the pose of `detection` for a model whose own origin is not the block's; `center` (3,) m is the block's
    origin in the model's frame."""
    return np.asarray(detection.pose.camera_from_block @ rigid(np.eye(3), -center))


def _box(detection: Detection, view: View) -> list[float] | None:
    """[x, y, width, height] px of the whole object in the pose of `detection`; None if some of it is behind the camera."""
    points = transform_points(detection.pose.camera_from_block, detection.kind.corners)
    pixels = project(points, view.intrinsics, view.distortion)
    if not np.isfinite(pixels).all():
        return None
    # As BOP's bbox_obj: around the pixels whose centers are inside.
    low, high = np.ceil(pixels.min(axis=0)), np.floor(pixels.max(axis=0))
    return [float(value) for value in (*low, *np.maximum(high - low + 1, 1))]
