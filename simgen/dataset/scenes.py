"""Reads the JSON files of a scene folder as labeled pictures, in meters and in the block frame.

Only this module converts BOP's poses, which refer to the model's own origin, to poses of the block frame.
"""

import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen.camera import lens_of_bop
from simgen.camera.checks import check_intrinsics
from simgen.dataset.fields import entries, number, numbers, pose, record, records
from simgen.dataset.hashes import unchanged
from simgen.dataset.layout import CAMERAS, INFOS, TRUTHS, images_of, missing_image
from simgen.dataset.models import Model, solid_of
from simgen.dataset.visibility import Lens, Placed, visible_masks
from simgen.errors import ConfigError, DatasetError, PictureError
from simgen.geometry import Array
from simgen.pictures import picture_size
from simgen.shapes.solids import Solid
from simgen.silhouette import Box, box_of

# Diameters: a smaller median distance of the blocks means that translations are in meters instead of millimeters.
_NEAREST = 0.1
_SHORTEST = 4.0  # px: no focal length and no principal point of an image is less
_FOLDERS = 16  # of which the names of masks are kept
_OFTEN = 500  # images between two lines of progress

Targets = Mapping[tuple[int, int], Mapping[int, int]]  # by scene and image: how many instances of each object


@dataclass(frozen=True)
class Instance:
    """One labeled block in one image: its pose (4, 4) m, `size` (3,) m, boxes [u, v, width, height] px (all -1 if nothing
    is visible), the number of its visible pixels, and the visible share of its silhouette (as in BOP, of the whole
    silhouette, also beyond the border). `target` is False if a targets file leaves it out of the evaluation. `number` is
    its place in the image's list in scene_gt.json, which is also in the names of its masks."""

    obj_id: int
    camera_from_block: Array
    size: Array
    box_amodal: Box
    box_visible: Box
    visible_pixels: int
    visible_fraction: float
    target: bool = True
    number: int = 0


@dataclass(frozen=True)
class Picture:
    """One image and its labels. Pixels are not loaded; see `read_rgb`."""

    scene_id: int
    image_id: int
    path: Path
    intrinsics: Array  # (3, 3) px
    distortion: Array  # (5,) or (9,): a lens of distortion.py
    camera_from_world: Array | None  # (4, 4) m; None if the dataset does not state it
    camera_from_table: Array | None  # (4, 4) m, the table's top is z = 0; None if the dataset states no table
    depth_scale: float  # mm for each unit of its depth image
    instances: tuple[Instance, ...]


