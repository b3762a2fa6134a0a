"""Fabric: weaves, twill and denim, plaid, knits, stripes, printed cloth and carpet."""

import math

import numpy as np

from simgen import exact
from simgen.geometry import Array
from simgen.pictures import Image
from simgen.textures.fields import lit, noise, ramp, shaded, turned
from simgen.textures.numbers import Color, Numbers, any_color, hsv, near


def fabric(numbers: Numbers, size: int) -> Image:
    """(size, size, 3) a piece of fabric."""
    make = numbers.choice((_woven, _woven, _woven, _woven, _knit, _printed, _carpet))
    angle = numbers.choice((0.0, 0.25, numbers.uniform(0, 1))) * math.pi + numbers.uniform(-0.06, 0.06)
    x, y = turned(size, size, angle)
    bend = numbers.uniform(0, 6) * size / 256  # no thread is quite straight
    x = x + bend * noise(numbers, size, size, 3)
    y = y + bend * noise(numbers, size, size, 3)
    image = make(numbers, x * (256 / size) + 512, y * (256 / size) + 512)
    light = 1 + numbers.uniform(0, 0.25) * (noise(numbers, size, size, 0) - 0.5)  # fluff
    if numbers.chance(0.3):  # folds
        folds = noise(
            numbers, size, size, 3, zoom=numbers.log(0.5, 2), stretch=numbers.log(1, 5), angle=numbers.uniform(0, 3)
        )
        light = light * (1 + numbers.uniform(0.1, 0.7) * (folds - 0.5))
    return lit(image, light)


def _sett(numbers: Numbers, threads: int) -> Image:
    """(threads, 3) the colors of threads side by side: one color, stripes, or the mirrored stripes of plaid."""
    first = any_color(numbers)
    kind = numbers.uniform()
    if kind < 0.4:
        colors = [first]
    elif kind < 0.5:  # each thread its own shade
        colors = [near(numbers, first, 0.25) for _ in range(16)]
    else:
        colors = []
        choice = [first, any_color(numbers), any_color(numbers)][: numbers.integer(2, 3)]
        for k in range(numbers.integer(2, 6)):
            colors += [choice[k % len(choice)]] * numbers.choice((1, 2, 4, 4, 6, 10, 16))
        if numbers.chance(0.6):
            colors += colors[::-1]
    return np.array([colors[k % len(colors)] for k in range(threads)], np.uint8)


