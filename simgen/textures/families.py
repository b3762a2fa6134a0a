"""The families of generated pictures that surfaces wear."""

from collections.abc import Callable

from simgen.pictures import Image
from simgen.textures.collage import collage
from simgen.textures.fabric import fabric
from simgen.textures.fractal import fractal
from simgen.textures.numbers import Numbers
from simgen.textures.prints import printed
from simgen.textures.stone import stone
from simgen.textures.wood import wood

_MAKERS: dict[str, Callable[[Numbers, int], Image]] = {
    "collage": collage,
    "print": printed,
    "wood": wood,
    "stone": stone,
    "fabric": fabric,
    "fractal": fractal,
}
FAMILIES = tuple(_MAKERS)


def picture_of(family: str, k: int, size: int = 256) -> Image:
    """Picture number `k` of `family`, one of FAMILIES: (size, size, 3) uint8 sRGB, a pure function of its arguments.

    It may be repeated mirrored at its borders. Another size is another picture, not the same one scaled. Raises ValueError
    unless 0 <= k < 2^43.
    """
    return _MAKERS[family](Numbers(family, k), size)
