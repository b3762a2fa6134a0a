"""From a BOP dataset to batches: pictures that show the target once, resized, with the target's position.

The order of the pictures is a function of (seed, epoch) and nothing else, which is what makes resuming exact.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from simgen.dataset.read import BopDataset, Instance, Picture, open_dataset, read_rgb
from simgen.draws import Draws
from simgen.errors import ConfigError, DatasetError
from simgen.geometry import Array, inverse, project
from train.config import SourceConfig

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Examples:
    """The pictures of `dataset` that show block `target` once: `positions` (N, 3) m are its centre in the world frame,
    `keypoints` (N, 2) px its centre in the picture. `left_out` counts the other pictures by the reason."""

    dataset: BopDataset
    target: str
    pictures: tuple[Picture, ...]
    positions: Array
    keypoints: Array
    left_out: Counter[str]

    def __len__(self) -> int:
        return len(self.pictures)

    def __str__(self) -> str:
        left_out = "".join(f"; left out {count} where {reason}" for reason, count in sorted(self.left_out.items()))
        return f"{self.dataset.root}: {len(self)} pictures of {self.target}{left_out}"


def find_examples(config: SourceConfig, *, prefer: str | None = None) -> Examples:
    """The examples of the block `config.target`; `auto` is `prefer`, or else the block with the most examples.

    Where `prefer` is not in the dataset, the only block that its pictures show takes its place. Raises ConfigError for
    a target that the dataset does not have, DatasetError where no picture can be used.
    """
    dataset = open_dataset(config.root, config.split)
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
            found = ", ".join(names)
            raise ConfigError(f"data.target: {config.root} has no '{prefer}'; expected the name of one of {found}")
    choices = [_examples_of(dataset, name, ids[name], config.min_visible) for name in names]
    best = max(choices, key=len)  # the first of equals
    if not len(best):
        reasons = "; ".join(f"{count} where {reason}" for reason, count in sorted(best.left_out.items()))
        raise DatasetError(
            f"{config.root}: no usable picture: each must show the target once with its camera known ({reasons}); "
            "choose another data.target or data.min_visible, or render again"
        )
    return best


def check_simulated(dataset: BopDataset) -> None:
    """Raises ConfigError for what is kept for evaluation: photographs, and a dataset's split for tests. What is learnt
    from, and what chooses an epoch, is simulated."""
    if "source" in dataset.manifest:
        raise ConfigError(
            f"data.root: {dataset.root} holds photographs ({dataset.manifest['source']}), which are for "
            "`python -m train evaluate` alone; expected a rendered dataset"
        )
    if dataset.split.startswith("test"):
        raise ConfigError(
            f"data.split: got '{dataset.split}', which by its name is for `python -m train evaluate` alone; expected another"
        )


def split(count: int, share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of training and of validation: `share` of `count` rows for validation, at least 1 each, f(seed) only."""
    if count < 2:
        raise DatasetError(f"only {count} usable picture; expected at least 2, one to train on and one to validate")
    validation = min(max(1, round(share * count)), count - 1)
    order = _order(Draws(seed, np.arange(count)) / "train" / "split")
    return np.sort(order[validation:]), np.sort(order[:validation])


class Decoded:
    """The pictures in `paths`, each as (3, height, width) uint8, and their sizes [width, height] px in the files.

    They stay in memory if all of them need at most `cache_gb`; then `workers` threads decode them at once.
    """

    def __init__(self, paths: Sequence[Path], *, height: int, width: int, cache_gb: float, workers: int) -> None:
        self.paths, self.height, self.width = tuple(paths), height, width
        self.cached = len(paths) * height * width * 3 <= cache_gb * 1e9
        self._cache: tuple[Tensor, Tensor] | None = None
        if self.cached:
            with ThreadPoolExecutor(max(1, workers)) as pool:  # OpenCV lets go of the lock while it decodes
                self._cache = _stacked(pool.map(self._load, self.paths))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, items: list[int]) -> tuple[Tensor, Tensor]:
        """Those with the numbers `items`: (B, 3, height, width) uint8 and (B, 2)."""
        if self._cache is not None:
            return self._cache[0][items], self._cache[1][items]
        return _stacked(self._load(self.paths[item]) for item in items)

    def _load(self, path: Path) -> tuple[Tensor, Tensor]:
        image = read_rgb(path)
        size = torch.tensor([image.shape[1], image.shape[0]])
        image = resized(image, self.width, self.height)
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))), size


