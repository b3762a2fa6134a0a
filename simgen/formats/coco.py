"""format=coco: annotations/instances_SPLIT.json and the pictures in SPLIT/.

https://cocodataset.org/#format-data. COCO has no poses: they are stored under BOP's keys beside its own, where its readers
ignore them. Pixel (0, 0) is the center of the top-left pixel, as in BOP.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from simgen.command.progress import Progress
from simgen.dataset.read import BopDataset
from simgen.dataset.scenes import Instance, Picture
from simgen.errors import ConfigError
from simgen.files import writing
from simgen.formats.folder import place_picture
from simgen.formats.labels import (
    Category,
    LabelReader,
    box_of_object,
    camera_entry,
    file_name,
    pose_entry,
)
from simgen.formats.schema import ConvertConfig
from simgen.labels import OUTSIDE


def write_coco(dataset: BopDataset, config: ConvertConfig) -> None:
    """Writes one split. category_id is BOP's obj_id. Raises ConfigError without pycocotools, and DatasetError."""
    try:
        from pycocotools import mask as rle
    except ImportError as error:
        raise ConfigError(
            "format: coco needs pycocotools, which is not installed; install it: pip install 'simgen[formats]'"
        ) from error
    out, reader = Path(config.out), LabelReader(dataset, config.min_visible)
    path = out / "annotations" / f"instances_{dataset.split}.json"
    path.parent.mkdir(exist_ok=True)
    images: list[str] = []
    count = 0
    progress = Progress(f"{dataset.split}: converted", len(dataset), "pictures", ending=False)
    # Annotations are written as they come: a million of them need no memory.
    with writing(path), path.open("w", encoding="utf-8") as file, progress:
        head = {"info": _info(dataset), "licenses": [], "categories": [_category(one) for one in reader.categories]}
        file.write(_json(head)[:-1] + ', "annotations": [')
        for number, picture in enumerate(dataset.pictures, start=1):
            target = out / dataset.split / file_name(picture)
            placed, width, height = place_picture(picture.path, target, config.pictures)
            entry = {
                "id": number,
                "file_name": placed.name,
                "width": width,
                "height": height,
                "scene_id": picture.scene_id,
                "im_id": picture.image_id,
                **camera_entry(picture),
            }
            images.append(_json(entry))
            objects = reader.objects(picture)
            for one, mask in zip(objects, reader.masks(picture, objects, width, height), strict=True):
                box = box_of_object(one, config.boxes, width, height)
                if box is None:
                    continue
                count += 1
                encoded = rle.encode(np.asfortranarray(mask.view(np.uint8)))
                annotation = {
                    "id": count,  # from 1: pycocotools takes 0 for "no match"
                    "image_id": number,
                    "category_id": one.obj_id,
                    "iscrowd": 0,
                    "bbox": [float(value) for value in box],
                    "area": int(np.count_nonzero(mask)),
                    "segmentation": {"size": [height, width], "counts": encoded["counts"].decode("ascii")},
                    **_keypoints(reader, picture, one, width, height),
                    "gt_id": one.number,
                    "visib_fract": one.visible_fraction,
                    **pose_entry(one, reader.category(one).model),
                }
                file.write(("\n" if count == 1 else ",\n") + _json(annotation))
            progress.update()
        file.write('],\n"images": [' + ",\n".join(images) + "]}\n")
    reader.report()


def _info(dataset: BopDataset) -> dict[str, Any]:
    return {
        "description": f"{dataset.root.resolve().name}, split {dataset.split}, converted from BOP's format by simgen"
    }


def _category(category: Category) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": category.obj_id, "name": category.name, "supercategory": "object"}
    if category.model.keypoints is not None:
        entry["keypoints"] = [f"keypoint_{k}" for k in range(len(category.keypoints))]
        entry["skeleton"] = []
        entry["keypoints_mm"] = category.keypoints_mm.tolist()
    return entry


def _keypoints(reader: LabelReader, picture: Picture, one: Instance, width: int, height: int) -> dict[str, Any]:
    """COCO's keypoints: x, y and visibility, which has BOP's numbers; those outside of the picture are 0, 0, 0."""
    if reader.category(one).model.keypoints is None:
        return {}
    found = reader.keypoints(picture, one, width, height)
    seen = found.visibility != OUTSIDE
    rows = np.concatenate([np.where(seen[:, None], found.pixels, 0.0), found.visibility[:, None]], axis=1)
    return {"keypoints": rows.ravel().tolist(), "num_keypoints": int(seen.sum())}


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False)