def _woven(numbers: Numbers, x: Array, y: Array) -> Image:
    """Threads over and under one another: plain, basket, twill (denim) or satin."""
    pitch = numbers.log(2.2, 14)
    u, v = x / pitch, y / (pitch * numbers.log(0.7, 1.4))
    column, row = np.floor(u).astype(np.int64), np.floor(v).astype(np.int64)
    repeat, step, over = numbers.choice(((2, 1, 1), (2, 1, 1), (3, 1, 1), (4, 1, 2), (4, 1, 3), (5, 2, 1), (4, 1, 2)))
    block = numbers.choice((1, 1, 1, 2, 3))
    above = (column // block + step * (row // block)) % repeat < over
    denim = numbers.chance(0.15)
    warp = _sett(numbers, 1024)
    weft = warp if numbers.chance(0.4) else _sett(numbers, 1024)
    if denim:
        blue = hsv(numbers.uniform(0.56, 0.66), numbers.uniform(0.3, 0.8), numbers.uniform(0.15, 0.7))
        warp = np.array([near(numbers, blue, 0.1) for _ in range(16)] * 64, np.uint8)
        weft = np.array([hsv(0.6, 0.05, numbers.uniform(0.7, 0.95))] * 1024, np.uint8)
    image = np.where(above[..., None], warp[column % 1024], weft[row % 1024])
    # Threads are round, and dive under the next one.
    across = np.where(above, u - column, v - row) - 0.5
    lengthwise = np.where(above, v - row, u - column) - 0.5
    depth = numbers.uniform(0.1, 1.2)
    light = 1.08 - depth * (1.6 * across**2 + 0.8 * lengthwise**2)
    return lit(image, light)


def _knit(numbers: Numbers, x: Array, y: Array) -> Image:
    """Columns of V-shaped stitches."""
    width = numbers.log(5, 30)
    height = width * numbers.uniform(0.5, 0.9)
    u = x / width
    column = np.floor(u).astype(np.int64)
    side = np.abs(u - column - 0.5)
    v = y / height + side * numbers.uniform(1, 1.8)
    row = np.floor(v).astype(np.int64)
    colors = _sett(numbers, 256)
    image = colors[row % 256]
    if numbers.chance(0.4):  # a pattern of a second color
        other = np.array(any_color(numbers), np.uint8)
        cells = numbers.array(64).reshape(8, 8) < 0.4
        cells = np.concatenate([cells, cells[:, ::-1]], axis=1)
        image = np.where(cells[row % 8, column % 16][..., None], other, image)
    bulge = 1 - (2 * (v - row) - 1) ** 2
    cleft = np.minimum(1, np.minimum(side, 0.5 - side) * 6)
    depth = numbers.uniform(0.3, 0.9)
    return lit(image, 1.1 - depth + depth * np.sqrt(np.maximum(bulge, 0)) * (0.4 + 0.6 * cleft))


def _printed(numbers: Numbers, x: Array, y: Array) -> Image:
    """Cloth with dots, stripes, zigzag, checks or diamonds on it."""
    colors = [any_color(numbers) for _ in range(3)]
    period = numbers.log(8, 90)
    u, v = x / period, y / period
    kind = numbers.choice(("dots", "stripes", "zigzag", "check", "diamonds", "waves"))
    sharp = numbers.log(2, 40)
    if kind == "dots":
        v = v + 0.5 * (np.floor(u) % 2)
        field = np.sqrt((u - np.floor(u) - 0.5) ** 2 + (v - np.floor(v) - 0.5) ** 2) - numbers.uniform(0.12, 0.45)
    elif kind == "stripes":
        field = np.abs(u - np.floor(u) - 0.5) - numbers.uniform(0.05, 0.45)
    elif kind == "zigzag":
        w = v + np.abs(u - np.floor(u) - 0.5) * numbers.uniform(0.5, 2)
        field = np.abs(w - np.floor(w) - 0.5) - numbers.uniform(0.1, 0.4)
    elif kind == "check":
        field = np.maximum(np.abs(u - np.floor(u) - 0.5), np.abs(v - np.floor(v) - 0.5)) - numbers.uniform(0.2, 0.48)
    elif kind == "diamonds":
        field = np.abs(u - np.floor(u) - 0.5) + np.abs(v - np.floor(v) - 0.5) - numbers.uniform(0.2, 0.5)
    else:
        field = 0.5 * exact.sine(2 * math.pi * (u + 0.3 * exact.sine(2 * math.pi * v))) - numbers.uniform(-0.3, 0.3)
    image = shaded(0.5 + sharp * field, ramp(colors[: numbers.integer(2, 3)]))
    thread = numbers.uniform(2, 5)
    weave = exact.sine(x * (2 * math.pi / thread)) * exact.sine(y * (2 * math.pi / thread))
    return lit(image, 1 + numbers.uniform(0, 0.25) * weave)


def _carpet(numbers: Numbers, x: Array, y: Array) -> Image:
    """Pile, felt and terry, of one color or mottled."""
    height, width = x.shape
    first: Color = any_color(numbers)
    spread = numbers.log(0.05, 0.6)
    zoom = numbers.log(0.8, 4) * width / 256
    pile = noise(numbers, height, width, numbers.choice((0, 1)), zoom=zoom, stretch=numbers.log(1, 3))
    image = shaded(pile, ramp([near(numbers, first, spread) for _ in range(numbers.integer(2, 4))]))
    tuft = numbers.log(2.5, 12)
    rows = exact.sine(x * (2 * math.pi / tuft)) * exact.sine(
        y * (2 * math.pi / tuft) * numbers.choice((0, 1, 0.5)) + 1.2
    )
    return lit(image, 1 + numbers.uniform(0, 0.4) * rows)
