"""The pictures that surfaces wear, with mip levels, in one array that the ray caster's kernels sample."""

from collections.abc import Callable, Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen.pictures import Image

SIDE = 256  # px, a power of two
LEVELS = SIDE.bit_length()  # the last has one texel
TEXELS = sum((SIDE >> level) ** 2 for level in range(LEVELS))
VARIANTS = 64  # pictures of each generated family
MOST = 512  # pictures held at once: 134 MB

Key = tuple[str, int]  # a texture and the picture's number


class Pool:
    """Pictures by key, each made once by `make` (a key's picture, (SIDE, SIDE, 3) uint8) and kept until MOST others were
    used since. `texels` (capacity, TEXELS, 3) uint8 holds them; its capacity grows as needed."""

    def __init__(self, make: Callable[[Key], Image]) -> None:
        self._room = np.zeros((MOST, TEXELS, 3), np.uint8)  # the system gives memory to what is written alone
        self.texels = self._room[:8]
        self.version = 0  # changes whenever `texels` does
        self._make = make
        self._written: dict[int, int] = {}  # layer: the version since which it is as it is
        self._layer: dict[Key, int] = {}  # in the order of their last use

    def layers(self, keys: Iterable[Key]) -> dict[Key, int]:
        """The place of each of `keys` in `texels`, which holds all of them at once."""
        wanted = dict.fromkeys(keys)
        for key in [key for key in wanted if key in self._layer]:
            self._layer[key] = self._layer.pop(key)
        for key in wanted:
            if key not in self._layer:
                texels = mip_levels(self._make(key))  # before it has a place: a picture may be missing
                layer = self._free(wanted)
                self.texels[layer] = texels
                self._layer[key] = layer
                self.version += 1
                self._written[layer] = self.version
        return {key: self._layer[key] for key in wanted}

    def written_since(self, version: int) -> list[int]:
        """The layers of `texels` that are others than at `version`."""
        return [layer for layer, since in self._written.items() if since > version]

    def _free(self, wanted: dict[Key, None]) -> int:
        """A place in `texels` for one more picture."""
        if len(self._layer) >= MOST:
            oldest = next(key for key in self._layer)
            if oldest not in wanted:
                return self._layer.pop(oldest)
        if len(self._layer) == len(self._room):
            self._room = np.concatenate([self._room, np.zeros_like(self._room)])
        if len(self._layer) == len(self.texels):
            self.texels = self._room[: 2 * len(self.texels)]
        return len(self._layer)


def mip_levels(picture: Image) -> NDArray[np.uint8]:
    """(TEXELS, 3): `picture` (SIDE, SIDE, 3) and its mip levels: the means of 2 x 2, 4 x 4, ... of its texels. Each is
    rounded once: rounded from level to level, a picture would become brighter."""
    sides = [SIDE >> level for level in range(1, LEVELS)]
    levels = [picture, *(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA) for side in sides)]
    return np.concatenate([level.reshape(-1, 3) for level in levels])
