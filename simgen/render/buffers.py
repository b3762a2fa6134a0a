"""Scenes as arrays for the ray caster's kernels: `buffers_of(Scenes, ...)`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import warp as wp
from numpy.typing import NDArray

from simgen import exact
from simgen.catalogue import World
from simgen.geometry import Array
from simgen.render.kernels.device import BOX, Light, Material, Part, Scene
from simgen.scene import GENERATED, LIGHTS, PICTURES, SURFACES, TEXTURES, Materials, Scenes
from simgen.shapes.bodies import MESH, POLYTOPE, QUADRIC, Body, body_of, make_body
from simgen.shapes.solids import Solid
from simgen.textures.color import decode
from simgen.textures.pool import VARIANTS, Pool
from simgen.textures.procedural import ROUND_FACE, hashed_pattern

_KINDS: tuple[Any, ...] = (Part, Material, Light, Scene)
_PART, _MATERIAL, _LIGHT, _SCENE = (kind.numpy_dtype() for kind in _KINDS)
_FIELDS = ("color", "color2", "cycles", "crop", "edge", "wear", "grime", "roughness", "metalness", "specular")
DARKENING = 8  # parts of an object, its largest, that darken the ambient light of what is near
_NO_BOX = np.full(3, np.nan)
_BACKGROUND, _WALL = SURFACES.index("background"), SURFACES.index("wall")
Rows = NDArray[Any]


@dataclass
class Shapes:
    """The bodies that scenes refer to, by a key, and what the kernels need of them: a template of `Part` for each, and all
    their planes. It grows as scenes bring new bodies; `version` changes then."""

    device: str
    rows: Rows = field(default_factory=lambda: np.zeros(0, _PART))
    center: Array = field(default_factory=lambda: np.zeros((0, 3)))
    radius: Array = field(default_factory=lambda: np.zeros(0))
    planes: Array = field(default_factory=lambda: np.zeros((1, 4)))
    faces: NDArray[np.int32] = field(default_factory=lambda: np.zeros(1, np.int32))
    version: int = 0
    _keys: dict[Any, NDArray[np.int64]] = field(default_factory=dict)
    _meshes: list[Any] = field(default_factory=list)  # keeps them alive

    def numbers(self, key: Any, bodies: Any) -> NDArray[np.int64]:
        """The rows of the bodies that belong to `key`; `bodies()` makes them the first time."""
        if key not in self._keys:
            made: Sequence[Body] = bodies()
            self._keys[key] = np.arange(len(self.rows), len(self.rows) + len(made))
            self._add(made)
        return self._keys[key]

    def _add(self, bodies: Sequence[Body]) -> None:
        rows = np.zeros(len(bodies), _PART)
        end = len(self.planes)
        planes, faces = [self.planes], [self.faces]
        # Small parts of an object of many, such as a keyboard's keys, take next to no ambient light from others.
        rows["darkens"][np.argsort([-body.radius for body in bodies], kind="stable")[:DARKENING]] = 1
        for row, body in zip(rows, bodies, strict=True):
            row["kind"], row["first"], row["count"] = body.kind, end, len(body.planes)
            row["unit"], row["curve"] = body.frame, body.curve
            row["low"], row["high"] = body.low, body.high
            if body.kind == QUADRIC:
                row["metric"] = _metric(body)
            row["tone"] = -1.0 if body.tone is None else body.tone
            planes_of_body, numbers = body.planes, body.face
            sides = _box_sides(body)
            if sides is not None:
                row["kind"], planes_of_body, numbers = BOX, body.planes[sides], body.face[sides]
            normals = planes_of_body[:, :3]
            row["mesh"] = -1
            if body.kind == MESH:
                row["mesh"] = self._mesh(body)
                normals = body.mesh.normals
            axis = np.argmax(np.round(np.abs(normals), 6), axis=1) if len(normals) else np.zeros(0, np.int64)
            numbers = np.where(numbers < 0, ROUND_FACE, numbers)
            faces.append((4 * numbers + axis).astype(np.int32))
            planes.append(np.zeros((len(normals), 4)) if body.kind == MESH else planes_of_body)
            end += len(normals)
        self.rows = np.concatenate([self.rows, rows])
        self.center = np.concatenate([self.center, np.stack([body.center for body in bodies])])
        self.radius = np.append(self.radius, [body.radius for body in bodies])
        self.planes, self.faces = np.concatenate(planes), np.concatenate(faces)
        self.version += 1

    def _mesh(self, body: Body) -> int:
        points: Any = wp.array(body.vertices.astype(np.float32), dtype=wp.vec3, device=self.device)
        corners: Any = wp.array(body.triangles.astype(np.int32).ravel(), dtype=int, device=self.device)
        mesh = wp.Mesh(points, corners)
        self._meshes.append(mesh)
        return len(self._meshes) - 1

    @property
    def meshes(self) -> NDArray[np.uint64]:
        """Warp's numbers of the meshes, at least one."""
        return np.array([mesh.id for mesh in self._meshes] or [0], np.uint64)


