"""A folder of a user's own pictures, as textures and backgrounds."""

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from simgen.errors import SceneError

Image = NDArray[np.uint8]

LARGEST = 1024  # px
_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


@dataclass(frozen=True)
class ImageFolder:
    """A user's own pictures, as textures and backgrounds. Every file was decoded once, so a corrupt one is found before
    anything is rendered."""

    paths: tuple[Path, ...] = ()
    _cache: dict[Path, Image] = field(default_factory=dict, compare=False, repr=False)

    def image(self, pattern: int, size: tuple[int, int]) -> Image:
        """Picture number `pattern` modulo their number, cropped about its middle to the aspect ratio of `size` (height,
        width) and resized to it."""
        path = self.paths[pattern % len(self.paths)]
        if path not in self._cache:
            if len(self._cache) >= 64:  # bounds the memory of a long run over a large folder to some 200 MB
                self._cache.pop(next(iter(self._cache)))
            self._cache[path] = _shrink(_read_image(path))
        whole = self._cache[path]
        height, width = size
        scale = max(height / whole.shape[0], width / whole.shape[1])
        rows, columns = min(whole.shape[0], round(height / scale)), min(whole.shape[1], round(width / scale))
        top, left = (whole.shape[0] - rows) // 2, (whole.shape[1] - columns) // 2
        crop = whole[top : top + rows, left : left + columns]
        return np.asarray(cv2.resize(crop, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def open_image_folder(folder: Path, key: str) -> ImageFolder:
    """The pictures in `folder` in the order of their names. Raises SceneError that begins with `key`, the configuration
    key that names the folder, if it is missing, holds no picture, or holds one that cannot be decoded."""
    if not folder.is_dir():
        raise SceneError(f"{key}: {folder}: no such folder; expected one with images ({', '.join(_SUFFIXES)})")
    paths = tuple(sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES))
    if not paths:
        raise SceneError(f"{key}: {folder}: holds no image; expected at least one of {', '.join(_SUFFIXES)}")
    for path in paths:
        try:
            _read_image(path)
        except SceneError as error:
            raise SceneError(f"{key}: {error}") from error
    return ImageFolder(paths)


def _shrink(image: Image) -> Image:
    """`image` at most LARGEST px wide and high: no surface shows more of it."""
    scale = LARGEST / max(image.shape[:2])
    if scale >= 1:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _read_image(path: Path) -> Image:
    try:
        with PIL.Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # Pillow's decoders raise many kinds
        raise SceneError(
            f"{path}: corrupt: it cannot be decoded as an image ({error}); remove or replace it"
        ) from error
