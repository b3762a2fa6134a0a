"""data=bop with a data.root in shards: the batches of train.data.bop, read from tar files in a folder or at a URL.

A batch reads the byte ranges of its own samples alone, so its pictures may be anywhere in the dataset: the order is that of
the same dataset in BOP's folders, a function of (seed, epoch, position), for any number of machines and processes.
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simgen.dataset.scenes import SceneReader
from simgen.dataset.shardindex import index_bytes
from simgen.dataset.shards import Shards, StoredSample
from simgen.dataset.visibility import Lens
from train.data.bop import Batches, Shown, view_of
from train.data.bop_labels import Classes, Slot, slots_of
from train.data.images import padded
from train.pose.view import View, table_of

_TOGETHER = 64  # samples that are read at once to fill the cache
_KEPT = 100_000  # pictures whose blocks stay in memory


class ShardBatches(Batches):
    """The batches of a dataset in shards; `options` are those of Batches, and the rest is as in BopBatches. If all pictures
    need at most `cache_gb` of memory, they are read at once and stay in memory."""

    def __init__(
        self,
        shards: Shards,
        rows: NDArray[np.int64],
        classes: Classes,
        *,
        size: tuple[int, int],
        min_visible: float = 0.1,
        cache_gb: float = 0.0,
        workers: int = 0,
        **options: Any,
    ) -> None:
        dataset = shards.dataset
        super().__init__(rows, classes, size, table_of(dataset.table_center, dataset.table_size), **options)
        self.shards, self.min_visible = shards, min_visible
        self._slots: dict[int, list[Slot]] = {}
        self._cache: list[_Picture] = []
        if len(rows) * self.width * self.height * 3 <= cache_gb * 1e9:
            parts = [range(start, min(start + _TOGETHER, len(rows))) for start in range(0, len(rows), _TOGETHER)]
            with ThreadPoolExecutor(max(1, workers)) as pool:  # OpenCV releases the GIL while it decodes
                self._cache = [one for part in pool.map(self._read, parts) for one in part]

    @property
    def cached(self) -> bool:
        return bool(self._cache)

    def show(self, chosen: list[int]) -> Shown:
        pictures = [self._cache[number] for number in chosen] if self._cache else self._read(chosen)
        return Shown(
            torch.stack([one.image for one in pictures]),
            [one.size for one in pictures],
            [one.view for one in pictures],
            [one.slots for one in pictures],
        )

    def _read(self, chosen: Sequence[int]) -> list["_Picture"]:
        reader = self.shards.reader
        samples = self.shards.read([int(self.rows[number]) for number in chosen])
        return [self._picture(number, sample, reader) for number, sample in zip(chosen, samples, strict=True)]

    def _picture(self, number: int, sample: StoredSample, reader: SceneReader) -> "_Picture":
        rgb, labels = sample.rgb(), sample.picture(reader)
        height, width = rgb.shape[:2]
        slots = self._slots.get(number)
        if slots is None:
            slots = slots_of(
                self.shards.dataset,
                labels,
                self.classes,
                Lens(labels.intrinsics, labels.distortion, width, height),
                self.min_visible,
                recipe=lambda _: sample.recipe(),
                depth=lambda picture: sample.depth(picture.depth_scale),
            )
            if len(self._slots) < _KEPT:
                self._slots[number] = slots
        image = torch.from_numpy(np.ascontiguousarray(padded(rgb, self.width, self.height).transpose(2, 0, 1)))
        return _Picture(image, [width, height], view_of(labels), slots)


class _Picture(NamedTuple):
    """The parts of Shown of one picture."""

    image: Tensor
    size: list[int]
    view: View
    slots: list[Slot]


def index_hash(shards: Shards) -> str:
    """The SHA-256 of the content of a dataset's index, which has the hash of every shard."""
    return hashlib.sha256(index_bytes(shards.index)).hexdigest()
