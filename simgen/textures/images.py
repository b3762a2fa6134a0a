"""A folder of a user's own pictures, as textures and backgrounds."""

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from simgen.errors import PictureError, SceneError
from simgen.pictures import Image, list_pictures, read_picture

LARGEST = 1024  # px


@dataclass(frozen=True)
class ImageFolder:
    """The pictures `paths` below `folder`. Every file was decoded once, so that one that cannot be read is reported before
    anything is rendered. `skipped` states what else is in the folder; "" if there is nothing else."""

    folder: Path = Path()
    paths: tuple[Path, ...] = ()
    skipped: str = ""
    _cache: dict[Path, Image] = field(default_factory=dict, compare=False, repr=False)

    @property
    def names(self) -> list[str]:
        """The path of each picture below the folder, with forward slashes."""
        return [path.relative_to(self.folder).as_posix() for path in self.paths]

    def image(self, pattern: int, size: tuple[int, int]) -> Image:
        """Picture number `pattern` modulo the number of pictures, (height, width, 3) uint8 RGB: cropped around its center to
        the aspect ratio of `size` (height, width) and resized to it."""
        path = self.paths[pattern % len(self.paths)]
        if path not in self._cache:
            if len(self._cache) >= 64:  # bounds the memory of a long run over a large folder to some 200 MB
                self._cache.pop(next(iter(self._cache)))
            self._cache[path] = _shrink(read_picture(path))
        whole = self._cache[path]
        height, width = size
        scale = max(height / whole.shape[0], width / whole.shape[1])
        rows, columns = min(whole.shape[0], round(height / scale)), min(whole.shape[1], round(width / scale))
        top, left = (whole.shape[0] - rows) // 2, (whole.shape[1] - columns) // 2
        crop = whole[top : top + rows, left : left + columns]
        return np.asarray(cv2.resize(crop, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def open_image_folder(folder: Path, key: str) -> ImageFolder:
    """The pictures in `folder` and its sub-folders, in the order of their names. Raises SceneError that begins with `key`,
    the configuration key that names the folder, if it is missing, holds no picture, or holds one that cannot be read."""
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "no such folder"
        raise SceneError(f"{key}: {folder}: {what}; expected a folder of pictures (.jpg, .png, ...)")
    try:
        listing = list_pictures(folder)
        if not listing.pictures:
            beside = f"; it holds {listing.skipped}" if listing.skipped else ""
            raise SceneError(f"{key}: {folder}: holds no picture; expected at least one (.jpg, .png, ...){beside}")
        for path in listing.pictures:
            read_picture(path)
    except PictureError as error:
        raise SceneError(f"{key}: {error}, or remove it") from error
    return ImageFolder(folder, listing.pictures, listing.skipped)


def _shrink(image: Image) -> Image:
    """`image` at most LARGEST px wide and high: no surface shows more of it."""
    scale = LARGEST / max(image.shape[:2])
    if scale >= 1:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
