"""Parts of objects as bodies: affine images of unit bodies, which are built once, so that an object of 48 parts takes
milliseconds. `fitted` scales an object to its unit."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np

from simgen import exact
from simgen.geometry import Array, rotation_about, rotation_between
from simgen.shapes.bodies import CAPSULE, QUADRIC, Body, make_body, make_capsule
from simgen.shapes.solids import SEGMENTS

_EYE = np.eye(3)
_UP = np.array([0.0, 0.0, 1.0])

Point = Sequence[float] | Array


def mapped(body: Body, matrix: Array, shift: Point = (0.0, 0.0, 0.0), tone: float | None = None) -> Body:
    """The image of `body` under x -> matrix x + shift with the color `tone`; `matrix` (3, 3) may scale the axes unequally,
    except for a capsule, which it may scale as a whole and turn only."""
    shift = np.asarray(shift, dtype=np.float64)
    vertices = exact.product(body.vertices, matrix.T) + shift
    if body.kind == CAPSULE:
        a, b = exact.product(body.frame[:2, :3], matrix.T) + shift
        return make_capsule(a, b, float(body.curve[0]) * float(exact.norm(matrix[:, 0])), tone)
    back = _inverse(matrix)
    normals = exact.product(body.planes[:, :3], back)  # a normal is mapped by the inverse's transpose
    ends = body.planes[:, 3] + exact.dot(normals, shift)
    length = exact.norm(normals)[:, None]
    planes = np.concatenate([normals / length, ends[:, None] / length], axis=1) if len(normals) else body.planes
    frame = body.frame
    if body.kind == QUADRIC:
        linear = exact.product(frame[:, :3], back)
        frame = np.concatenate([linear, frame[:, 3:] - exact.dot(linear, shift)[:, None]], axis=1)
        low, high = _reach(frame, body.curve)
    else:
        low, high = vertices.min(axis=0), vertices.max(axis=0)
    return replace(body, planes=planes, frame=frame, low=low, high=high, vertices=vertices, tone=tone)


def _reach(frame: Array, curve: Array) -> tuple[Array, Array]:
    """The bounding box of a quadric between its ends at z = -1/2 and 1/2, or of the ellipsoid if it is one."""
    matrix = _inverse(frame[:, :3])
    middle = -exact.dot(matrix, frame[:, 3])
    a, b, c = curve
    if c > 0:
        half = a * exact.norm(matrix)
        return middle - half, middle + half
    across, along = exact.norm(matrix[:, :2]), matrix[:, 2] / 2
    ends = [(middle - along, (a - b / 2) * across), (middle + along, (a + b / 2) * across)]
    return np.min([p - half for p, half in ends], axis=0), np.max([p + half for p, half in ends], axis=0)


def _inverse(matrix: Array) -> Array:
    """The inverse of `matrix` (3, 3), by its cofactors."""
    # Plain numbers: for so few of them, NumPy takes twenty times as long.
    (a, b, c), (d, e, f), (g, h, i) = matrix.tolist()
    columns = (
        (e * i - f * h, f * g - d * i, d * h - e * g),
        (h * c - i * b, i * a - g * c, g * b - h * a),
        (b * f - c * e, c * d - a * f, a * e - b * d),
    )
    determinant = a * columns[0][0] + b * columns[0][1] + c * columns[0][2]
    return np.asarray(np.array(list(zip(*columns, strict=True))) / determinant)


@cache
def _unit(shape: str) -> Body:
    return make_body(shape, (1.0, 1.0, 1.0))


def part(shape: str, size: Point, at: Point = (0, 0, 0), turn: Array = _EYE, tone: float | None = None) -> Body:
    """A box, cylinder, sphere or other shape of shapes.solids.SHAPES with the bounding box `size` (3,) before it is turned
    by `turn` (3, 3), and its middle at `at` (3,)."""
    return mapped(_unit(shape), turn * np.asarray(size, dtype=np.float64), at, tone)


def standing(shape: str, size: Point, at: Point = (0, 0, 0), yaw: float = 0.0, tone: float | None = None) -> Body:
    """As `part`, turned by `yaw` radians about the vertical, with the middle of its lower end at `at`."""
    x, y, z = at
    return part(shape, size, (x, y, z + size[2] / 2), rotation_about(2, yaw), tone)


def rod(shape: str, a: Point, b: Point, width: float, depth: float | None = None, tone: float | None = None) -> Body:
    """A shape whose z axis goes from `a` to `b`, `width` across and `depth` (else `width`) the other way."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    length = float(exact.norm(b - a))
    size = np.array([width, width if depth is None else depth, length])
    return mapped(_unit(shape), upright(b - a) * size, (a + b) / 2, tone)


def upright(direction: Array) -> Array:
    """The rotation (3, 3) that turns +Z toward `direction` (3,) by the shortest way, but keeps +Y level where it can."""
    z = direction / exact.norm(direction)
    level = np.cross(_UP, z)
    length = exact.norm(level)
    if length < 1e-6:
        return rotation_between(_UP, z)
    y = level / length
    return np.stack([np.cross(y, z), y, z], axis=1)


@cache
def _frustum(ratio: float) -> Body:
    """A cone of diameter 1 and height 1, cut off where its diameter is `ratio`."""
    angle = 2 * np.pi * np.arange(SEGMENTS) / SEGMENTS
    ring = np.stack([exact.cosine(angle), exact.sine(angle)], axis=1) / 2
    vertices = np.concatenate([np.insert(ring, 2, -0.5, axis=1), np.insert(ring * ratio, 2, 0.5, axis=1)])
    curve = np.array([(1 + ratio) / 4, (ratio - 1) / 2, 0.0])
    planes = np.array([[0, 0, -1.0, 0.5], [0, 0, 1, 0.5]])
    low, high = np.full(3, -0.5), np.full(3, 0.5)
    return Body(
        QUADRIC, planes, np.array([0, 1]), low, high, np.eye(3, 4), curve, vertices, _unit("cylinder").triangles
    )


def tapered(lower: float, upper: float, height: float, at: Point = (0, 0, 0), tone: float | None = None) -> Body:
    """A round part that stands with the middle of its lower end at `at`; its diameter is `lower` there, `upper` on top."""
    x, y, z = at
    matrix, ratio = np.diag([lower, lower, height]), round(upper / lower, 3)
    if ratio > 1:  # upside down
        matrix, ratio = np.diag([upper, -upper, -height]), round(lower / upper, 3)
    return mapped(_frustum(ratio), matrix, (x, y, z + height / 2), tone)


def chain(points: Array, radius: float | Sequence[float], tone: float | None = None) -> list[Body]:
    """Capsules along `points` (P, 3), with one `radius` or one for each."""
    radii = np.broadcast_to(radius, len(points) - 1)
    return [make_capsule(a, b, float(r), tone) for (a, b), r in zip(pairwise(points), radii, strict=True)]


def moved(bodies: Iterable[Body], turn: Array = _EYE, shift: Point = (0.0, 0.0, 0.0)) -> list[Body]:
    """The bodies, turned by the rotation `turn` (3, 3) and moved by `shift` (3,)."""
    return [mapped(body, turn, shift, body.tone) for body in bodies]


def fitted(bodies: Sequence[Body]) -> tuple[Body, ...]:
    """The bodies of an object, scaled as a whole: the longest edge of its bounding box is 1, the middle is the origin."""
    low, high = np.min([body.low for body in bodies], axis=0), np.max([body.high for body in bodies], axis=0)
    scale = 1 / float((high - low).max())
    return tuple(mapped(body, scale * _EYE, -scale * (low + high) / 2, body.tone) for body in bodies)
