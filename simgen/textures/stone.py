"""Stone: marble, granite, concrete, terrazzo, layers, cracks and bricks."""

import math

import cv2
import numpy as np

from simgen import exact
from simgen.pictures import Image
from simgen.textures.fields import coordinates, lit, noise, power_noise, ramp, sampled, shaded, tinted
from simgen.textures.numbers import Color, Numbers, any_color, hsv, mixed, near


def stone(numbers: Numbers, size: int) -> Image:
    """(size, size, 3) a surface of stone."""
    make = numbers.choice(
        (_marble, _marble, _granite, _granite, _concrete, _concrete, _terrazzo, _layers, _cracked, _bricks)
    )
    image = make(numbers, size)
    if make not in (_cracked, _bricks) and numbers.chance(0.3):
        image = _tiled(numbers, image)
    return image


def _mineral(numbers: Numbers) -> Color:
    """Mostly gray, beige, brown, red or green; sometimes any color."""
    if numbers.chance(0.15):
        return any_color(numbers)
    hue = numbers.choice((numbers.uniform(0.02, 0.14), numbers.uniform(0.25, 0.65), numbers.uniform()))
    return hsv(
        hue, numbers.uniform(0, 0.4) ** 1.5, numbers.choice((numbers.uniform(0.05, 0.98), numbers.uniform(0.6, 1)))
    )


def _marble(numbers: Numbers, size: int) -> Image:
    ground = _mineral(numbers)
    cloud = noise(
        numbers, size, size, 3, zoom=numbers.log(0.6, 2), stretch=numbers.log(1, 3), angle=numbers.uniform(0, 3.1)
    )
    image = shaded(cloud, ramp([ground, near(numbers, ground, numbers.uniform(0.05, 0.4))]))
    x, y = coordinates(size, size)
    bend = numbers.uniform(5, 50)
    x, y = (axis + bend * noise(numbers, size, size, 4, zoom=numbers.log(0.7, 2)) for axis in (x, y))
    for _ in range(numbers.integer(1, 3)):  # veins are where a warped field crosses its middle
        field = sampled(
            numbers, x, y, 4, zoom=numbers.log(0.3, 1.5), stretch=numbers.log(1, 5), angle=numbers.uniform(0, 3.1)
        )
        width = numbers.log(0.006, 0.06) * (0.2 + noise(numbers, size, size, 2))
        share = exact.power(np.clip(1 - np.abs(field - 0.5) / width, 0, 1), numbers.uniform(0.6, 2)) * numbers.uniform(
            0.3, 1
        )
        image = tinted(image, _opposed(numbers, ground), share)
    return image


def _opposed(numbers: Numbers, ground: Color) -> Color:
    """A mineral color that is darker or lighter than `ground`."""
    bright = sum(ground) > 380
    end = hsv(
        numbers.uniform(), numbers.uniform(0, 0.5), numbers.uniform(0, 0.3) if bright else numbers.uniform(0.7, 1)
    )
    return mixed(ground, end, numbers.uniform(0.4, 1))


def _granite(numbers: Numbers, size: int) -> Image:
    """Grains of a few minerals: steps of noise whose grains have one size."""
    grain = numbers.log(0.8, 5) * size / 256
    colors = [_mineral(numbers) for _ in range(numbers.integer(2, 4))]
    if numbers.chance(0.6):
        colors = [near(numbers, colors[0], numbers.uniform(0.1, 0.8)) for _ in colors]
    image = np.broadcast_to(np.array(colors[0], np.uint8), (size, size, 3)).copy()
    for color in colors[1:]:
        field = noise(numbers, size, size, numbers.choice((0, 1)), zoom=grain * numbers.log(0.6, 1.8))
        image = tinted(image, color, (field - numbers.uniform(0.4, 0.85)) * numbers.log(6, 40))
    return lit(image, 1 + numbers.uniform(0, 0.3) * (noise(numbers, size, size, 0) - 0.5))


def _concrete(numbers: Numbers, size: int) -> Image:
    ground = _mineral(numbers)
    exponent = numbers.uniform(0.6, 2.4)
    field = 0.5 + numbers.uniform(0.12, 0.3) * power_noise(numbers, size, exponent)
    image = shaded(field, ramp([near(numbers, ground, 0.05), near(numbers, ground, numbers.uniform(0.1, 0.5))]))
    color = mixed(ground, (0, 0, 0), numbers.uniform(0.3, 0.8))
    for _ in range(numbers.integer(0, 80) if numbers.chance(0.6) else 0):  # pores
        x, y = numbers.integer(0, size - 1), numbers.integer(0, size - 1)
        cv2.circle(image, (x, y), int(numbers.log(1, 3.5) * size / 256), color, -1, cv2.LINE_AA)
    if numbers.chance(0.3):
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), numbers.log(0.5, 1.5) * size / 256))
    return image


