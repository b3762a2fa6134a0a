"""Places clutter in scenes, clear of blocks, of the camera and of other clutter: `place_clutter`.

All slots of a sample get a place, present or not, and clear of all slots of blocks, present or not: so the number of objects
or of blocks moves none. An object takes the first of its proposed places that is free. Each further proposal is for a
smaller object, down to a tenth of its size, so that a crowded table still holds it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from simgen import exact
from simgen.catalogue import World
from simgen.geometry import Array
from simgen.scene import CLUTTER, ZONES, Blocks, Bools, Cameras, Fixtures, Ints, Scenes
from simgen.shapes.clutter import VARIANTS, extent_of, object_of

# The number of places proposed for each object; a sample draws the next number only if the last one was not enough.
ROUNDS = (8, 40, 200)
TOGETHER = 256  # proposals that are tried at once; more of them take longer than a second round of few
SHRINKS, LEAST = 0.9, 0.1  # factor on the size from one proposal to the next, and the least share of it
SMALLEST = 0.004  # m: the least radius of an object in front of the camera
CLEARANCE = 0.15  # m between an object and the camera
HIDES, HIDES_IN_FRONT = 1.0, 0.4  # the greatest radius of an object in the picture, in halves of its height
NEAREST, FARTHEST = 0.25, 0.75  # share of the way from the camera to the table at which objects are in front of it
REACH = 1.2  # m from the table's edge to the farthest clutter around it
SHELF = 0.25  # m above the table's top: the highest clutter around it stands there
FLAT = 0.005  # m: clutter on the table may stand on fixtures that are no thicker, such as tape
_TABLE, _AROUND, _FRONT = range(len(ZONES))
_NOWHERE = 1e9  # m: an object there is clear of all others

Propose = Callable[[range, Any, range], Array]  # (slots, samples, candidates) to (C, T, R, 3) numbers in [0, 1]


@dataclass(frozen=True)
class Wanted:
    """What is drawn for C slots of B samples, (B, C) each: `size` in m, `zone` an index into ZONES, angles in radians."""

    kind: Ints
    variant: Ints
    size: Array
    zone: Ints
    yaw: Array
    tilt: Array


@dataclass(frozen=True)
class Placed:
    """The pose (B, C, 4, 4) and size (B, C) m of each object, and whether it found a free place, (B, C)."""

    pose: Array
    size: Array
    found: Bools


@dataclass
class _Objects:
    """K objects: their middles (3, K), half the edges of their boxes in a frame that is turned by their yaw, (3, K), its
    cosine and sine, their bounding spheres' radius and their zone, (K,) each."""

    middle: Array
    half: Array
    cosine: Array
    sine: Array
    radius: Array
    zone: Ints


