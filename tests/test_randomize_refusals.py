"""Factors that are out of bounds, of the wrong type, or do not fit together are refused with their key."""

import math
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from samplers import LEAVES, randomize_of, sampler_of, world_of

from simgen.config import compose
from simgen.errors import ConfigError
from simgen.randomize import make_sampler
from simgen.scene import TEXTURES
from simgen.schema import Render


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
    """Lenses on both sides of the bound; the expected side is found by following the radial map outwards."""
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
        make_sampler(randomize_of("none"), replace(world, nominal=nominal))
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
            make_sampler(randomize_of("none"), replace(world, nominal=nominal))


def test_image_textures_with_a_folder_are_sampled() -> None:
    config = deepcopy(randomize_of("none"))
    config.images, config.table.texture, config.table.pattern = "somewhere", "image", ["integer", 0, 99]
    scenes = make_sampler(config, world_of("tabletop")).sample(0, range(4))
    assert (scenes.surfaces.material.texture[:, 0] == TEXTURES.index("image")).all()
    assert len(set(scenes.surfaces.material.pattern[:, 0].tolist())) > 1


def test_the_configuration_is_left_as_it_was() -> None:
    config = deepcopy(randomize_of("full"))
    make_sampler(config, world_of("kuka_table")).sample(0, [0])
    assert config == randomize_of("full")
