"""`Dice`: a row of random numbers that is read from left to right, for objects that need few numbers of many kinds."""

import math
from collections.abc import Iterator
from typing import TypeVar

from simgen.geometry import Array

T = TypeVar("T")


class Dice:
    """Reads the uniform numbers `numbers` (N,) in [0, 1) one by one."""

    def __init__(self, numbers: Array) -> None:
        self._numbers: Iterator[float] = iter(numbers.tolist())

    def between(self, low: float, high: float) -> float:
        """A number, uniform from `low` to `high`."""
        return low + (high - low) * next(self._numbers)

    def log(self, low: float, high: float) -> float:
        """A number, uniform in its logarithm from `low` to `high`."""
        return math.exp(self.between(math.log(low), math.log(high)))

    def whole(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + int(self.between(0, high - low + 1))

    def chance(self, share: float) -> bool:
        """True in this share of the cases."""
        return next(self._numbers) < share

    def pick(self, *options: T) -> T:
        """One of the options, equally likely."""
        return options[int(next(self._numbers) * len(options))]
