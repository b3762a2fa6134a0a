"""Reads BOP datasets: simgen's own, imported photographs, and any other that follows the format.

BOP's conventions end here: all results are in meters, radians and the frames of geometry.py. Poses are those of the block
frame, whose origin is the middle of the bounding box and not the model's own origin (see dataset/models.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen.dataset import layout
from simgen.dataset.fields import number, records
from simgen.dataset.hashes import check_there, manifest_of, unchanged
from simgen.dataset.models import Model, models_of
from simgen.dataset.scenes import Picture, SceneReader, Targets
from simgen.errors import DatasetError, PictureError
from simgen.files import read_json
from simgen.geometry import Array
from simgen.pictures import read_picture


@dataclass(frozen=True)
class BopDataset:
    """An opened dataset. `pictures` are its labeled images; `left_out` counts, by reason, the images and blocks that were
    left out. `table_center` (2,) and `table_size` (2,) are in meters in the world frame, None if not stated; `manifest` is
    manifest.json (empty if another tool wrote the dataset)."""

    root: Path
    split: str
    models: Mapping[int, Model]
    pictures: tuple[Picture, ...]
    table_center: Array | None
    table_size: Array | None
    manifest: Mapping[str, Any]
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def skipped(self) -> str:
        """The counts of `left_out` as a text for messages; "" if nothing was left out."""
        return "; ".join(f"skipped {count} {what}" for what, count in sorted(self.left_out.items()))


def open_dataset(
    root: Path | str,
    split: str | None = None,
    *,
    names: Mapping[int, str] | None = None,
    targets: str | None = None,
    table: bool | None = None,
) -> BopDataset:
    """The BOP dataset in the folder `root`; `split` may be omitted if there is only one.

    `names` replaces the names of objects, by obj_id. `targets` is a targets file of BOP (test_targets_bop19.json), in `root`
    or a path: images and objects that it does not list are left out. `table` states whether the world's plane z = 0 is the
    table's top; with None it is if manifest.json describes a table.

    No picture is read. The files of simgen's own datasets must all be there; each is compared with the hash in the manifest
    when it is read, by this function or by `read_rgb`, `read_depth` and `read_recipe`.

    Raises DatasetError that names the file for data that is missing, truncated, changed since the manifest was written, or
    not in BOP's format.
    """
    if "://" in str(root):
        raise DatasetError(
            f"{root} is a URL; datasets are read from folders: copy it, e.g. with `aws s3 sync` or fsspec's `get`, or train "
            "from shards"
        )
    root = Path(root)
    if not root.is_dir():
        raise DatasetError(
            f"{root}: no such folder; expected a BOP dataset, e.g. one that `python -m simgen render` made"
        )
    manifest = _read_manifest(root)
    wanted = None if targets is None else _read_targets(root, targets)
    split = layout.choose_split(root, split, test=wanted is not None)
    models_info = layout.models_folder(root) / layout.MODELS_INFO
    models = models_of(read_json(unchanged(models_info)), models_info, names)
    stated = manifest.get("table") or {}
    reader = SceneReader(models, wanted, bool(stated) if table is None else table)
    pictures: list[Picture] = []
    for scene, folder in layout.scenes_of(root / split).items():
        infos, truths = (_optional(folder / name) for name in (layout.INFOS, layout.TRUTHS))
        pictures += reader.read(scene, folder, read_json(unchanged(folder / layout.CAMERAS)), truths, infos)
    if not pictures and wanted is not None and not reader.left_out:
        raise DatasetError(
            f"{root / split}: {targets} lists none of its images; expected the targets file of this split"
        )
    if not pictures:
        reasons = "; ".join(f"{count} {what}" for what, count in sorted(reader.left_out.items()))
        raise DatasetError(f"{root / split}: no labeled image{f' ({reasons})' if reasons else ''}")
    if table and all(picture.camera_from_table is None for picture in pictures):
        raise DatasetError(
            f"{root / split}: data.table=true, but no image states cam_R_w2c and cam_t_w2c in {layout.CAMERAS}; leave it out"
        )
    if table is False:
        stated = {}
    return BopDataset(
        root,
        split,
        models,
        tuple(pictures),
        np.array(stated["center"], dtype=np.float64) if "center" in stated else None,
        np.array(stated["size"], dtype=np.float64) if "size" in stated else None,
        manifest,
        reader.left_out,
    )


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """The picture in `path` as `simgen.pictures.read_picture` gives it, (H, W, 3) uint8 RGB. Raises DatasetError where it is
    missing, cannot be decoded whole, or was changed since the manifest of its dataset was written."""
    try:
        return read_picture(unchanged(path))
    except PictureError as error:
        raise DatasetError(f"{error}; it is a picture of a dataset: restore the dataset") from error


def read_recipe(picture: Picture) -> Mapping[str, Any] | None:
    """All values of the scene in `picture`, as simgen.scene.Scenes of one sample; None if the dataset does not store them,
    as for photographs. Raises DatasetError for a file that cannot be read, or holds none."""
    path = picture.path.parent.parent / "sample" / f"{picture.image_id:06d}.json"
    if not path.exists():
        return None
    content = read_json(unchanged(path))
    recipe = content.get("recipe") if isinstance(content, dict) else None
    if not isinstance(recipe, dict):
        raise DatasetError(
            f"{path}: holds no recipe of simgen's: it is of another version or program; render again, or move the folder "
            "sample/ away"
        )
    return recipe


def depth_path(picture: Picture) -> Path:
    """The file of the depth image of `picture`: a PNG, which need not exist, or else a TIFF."""
    path = picture.path.parent.parent / "depth" / f"{picture.path.stem}.png"
    return next(
        (other for other in (path, path.with_suffix(".tif"), path.with_suffix(".tiff")) if other.is_file()), path
    )


def read_depth(picture: Picture) -> NDArray[np.float32] | None:
    """The depth image (H, W) m of `picture`, 0 where depth is missing; None if the dataset stores none. Raises DatasetError
    for a file that cannot be decoded."""
    path = depth_path(picture)
    if not path.is_file():
        return None
    depth = cv2.imread(str(unchanged(path)), cv2.IMREAD_UNCHANGED)
    if depth is None or depth.ndim != 2:
        raise DatasetError(f"{path}: truncated, or not an image of one channel; restore it")
    return np.asarray(depth, dtype=np.float32) * np.float32(picture.depth_scale / 1000)


def _read_manifest(root: Path) -> Mapping[str, Any]:
    manifest = manifest_of(root)
    if manifest and manifest["status"] != "complete":
        raise DatasetError(f"{root}: unfinished; run the command that began it again, which resumes it")
    check_there(root)
    return dict(manifest)


def _read_targets(root: Path, name: str) -> Targets:
    """For each (scene, image) in the targets file, the number of instances of each object to be detected; where there are
    none, all instances of all objects."""
    path = root / name if (root / name).is_file() else Path(name)
    if not path.is_file():
        raise DatasetError(
            f"data.targets: neither {root / name} nor {path} exists; BOP's datasets have test_targets_bop19.json"
        )
    found: dict[tuple[int, int], dict[int, int]] = {}
    for k, one in enumerate(records(read_json(path), str(path))):
        where = f"{path}, entry {k}"
        scene, image = (int(number(one, key, where)) for key in ("scene_id", "im_id"))
        asked = found.setdefault((scene, image), {})
        if "obj_id" in one:  # BOP's targets of detection, since 2024, name images alone: every object in them is one
            asked[int(number(one, "obj_id", where))] = int(number({"inst_count": 1, **one}, "inst_count", where))
    return found


def _optional(path: Path) -> Any:
    """The content of a JSON file of entries by image; empty if the file is missing."""
    return read_json(unchanged(path)) if path.is_file() else {}
