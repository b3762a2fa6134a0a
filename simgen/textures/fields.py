"""Fields of noise, and colors for them: what the picture generators are made of.

A field is an array (height, width) of float64, mostly in [0, 1]. Everything is computed in float64 and rounded to 8 bits
last, so that machines whose last bits differ make the same bytes.
"""

import math
from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
from scipy.special import ndtr

from simgen import exact
from simgen.geometry import Array
from simgen.pictures import Image
from simgen.textures.numbers import Color, Numbers, any_color

_SHEET = 512  # px
_STEPS = np.arange(256)


def power_noise(numbers: Numbers, size: int, exponent: float) -> Array:
    """(size, size) Gaussian noise with mean 0, variance 1 and a period of `size`, whose power falls with frequency to the
    power of -exponent: 0 is white noise, 2 resembles photographs, 4 is smooth."""
    rows = np.fft.fftfreq(size)[:, None]
    columns = np.fft.rfftfreq(size)[None]
    square = rows**2 + columns**2
    square[0, 0] = 1
    white = (numbers.array(size * size) - 0.5).reshape(size, size)
    spectrum = np.fft.rfft2(white) * exact.power(square, -exponent / 4)
    spectrum[0, 0] = 0
    noise = np.fft.irfft2(spectrum, s=(size, size))
    return np.asarray(noise / noise.std())


@cache
def _sheet(exponent: float, number: int) -> Array:
    """(512, 512) periodic noise of which all generators cut pieces; its values are uniform in [0, 1]."""
    noise = power_noise(Numbers(f"sheet/{exponent:g}", number), _SHEET, exponent)
    sheet = np.asarray(ndtr(noise))
    sheet.setflags(write=False)
    return sheet


def noise(
    numbers: Numbers,
    height: int,
    width: int,
    exponent: float,
    *,
    zoom: float = 1.0,
    stretch: float = 1.0,
    angle: float = 0.0,
) -> Array:
    """(height, width) noise with values that are uniform in [0, 1], cut from a large sheet at a random place.

    `exponent` (0 to 4) is that of its power; a px of the sheet covers `zoom` px, and `stretch` times as many along
    the direction `angle`.
    """
    x, y = coordinates(height, width)
    return sampled(numbers, x, y, exponent, zoom=zoom, stretch=stretch, angle=angle)


def sampled(
    numbers: Numbers,
    x: Array,
    y: Array,
    exponent: float,
    *,
    zoom: float = 1.0,
    stretch: float = 1.0,
    angle: float = 0.0,
) -> Array:
    """`noise` at the positions (x, y) in px, two arrays that broadcast to (height, width)."""
    sheet = _sheet(exponent, numbers.integer(0, 1))
    left, top = (numbers.array(2) * _SHEET).tolist()
    cosine, sine = math.cos(angle) / zoom, math.sin(angle) / zoom
    u = (x * cosine + y * sine) / stretch + left
    v = y * cosine - x * sine + top
    columns, rows = (np.ascontiguousarray(axis, dtype=np.float32) for axis in np.broadcast_arrays(u, v))
    cut = cv2.remap(sheet, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(cut, dtype=np.float64)


def coordinates(height: int, width: int) -> tuple[Array, Array]:
    """The x (1, width) and y (height, 1) of the centers of pixels, in px."""
    return np.arange(0.5, width)[None], np.arange(0.5, height)[:, None]


def turned(height: int, width: int, angle: float) -> tuple[Array, Array]:
    """(height, width) coordinates in px along and across the direction `angle`, from the middle of the picture."""
    x, y = coordinates(height, width)
    x, y = x - width / 2, y - height / 2
    cosine, sine = math.cos(angle), math.sin(angle)
    return x * cosine + y * sine, y * cosine - x * sine


def ramp(colors: Sequence[Color]) -> Image:
    """(256, 3) steps from the first of `colors` over the others to the last, at equal distances."""
    places = np.arange(len(colors)) * (255 / (len(colors) - 1))
    channels = [np.interp(_STEPS, places, channel) for channel in zip(*colors, strict=True)]
    return np.asarray(np.stack(channels, axis=-1) + 0.5, dtype=np.uint8)


def shaded(field: Array, colors: Image) -> Image:
    """`field` (height, width), limited to [0, 1], in the colors (256, 3) of a ramp."""
    steps = np.asarray(np.clip(field, 0, 1) * 255 + 0.5, dtype=np.uint8)
    return np.asarray(cv2.LUT(cv2.merge([steps, steps, steps]), colors[:, None]), dtype=np.uint8)


def lit(image: Image, light: Array) -> Image:
    """`image` (height, width, 3) times `light`, which broadcasts to (height, width)."""
    steps = np.asarray(np.maximum(light, 0) * 256 + 0.5, dtype=np.int32)
    factor = np.asarray(cv2.merge([steps, steps, steps]), dtype=np.int32)
    return np.asarray(np.minimum((image * factor + 128) >> 8, 255), dtype=np.uint8)


def tinted(image: Image, color: Color, share: Array) -> Image:
    """`color` upon `image` (height, width, 3), where `share` (height, width) is 1; between them where it is less."""
    over = np.broadcast_to(np.array(color, np.uint8), image.shape)
    return blended(image, over, np.asarray(np.clip(share, 0, 1) * 255 + 0.5, dtype=np.uint8))


def faded(numbers: Numbers, image: Image) -> Image:
    """`image` (height, width, 3) with less contrast: under a veil of a random color."""
    return tinted(image, any_color(numbers), np.full(image.shape[:2], numbers.uniform(0.2, 0.85)))


def blended(under: Image, over: Image, mask: Image) -> Image:
    """`over` upon `under` (height, width, 3), where `mask` (height, width) is 255; between them where it is less."""
    share = cv2.merge([mask, mask, mask]).astype(np.uint16)
    share += share >> 7  # of 256, which is a shift
    return np.asarray((under * (256 - share) + over * share + 128) >> 8, dtype=np.uint8)
