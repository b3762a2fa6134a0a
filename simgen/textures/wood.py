"""Wood: rings or grain along one direction with knots and pores, in planks or whole, natural or painted."""

import math

import numpy as np

from simgen import exact
from simgen.geometry import Array
from simgen.pictures import Image
from simgen.textures.fields import lit, ramp, sampled, shaded, turned
from simgen.textures.numbers import Color, Numbers, any_color, hsv, mixed, near


def wood(numbers: Numbers, size: int) -> Image:
    """(size, size, 3) a surface of wood."""
    scale = size / 256
    tilt = numbers.choice((0.0, 0.0, 0.5, numbers.uniform(0, 1))) * math.pi + numbers.uniform(-0.05, 0.05)
    along, across = turned(size, size, tilt)
    along, across = along / scale, across / scale  # px of a picture of 256
    light = np.ones_like(along)
    shift: Array = np.zeros_like(along)
    if numbers.chance(0.35):
        light, shift, along = _planks(numbers, along, across)
    rings = _rings(numbers, along, across, shift)
    early = numbers.uniform(0.5, 0.92)  # share of a ring before the dark late wood
    phase = _fraction(rings)
    ring = np.where(phase < early, phase / early, (1 - phase) / (1 - early))
    fibers = sampled(numbers, along, across + shift, 1, zoom=numbers.log(0.7, 1.5), stretch=numbers.log(8, 40))
    tone = sampled(numbers, along, across + shift, 3, zoom=numbers.log(1, 4), stretch=numbers.log(2, 8))
    grain, streak, drift = numbers.uniform(0.15, 1), numbers.uniform(0.05, 0.6), numbers.uniform(0, 0.5)
    field = (grain * exact.power(ring, numbers.uniform(1, 3)) + streak * fibers + drift * tone) / (
        grain + streak + drift
    )
    image = shaded((field - 0.5) * numbers.uniform(1, 2.2) + 0.5, ramp(_colors(numbers)))
    if numbers.chance(0.4):  # pores: short dark strokes along the grain
        pores = sampled(numbers, along, across + shift, 0, zoom=1, stretch=numbers.log(4, 16))
        light = light * np.where(pores > numbers.uniform(0.9, 0.98), numbers.uniform(0.5, 0.85), 1)
    return lit(image, light)


def _planks(numbers: Numbers, along: Array, across: Array) -> tuple[Array, Array, Array]:
    """The light on planks with seams, the shift of the grain of each, and `along` from each plank's own start."""
    width, length = numbers.log(18, 110), numbers.log(60, 500)
    place = across / width + numbers.uniform()
    number = np.floor(place)
    edge = np.minimum(place - number, number + 1 - place) * width
    # A plank's own number in [0, 1): the fraction of a multiple of an irrational number.
    own = _fraction(number * 0.6180339887 + numbers.uniform())
    if numbers.chance(0.6):  # short planks, whose ends are not side by side
        place = along / length + own
        edge = np.minimum(edge, np.minimum(_fraction(place), 1 - _fraction(place)) * length)
        own = _fraction((number + 17 * np.floor(place)) * 0.7548776662 + numbers.uniform())
    light = 1 + numbers.uniform(0, 0.5) * (own - 0.5)
    light = light * np.where(edge < numbers.uniform(0.4, 1.6), numbers.uniform(0.2, 0.8), 1)
    return light, own * 900, along + own * 700


def _fraction(value: Array) -> Array:
    return np.asarray(value - np.floor(value))


def _rings(numbers: Numbers, along: Array, across: Array, shift: Array) -> Array:
    """The number of rings counted from the middle of the tree at each place."""
    across = across + shift
    if numbers.chance(0.12):  # the end of a trunk
        x, y = along - numbers.uniform(-160, 160), across - shift - numbers.uniform(-160, 160)
        distance = np.sqrt(x**2 + y**2) + 8 * (sampled(numbers, along, across, 2, zoom=numbers.log(1, 3)) - 0.5)
        return np.asarray(distance / numbers.log(3, 16))
    wander = numbers.log(2, 60) * (sampled(numbers, along, across, 3, zoom=1, stretch=numbers.log(2, 10)) - 0.5)
    ripple = numbers.uniform(0, 2) * (sampled(numbers, along, across, 2, zoom=1, stretch=6) - 0.5)
    depth: Array = across + wander + ripple
    for _ in range(numbers.integer(0, 3) if numbers.chance(0.5) else 0):  # knots push the rings aside
        place, side, radius = (
            numbers.uniform(-130, 130),
            across - shift - numbers.uniform(-130, 130),
            numbers.log(4, 18),
        )
        square = ((along - place) / (2.2 * radius)) ** 2 + (side / radius) ** 2
        depth = depth + 2.5 * radius * exact.exp(-square) * np.sign(side)
        depth = np.where(square < 0.6, radius * 2 * np.sqrt(square), depth)
    if numbers.chance(0.3):  # cut near the bark: wide flames
        depth = np.sqrt(depth**2 + (along * numbers.uniform(0.05, 0.3)) ** 2)
    return np.asarray(depth / numbers.log(2.5, 24))


def _colors(numbers: Numbers) -> list[Color]:
    """Two or three colors, from the light early wood to the dark late wood."""
    kind = numbers.uniform()
    if kind < 0.6:  # natural: from birch over oak and cherry to walnut
        hue, value = numbers.uniform(0.03, 0.12), numbers.uniform(0.3, 1)
        light = hsv(hue, numbers.uniform(0.2, 0.75) * (1.2 - 0.6 * value), value)
    elif kind < 0.75:  # weathered or stained gray
        light = hsv(numbers.uniform(), numbers.uniform(0, 0.12), numbers.uniform(0.2, 0.9))
    else:  # painted
        light = any_color(numbers)
        return [light, near(numbers, light, numbers.log(0.03, 0.4))]
    dark = mixed(light, hsv(numbers.uniform(0.01, 0.09), 0.7, 0.12), numbers.uniform(0.15, 0.8))
    return [light, mixed(light, dark, numbers.uniform(0.3, 0.6)), dark]
