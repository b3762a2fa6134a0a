"""Scenes in which a factor is visible: what is changed in a scene where nothing varies, so that pictures along it differ.

A light without shadow, a table without a pattern, or a camera that does not see the floor would hide a factor. Each entry of
STAGES has settings for the factors that match a pattern; of one key, the last entry counts. Only keys that have the value of
`randomize=none` are changed, so what the user has set stays.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from simgen.catalogue import World, load_world
from simgen.explain.presets import flat_values, values_of_preset
from simgen.schema import Randomize

_MIXED = ["hsv", ["uniform", 0, 1], ["uniform", 0.5, 1], ["uniform", 0.4, 0.9]]
_LOW = {"camera.elevation_deg": 12, "camera.distance": 1.2, "camera.aim": [0, 0, 0.1]}  # sees walls or background
_PATTERNED = "*table.%s *floor.%s *wall.%s *background.%s *fixture.%s *material.%s"
_MADE_FOR = "tabletop"  # the scene for which the settings of camera and blocks were chosen
_OF_THE_SCENE = "camera.* *s.slots *s.place blocks.count blocks.model"  # of other scenes, these stay
_ANYWHERE = {
    "distractors.count": 1,
    "clutter.place": ["uniform", [0, 0, 0], [1, 1, 1]],
}  # and these replace the stage's
_FIXTURES = "kuka_table"  # the bundled scene with boxes beside the table
# One large block, or one large object, on the table's center.
_CLOSE = {
    "blocks.count": 1,
    "blocks.model": "nominal",
    "blocks.place": [0, 0],
    "blocks.yaw_deg": 30,
    "camera.distance": 0.16,
    "camera.azimuth_deg": 0,
    "camera.aim": [0, 0, 0.02],
}
_NO_BLOCKS = {"blocks.slots": 1, "blocks.count": 0, "blocks.place": [0.5, -0.35]}  # absent blocks keep places, too
_BESIDE = {
    **_CLOSE,
    **_NO_BLOCKS,
    "distractors.count": 1,
    "distractors.place": [0, 0],
    "distractors.yaw_deg": 30,
}
_OBJECT = {
    **_CLOSE,
    "distractors.slots": 0,
    "blocks.place": [0.3, -0.3],
    "clutter.slots": 1,
    "clutter.count": 1,
    "clutter.kind": "mug",
    "clutter.size": 0.16,
    "clutter.where": "table",
    "clutter.place": [0.5, 0.5, 0.5],
    "clutter.yaw_deg": 60,
    "clutter.tilt_deg": 0,
    "camera.distance": 0.55,
    "camera.aim": [0, 0, 0.06],
}
_SOME = {
    "clutter.slots": 12,
    "clutter.count": 10,
    "clutter.kind": ["choice", "mug", "bottle", "tool", "book", "ball", "cable", "keyboard"],
    "clutter.variant": ["integer", 0, 63],
    "clutter.size": ["loguniform", 0.08, 0.25],
    "clutter.place": ["uniform", [0, 0, 0], [1, 1, 1]],
    "clutter.yaw_deg": ["uniform", 0, 360],
    "clutter.material.color": _MIXED,
}
_SHINY = {"light.direction": [-1, 0.1, 0.9], "light.specular": 1.5}  # the highlight points to the camera
_ROOM = {  # a room that glossy surfaces mirror
    "walls": 0,
    "background.texture": "collage",
    "ambient.reflection": 1,
}


_DETAILS = (
    "sensor.defocus_px sensor.motion_px sensor.motion_deg sensor.jpeg_quality sensor.shot_noise sensor.read_noise"
)
_CLOSE_UP = {
    **_CLOSE,
    "camera.distance": 0.35,
    "blocks.material.texture": "checker",
    "blocks.material.cycles": 3,
    "table.texture": "noise",
    "table.cycles": 20,
}

STAGES: tuple[tuple[str, Mapping[str, Any]], ...] = (
    (
        "*",
        {
            "blocks.count": 5,
            "blocks.model": "any",
            "blocks.place": ["uniform", [-0.2, -0.2], [0.2, 0.2]],
            "blocks.yaw_deg": ["uniform", 0, 360],
            "blocks.material.color": _MIXED,
            "camera.distance": 0.75,
            "light.direction": [0.3, 0.6, 0.8],
        },
    ),
    ("blocks.scale blocks.yaw_deg blocks.face", {"blocks.count": 3, "camera.distance": 0.6}),
    ("blocks.scale", {"blocks.slots": 3}),  # no block has to move to make room for another
    ("gather settle", {"blocks.count": 6}),
    ("gather", {"settle": 1}),
    ("settle", {"gather": 0.9}),
    ("distractors.*", {"distractors.count": 4, "distractors.place": ["uniform", [-0.2, -0.2], [0.2, 0.2]]}),
    ("distractors.scale distractors.yaw_deg distractors.face", {**_NO_BLOCKS, "camera.distance": 0.6}),
    ("distractors.scale", {"distractors.slots": 3, "distractors.count": 3}),
    ("distractors.*", {"distractors.model": "any"}),
    ("blocks.place", {"blocks.count": 1}),
    ("distractors.place", {**_NO_BLOCKS, "distractors.count": 1}),
    ("distractors.count", {"distractors.place": ["uniform", [-0.35, -0.3], [0.35, 0.3]]}),
    ("blocks.material.*", _CLOSE),
    ("distractors.material.*", _BESIDE),
    ("clutter.*", _SOME),
    ("clutter.kind clutter.variant clutter.size clutter.place clutter.yaw_deg clutter.tilt_deg clutter.material.*", _OBJECT),
    ("clutter.count", {"clutter.slots": 25}),
    ("clutter.variant", {"clutter.kind": "tool"}),
    ("clutter.material.*", {"camera.distance": 0.4}),
    ("clutter.place", {"clutter.where": "front"}),  # where all three numbers count
    ("clutter.where", {"camera.distance": 1.7, "camera.elevation_deg": 20, "camera.aim": [-0.3, 0, 0]}),
    ("clutter.size", {"camera.distance": 0.9}),
    ("table.*", {"blocks.count": 2, "camera.distance": 1.0}),
    ("floor.*", {"camera.distance": 2.0, "camera.elevation_deg": 32}),
    ("wall.* walls", _LOW),
    ("background.*", {**_LOW, "walls": 0}),
    (_PATTERNED.replace("%s", "texture"), {"S.pattern": 5, "S.crop": 0.5}),
    (_PATTERNED.replace("%s", "color2"), {"S.texture": "checker"}),
    (_PATTERNED.replace("%s", "cycles"), {"S.texture": "checker"}),
    (_PATTERNED.replace("%s", "angle_deg"), {"S.texture": "stripes"}),
    (_PATTERNED.replace("%s", "pattern"), {"S.texture": "collage"}),
    (_PATTERNED.replace("%s", "crop"), {"S.texture": "collage", "S.pattern": 5}),
    (_PATTERNED.replace("%s", "sides"), {"S.texture": "collage", "S.pattern": 5, "S.crop": 0.5}),
    (_PATTERNED.replace("%s", "grime"), {"S.pattern": 23, "S.color": [0.9, 0.9, 0.85]}),
    (_PATTERNED.replace("%s", "edge_mm"), {**_SHINY, **_ROOM, "S.roughness": 0.2}),
    (_PATTERNED.replace("%s", "wear"), {"S.edge_mm": 2, "S.color": [0.1, 0.3, 0.6]}),
    (_PATTERNED.replace("%s", "roughness"), {**_SHINY, **_ROOM, "S.metalness": 0.8}),
    (_PATTERNED.replace("%s", "metalness"), {**_SHINY, **_ROOM, "S.roughness": 0.25}),
    (_PATTERNED.replace("%s", "specular"), {**_SHINY, **_ROOM, "S.roughness": 0.15}),
    (
        "wall.roughness wall.metalness wall.specular",
        {"walls": 1, "light.kind": "point", "light.distance": 1.5, "light.direction": [1, 0, 0.2]},
    ),
    (
        "table.edge_mm table.wear",
        {"camera.aim": [0.58, 0, 0], "camera.distance": 0.16, "camera.elevation_deg": 35, "blocks.count": 1},
    ),
    ("light.distance", {"light.kind": "point"}),
    ("light.size", {"light.kind": "area", "light.distance": 1.0, "camera.distance": 0.5}),
    ("light.kind", {"light.distance": 1.0, "light.size": 0.4, "light.direction": [-1, 0.2, 0.5], **_LOW}),
    ("light.count", {"light.direction": ["cap", [0, 0, 1], 60]}),
    ("light.shadow light.direction", {"camera.distance": 0.5}),
    ("light.specular", {**_CLOSE, **_SHINY, "blocks.material.roughness": 0.3, "table.roughness": 0.3}),
    ("ambient.*", {"light.intensity": 0.15, "ambient.intensity": 0.6}),
    ("ambient.direction", {"ambient.ground": [0.1, 0.1, 0.15]}),
    ("ambient.occlusion", {"camera.distance": 0.45, "gather": 1}),
    ("ambient.reflection", {**_CLOSE, **_ROOM, "blocks.material.metalness": 1, "blocks.material.roughness": 0.1}),
    (_DETAILS, _CLOSE_UP),
    ("sensor.motion_deg", {"sensor.motion_px": 12}),
    ("sensor.read_noise", {"sensor.exposure": -2, "sensor.gamma": 1.25}),
    ("sensor.shoulder", {"sensor.exposure": 1.0}),
    ("camera.distortion", {"table.texture": "checker", "table.cycles": 8, "camera.fov_deg": 60}),
)  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """What the pictures of a factor begin with: the name or file of the scene and its world, the factors, and which settings
    differ from what was configured (by key below randomize, and `scene`). With `detail`, the factor changes single pixels:
    the pictures are then the middle of pictures of the size that the scene's camera has."""

    scene: str
    world: World
    randomize: Randomize
    changed: Mapping[str, Any]
    detail: bool


