"""The randomness law, to the bit; placement, from the drawn poses alone; every preset on every scene."""

import json
import math
import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import fields, is_dataclass, replace
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from builders import PHOTOGRAPHS

from simgen.catalogue import World, load_world
from simgen.config import compose
from simgen.distributions import Constant
from simgen.draws import Drawn, Draws
from simgen.errors import ConfigError, PlacementError
from simgen.factors import SETTINGS
from simgen.geometry import inverse, project, transform_points
from simgen.randomize import ROUNDS, Sampler, make_sampler
from simgen.resources import resource_folder
from simgen.scene import LIGHTS, SURFACES, TEXTURES, Scenes, concatenate, take
from simgen.schema import Randomize, Render

SCENES = ("tabletop", "kuka_table")
ARMS = (
    *(
        "blocks",
        "distractors",
        "clutter",
        "color",
        "background",
        "light",
        "textures",
        "surroundings",
        "camera",
        "sensor",
    ),
)
PRESETS = sorted(path.stem for path in (resource_folder("conf") / "randomize").glob("*.yaml"))
FIXTURES = {"shift": "shift", "growth": "scale", "presence": "present"}  # leaves and what they determine
SLOTS = 6  # of labelled blocks in every preset; ten of distractors follow


@cache
def _randomize(preset: str) -> Randomize:
    return compose("render", Render, [f"randomize={preset}"]).randomize


@cache
def world_of(scene: str) -> World:
    return load_world(scene)


def sampler_of(preset: str, scene: str = "tabletop", leaves: dict[str, Any] | None = None, **options: Any) -> Sampler:
    """The sampler of a preset with some leaves (their keys below `randomize`) set to something else."""
    config = deepcopy(_randomize(preset))
    for key, leaf in (leaves or {}).items():
        *parents, last = key.replace("/", ".").split(".")
        node = config
        for name in parents:
            node = getattr(node, name)
        assert hasattr(node, last), key
        setattr(node, last, leaf)
    return make_sampler(config, world_of(scene), **options)


def flat(scenes: Scenes) -> dict[str, np.ndarray]:
    """Every array of Scenes by its path, split wherever different leaves determine different parts of one array."""
    result: dict[str, np.ndarray] = {}

    def walk(part: Any, path: str) -> None:
        for item in fields(part):
            value = getattr(part, item.name)
            if is_dataclass(value):
                walk(value, f"{path}{item.name}.")
            else:
                result[f"{path}{item.name}"] = np.asarray(value)

    walk(scenes, "")
    del result["index"]
    pose = result.pop("clutter.world_from_object")
    result |= {"clutter.rotation": pose[..., :3, :3], "clutter.position": pose[..., :3, 3]}
    pose = result.pop("blocks.world_from_block")
    result |= {"blocks.rotation": pose[..., :3, :3], "blocks.xy": pose[..., :2, 3], "blocks.z": pose[..., 2, 3]}
    for name in [name for name in result if name.startswith("blocks.")]:
        whole = result.pop(name)
        result[name], result[f"distractors.{name.removeprefix('blocks.')}"] = whole[:, :SLOTS], whole[:, SLOTS:]
    for name in [name for name in result if name.startswith("surfaces.material.")]:
        whole = result.pop(name)
        for k, surface in enumerate(SURFACES):
            result[f"{surface}.{name.removeprefix('surfaces.material.')}"] = whole[:, k]
        result[f"fixture.{name.removeprefix('surfaces.material.')}"] = whole[:, len(SURFACES) :]
    camera, pose = result.pop("cameras.intrinsics"), result.pop("cameras.world_from_camera")
    result |= {"cameras.focal": camera[:, [0, 1], [0, 1]], "cameras.center": camera[:, :2, 2]}
    assert np.array_equal(camera[:, [0, 1, 2, 2, 2], [1, 0, 0, 1, 2]], np.tile([0, 0, 0, 0, 1], (len(camera), 1)))
    result |= {"cameras.rotation": pose[:, :3, :3], "cameras.position": pose[:, :3, 3]}
    return result


def changed(left: Scenes, right: Scenes) -> set[str]:
    """The names of the arrays of which any bit differs."""
    a, b = flat(left), flat(right)
    assert a.keys() == b.keys()
    return {name for name in a if a[name].shape != b[name].shape or a[name].tobytes() != b[name].tobytes()}


def assert_same(left: Scenes, right: Scenes) -> None:
    assert changed(left, right) == set()


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


def _determines(leaf: str) -> set[str]:
    """The arrays that a leaf may change."""
    group, _, name = leaf.replace("/", ".").partition(".")
    name = {"material.edge_mm": "material.edge", "edge_mm": "edge"}.get(name, name)
    clutter = {
        "clutter.rotation",
        "clutter.position",
        "clutter.size",
    }  # it makes way for the blocks, fixtures and cameras
    if group == "clutter" and not name.startswith("material."):
        return {
            "count": {"clutter.present"},
            "kind": {"clutter.kind"} | clutter,
            "variant": {"clutter.variant"} | clutter,
            "yaw_deg": clutter,
            "tilt_deg": clutter,
        }.get(name, clutter)
    if group in ("blocks", "distractors", "clutter"):
        if name.startswith("material."):
            return {f"{group}.{name}".replace("_deg", "")}
        # A place is free or not by the blocks there and their sizes: these four may move whatever comes later.
        later = {f"{group}.xy", "distractors.xy"} | clutter
        return {
            "count": {f"{group}.present"},
            "model": {f"{group}.model", f"{group}.rotation", f"{group}.z"} | later,
            "scale": {f"{group}.scale", f"{group}.z"} | later,
            "place": later,
            "yaw_deg": {f"{group}.rotation"},
            "face": {f"{group}.rotation", f"{group}.z"} | clutter,
        }[name]
    if group in ("walls", "settle", "gather"):
        places = {"blocks.xy", "distractors.xy"} | clutter
        return {"walls": {"surfaces.walls"}, "settle": {"settled"} | places, "gather": places}[group]
    if group == "light":
        return {"lights.present" if name == "count" else f"lights.{name}"}
    if group == "sensor":
        return {"sensor.motion_angle" if name == "motion_deg" else f"sensor.{name}".replace("_px", "")}
    if group == "camera":
        place, turn = {"cameras.position", "cameras.rotation"} | clutter, {"cameras.rotation"} | clutter
        return {
            **dict.fromkeys(("aim", "distance", "azimuth_deg", "elevation_deg", "offset"), place),
            **dict.fromkeys(("pan_deg", "tilt_deg", "roll_deg"), turn),
            "fov_deg": {"cameras.focal"} | clutter,
            "fov_scale": {"cameras.focal"} | clutter,
            "principal_point": {"cameras.center"} | clutter,
            "distortion": {"cameras.distortion"},
        }[name]
    if group == "fixture" and name in FIXTURES:
        return {f"fixtures.{FIXTURES[name]}"} | clutter
    return {f"{group}.{name}".replace("_deg", "")}


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
LEAVES = sorted(sampler_of("full").leaves)
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

    assert sorted(count(_randomize("full"))) == LEAVES
    assert len(LEAVES) == LEAVES_IN_ALL
    assert all(_determines(path) for path in LEAVES)


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
    assert differ <= _determines(path)
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
        f"{surface}.{name}" for surface in ("floor", "wall", "background") for name in _SOLID
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


