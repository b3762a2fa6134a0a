"""What the pictures of a dataset show, as other formats state it: categories, objects, boxes, masks and keypoints.

Poses, meshes and keypoints are handed over in the model's own frame, that of the files in models/: other programs know no
other. `simgen.dataset` has them in the block frame, whose origin is the middle of the model.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simgen.camera import bop_lens
from simgen.dataset.fields import entries, numbers, records
from simgen.dataset.models import Model, solid_of
from simgen.dataset.read import BopDataset
from simgen.dataset.scenes import Instance, Picture, stored_mask
from simgen.dataset.visibility import Lens, Placed, visible_masks
from simgen.dataset.write import bop_pose
from simgen.errors import DatasetError, SimgenError
from simgen.files import read_json
from simgen.geometry import Array, inverse, project, rigid, transform_points
from simgen.labels import OCCLUDED, OUTSIDE, VISIBLE
from simgen.shapes.solids import Solid

Mask = NDArray[np.bool_]
KEYPOINTS = "scene_keypoints.json"


@dataclass(frozen=True)
class Category:
    """A kind of object: its `obj_id`, its `number`, counted from 0 without gaps, and a name that no other has."""

    obj_id: int
    number: int
    name: str
    model: Model

    @cached_property
    def solid(self) -> Solid:
        """Its mesh, in the block frame. Raises SceneError and DatasetError."""
        return solid_of(self.model)

    @cached_property
    def keypoints(self) -> Array:
        """(K, 3) m in the block frame: those of models_info.json, or else corners of its mesh, as in training. Raises
        SceneError and DatasetError for a mesh that cannot be used."""
        return self.solid.keypoints if self.model.keypoints is None else self.model.keypoints

    @property
    def keypoints_mm(self) -> Array:
        """(K, 3) mm in the model's own frame."""
        return 1000 * (self.keypoints + self.model.center)


@dataclass(frozen=True)
class Keypoints:
    """Keypoints of an object in a picture: `pixels` (K, 2), NaN where unknown, and `visibility` (K,): 0 outside of the
    picture, 1 occluded, 2 visible."""

    pixels: Array
    visibility: NDArray[np.int64]


