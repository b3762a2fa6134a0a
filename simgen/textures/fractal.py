"""Fractal color noise: the power of each picture falls with frequency at a rate of its own."""

import math

import numpy as np

from simgen import exact
from simgen.pictures import Image
from simgen.textures.fields import power_noise, ramp, shaded
from simgen.textures.numbers import Numbers, any_color, near


def fractal(numbers: Numbers, size: int) -> Image:
    """(size, size, 3) color noise with a power between 1/f^0.6 and 1/f^4.2."""
    exponent = numbers.uniform(0.6, 4.2)
    field = power_noise(numbers, size, exponent)
    kind = numbers.choice(("palette", "palette", "channels", "contours", "ridges", "patches"))
    if kind == "channels":  # each channel has a share of its own noise
        ground = np.array(any_color(numbers), np.float64)
        other, own = power_noise(numbers, size, exponent), numbers.uniform(-1, 1)
        strength = numbers.log(8, 80)
        noise = np.stack([field, field * own + other * math.sqrt(1 - own**2), other], axis=-1)
        return np.asarray(np.clip(ground + strength * noise + 0.5, 0, 255), dtype=np.uint8)
    first = any_color(numbers)
    colors = [first] + [
        near(numbers, first, numbers.uniform(0.1, 0.8)) if numbers.chance(0.4) else any_color(numbers)
        for _ in range(numbers.integer(1, 4))
    ]
    contrast = numbers.log(0.08, 0.6)
    if kind == "contours":
        field = exact.sine(field * numbers.uniform(1, 6) + numbers.uniform(0, 6)) * 1.5
    elif kind == "ridges":
        field = 2 - 2.5 * np.abs(field)
    elif kind == "patches":  # as camouflage
        field = np.round(field * numbers.uniform(1, 2.5)) * numbers.uniform(0.5, 1)
    return shaded(0.5 + contrast * field, ramp(colors))
