"""Procedural textures as functions of a place on the surface, and image folders.

Nothing of a texture is stored: `mix` says at any point what share of a material's second colour is seen there. `paint`
makes a picture of that for renderers that want one; render/raycast.py asks at every ray. Colours mix in linear light.
"""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import Tensor

from simgen.draws import Draws
from simgen.errors import SceneError
from simgen.scene import TEXTURES, Materials

Image = NDArray[np.uint8]

LARGEST = 1024  # px
LATTICE = 256  # the noise repeats after this many cells
OCTAVES = 3
STEPS = 4096  # between a texture's two colours
FACES = 16  # faces beyond so many look like one of the first
ROUND_FACE = FACES - 1  # that of a round side
_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def decode(color: Any) -> Any:
    """Linear light of values in [0, 1] as displayed (sRGB, IEC 61966-2-1). Takes and gives arrays or tensors."""
    where = torch.where if isinstance(color, Tensor) else np.where
    return where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)


def encode(light: Any) -> Any:
    """The inverse of `decode`, for light in [0, 1]."""
    where = torch.where if isinstance(light, Tensor) else np.where
    return where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def mix(
    kind: str, u: Tensor, v: Tensor, cycles: Tensor, angle: tuple[Tensor, Tensor], pattern: Tensor, table: Tensor
) -> Tensor:
    """The share in [0, 1] of the second colour at (u, v), the surface's middle being (0, 0) and its edges 0.5 away.

    `kind` is one of TEXTURES but flat and image, which mix nothing, and faces (see `of_face`). The others broadcast against
    u and v, which have one shape: `angle` is a cosine and a sine, which turn gradients, checkers and stripes; `pattern`
    (int64) picks the noise out of `table`, which is lattice().
    """
    if kind == "noise":
        return _noise(u, v, cycles, pattern, table)
    cosine, sine = angle
    along = u * cosine + v * sine
    if kind == "gradient":
        # The corners have the pure colours.
        return (along / (cosine.abs() + sine.abs()) + 0.5).clamp(0, 1)
    stripes = torch.floor(along * (2 * cycles))
    if kind == "checker":
        stripes = stripes + torch.floor((v * cosine - u * sine) * (2 * cycles))
    return stripes - 2 * torch.floor(stripes * 0.5)


def of_face(number: Tensor, pattern: Tensor, table: Tensor) -> Tensor:
    """The share of the second colour on the face `number` (0, 1, ...; see shapes.face_numbers) of a block whose every face
    has a colour of its own; `pattern` (int64) picks them out of `table`, which is lattice()."""
    return table[(_hashed(pattern) + 977 * (number.to(torch.int64) % FACES)) % len(table)]


def _hashed(pattern: Tensor) -> Tensor:
    return pattern * 2654435761 + 12345  # Knuth's multiplicative hash


def _noise(u: Tensor, v: Tensor, cycles: Tensor, pattern: Tensor, table: Tensor) -> Tensor:
    """Value noise in three octaves: a lattice of random numbers, interpolated smoothly and summed."""
    total = torch.zeros_like(u)
    hashed = _hashed(pattern)  # each octave looks at its own part of the lattice
    for octave in range(OCTAVES):
        x, y = u * (cycles * 2**octave), v * (cycles * 2**octave)
        left, low = torch.floor(x), torch.floor(y)
        x, y = x - left, y - low
        x, y = x * x * (3 - 2 * x), y * y * (3 - 2 * y)
        column = left.to(torch.int32) + ((hashed >> (8 * octave)) & (LATTICE - 1)).to(torch.int32)
        row = low.to(torch.int32) + ((hashed >> (8 * octave + 24)) & (LATTICE - 1)).to(torch.int32)
        column, next_column = column & (LATTICE - 1), (column + 1) & (LATTICE - 1)
        row, next_row = (row & (LATTICE - 1)) * LATTICE, ((row + 1) & (LATTICE - 1)) * LATTICE
        a, b = table[row + column], table[row + next_column]
        c, d = table[next_row + column], table[next_row + next_column]
        near, far = a + (b - a) * x, c + (d - c) * x
        total = total + (near + (far - near) * y) * 0.5**octave
    # The sum gathers about its middle; this spreads it over most of [0, 1].
    return ((total / (2 - 0.5 ** (OCTAVES - 1)) - 0.5) * 1.8 + 0.5).clamp(0, 1)


@cache
def lattice(device: torch.device) -> Tensor:
    """The random numbers (LATTICE^2,) float32 of all noise textures."""
    numbers = (Draws(0, np.array([0])) / "noise").uniform(LATTICE * LATTICE)
    return torch.tensor(numbers[0], dtype=torch.float32, device=device)


def paint(material: Materials, row: Any, size: tuple[int, int], images: "ImageFolder") -> Image:
    """The texture (height, width, 3) uint8 RGB of the one surface that `row` picks out of `material`.

    Across the picture u runs right and v runs up. Of `faces` it is FACES columns, one for each face.
    """
    kind = TEXTURES[int(material.texture[row])]
    color, color2 = material.color[row], material.color2[row]
    if kind == "image":
        return images.image(int(material.pattern[row]), size)
    if kind == "flat":
        return np.broadcast_to(_bytes(color), (*size, 3)).copy()
    height, width = size
    u = ((torch.arange(width) + 0.5) / width - 0.5).expand(height, width)
    v = (0.5 - (torch.arange(height) + 0.5) / height)[:, None].expand(height, width)
    angle = torch.tensor(float(material.angle[row]), dtype=torch.float64)
    pattern = torch.tensor(int(material.pattern[row]))
    share = (
        of_face(torch.floor((u + 0.5) * FACES), pattern, lattice(u.device))
        if kind == "faces"
        else mix(
            kind,
            u,
            v,
            torch.tensor(float(material.cycles[row])),
            (torch.cos(angle).float(), torch.sin(angle).float()),
            pattern,
            lattice(u.device),
        )
    )
    # Steps of linear light: the darkest level that a picture can hold is a 3,300th of white.
    start, end = decode(color), decode(color2)
    palette = _bytes(encode(start + (end - start) * np.linspace(0, 1, STEPS)[:, None]))
    return np.asarray(palette[(share.numpy() * (STEPS - 1) + 0.5).astype(np.int64)])


def _bytes(share: NDArray[np.floating[Any]]) -> Image:
    """Values in [0, 1] as the nearest of 256 steps."""
    return np.asarray(share * 255 + 0.5, dtype=np.uint8)


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