class LabelReader:
    """The labels of `dataset`, scene by scene. An object is left out if it shows no pixel, or if its visible fraction is
    below `min_visible`. `report` prints what was left out or computed."""

    def __init__(self, dataset: BopDataset, min_visible: float = 0.0) -> None:
        self.dataset, self.min_visible = dataset, min_visible
        self.categories = categories_of(dataset)
        self._by_object = {one.obj_id: one for one in self.categories}
        self._stored: tuple[Path, Any] | None = None
        self._counts: Counter[str] = Counter()

    def category(self, instance: Instance) -> Category:
        return self._by_object[instance.obj_id]

    def objects(self, picture: Picture) -> list[Instance]:
        """The objects of `picture` that are handed over, in the order of scene_gt.json."""
        kept = []
        for one in picture.instances:
            if one.visible_fraction <= 0 or one.box_visible[2] <= 0:
                self._counts["objects that show no pixel: left out"] += 1
            elif one.visible_fraction < self.min_visible:
                self._counts[f"objects with a visible fraction below {self.min_visible:g}: left out"] += 1
            else:
                kept.append(one)
        return kept

    def masks(self, picture: Picture, objects: Sequence[Instance], width: int, height: int) -> list[Mask]:
        """The visible part (H, W) of each of `objects`: mask_visib/, or, where that is missing, the visible part of the
        projected mesh, which other objects with labels occlude. Raises DatasetError."""
        stored = [stored_mask(picture, one.number) for one in objects]
        for one, mask in zip(objects, stored, strict=True):
            if mask is not None and mask.shape != (height, width):
                raise DatasetError(
                    f"{picture.path.parent.parent / 'mask_visib'}: the mask of image {picture.image_id}, block {one.number} "
                    f"has {mask.shape[1]} x {mask.shape[0]} px; expected the image's {width} x {height}"
                )
        missing = [one.number for one, mask in zip(objects, stored, strict=True) if mask is None]
        if not missing:
            return [mask for mask in stored if mask is not None]
        self._counts["objects without a file in mask_visib: their masks are computed from the meshes"] += len(missing)
        lens = Lens(picture.intrinsics, picture.distortion, width, height)
        placed = [self.placed(one) for one in picture.instances]
        whole = [lens.mask(lens.outline(block)) for block in placed]
        visible = dict(zip((one.number for one in picture.instances), visible_masks(placed, whole, lens), strict=True))
        return [visible[one.number] if mask is None else mask for one, mask in zip(objects, stored, strict=True)]

    def placed(self, instance: Instance) -> Placed:
        """`instance` with its solid. Raises SceneError and DatasetError."""
        category = self.category(instance)
        return Placed(category.solid, float(scale_of(instance, category.model).mean()), instance.camera_from_block)

    def keypoints(self, picture: Picture, instance: Instance, width: int, height: int) -> Keypoints:
        """The keypoints of `instance` in a picture of `width` x `height` px: those of scene_keypoints.json, or else computed
        from its pose: visible where they touch its visible part and are not on the far side of a convex object. Raises
        DatasetError."""
        stored = self._stored_keypoints(picture, instance)
        if stored is not None:
            return stored
        self._counts[f"objects without an entry in {KEYPOINTS}: their keypoints are computed from their poses"] += 1
        category, (mask,) = self.category(instance), self.masks(picture, [instance], width, height)
        scale, pose = scale_of(instance, category.model), instance.camera_from_block
        pixels = project(transform_points(pose, category.keypoints * scale), picture.intrinsics, picture.distortion)
        with np.errstate(invalid="ignore"):
            inside = np.all((pixels >= -0.5) & (pixels < np.array([width, height]) - 0.5), axis=1)
        visibility = np.where(inside, OCCLUDED, OUTSIDE)
        for k in np.flatnonzero(inside & _faces(category, inverse(pose)[:3, 3] / scale)):
            u, v = np.rint(pixels[k]).astype(int)
            # Corners lie on the outline, where the pixel itself may show the background: its neighbors count, too.
            if mask[max(v - 1, 0) : v + 2, max(u - 1, 0) : u + 2].any():
                visibility[k] = VISIBLE
        return Keypoints(pixels, visibility)

    def report(self) -> None:
        """Prints on stderr how many objects were left out or have computed labels."""
        for what, count in sorted(self._counts.items()):
            print(f"{self.dataset.root / self.dataset.split}: {count} {what}", file=sys.stderr)

    def _stored_keypoints(self, picture: Picture, instance: Instance) -> Keypoints | None:
        path = picture.path.parent.parent / KEYPOINTS
        if self._stored is None or self._stored[0] != path:
            self._stored = path, entries(read_json(path), path, "image") if path.is_file() else {}
        content = self._stored[1].get(picture.image_id)
        if content is None:
            return None
        where = f"{path}: image {picture.image_id}, block {instance.number}"
        blocks = records(content, f"{path}: image {picture.image_id}")
        if instance.number >= len(blocks):
            raise DatasetError(f"{where}: missing; expected an entry for each block of scene_gt.json")
        block, count = blocks[instance.number], len(self.category(instance).keypoints)
        pixels = block.get("keypoints_px")
        if not isinstance(pixels, list) or len(pixels) != count:
            raise DatasetError(f"{where}: keypoints_px: expected {count} points, as many as models_info.json has")
        known = [[0.0, 0.0] if one is None else one for one in pixels]
        values = numbers({"keypoints_px": known}, "keypoints_px", (count, 2), where)
        values[[one is None for one in pixels]] = np.nan
        visibility = numbers(block, "visibility", (count,), where).astype(np.int64)
        if not np.isin(visibility, (OUTSIDE, OCCLUDED, VISIBLE)).all():
            raise DatasetError(f"{where}: visibility: got {visibility.tolist()}; expected 0, 1 or 2")
        if np.isnan(values[visibility != OUTSIDE]).any():
            raise DatasetError(f"{where}: keypoints_px: null for a keypoint whose visibility is not 0")
        return Keypoints(values, visibility)


