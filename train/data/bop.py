"""data=bop for model=keypoints: batches of a dataset's pictures with targets from its labels.

Item i is a function of (dataset, configuration, seed, i) only, as in train.data.stream.
"""

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from simgen.dataset.read import BopDataset
from simgen.dataset.scenes import Picture, size_of
from simgen.dataset.visibility import Lens
from simgen.distortion import padded
from simgen.draws import Draws
from simgen.geometry import Array
from train.blocks.kinds import BlockSet
from train.data.batch import Batch, chances_of, tables_of
from train.data.bop_labels import Classes, Slot, slots_of
from train.data.images import Decoded, EpochOrder, fitted, jitter
from train.data.mirror import mirrored, reflections_of
from train.data.targets import STRIDE, Targets
from train.pose.view import View, pose_or_nan, table_of

LEAST_SIDE = 32  # px: the network halves it five times
_NOTHING = Slot(False, -1, 1.0, np.eye(4), np.full(4, np.nan), 0, 0.0)


@dataclass(frozen=True)
class Shown:
    """Pictures of a batch: `images` (B, 3, H, W) uint8, resized, and for each its original size [width, height] px, its
    camera and its blocks at that size."""

    images: Tensor
    sizes: list[list[int]]
    views: list[View]
    slots: list[list[Slot]]


class Batches(Dataset[Batch]):
    """Batches of `batch_size` of the pictures `rows` of a dataset, in a different order in each epoch, or with `shuffle` off
    in their own. A batch is a function of (dataset, seed, item); with `shuffle` every second epoch is mirrored. `size` is
    (width, height) px of all pictures of a batch, `table` View.table or None; `strength` is that of images.jitter.
    """

    def __init__(
        self,
        rows: NDArray[np.int64],
        classes: Classes,
        size: tuple[int, int],
        table: Array | None,
        *,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        strength: float = 0.0,
    ) -> None:
        self.rows, self.classes, self.batch_size = rows, classes, batch_size
        self.seed, self.shuffle, self.strength = seed, shuffle, strength
        self.width, self.height = size
        self._order: tuple[int, list[int]] = -1, []
        self._tables = tables_of(table, batch_size)
        self.reflections = reflections_of(classes.blocks, classes.solids.values())

    @property
    def cached(self) -> bool:
        """Whether all pictures are in memory."""
        raise NotImplementedError

    def show(self, chosen: list[int]) -> Shown:
        """The pictures `rows[chosen]`. Raises DatasetError."""
        raise NotImplementedError

    @property
    def blocks(self) -> BlockSet:
        return self.classes.blocks

    def __len__(self) -> int:
        """The number of items in an epoch. Pictures that do not fill a last batch are left out of it."""
        return len(self.rows) // self.batch_size

    def __getitem__(self, item: int) -> Batch:
        epoch, place = divmod(item, len(self))
        chosen = self._order_of(epoch)[place * self.batch_size : (place + 1) * self.batch_size]
        shown = self.show(chosen)
        images = shown.images
        if self.strength > 0:
            of = torch.from_numpy(self.rows[chosen])
            changed = jitter(images, of, strength=self.strength, seed=self.seed, epoch=epoch)
            images = changed.round().to(torch.uint8)
        ratios = [np.divide(fitted(w, h, self.width, self.height), (w, h)) for w, h in shown.sizes]
        views = [view if (k == 1).all() else view.resized(*k) for view, k in zip(shown.views, ratios, strict=True)]
        slots = [[_scaled(slot, ratio) for slot in row] for row, ratio in zip(shown.slots, ratios, strict=True)]
        targets = _targets(slots, views)
        cut, moves = chances_of(Draws(self.seed, self.rows[chosen]) / epoch, targets.model.shape[1])
        batch = Batch(images, targets, self._tables, cut, moves)
        return mirrored(batch, self.reflections) if self.shuffle and epoch % 2 else batch

    def _order_of(self, epoch: int) -> list[int]:
        if not self.shuffle:
            return list(range(len(self.rows)))
        if self._order[0] != epoch:
            order = EpochOrder(len(self.rows), self.seed)
            order.set_epoch(epoch)
            self._order = epoch, list(order)
        return self._order[1]


