"""Reads BOP datasets: simgen's own, imported photographs, and any other that follows the format.

BOP's millimetres end here: everything handed out is in metres, radians and the frames of geometry.py.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simgen.camera import lens_of_bop
from simgen.errors import DatasetError, PictureError
from simgen.files import read_json, sha256_of
from simgen.geometry import Array, rigid
from simgen.pictures import read_picture

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Model:
    """A block as models/models_info.json describes it: obj_id, name, `size` (3,) m, `diameter` m and its rotational
    symmetries in the block frame: `symmetries` (S, 4, 4) m with the identity first, `axis` (3,) the direction of a
    continuous symmetry through the origin, or None. `keypoints` (K, 3) m, None where the dataset names none."""

    obj_id: int
    name: str
    size: Array
    diameter: float
    symmetries: Array
    axis: Array | None
    keypoints: Array | None


@dataclass(frozen=True)
class Instance:
    """One labelled block in one image: its pose (4, 4) m, `size` (3,) m, boxes [u, v, width, height] px (all -1 where
    nothing is seen), the number of its visible pixels, and the share of its silhouette that is visible (BOP: the
    silhouette beyond the border counts)."""

    obj_id: int
    camera_from_block: Array
    size: Array
    box_amodal: tuple[int, int, int, int]
    box_visible: tuple[int, int, int, int]
    visible_pixels: int
    visible_fraction: float


@dataclass(frozen=True)
class Picture:
    """One image and its labels; the arrays are small, the pixels stay on disk until `read_rgb`."""

    scene_id: int
    image_id: int
    path: Path
    intrinsics: Array  # (3, 3) px
    distortion: Array  # (5,) or (9,): a lens of distortion.py
    camera_from_world: Array | None  # (4, 4) m; None where the dataset does not say
    instances: tuple[Instance, ...]


@dataclass(frozen=True)
class BopDataset:
    """An opened dataset. `table_center` (2,) and `table_size` (2,) are metres in the world frame, None if not stated;
    `manifest` is manifest.json (empty for a foreign dataset)."""

    root: Path
    split: str
    models: Mapping[int, Model]
    pictures: tuple[Picture, ...]
    table_center: Array | None
    table_size: Array | None
    manifest: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.pictures)


def open_dataset(root: Path | str, split: str | None = None) -> BopDataset:
    """The BOP dataset in folder `root`; `split` may be left out where there is only one.

    Raises DatasetError that names the file for anything missing, truncated, changed since the manifest was written, or
    not of the format.
    """
    root = Path(root)
    if not root.is_dir():
        raise DatasetError(
            f"{root}: no such folder; expected a BOP dataset, e.g. one that `python -m simgen render` made"
        )
    manifest = _read_manifest(root)
    splits = sorted({path.parent.parent.name for path in root.glob("*/*/scene_camera.json")})
    if split is None and len(splits) == 1:
        split = splits[0]
    if split is None or split not in splits:
        raise DatasetError(f"{root}: split {split!r} is not there; found {splits or 'none'}; name one with data.split=")
    models = {model.obj_id: model for model in _read_models(root / "models" / "models_info.json")}
    pictures = tuple(
        picture
        for folder in sorted((root / split).iterdir())
        if (folder / "scene_camera.json").exists()
        for picture in _read_scene(folder, models)
    )
    if not pictures:
        raise DatasetError(f"{root / split}: holds no image")
    table = manifest.get("table", {})
    return BopDataset(
        root,
        split,
        models,
        pictures,
        np.array(table["center"], dtype=np.float64) if "center" in table else None,
        np.array(table["size"], dtype=np.float64) if "size" in table else None,
        manifest,
    )


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """The picture in `path` as `simgen.pictures.read_picture` gives it, (H, W, 3) uint8 RGB. Raises DatasetError where it is
    missing or cannot be decoded whole."""
    try:
        return read_picture(path)
    except PictureError as error:
        raise DatasetError(f"{error}; it is a picture of a dataset: restore the dataset") from error


def read_recipe(picture: Picture) -> Mapping[str, Any] | None:
    """Every number of the scene that `picture` shows, as simgen.scene.Scenes of one sample; None where the dataset does
    not say, as of photographs. Raises DatasetError for a file that cannot be read."""
    path = picture.path.parent.parent / "sample" / f"{picture.image_id:06d}.json"
    return read_json(path)["recipe"] if path.exists() else None


def verify(root: Path, manifest: Mapping[str, Any]) -> None:
    """Checks every file that `manifest` lists against its SHA-256; raises DatasetError for the first that differs."""
    for name, expected in manifest.get("files", {}).items():
        path = root / name
        if not path.is_file():
            raise DatasetError(
                f"{path}: missing, though {MANIFEST} lists it; render again into a new folder or restore it"
            )
        if sha256_of(path) != expected:
            raise DatasetError(f"{path}: truncated or changed since {MANIFEST} was written; restore it or render again")


def _read_manifest(root: Path) -> Mapping[str, Any]:
    if not (root / MANIFEST).exists():
        return {}  # a foreign BOP dataset has none
    manifest = read_json(root / MANIFEST)
    if manifest.get("status") != "complete":
        raise DatasetError(f"{root}: unfinished; run the command that began it again, it will go on where it stopped")
    verify(root, manifest)
    return dict(manifest)


def _read_models(path: Path) -> Iterator[Model]:
    for key, info in read_json(path).items():
        try:
            discrete = [np.eye(4), *(np.reshape(s, (4, 4)) for s in info.get("symmetries_discrete", []))]
            symmetries = np.array(discrete, dtype=np.float64)
            symmetries[:, :3, 3] /= 1000
            continuous = info.get("symmetries_continuous", [])
            keypoints = np.array(info["keypoints"], dtype=np.float64) / 1000 if "keypoints" in info else None
            yield Model(
                obj_id=int(key),
                name=str(info.get("name", f"obj_{int(key):06d}")),
                size=np.array([info["size_x"], info["size_y"], info["size_z"]], dtype=np.float64) / 1000,
                diameter=float(info["diameter"]) / 1000,
                symmetries=symmetries,
                axis=np.array(continuous[0]["axis"], dtype=np.float64) if continuous else None,
                keypoints=keypoints,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"{path}: model {key} is not as BOP defines it ({error!r})") from error


def _read_scene(folder: Path, models: Mapping[int, Model]) -> Iterator[Picture]:
    cameras = read_json(folder / "scene_camera.json")
    truths = read_json(folder / "scene_gt.json")
    infos = read_json(folder / "scene_gt_info.json")
    for key in sorted(cameras, key=int):
        try:
            camera, truth, info = cameras[key], truths[key], infos[key]
            world = None
            if "cam_R_w2c" in camera:
                world = _millimetre_pose(camera["cam_R_w2c"], camera["cam_t_w2c"])
            picture = Picture(
                scene_id=int(folder.name),
                image_id=int(key),
                path=_image_path(folder, int(key)),
                intrinsics=np.array(camera["cam_K"], dtype=np.float64).reshape(3, 3),
                distortion=lens_of_bop(camera),
                camera_from_world=world,
                instances=tuple(_instance(t, i, models) for t, i in zip(truth, info, strict=True)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"{folder}: image {key} is not labelled as BOP defines it ({error!r})") from error
        yield picture


def _instance(truth: Mapping[str, Any], info: Mapping[str, Any], models: Mapping[int, Model]) -> Instance:
    obj_id = int(truth["obj_id"])
    size = np.array(truth["size_mm"], dtype=np.float64) / 1000 if "size_mm" in truth else models[obj_id].size
    return Instance(
        obj_id=obj_id,
        camera_from_block=_millimetre_pose(truth["cam_R_m2c"], truth["cam_t_m2c"]),
        size=size,
        box_amodal=_box(info["bbox_obj"]),
        box_visible=_box(info["bbox_visib"]),
        visible_pixels=int(info["px_count_visib"]),
        visible_fraction=float(info["visib_fract"]),
    )


def _box(values: list[int]) -> tuple[int, int, int, int]:
    u, v, width, height = (int(value) for value in values)
    return u, v, width, height


def _millimetre_pose(rotation: list[float], translation: list[float]) -> Array:
    return rigid(np.array(rotation, dtype=np.float64).reshape(3, 3), np.array(translation, dtype=np.float64) / 1000)


def _image_path(folder: Path, image_id: int) -> Path:
    for suffix in ("jpg", "png"):
        path = folder / "rgb" / f"{image_id:06d}.{suffix}"
        if path.exists():
            return path
    raise DatasetError(f"{folder / 'rgb' / f'{image_id:06d}.jpg'}: missing (nor is there a .png)")
