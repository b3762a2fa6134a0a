"""The randomness law, to the bit: what a sample is a function of, and which numbers each factor determines."""

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from samplers import (
    LEAVES,
    PRESETS,
    SCENES,
    assert_same,
    changed,
    determined_by,
    flat,
    randomize_of,
    sampler_of,
    world_of,
)

from simgen.distributions import Constant
from simgen.draws import Drawn, Draws
from simgen.factors import SETTINGS
from simgen.scene import SURFACES, TEXTURES, Scenes, concatenate, take

# ---- the law: a sample is a function of seed and index


@pytest.mark.parametrize("settle", [False, None, True])
@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("preset", ["full", "tobin2017"])
def test_a_sample_alone_is_the_sample_in_any_batch(preset: str, scene: str, settle: bool | None) -> None:
    sampler = sampler_of(preset, scene, settle=settle)
    index = [0, 1, 2, 3, 4, 5, 6, 1000003, 2**40]
    whole = sampler.sample(3, index)
    assert whole.index.tolist() == index
    assert_same(sampler.sample(3, index[::-1]), take(whole, slice(None, None, -1)))
    assert_same(concatenate([sampler.sample(3, [i]) for i in index]), whole)
    assert_same(concatenate([sampler.sample(3, index[:4]), sampler.sample(3, index[4:])]), whole)
    assert_same(sampler_of(preset, scene, settle=settle).sample(3, np.array(index)), whole)


@pytest.mark.parametrize("scene", SCENES)
def test_seeds_and_indices_give_different_scenes(scene: str) -> None:
    """Seed 0 is a seed like any other, and (0, 1) is not (1, 0)."""
    sampler = sampler_of("full", scene)
    assert_same(sampler.sample(0, [0]), sampler.sample(0, [0]))
    streams = [sampler.sample(seed, [index]) for seed in (0, 1, 2) for index in (0, 1, 2)]
    for left, right in combinations(streams, 2):
        differ = changed(left, right)
        assert {"cameras.position", "table.color", "sensor.noise_seed", "lights.color", "blocks.xy"} <= differ


# The other presets drop no scene: with None they are as with False.
@pytest.mark.parametrize(
    ("preset", "settle"),
    [*((preset, settle) for preset in PRESETS for settle in (None, True)), ("full", False), ("blocks", False)],
)
@pytest.mark.parametrize("scene", SCENES)
def test_no_path_is_drawn_from_twice(preset: str, scene: str, settle: bool | None) -> None:
    sampler = sampler_of(preset, scene, settle=settle)
    for attempt in (0, 2):
        trace: list[Drawn] = []
        traced = sampler.sample(1, range(3), attempt=attempt, trace=trace)
        paths = [one.path for one in trace]
        once = [path for path in paths if path != "clutter/place"]  # drawn again for further candidates of a slot
        assert len(once) == len(set(once))
        drawn = {re.sub(r"^attempt-2/", "", path) for path in paths}
        for path, leaf in sampler.leaves.items():
            uses = [one for one in drawn if one == path or one.startswith(f"{path}/")]
            assert bool(uses) == (not isinstance(leaf, Constant)) or (
                path.startswith("fixture/") and scene == "tabletop"
            )
        assert "sensor/noise_seed" in drawn
        assert_same(sampler.sample(1, range(3), attempt=attempt), traced)


def test_an_attempt_moves_the_blocks_and_nothing_else() -> None:
    sampler = sampler_of("full", settle=True)
    first, second, third = (sampler.sample(1, range(4), attempt=k) for k in range(3))
    moved = {f"{group}.{name}" for group in ("blocks", "distractors") for name in ("rotation", "xy", "z")}
    cleared = {"clutter.position", "clutter.size"}  # clutter makes way for the blocks
    assert changed(first, second) == changed(second, third) == changed(first, third) == moved | cleared | {"attempt"}
    assert third.attempt.tolist() == [2] * 4


# ---- the law: a leaf determines its own numbers and no others


