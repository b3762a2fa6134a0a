"""The scene of a sample as colored meshes, for views in 3D: `parts_of(Scenes, World)`."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simgen.catalogue import World
from simgen.dataset.write import Sample
from simgen.geometry import Array, look_at, rigid
from simgen.scene import CLUTTER, LIGHTS, PICTURES, SURFACES, TEXTURES, Materials
from simgen.shapes.solids import make_solid

Color = tuple[int, int, int]

_FAR = 1.5  # m: where a directional light is drawn
_BULB = 0.03  # m: radius of a light without size
_PLAIN = (150, 150, 150)  # color of what wears a picture and is not a visible block
_WORN = tuple(TEXTURES.index(word) for word in PICTURES)
_MIXED = tuple(TEXTURES.index(word) for word in ("gradient", "checker", "stripes", "noise"))


@dataclass(frozen=True)
class Part:
    """A mesh `vertices` (V, 3) m, `triangles` (T, 3) in its own frame, at `world_from_part` (4, 4), of one `color`, RGB from
    0 to 255. Parts whose `shape` is equal have equal meshes. `name` is a path; `label` is shown beside it. A part that
    `glows` is a light."""

    name: str
    shape: tuple[object, ...]
    vertices: Array
    triangles: NDArray[np.int64]
    world_from_part: Array
    color: Color
    label: str = ""
    glows: bool = False


def parts_of(sample: Sample, world: World) -> list[Part]:
    """Table, floor, fixtures, blocks, clutter and lights of `sample`, without the walls."""
    return [*_cell(sample, world), *_blocks(sample, world), *_clutter(sample, world), *_lights(sample)]


def _cell(sample: Sample, world: World) -> Iterator[Part]:
    scene = sample.scene
    centers, sizes, present = (values[0] for values in world.standing(scene.fixtures))
    groups = [SURFACES.index("table")]
    groups += [len(SURFACES) + number for number, group in enumerate(world.fixtures) for _ in group]
    for k in np.flatnonzero(present):
        color = _color(scene.surfaces.material, groups[k])
        yield _box("table" if k == 0 else f"fixtures/{k}", centers[k], sizes[k], color)
    room = world.room
    low, high = np.array([*room.low, room.floor - 0.01]), np.array([*room.high, room.floor])
    yield _box("floor", (low + high) / 2, high - low, _color(scene.surfaces.material, SURFACES.index("floor")))


def _blocks(sample: Sample, world: World) -> Iterator[Part]:
    blocks, slot_of = sample.scene.blocks, {label.slot: label for label in sample.labels}
    for slot in np.flatnonzero(blocks.present[0]):
        solid, scale = world.solids[blocks.model[0, slot]], float(blocks.scale[0, slot])
        color = _color(blocks.material, int(slot))
        label = slot_of.get(int(slot))
        if blocks.material.texture[0, slot] in _WORN and label is not None and label.visible.any():
            color = _rgb(sample.rgb[label.visible].mean(axis=0) / 255)  # a picture has no color of its own
        yield Part(
            f"blocks/{slot}" if label is not None else f"distractors/{slot}",
            ("solid", solid.name, scale),
            solid.vertices * scale,
            solid.triangles,
            blocks.world_from_block[0, slot],
            color,
            solid.name if label is not None else "",
        )


def _clutter(sample: Sample, world: World) -> Iterator[Part]:
    clutter = sample.scene.clutter
    for slot in np.flatnonzero(clutter.present[0]):
        kind, variant, size = int(clutter.kind[0, slot]), int(clutter.variant[0, slot]), float(clutter.size[0, slot])
        corners = np.concatenate([body.mesh.corners for body in world.clutter_of(kind, variant)])
        yield _soup(
            f"clutter/{slot} {CLUTTER[kind]}",
            ("clutter", kind, variant, size),
            corners * size,
            clutter.world_from_object[0, slot],
            _color(clutter.material, int(slot)),
        )


def _lights(sample: Sample) -> Iterator[Part]:
    lights = sample.scene.lights
    for slot in np.flatnonzero(lights.present[0]):
        kind = LIGHTS[lights.kind[0, slot]]
        away = _FAR if kind == "directional" else float(lights.distance[0, slot])
        place = away * lights.direction[0, slot]
        # A light's color is linear, a picture's is not.
        color = _rgb(np.clip(lights.color[0, slot], 0, 1) ** (1 / 2.2))
        half = float(lights.size[0, slot]) if kind in ("area", "window") else _BULB
        shape = ("sphere", half) if kind in ("directional", "point") else (kind, half)
        size = np.array([2 * half] * 3) if shape[0] == "sphere" else np.array([2 * half, 2 * half, 0.01])
        name = {"sphere": "sphere", "area": "cylinder", "window": "cube"}[str(shape[0])]
        solid = make_solid("light", "rectangular_prism" if name == "cube" else name, size)
        pose = look_at(place, np.zeros(3))
        yield Part(f"lights/{slot}", shape, solid.vertices, solid.triangles, pose, color, f"{kind} light", glows=True)


def _box(name: str, center: Array, size: Array, color: Color) -> Part:
    solid = make_solid("box", "cube", size)
    return Part(name, ("box", *size), solid.vertices, solid.triangles, rigid(np.eye(3), center), color)


def _soup(name: str, shape: tuple[object, ...], corners: Array, pose: Array, color: Color) -> Part:
    triangles = np.arange(3 * len(corners)).reshape(-1, 3)
    return Part(name, shape, corners.reshape(-1, 3), triangles, pose, color)


def _color(material: Materials, place: int) -> Color:
    """The color of a material, the mean of both where it has two."""
    texture, color = material.texture[0, place], material.color[0, place]
    if texture in _WORN:
        return _PLAIN
    return _rgb((color + material.color2[0, place]) / 2 if texture in _MIXED else color)


def _rgb(color: Array) -> Color:
    r, g, b = (int(x) for x in np.rint(255 * np.clip(color, 0, 1)))
    return r, g, b
