"""Intersections of rays with convex objects, conservative culling, and distances of points.

A pair is a tile (P adjacent rays) and an object. The kernels work on K pairs at once, all of objects with equally many
slabs, and are pure functions of tensors that torch.compile may fuse. They use only operations whose last bit depends neither
on fusion nor on K: + - * / min max and rsqrt are safe, torch.sqrt is not. The culling tests may use it: they leave a margin,
and an extra pair does not change the result.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from simgen.render.kernels import Run
from simgen.render.stage import Stage, Vector, dot

TINY = 1e-30  # keeps a ray that is exactly parallel to a slab from dividing by 0


class Bounds(NamedTuple):
    """Convex objects of K pairs: slabs normal (K, S, 3), low, high (K, S), and for objects with a round side `unit`
    (K, 12), `taper` (K, 3) and `metric` (K,), else None. `round_face` (1,) is a round side's number among the faces."""

    normal: Tensor
    low: Tensor
    high: Tensor
    unit: Tensor | None
    taper: Tensor | None
    metric: Tensor | None
    round_face: Tensor


@dataclass(frozen=True)
class Group:
    """K pairs of objects with equally many slabs: `order` (K,) their places in the list they came from, `tile`, `thing`
    (K,)."""

    order: Tensor
    tile: Tensor
    thing: Tensor
    bounds: Bounds


def groups_of(stage: Stage, scene: Tensor, tile: Tensor, thing: Tensor) -> Iterator[Group]:
    """The pairs of `tile` (K,) with the convex object `thing` (K,), `scene` (T,) being the tiles' scenes, in groups."""
    own = scene[tile] * stage.solids + thing
    rounds, counts = stage.round.reshape(-1)[own], stage.count.reshape(-1)[own]
    code = 2 * counts + rounds
    for value in torch.unique(code).tolist():
        order = (code == value).nonzero()[:, 0]
        rows, count, is_round = own[order], value // 2, value % 2 == 1
        bounds = Bounds(
            stage.solid_normal.reshape(-1, *stage.solid_normal.shape[2:])[rows, :count],
            stage.low.reshape(-1, stage.low.shape[2])[rows, :count],
            stage.high.reshape(-1, stage.high.shape[2])[rows, :count],
            stage.solid_unit.reshape(-1, 12)[rows] if is_round else None,
            stage.taper.reshape(-1, 3)[rows] if is_round else None,
            stage.metric.reshape(-1)[rows] if is_round else None,
            stage.round_face,
        )
        yield Group(order, tile[order], thing[order], bounds)


def crossing(bounds: Bounds, origin: Vector, direction: Vector) -> tuple[Tensor, Tensor, Tensor]:
    """Where rays origin + t direction, (K, P) or (K, 1) each, are inside: t from `enter` to `leave`, (K, P), nowhere if
    enter >= leave; and `face`, the number of the slab they enter by (Bounds.round_face for a round side)."""
    enter, leave = _slab(bounds, 0, origin, direction)
    face = torch.zeros_like(enter)
    for s in range(1, bounds.low.shape[1]):
        start, end = _slab(bounds, s, origin, direction)
        face = face.masked_fill(start > enter, s)
        enter, leave = torch.maximum(enter, start), torch.minimum(leave, end)
    if bounds.unit is not None:
        start, end = _round(bounds, origin, direction)
        face = torch.where(start > enter, bounds.round_face, face)
        enter, leave = torch.maximum(enter, start), torch.minimum(leave, end)
    return enter, leave, face


def _slab(bounds: Bounds, s: int, origin: Vector, direction: Vector) -> tuple[Tensor, Tensor]:
    normal = (bounds.normal[:, s, 0, None], bounds.normal[:, s, 1, None], bounds.normal[:, s, 2, None])
    inverse = (dot(normal, direction) + TINY).reciprocal()
    at = dot(normal, origin)
    a, b = (bounds.low[:, s, None] - at) * inverse, (bounds.high[:, s, None] - at) * inverse
    return torch.minimum(a, b), torch.maximum(a, b)