def categories_of(dataset: BopDataset) -> tuple[Category, ...]:
    """The kinds of objects in `dataset` by obj_id. Where several objects have one name, the obj_id is appended to it."""
    counts = Counter(model.name for model in dataset.models.values())
    taken = {name for name, count in counts.items() if count == 1}
    found = []
    for number, (obj_id, model) in enumerate(sorted(dataset.models.items())):
        name = model.name
        if counts[name] > 1:
            name = f"{name}_{obj_id}"
            while name in taken:
                name += "_"
            taken.add(name)
        found.append(Category(obj_id, number, name, model))
    return tuple(found)


def file_name(picture: Picture) -> str:
    """A name for the files of `picture` that no other picture of its split has, without a suffix."""
    return f"{picture.scene_id:06d}_{picture.image_id:06d}"


def camera_entry(picture: Picture) -> dict[str, Any]:
    """The camera of `picture` as in BOP's scene_camera.json, with simgen's keys of a lens that distorts."""
    entry: dict[str, Any] = {"cam_K": picture.intrinsics.ravel().tolist()}
    if picture.distortion.any():
        entry.update(bop_lens(picture.distortion))
    if picture.camera_from_world is not None:
        entry.update(bop_pose(picture.camera_from_world, "cam_R_w2c", "cam_t_w2c"))
    return entry


def pose_entry(instance: Instance, model: Model) -> dict[str, Any]:
    """The pose of `instance` as in BOP's scene_gt.json, and simgen's size_mm."""
    pose = bop_pose(camera_from_model(instance, model), "cam_R_m2c", "cam_t_m2c")
    return {**pose, "size_mm": (1000 * instance.size).tolist()}


def scale_of(instance: Instance, model: Model) -> Array:
    """(3,) the size of `instance` in units of its model's."""
    return np.asarray(instance.size / model.size)


def camera_from_model(instance: Instance, model: Model) -> Array:
    """(4, 4) m: the pose of the model's own frame, as in BOP."""
    return np.asarray(instance.camera_from_block @ rigid(np.eye(3), -scale_of(instance, model) * model.center))


def box_of_object(instance: Instance, boxes: str, width: int, height: int) -> tuple[float, float, float, float] | None:
    """[u, v, width, height] px of `instance`, by the key `boxes`; the visible one cut at the picture's border, None if
    nothing of it is left."""
    if boxes == "whole":
        u, v, across, down = instance.box_amodal
        return (u, v, across, down) if across > 0 and down > 0 else None
    return clipped(instance.box_visible, width, height)


def clipped(box: Sequence[float], width: int, height: int) -> tuple[float, float, float, float] | None:
    """The part of `box` [u, v, width, height] within a picture of `width` x `height` px; None if there is none."""
    u, v, across, down = box
    left, top, right, bottom = max(u, 0), max(v, 0), min(u + across, width), min(v + down, height)
    return (left, top, right - left, bottom - top) if right > left and bottom > top else None


def _faces(category: Category, eye: Array) -> NDArray[np.bool_]:
    """(K,) which keypoints lie on a face toward `eye` (3,), in units of the model; all if the object is not convex or has no
    usable mesh."""
    keypoints = category.keypoints
    try:
        solid = category.solid
    except SimgenError:
        return np.ones(len(keypoints), np.bool_)
    if not solid.convex:
        return np.ones(len(keypoints), np.bool_)
    normals, offsets = solid.planes[:, :3], solid.planes[:, 3]
    on_face = np.abs(keypoints @ normals.T - offsets) < 1e-3 * solid.diameter
    return np.asarray((on_face & (normals @ eye > offsets)).any(axis=1))