def place_clutter(
    wanted: Wanted, propose: Propose, blocks: Blocks, fixtures: Fixtures, cameras: Cameras, world: World
) -> Placed:
    """Places objects slot by slot; one that found no place is at its first proposed one."""
    batch, slots = wanted.kind.shape
    surroundings = _Surroundings(blocks, fixtures, cameras, world)
    extent = np.moveaxis(_extents(world, wanted.kind, wanted.variant), 2, 0)  # (4, B, C)
    tilt = _settled(wanted, extent)
    sine, cosine = exact.sine_cosine(wanted.yaw)
    rise, lean = (np.abs(part) for part in exact.sine_cosine(tilt))
    x, y, z, radius = extent
    half = np.stack([x, lean * y + rise * z, rise * y + lean * z])
    chosen = _Objects(
        np.full((3, batch, slots), _NOWHERE), half.copy(), cosine, sine, np.zeros((batch, slots)), wanted.zone
    )
    middle, size = np.zeros((3, batch, slots)), wanted.size.copy()
    found = np.zeros((batch, slots), np.bool_)
    # Which proposal is the first that is free does not depend on how many are tried at once.
    few = range(min(ROUNDS[0], max(1, TOGETHER // max(batch, 1))))
    firsts = propose(range(slots), None, few)
    for slot in range(slots):
        rows, start = np.arange(batch), 0
        for end in (len(few), *ROUNDS):
            tries = range(start, end)
            if not len(tries):
                continue
            numbers = propose(range(slot, slot + 1), rows, tries)[0] if start else firsts[slot]
            numbers = numbers.reshape(-1, 3).T  # (3, T R), candidates of one sample R apart
            which = np.tile(rows, len(tries))
            sizes = wanted.size[which, slot] * np.repeat(
                np.maximum(exact.power(SHRINKS, np.array(tries, dtype=np.float64)), LEAST), len(rows)
            )
            objects, sizes = surroundings.put(
                _Objects(
                    numbers,
                    half[:, which, slot] * sizes,
                    cosine[which, slot],
                    sine[which, slot],
                    radius[which, slot] * sizes,
                    wanted.zone[which, slot],
                ),
                sizes,
                which,
            )
            free = surroundings.is_free(objects, which) & _clear_of_others(objects, chosen, slot, which)
            free = free.reshape(len(tries), len(rows))
            some = np.logical_or.reduce(free)
            first = np.argmax(free, axis=0) * len(rows) + np.arange(len(rows))
            take = some | (start == 0)  # without a free place, the first proposal stays
            middle[:, rows[take], slot], size[rows[take], slot] = objects.middle[:, first[take]], sizes[first[take]]
            good = first[some]
            chosen.middle[:, rows[some], slot], chosen.half[:, rows[some], slot] = (
                objects.middle[:, good],
                objects.half[:, good],
            )
            chosen.radius[rows[some], slot], found[rows[some], slot] = objects.radius[good], True
            rows, start = rows[~some], end
            if not len(rows):
                break
    return Placed(_poses(middle, cosine, sine, tilt), size, found)


def _settled(wanted: Wanted, extent: Array) -> Array:
    """(B, C) rad: the tilt of each object. Those that stand on something are upright, fallen or upside down, and what is
    flat does not fall: it would stand on its edge."""
    quarters = np.round(wanted.tilt / (np.pi / 2))
    flat = extent[1] > 1.5 * extent[2]
    quarters = np.where(flat & (quarters % 2 != 0), 0, quarters)
    return np.where(wanted.zone == _FRONT, wanted.tilt, quarters * (np.pi / 2))


def _extents(world: World, kind: Ints, variant: Ints) -> Array:
    """(B, C, 4) of each object shapes.clutter.extent_of."""
    meshes = [extent_of((body,)) for body in world.meshes.bodies]
    result = np.empty((*kind.shape, 4))
    for place, name in np.ndenumerate(kind):
        number = int(variant[place])
        result[place] = (
            meshes[number % len(meshes)] if CLUTTER[name] == "mesh" else _extent(CLUTTER[name], number % VARIANTS)
        )
    return result


@cache
def _extent(kind: str, variant: int) -> tuple[float, float, float, float]:
    return extent_of(object_of(kind, variant))


def _poses(middle: Array, cosine: Array, sine: Array, tilt: Array) -> Array:
    """(B, C, 4, 4): a tilt about X, then a yaw about Z, then a shift."""
    rise, lean = exact.sine_cosine(tilt)
    pose = np.zeros((*cosine.shape, 4, 4))
    pose[..., 0, 0], pose[..., 0, 1], pose[..., 0, 2] = cosine, -sine * lean, sine * rise
    pose[..., 1, 0], pose[..., 1, 1], pose[..., 1, 2] = sine, cosine * lean, -cosine * rise
    pose[..., 2, 1], pose[..., 2, 2], pose[..., 3, 3] = rise, lean, 1
    pose[..., :3, 3] = np.moveaxis(middle, 0, 2)
    return pose


class _Surroundings:
    """What is in the scenes before clutter is, with the numbers of a sample along the last axis."""

    def __init__(self, blocks: Blocks, fixtures: Fixtures, cameras: Cameras, world: World) -> None:
        self.world = world
        self.blocks = np.moveaxis(blocks.world_from_block[..., :3, 3], 2, 0)  # (3, B, N)
        self.reach = world.radii[blocks.model] * blocks.scale
        center, size, present = world.standing(fixtures)
        self.boxes, self.edges = np.moveaxis(center, 2, 0), np.moveaxis(size, 2, 0) / 2
        self.present, self.thick = present, size[..., 2] > FLAT
        tops = np.where(present & ~self.thick, center[..., 2] + size[..., 2] / 2, 0)
        self.lift = np.maximum(np.max(tops, axis=1), 0)  # sheets lie on top of tape, too
        self.camera = cameras.world_from_camera[:, :3, 3].T
        self.turn = np.moveaxis(cameras.world_from_camera[:, :3, :3], 0, 2)  # (3, 3, B)
        focal, shift = cameras.intrinsics[:, [0, 1], [0, 1]].T, cameras.intrinsics[:, :2, 2].T
        self.opening = cameras.height / 2 / focal[1]  # tangent of half the field of view
        pixels = np.array([cameras.width, cameras.height])[:, None]
        self.low, self.wide = (-0.5 - shift) / focal, pixels / focal  # of the picture, at depth 1

    def put(self, objects: _Objects, size: Array, rows: Ints) -> tuple[_Objects, Array]:
        """The `objects` at the places in their zones that their `middle`s in [0, 1] stand for, and their sizes: in front of
        the camera they are as small as their place requires."""
        numbers, zone = objects.middle, objects.zone
        table = self.world.table
        along, across, up = objects.half
        wide = np.abs(objects.cosine) * along + np.abs(objects.sine) * across
        deep = np.abs(objects.sine) * along + np.abs(objects.cosine) * across
        spare = np.maximum(table.size[:2, None] / 2 - np.stack([wide, deep]), 0)
        middle = np.stack([*(table.center[:2, None] + (2 * numbers[:2] - 1) * spare), up + self.lift[rows]])
        if np.any(zone == _AROUND):
            middle = np.where(zone == _AROUND, self._around(objects, numbers), middle)
        if not np.any(zone == _FRONT):
            return replace(objects, middle=middle), size
        front, near = self._in_front(numbers, rows)
        fitting = np.minimum(near - CLEARANCE, HIDES_IN_FRONT * self.opening[rows] * near)
        fitting = np.minimum(fitting, front[2])  # above the table
        factor = np.where(zone == _FRONT, np.clip(fitting / objects.radius, 1e-6, 1), 1)
        middle = np.where(zone == _FRONT, front, middle)
        half, radius = objects.half * factor, objects.radius * factor
        return replace(objects, middle=middle, half=half, radius=radius), size * factor

    def _around(self, objects: _Objects, numbers: Array) -> Array:
        """(3, K) m beside the table: the first number is the direction, the second the distance from the table's edge, the
        third the height: half of all stand on the floor."""
        table, room = self.world.table, self.world.room
        angle = 2 * np.pi * numbers[0]
        toward = np.stack(exact.sine_cosine(angle)[::-1])
        steps = np.maximum(np.abs(toward), 1e-9)
        edge = np.min(table.size[:2, None] / 2 / steps, axis=0)
        walls = np.where(
            toward > 0, room.high[:, None] - table.center[:2, None], table.center[:2, None] - room.low[:, None]
        )
        wall = np.min(walls / steps, axis=0)
        ground = np.sqrt(_squared(objects.half[:2]))
        first = edge + ground
        last = np.maximum(np.minimum(wall - ground, edge + REACH), first)
        distance = first + numbers[1] * (last - first)
        height = room.floor + np.maximum(2 * numbers[2] - 1, 0) * max(SHELF - room.floor, 0)
        return np.stack([*(table.center[:2, None] + distance * toward), height + objects.half[2]])

    def _in_front(self, numbers: Array, rows: Ints) -> tuple[Array, Array]:
        """(3, K) m between the camera and the table, and the distance from the camera (K,): the first two numbers are the
        position in the picture, the third the share of the way."""
        x, y = self.low[:, rows] + numbers[:2] * self.wide[:, rows]
        ray = self.turn[:, 0, rows] * x + self.turn[:, 1, rows] * y + self.turn[:, 2, rows]
        ray = ray / np.sqrt(_squared(ray))
        eye = self.camera[:, rows]
        farthest = 1.3 * np.sqrt(_squared(eye - self.world.table.center[:, None]))
        way = np.where(ray[2] < -1e-6, np.minimum(eye[2] / np.maximum(-ray[2], 1e-6), farthest), farthest)
        near = (NEAREST + (FARTHEST - NEAREST) * numbers[2]) * np.abs(way)
        return eye + near * ray, near

    def is_free(self, objects: _Objects, rows: Ints) -> Bools:
        """(K,) whether each object is clear of the blocks, the fixtures, the walls and the camera."""
        middle, radius, zone = objects.middle, objects.radius, objects.zone
        room = self.world.room
        away = np.sqrt(_squared(middle - self.camera[:, rows]))
        free = (away >= CLEARANCE + radius) & ((radius >= SMALLEST) | (zone != _FRONT))
        # What lies flat hides little of what is behind it.
        free &= (zone == _FRONT) | (np.minimum(radius, 2 * objects.half[2]) <= HIDES * self.opening[rows] * away)
        inside = (middle[:2] - radius >= room.low[:, None]) & (middle[:2] + radius <= room.high[:, None])
        free &= np.logical_and.reduce(inside) | (zone != _AROUND)
        gap = np.moveaxis(self.blocks[:, rows], 2, 0) - middle  # (N, 3, K)
        reach = self.reach[rows].T
        flat = _from_rectangle(gap[:, :2], objects) >= reach**2
        apart = _squared(gap.swapaxes(0, 1)) >= (reach + radius) ** 2
        free &= np.logical_and.reduce(np.where(zone == _TABLE, flat, apart))
        beside = np.abs(np.moveaxis(self.boxes[:, rows], 2, 0) - middle) - np.moveaxis(self.edges[:, rows], 2, 0)
        clear = _squared(np.maximum(beside, 0).swapaxes(0, 1)) >= radius**2
        clear |= ~self.present[rows].T | (zone == _TABLE) & ~self.thick[rows].T
        clear[0] |= zone == _TABLE
        return np.asarray(free & np.logical_and.reduce(clear))


def _from_rectangle(gap: Array, objects: _Objects) -> Array:
    """(N, K) squared distances of points from the objects' rectangles on the table; `gap` (N, 2, K) are the points as seen
    from the objects' middles."""
    along = np.abs(gap[:, 0] * objects.cosine + gap[:, 1] * objects.sine) - objects.half[0]
    across = np.abs(gap[:, 1] * objects.cosine - gap[:, 0] * objects.sine) - objects.half[1]
    return _squared(np.maximum(np.stack([along, across]), 0))


def _clear_of_others(objects: _Objects, others: _Objects, slot: int, rows: Ints) -> Bools:
    """(K,) whether each object is clear of the `others` (B, C) in the slots before `slot`: two on the table if a vertical
    plane along an edge of one of their boxes separates them, any others if their bounding spheres do not meet."""
    if slot == 0:
        return np.ones(len(rows), np.bool_)
    gap = np.moveaxis(others.middle[:, rows, :slot], 2, 0) - objects.middle  # (N, 3, K)
    half = np.moveaxis(others.half[:, rows, :slot], 2, 0)
    cosine, sine = others.cosine[rows, :slot].T, others.sine[rows, :slot].T
    c = np.abs(cosine * objects.cosine + sine * objects.sine)
    s = np.abs(sine * objects.cosine - cosine * objects.sine)
    x, y = gap[:, 0], gap[:, 1]
    along, across = np.abs(x * objects.cosine + y * objects.sine), np.abs(y * objects.cosine - x * objects.sine)
    apart = (along >= objects.half[0] + half[:, 0] * c + half[:, 1] * s) | (
        across >= objects.half[1] + half[:, 0] * s + half[:, 1] * c
    )
    along, across = np.abs(x * cosine + y * sine), np.abs(y * cosine - x * sine)
    apart |= along >= half[:, 0] + objects.half[0] * c + objects.half[1] * s
    apart |= across >= half[:, 1] + objects.half[0] * s + objects.half[1] * c
    both = (objects.zone == _TABLE) & (others.zone[rows, :slot].T == _TABLE)
    reach = objects.radius + others.radius[rows, :slot].T
    return np.asarray(np.logical_and.reduce(np.where(both, apart, _squared(gap.swapaxes(0, 1)) >= reach**2)))


def _squared(vectors: Array) -> Array:
    """The squared lengths of vectors whose coordinates are along the first axis."""
    total = vectors[0] * vectors[0]
    for part in vectors[1:]:
        total = total + part * part
    return np.asarray(total)


def clear_of_blocks(scenes: Scenes, world: World) -> Scenes:
    """`scenes` without the clutter whose box meets the bounding sphere of a present block: blocks that were dropped may have
    come to rest there."""
    clutter, blocks = scenes.clutter, scenes.blocks
    if not clutter.present.any():
        return scenes
    half = _extents(world, clutter.kind, clutter.variant)[..., :3] * clutter.size[..., None]
    reach = world.radii[blocks.model] * blocks.scale
    turn = clutter.world_from_object[:, :, None, :3, :3]
    gap = blocks.world_from_block[:, None, :, :3, 3] - clutter.world_from_object[:, :, None, :3, 3]  # (B, C, N, 3)
    local = turn[..., 0, :] * gap[..., :1] + turn[..., 1, :] * gap[..., 1:2] + turn[..., 2, :] * gap[..., 2:]
    beside = np.maximum(np.abs(local) - half[:, :, None], 0)
    meets = _squared(np.moveaxis(beside, 3, 0)) < reach[:, None] ** 2 * (1 - 1e-9)
    present = clutter.present & ~np.any(meets & blocks.present[:, None], axis=2)
    return replace(scenes, clutter=replace(clutter, present=present))