def _round(bounds: Bounds, origin: Vector, direction: Vector) -> tuple[Tensor, Tensor]:
    """The part of each ray that lies in x^2 + y^2 + c z^2 <= (a + b z)^2, in units of the bounding box.

    A quadratic in t. Where its leading coefficient is negative the ray is steeper than the cone's side and lies in both
    nappes; the part in the lower one is what the slab of the height leaves.
    """
    assert bounds.unit is not None
    assert bounds.taper is not None
    m = bounds.unit[..., None].unbind(1)
    x, y, z = (dot((m[4 * k], m[4 * k + 1], m[4 * k + 2]), origin) + m[4 * k + 3] for k in range(3))
    dx, dy, dz = (dot((m[4 * k], m[4 * k + 1], m[4 * k + 2]), direction) for k in range(3))
    a, b, c = bounds.taper[..., None].unbind(1)
    reach, widens = a + b * z, b * dz
    square = dx * dx + dy * dy - widens * widens + c * dz * dz
    half = x * dx + y * dy - reach * widens + c * z * dz
    rest = x * x + y * y - reach * reach + c * z * z
    discriminant = half * half - square * rest
    meets = discriminant > 0
    discriminant = discriminant.clamp_min(1e-36)
    root = discriminant * torch.rsqrt(discriminant)
    inverse = torch.where(square == 0, TINY, square).reciprocal()
    start, end = (-half - root) * inverse, (-half + root) * inverse
    steep = square < 0  # then end < start, and the inside is t <= end or t >= start
    down = widens > 0  # the cone widens along the ray: its lower nappe is what comes last
    infinite = torch.inf
    return (
        torch.where(steep, torch.where(down, start, -infinite), torch.where(meets, start, infinite)),
        torch.where(steep, torch.where(down, infinite, end), torch.where(meets, end, -infinite)),
    )


def first_crossing(
    bounds: Bounds, origin: Tensor, direction: Vector, tile: Tensor, near: float
) -> tuple[Tensor, Tensor]:
    """For rays from `origin` (T, 3) along `direction` (T, P) of the tiles `tile` (K,): where they enter, infinite if they
    miss or enter nearer than `near`, and by which face."""
    start = (origin[tile, 0, None], origin[tile, 1, None], origin[tile, 2, None])
    enter, leave, face = crossing(bounds, start, of_tiles(direction, tile))
    return enter.masked_fill((enter >= leave) | (enter <= near), torch.inf), face


def clearance(bounds: Bounds, p: Vector, n: Vector, heights: tuple[float, ...]) -> list[Tensor]:
    """How far the points p + h n, (K, P), are from their objects, for each h m of `heights`: at most the true distance,
    equal to it opposite a face; negative inside."""
    far: list[Tensor] = []
    for s in range(bounds.low.shape[1]):
        plane = (bounds.normal[:, s, 0, None], bounds.normal[:, s, 1, None], bounds.normal[:, s, 2, None])
        at, along = dot(plane, p), dot(plane, n)
        for k, height in enumerate(heights):
            here = at + along * height
            beyond = torch.maximum(bounds.low[:, s, None] - here, here - bounds.high[:, s, None])
            if s:
                far[k] = torch.maximum(far[k], beyond)
            else:
                far.append(beyond)
    if bounds.unit is not None and bounds.taper is not None and bounds.metric is not None:
        m, (a, b, c) = bounds.unit[..., None].unbind(1), bounds.taper[..., None].unbind(1)
        for k, height in enumerate(heights):
            q = (p[0] + n[0] * height, p[1] + n[1] * height, p[2] + n[2] * height)
            x, y, z = (dot((m[4 * i], m[4 * i + 1], m[4 * i + 2]), q) + m[4 * i + 3] for i in range(3))
            square = (x * x + y * y + c * z * z).clamp_min(1e-12)
            far[k] = torch.maximum(far[k], (square * torch.rsqrt(square) - (a + b * z)) * bounds.metric[:, None])
    return far


def of_tiles(vector: Vector, tile: Tensor) -> Vector:
    """The rows `tile` (K,) of a vector (T, P)."""
    return vector[0].index_select(0, tile), vector[1].index_select(0, tile), vector[2].index_select(0, tile)


# ---- which tiles could meet which objects; all tests err on the side of yes