class SceneReader:
    """Reads the scenes of a dataset with the objects `models`. `wanted` are the targets to keep, None keeps all. `table`
    states whether the world's plane z = 0 is the table's top. `left_out` counts, by reason, the images and blocks that are
    left out."""

    def __init__(self, models: Mapping[int, Model], wanted: Targets | None, table: bool) -> None:
        self.models, self.wanted, self.table = models, wanted, table
        self.left_out: Counter[str] = Counter()
        self._solids: dict[int, Solid] = {}
        self._computed = 0

    def read(self, scene: int, folder: Path, cameras: Any, truths: Any, infos: Any) -> list[Picture]:
        """The labeled pictures of the scene with the number `scene`, from the contents of its three JSON files; where
        `infos` has no entry, boxes and visible fractions are computed. Raises DatasetError that names file and image."""
        cameras = entries(cameras, folder / CAMERAS, "image")
        truths = entries(truths, folder / TRUTHS, "image")
        infos = entries(infos, folder / INFOS, "image")
        for image in truths:
            if image not in cameras:
                raise DatasetError(f"{folder / CAMERAS}: no entry for image {image}, which {TRUTHS} has labels of")
        images = images_of(folder)
        self._check_unit(folder, truths)
        pictures = []
        for image, camera in cameras.items():
            if self.wanted is not None and (scene, image) not in self.wanted:
                continue
            if image not in truths:
                self.left_out[f"images without an entry in {TRUTHS}"] += 1
                continue
            if image not in images:
                raise missing_image(folder, image)
            camera = record(camera, f"{folder / CAMERAS}: image {image}")
            blocks = records(truths[image], f"{folder / TRUTHS}: image {image}")
            places = tuple(f"{folder / name}: image {image}" for name in (CAMERAS, TRUTHS, INFOS))
            pictures.append(self.labeled(scene, image, images[image], camera, blocks, infos.get(image), places))
        return pictures

    def labeled(
        self,
        scene: int,
        image: int,
        path: Path,
        camera: Mapping[str, Any],
        blocks: Sequence[Mapping[str, Any]],
        infos: Any,
        places: Sequence[str],
    ) -> Picture:
        """One labeled picture, from its entries in the three JSON files; `places` names these entries in messages. Raises
        DatasetError."""
        picture = self._picture(scene, image, path, camera, places[0])
        return replace(picture, instances=self._instances(picture, blocks, infos, *places[1:]))

    def _picture(self, scene: int, image: int, path: Path, camera: Mapping[str, Any], where: str) -> Picture:
        world = None
        if "cam_R_w2c" in camera or "cam_t_w2c" in camera:
            world = pose(camera, "cam_R_w2c", "cam_t_w2c", where)
        return Picture(
            scene_id=scene,
            image_id=image,
            path=path,
            intrinsics=_intrinsics(camera, where),
            distortion=_lens(camera, where),
            camera_from_world=world,
            camera_from_table=world if self.table else None,
            depth_scale=number({"depth_scale": 1.0, **camera}, "depth_scale", where),
            instances=(),
        )

    def _instances(
        self, picture: Picture, blocks: Sequence[Mapping[str, Any]], infos: Any, where: str, infos_where: str
    ) -> tuple[Instance, ...]:
        placed = {}  # by the block's index in the image's list, which is also in the names of masks
        for k, block in enumerate(blocks):
            obj_id = int(number(block, "obj_id", f"{where}, block {k}"))
            if obj_id not in self.models:
                self.left_out[f"blocks of object {obj_id}, which is not in models_info.json"] += 1
                continue
            placed[k] = replace(self._instance(obj_id, block, f"{where}, block {k}"), number=k)
        if infos is None:
            found = self._computed_infos(picture, placed)
        else:
            found = _stated_infos(placed, infos, len(blocks), infos_where)
        return self._targeted(picture, found)

    def _instance(self, obj_id: int, block: Mapping[str, Any], where: str) -> Instance:
        model, size = self.models[obj_id], self.models[obj_id].size
        if "size_mm" in block:
            size = numbers(block, "size_mm", (3,), where) / 1000
        camera_from_model = pose(block, "cam_R_m2c", "cam_t_m2c", where)
        camera_from_block = model.block_pose(camera_from_model, size / model.size)
        return Instance(obj_id, camera_from_block, size, (-1,) * 4, (-1,) * 4, 0, 0.0)

    def _computed_infos(self, picture: Picture, placed: Mapping[int, Instance]) -> list[Instance]:
        """The instances with boxes and visible fractions from the meshes' silhouettes, or from mask_visib/ if it exists."""
        if not self._computed:
            print(
                f"{picture.path.parent.parent}: no {INFOS}, or no entry of image {picture.image_id}: boxes and visible "
                "fractions are computed from the meshes at every start; bop_toolkit's calc_gt_info.py stores them",
                file=sys.stderr,
            )
        self._computed += 1
        if self._computed % _OFTEN == 0:
            print(f"computed the visible parts in {self._computed} images", file=sys.stderr)
        if not placed:
            return []
        lens = Lens(picture.intrinsics, picture.distortion, *size_of(picture.path))
        blocks = [
            Placed(
                self._solid(one.obj_id), float((one.size / self.models[one.obj_id].size).mean()), one.camera_from_block
            )
            for one in placed.values()
        ]
        outlines = [lens.outline(block) for block in blocks]
        visible = visible_masks(blocks, [lens.mask(outline) for outline in outlines], lens)
        found = []
        for (k, one), outline, mask in zip(placed.items(), outlines, visible, strict=True):
            stored = stored_mask(picture, k)
            if stored is not None and stored.shape != mask.shape:
                raise DatasetError(
                    f"{picture.path.parent.parent / 'mask_visib'}: the mask of image {picture.image_id}, block {k} has "
                    f"{stored.shape[1]} x {stored.shape[0]} px; expected the image's {lens.width} x {lens.height}"
                )
            seen, whole = mask if stored is None else stored, outline.count()
            pixels = int(np.count_nonzero(seen))
            found.append(
                replace(
                    one,
                    box_amodal=outline.box(),
                    box_visible=box_of(seen),
                    visible_pixels=pixels,
                    visible_fraction=min(1.0, pixels / whole) if whole else 0.0,
                )
            )
        return found

    def _solid(self, obj_id: int) -> Solid:
        if obj_id not in self._solids:
            self._solids[obj_id] = solid_of(self.models[obj_id])
        return self._solids[obj_id]

    def _targeted(self, picture: Picture, found: list[Instance]) -> tuple[Instance, ...]:
        """`found` with `target` set: for each object the number in the targets file, the most visible instances first."""
        if self.wanted is None:
            return tuple(found)
        asked = self.wanted[picture.scene_id, picture.image_id]
        if not asked:
            return tuple(found)
        best: set[int] = set()
        for obj_id, count in asked.items():
            of_object = [k for k, one in enumerate(found) if one.obj_id == obj_id]
            if not of_object:
                self.left_out[f"targets without a block in {TRUTHS}"] += 1
            best.update(sorted(of_object, key=lambda k: -found[k].visible_fraction)[:count])
        return tuple(replace(one, target=k in best) for k, one in enumerate(found))

    def _check_unit(self, folder: Path, truths: Mapping[int, Any]) -> None:
        """Raises DatasetError if the translations cannot be in millimeters, or not in OpenCV's camera axes."""
        far, ahead = [], []
        for blocks in truths.values():
            for block in blocks if isinstance(blocks, list) else ():
                try:
                    shift = np.array(block["cam_t_m2c"], dtype=np.float64).reshape(3)
                    model = self.models[int(block["obj_id"])]
                except (KeyError, TypeError, ValueError):  # reported when the block is read
                    continue
                far.append(float(np.linalg.norm(shift)) / (1000 * model.diameter))
                ahead.append(float(shift[2]))
        if far and np.median(far) < _NEAREST:
            raise DatasetError(
                f"{folder / TRUTHS}: cam_t_m2c: the blocks are {np.median(far):.2g} of their diameter away from the camera; "
                "BOP states millimeters, these look to be in meters: multiply them by 1000"
            )
        if far and np.median(ahead) < 0:
            raise DatasetError(
                f"{folder / TRUTHS}: cam_t_m2c: most blocks are behind the camera; BOP's camera looks along +Z with Y down "
                "(OpenCV), these look to be OpenGL's, with Z backward: negate rows 2 and 3 of each cam_R_m2c "
                "and numbers 2 and 3 of each cam_t_m2c"
            )