# ---- presets


@pytest.mark.parametrize("scene", SCENES)
def test_none_gives_the_same_scene_for_every_index(scene: str) -> None:
    sampler = sampler_of("none", scene)
    scenes = sampler.sample(0, range(6))
    for row in range(1, 6):
        assert changed(take(scenes, [0]), take(scenes, [row])) == {"sensor.noise_seed"}
    assert changed(sampler.sample(1, range(6)), scenes) == {"sensor.noise_seed"}
    assert scenes.blocks.present.sum(axis=1).tolist() == [1] * 6
    neutral = scenes.sensor
    for off in ("defocus", "motion", "vignette", "exposure", "shot_noise", "read_noise", "shoulder", "jpeg_quality"):
        assert not getattr(neutral, off).any(), off
    assert (neutral.gamma == 1).all()
    assert (neutral.white_balance == 1).all()


_MATERIAL = ("texture", "color", "color2", "cycles", "angle", "pattern")
_PICTURE = ("texture", "angle", "pattern", "crop", "grime")
_SOLID = ("sides", "edge", "wear")
_GLOSS = ("roughness", "specular")
_POSE = ("rotation", "xy", "z")
GROUPS: dict[str, set[str]] = {
    "blocks": {f"blocks.{name}" for name in ("present", "model", *_POSE)} | {"settled", "distractors.xy"},
    "distractors": {f"distractors.{name}" for name in ("present", "model", "scale", *_POSE)},
    "clutter": {f"clutter.{name}" for name in ("present", "kind", "variant", "size", "rotation", "position")}
    | {f"clutter.material.{name}" for name in (*_MATERIAL, *_GLOSS, "metalness")},
    "color": {
        f"{surface}.{name}"
        for surface in ("blocks.material", "distractors.material", "table", "floor", "wall", "fixture")
        for name in (*_MATERIAL, *_GLOSS)
    }
    | {f"{surface}.metalness" for surface in ("blocks.material", "distractors.material", "fixture")},
    "background": {f"background.{name}" for name in _MATERIAL}
    | {"surfaces.walls"}
    | {f"fixtures.{name}" for name in FIXTURES.values()},
    "light": {
        f"lights.{name}"
        for name in ("present", "kind", "direction", "distance", "size", "color", "intensity", "specular", "shadow")
    }
    | {f"ambient.{name}" for name in ("intensity", "sky", "ground", "occlusion")},
    "textures": {
        f"{surface}.{name}"
        for surface in ("blocks.material", "distractors.material", "table", "floor", "wall", "fixture")
        for name in (*_PICTURE, *(() if surface in ("floor", "wall") else _SOLID))
    }
    - {"table.sides"},
    "surroundings": {f"background.{name}" for name in ("texture", "angle", "pattern", "crop")}
    | {f"lights.{name}" for name in ("kind", "direction", "size")}
    | {f"ambient.{name}" for name in ("direction", "reflection", "ground")}
    | {"surfaces.walls"},
    "camera": {f"cameras.{name}" for name in ("position", "rotation", "focal", "center")},
    "sensor": {
        f"sensor.{name}"
        for name in ("defocus", "motion", "motion_angle", "vignette", "exposure", "shot_noise", "read_noise")
    }
    | {f"sensor.{name}" for name in ("white_balance", "shoulder", "gamma", "jpeg_quality")}
    | {"cameras.distortion"},
}
# What the kuka_table varies less: one box that lies on its base.
FIXED = {
    "tabletop": {f"fixture.{name}" for name in (*_MATERIAL, *_GLOSS, "metalness", *_PICTURE, *_SOLID)}
    | {f"fixtures.{name}" for name in FIXTURES.values()},
    "kuka_table": {"blocks.present", "blocks.model", "blocks.z"},
}


# What full draws otherwise than the arm: where something is that makes way for what the other arms put there, and what the
# arms textures and surroundings widen.
OTHERWISE = {
    "blocks": {"distractors.xy"},
    "distractors": {"distractors.xy"},
    "clutter": {"clutter.position", "clutter.size", "clutter.material.texture"},
    "color": {name for name in GROUPS["color"] if name.endswith(".texture")},
    "background": {"background.texture"},
    "light": {"lights.kind", "lights.direction", "lights.size", "ambient.ground"},
}


