"""Procedural textures as functions of a position on the surface.

`mix` gives the share of a material's second color at any point. `paint` makes a picture of the texture for renderers that
need one; render/raycast.py evaluates `mix` for every ray. Colors are mixed in linear light.
"""

from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simgen.draws import Draws
from simgen.pictures import Image
from simgen.scene import TEXTURES, Materials
from simgen.textures.color import decode, encode
from simgen.textures.images import ImageFolder

LATTICE = 256  # the noise repeats after this many cells
OCTAVES = 3
STEPS = 4096  # between a texture's two colors
FACES = 16  # colors of `faces`; they repeat beyond this number of faces
ROUND_FACE = FACES - 1  # the face number of a round side


def mix(
    kind: str, u: Tensor, v: Tensor, cycles: Tensor, angle: tuple[Tensor, Tensor], pattern: Tensor, table: Tensor
) -> Tensor:
    """The share in [0, 1] of the second color at (u, v); (0, 0) is the middle of the surface, its edges are at -0.5 and 0.5.

    `kind` is one of TEXTURES except flat and image (no second color) and faces (see `of_face`). The other arguments
    broadcast against u and v, which have the same shape: `angle` is the cosine and sine of the rotation of gradients,
    checkers and stripes; `pattern` (int64) selects the noise from `table`, which is lattice().
    """
    if kind == "noise":
        return _noise(u, v, cycles, pattern, table)
    cosine, sine = angle
    along = u * cosine + v * sine
    if kind == "gradient":
        # The corners have the unmixed colors.
        return (along / (cosine.abs() + sine.abs()) + 0.5).clamp(0, 1)
    stripes = torch.floor(along * (2 * cycles))
    if kind == "checker":
        stripes = stripes + torch.floor((v * cosine - u * sine) * (2 * cycles))
    return stripes - 2 * torch.floor(stripes * 0.5)


def of_face(number: Tensor, pattern: Tensor, table: Tensor) -> Tensor:
    """The share in [0, 1] of the second color on the face `number` (0, 1, ...; see shapes.face_numbers) of a block with one
    color for each face; `pattern` (int64) selects them from `table`, which is lattice()."""
    return table[(_hashed(pattern) + 977 * (number.to(torch.int64) % FACES)) % len(table)]


def _hashed(pattern: Tensor) -> Tensor:
    return pattern * 2654435761 + 12345  # Knuth's multiplicative hash


def _noise(u: Tensor, v: Tensor, cycles: Tensor, pattern: Tensor, table: Tensor) -> Tensor:
    """Value noise in [0, 1]: OCTAVES lattices of random numbers, smoothly interpolated and summed."""
    total = torch.zeros_like(u)
    hashed = _hashed(pattern)  # its bits offset the lattice, in each octave differently
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
    # The sum is concentrated about 0.5; this spreads it over most of [0, 1].
    return ((total / (2 - 0.5 ** (OCTAVES - 1)) - 0.5) * 1.8 + 0.5).clamp(0, 1)


@cache
def lattice(device: torch.device) -> Tensor:
    """The random numbers in [0, 1), (LATTICE^2,) float32, of all noise textures."""
    numbers = (Draws(0, np.array([0])) / "noise").uniform(LATTICE * LATTICE)
    return torch.tensor(numbers[0], dtype=torch.float32, device=device)


def paint(material: Materials, row: Any, size: tuple[int, int], images: ImageFolder) -> Image:
    """The texture (height, width, 3) uint8 RGB of row `row` of `material`, at `size` (height, width) px.

    u points right and v up. The texture `faces` becomes FACES columns, one for each face.
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
    # STEPS of linear light are enough: the darkest level above black of 8 bits of sRGB is 1/3,300 of white.
    start, end = decode(color), decode(color2)
    palette = _bytes(encode(start + (end - start) * np.linspace(0, 1, STEPS)[:, None]))
    return np.asarray(palette[(share.numpy() * (STEPS - 1) + 0.5).astype(np.int64)])


def _bytes(share: NDArray[np.floating[Any]]) -> Image:
    """Values in [0, 1] as the nearest of 256 steps."""
    return np.asarray(share * 255 + 0.5, dtype=np.uint8)
