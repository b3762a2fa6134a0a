"""Collages: shapes of all sizes lying over one another ("dead leaves"), which have the statistics of photographs.

After Baradad et al. 2021, "Learning to see by looking at noise", and Lee, Mumford & Huang 2001, "Occlusion models for
natural images": with sizes that follow a power law, edges and spectrum are those of photographs at every scale.
"""

import math

import cv2
import numpy as np

from simgen import exact
from simgen.geometry import Array
from simgen.pictures import Image
from simgen.textures.fields import blended, coordinates, faded, lit, noise, ramp, shaded, turned
from simgen.textures.lettering import any_face, draw_text, length_of, word
from simgen.textures.numbers import Color, Numbers, any_color, near

_SHIFT = 4  # bits of a coordinate's fraction
_PATTERNED = 0.04  # radius in picture widths; smaller shapes are plain
_SHADED = 0.02  # likewise; smaller shapes have no shadow
_TURN = np.arange(32) * (math.pi / 16)
_CIRCLE = np.stack([exact.cosine(_TURN), exact.sine(_TURN)], axis=1)


class _Palette:
    """The colors of one collage: any, or near a few."""

    def __init__(self, numbers: Numbers) -> None:
        self.few = [any_color(numbers) for _ in range(numbers.integer(2, 7))] if numbers.chance(0.55) else []
        self.spread = numbers.uniform(0.05, 0.3)

    def color(self, numbers: Numbers) -> Color:
        if self.few and numbers.chance(0.92):
            return near(numbers, numbers.choice(self.few), self.spread)
        return any_color(numbers)


def collage(numbers: Numbers, size: int, most: int = 75) -> Image:
    """(size, size, 3) a collage of up to `most` shapes."""
    palette = _Palette(numbers)
    image = _filling(numbers, size, size, palette)
    # Some large shapes hide the ground; of the others, as in photographs, most are small.
    radii = [numbers.log(0.12, 0.5) for _ in range(numbers.integer(0, 6))]
    exponent, least = numbers.uniform(1.6, 3), numbers.log(0.01, 0.04)
    low, high = least ** (1 - exponent), 0.4 ** (1 - exponent)
    for _ in range(int(numbers.log(min(15, most), most + 1))):
        radii.append((low + (high - low) * numbers.uniform()) ** (1 / (1 - exponent)))  # power law from least to 0.4
    shadow = numbers.uniform(0.3, 0.8) if numbers.chance(0.4) else 0
    lettered = numbers.uniform(0, 0.25)
    for radius in radii:
        if numbers.chance(lettered):
            _letter(numbers, image, radius * size, palette)
        else:
            _shape(numbers, image, radius * size, palette, shadow)
    if numbers.chance(0.35):  # lit from one side
        field = noise(numbers, size, size, 3, zoom=numbers.uniform(0.5, 3) * size / 256)
        image = lit(image, 1 + numbers.uniform(0.1, 0.7) * (field - 0.6))
    if numbers.chance(0.35):  # rough all over
        field = noise(numbers, size, size, numbers.choice((0, 1)), zoom=numbers.log(0.7, 2) * size / 256)
        image = lit(image, 1 + numbers.log(0.05, 0.5) * (field - 0.5))
    if numbers.chance(0.3):
        image = faded(numbers, image)
    if numbers.chance(0.15):  # out of focus
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), numbers.log(0.5, 1.6) * size / 256))
    return image


def _shape(numbers: Numbers, image: Image, radius: float, palette: _Palette, shadow: float) -> None:
    """Draws a random shape into `image`, with a shadow of this darkness."""
    size = image.shape[0]
    center = (numbers.array(2) * 1.2 - 0.1) * size
    points = np.rint((_outline(numbers) * radius + center) * 2**_SHIFT).astype(np.int32)
    if radius < _PATTERNED * size or numbers.chance(0.4):
        if shadow and radius > _SHADED * size:
            _darken(image, points, radius, shadow)
        cv2.fillPoly(image, [points], palette.color(numbers), cv2.LINE_AA, _SHIFT)
        return
    if shadow:
        _darken(image, points, radius, shadow)
    place, mask = _cut(image, points, 0)
    if mask is not None:
        fill = _filling(numbers, mask.shape[0], mask.shape[1], palette)
        image[place] = blended(image[place], fill, mask)


def _cut(image: Image, points: Array, margin: int) -> tuple[tuple[slice, slice], Image | None]:
    """Where in `image` the polygon `points` lies, and its mask there; None if it is outside."""
    size = image.shape[0]
    left, top = ((points.min(axis=0) >> _SHIFT) - margin).tolist()
    right, bottom = ((points.max(axis=0) >> _SHIFT) + 2 + margin).tolist()
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, size), min(bottom, size)
    place = slice(top, max(bottom, top)), slice(left, max(right, left))
    if right <= left or bottom <= top:
        return place, None
    mask = np.zeros((bottom - top, right - left), np.uint8)
    cv2.fillPoly(mask, [points - np.array([left, top], np.int32) * 2**_SHIFT], 255, cv2.LINE_AA, _SHIFT)
    return place, mask


