"""Decoded and resized pictures of a dataset, kept in memory if they fit, and their order in each epoch."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Sampler

from simgen.dataset.layout import MANIFEST
from simgen.dataset.read import BopDataset, read_rgb
from simgen.draws import Draws
from simgen.errors import ConfigError, DatasetError
from simgen.files import sha256_of
from train.data.targets import STRIDE

_GRAY = 127  # the value of padding: about 0 in the networks' input


def manifest_hash(root: Path) -> str | None:
    """The SHA-256 of a dataset's manifest, which lists the hash of every file; None where there is no manifest."""
    return sha256_of(root / MANIFEST) if (root / MANIFEST).exists() else None


def content_of_dataset(dataset: BopDataset) -> dict[str, Any]:
    """What tells whether a dataset that is somewhere else now is the same: the SHA-256 of its manifest or, where there is
    none, of the files with its labels; and the number of its pictures."""
    found: dict[str, Any] = {"manifest_sha256": manifest_hash(dataset.root), "pictures": len(dataset)}
    if found["manifest_sha256"] is None:
        digest = hashlib.sha256()
        for scene in sorted({picture.path.parents[1] for picture in dataset.pictures}):
            for file in sorted(scene.glob("scene_*.json")):
                digest.update(f"{file.relative_to(dataset.root).as_posix()} {sha256_of(file)}\n".encode())
        found["labels_sha256"] = digest.hexdigest()
    return found


def check_simulated(dataset: BopDataset) -> None:
    """Raises ConfigError for pictures that are reserved for evaluation: photographs, rendered pictures with photographs on
    their surfaces, and a dataset's test split. Training and model selection use none of them."""
    if "source" in dataset.manifest:
        raise ConfigError(
            f"data.root: {dataset.root} holds photographs ({dataset.manifest['source']}), which are for "
            "`python -m train evaluate` only; expected a rendered dataset"
        )
    if dataset.manifest.get("recipe", {}).get("photographs"):
        raise ConfigError(
            f"data.root: {dataset.root} was rendered with texture=photograph (randomize=photographs), which is for "
            "`python -m train evaluate` only; expected a dataset without it, such as of randomize=full"
        )
    if dataset.split.startswith("test"):
        raise ConfigError(
            f"data.split: got '{dataset.split}', which by its name is for `python -m train evaluate` only; expected another"
        )


def split(count: int, share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows for training and for validation: `share` of `count` rows for validation, at least 1 each, a function of the
    seed."""
    if count < 2:
        raise DatasetError(f"only {count} usable picture; expected at least 2, one to train on and one to validate")
    validation = min(max(1, round(share * count)), count - 1)
    order = _order(Draws(seed, np.arange(count)) / "train" / "split")
    return np.sort(order[validation:]), np.sort(order[:validation])


class Decoded:
    """The pictures in `paths`, each as (3, height, width) uint8, and their original sizes [width, height] px.

    With `padded` a picture keeps its aspect ratio and is padded with gray at the right or at the bottom. If all pictures
    need at most `cache_gb` of memory, `workers` threads decode them at once and they stay in memory.
    """

    def __init__(
        self, paths: Sequence[Path], *, height: int, width: int, cache_gb: float, workers: int, padded: bool = False
    ) -> None:
        self.paths, self.height, self.width, self.padded = tuple(paths), height, width, padded
        self.cached = len(paths) * height * width * 3 <= cache_gb * 1e9
        self._cache: tuple[Tensor, Tensor] | None = None
        if self.cached:
            with ThreadPoolExecutor(max(1, workers)) as pool:  # OpenCV releases the GIL while it decodes
                self._cache = _stacked(pool.map(self._load, self.paths))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, items: list[int]) -> tuple[Tensor, Tensor]:
        """The pictures with the numbers `items`, (B, 3, height, width) uint8, and their original sizes (B, 2)."""
        if self._cache is not None:
            return self._cache[0][items], self._cache[1][items]
        return _stacked(self._load(self.paths[item]) for item in items)

    def _load(self, path: Path) -> tuple[Tensor, Tensor]:
        image = read_rgb(path)
        size = torch.tensor([image.shape[1], image.shape[0]])
        image = (padded if self.padded else resized)(image, self.width, self.height)
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))), size


def _stacked(loaded: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    images, sizes = zip(*loaded, strict=True)
    return torch.stack(images), torch.stack(sizes)


def fitted(width: int, height: int, most_width: int, most_height: int) -> tuple[int, int]:
    """The largest size, width and height px, to which a picture of `width` x `height` px can be resized within `most_width`
    x `most_height` with its aspect ratio kept. A picture that is smaller by a few pixels keeps its size."""
    left = most_width - width, most_height - height
    if min(left) >= 0 and min(left) < STRIDE:
        return width, height
    factor = min(most_width / width, most_height / height)
    return max(1, round(width * factor)), max(1, round(height * factor))


def resized(picture: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """`picture` (H, W, 3) resized to (height, width, 3)."""
    if picture.shape[:2] == (height, width):
        return picture
    # INTER_AREA averages all pixels, so that small blocks are not aliased; it is for shrinking only.
    shrinks = picture.shape[0] >= height and picture.shape[1] >= width
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (width, height), interpolation=how), dtype=np.uint8)


def padded(picture: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """`picture` (H, W, 3) resized to fit into (height, width, 3) with its aspect ratio kept, and gray at the right or at the
    bottom."""
    picture = resized(picture, *fitted(picture.shape[1], picture.shape[0], width, height))
    below, right = height - picture.shape[0], width - picture.shape[1]
    if not below and not right:
        return picture
    return np.pad(picture, ((0, below), (0, right), (0, 0)), constant_values=_GRAY)


class EpochOrder(Sampler[int]):
    """A different order of `count` items in each epoch, a function of (seed, epoch). Lightning calls `set_epoch`."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed, self.epoch = count, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        return iter(_order(Draws(self.seed, np.arange(self.count)) / "train" / "order" / self.epoch).tolist())


def jitter(images: Tensor, rows: Tensor, *, strength: float, seed: int, epoch: int) -> Tensor:
    """`images` (B, 3, h, w) uint8 after a random gain and gamma for each channel of each picture, as float in [0, 255].

    Both are exp(strength * u) with u uniform in [-1, 1], a function of (seed, epoch, row), half of it common to the three
    channels. It adds variety to a dataset with few lights that is used for many epochs.
    """
    draws = Draws(seed, rows.cpu().numpy()) / "train" / "jitter" / epoch
    u = torch.from_numpy(2 * draws.uniform(8) - 1).to(images.device, torch.float32).reshape(-1, 2, 4, 1)
    gain, gamma = torch.exp(strength * (u[:, :, :1] + u[:, :, 1:]) / 2).unbind(1)  # (B, 3, 1) each
    level = torch.arange(256, device=images.device) / 255
    table = 255 * (gain * level**gamma).clamp(0, 1)  # a power for each level, not for each pixel
    return table.gather(2, images.flatten(2).long()).reshape(images.shape)


def _order(draws: Draws) -> NDArray[np.int64]:
    return np.argsort(draws.uniform()[:, 0], kind="stable")