# A constant for each leaf, which full draws for no sample, and a distribution, by the leaf's last name or full key.
CONSTANTS: dict[str, Any] = {
    "texture": "stripes",
    "color": [0.11, 0.22, 0.33],
    "color2": [0.44, 0.55, 0.66],
    "cycles": 3.21,
    "angle_deg": 12.3,
    "pattern": 77,
    "count": 2,
    "model": "cylinder",
    "scale": 0.9,
    "place": [-0.9, 0.1],
    "crop": 0.345,
    "grime": 0.123,
    "sides": 1,
    "edge_mm": 1.23,
    "wear": 0.234,
    "clutter/kind": "disc",
    "variant": 7,
    "clutter/size": 0.0789,
    "where": "around",
    "clutter/place": [0.93, 0.9, 0.56],
    "reflection": 0.456,
    "yaw_deg": 31.0,
    "face": 0.99,
    "walls": 0,
    "settle": 1,
    "gather": 0.95,
    "direction": [0.1, 0.2, 0.9],
    "roughness": 0.123,
    "metalness": 0.37,
    "specular": 0.21,
    "kind": "area",
    "light/distance": 2.34,
    "size": 0.123,
    "intensity": 0.41,
    "shadow": 0,
    "sky": [0.7, 0.8, 1.9],
    "ground": [0.3, 0.2, 0.1],
    "occlusion": 0.321,
    "shift": [0.1, -0.2, 0.3],
    "growth": 0.345,
    "presence": 0.22,
    "aim": [-0.71, -0.02, 0.01],
    "camera/distance": 1.2345,
    "azimuth_deg": 177.77,
    "elevation_deg": 36.3636,
    "offset": [0.01, 0.02, 0.03],
    "pan_deg": 1.1,
    "tilt_deg": -2.2,
    "roll_deg": -2.02,
    "fov_deg": 47.11,
    "fov_scale": 0.97,
    "principal_point": [0.0011, 0.0022],
    "distortion": [-0.01, 0.002, 0.0003, 0.0004, 0.00005],
    "defocus_px": 0.7,
    "motion_px": 1.7,
    "motion_deg": 45.6,
    "vignette": 0.111,
    "exposure": 0.123,
    "shot_noise": 3.3,
    "read_noise": 0.44,
    "white_balance": [0.91, 1.01, 1.11],
    "shoulder": 0.55,
    "gamma": 1.11,
    "jpeg_quality": 66,
}
COLOR = ["hsv", ["uniform", 0, 1], ["uniform", 0.2, 1], ["choice", 0.5, ["uniform", 0.6, 1]]]
DISTRIBUTIONS: dict[str, Any] = {
    "texture": ["choice", "flat", "gradient", "checker", "stripes", "noise"],
    "color": COLOR,
    "color2": ["uniform", [0, 0, 0.5], [0.5, 1, 1]],
    "cycles": ["loguniform", 0.5, 16],
    "angle_deg": ["normal", 0, 90],
    "pattern": ["choice", 5, ["integer", 10, 1000]],
    "count": ["integer", 0, 3],
    "model": ["choice", "cylinder", "cone", "pyramid"],
    "scale": ["loguniform", 0.8, 1.0],
    "place": None,  # the scene's own
    "crop": ["loguniform", 0.1, 4],
    "grime": ["uniform", 0, 1],
    "sides": ["integer", 0, 1],
    "edge_mm": ["uniform", 0, 5],
    "wear": ["choice", 0, ["uniform", 0, 1]],
    "clutter/count": ["integer", 0, 25],
    "clutter/kind": ["choice", "book", "tool", "cable"],
    "variant": ["integer", 0, 1000],
    "clutter/size": ["loguniform", 0.02, 0.3],
    "where": ["choice", "table", "around", "front"],
    "clutter/place": ["uniform", [0, 0, 0], [1, 1, 1]],
    "reflection": ["uniform", 0, 1],
    "yaw_deg": ["uniform", 0, 360],
    "face": ["choice", 0, ["uniform", 0, 1]],
    "walls": ["integer", 0, 1],
    "settle": ["choice", 0, 0, 1],
    "gather": ["uniform", 0, 1],
    "direction": ["cap", [0.3, -0.2, 1], 60],
    "roughness": ["uniform", 0.1, 1],
    "metalness": ["choice", 0, 1, ["uniform", 0, 1]],
    "specular": ["uniform", 0, 0.5],
    "kind": ["choice", "area", "directional", "point"],
    "light/distance": ["loguniform", 1, 4],
    "size": ["loguniform", 0.01, 0.5],
    "intensity": ["normal", 0.5, 0.02],
    "shadow": ["choice", 0, 1],
    "sky": ["uniform", [0.5, 0.6, 0.7], [1, 1, 2]],
    "ground": COLOR,
    "occlusion": ["uniform", 0, 1],
    "shift": ["uniform", -1, [1, 0.5, 0.2]],
    "growth": ["choice", 0, ["uniform", -1, 1]],
    "presence": ["uniform", 0, 1],
    "aim": None,
    "camera/distance": ["normal", 1.25, 0.01],
    "azimuth_deg": ["uniform", 170, 190],
    "elevation_deg": ["uniform", 30, 40],
    "offset": ["uniform", -0.02, 0.02],
    "pan_deg": ["uniform", -3, 3],
    "tilt_deg": ["normal", 0, 1],
    "roll_deg": ["uniform", -5, 5],
    "fov_deg": ["choice", 45, ["uniform", 46, 48]],
    "fov_scale": ["uniform", 0.95, 1.05],
    "principal_point": ["uniform", -0.01, 0.01],
    "distortion": ["uniform", [-0.05, 0, 0, 0, 0], [0.05, 0.01, 0.001, 0.001, 0.001]],
    "defocus_px": ["uniform", 0, 1],
    "motion_px": ["choice", 0, ["uniform", 0, 4]],
    "motion_deg": ["uniform", 0, 180],
    "vignette": ["uniform", 0, 0.5],
    "exposure": ["normal", 0, 0.3],
    "shot_noise": ["uniform", 0, 8],
    "read_noise": ["uniform", 0, 1],
    "white_balance": ["uniform", 0.9, 1.1],
    "shoulder": ["uniform", 0, 1],
    "gamma": ["loguniform", 0.8, 1.25],
    "jpeg_quality": ["integer", 50, 95],
}
LEAVES_IN_ALL = 167


