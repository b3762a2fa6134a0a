"""The pool of pictures: mip levels, places, and pictures that make room for others."""

import numpy as np
import pytest
from builders import sampler_of

import simgen.textures.pool
from simgen.render import make_renderer
from simgen.schema import Raycast
from simgen.textures.pool import LEVELS, SIDE, TEXELS, Key, Pool, mip_levels

STARTS = [sum((SIDE >> k) ** 2 for k in range(level)) for level in range(LEVELS)]  # each level's first texel


def picture(key: Key) -> np.ndarray:
    """One gray for each number."""
    return np.full((SIDE, SIDE, 3), key[1] % 256, np.uint8)


def shown(pool: Pool, keys: list[Key]) -> list[int]:
    """The first texel of each key's picture, in its place."""
    layers = pool.layers(keys)
    assert len(set(layers.values())) == len(set(keys))
    return [int(pool.texels[layers[key], 0, 0]) for key in keys]


def keys(*numbers: int) -> list[Key]:
    return [("wood", number) for number in numbers]


def test_each_mip_level_is_the_mean_of_the_texels_that_it_covers() -> None:
    """Rounded once, so that pictures far away are as bright as near."""
    original = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    levels = mip_levels(original)
    assert levels.shape == (TEXELS, 3)
    assert np.array_equal(levels[: SIDE * SIDE].reshape(original.shape), original)
    for level in range(LEVELS):
        side, edge = SIDE >> level, 1 << level
        texels = levels[STARTS[level] : STARTS[level] + side * side].reshape(side, side, 3)
        assert np.abs(texels - original.reshape(side, edge, side, edge, 3).mean((1, 3))).max() <= 0.5 + 1e-9
    assert len(levels) == STARTS[-1] + 1


def test_a_picture_is_made_once_and_keeps_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until as many others as fit were used since; those of one call are all there at once, however many."""
    monkeypatch.setattr(simgen.textures.pool, "MOST", 4)
    made: list[int] = []

    def make(key: Key) -> np.ndarray:
        made.append(key[1])
        return picture(key)

    pool = Pool(make)
    assert shown(pool, keys(1, 2, 1, 3)) == [1, 2, 1, 3]
    version, places = pool.version, pool.layers(keys(1, 2, 3))
    assert pool.written_since(version) == [] and set(pool.written_since(0)) == set(places.values())
    assert pool.layers(keys(3, 2)) == {key: places[key] for key in keys(3, 2)}
    assert (made, pool.version) == ([1, 2, 3], version)
    # 1 was used least recently: it makes way for the fifth.
    assert shown(pool, keys(4, 5)) == [4, 5]
    assert pool.version > version
    assert set(pool.written_since(version)) == set(pool.layers(keys(4, 5)).values())
    assert shown(pool, keys(2, 3, 4, 5)) == [2, 3, 4, 5]
    assert made == [1, 2, 3, 4, 5]
    assert shown(pool, keys(1)) == [1]
    assert made == [1, 2, 3, 4, 5, 1]
    many = keys(*range(10, 32))
    assert shown(pool, many) == list(range(10, 32))
    assert shown(pool, keys(31, 10, 99)) == [31, 10, 99]
    assert made[6:] == [*range(10, 32), 99]
    assert len(pool.texels) == 32


def test_a_picture_that_cannot_be_made_takes_no_place() -> None:
    """A file that is missing raises each time, and never shows another picture."""
    missing = True

    def make(key: Key) -> np.ndarray:
        if key[1] == 2 and missing:
            raise OSError("gone")
        return picture(key)

    pool = Pool(make)
    for _ in range(2):
        with pytest.raises(OSError, match="gone"):
            pool.layers(keys(1, 2, 3))
    missing = False
    assert shown(pool, keys(1, 2, 3)) == [1, 2, 3]


def test_pictures_that_made_way_come_back_with_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A renderer whose pool holds 3 pictures, and one that holds all, whatever was drawn between."""
    looks = [
        f"randomize.{thing}.{value}"
        for thing in ("blocks.material", "table", "wall")
        for value in ("texture=[choice,wood,collage]", "pattern=[choice,1,2]", "grime=0.5")
    ]
    sampler, world = sampler_of("randomize=none", *looks, "width=48", "height=36")
    scenes = [sampler.sample(0, [k]) for k in range(5)]
    wide = make_renderer("raycast", world, None, Raycast(), threads=1)
    wanted = [wide.render(one).rgb.copy() for one in scenes]
    monkeypatch.setattr(simgen.textures.pool, "MOST", 3)
    narrow = make_renderer("raycast", world, None, Raycast(), threads=1)
    for k in (0, 1, 2, 0, 3, 4, 1, 0):
        assert np.array_equal(narrow.render(scenes[k]).rgb, wanted[k])
    assert len(narrow._pool._layer) < len(wide._pool._layer)
