"""Decoded and resized pictures of a dataset, kept in memory where they fit, and the order in which they come."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Sampler

from simgen.dataset.read import MANIFEST, BopDataset, read_rgb
from simgen.draws import Draws
from simgen.errors import ConfigError, DatasetError
from simgen.files import sha256_of
from train.data.targets import STRIDE

_GRAY = 127  # of what pads a picture: networks see about 0 there


def manifest_hash(root: Path) -> str | None:
    """The SHA-256 of a dataset's manifest, which lists the hash of every file; None where there is no manifest."""
    return sha256_of(root / MANIFEST) if (root / MANIFEST).exists() else None


def check_simulated(dataset: BopDataset) -> None:
    """Raises ConfigError for what is kept for evaluation: photographs, and a dataset's split for tests. Training
    and the choice of an epoch use simulated pictures alone."""
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

    With `padded` a picture keeps its ratio of sides, and what is left at the right or at the bottom is gray. They stay in
    memory if all of them need at most `cache_gb`; then `workers` threads decode them at once.
    """

    def __init__(
        self, paths: Sequence[Path], *, height: int, width: int, cache_gb: float, workers: int, padded: bool = False
    ) -> None:
        self.paths, self.height, self.width, self.padded = tuple(paths), height, width, padded
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
        if self.padded:
            image = resized(image, *fitted(image.shape[1], image.shape[0], self.width, self.height))
            below, right = self.height - image.shape[0], self.width - image.shape[1]
            image = np.pad(image, ((0, below), (0, right), (0, 0)), constant_values=_GRAY)
        else:
            image = resized(image, self.width, self.height)
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))), size


def _stacked(loaded: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    images, sizes = zip(*loaded, strict=True)
    return torch.stack(images), torch.stack(sizes)


def fitted(width: int, height: int, room_width: int, room_height: int) -> tuple[int, int]:
    """Width and height px that a picture of `width` x `height` gets in a room of another size, its ratio of sides kept: the
    largest that fits. A picture that is smaller than the room by a few pixels stays as it is."""
    left = room_width - width, room_height - height
    if min(left) >= 0 and min(left) < STRIDE:
        return width, height
    factor = min(room_width / width, room_height / height)
    return max(1, round(width * factor)), max(1, round(height * factor))


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