def of_leaf(table: dict[str, Any], path: str) -> Any:
    return table[path] if path in table else table[path.rsplit("/", 1)[-1]]


def test_the_leaves_are_those_of_the_schema() -> None:
    def count(node: Any) -> Iterator[str]:
        for item in fields(node):
            value = getattr(node, item.name)
            if is_dataclass(value):
                yield from (f"{item.name}/{path}" for path in count(value))
            elif item.name not in SETTINGS:
                yield item.name

    assert sorted(count(randomize_of("full"))) == LEAVES
    assert len(LEAVES) == LEAVES_IN_ALL
    assert all(determined_by(path) for path in LEAVES)


@cache
def _full(scene: str, settle: bool | None, clutter: int | None = None) -> Scenes:
    leaves = {} if clutter is None else {"clutter.slots": clutter, "clutter.count": clutter}
    return sampler_of("full", scene, leaves, settle=settle).sample(5, range(5))


@pytest.mark.parametrize("path", LEAVES)
@pytest.mark.parametrize("scene", SCENES)
def test_freezing_a_leaf_changes_its_own_numbers_only(scene: str, path: str) -> None:
    settle = True if path in ("blocks/place", "distractors/place") else None  # blocks at one place need a pile
    constant = [0.1, 0.05] if settle and scene == "tabletop" else of_leaf(CONSTANTS, path)
    one = {"clutter.slots": 1, "clutter.count": 1} if path == "clutter/place" else {}  # two do not fit at one place
    frozen = sampler_of("full", scene, {path: constant, **one}, settle=settle).sample(5, range(5))
    differ = changed(_full(scene, settle, 1 if one else None), frozen)
    assert differ <= determined_by(path)
    if path.startswith("fixture/") and scene == "tabletop":
        assert not differ  # it has none
    else:
        assert differ  # and the constant arrived


