"""The random numbers and random colors of generated pictures."""

import colorsys
import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from simgen.draws import Draws
from simgen.geometry import Array

Color = tuple[int, int, int]  # sRGB, 0 to 255
T = TypeVar("T")

_BLOCK = 1024  # numbers that are drawn at once
_ROOM = 2**20  # numbers of one block that belong to one picture


class Numbers:
    """The random numbers of picture `k` of `path`, in the order in which its generator asks for them.

    A generator asks for thousands of numbers, and how many depends on those before. So they have no paths of their own, as
    the factors of a sample do: a picture is one function of (path, k), and changes as a whole where its generator changes.
    Raises ValueError unless 0 <= k < 2^43.
    """

    def __init__(self, path: str, k: int) -> None:
        if not 0 <= k < 2**43:
            raise ValueError(f"{path}: picture number {k}; expected a number from 0 to 2^43 - 1")
        self._path, self._first = f"textures/{path}", k * _ROOM
        self._blocks = 0
        self._left: list[float] = []  # the next number is the last one

    def _block(self, n: int) -> Array:
        assert n <= _ROOM
        index = np.arange(self._first, self._first + n)
        self._blocks += 1
        return Draws(0, index, f"{self._path}/{self._blocks}").uniform()[:, 0]

    def array(self, n: int) -> Array:
        """(n,) numbers in [0, 1)."""
        return self._block(n) if n > 32 else np.array([self.uniform() for _ in range(n)])

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A number, uniform in [low, high)."""
        if not self._left:
            self._left = self._block(_BLOCK).tolist()
        return low + (high - low) * self._left.pop()

    def log(self, low: float, high: float) -> float:
        """A number in [low, high) whose logarithm is uniform."""
        return low * math.exp(self.uniform(0, math.log(high / low)))

    def integer(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + int(self.uniform() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.uniform() < probability

    def choice(self, options: Sequence[T]) -> T:
        """One of `options`."""
        return options[int(self.uniform() * len(options))]


def any_color(numbers: Numbers) -> Color:
    """A color from the whole gamut: nearly white, nearly black and gray are frequent, as among things."""
    kind = numbers.uniform()
    if kind < 0.12:
        return hsv(numbers.uniform(), numbers.uniform(0, 0.08), numbers.uniform(0.86, 1))
    if kind < 0.22:
        return hsv(numbers.uniform(), numbers.uniform(0, 0.3), numbers.uniform(0, 0.14))
    if kind < 0.36:
        return hsv(numbers.uniform(), numbers.uniform(0, 0.07), numbers.uniform(0.1, 0.9))
    return hsv(numbers.uniform(), numbers.uniform(0.1, 1), numbers.uniform(0.15, 1))


def hsv(hue: float, saturation: float, value: float) -> Color:
    """The color with this hue (of a period of 1), saturation and value, both limited to [0, 1]."""
    share = colorsys.hsv_to_rgb(hue % 1, min(max(saturation, 0), 1), min(max(value, 0), 1))
    return _bytes(share)


def near(numbers: Numbers, color: Color, spread: float) -> Color:
    """`color` with its brightness and each channel changed by up to `spread` of the range."""
    light = 1.5 * (numbers.uniform() - 0.5)
    return _bytes([c / 255 + spread * (light + numbers.uniform() - 0.5) for c in color])


def mixed(first: Color, second: Color, share: float) -> Color:
    """The color between `first` and `second` at `share` of the way."""
    return _bytes([(a + (b - a) * share) / 255 for a, b in zip(first, second, strict=True)])


def brightness(color: Color) -> float:
    """The luma of `color` in [0, 1]."""
    return (0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]) / 255


def contrasting(numbers: Numbers, ground: Color) -> Color:
    """A color that is readable on `ground`: mostly black or white, else any color that differs enough in brightness."""
    light = brightness(ground)
    if numbers.chance(0.5):
        for _ in range(6):
            color = any_color(numbers)
            if abs(brightness(color) - light) > 0.3:
                return color
    value = numbers.uniform(0, 0.2) if light > 0.5 else numbers.uniform(0.8, 1)
    return hsv(numbers.uniform(), numbers.uniform(0, 0.1), value)


def _bytes(share: Sequence[float]) -> Color:
    red, green, blue = (int(min(max(c, 0), 1) * 255 + 0.5) for c in share)
    return red, green, blue