class BopBatches(Batches):
    """The batches of a dataset in a folder; `options` are those of Batches.

    A picture of another size than `size` is scaled to fit, with its aspect ratio kept, and padded at the right or at the
    bottom; its camera is scaled, too. A block with a visible fraction below `min_visible` is no target, and predictions in
    its box have no loss.
    """

    def __init__(
        self,
        dataset: BopDataset,
        rows: NDArray[np.int64],
        classes: Classes,
        *,
        size: tuple[int, int] | None = None,
        min_visible: float = 0.1,
        cache_gb: float = 0.0,
        workers: int = 0,
        **options: Any,
    ) -> None:
        size = common_size(dataset)[0] if size is None else size
        super().__init__(rows, classes, size, table_of(dataset.table_center, dataset.table_size), **options)
        self.dataset, self.min_visible = dataset, min_visible
        paths = [dataset.pictures[row].path for row in rows]
        self.decoded = Decoded(
            paths, height=self.height, width=self.width, cache_gb=cache_gb, workers=workers, padded=True
        )
        self._slots: dict[int, list[Slot]] = {}

    @property
    def cached(self) -> bool:
        return self.decoded.cached

    def show(self, chosen: list[int]) -> Shown:
        images, sizes = self.decoded[chosen]
        pictures = [self.dataset.pictures[self.rows[number]] for number in chosen]
        slots = [self._slots_of(number, *size) for number, size in zip(chosen, sizes.tolist(), strict=True)]
        return Shown(images, sizes.tolist(), [view_of(picture) for picture in pictures], slots)

    def _slots_of(self, number: int, width: int, height: int) -> list[Slot]:
        """The blocks of picture `number` of this source at the picture's original size; computed once."""
        if number not in self._slots:
            picture = self.dataset.pictures[self.rows[number]]
            lens = Lens(picture.intrinsics, picture.distortion, width, height)
            self._slots[number] = slots_of(self.dataset, picture, self.classes, lens, self.min_visible)
        return self._slots[number]


def view_of(picture: Picture) -> View:
    """The camera of `picture` at its original size."""
    return View(picture.intrinsics, picture.distortion, picture.camera_from_table)


def common_size(dataset: BopDataset) -> tuple[tuple[int, int], int]:
    """The size, width and height px, to which model=keypoints resizes the pictures of `dataset`, and how many have another.

    It is the most common size, the largest if several are, rounded up to multiples of STRIDE and at least LEAST_SIDE.
    """
    with ThreadPoolExecutor() as pool:
        return most_common(Counter(pool.map(lambda picture: size_of(picture.path), dataset.pictures)))


def most_common(sizes: Mapping[tuple[int, int], int]) -> tuple[tuple[int, int], int]:
    """`common_size` of pictures that `sizes` counts by width and height px."""
    size = max(sizes, key=lambda one: (sizes[one], one))
    width, height = (max(LEAST_SIDE, -(-side // STRIDE) * STRIDE) for side in size)
    return (width, height), sum(sizes.values()) - sizes[size]


def _scaled(slot: Slot, ratio: Array) -> Slot:
    """`slot` in the picture resized by the factors `ratio` (2,) of width and height."""
    if (ratio == 1).all():
        return slot
    return replace(slot, box=(slot.box + 0.5) * np.tile(ratio, 2) - 0.5, seen=round(slot.seen * float(ratio.prod())))


def _targets(slots: list[list[Slot]], views: list[View]) -> Targets:
    most = max(1, *(len(one) for one in slots))
    rows = [one + [_NOTHING] * (most - len(one)) for one in slots]

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
        intrinsics=row([view.intrinsics for view in views]),
        distortion=row([padded(view.distortion) for view in views]),
        camera_from_world=row([pose_or_nan(view.camera_from_table) for view in views]),
        box=table("box", torch.float32),
        seen=table("seen", torch.int64),
        share=table("share", torch.float32),
    )