def _terrazzo(numbers: Numbers, size: int) -> Image:
    ground = _mineral(numbers)
    image = shaded(noise(numbers, size, size, 1), ramp([ground, near(numbers, ground, 0.1)]))
    colors = [_mineral(numbers) for _ in range(numbers.integer(1, 5))]
    least, most = numbers.log(1.5, 5), numbers.log(6, 22)
    for _ in range(int(numbers.log(40, 400))):
        corners = numbers.integer(4, 7)
        angles = np.sort(numbers.array(corners)) * (2 * math.pi)
        radius = numbers.log(least, most) * size / 256
        points = np.stack([exact.cosine(angles), exact.sine(angles)], axis=1) * radius + numbers.array(2) * size
        cv2.fillPoly(image, [np.rint(points * 16).astype(np.int32)], numbers.choice(colors), cv2.LINE_AA, 4)
    return image


def _layers(numbers: Numbers, size: int) -> Image:
    """Sandstone, slate and travertine: layers with gaps."""
    angle = numbers.choice((0.0, 0.5 * math.pi, numbers.uniform(0, math.pi)))
    field = noise(numbers, size, size, 2, zoom=numbers.log(0.3, 1.5), stretch=numbers.log(3, 14), angle=angle)
    first = _mineral(numbers)
    image = shaded(field, ramp([near(numbers, first, numbers.uniform(0.1, 0.6)) for _ in range(numbers.integer(2, 5))]))
    gaps = noise(numbers, size, size, 2, zoom=numbers.log(0.3, 1), stretch=numbers.log(2, 8), angle=angle)
    return lit(image, np.where(gaps > numbers.uniform(0.85, 1.05), numbers.uniform(0.3, 0.8), 1))


def _cracked(numbers: Numbers, size: int) -> Image:
    """Cobbles, crazy paving or cracked glaze: the cells that are nearest to random points, with bent borders."""
    ground = _mineral(numbers)
    count = int(numbers.log(6, 60))
    seeds = np.full((size, size), 255, np.uint8)
    seeds[tuple((numbers.array(2 * count) * size).astype(np.int64).reshape(2, count))] = 0
    _, cell = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    x, y = (
        np.arange(size) + (numbers.uniform(2, 14) * size / 256 * noise(numbers, size, size, 3)).astype(int)
        for _ in "xy"
    )
    cell = cell[np.minimum(y.T, size - 1), np.minimum(x, size - 1)]
    border = np.zeros((size, size), bool)
    border[1:] |= cell[1:] != cell[:-1]
    border[:, 1:] |= cell[:, 1:] != cell[:, :-1]
    gap = cv2.distanceTransform(np.where(border, 0, 255).astype(np.uint8), cv2.DIST_L2, 5).astype(np.float64)
    spread = numbers.uniform(0, 0.5)
    colors = np.array([near(numbers, ground, spread) for _ in range(count + 1)], np.uint8)
    image = colors[cell]
    joint = near(numbers, _opposed(numbers, ground), 0.1)
    image = tinted(image, joint, numbers.log(0.8, 6) * size / 256 + 0.5 - gap)
    return lit(image, 1 + numbers.uniform(0.05, 0.5) * (noise(numbers, size, size, numbers.choice((1, 2))) - 0.5))


def _bricks(numbers: Numbers, size: int) -> Image:
    x, y = coordinates(size, size)
    height = numbers.log(10, 70) * size / 256
    width = height * numbers.choice((1.0, 2.0, 2.5, 3.5))
    wave = noise(numbers, size, size, 2)
    x, y = x + 3 * wave + numbers.uniform(0, 99), y + 2 * wave + numbers.uniform(0, 99)
    row = np.floor(y / height)
    offset = numbers.choice((0.5, 0.33, 0.0))
    column = np.floor(x / width + offset * row)
    place = x / width + offset * row - column, y / height - row
    ground = hsv(numbers.uniform(0, 0.1), numbers.uniform(0.2, 0.8), numbers.uniform(0.3, 0.9))
    ground = ground if numbers.chance(0.6) else _mineral(numbers)
    colors = np.array([near(numbers, ground, numbers.uniform(0, 0.3)) for _ in range(16)], np.uint8)
    image = colors[((row * 5 + column * 3 + row * column) % 16).astype(np.int64)]
    edge = np.minimum(np.minimum(place[0], 1 - place[0]) * width, np.minimum(place[1], 1 - place[1]) * height)
    image = tinted(image, _mineral(numbers), numbers.log(0.8, 3) * size / 256 + 0.5 - edge)
    return lit(image, 1 + numbers.uniform(0.1, 0.6) * (noise(numbers, size, size, 1) - 0.5))


def _tiled(numbers: Numbers, image: Image) -> Image:
    """`image` cut into tiles: joints, and each tile a little lighter or darker."""
    size = image.shape[0]
    x, y = coordinates(size, size)
    pitch = numbers.log(24, 160) * size / 256
    u, v = x / pitch + numbers.uniform(), y / pitch + numbers.uniform()
    own = np.floor(u) * 0.6180339887 + np.floor(v) * 0.7548776662
    light = 1 + numbers.uniform(0, 0.4) * (own - np.floor(own) - 0.5)
    u, v = np.abs(u - np.floor(u) - 0.5), np.abs(v - np.floor(v) - 0.5)
    joint = np.maximum(u, v) > 0.5 - numbers.log(0.5, 2.5) * size / 256 / pitch
    return lit(image, light * np.where(joint, numbers.choice((0.4, 0.6, 1.3)), 1))
