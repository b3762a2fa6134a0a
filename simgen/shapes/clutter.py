"""Clutter: unit objects without labels, such as lie on a desk. `object_of(kind, variant)` is a pure function."""

from collections.abc import Callable
from functools import cache, lru_cache

import numpy as np

from simgen import exact
from simgen.draws import Draws
from simgen.geometry import Array, rotation_about
from simgen.shapes import desk
from simgen.shapes.bodies import Body, make_polytope
from simgen.shapes.dice import Dice
from simgen.shapes.hulls import rests_of
from simgen.shapes.parts import chain, fitted, mapped, moved, part, rod, standing, tapered
from simgen.shapes.solids import Solid, hull_triangles

VARIANTS = 64  # of each kind; they repeat beyond


@lru_cache(maxsize=2048)
def object_of(kind: str, variant: int) -> tuple[Body, ...]:
    """The unit object `variant` (modulo VARIANTS) of a kind of scene.CLUTTER, except `mesh`, which is a user's file: its
    longest edge is 1, the middle of its bounding box is the origin, and it stands along +Z as on a table."""
    return fitted(KINDS[kind](Dice(_numbers(kind)[variant % VARIANTS])))


@cache
def _numbers(kind: str) -> Array:
    """(VARIANTS, 200) random numbers in [0, 1), of which each object takes as many as it needs: drawn for all of them at
    once, in the time of two."""
    return (Draws(0, np.arange(VARIANTS)) / f"clutter/{kind}").uniform(200)


def extent_of(bodies: tuple[Body, ...]) -> tuple[float, float, float, float]:
    """Half the bounding box of a unit object in X, Y and Z, and the radius of a sphere about its middle that holds it."""
    half = np.max([body.high for body in bodies], axis=0)
    reach = max(float(exact.norm(body.center)) + body.radius for body in bodies)
    x, y, z = half.tolist()
    return x, y, z, min(reach, float(exact.norm(half)))


def resting(points: Array, which: float = 0.0) -> Body:
    """The convex hull of `points` (V, 3) in one of its resting poses: the most upright for 0, and up to 1 any other."""
    hull = make_polytope(points)
    solid = Solid("", "mesh", hull.vertices, hull_triangles(hull.vertices), None, True)
    rests = rests_of(solid.planes, solid.center_of_mass, None, solid.diameter)
    rests = rests[np.argsort(-np.round(rests[:, 2, 2], 6), kind="stable")]
    turn = rests[int(which * len(rests))][:3, :3]
    return make_polytope(exact.product(hull.vertices, turn.T))


def _polytope(dice: Dice) -> list[Body]:
    corners = dice.whole(5, 14)
    points = np.array([[dice.between(-1, 1) for _ in range(3)] for _ in range(corners)])
    reach = np.maximum(exact.norm(points)[:, None], 0.3)
    outward = points / reach if dice.chance(0.6) else points  # on a sphere, all corners are corners of the hull
    return [resting(outward * [1, dice.between(0.4, 1), dice.between(0.3, 1)], dice.between(0, 1))]


def _ball(dice: Dice) -> list[Body]:
    if dice.chance(0.5):
        return [part("sphere", (1, 1, 1))]
    y = dice.between(0.5, 1)
    return [part("sphere", (1, y, dice.between(0.4, 1) * y))]


def _capsule(dice: Dice) -> list[Body]:
    half = dice.log(0.3, 5)
    ends = np.array([[-half, 0, 0], [half, 0, 0]])
    return chain(ends, 1.0)


def _disc(dice: Dice) -> list[Body]:
    height, style = dice.log(0.02, 0.4), dice.pick("plain", "plain", "tape", "lid", "stack")
    bodies = [standing("cylinder", (1, 1, height))]
    if style == "tape":  # the core and the hole, which is drawn as a dark disc
        core = dice.between(0.45, 0.75)
        bodies += [standing("cylinder", (core, core, height * 1.01), tone=1)]
        bodies += [standing("cylinder", (core * 0.92, core * 0.92, height * 1.02), tone=dice.pick(0.0, 0.3))]
    elif style == "lid":
        bodies += [standing("cylinder", (0.85, 0.85, height * 1.15), tone=dice.pick(0.0, 0.5, 1.0))]
    elif style == "stack":
        for k in range(dice.whole(1, 3)):
            shift = (dice.between(-0.1, 0.1), dice.between(-0.1, 0.1), height * (k + 1))
            bodies.append(standing("cylinder", (1, 1, height), shift, tone=dice.pick(None, 0.0, 0.5, 1.0)))
    return bodies


