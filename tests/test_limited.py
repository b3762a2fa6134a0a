"""randomize.distinct_materials and distinct_layouts: how many different ones all samples have together."""

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest
from builders import sampler_of

from simgen.errors import ConfigError
from simgen.scene import Scenes

COUNT, LIMIT = 400, 7


def sampled(*overrides: str, index: range = range(COUNT)) -> Scenes:
    return sampler_of("randomize=full", *overrides)[0].sample(3, index)


def values(part: Any) -> list[np.ndarray]:
    """Each array below `part` as (B, N, ...)."""
    if isinstance(part, np.ndarray):
        return [part]
    return [array for item in fields(part) for array in values(getattr(part, item.name))] if is_dataclass(part) else []


def different(part: Any) -> int:
    """The number of different rows of all arrays below `part` together."""
    rows = np.concatenate([one.reshape(COUNT, -1).astype(np.float64) for one in values(part)], 1)
    return len(np.unique(rows, axis=0))


def same(a: Any, b: Any) -> bool:
    return all(np.array_equal(*pair, equal_nan=True) for pair in zip(values(a), values(b), strict=True))


FREE = sampled()


def test_each_surface_and_slot_has_as_many_materials_as_stated() -> None:
    """All equally likely, and which one is not the same number for all surfaces. Nothing but materials changes."""
    few = sampled(f"randomize.distinct_materials={LIMIT}")
    for group in ("blocks", "clutter", "surfaces"):
        material = getattr(few, group).material
        for slot in range(material.color.shape[1]):
            counts = np.unique(material.color[:, slot], axis=0, return_counts=True)[1]
            assert len(counts) == LIMIT and counts.min() > COUNT / LIMIT / 2
            whole = [one[:, slot].reshape(COUNT, -1).astype(float) for one in values(material)]
            assert len(np.unique(np.concatenate(whole, 1), axis=0)) == LIMIT
    table, block = few.surfaces.material.color[:, 0], few.blocks.material.color[:, 0]
    assert len(np.unique(np.concatenate([table, block], 1), axis=0)) == LIMIT**2
    for name in ("cameras", "lights", "ambient", "sensor", "fixtures"):
        assert same(getattr(few, name), getattr(FREE, name))
    assert same(few.blocks.world_from_block, FREE.blocks.world_from_block)
    assert same(few.clutter.world_from_object, FREE.clutter.world_from_object)
    assert different(FREE.blocks.material) == COUNT


def test_there_are_as_many_layouts_as_stated() -> None:
    """Their blocks wear what they would without a limit. Clutter makes room for them."""
    few = sampled(f"randomize.distinct_layouts={LIMIT}")
    layout = [few.blocks.world_from_block, few.blocks.model, few.blocks.scale, few.blocks.present]
    rows = np.concatenate([one.reshape(COUNT, -1).astype(float) for one in layout], 1)
    assert len(np.unique(rows, axis=0)) == LIMIT
    assert same(few.blocks.material, FREE.blocks.material) and same(few.surfaces, FREE.surfaces)
    for name in ("cameras", "lights", "ambient", "sensor", "fixtures"):
        assert same(getattr(few, name), getattr(FREE, name))
    # They are layouts that are also drawn without a limit: those of the first samples.
    first = FREE.blocks.world_from_block[:LIMIT].reshape(LIMIT, -1)
    assert {row.tobytes() for row in few.blocks.world_from_block.reshape(COUNT, -1)} == {row.tobytes() for row in first}


def test_a_sample_is_the_same_alone() -> None:
    limits = ["randomize.distinct_materials=5", "randomize.distinct_layouts=3"]
    together, alone = sampled(*limits), sampled(*limits, index=range(17, 18))
    for whole, part in zip(values(together.blocks), values(alone.blocks), strict=True):
        assert np.array_equal(whole[17:18], part)


@pytest.mark.parametrize("name", ["distinct_materials", "distinct_layouts"])
def test_a_limit_is_a_number_or_0(name: str) -> None:
    for value in (-1, 2**32):
        with pytest.raises(ConfigError, match=rf"^randomize\.{name}: got {value}; expected 0 \(no limit\) or"):
            sampler_of(f"randomize.{name}={value}")