def _metric(body: Body) -> float:
    """How long a unit of excess over the radius of a quadric is, at least, in the unit of the body's coordinates."""
    x, y, up = 1 / exact.norm(body.frame[:, :3])
    across = min(x, y)
    if body.curve[2] > 0:  # an ellipsoid
        return float(min(across, up))
    return float(across / np.sqrt(1 + (body.curve[1] * across / up) ** 2))


def _bodies_of(solid: Solid) -> list[Body]:
    return [body_of(solid)]


def _box_sides(body: Body) -> NDArray[np.int64] | None:
    """The order in which the planes of `body` are those of device.BOX; None if it is no such box."""
    if body.kind != POLYTOPE or len(body.planes) != 6:
        return None
    axes = np.repeat(np.eye(3), 2, axis=0) * np.tile([[-1.0], [1.0]], (3, 1))
    match = np.abs(axes[:, None] - body.planes[None, :, :3]).max(axis=2) < 1e-9
    return match.argmax(axis=1) if match.any(axis=1).all() else None


@dataclass(frozen=True)
class Buffers:
    """A batch as structured arrays of device.Scene (B,), Part, Light and Material; `spheres` (parts, 4) are the parts'
    bounding spheres in world coordinates, `most` the greatest number of parts in a scene. `intrinsics` (B, 4) fx, fy, cx,
    cy px."""

    scenes: Rows
    parts: Rows
    spheres: NDArray[np.float32]
    lights: Rows
    materials: Rows
    most: int
    intrinsics: Array