def _mug(dice: Dice) -> list[Body]:
    height, top = dice.between(0.75, 1.6), dice.between(0.75, 1.15)
    if dice.chance(0.4):
        top = 1.0
    tone = dice.pick(None, None, 0.0)
    bodies = [tapered(1, top, height, tone=tone)]
    bodies.append(standing("cylinder", (top * 0.9, top * 0.9, 0.012), (0, 0, height), tone=dice.pick(0.5, 1.0)))
    if dice.chance(0.3):  # a band or a rim
        low, tall = dice.between(0.1, 0.6) * height, dice.between(0.05, 0.3) * height
        widest = 1.02 * max(1 + (top - 1) * low / height, 1 + (top - 1) * (low + tall) / height)
        bodies.append(standing("cylinder", (widest, widest, tall), (0, 0, low), tone=1))
    if dice.chance(0.75):
        reach, thick = dice.between(0.22, 0.4), dice.between(0.05, 0.09)
        low, high = dice.between(0.15, 0.3) * height, dice.between(0.7, 0.85) * height
        near = [0.5 + (top - 1) / 2 * z / height - thick / 2 for z in (low, high)]
        far = 0.5 + reach
        square = dice.between(0.0, 0.25) * (high - low)
        points = np.array([[near[0], 0, low], [far, 0, low + square], [far, 0, high - square], [near[1], 0, high]])
        bodies += chain(points, thick, dice.pick(0.0, 0.0, 1.0) if tone is not None else None)
    if dice.chance(0.15):  # a saucer
        bodies = [*moved(bodies, shift=(0, 0, 0.08)), tapered(1.0, 1.9, 0.12, tone=dice.pick(None, 0.0, 1.0))]
    return bodies


def _bottle(dice: Dice) -> list[Body]:
    """From below: a body, perhaps a label around it, a shoulder, a neck and a cap."""
    tall, neck = dice.log(0.5, 2.6), dice.between(0.25, 0.9)
    waist = dice.between(0.8, 1.2) if dice.chance(0.3) else 1.0
    flat = dice.between(0.5, 0.8) if dice.chance(0.2) else 1.0  # as of a bottle of shampoo
    glass = dice.pick(None, 0.0, 0.0)
    bodies, top = [tapered(1, waist, tall, tone=glass)], tall
    if dice.chance(0.6):
        low, high = sorted((dice.between(0.08, 0.5) * tall, dice.between(0.5, 0.92) * tall))
        widest = 1.015 * max(1.0, waist)
        bodies.append(standing("cylinder", (widest, widest, high - low), (0, 0, low), tone=dice.pick(None, 1.0)))
    if neck < 0.8:
        shoulder = dice.between(0.08, 0.5)
        bodies.append(tapered(waist, neck, shoulder, (0, 0, top), tone=glass))
        top += shoulder
        if dice.chance(0.7):
            length = dice.between(0.1, 0.6)
            bodies.append(standing("cylinder", (neck, neck, length), (0, 0, top), tone=glass))
            top += length
    wide, thick = neck * dice.between(1.0, 1.2), dice.between(0.08, 0.3)
    bodies.append(tapered(wide, wide * dice.between(0.85, 1), thick, (0, 0, top), tone=1))
    return [mapped(body, np.diag([1, flat, 1]), tone=body.tone) for body in bodies]


def _tool(dice: Dice) -> list[Body]:
    make = dice.pick(_screwdriver, _hammer, _pliers, _spanner, _pen, _union)
    return make(dice)


def _screwdriver(dice: Dice) -> list[Body]:
    wide, length, shaft = dice.between(0.16, 0.32), dice.between(0.5, 1.6), dice.between(0.025, 0.06)
    grip = dice.pick("cylinder", "hexagonal_prism")
    z = wide / 2
    bodies = [rod(grip, (-1, 0, z), (0, 0, z), wide, tone=dice.pick(None, 0.0))]
    bodies.append(rod("cylinder", (-0.25, 0, z), (0.12, 0, z), wide * 0.7, tone=0.3))
    bodies.append(rod("cylinder", (0, 0, z), (length, 0, z), shaft * 2, tone=1))
    bodies.append(part("box", (0.15, shaft * 3, shaft), (length + 0.05, 0, z), tone=1))
    if dice.chance(0.4):
        bodies.append(part("sphere", (wide, wide, wide), (-1, 0, z), tone=0))
    return bodies


def _hammer(dice: Dice) -> list[Body]:
    head, wide, thick = dice.between(0.25, 0.5), dice.between(0.1, 0.2), dice.between(0.05, 0.1)
    z = wide / 2
    bodies = [part("box", (1.2, thick, thick * 1.2), (0, 0, z), tone=dice.pick(None, 0.0))]
    bodies.append(rod(dice.pick("cylinder", "box"), (0.6, -head / 2, z), (0.6, head / 2, z), wide, tone=1))
    if dice.chance(0.6):
        bodies.append(rod("cone", (0.6, head / 2, z), (0.55, head, z), wide, tone=1))
    if dice.chance(0.6):
        bodies.append(part("box", (0.5, thick * 1.4, thick * 1.6), (-0.36, 0, z), tone=0.2))
    return bodies


