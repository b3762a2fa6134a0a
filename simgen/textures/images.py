"""A folder of a user's own pictures, as textures and backgrounds."""

import math
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from simgen.errors import PictureError, SceneError
from simgen.pictures import Image, list_pictures, read_picture

MEMORY = 256 * 2**20  # bytes that the decoded pictures of a folder occupy at most, in each process
_MOST = 1024 * 1024  # pixels that are kept of a picture: no surface shows more
_LEAST = 256 * 256  # likewise, in a folder so large that only a part of it is kept


@dataclass(frozen=True)
class ImageFolder:
    """The pictures `paths` below `folder`. `skipped` states what else is in the folder; "" if there is nothing else.

    A picture is decoded once and kept with at most `pixels` pixels, which is chosen so that up to some 1,300 pictures fit
    into MEMORY together: 1024 x 1024 for up to 85 pictures, 418 x 418 for 512. Of a larger folder, pictures are decoded
    again when they are needed after 1,300 others.
    """

    folder: Path = Path()
    paths: tuple[Path, ...] = ()
    skipped: str = ""
    _kept: dict[Path, Image] = field(default_factory=dict, compare=False, repr=False)

    @property
    def names(self) -> list[str]:
        """The path of each picture below the folder, with forward slashes."""
        return [path.relative_to(self.folder).as_posix() for path in self.paths]

    @property
    def pixels(self) -> int:
        """How many pixels of a picture are kept at most; depends on the number of pictures alone."""
        return min(max(MEMORY // (3 * max(len(self.paths), 1)), _LEAST), _MOST)

    def image(self, pattern: int, size: tuple[int, int]) -> Image:
        """Picture number `pattern` modulo the number of pictures, (height, width, 3) uint8 RGB: cropped around its center to
        the aspect ratio of `size` (height, width) and resized to it. Raises PictureError if the file cannot be read."""
        whole = self._whole(self.paths[pattern % len(self.paths)])
        height, width = size
        scale = max(height / whole.shape[0], width / whole.shape[1])
        rows, columns = min(whole.shape[0], round(height / scale)), min(whole.shape[1], round(width / scale))
        top, left = (whole.shape[0] - rows) // 2, (whole.shape[1] - columns) // 2
        crop = whole[top : top + rows, left : left + columns]
        return np.asarray(cv2.resize(crop, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)

    def square(self, pattern: int, side: int) -> Image:
        """`image` with `side` px in width and height."""
        return self.image(pattern, (side, side))

    def _whole(self, path: Path) -> Image:
        """The picture in `path` as it is kept."""
        if path not in self._kept:
            picture = shrink(read_picture(path, self.pixels), self.pixels)
            while self._kept and len(self._kept) >= MEMORY // (3 * self.pixels):
                self._kept.pop(next(iter(self._kept)))  # the one that was decoded first
            self._kept[path] = picture
        return self._kept[path]


def open_image_folder(folder: Path, key: str, *, checked: bool = False) -> ImageFolder:
    """The pictures in `folder` and its sub-folders, in the order of their names.

    All of them are decoded and kept, unless they were `checked` by the process that started this one. Raises SceneError that
    begins with `key`, the configuration key that names the folder, if it is missing, holds no picture, or holds one that
    cannot be read.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "no such folder"
        raise SceneError(f"{key}: {folder}: {what}; expected a folder of pictures (.jpg, .png, ...)")
    try:
        listing = list_pictures(folder)
        if not listing.pictures:
            beside = f"; it holds {listing.skipped}" if listing.skipped else ""
            raise SceneError(f"{key}: {folder}: holds no picture; expected at least one (.jpg, .png, ...){beside}")
        images = ImageFolder(folder, listing.pictures, listing.skipped)
        for path in listing.pictures if not checked else ():
            images._whole(path)
    except PictureError as error:
        raise SceneError(f"{key}: {error}, or remove it") from error
    return images


def shrink(image: Image, pixels: int) -> Image:
    """`image` with at most `pixels` pixels, by averaging; itself if it has no more."""
    height, width = image.shape[:2]
    scale = math.sqrt(pixels / (height * width))
    if scale >= 1:
        return image
    size = max(1, int(width * scale + 1e-6)), max(1, int(height * scale + 1e-6))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