def _stacked(loaded: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    images, sizes = zip(*loaded, strict=True)
    return torch.stack(images), torch.stack(sizes)


class Pictures(Dataset[Batch]):
    """The resized pictures of some rows of `examples` and their labels, fetched a batch at a time.

    A batch has images (B, 3, height, width) uint8, positions (B, 3) m, keypoints (B, 2) normalised and rows (B,), the
    rows in `examples`.
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

    def __getitem__(self, item: int) -> Batch:
        return self.__getitems__([item])

    def __getitems__(self, items: list[int]) -> Batch:
        images, sizes = self.decoded[items]
        rows = self.rows[items]
        keypoints = torch.from_numpy(self.examples.keypoints[rows])
        return {
            "images": images,
            "positions": torch.from_numpy(self.examples.positions[rows]).float(),
            "keypoints": ((2 * keypoints + 1) / sizes - 1).float(),
            "rows": torch.from_numpy(rows),
        }


def resized(picture: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """`picture` (H, W, 3) as (height, width, 3)."""
    if picture.shape[:2] == (height, width):
        return picture
    # Area averages every pixel that it drops, so a small block does not flicker; it is for shrinking only.
    shrinks = picture.shape[0] >= height and picture.shape[1] >= width
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (width, height), interpolation=how), dtype=np.uint8)


class EpochOrder(Sampler[int]):
    """A new order of `count` items in each epoch, a function of (seed, epoch); Lightning calls `set_epoch`."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed, self.epoch = count, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        return iter(_order(Draws(self.seed, np.arange(self.count)) / "train" / "order" / self.epoch).tolist())


def batches(
    pictures: Pictures, batch_size: int, *, order: EpochOrder | None = None, workers: int = 0
) -> DataLoader[Batch]:
    """Batches of `pictures`, in `order` without the last incomplete batch, or each once as they come."""
    workers = 0 if pictures.cached else workers
    return DataLoader(
        pictures,
        batch_size,
        sampler=order,
        drop_last=order is not None and len(pictures) >= batch_size,
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=_whole,
    )


def jitter(images: Tensor, rows: Tensor, *, strength: float, seed: int, epoch: int) -> Tensor:
    """`images` (B, 3, h, w) uint8 with each picture's channels changed by a gain and a gamma of their own, as float.

    Both are exp(strength * u) with u uniform in [-1, 1], f(seed, epoch, row), half of it common to the three channels;
    the result stays within [0, 255]. It makes up for a dataset of few lights being seen many times over.
    """
    draws = Draws(seed, rows.cpu().numpy()) / "train" / "jitter" / epoch
    u = torch.from_numpy(2 * draws.uniform(8) - 1).to(images.device, torch.float32).reshape(-1, 2, 4, 1)
    gain, gamma = torch.exp(strength * (u[:, :, :1] + u[:, :, 1:]) / 2).unbind(1)  # (B, 3, 1) each
    level = torch.arange(256, device=images.device) / 255
    table = 255 * (gain * level**gamma).clamp(0, 1)  # a power for each level, not for each pixel
    return table.gather(2, images.flatten(2).long()).reshape(images.shape)


def _order(draws: Draws) -> NDArray[np.int64]:
    return np.argsort(draws.uniform()[:, 0], kind="stable")


def _whole(batch: Any) -> Any:
    return batch  # __getitems__ has made the batch already


def _examples_of(dataset: BopDataset, name: str, obj_id: int, min_visible: float) -> Examples:
    kept: list[tuple[Picture, Array, Array]] = []
    left_out: Counter[str] = Counter()
    for picture in dataset.pictures:
        seen = [instance for instance in picture.instances if instance.obj_id == obj_id]
        if picture.camera_from_world is None:
            left_out["the camera's pose is not stated"] += 1
        elif not seen:
            left_out[f"there is no {name}"] += 1
        elif len(seen) > 1:
            left_out[f"there is more than one {name}"] += 1
        elif seen[0].visible_fraction <= 0:
            left_out[f"{name} is outside the picture or hidden"] += 1
        elif seen[0].visible_fraction < min_visible:
            left_out[f"less than {min_visible:g} of {name} is seen"] += 1
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
