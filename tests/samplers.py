"""Samplers of presets for the tests, and what two sets of scenes differ in, to the bit."""

from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np
from builders import arrays_of

from simgen.catalogue import World, load_world
from simgen.config import compose
from simgen.geometry import transform_points
from simgen.randomize import Sampler, make_sampler
from simgen.resources import resource_folder
from simgen.scene import SURFACES, Scenes
from simgen.schema import Randomize, Render

SCENES = ("tabletop", "kuka_table")
ARMS = (
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
)
PRESETS = sorted(path.stem for path in (resource_folder("conf") / "randomize").glob("*.yaml"))
FIXTURES = {"shift": "shift", "growth": "scale", "presence": "present"}  # leaves and what they determine
SLOTS = 6  # of labelled blocks in every preset; ten of distractors follow


@cache
def randomize_of(preset: str) -> Randomize:
    return compose("render", Render, [f"randomize={preset}"]).randomize


@cache
def world_of(scene: str) -> World:
    return load_world(scene)


def sampler_of(preset: str, scene: str = "tabletop", leaves: dict[str, Any] | None = None, **options: Any) -> Sampler:
    """The sampler of a preset with some leaves (their keys below `randomize`) set to something else."""
    config = deepcopy(randomize_of(preset))
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
    result = arrays_of(scenes)
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


def vertices_of(scenes: Scenes, row: int, slot: int, world: World) -> np.ndarray:
    """The block's corners in the world, from the recipe alone."""
    solid = world.solids[scenes.blocks.model[row, slot]]
    return transform_points(scenes.blocks.world_from_block[row, slot], solid.vertices * scenes.blocks.scale[row, slot])


def determined_by(leaf: str) -> set[str]:
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


LEAVES = sorted(sampler_of("full").leaves)
