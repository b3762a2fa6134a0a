"""data=bop for model=keypoints: batches of a rendered dataset's pictures, with the targets that its labels give.

Item i of the batches is a function of (dataset, configuration, seed, i) and nothing else, as in train.data.stream.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from simgen.dataset.read import BopDataset, read_recipe, read_rgb
from simgen.dataset.scenes import Instance, Picture
from simgen.draws import Draws
from simgen.errors import ConfigError, DatasetError
from simgen.geometry import Array, inverse, project, transform_points
from simgen.scene import Cameras, Scenes, from_json
from simgen.shapes import load_solid
from train.blocks.kinds import BlockSet, Kind
from train.data.batch import Batch, jitter_of, tables_of
from train.data.images import Decoded, EpochOrder, jitter
from train.data.targets import Targets, cells_on_table
from train.pose.view import pose_or_nan, table_of


class BopBatches(Dataset[Batch]):
    """Batches of `batch_size` of the pictures `rows` of `dataset`, in an order that is another in each epoch; with
    `shuffle` off, as they come. `strength` is that of train.data.images.jitter.

    A block that less than `min_visible` is seen of is not asked for, nor is a distractor, whose place a recipe tells but
    not how much of it is seen: what the network says in their boxes counts for nothing.
    """

    def __init__(
        self,
        dataset: BopDataset,
        rows: NDArray[np.int64],
        classes: "Classes",
        *,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        strength: float = 0.0,
        min_visible: float = 0.1,
        cache_gb: float = 0.0,
        workers: int = 0,
    ) -> None:
        self.dataset, self.rows, self.classes, self.blocks = dataset, rows, classes, classes.blocks
        self.batch_size, self.seed, self.shuffle, self.strength = batch_size, seed, shuffle, strength
        self.min_visible = min_visible
        self.width, self.height = picture_size(dataset)
        paths = [dataset.pictures[row].path for row in rows]
        self.decoded = Decoded(paths, height=self.height, width=self.width, cache_gb=cache_gb, workers=workers)
        self._order: tuple[int, list[int]] = -1, []
        self._tables = tables_of(table_of(dataset.table_center, dataset.table_size), batch_size)

    def __len__(self) -> int:
        """Items of an epoch: what does not fill the last one waits for another order."""
        return len(self.rows) // self.batch_size

    def __getitem__(self, item: int) -> Batch:
        epoch, place = divmod(item, len(self))
        chosen = self._order_of(epoch)[place * self.batch_size : (place + 1) * self.batch_size]
        images, sizes = self.decoded[chosen]
        pictures = [self.dataset.pictures[self.rows[number]] for number in chosen]
        for picture, size in zip(pictures, sizes.tolist(), strict=True):
            if size != [self.width, self.height]:
                raise DatasetError(
                    f"{picture.path}: is {size[0]}x{size[1]} px; expected {self.width}x{self.height} like the first, for "
                    "model=keypoints learns from pictures as they are"
                )
        if self.strength > 0:
            of = torch.from_numpy(self.rows[chosen])
            changed = jitter(images, of, strength=self.strength, seed=self.seed, epoch=epoch)
            images = changed.round().to(torch.uint8)
        targets = self._targets(pictures)
        cameras = Cameras(
            intrinsics=np.stack([picture.intrinsics for picture in pictures]),
            distortion=np.stack([picture.distortion for picture in pictures]),
            world_from_camera=np.stack([inverse(pose_or_nan(picture.camera_from_world)) for picture in pictures]),
            width=self.width,
            height=self.height,
        )
        draws = Draws(self.seed, self.rows[chosen]) / epoch
        return Batch(
            images,
            targets,
            cells_on_table(cameras, images.device),
            self._tables,
            jitter_of(draws, targets.model.shape[1]),
        )

    def _order_of(self, epoch: int) -> list[int]:
        if not self.shuffle:
            return list(range(len(self.rows)))
        if self._order[0] != epoch:
            order = EpochOrder(len(self.rows), self.seed)
            order.set_epoch(epoch)
            self._order = epoch, list(order)
        return self._order[1]

    def _targets(self, pictures: list[Picture]) -> Targets:
        slots = [[*self._labelled(picture), *self._distractors(picture)] for picture in pictures]
        room = max(1, *(len(one) for one in slots))
        rows = [one + [_NOTHING] * (room - len(one)) for one in slots]

        def table(name: str, dtype: torch.dtype) -> Tensor:
            return torch.tensor(np.array([[getattr(slot, name) for slot in row] for row in rows])).to(dtype)

        def row(values: list[Array]) -> Tensor:
            return torch.tensor(np.stack(values)).float()

        return Targets(
            present=torch.tensor([[slot is not _NOTHING for slot in row] for row in rows]),
            labelled=table("labelled", torch.bool),
            model=table("model", torch.int64),
            scale=table("scale", torch.float32),
            camera_from_block=table("camera_from_block", torch.float32),
            intrinsics=row([picture.intrinsics for picture in pictures]),
            distortion=row([picture.distortion for picture in pictures]),
            camera_from_world=row([pose_or_nan(picture.camera_from_world) for picture in pictures]),
            box=table("box", torch.float32),
            seen=table("seen", torch.int64),
            share=table("share", torch.float32),
        )

    def _labelled(self, picture: Picture) -> list["_Slot"]:
        return [
            _Slot(
                labelled=True,
                model=self.classes.of_object[one.obj_id],
                scale=self._scale(picture, one),
                camera_from_block=one.camera_from_block,
                box=_borders(one.box_visible),
                seen=one.visible_pixels,
                share=one.visible_fraction if one.visible_fraction >= self.min_visible else 0.0,
            )
            for one in picture.instances
        ]

    def _scale(self, picture: Picture, one: Instance) -> float:
        ratio = one.size / self.dataset.models[one.obj_id].size
        if np.ptp(ratio) > 1e-3 * ratio.mean():
            raise DatasetError(
                f"{picture.path}: a block measures {one.size.tolist()} m, which is not its model "
                f"{self.dataset.models[one.obj_id].size.tolist()} m times a number"
            )
        return float(ratio.mean())

    def _distractors(self, picture: Picture) -> list["_Slot"]:
        recipe = read_recipe(picture)
        if recipe is None:
            return []
        scene: Scenes = from_json(dict(recipe))
        blocks, found = scene.blocks, []
        for slot in np.flatnonzero(blocks.present[0] & ~blocks.labelled[0]):
            obj_id, scale = int(blocks.model[0, slot]) + 1, float(blocks.scale[0, slot])  # BOP counts from 1
            pose = inverse(scene.cameras.world_from_camera[0]) @ blocks.world_from_block[0, slot]
            corners = transform_points(pose, scale * self.classes.corners[obj_id])
            box = self._outline(project(corners, picture.intrinsics, picture.distortion))
            if box is not None:
                found.append(_Slot(False, self.classes.of_object[obj_id], scale, pose, box, seen=1, share=0.0))
        return found

    def _outline(self, pixels: Array) -> Array | None:
        """Borders (4,) px of what lies in the picture of a block with its corners at `pixels`; all of the picture for one
        that reaches behind the camera, None for one that is outside."""
        last = np.array([self.width, self.height]) - 0.5
        if not np.isfinite(pixels).all():
            return np.array([-0.5, -0.5, *last])
        low, high = np.clip(pixels.min(0), -0.5, last), np.clip(pixels.max(0), -0.5, last)
        return np.concatenate([low, high]) if np.all(low < high) else None


@dataclass(frozen=True)
class Classes:
    """The kinds that a model is to tell apart, the class of each of a dataset's objects by its obj_id, -1 for what is not
    to be found, and the objects' corners (V, 3) m."""

    blocks: BlockSet
    of_object: Mapping[int, int]
    corners: Mapping[int, Array]