def test_every_arm_is_known_here() -> None:
    assert set(PRESETS) == {"none", "full", "photographs", "tobin2017", "adr", *ARMS}
    assert set(GROUPS) == set(ARMS)


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("arm", ARMS)
def test_an_arm_varies_its_own_group_and_nothing_else(arm: str, scene: str) -> None:
    """And what it varies has the very numbers that full gives it: the arms of an ablation are paired."""
    slots = {"clutter.slots": 25} if arm == "clutter" else {}
    none, alone, full = (
        sampler_of(preset, scene, leaves).sample(2, range(8))
        for preset, leaves in (("none", slots), (arm, {}), ("full", {}))
    )
    varied = GROUPS[arm] - FIXED[scene]
    assert changed(none, alone) <= GROUPS[arm] | ({"distractors.xy"} if arm == "blocks" else set())
    arrays = flat(alone)
    for name in varied - {"distractors.xy"}:
        assert len({row.tobytes() for row in arrays[name]}) > 1, name
    assert not (changed(alone, full) & varied) - OTHERWISE.get(arm, set())


@pytest.mark.parametrize("scene", SCENES)
def test_full_is_all_arms_together(scene: str) -> None:
    none, full = (sampler_of(preset, scene, {"clutter.slots": 25}).sample(0, range(8)) for preset in ("none", "full"))
    worn = {f"clutter.material.{name}" for name in (*_PICTURE, *_SOLID)}
    everything = set().union(worn, *GROUPS.values()) - FIXED[scene]
    assert changed(none, full) == everything


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_samples_on_every_scene(preset: str, scene: str) -> None:
    sampler = sampler_of(preset, scene)
    scenes = sampler.sample(0, range(40))
    assert len(scenes) == 40
    for name, array in flat(scenes).items():
        assert np.isfinite(array).all(), name
    assert (scenes.cameras.width, scenes.cameras.height) == (640, 480)
    assert (scenes.blocks.labelled == ([True] * SLOTS + [False] * 10)).all()
    assert np.linalg.norm(scenes.lights.direction, axis=2) - 1 == pytest.approx(0, abs=1e-12)
    for colors in (scenes.blocks.material.color, scenes.surfaces.material.color2, scenes.lights.color):
        assert colors.min() >= 0
        assert colors.max() <= 1


@pytest.mark.parametrize("scene", SCENES)
def test_tobin2017_keeps_to_the_ranges_of_the_paper(scene: str) -> None:
    """Camera within a box of 10 x 5 x 10 cm, turned by up to 0.1 rad, field of view within 5%; at most 10 distractors."""
    nominal = flat(sampler_of("none", scene).sample(0, [0]))
    scenes = sampler_of("tobin2017", scene).sample(0, range(300))
    arrays = flat(scenes)
    move = arrays["cameras.position"] - nominal["cameras.position"]
    assert (np.abs(move) <= np.array([0.05, 0.025, 0.05]) + 1e-12).all()
    assert (np.abs(move).max(axis=0) > 0.98 * np.array([0.05, 0.025, 0.05])).all()
    aim = np.array([leaf.value for path, leaf in sampler_of("none", scene).leaves.items() if path == "camera/aim"])
    toward = transform_points(inverse(scenes.cameras.world_from_camera), np.repeat(aim[None], 300, 0))[:, 0]
    pan, tilt = -np.arctan2(toward[:, 0], toward[:, 2]), np.arctan2(toward[:, 1], toward[:, 2])
    assert np.abs(pan).max() <= 0.1001 * np.sqrt(2)
    assert np.abs(tilt).max() <= 0.1001 * np.sqrt(2)
    assert np.abs(pan).max() > 0.08
    present = scenes.blocks.present[:, SLOTS:].sum(axis=1)
    assert sorted(set(present.tolist())) == list(range(11))
    assert set(np.unique(scenes.blocks.material.texture)) == {
        TEXTURES.index(t) for t in ("flat", "gradient", "checker")
    }
    assert (scenes.blocks.scale == 1).all()
    fov = 2 * np.arctan(240 / arrays["cameras.focal"])
    middle = 2 * np.arctan(240 / nominal["cameras.focal"])
    assert (np.abs(fov / middle - 1) <= 0.05 + 1e-9).all()


# ---- lights