def _darken(image: Image, points: Array, radius: float, shadow: float) -> None:
    """Draws the soft shadow of the polygon `points`, to its lower right."""
    offset = max(1, int(radius * 0.12))
    place, mask = _cut(image, points + np.int32(offset << _SHIFT), offset)
    if mask is not None:
        soft = cv2.blur(mask, (2 * offset + 1, 2 * offset + 1))
        part = image[place]
        image[place] = blended(part, np.zeros_like(part), np.asarray(soft * shadow, dtype=np.uint8))


def _outline(numbers: Numbers) -> Array:
    """(n, 2) the corners of a random shape of about radius 1 around (0, 0)."""
    kind = numbers.choice(("disc", "ellipse", "polygon", "rectangle", "rectangle", "line", "blob", "star"))
    angle = numbers.uniform(0, 2 * math.pi)
    if kind in ("disc", "ellipse", "blob"):
        points: Array = _CIRCLE.copy()
        if kind == "ellipse":
            points[:, 1] *= numbers.uniform(0.15, 0.9)
        if kind == "blob":
            waves = sum(
                numbers.uniform(0, 0.6 / f) * exact.cosine(f * _TURN + numbers.uniform(0, 6.3)) for f in (1, 2, 3, 5)
            )
            points *= (1 + np.asarray(waves))[:, None]
    elif kind == "polygon":
        n = numbers.integer(3, 9)
        t = np.sort(numbers.array(n)) * (2 * math.pi)
        points = np.stack([exact.cosine(t), exact.sine(t)], axis=1) * (0.5 + 0.5 * numbers.array(n))[:, None]
    elif kind == "star":
        n = numbers.integer(4, 9)
        t = np.arange(2.0 * n) * (math.pi / n)
        points = np.stack([exact.cosine(t), exact.sine(t)], axis=1)
        points[1::2] *= numbers.uniform(0.3, 0.8)
    else:
        half = numbers.uniform(0.2, 1) if kind == "rectangle" else numbers.log(0.01, 0.12)
        length = 1 if kind == "rectangle" else numbers.log(1, 6)
        corners = [[-length, -half], [length, -half], [length, half], [-length, half]]
        points = np.array(corners, np.float64)
        if numbers.chance(0.5):
            angle = numbers.choice((0.0, 0.5)) * math.pi + numbers.uniform(-0.06, 0.06)
    cosine, sine = math.cos(angle), math.sin(angle)
    x, y = points.T
    return np.stack([x * cosine - y * sine, x * sine + y * cosine], axis=1)


def _letter(numbers: Numbers, image: Image, radius: float, palette: _Palette) -> None:
    size = image.shape[0]
    face, text = any_face(numbers), word(numbers)
    height = min(max(1.2 * radius, 4.0), 0.5 * size)
    length = length_of(text, face) * height
    at = (numbers.array(2) * 1.1 - 0.05) * size - [length / 2, height / 2]
    angle = numbers.uniform(0, 2 * math.pi) if numbers.chance(0.4) else 0
    draw_text(image, text, (float(at[0]), float(at[1])), height, face, palette.color(numbers), angle)


def _filling(numbers: Numbers, height: int, width: int, palette: _Palette) -> Image:
    """(height, width, 3) what a shape is filled with."""
    first, second = palette.color(numbers), palette.color(numbers)
    kind = numbers.choice(
        ("plain", "gradient", "stripes", "checker", "blotches", "blotches", "grain", "grain", "round")
    )
    large = max(height, width)
    angle = numbers.uniform(0, 2 * math.pi)
    if kind == "plain":
        return np.broadcast_to(np.array(first, np.uint8), (height, width, 3)).copy()
    if kind == "blotches":
        exponent = numbers.choice((1, 2, 2, 3))
        field = noise(
            numbers, height, width, exponent, zoom=numbers.log(0.2, 3), stretch=numbers.log(1, 6), angle=angle
        )
        return shaded(field, ramp([first, second, palette.color(numbers)][: numbers.integer(2, 3)]))
    if kind == "grain":
        field = noise(numbers, height, width, numbers.choice((0, 1)), zoom=numbers.log(1, 3))
        return shaded(field, ramp([first, near(numbers, first, numbers.uniform(0.1, 0.5))]))
    if kind == "round":  # as a lit ball
        x, y = coordinates(height, width)
        at = numbers.array(2)
        field = np.sqrt((x / width - at[0]) ** 2 + (y / height - at[1]) ** 2)
        return shaded(field, ramp([first, second]))
    u, v = turned(height, width, angle)
    if kind == "gradient":
        return shaded(u / large + 0.5, ramp([first, second]))
    period = max(numbers.log(0.025, 0.4) * large, 4)
    phase = numbers.array(2) * 6.3
    sharp = numbers.log(0.5, 8)
    wave = exact.sine(u * (2 * math.pi / period) + phase[0])
    if kind == "checker":
        wave = wave * exact.sine(v * (2 * math.pi / period) + phase[1])
    return shaded(0.5 + sharp * wave, ramp([first, second]))