@pytest.mark.parametrize("scene", SCENES)
def test_frozen_at_what_a_sample_drew_every_leaf_gives_that_sample(scene: str) -> None:
    """The leaves that are not drawn for each slot, all at once: a recipe read off the stream rebuilds the scene."""
    sampler = sampler_of("full", scene)
    for index in (0, 3):
        drawn = {}
        for path, leaf in sampler.leaves.items():
            per_slot = ("blocks/", "distractors/", "clutter/", "fixture/", "light/")
            if path.startswith(per_slot) and path != "light/count":
                continue
            numbers = leaf.sample(Draws(9, np.array([index]), path))[0].tolist()
            drawn[path] = TEXTURES[int(numbers[0])] if path.endswith("texture") else numbers
        assert len(drawn) == LEAVES_IN_ALL - 2 * (6 + 14) - (8 + 14) - 17 - 8  # without blocks', clutter's, ... own
        assert_same(sampler_of("full", scene, drawn).sample(9, [index]), sampler.sample(9, [index]))


def test_the_number_of_blocks_moves_none() -> None:
    scenes = [
        sampler_of("full", leaves={"blocks.count": n, "distractors.count": 5 - n}).sample(0, range(6)) for n in (1, 5)
    ]
    assert changed(*scenes) == {"blocks.present", "distractors.present"}
    for scene, n in zip(scenes, (1, 5), strict=True):
        assert (scene.blocks.present == ([True] * n + [False] * (6 - n) + [True] * (5 - n) + [False] * (5 + n))).all()


@pytest.mark.parametrize("scene", SCENES)
def test_every_leaf_takes_a_distribution(scene: str) -> None:
    """All at once; every array then varies from sample to sample, and stays within what was asked for."""
    leaves = {path: of_leaf(DISTRIBUTIONS, path) or "varied" for path in LEAVES}
    sampler = sampler_of("none", scene, {"clutter.slots": 25, **leaves})
    assert not [path for path, leaf in sampler.leaves.items() if isinstance(leaf, Constant)]
    arrays = flat(sampler.sample(0, range(12)))
    constant = {"attempt", "cameras.width", "cameras.height", "blocks.labelled", "distractors.labelled"}
    constant |= {
        f"{surface}.{name}" for surface in ("floor", "wall", "background") for name in ("sides", "edge", "wear")
    }  # they have no edges
    if scene == "tabletop":
        constant |= {name for name in arrays if name.startswith(("fixture.", "fixtures."))}
    for name in arrays.keys() - constant:
        assert len({row.tobytes() for row in arrays[name]}) > 1, name
    assert np.unique(arrays["sensor.jpeg_quality"]).min() >= 50
    assert set(np.unique(arrays["table.pattern"])) <= {5, *range(10, 1001)}
    assert set(np.unique(arrays["blocks.material.texture"])) == {0, 1, 2, 3, 4}
    wood = sampler_of("none", scene, {"floor.texture": "wood"}).sample(0, [0]).surfaces.material.texture
    assert TEXTURES[wood[0, SURFACES.index("floor")]] == "wood"  # not its number among the words that a floor may have
    assert np.linalg.norm(arrays["lights.direction"], axis=2) == pytest.approx(np.ones((12, 4)))
    assert set(np.unique(arrays["lights.kind"])) == {0, 1, 2}
    assert set(np.unique(arrays["lights.present"].sum(axis=1))) == {0, 1, 2, 3}
    axis = np.array([0.3, -0.2, 1]) / np.linalg.norm([0.3, -0.2, 1])
    assert (arrays["lights.direction"] @ axis >= 0.5 - 1e-12).all()
    names = [solid.name for solid in world_of(scene).solids]
    assert {names[k] for k in np.unique(arrays["blocks.model"])} == {"cylinder", "cone", "pyramid"}


@pytest.mark.parametrize("scene", SCENES)
def test_with_every_leaf_a_distribution_a_sample_alone_is_the_sample_in_a_batch(scene: str) -> None:
    leaves = {path: of_leaf(DISTRIBUTIONS, path) or "varied" for path in LEAVES}
    sampler = sampler_of("none", scene, {"clutter.slots": 25, **leaves})
    whole = sampler.sample(0, range(12))
    assert_same(concatenate([sampler.sample(0, [i]) for i in range(12)]), whole)
    trace: list[Drawn] = []
    sampler.sample(0, range(12), trace=trace)
    once = [one.path for one in trace if one.path != "clutter/place"]
    assert len(set(once)) == len(once)