def size_of(path: Path) -> tuple[int, int]:
    """Width and height in px of the image file `path`. Raises DatasetError."""
    try:
        return picture_size(path)
    except PictureError as error:
        raise DatasetError(f"{error}; it is a picture of a dataset: restore the dataset") from error


def _intrinsics(camera: Mapping[str, Any], where: str) -> Array:
    """(3, 3) px. Raises DatasetError for what cannot be an intrinsic matrix in px."""
    matrix = numbers(camera, "cam_K", (3, 3), where)
    try:
        check_intrinsics(matrix, "cam_K")
    except ConfigError as error:
        raise DatasetError(f"{where}: {error}") from error
    if matrix[:2].max() < _SHORTEST:
        raise DatasetError(
            f"{where}: cam_K: got {matrix.ravel().tolist()}; expected px, this looks to be in units of the image's size: "
            "multiply the first row by its width and the second by its height"
        )
    return matrix


def _lens(camera: Mapping[str, Any], where: str) -> Array:
    try:
        return lens_of_bop(camera)
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{where}: {error}") from error


def _stated_infos(placed: Mapping[int, Instance], infos: Any, count: int, where: str) -> list[Instance]:
    details = records(infos, where)
    if len(details) != count:
        raise DatasetError(f"{where}: has {len(details)} blocks, and {count} in {TRUTHS}; expected as many")
    return [
        replace(
            one,
            box_amodal=_box(details[k], "bbox_obj", f"{where}, block {k}"),
            box_visible=_box(details[k], "bbox_visib", f"{where}, block {k}"),
            visible_pixels=int(number(details[k], "px_count_visib", f"{where}, block {k}")),
            visible_fraction=number(details[k], "visib_fract", f"{where}, block {k}"),
        )
        for k, one in placed.items()
    ]


def _box(info: Mapping[str, Any], key: str, where: str) -> Box:
    u, v, width, height = (int(value) for value in numbers(info, key, (4,), where))
    return u, v, width, height


def mask_path(picture: Picture, number: int, folder: str = "mask_visib") -> Path:
    """The file of the mask of block `number` of `picture`, with any number of digits, which need not exist."""
    place = picture.path.parent.parent / folder
    usual = place / f"{picture.path.stem}_{number:06d}.png"
    if usual.is_file() or not place.is_dir():
        return usual
    return _masks_in(place, place.stat().st_mtime_ns).get((picture.image_id, number), usual)


@lru_cache(_FOLDERS)
def _masks_in(folder: Path, modified: int) -> Mapping[tuple[int, int], Path]:
    """The mask files in a folder by the numbers of picture and block; the time when it was `modified` tells a new state."""
    found = {}
    for path in folder.iterdir():
        match = re.fullmatch(r"(\d+)_(\d+)\.png", path.name)
        if match:
            found[int(match[1]), int(match[2])] = path
    return found


def stored_mask(picture: Picture, number: int) -> NDArray[np.bool_] | None:
    """The mask (H, W) of the visible part of block `number`; None if the dataset stores none."""
    path = mask_path(picture, number)
    if not path.is_file():
        return None
    mask = cv2.imread(str(unchanged(path)), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise DatasetError(f"{path}: truncated or not an image; restore it")
    return mask > 0