def classes_of(dataset: BopDataset, target: str) -> Classes:
    """The classes of the models in `dataset`: all for the `target` auto, or the one of that name.

    A kind's keypoints are those that the dataset names, or else corners of its mesh. Raises ConfigError for a target that
    is not there, SceneError and DatasetError for a mesh that cannot be used.
    """
    kinds = {model.obj_id: _kind_of(dataset, model.obj_id) for model in dataset.models.values()}
    chosen = [number for number, kind in kinds.items() if target in ("auto", kind.name)]
    if not chosen:
        names = ", ".join(sorted(kind.name for kind in kinds.values())) or "none"
        raise ConfigError(f"data.target: got '{target}'; expected auto or one of {names}")
    blocks = BlockSet([kinds[number] for number in chosen])
    return Classes(
        blocks,
        {number: chosen.index(number) if number in chosen else -1 for number in kinds},
        {number: kind.corners for number, kind in kinds.items()},
    )


def picture_size(dataset: BopDataset) -> tuple[int, int]:
    """Width and height px of the pictures in `dataset`, as its first has them. Raises DatasetError where model=keypoints
    cannot learn from that size."""
    height, width = read_rgb(dataset.pictures[0].path).shape[:2]
    if width % 4 or height % 4 or min(width, height) < 32:
        raise DatasetError(
            f"{dataset.root}: pictures of {width}x{height} px; model=keypoints wants multiples of 4, at least 32: render "
            "again with width= and height="
        )
    return width, height


def _kind_of(dataset: BopDataset, obj_id: int) -> Kind:
    model = dataset.models[obj_id]
    path = dataset.root / "models" / f"obj_{obj_id:06d}.ply"
    solid = load_solid(model.name, path, 0.001, model.axis)
    if not np.allclose(solid.size, model.size, rtol=1e-3):
        raise DatasetError(
            f"{path}: the mesh measures {solid.size.tolist()} m; expected the {model.size.tolist()} m of models_info.json"
        )
    kind = replace(Kind.of(solid), diameter=model.diameter, symmetries=model.symmetries, axis=model.axis)
    if model.keypoints is None:
        return kind
    return replace(kind, keypoints=np.concatenate([np.zeros((1, 3)), model.keypoints]))


@dataclass(frozen=True)
class _Slot:
    """A block in a picture, as Targets has it."""

    labelled: bool
    model: int
    scale: float
    camera_from_block: Array
    box: Array
    seen: int
    share: float


_NOTHING = _Slot(False, -1, 1.0, np.eye(4), np.full(4, np.nan), 0, 0.0)


def _borders(box: tuple[int, int, int, int]) -> Array:
    """BOP's [u, v, width, height] as [left, top, right, bottom]; NaN where nothing is seen."""
    u, v, width, height = box
    if width <= 0:
        return np.full(4, np.nan)
    return np.array([u, v, u + width, v + height]) - 0.5