def test_there_is_room_for_no_light_to_eight() -> None:
    """And a light is the same whatever the number of slots, and of lights."""
    wide = sampler_of("full", leaves={"light.slots": 8, "light.count": 8}).sample(0, range(20))
    assert wide.lights.present.shape == (20, 8)
    assert wide.lights.present.all()
    assert len({row.tobytes() for row in wide.lights.direction.reshape(-1, 3)}) == 160
    for slots in range(8):
        few = sampler_of("full", leaves={"light.slots": slots, "light.count": slots // 2}).sample(0, range(20))
        for item in fields(few.lights):
            if item.name != "present":
                value = getattr(wide.lights, item.name)[:, :slots]
                assert np.array_equal(getattr(few.lights, item.name), value), item.name
        assert (few.lights.present == ([True] * (slots // 2) + [False] * (slots - slots // 2))).all()
        assert {name for name in changed(few, wide) if not name.startswith("lights.")} == set()


def test_the_number_and_the_kind_of_lights_are_what_was_asked_for() -> None:
    leaves = {"light.count": ["integer", 0, 3], "light.kind": ["choice", "area", "point"]}
    lights = sampler_of("none", leaves=leaves).sample(0, range(400)).lights
    count = lights.present.sum(axis=1)
    assert (np.abs(np.bincount(count) - 100) < 40).all()
    assert len(np.bincount(count)) == 4
    assert (lights.present == (np.arange(4) < count[:, None])).all()  # the first ones
    assert {LIGHTS[k] for k in np.unique(lights.kind)} == {"area", "point"}
    assert (np.abs((lights.kind == LIGHTS.index("area")).mean(axis=0) - 0.5) < 0.1).all()  # in every slot
    for kind in LIGHTS:
        lights = sampler_of("none", leaves={"light.kind": kind}).sample(0, [0]).lights
        assert (lights.kind == LIGHTS.index(kind)).all()


# ---- placement


def plain_places(sampler: Sampler, seed: int, index: int) -> list[list[float]]:
    """The rule of placement for one sample, slot by slot and proposal by proposal; infinite where there is no place."""
    blocks = sampler.sample(seed, [index]).blocks
    radius = [sampler.world.solids[m].radius * s for m, s in zip(blocks.model[0], blocks.scale[0], strict=True)]
    middle, half = sampler.world.table.center[:2], sampler.world.table.size[:2] / 2
    taken: list[list[float]] = []
    for slot in range(sum(sampler.slots)):
        name, nth = ("blocks", slot) if slot < sampler.slots[0] else ("distractors", slot - sampler.slots[0])
        found = [math.inf, math.inf]
        for k in range(ROUNDS[-1]):
            draws = Draws(seed, np.array([index]), f"{name}/place").lanes([nth]).tries([k])
            spot = sampler.leaves[f"{name}/place"].sample(draws)[0]
            clear = [math.hypot(*(spot - other)) >= radius[slot] + r for other, r in zip(taken, radius, strict=False)]
            if all(clear) and (np.abs(spot - middle) <= half).all():
                found = spot.tolist()
                break
        taken.append(found)
    return taken


@pytest.mark.parametrize(
    ("preset", "scene", "leaves"),
    [
        ("full", "tabletop", {}),
        ("tobin2017", "kuka_table", {}),
        # a tight table: slots that need proposals of later rounds, and absent ones that find no place
        ("full", "tabletop", {"distractors.place": ["uniform", [-0.12, -0.12], [0.12, 0.12]], "distractors.count": 0}),
        ("full", "tabletop", {"distractors.place": ["uniform", [0.3, 0.2], [0.9, 0.6]], "distractors.count": 0}),
        ("full", "tabletop", {"blocks.place": [0.1, 0.1], "blocks.count": 1, "distractors.count": 0}),
    ],
)
def test_a_block_takes_its_first_proposal_that_is_free(preset: str, scene: str, leaves: dict[str, Any]) -> None:
    sampler = sampler_of(preset, scene, leaves, settle=False)
    placed = sampler.sample(4, range(12)).blocks.world_from_block[:, :, :2, 3]
    lost = 0
    for index in range(12):
        plain = np.array(plain_places(sampler, 4, index))
        some = np.isfinite(plain[:, 0])
        assert np.array_equal(placed[index, some], plain[some])
        lost += (~some).sum()
        for slot in np.flatnonzero(~some):  # an absent block without a place stays where it was first proposed
            name, nth = ("blocks", slot) if slot < SLOTS else ("distractors", slot - SLOTS)
            draws = Draws(4, np.array([index]), f"{name}/place").lanes([nth])
            assert np.array_equal(placed[index, slot], sampler.leaves[f"{name}/place"].sample(draws)[0])
    assert (lost > 0) == (len(leaves) > 1)


def vertices_of(scenes: Scenes, row: int, slot: int, world: World) -> np.ndarray:
    """The block's corners in the world, from the recipe alone."""
    solid = world.solids[scenes.blocks.model[row, slot]]
    return transform_points(scenes.blocks.world_from_block[row, slot], solid.vertices * scenes.blocks.scale[row, slot])


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("preset", ["full", "blocks", "distractors", "tobin2017"])
def test_blocks_stand_on_the_table_and_apart(preset: str, scene: str) -> None:
    """Two blocks are apart if the projections of their corners onto the line between them do not meet."""
    world = world_of(scene)
    scenes = sampler_of(preset, scene, settle=False).sample(7, range(25))
    pairs = 0
    for row in range(25):
        slots = np.flatnonzero(scenes.blocks.present[row])
        bodies = [vertices_of(scenes, row, slot, world) for slot in slots]
        for slot, body in zip(slots, bodies, strict=True):
            assert abs(body[:, 2].min()) < 1e-12
            spot = scenes.blocks.world_from_block[row, slot, :2, 3]
            assert (np.abs(spot - world.table.center[:2]) <= world.table.size[:2] / 2).all()
            rotation = scenes.blocks.world_from_block[row, slot, :3, :3]
            assert np.allclose(rotation @ rotation.T, np.eye(3), rtol=0, atol=1e-12)
            assert np.linalg.det(rotation) == pytest.approx(1)
        for (i, left), (j, right) in combinations(zip(slots, bodies, strict=True), 2):
            places = scenes.blocks.world_from_block[row, [i, j], :3, 3]
            line = places[1] - places[0]
            assert (left @ line).max() < (right @ line).min(), (row, i, j)
            pairs += 1
    assert pairs > (200 if preset in ("full", "tobin2017", "distractors") else 100 if scene == "tabletop" else -1)


def test_blocks_lie_on_each_of_their_faces() -> None:
    """`face` picks the resting face, equally likely: 0 is the base, and a cube shows all six."""
    leaves = {"blocks.model": "cube", "blocks.count": 6, "blocks.face": ["uniform", 0, 1], "blocks.yaw_deg": 0}
    scenes = sampler_of("blocks", leaves=leaves).sample(0, range(100))
    down = -scenes.blocks.world_from_block[:, :SLOTS, 2, :3].reshape(-1, 3)
    faces, counts = np.unique(down.round(6) + 0.0, axis=0, return_counts=True)
    assert len(faces) == 6
    assert (np.abs(counts - 100) < 45).all()
    base = sampler_of("blocks", leaves={**leaves, "blocks.face": 0}).sample(0, range(3))
    assert np.allclose(base.blocks.world_from_block[:, :SLOTS, :3, :3], np.eye(3), rtol=0, atol=1e-12)
    last = sampler_of("blocks", leaves={**leaves, "blocks.face": 1}).sample(0, range(3))
    assert np.allclose(last.blocks.world_from_block[:, :SLOTS, :3, 2] @ [0, 0, 1], -1)


def test_yaw_turns_from_x_towards_y() -> None:
    pose = sampler_of("none", leaves={"blocks.yaw_deg": 90}).sample(0, [0]).blocks.world_from_block[0, 0]
    assert pose[:3, 0] == pytest.approx([0, 1, 0], abs=1e-12)
    assert pose[:3, 3] == pytest.approx([0, 0, 0.025])


def test_scale_multiplies_the_size_and_keeps_the_block_on_the_table() -> None:
    world = world_of("tabletop")
    for model in (solid.name for solid in world.solids):
        for face in (0, 0.5, 0.99):
            leaves = {"blocks.model": model, "blocks.scale": 1.7, "blocks.face": face, "blocks.yaw_deg": 33}
            scenes = sampler_of("none", leaves=leaves).sample(0, [0])
            corners = vertices_of(scenes, 0, 0, world)
            assert abs(corners[:, 2].min()) < 1e-12
            solid = world.solids[scenes.blocks.model[0, 0]]
            assert np.linalg.norm(corners[0] - corners[-1]) == pytest.approx(
                1.7 * np.linalg.norm(solid.vertices[0] - solid.vertices[-1])
            )


def test_each_scene_is_placed_or_dropped_as_its_factor_states() -> None:
    """Scenes without a drop are those of a sampler that drops none; in the others, blocks take their first proposal on the
    table, gathered toward that of the first slot. All the rest is the same in both."""
    mixed, placed = sampler_of("full"), sampler_of("full", settle=False)
    index = np.arange(60)
    scenes, apart = mixed.sample(3, index), placed.sample(3, index)
    states = mixed.leaves["settle"].sample(Draws(3, index, "settle"))[:, 0]
    assert scenes.settled.tolist() == (states > 0.5).tolist()
    assert 10 < scenes.settled.sum() < 30  # a third
    assert_same(take(scenes, ~scenes.settled), take(apart, ~scenes.settled))
    dropped = take(scenes, scenes.settled)
    differ = changed(dropped, take(apart, scenes.settled))
    assert {"settled", "blocks.xy", "distractors.xy"} <= differ <= _determines("settle")
    for row, number in enumerate(dropped.index):
        draws = Draws(3, np.array([number]))
        spots = np.concatenate(
            [
                placed.leaves[f"{name}/place"].sample((draws / f"{name}/place").lanes(range(n)))
                for name, n in zip(("blocks", "distractors"), mixed.slots, strict=True)
            ]
        )  # all are on this table
        share = mixed.leaves["gather"].sample(draws / "gather")[0, 0]
        got = dropped.blocks.world_from_block[row, :, :2, 3]
        assert got == pytest.approx(spots + share * (spots[0] - spots), abs=1e-12)


@pytest.mark.parametrize("group", ["blocks", "distractors"])
def test_too_many_blocks_are_refused_with_sample_seed_and_block(group: str) -> None:
    small = ["uniform", [-0.03, -0.03], [0.03, 0.03]]
    leaves = {"blocks.count": 0, "distractors.count": 0, f"{group}.count": 6, f"{group}.place": small}
    if group == "distractors":
        leaves["blocks.slots"] = 0  # an absent block keeps its place, too
    with pytest.raises(PlacementError) as caught:
        sampler_of("none", leaves=leaves).sample(17, [40, 41])
    message = str(caught.value)
    assert message.startswith(f"randomize.{group}.place: sample 4")
    assert " of seed 17" in message
    named = re.search(group + r"\[(\d)\]", message)
    assert named
    assert 1 <= int(named[1]) <= 5
    for remedy in (f"randomize.{group}.count", "scale", "place", "physics=settle"):
        assert remedy in message
    # The block that is named is the first that does not fit: with as many as come before it, the sample is found.
    sample = int(re.search(r"sample (\d+)", message)[1])
    fewer = {**leaves, f"{group}.count": int(named[1])}
    assert len(sampler_of("none", leaves=fewer).sample(17, [sample])) == 1


def test_blocks_that_find_no_place_do_not_depend_on_their_batch() -> None:
    leaves = {"blocks.count": ["integer", 1, 6], "blocks.place": ["uniform", [-0.09, -0.09], [0.09, 0.09]]}
    sampler = sampler_of("blocks", leaves=leaves)

    def fits(index: list[int]) -> bool:
        try:
            sampler.sample(0, index)
        except PlacementError:
            return False
        return True

    alone = {i: fits([i]) for i in range(13)}
    assert set(alone.values()) == {True, False}
    good = [i for i in alone if alone[i]]
    assert_same(sampler.sample(0, good), concatenate([sampler.sample(0, [i]) for i in good]))
    for bad in (i for i in alone if not alone[i]):
        with pytest.raises(PlacementError, match=f"sample {bad} of seed 0"):
            sampler.sample(0, [*good, bad])


def test_a_place_beside_the_table_is_refused() -> None:
    for place in ([0.61, 0], [0, -0.41], ["uniform", [1, 1], [2, 2]]):
        with pytest.raises(PlacementError, match=r"blocks\[0\]"):
            sampler_of("none", leaves={"blocks.place": place}).sample(0, [0])
    sampler_of("none", leaves={"blocks.place": [0.6, -0.4]}).sample(0, [0])


# ---- cameras


def test_the_kuka_camera_is_the_calibrated_one() -> None:
    path = PHOTOGRAPHS / "kuka_table" / "calibration.json"
    if not path.is_file():
        pytest.skip(f"{path.parent.name} is not here")
    calibration = json.loads(path.read_text(encoding="utf-8"))
    cameras = sampler_of("none", "kuka_table").sample(0, [0]).cameras
    expected = [
        [calibration["fx"], 0, calibration["cx"]],
        [0, calibration["fy"], calibration["cy"]],
        [0, 0, 1],
    ]
    assert np.abs(cameras.intrinsics[0] - expected).max() < 0.01
    assert cameras.distortion[0].tolist() == [calibration["k1"], 0, 0, 0, 0]
    assert (cameras.width, cameras.height) == (calibration["width"], calibration["height"])
    assert cameras.world_from_camera[0, :3, 3] == pytest.approx(calibration["camera_position_in_table_m"], abs=1e-3)
    camera_from_table = np.array(calibration["camera_from_table"])
    assert np.abs(inverse(cameras.world_from_camera[0]) - camera_from_table).max() < 1e-4
    corners = np.array([[x, y, 0.0] for x in (-1.26, -0.88, -0.5) for y in (-0.61, 0, 0.61)])
    pixels = project(transform_points(camera_from_table, corners), np.array(expected), cameras.distortion[0])
    found = project(
        transform_points(inverse(cameras.world_from_camera[0]), corners), cameras.intrinsics[0], cameras.distortion[0]
    )
    assert np.abs(found - pixels).max() < 0.1


def test_the_camera_leaves_mean_what_the_schema_says() -> None:
    leaves = {
        "camera.aim": [0.1, 0.2, 0.05],
        "camera.distance": 0.8,
        "camera.azimuth_deg": 30,
        "camera.elevation_deg": 40,
    }
    sampler = sampler_of("none", leaves=leaves, width=200, height=100)
    cameras = sampler.sample(0, [0]).cameras
    away = cameras.world_from_camera[0, :3, 3] - [0.1, 0.2, 0.05]
    assert np.linalg.norm(away) == pytest.approx(0.8)
    assert np.degrees(np.arctan2(away[1], away[0])) == pytest.approx(30)
    assert np.degrees(np.arcsin(away[2] / 0.8)) == pytest.approx(40)
    assert (cameras.width, cameras.height) == (200, 100)
    assert cameras.intrinsics[0, :2, 2] == pytest.approx([99.5, 49.5])

    def pixel(**changes: Any) -> np.ndarray:
        """Where the aim is in the picture."""
        also = {**leaves, **{f"camera.{name}": leaf for name, leaf in changes.items()}}
        found = sampler_of("none", leaves=also, width=200, height=100).sample(0, [0]).cameras
        point = transform_points(inverse(found.world_from_camera[0]), np.array([[0.1, 0.2, 0.05]]))
        return project(point, found.intrinsics[0])[0] - [99.5, 49.5]

    focal = cameras.intrinsics[0, 0, 0]
    assert np.degrees(2 * np.arctan(50 / focal)) == pytest.approx(45)  # vertical, from border to border
    assert pixel() == pytest.approx([0, 0], abs=1e-9)
    assert pixel(offset=[0.1, -0.1, 0.2]) == pytest.approx([0, 0], abs=1e-9)  # the aim stays
    assert pixel(roll_deg=50) == pytest.approx([0, 0], abs=1e-9)
    # Turned to the right and down, what was in the middle goes left and up.
    assert pixel(pan_deg=5) == pytest.approx([-focal * np.tan(np.radians(5)), 0], abs=1e-9)
    assert pixel(tilt_deg=5) == pytest.approx([0, -focal * np.tan(np.radians(5))], abs=1e-9)
    assert pixel(principal_point=[0.1, -0.05]) == pytest.approx([10, -5])


def test_pixels_scale_with_the_size_of_the_picture() -> None:
    """The same view at another size: intrinsics scale about the corner of the picture, half a pixel out."""
    small, large = (sampler_of("full", width=w, height=h).sample(0, range(5)) for w, h in ((320, 240), (960, 720)))
    differ = changed(small, large) - {"clutter.position", "clutter.size"}
    assert differ == {"cameras.focal", "cameras.center", "cameras.width", "cameras.height"}
    assert np.allclose(small.clutter.world_from_object, large.clutter.world_from_object, rtol=0, atol=1e-9)
    assert np.allclose(large.cameras.intrinsics[:, 0, 0], 3 * small.cameras.intrinsics[:, 0, 0])
    assert np.allclose(large.cameras.intrinsics[:, :2, 2] + 0.5, 3 * (small.cameras.intrinsics[:, :2, 2] + 0.5))


@pytest.mark.parametrize(
    ("scene", "leaves", "what"),
    [
        ("tabletop", {"camera.distance": 0.01, "camera.elevation_deg": 0}, "the table"),
        ("tabletop", {"camera.aim": [0, 0, -0.02]}, "the table"),
        ("tabletop", {"camera.elevation_deg": -60}, "the floor"),
        ("tabletop", {"camera.distance": 2.5, "camera.elevation_deg": 10}, "a wall"),
        ("tabletop", {"camera.distance": 2.5, "camera.elevation_deg": 10, "camera.azimuth_deg": -90}, "a wall"),
        ("tabletop", {"camera.offset": [0, 0, 3]}, "the ceiling"),
        ("kuka_table", {"camera.aim": [0, 0, 0.3], "camera.distance": 0.05}, "a fixture"),
        # Beside the arm's column as it stands, and in it as it may stand, or as large as it may be.
        (
            "kuka_table",
            {"camera.aim": [0.12, 0, 0.3], "camera.distance": 0.01, "fixture.shift": [1, 0, 0]},
            "a fixture",
        ),
        ("kuka_table", {"camera.aim": [0.08, 0, 0.3], "camera.distance": 0.001, "fixture.growth": 1}, "a fixture"),
    ],
)
def test_a_camera_inside_or_behind_something_is_refused(scene: str, leaves: dict[str, Any], what: str) -> None:
    if what == "the table":
        leaves = {"camera.distance": 0.001, **leaves}
    sampler = sampler_of("none", scene, leaves)
    if what == "the ceiling":  # there is none: a camera may look down from above the walls
        sampler.sample(0, [0])
        return
    with pytest.raises(ConfigError, match=what) as caught:
        sampler.sample(4, [9])
    assert str(caught.value).startswith("randomize.camera: sample 9 of seed 4 ")
    if what == "a wall":
        assert len(sampler_of("none", scene, {**leaves, "walls": 0}).sample(4, [9])) == 1
    if what == "a fixture":
        assert len(sampler_of("none", scene, {**leaves, "fixture.presence": 0}).sample(4, [9])) == 1


def test_fixtures_vary_as_their_scene_says() -> None:
    """Every box by itself, within what the scene file allows and over all of it."""
    boxes = world_of("kuka_table").loose
    fixtures = sampler_of("full", "kuka_table").sample(3, range(400)).fixtures
    moves, grows = np.stack([box.moves for box in boxes]), np.array([box.grows for box in boxes])
    missing = np.array([box.missing for box in boxes])
    share = np.divide(fixtures.shift, moves, out=np.zeros_like(fixtures.shift), where=moves > 0)
    assert (np.abs(share) <= 1).all()
    assert (np.abs(share).max(0)[moves > 0] > 0.97).all()
    assert not fixtures.shift[:, moves == 0].any()
    assert np.log(fixtures.scale).min(0) == pytest.approx(-np.log1p(grows), rel=0.05)
    assert np.log(fixtures.scale).max(0) == pytest.approx(np.log1p(grows), rel=0.05)
    assert (np.abs(1 - fixtures.present.mean(0) - missing) < 4 * np.sqrt(missing * (1 - missing) / 400) + 1e-9).all()
    apart = np.corrcoef(share[:, moves[:, 0] > 0, 0].T)
    assert np.abs(apart - np.eye(len(apart))).max() < 0.3


@pytest.mark.parametrize("preset", ["none", "tobin2017"])
def test_fixtures_stand_where_they_are_said_to_unless_they_vary(preset: str) -> None:
    sampler = sampler_of(preset, "kuka_table")
    fixtures = sampler.sample(3, range(5)).fixtures
    # What is a guess, the marks and stains and what stands behind the table, is not there.
    assert [len(group) for group in sampler.world.fixtures[-2:]] == [4, 2]
    assert fixtures.present[:, :-6].all()
    assert not fixtures.present[:, -6:].any()
    assert not fixtures.shift.any()
    assert (fixtures.scale == 1).all()


# ---- what is refused


def refused(leaves: dict[str, Any], preset: str = "none", **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        sampler_of(preset, leaves=leaves, **options)
    return str(caught.value)


@pytest.mark.parametrize("path", LEAVES)
def test_nonsense_is_refused_by_every_leaf_with_its_key(path: str) -> None:
    for leaf in (["uniform", 2, 1], "banana", None, [], float("nan"), {"low": 1}):
        assert refused({path: leaf}).startswith(f"randomize.{path.replace('/', '.')}: ")


@pytest.mark.parametrize(
    ("key", "leaf"),
    [
        ("blocks.count", -1),
        ("blocks.count", 1.5),
        ("blocks.count", ["uniform", 1, 3]),
        ("blocks.count", 7),  # there are six slots
        ("blocks.count", ["integer", 1, 7]),
        ("distractors.count", ["choice", 1, ["integer", 5, 11]]),
        ("blocks.model", "sphere"),
        ("blocks.model", ["choice", "cube", "kuka_box"]),
        ("blocks.model", ["uniform", 0, 1]),
        ("blocks.scale", 0),
        ("blocks.scale", -1),
        ("blocks.scale", ["normal", 1, 0.2]),
        ("blocks.face", 1.1),
        ("blocks.place", [0, 0, 0]),
        ("blocks.place", 0.1j),
        ("blocks.material.texture", "marble"),
        ("clutter.material.texture", "faces"),
        ("clutter.kind", "spoon"),
        ("clutter.kind", "window"),
        ("clutter.where", "under"),
        ("clutter.variant", 0.5),
        ("clutter.size", 0),
        ("clutter.place", [0.5, 0.5]),
        ("clutter.place", [0.5, 0.5, 1.1]),
        ("clutter.count", 1),  # there is no slot
        ("blocks.material.crop", 0),
        ("blocks.material.edge_mm", 6),
        ("table.sides", 0.5),
        ("ambient.reflection", 1.1),
        ("ambient.direction", [0, 0, 0]),
        ("blocks.material.texture", 2),
        ("blocks.material.color", [0, 0, 1.1]),
        ("blocks.material.color", [0, 0, 255]),
        ("blocks.material.color", [0, 0]),
        ("blocks.material.color", ["normal", 0.5, 0.1]),
        ("blocks.material.cycles", 0),
        ("table.cycles", 1000),
        ("floor.pattern", -1),
        ("floor.pattern", 0.5),
        ("floor.pattern", ["uniform", 0, 9]),
        ("floor.pattern", ["choice", 1, 1.5]),
        ("walls", 2),
        ("walls", 0.5),
        ("walls", ["uniform", 0, 1]),
        ("light.direction", [0, 0, 0]),
        ("light.direction", [0, 1]),
        ("light.direction", ["choice", [0, 0, 0], [0, 0, 1]]),
        ("light.distance", 0),
        ("light.size", -0.1),
        ("light.intensity", -0.1),
        ("light.specular", -0.1),
        ("light.count", -1),
        ("light.count", 1.5),
        ("light.count", 5),  # there are four slots
        ("light.kind", "sun"),
        ("light.kind", ["choice", "point", "sun"]),
        ("light.kind", 1),
        ("ambient.intensity", -0.1),
        ("ambient.sky", [1, 1, -0.1]),
        ("ambient.ground", [1, 1]),
        ("ambient.occlusion", 1.1),
        ("blocks.material.roughness", 1.1),
        ("table.metalness", -0.1),
        ("fixture.specular", ["normal", 0.5, 0.1]),
        ("light.shadow", 0.5),
        ("light.color", [2, 0, 0]),
        ("camera.distance", 0),
        ("camera.distance", ["uniform", -1, 1]),
        ("camera.elevation_deg", 91),
        ("camera.fov_deg", 0),
        ("camera.fov_deg", 180),
        ("camera.aim", 1 + 1j),
        ("camera.distortion", [0, 0, 0, 0]),
        ("camera.principal_point", [2, 0]),
        ("sensor.exposure", 2000),
        ("sensor.gamma", 0),
        ("sensor.shot_noise", -1),
        ("sensor.read_noise", -1),
        ("sensor.defocus_px", -1),
        ("sensor.motion_px", 61),
        ("sensor.vignette", 1.1),
        ("sensor.shoulder", -0.1),
        ("sensor.jpeg_quality", 101),
        ("sensor.jpeg_quality", 50.5),
        ("sensor.white_balance", [1, 1, -1]),
        ("sensor.white_balance", [1, 1]),
    ],
)
def test_what_is_out_of_bounds_is_refused_with_its_key(key: str, leaf: Any) -> None:
    message = refused({key: leaf})
    assert message.startswith(f"randomize.{key}: "), message


@pytest.mark.parametrize(
    ("leaves", "says"),
    [
        ({"blocks.slots": -1}, "randomize.blocks.slots: got -1"),
        ({"blocks.slots": 5000}, "randomize.blocks.slots: got 5000"),
        ({"blocks.slots": 0}, "randomize.blocks.count: up to 1, but randomize.blocks.slots=0"),
        ({"light.slots": -1}, "randomize.light.slots: got -1; expected 0 to 8"),
        ({"light.slots": 9}, "randomize.light.slots: got 9; expected 0 to 8"),
        ({"light.slots": 2, "light.count": ["integer", 0, 3]}, "randomize.light.count: up to 3, but randomize.light"),
        ({"blocks.slots": 0, "blocks.count": 0, "distractors.slots": 0}, "randomize.blocks.slots: got 0"),
        ({"clutter.slots": 201}, "randomize.clutter.slots: got 201; expected 0 to 200"),
        (
            {"clutter.kind": ["choice", "mug", "mesh"]},
            "randomize.clutter.kind: 'mesh' needs a folder of mesh files; set",
        ),
        ({"clutter.meshes": "x"}, "randomize.clutter.meshes: x has no effect: no kind is mesh; set one, for example "),
        (
            {"images": "x"},
            "randomize.images: x has no effect: no texture is image; set one, for example randomize.table.",
        ),
        ({"table.texture": "image"}, "randomize.table.texture: 'image' needs a folder"),
        ({"blocks.material.texture": ["choice", "flat", "image"]}, "randomize.blocks.material.texture: 'image' needs"),
    ],
)
def test_leaves_that_do_not_fit_together_are_refused(leaves: dict[str, Any], says: str) -> None:
    assert refused(leaves).startswith(says)


def test_a_lens_that_does_not_fill_the_picture_is_refused() -> None:
    """Its radial map turns back before the corners: no ray falls on them."""
    with pytest.raises(ConfigError, match=r"^randomize\.camera\.distortion: sample 3 of seed 2"):
        sampler_of("none", leaves={"camera.distortion": [-5, 0, 0, 0, 0]}).sample(2, [3])


def test_a_lens_is_refused_exactly_where_it_leaves_a_corner_without_a_ray() -> None:
    """Lenses on both sides of the bound, told apart by following the radial map outwards."""
    rng = np.random.default_rng(0)
    sampler = sampler_of("none")
    verdicts = []
    for _ in range(150):
        lens = (rng.normal(size=5) * [0.4, 0.3, 0.001, 0.001, 0.1]).tolist()
        config = sampler_of("none", leaves={"camera.distortion": lens})
        camera = sampler.sample(0, [0]).cameras.intrinsics[0]
        corner = np.hypot(319.5 / camera[0, 0], 239.5 / camera[1, 1])
        radius = np.linspace(0, 8, 80001)
        radial = radius * (1 + lens[0] * radius**2 + lens[1] * radius**4 + lens[4] * radius**6)
        turn = np.flatnonzero(np.diff(radial) < 0)
        edge = radial[turn[0]] if len(turn) else math.inf
        if abs(corner - 0.98 * edge) < 1e-3:
            continue  # as near as the steps tell
        verdicts.append(corner < 0.98 * edge)
        try:
            config.sample(0, [0])
        except ConfigError:
            assert not verdicts[-1], lens
        else:
            assert verdicts[-1], lens
    assert 30 < sum(verdicts) < len(verdicts) - 30


@pytest.mark.parametrize("size", [{"width": 7}, {"height": 0}, {"width": -640}, {"height": 20000}])
def test_a_picture_of_no_size_is_refused(size: dict[str, int]) -> None:
    ((key, value),) = size.items()
    assert refused({}, **size).startswith(f"{key}: got {value}; expected 8 to 16384")


def test_an_unknown_leaf_is_refused_with_its_key() -> None:
    for override in ("randomize.camera.distnace=1", "randomize.blocks.material.colour=[1,0,0]", "randomize.fog=1"):
        with pytest.raises(ConfigError, match=override.split("=")[0].rsplit(".", 1)[1]):
            compose("render", Render, [override])


def test_a_scene_that_lacks_a_leaf_is_named() -> None:
    world = world_of("tabletop")
    nominal = {**world.nominal, "camera": {k: v for k, v in world.nominal["camera"].items() if k != "fov_deg"}}
    with pytest.raises(ConfigError) as caught:
        make_sampler(_randomize("none"), replace(world, nominal=nominal))
    message = str(caught.value)
    assert message.startswith("randomize.camera.fov_deg: 'nominal' needs the leaf nominal.camera.fov_deg in scene")
    with pytest.raises(ConfigError, match=r"randomize\.light\.size: 'varied' needs the leaf varied\.light\.size"):
        sampler_of("none", leaves={"light.size": "varied"})


def test_a_leaf_of_the_scene_that_has_no_counterpart_is_named() -> None:
    """A word that is misspelt in the scene file would otherwise never take effect."""
    world = world_of("tabletop")
    for section, wrong in (("camera", "distnace"), ("blocks", "colour"), ("wall", "texture_")):
        nominal = {**world.nominal, section: {**world.nominal.get(section, {}), wrong: 1}}
        with pytest.raises(ConfigError, match=wrong):
            make_sampler(_randomize("none"), replace(world, nominal=nominal))


def test_image_textures_with_a_folder_are_sampled() -> None:
    config = deepcopy(_randomize("none"))
    config.images, config.table.texture, config.table.pattern = "somewhere", "image", ["integer", 0, 99]
    scenes = make_sampler(config, world_of("tabletop")).sample(0, range(4))
    assert (scenes.surfaces.material.texture[:, 0] == TEXTURES.index("image")).all()
    assert len(set(scenes.surfaces.material.pattern[:, 0].tolist())) > 1


def test_the_configuration_is_left_as_it_was() -> None:
    config = deepcopy(_randomize("full"))
    make_sampler(config, world_of("kuka_table")).sample(0, [0])
    assert config == _randomize("full")