def staged(factor: str, scene: str, randomize: Randomize, world: World) -> Stage:
    """The scene `scene` with `randomize`, changed so that `factor` is visible."""
    plain, values = values_of_preset("none"), flat_values(randomize)
    changed: dict[str, Any] = {}
    section = factor.rpartition(".")[0]
    for patterns, settings in STAGES:
        if _is_any(factor, patterns):
            changed.update({key.replace("S.", f"{section}.", 1): value for key, value in settings.items()})
    if factor.startswith("fixture.") and not world.loose:
        scene, world = _FIXTURES, _with_fixtures()
        changed["scene"] = scene
    if world.name != _MADE_FOR:  # which blocks have room, and where the camera may be, is known to the scene alone
        changed = {key: value for key, value in changed.items() if not _is_any(key, _OF_THE_SCENE)}
        changed.update({key: value for key, value in _ANYWHERE.items() if key in changed})
        if factor in ("blocks.count", "distractors.count") and "place" in world.varied.get(section, {}):
            changed[f"{section}.place"] = "varied"
    changed = {
        key: value
        for key, value in changed.items()
        if key == "scene" or (key != factor and values[key] == plain[key] != value)
    }
    factors = {key: value for key, value in changed.items() if key != "scene"}
    return Stage(scene, world, with_values(randomize, factors), changed, _is_any(factor, _DETAILS))


def _is_any(factor: str, patterns: str) -> bool:
    return any(fnmatchcase(factor, pattern) for pattern in patterns.split())


@cache
def _with_fixtures() -> World:
    return load_world(_FIXTURES)


def with_values(randomize: Randomize, values: Mapping[str, Any]) -> Randomize:
    """`randomize` with other `values` by key: {"camera.distance": 0.5}."""
    result = deepcopy(randomize)
    for path, value in values.items():
        *above, name = path.split(".")
        node: Any = result
        for part in above:
            node = getattr(node, part)
        setattr(node, name, value)
    return result