def in_view(present: Tensor, center: Tensor, radius: Tensor, scene: Tensor, origin: Tensor, corners: Tensor) -> Tensor:
    """(T, M') whether a cone about a tile's rays meets an object's bounding sphere; `present` and so on as in Stage.

    `origin` (T, 3) and `corners` (T, C, 3) along the outermost rays.
    """
    rays = corners * torch.rsqrt((corners * corners).sum(-1, keepdim=True))
    middle = rays.sum(1)
    axis = middle * torch.rsqrt((middle * middle).sum(-1, keepdim=True))
    # 2% more: a lens bends a tile's edges a little beyond its corners.
    spread = torch.acos((rays * axis[:, None]).sum(-1).amin(1).clamp(-1, 1)) * 1.02 + 1e-4
    away = center[scene] - origin[:, None]
    distance = torch.sqrt((away * away).sum(-1)).clamp_min(1e-9)
    angle = torch.acos(((away * axis[:, None]).sum(-1) / distance).clamp(-1, 1))
    wide = radius[scene] * 1.001
    apparent = torch.asin((wide / distance).clamp(0, 1))
    return present[scene] & ((angle <= spread[:, None] + apparent) | (distance <= wide))


def in_the_way(
    present: Tensor, center: Tensor, radius: Tensor, scene: Tensor, boxes: "Boxes", target: Tensor, reach: Tensor
) -> Tensor:
    """(T, M') whether an object's bounding sphere touches a straight line between a tile's box and within `reach` (T,) of
    `target` (T, 3); tiles with a negative reach ask for none."""
    start, line = boxes.center, target - boxes.center
    away = center[scene] - start[:, None]
    along = (away * line[:, None]).sum(-1) / (line * line).sum(-1).clamp_min(1e-12)[:, None]
    gap = away - along.clamp(0, 1)[..., None] * line[:, None]
    width = torch.maximum(torch.sqrt((boxes.half * boxes.half).sum(-1)), reach)
    near = torch.sqrt((gap * gap).sum(-1)) <= radius[scene] + width[:, None] + 1e-4
    return present[scene] & (boxes.valid & (reach >= 0))[:, None] & near


class Boxes(NamedTuple):
    """The bounding boxes of what tiles see: `center`, `half` (T, 3) m; empty ones are not `valid` (T,)."""

    center: Tensor
    half: Tensor
    valid: Tensor


def could_hide(
    run: Run, stage: Stage, scene: Tensor, boxes: Boxes, target: Tensor, reach: Tensor
) -> tuple[Tensor, Tensor]:
    """Tile and object of the pairs in which the object could touch a straight line between the tile's box and within
    `reach` (T,) of `target` (T, 3); tiles with a negative reach ask for none."""
    spheres = (stage.present, stage.center, stage.radius)
    tile, thing = run(in_the_way, *spheres, scene, boxes, target, reach).nonzero(as_tuple=True)
    # A face of the object with all of the tile and all of the light before it parts them from the object.
    normal = stage.solid_normal[scene[tile], thing]  # (K, S, 3)
    low, high = stage.low[scene[tile], thing], stage.high[scene[tile], thing]
    middle, extent = _span(normal, boxes, tile)
    light, width = (normal * target[tile][:, None]).sum(-1), reach[tile][:, None]
    parted = (middle - extent >= high - 1e-5) & (light - width >= high - 1e-5)
    parted |= (middle + extent <= low + 1e-5) & (light + width <= low + 1e-5)
    kept = ~parted.any(-1)
    return tile[kept], thing[kept]


def close_by(stage: Stage, scene: Tensor, boxes: Boxes, reach: Tensor) -> tuple[Tensor, Tensor]:
    """Tile and object of the pairs in which the object could be within `reach` (T,) m of the tile's box; tiles with a
    negative reach ask for none."""
    width = boxes.half.norm(dim=-1) + reach
    near = (stage.center[scene] - boxes.center[:, None]).norm(dim=-1) <= stage.radius[scene] + width[:, None]
    asked = boxes.valid & (reach >= 0)
    tile, thing = (stage.present[scene] & asked[:, None] & near).nonzero(as_tuple=True)
    middle, extent = _span(stage.solid_normal[scene[tile], thing], boxes, tile)
    extent = extent + reach[tile][:, None]
    low, high = stage.low[scene[tile], thing], stage.high[scene[tile], thing]
    kept = ~((middle - extent > high) | (middle + extent < low)).any(-1)
    return tile[kept], thing[kept]


def _span(normal: Tensor, boxes: Boxes, tile: Tensor) -> tuple[Tensor, Tensor]:
    """Middle and half width (K, S) of the tiles' boxes along `normal` (K, S, 3)."""
    return (normal * boxes.center[tile][:, None]).sum(-1), (normal.abs() * boxes.half[tile][:, None]).sum(-1)
