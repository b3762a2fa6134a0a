"""Procedural textures as functions of a position on the surface, in float32.

`mix` gives the share of a material's second color at any point; `of_face` the share of a whole face. `paint` makes a picture
of the texture for renderers that need one. Colors are mixed in linear light.
"""

import math
from functools import cache, lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen.draws import Draws
from simgen.pictures import Image
from simgen.scene import PICTURES, TEXTURES, Materials
from simgen.textures.color import decode, encode
from simgen.textures.families import picture_of
from simgen.textures.images import ImageFolder
from simgen.textures.photographs import photograph_of
from simgen.textures.pool import SIDE, VARIANTS

Float = NDArray[np.float32]
Integer = NDArray[np.int64]

LATTICE = 256  # the noise repeats after this many cells
OCTAVES = 3
STEPS = 4096  # between a texture's two colors
FACES = 16  # colors of `faces`; they repeat beyond this number of faces
ROUND_FACE = FACES - 1  # the face number of a round side


def mix(kind: str, u: Float, v: Float, cycles: Float, angle: tuple[Any, Any], pattern: Integer, table: Float) -> Float:
    """The share in [0, 1] of the second color at (u, v); (0, 0) is the middle of the surface, its edges are at -0.5 and 0.5.

    `kind` is one of TEXTURES except flat and image (no second color) and faces (see `of_face`). The other arguments
    broadcast against u and v, which have the same shape: `angle` is the cosine and sine of the rotation of gradients,
    checkers and stripes; `pattern` selects the noise from `table`, which is lattice().
    """
    if kind == "noise":
        return _noise(u, v, cycles, pattern, table)
    cosine, sine = angle
    along = u * cosine + v * sine
    if kind == "gradient":
        # The corners have the unmixed colors.
        return np.asarray(np.clip(along / (np.abs(cosine) + np.abs(sine)) + 0.5, 0, 1))
    stripes = np.floor(along * (2 * cycles))
    if kind == "checker":
        stripes = stripes + np.floor((v * cosine - u * sine) * (2 * cycles))
    return np.asarray(stripes - 2 * np.floor(stripes * 0.5))


def of_face(number: NDArray[Any], pattern: Integer, table: Float) -> Float:
    """The share in [0, 1] of the second color on the face `number` (0, 1, ...; see shapes.face_numbers) of a block with one
    color for each face; `pattern` selects them from `table`, which is lattice()."""
    return np.asarray(table[(hashed_pattern(pattern) + 977 * (number.astype(np.int64) % FACES)) % len(table)])


def hashed_pattern(pattern: Integer) -> Integer:
    """The bits by which a pattern's number selects lattice cells, face colors and crops."""
    return pattern * 2654435761 + 12345  # Knuth's multiplicative hash


def _noise(u: Float, v: Float, cycles: Float, pattern: Integer, table: Float) -> Float:
    """Value noise in [0, 1]: OCTAVES lattices of random numbers, smoothly interpolated and summed."""
    total = np.zeros_like(u)
    hashed = hashed_pattern(pattern)  # its bits offset the lattice, in each octave differently
    for octave in range(OCTAVES):
        x, y = u * (cycles * 2**octave), v * (cycles * 2**octave)
        left, low = np.floor(x), np.floor(y)
        x, y = x - left, y - low
        x, y = x * x * (3 - 2 * x), y * y * (3 - 2 * y)
        column = left.astype(np.int64) + ((hashed >> (8 * octave)) & (LATTICE - 1))
        row = low.astype(np.int64) + ((hashed >> (8 * octave + 24)) & (LATTICE - 1))
        column, next_column = column & (LATTICE - 1), (column + 1) & (LATTICE - 1)
        row, next_row = (row & (LATTICE - 1)) * LATTICE, ((row + 1) & (LATTICE - 1)) * LATTICE
        a, b = table[row + column], table[row + next_column]
        c, d = table[next_row + column], table[next_row + next_column]
        near, far = a + (b - a) * x, c + (d - c) * x
        total = total + (near + (far - near) * y) * 0.5**octave
    # The sum is concentrated about 0.5; this spreads it over most of [0, 1].
    return np.asarray(np.clip((total / (2 - 0.5 ** (OCTAVES - 1)) - 0.5) * 1.8 + 0.5, 0, 1))


@cache
def lattice() -> Float:
    """The random numbers in [0, 1), (LATTICE^2,) float32, of all noise textures. Not to be changed."""
    numbers = np.asarray((Draws(0, np.array([0])) / "noise").uniform(LATTICE * LATTICE)[0], dtype=np.float32)
    numbers.flags.writeable = False
    return numbers


def paint(material: Materials, row: Any, size: tuple[int, int], images: ImageFolder) -> Image:
    """The texture (height, width, 3) uint8 RGB of row `row` of `material`, at `size` (height, width) px.

    u points right and v up. Generated pictures and photographs are shown whole, whatever the crop. The texture `faces`
    becomes FACES columns, one for each face.
    """
    kind = TEXTURES[int(material.texture[row])]
    color, color2 = material.color[row], material.color2[row]
    if kind == "image":
        return images.image(int(material.pattern[row]), size)
    if kind in PICTURES:
        whole = _kept_picture(kind, int(material.pattern[row]) % VARIANTS)
        return np.asarray(cv2.resize(whole, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    if kind == "flat":
        return np.broadcast_to(_bytes(color), (*size, 3)).copy()
    height, width = size
    across, down = ((np.arange(n, dtype=np.float32) + 0.5) / n for n in (width, height))
    u, v = np.broadcast_arrays(across - 0.5, (0.5 - down)[:, None])
    angle, pattern = float(material.angle[row]), np.asarray(material.pattern[row], dtype=np.int64)
    share = (
        of_face(np.floor((u + 0.5) * FACES), pattern, lattice())
        if kind == "faces"
        else mix(
            kind,
            u,
            v,
            np.asarray(material.cycles[row], dtype=np.float32),
            (np.float32(math.cos(angle)), np.float32(math.sin(angle))),
            pattern,
            lattice(),
        )
    )
    # STEPS of linear light are enough: the darkest level above black of 8 bits of sRGB is 1/3,300 of white.
    start, end = decode(color), decode(color2)
    palette = _bytes(encode(start + (end - start) * np.linspace(0, 1, STEPS)[:, None]))
    return np.asarray(palette[(share * (STEPS - 1) + 0.5).astype(np.int64)])


def picture(kind: str, k: int) -> Image:
    """The picture `k` of a kind of generated pictures or of photographs, (SIDE, SIDE, 3) uint8 RGB."""
    return photograph_of(k, SIDE) if kind == "photograph" else picture_of(kind, k, SIDE)


_kept_picture = lru_cache(maxsize=256)(picture)  # for `paint`; the ray caster's pool keeps pictures itself


def _bytes(share: NDArray[np.floating[Any]]) -> Image:
    """Values in [0, 1] as the nearest of 256 steps."""
    return np.asarray(share * 255 + 0.5, dtype=np.uint8)