def _pliers(dice: Dice) -> list[Body]:
    angle, thick = dice.between(0.08, 0.35), dice.between(0.05, 0.09)
    bodies: list[Body] = []
    for sign in (-1, 1):
        turn = rotation_about(2, sign * angle)
        handle = chain(np.array([[-1, sign * 0.1, thick], [-0.5, sign * 0.08, thick], [0, 0, thick]]), thick, tone=0)
        jaw = part("box", (0.45, 0.09, 1.6 * thick), (0.2, -sign * 0.045, thick), tone=1)
        bodies += moved([*handle, jaw], turn)
    bodies.append(standing("cylinder", (0.2, 0.2, 2.2 * thick), tone=1))
    return bodies


def _spanner(dice: Dice) -> list[Body]:
    wide, thick = dice.between(0.1, 0.2), dice.between(0.04, 0.08)
    ends = [dice.between(1.6, 2.4) * wide for _ in range(2)]
    bodies = [standing("box", (1.4, wide, thick))]
    for x, end in zip((-0.7, 0.7), ends, strict=True):
        bodies.append(standing("cylinder", (end, end, thick * 1.4), (x, 0, 0)))
        bodies.append(standing("hexagonal_prism", (end * 0.55, end * 0.55, thick * 1.45), (x, 0, 0), tone=1))
    return bodies


def _pen(dice: Dice) -> list[Body]:
    wide = dice.between(0.06, 0.14)
    z, grip = wide / 2, dice.pick("cylinder", "hexagonal_prism")
    bodies = [rod(grip, (-0.8, 0, z), (0.8, 0, z), wide, tone=dice.pick(None, 0.0))]
    bodies.append(rod("cone", (0.8, 0, z), (1.0, 0, z), wide, tone=dice.pick(0.5, 1.0)))
    bodies.append(rod("cylinder", (-1, 0, z), (-0.8, 0, z), wide * 1.03, tone=1))
    if dice.chance(0.4):
        bodies.append(part("box", (0.4, wide * 0.3, wide * 0.25), (-0.75, 0, wide * 1.12), tone=1))
    return bodies


def _union(dice: Dice) -> list[Body]:
    """2 to 5 primitives that overlap: a gadget, a gripper, a part of a machine."""
    bodies: list[Body] = []
    at = np.zeros(3)
    for k in range(dice.whole(2, 5)):
        size = np.array([dice.log(0.2, 1) for _ in range(3)])
        shape = dice.pick("box", "box", "cylinder", "sphere", "cone", "hexagonal_prism", "pyramid")
        tone = None if k == 0 else dice.pick(None, 0.0, 0.5, 1.0)
        bodies.append(standing(shape, size, at, dice.between(0, np.pi), tone))
        on_top = dice.chance(0.5)
        shift = np.array([dice.between(-0.5, 0.5) * size[0], dice.between(-0.5, 0.5) * size[1], 0])
        at = at + shift + [0, 0, size[2] * 0.9 if on_top and shape in ("box", "cylinder", "hexagonal_prism") else 0]
    return bodies


def _cable(dice: Dice) -> list[Body]:
    """A chain whose direction is a sum of two waves and a constant turn, with a plug at some ends."""
    count, radius = dice.whole(8, 20), dice.log(0.05, 0.16)
    s = (np.arange(count) + 0.5) / count
    turn, wave, wave2 = dice.between(-1, 1) * 5, dice.between(0, 2.2), dice.between(0, 1.2)
    phase, phase2 = dice.between(0, 6.28), dice.between(0, 6.28)
    heading = turn * s + wave * exact.sine(6.28 * s + phase) + wave2 * exact.sine(15 * s + phase2)
    steps = np.stack([exact.cosine(heading), exact.sine(heading), np.zeros(count)], axis=1) * (10 / count)
    points = np.insert(np.cumsum(steps, axis=0), 0, 0, axis=0) + np.array([0, 0, radius])
    bodies = chain(points, radius, tone=dice.pick(None, 0.0, 0.0))
    for end, angle in ((0, heading[0]), (-1, heading[-1])):
        if dice.chance(0.5):
            length = dice.between(0.6, 1.2)
            out = np.array([exact.cosine(angle), exact.sine(angle), 0]) * (length / 2 if end else -length / 2)
            size = (length, radius * 5, radius * 2.4)
            bodies.append(part("box", size, points[end] + out + [0, 0, radius * 0.2], rotation_about(2, angle), tone=1))
    return bodies


KINDS: dict[str, Callable[[Dice], list[Body]]] = {
    "polytope": _polytope,
    "ball": _ball,
    "capsule": _capsule,
    "disc": _disc,
    "mug": _mug,
    "bottle": _bottle,
    "tool": _tool,
    "cable": _cable,
    "sheet": desk.sheet,
    "book": desk.book,
    "keyboard": desk.keyboard,
    "screen": desk.screen,
    "hand": desk.hand,
}
