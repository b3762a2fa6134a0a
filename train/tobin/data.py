"""Batches of the position models from a BOP dataset: the pictures that show the target once, resized, and its positions."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from simgen.dataset.read import BopDataset
from simgen.dataset.scenes import Instance, Picture
from simgen.errors import ConfigError, DatasetError
from simgen.geometry import Array, inverse, project
from train.config import SourceConfig
from train.data.dataset import open_source
from train.data.images import Decoded, EpochOrder

PositionBatch = dict[str, Tensor]


@dataclass(frozen=True)
class Examples:
    """The N pictures of `dataset` that show the block `target` once: `positions` (N, 3) m of its center in the world frame,
    `keypoints` (N, 2) px of its center in the picture. `left_out` counts the other pictures by reason."""

    dataset: BopDataset
    target: str
    pictures: tuple[Picture, ...]
    positions: Array
    keypoints: Array
    left_out: Counter[str]

    def __len__(self) -> int:
        return len(self.pictures)

    def at(self, rows: NDArray[np.int64]) -> "Examples":
        """The examples with the numbers `rows`."""
        pictures = tuple(self.pictures[row] for row in rows)
        return replace(self, pictures=pictures, positions=self.positions[rows], keypoints=self.keypoints[rows])

    def __str__(self) -> str:
        left_out = "".join(f"; left out {count} where {reason}" for reason, count in sorted(self.left_out.items()))
        return f"{self.dataset.root}: {len(self)} pictures of {self.target}{left_out}"


def find_examples(config: SourceConfig, *, prefer: str | None = None) -> Examples:
    """The examples of the block `config.target`. `auto` means `prefer` if given, else the block with the most examples.

    If the dataset lacks `prefer`, the only block that its pictures show is taken instead. Raises ConfigError for a target
    that the dataset lacks or that is ambiguous, DatasetError if no picture is usable.
    """
    dataset = open_source(config)
    ids = {model.name: model.obj_id for model in dataset.models.values()}
    if not ids:
        raise DatasetError(f"{config.root}: models/models_info.json lists no model; expected at least one")
    if config.target != "auto":
        if config.target not in ids:
            raise ConfigError(f"data.target: got '{config.target}'; expected auto or one of {', '.join(sorted(ids))}")
        names = [config.target]
    elif prefer in ids:
        names = [prefer]
    else:
        shown = {instance.obj_id for picture in dataset.pictures for instance in picture.instances}
        names = sorted(name for name, obj_id in ids.items() if obj_id in shown) or sorted(ids)
        if prefer is not None and len(names) > 1:
            present = ", ".join(names)
            raise ConfigError(f"data.target: {config.root} has no '{prefer}'; expected one of {present}")
    choices = [_examples_of(dataset, name, ids[name], config.min_visible) for name in names]
    best = max(choices, key=len)  # the first of equals
    if not len(best):
        reasons = "; ".join(f"{count} where {reason}" for reason, count in sorted(best.left_out.items()))
        raise DatasetError(
            f"{config.root}: no usable picture: each must show the target once and have a camera pose ({reasons}); "
            "choose another data.target or data.min_visible, or render again"
        )
    return best


class ResizedPictures(Dataset[PositionBatch]):
    """The resized pictures of some `rows` of `examples` with their labels, fetched a batch at a time.

    A batch has images (B, 3, height, width) uint8, positions (B, 3) m, keypoints (B, 2) in the normalized coordinates of
    `train.tobin.model.soft_argmax`, and rows (B,), the pictures' indices in `examples`.
    """

    def __init__(
        self, examples: Examples, rows: NDArray[np.int64], *, height: int, width: int, cache_gb: float, workers: int
    ) -> None:
        self.examples, self.rows = examples, rows
        paths = [examples.pictures[row].path for row in rows]
        self.decoded = Decoded(paths, height=height, width=width, cache_gb=cache_gb, workers=workers)

    @property
    def cached(self) -> bool:
        return self.decoded.cached

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: int) -> PositionBatch:
        return self.__getitems__([item])

    def __getitems__(self, items: list[int]) -> PositionBatch:
        images, sizes = self.decoded[items]
        rows = self.rows[items]
        keypoints = torch.from_numpy(self.examples.keypoints[rows])
        return {
            "images": images,
            "positions": torch.from_numpy(self.examples.positions[rows]).float(),
            "keypoints": ((2 * keypoints + 1) / sizes - 1).float(),
            "rows": torch.from_numpy(rows),
        }


def loader_of(
    pictures: ResizedPictures, batch_size: int, *, order: EpochOrder | None = None, workers: int = 0
) -> DataLoader[PositionBatch]:
    """Batches of `pictures`: with `order`, in that order and without the last, incomplete batch; else all of them, in
    sequence."""
    workers = 0 if pictures.cached else workers
    return DataLoader(
        pictures,
        batch_size,
        sampler=order,
        drop_last=order is not None and len(pictures) >= batch_size,
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=_unchanged,
    )


def _unchanged(batch: Any) -> Any:
    return batch  # __getitems__ returns whole batches


def _examples_of(dataset: BopDataset, name: str, obj_id: int, min_visible: float) -> Examples:
    kept: list[tuple[Picture, Array, Array]] = []
    left_out: Counter[str] = Counter()
    for picture in dataset.pictures:
        seen = [instance for instance in picture.instances if instance.obj_id == obj_id]
        if picture.camera_from_world is None:
            left_out["the camera's pose is unknown"] += 1
        elif not seen:
            left_out[f"there is no {name}"] += 1
        elif len(seen) > 1:
            left_out[f"there is more than one {name}"] += 1
        elif not seen[0].target:
            left_out[f"data.targets does not list {name}"] += 1
        elif seen[0].visible_fraction <= 0:
            left_out[f"{name} is outside the picture or hidden"] += 1
        elif seen[0].visible_fraction < min_visible:
            left_out[f"less than {min_visible:g} of {name} is visible"] += 1
        else:
            kept.append((picture, _position(picture.camera_from_world, seen[0]), _keypoint(picture, seen[0])))
    return Examples(
        dataset,
        name,
        tuple(picture for picture, _, _ in kept),
        np.array([position for _, position, _ in kept]).reshape(-1, 3),
        np.array([keypoint for _, _, keypoint in kept]).reshape(-1, 2),
        left_out,
    )


def _position(camera_from_world: Array, instance: Instance) -> Array:
    return np.asarray((inverse(camera_from_world) @ instance.camera_from_block)[:3, 3])


def _keypoint(picture: Picture, instance: Instance) -> Array:
    center = instance.camera_from_block[None, :3, 3]
    return np.asarray(project(center, picture.intrinsics, picture.distortion)[0])
