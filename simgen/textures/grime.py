"""Grime: dirt, stains, dust, smudges, fingerprints and scratches, as a factor on the light that a surface reflects."""

import math

import cv2
import numpy as np

from simgen import exact
from simgen.geometry import Array
from simgen.pictures import Image
from simgen.textures.fields import coordinates, noise, turned
from simgen.textures.numbers import Numbers

UNCHANGED = 128


def grime_of(k: int, size: int = 256) -> Image:
    """Grime number `k` (size, size) uint8: the surface's color is multiplied by it divided by 128, so that 128 leaves it
    unchanged, less darkens and more lightens. A pure function of its arguments. Mostly near 128."""
    numbers = Numbers("grime", k)
    factor = np.zeros((size, size))
    strength = numbers.log(0.25, 1)
    makers = (*2 * (_smudges, _stains, _dust, _fingerprints, _scratches), _rings, _edges)
    for _ in range(numbers.integer(1, 4)):
        factor += strength * numbers.choice(makers)(numbers, size)
    return np.asarray(np.clip(UNCHANGED * exact.exp(factor) + 0.5, 0, 255), dtype=np.uint8)


def _smudges(numbers: Numbers, size: int) -> Array:
    """Wide, soft and faint, darker and lighter."""
    field = noise(
        numbers, size, size, 3, zoom=numbers.log(0.5, 2), stretch=numbers.log(1, 5), angle=numbers.uniform(0, 3.1)
    )
    return np.asarray(numbers.uniform(0.05, 0.35) * (field - 0.5))


def _stains(numbers: Numbers, size: int) -> Array:
    """Blots where a field is high, with a rim."""
    field = noise(numbers, size, size, numbers.choice((2, 3)), zoom=numbers.log(0.4, 1.5))
    level = numbers.uniform(0.75, 0.97)
    blot = np.clip((field - level) * numbers.log(8, 60), 0, 1)
    rim = np.clip(1 - np.abs(field - level) * 60, 0, 1) * numbers.uniform(0, 0.6)
    return np.asarray(-numbers.uniform(0.15, 0.8) * np.maximum(blot, rim))


def _dust(numbers: Numbers, size: int) -> Array:
    """Specks, mostly light, more in some places than in others."""
    speck = noise(numbers, size, size, 0, zoom=numbers.log(0.8, 1.6) * size / 256)
    place = noise(numbers, size, size, 3)
    share = np.clip((speck - 1 + numbers.log(0.02, 0.2) * 2 * place) * 40, 0, 1)
    return share * numbers.choice((0.4, 0.25, -0.5, -0.8))


def _rings(numbers: Numbers, size: int) -> Array:
    """The rings of cups and drops."""
    x, y = coordinates(size, size)
    factor = np.zeros((size, size))
    uneven, faint = 4 * size / 256 * noise(numbers, size, size, 2), noise(numbers, size, size, 3)
    for _ in range(numbers.integer(1, 3)):
        at = numbers.array(2) * size
        distance = np.sqrt((x - at[0]) ** 2 + (y - at[1]) ** 2) + uneven
        ring = np.abs(distance - numbers.log(8, 110) * size / 256) / (numbers.log(1, 5) * size / 256)
        factor -= numbers.uniform(0.1, 0.5) * np.clip(1.5 - ring, 0, 1)
    return factor * faint


def _fingerprints(numbers: Numbers, size: int) -> Array:
    """Ovals of fine curved ridges."""
    factor = np.zeros((size, size))
    scale = size / 256
    for _ in range(numbers.integer(1, 4)):
        radius, turn = numbers.uniform(14, 40) * scale, numbers.uniform(0, math.pi)
        side = min(int(2.8 * radius), size)
        u, v = turned(side, side, turn)
        v = v * 0.7
        bend = radius * noise(numbers, side, side, 3)
        ridges = exact.sine(np.sqrt(u**2 + (v + bend) ** 2) * (2 * math.pi / (numbers.uniform(2.5, 4.5) * scale)))
        inside = np.clip(2 - 2 * np.sqrt(u**2 + v**2) / radius, 0, 1)
        left, top = numbers.integer(0, size - side), numbers.integer(0, size - side)
        share = numbers.choice((-1, 1)) * numbers.uniform(0.05, 0.25)
        factor[top : top + side, left : left + side] += share * inside * np.clip(ridges + 0.4, 0, 1)
    return factor


def _scratches(numbers: Numbers, size: int) -> Array:
    """Fine lines, straight or bent, some in one direction."""
    lines = np.zeros((size, size), np.uint8)
    main, spread = numbers.uniform(0, 2 * math.pi), numbers.choice((0.2, 1.0, 3.1))
    for _ in range(int(numbers.log(3, 50))):
        at, angle = numbers.array(2) * size, main + numbers.uniform(-spread, spread)
        length, bend = numbers.log(0.04, 0.9) * size, numbers.uniform(-0.4, 0.4)
        steps = np.linspace(0, 1, 8)
        angles = angle + bend * steps
        points = at + length * np.stack([steps * exact.cosine(angles), steps * exact.sine(angles)], axis=1)
        gray = numbers.integer(60, 255)
        cv2.polylines(lines, [np.rint(points * 16).astype(np.int32)], False, gray, 1, cv2.LINE_AA, 4)
    return lines / 255 * numbers.choice((0.5, 0.35, -0.5, -0.8))


def _edges(numbers: Numbers, size: int) -> Array:
    """Wear or dirt along the borders of the picture: the edges of a surface that shows all of it."""
    x, y = coordinates(size, size)
    border = np.minimum(np.minimum(x, size - x), np.minimum(y, size - y)) / size
    field = noise(numbers, size, size, 2, zoom=numbers.log(0.4, 1.5))
    share = np.clip((numbers.log(0.02, 0.12) * 2 * field - border) * numbers.log(20, 80), 0, 1)
    return share * numbers.choice((0.35, -0.3, -0.7))
