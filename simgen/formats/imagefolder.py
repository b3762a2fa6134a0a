"""format=imagefolder: pictures and metadata.jsonl of each split, for load_dataset("imagefolder") of Hugging Face.

https://huggingface.co/docs/datasets/image_dataset. `objects` is a JSON object of lists, with an entry for each object shown.
The types of all columns are inferred from the file, and must be the same in each split. So what a split may lack as a whole,
the lens and the camera's pose, is the text `camera`, itself a JSON object.
"""

import json
from pathlib import Path
from typing import Any

from simgen.command.progress import Progress
from simgen.dataset.read import BopDataset
from simgen.errors import DatasetError
from simgen.files import writing
from simgen.formats.folder import place_picture
from simgen.formats.labels import LabelReader, box_of_object, camera_entry, file_name, pose_entry
from simgen.formats.schema import ConvertConfig


def write_imagefolder(dataset: BopDataset, config: ConvertConfig) -> None:
    """Writes one split into a folder of its name. Raises DatasetError."""
    folder, reader = Path(config.out) / dataset.split, LabelReader(dataset, config.min_visible)
    folder.mkdir()
    path = folder / "metadata.jsonl"
    count = 0
    progress = Progress(f"{dataset.split}: converted", len(dataset), "pictures", ending=False)
    with writing(path), path.open("w", encoding="utf-8") as file, progress:
        for picture in dataset.pictures:
            placed, width, height = place_picture(picture.path, folder / file_name(picture), config.pictures)
            objects: dict[str, list[Any]] = {
                name: []
                for name in ("bbox", "category", "name", "visib_fract", "gt_id", "cam_R_m2c", "cam_t_m2c", "size_mm")
            }
            for one in reader.objects(picture):
                box = box_of_object(one, config.boxes, width, height)
                if box is None:
                    continue
                category = reader.category(one)
                row = {
                    "bbox": [float(value) for value in box],
                    "category": category.obj_id,
                    "name": category.name,
                    "visib_fract": one.visible_fraction,
                    "gt_id": one.number,
                    **pose_entry(one, category.model),
                }
                for name, values in objects.items():
                    values.append(row[name])
            count += len(objects["bbox"])
            entry = {
                "file_name": placed.name,
                "width": width,
                "height": height,
                "scene_id": picture.scene_id,
                "im_id": picture.image_id,
                "cam_K": picture.intrinsics.ravel().tolist(),
                "camera": json.dumps(camera_entry(picture), allow_nan=False),
                "objects": objects,
            }
            file.write(json.dumps(entry, allow_nan=False) + "\n")
            progress.update()
    reader.report()
    if not count:
        raise DatasetError(
            f"{dataset.root / dataset.split}: shows no object, so that Hugging Face's reader cannot infer the types of "
            "their columns; convert another split with split="
        )
