"""Procedural textures and image folders: a texture is a pure function of its material's few numbers."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from simgen.draws import Draws
from simgen.errors import SceneError
from simgen.scene import TEXTURES, Materials

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
            self._cache[path] = _shrink(_decode(path))
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
            _decode(path)
        except SceneError as error:
            raise SceneError(f"{key}: {error}") from error
    return ImageFolder(paths)


def paint(material: Materials, row: Any, size: tuple[int, int], images: ImageFolder) -> Image:
    """The texture (height, width, 3) uint8 RGB of the one surface that `row` picks out of `material`.

    Across the picture u runs right and v runs up, both from 0 to 1. Gradients, checkers and stripes are turned by the
    material's angle about the middle.
    """
    kind = TEXTURES[int(material.texture[row])]
    color, color2 = material.color[row], material.color2[row]
    if kind == "image":
        return images.image(int(material.pattern[row]), size)
    if kind == "flat":
        return np.broadcast_to(_bytes(color), (*size, 3)).copy()
    height, width = size
    u = ((np.arange(width) + 0.5) / width - 0.5).astype(np.float32)
    v = (0.5 - (np.arange(height) + 0.5)[:, None] / height).astype(np.float32)
    cosine, sine = float(np.cos(material.angle[row])), float(np.sin(material.angle[row]))
    along, across = u * cosine + v * sine, v * cosine - u * sine
    cycles = float(material.cycles[row])
    share: NDArray[np.floating[Any]]
    if kind == "gradient":
        reach = 0.5 * (abs(cosine) + abs(sine))  # so that the corners have the pure colours
        share = np.clip(along / reach * 0.5 + 0.5, 0, 1)
    elif kind == "checker":
        share = (np.floor(along * cycles * 2) + np.floor(across * cycles * 2)) % 2
    elif kind == "stripes":
        share = np.floor(along * cycles * 2) % 2
    else:
        share = _noise(int(material.pattern[row]), cycles, size)
    # 256 steps between the two colours are all that the picture can hold.
    palette = _bytes(color + (color2 - color) * np.linspace(0, 1, 256)[:, None])
    return np.asarray(palette[_bytes(share)])


def _noise(pattern: int, cycles: float, size: tuple[int, int]) -> NDArray[np.float32]:
    """Value noise in three octaves, (height, width) in [0, 1]: random lattices, interpolated and summed."""
    total = np.zeros(size, np.float32)
    draws = Draws(0, np.array([pattern])) / "noise"
    for octave in range(3):
        cells = int(np.ceil(cycles * 2**octave)) + 1
        lattice = (draws / octave).uniform(cells * cells).reshape(cells, cells).astype(np.float32)
        total += cv2.resize(lattice, (size[1], size[0]), interpolation=cv2.INTER_CUBIC) * 0.5**octave
    low, high = total.min(), total.max()
    return np.asarray((total - low) / max(high - low, 1e-9))


def _bytes(share: NDArray[np.floating[Any]]) -> Image:
    """Values in [0, 1] as the nearest of 256 steps."""
    return np.asarray(share * 255 + 0.5, dtype=np.uint8)


def _shrink(image: Image) -> Image:
    """`image` at most LARGEST px wide and high: no surface shows more of it."""
    scale = LARGEST / max(image.shape[:2])
    if scale >= 1:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _decode(path: Path) -> Image:
    try:
        with PIL.Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # Pillow's decoders raise many kinds
        raise SceneError(
            f"{path}: corrupt: it cannot be decoded as an image ({error}); remove or replace it"
        ) from error