def buffers_of(scenes: Scenes, world: World, shapes: Shapes, pool: Pool, pictures: int) -> Buffers:
    """The arrays of `scenes`; what is not in `shapes` and `pool` is added there. `pictures` is the number of pictures in the
    user's folder."""
    batch = len(scenes)
    materials = _materials(scenes, pool, pictures)
    parts, spheres, counts = _parts(scenes, world, shapes, len(materials) // max(batch, 1))
    lights, lit = _lights(scenes, world)
    cameras, ambient = scenes.cameras, scenes.ambient
    rows = np.zeros(batch, _SCENE)
    rows["eye"] = cameras.world_from_camera[:, :3, 3]
    rows["rotation"] = cameras.world_from_camera[:, :3, :3]
    rows["focal"] = cameras.intrinsics[:, 0, 0]
    rows["parts"], rows["lights"] = counts, lit
    rows["part"], rows["light"] = np.cumsum(counts) - counts, np.cumsum(lit) - lit
    rows["surface"] = np.arange(batch) * (len(materials) // max(batch, 1)) + scenes.blocks.model.shape[1]
    rows["sky"] = ambient.sky * ambient.intensity[:, None]
    rows["ground"] = ambient.ground * ambient.intensity[:, None]
    rows["toward"], rows["reflection"], rows["occlusion"] = ambient.direction, ambient.reflection, ambient.occlusion
    rows["walls"] = scenes.surfaces.walls
    rows["seed"] = scenes.sensor.noise_seed & 0xFFFFFFFF
    k = cameras.intrinsics
    optics = np.stack([k[:, 0, 0], k[:, 1, 1], k[:, 0, 2], k[:, 1, 2]], 1)
    return Buffers(rows, parts, spheres, lights, materials, int(max(counts.max(initial=0), 1)), optics)


def _parts(
    scenes: Scenes, world: World, shapes: Shapes, materials: int
) -> tuple[Rows, NDArray[np.float32], NDArray[np.int64]]:
    """All present bodies of all scenes, scene after scene: the parts, their spheres, and their number in each scene."""
    blocks, clutter = scenes.blocks, scenes.clutter
    slots = blocks.model.shape[1]
    solids = [shapes.numbers(("solid", k), partial(_bodies_of, world.solids[k]))[0] for k in range(len(world.solids))]
    box = shapes.numbers("box", lambda: [make_body("box", (1.0, 1.0, 1.0))])
    place, edges, there = world.standing(scenes.fixtures)
    groups = np.array([len(SURFACES) + k for k, group in enumerate(world.fixtures) for _ in group], np.int64)
    surface = slots + np.concatenate([[SURFACES.index("table")], groups])
    straight = np.eye(3)
    shape: list[NDArray[np.int64]] = []
    scene, rotation, center, scale, material, slot, bounds = [], [], [], [], [], [], []

    def add(
        row: int, numbers: Any, turn: Array, at: Array, size: float, own: int, number: int, sides: Array = _NO_BOX
    ) -> None:
        shape.append(numbers)
        count = len(numbers)
        scene.append(np.full(count, row))
        rotation.append(np.broadcast_to(turn, (count, 3, 3)))
        center.append(np.broadcast_to(at, (count, 3)))
        scale.append(np.full(count, size))
        material.append(np.full(count, row * materials + own))
        slot.append(np.full(count, number))
        bounds.append(np.broadcast_to(sides, (count, 3)))

    solids_of = np.array(solids)
    offset = slots + scenes.surfaces.material.texture.shape[1]
    for row in range(len(scenes)):
        for n in np.flatnonzero(blocks.present[row]):
            pose = blocks.world_from_block[row, n]
            add(row, solids_of[[blocks.model[row, n]]], pose[:3, :3], pose[:3, 3], blocks.scale[row, n], int(n), int(n))
        for n in np.flatnonzero(there[row]):
            add(row, box, straight, place[row, n], 1.0, surface[n], -1, edges[row, n])
        for n in np.flatnonzero(clutter.present[row]):
            kind, variant = int(clutter.kind[row, n]), int(clutter.variant[row, n])
            numbers = shapes.numbers((kind, variant), partial(world.clutter_of, kind, variant))
            pose = clutter.world_from_object[row, n]
            add(row, numbers, pose[:3, :3], pose[:3, 3], clutter.size[row, n], offset + n, -1)
    if not shape:
        return np.zeros(1, _PART), np.zeros((1, 4), np.float32), np.zeros(len(scenes), np.int64)
    numbers, rows = np.concatenate(shape), np.concatenate(scene)
    turn, at, size = np.concatenate(rotation), np.concatenate(center), np.concatenate(scale)
    inverse = np.swapaxes(turn, 1, 2) / size[:, None, None]
    parts = shapes.rows[numbers]
    parts["world"][:, :, :3] = inverse
    parts["world"][:, :, 3] = -exact.dot(inverse, at[:, None])
    parts["eye"] = exact.dot(inverse, (scenes.cameras.world_from_camera[rows, :3, 3] - at)[:, None])
    parts["scale"] = size
    parts["material"], parts["slot"] = np.concatenate(material), np.concatenate(slot)
    radius, sides = shapes.radius[numbers] * size, np.concatenate(bounds)
    boxes = np.isfinite(sides[:, 0])
    parts["low"][boxes], parts["high"][boxes] = -sides[boxes] / 2, sides[boxes] / 2
    radius[boxes] = exact.norm(sides[boxes]) / 2
    middle = exact.dot(turn, (shapes.center[numbers] * size[:, None])[:, None]) + at
    spheres = np.concatenate([middle, radius[:, None] * 1.001], 1).astype(np.float32)
    return parts, spheres, np.bincount(rows, minlength=len(scenes))


def _lights(scenes: Scenes, world: World) -> tuple[Rows, NDArray[np.int64]]:
    """The lights that are present and not dark, scene after scene, and their number in each scene."""
    lights = scenes.lights
    present = lights.present & (lights.intensity > 0)
    local = (lights.kind != LIGHTS.index("directional"))[..., None]
    wide = (lights.kind == LIGHTS.index("area")) | (lights.kind == LIGHTS.index("window"))
    window = lights.kind == LIGHTS.index("window")
    direction = lights.direction
    middle = np.array([*world.table.center[:2], 0.0])
    helper = np.where(np.abs(direction[..., 2:]) < 0.9, [0.0, 0.0, 1.0], [1.0, 0.0, 0.0])
    across = np.cross(direction, helper)
    across /= np.maximum(exact.norm(across)[..., None], 1e-12)
    size = np.where(wide, lights.size, 0.0)
    light = lights.color * lights.intensity[..., None]
    rows = np.zeros(present.shape, _LIGHT)
    rows["kind"], rows["specular"], rows["shadow"] = lights.kind, lights.specular, lights.shadow
    rows["number"] = np.arange(present.shape[1])
    rows["place"] = np.where(local, middle + direction * lights.distance[..., None], direction)
    rows["strength"] = light * np.where(local, lights.distance[..., None] ** 2, 1.0)
    rows["across"], rows["up"] = across * size[..., None], np.cross(direction, across) * size[..., None]
    rows["radius"] = size * np.where(window, np.sqrt(2.0), 1.0)
    # A small source of area A at distance d gives the irradiance radiance A / d^2, which is pi times the intensity.
    share = np.where(window & (size > 0), np.pi * lights.distance**2 / (4 * np.maximum(size, 1e-9) ** 2), 0.0)
    rows["radiance"] = light * share[..., None]
    rows["kind"] = np.where(window & (size == 0), LIGHTS.index("point"), rows["kind"])
    found = rows[present]
    return (found if len(found) else np.zeros(1, _LIGHT)), present.sum(axis=1)


def _materials(scenes: Scenes, pool: Pool, pictures: int) -> Rows:
    """(B M,) the materials of all scenes: those of the blocks, the surfaces, the clutter."""
    groups = (scenes.blocks.material, scenes.surfaces.material, scenes.clutter.material)
    look = Materials(
        **{
            name: np.concatenate([getattr(group, name) for group in groups], axis=1)
            for name in Materials.__dataclass_fields__
        }
    )
    seen = np.concatenate(
        [scenes.blocks.present, np.ones(scenes.surfaces.material.texture.shape, bool), scenes.clutter.present], axis=1
    )
    first = scenes.blocks.present.shape[1]
    seen[:, first + _WALL] = scenes.surfaces.walls
    seen[:, first + _BACKGROUND] = ~scenes.surfaces.walls | (scenes.ambient.reflection > 0)
    rows = np.zeros(seen.shape, _MATERIAL)
    for name in _FIELDS:
        rows[name] = getattr(look, name)
    rows["texture"], rows["sides"] = look.texture, look.sides
    rows["color"], rows["color2"] = decode(look.color), decode(look.color2)
    rows["sine"], rows["cosine"] = exact.sine_cosine(look.angle)
    hashed = hashed_pattern(look.pattern)
    rows["low"], rows["high"], rows["hash"] = hashed & 0xFFFFFF, hashed >> 24 & 0xFFFFFF, hashed & 0xFFFF
    rows["layer"], rows["grime_layer"] = -1, 0
    wearing = {TEXTURES.index(name): name for name in PICTURES}
    keys = {}
    for b, m in zip(*np.nonzero(seen & np.isin(look.texture, list(wearing))), strict=True):
        name = wearing[int(look.texture[b, m])]
        count = pictures if name == "image" else VARIANTS
        keys[b, m] = (name, int(look.pattern[b, m]) % max(count, 1))
    dirty = {
        (b, m): ("grime", int(look.pattern[b, m]) % VARIANTS)
        for b, m in zip(*np.nonzero(seen & (look.grime > 0)), strict=True)
    }
    layers = pool.layers([*keys.values(), *dirty.values()])
    for place, key in keys.items():
        rows["layer"][place] = layers[key]
    for place, key in dirty.items():
        rows["grime_layer"][place] = layers[key]
    generated = np.isin(look.texture, [TEXTURES.index(name) for name in GENERATED])
    # Two numbers in [-0.5, 0.5) move the crop: anywhere in a generated picture, and within a photograph.
    offset = np.stack([(hashed >> 3 & 0xFFF) / 4096 - 0.5, (hashed >> 17 & 0xFFF) / 4096 - 0.5], -1)
    rows["offset"] = offset * np.where(generated, 1.0, np.maximum(1 - look.crop, 0))[..., None]
    # Half of all generated pictures have other colors than they were made with: 11 recolorings, the same edges.
    code = look.pattern // VARIANTS % 24
    rows["recolor"] = np.where(generated & (code < 12), code, 0)
    return rows.reshape(-1)
