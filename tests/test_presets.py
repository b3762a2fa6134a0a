"""Every preset on every scene: what each varies and what it leaves."""

import numpy as np
import pytest
from samplers import ARMS, FIXTURES, PRESETS, SCENES, SLOTS, changed, flat, sampler_of

from simgen.geometry import inverse, transform_points
from simgen.scene import TEXTURES, take


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
