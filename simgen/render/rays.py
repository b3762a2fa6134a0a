"""Rays against convex objects: which could meet which, where a ray enters, how near a point is.

K pairs of a tile (P rays that lie close together) and an object are worked on at once. The same arithmetic runs on every
device; nothing in it depends on how many pairs there are, so neither do its results.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from simgen.render.stage import Stage, Vector, dot

TINY = 1e-30  # keeps a ray that is exactly parallel to a slab from dividing by 0


@dataclass(frozen=True)
class Pairs:
    """K pairs, those of the objects with most slabs first, round ones last of each number.

    `tile` (K,), `row` (K,) = scene * objects + object. `counts[s]` pairs have more than s slabs, `rounds` lists the round.
    """

    tile: Tensor
    row: Tensor
    counts: list[int]
    rounds: Tensor

    def __len__(self) -> int:
        return len(self.tile)


def pair(stage: Stage, scene: Tensor, tile: Tensor, thing: Tensor) -> Pairs:
    """The pairs of `tile` (K,) with the convex object `thing` (K,), `scene` (T,) being the tiles' scenes."""
    scenes = scene[tile]
    count = stage.count[scenes, thing]
    order = torch.argsort(count, descending=True, stable=True)
    tile, thing, scenes, count = tile[order], thing[order], scenes[order], count[order]
    slabs = stage.low.shape[2]
    counts = (count[None] > torch.arange(slabs, device=count.device)[:, None]).sum(1).tolist()
    return Pairs(tile, scenes * stage.objects + thing, counts, stage.round[scenes, thing].nonzero()[:, 0])


@dataclass(frozen=True)
class Bounds:
    """Convex objects of K pairs: slabs as lists over s of tensors (K_s, 1)."""

    normal: list[Vector]
    low: list[Tensor]
    high: list[Tensor]
    rounds: Tensor
    round_face: int  # the number of a round side in `face`
    unit: Tensor  # (K_r, 12, 1) of the round ones
    taper: Tensor  # (K_r, 2, 1)
    metric: Tensor  # (K_r, 1)


def bounds_of(stage: Stage, pairs: Pairs) -> Bounds:
    solids = stage.solids
    own = pairs.row // stage.objects * solids + pairs.row % stage.objects  # rows of the tables of convex objects alone
    normal = stage.normal[:, :solids].reshape(-1, *stage.normal.shape[2:])[own].permute(1, 2, 0).contiguous()
    low, high = (part.reshape(-1, part.shape[2])[own].T.contiguous() for part in (stage.low, stage.high))
    used = [(s, n) for s, n in enumerate(pairs.counts) if n]
    own_round = own[pairs.rounds]
    return Bounds(
        normal=[(normal[s, 0, :n, None], normal[s, 1, :n, None], normal[s, 2, :n, None]) for s, n in used],
        low=[low[s, :n, None] for s, n in used],
        high=[high[s, :n, None] for s, n in used],
        rounds=pairs.rounds,
        round_face=stage.low.shape[2],
        unit=stage.unit[:, :solids].reshape(-1, 12)[own_round][..., None],
        taper=stage.taper.reshape(-1, 2)[own_round][..., None],
        metric=stage.metric.reshape(-1)[own_round][..., None],
    )


def crossing(bounds: Bounds, origin: Vector, direction: Vector) -> tuple[Tensor, Tensor, Tensor]:
    """Where rays origin + t direction, (K, P) or (K, 1) each, are inside: t from `enter` to `leave`, (K, P), nowhere if
    enter >= leave; and `face`, the number of the slab they enter by (Bounds.round_face for a round side)."""
    shape = torch.broadcast_shapes(origin[0].shape, direction[0].shape)
    enter = torch.full(shape, -torch.inf, device=direction[0].device)
    leave = torch.full(shape, torch.inf, device=direction[0].device)
    face = torch.zeros(shape, dtype=torch.uint8, device=direction[0].device)
    for s, normal in enumerate(bounds.normal):
        n = len(normal[0])
        start, end = _slab(normal, bounds.low[s], bounds.high[s], _first(origin, n), _first(direction, n))
        _narrow(enter[:n], leave[:n], face[:n], start, end, s)
    if len(bounds.rounds):
        rows = bounds.rounds
        start, end = _round(bounds, _rows(origin, rows), _rows(direction, rows))
        part = enter[rows], leave[rows], face[rows]
        _narrow(*part, start, end, bounds.round_face)
        for whole, value in zip((enter, leave, face), part, strict=True):
            whole.index_copy_(0, rows, value)
    return enter, leave, face


def _narrow(enter: Tensor, leave: Tensor, face: Tensor, start: Tensor, end: Tensor, number: int) -> None:
    if number:
        face.masked_fill_(start > enter, number)
    torch.maximum(enter, start, out=enter)
    torch.minimum(leave, end, out=leave)


def _slab(normal: Vector, low: Tensor, high: Tensor, origin: Vector, direction: Vector) -> tuple[Tensor, Tensor]:
    inverse = (dot(normal, direction) + TINY).reciprocal_()
    at = dot(normal, origin)
    a, b = (low - at) * inverse, (high - at) * inverse
    return torch.minimum(a, b), torch.maximum(a, b)


def _round(bounds: Bounds, origin: Vector, direction: Vector) -> tuple[Tensor, Tensor]:
    """The part of each ray that lies in x^2 + y^2 <= (a + b z)^2, in units of the bounding box.

    A quadratic in t. Where its leading coefficient is negative the ray is steeper than the cone's side and lies in both
    nappes; the part in the lower one is what the slab of the height leaves.
    """
    m = bounds.unit.unbind(1)
    x, y, z = (m[4 * k] * origin[0] + m[4 * k + 1] * origin[1] + m[4 * k + 2] * origin[2] + m[4 * k + 3] for k in range(3))
    dx, dy, dz = (m[4 * k] * direction[0] + m[4 * k + 1] * direction[1] + m[4 * k + 2] * direction[2] for k in range(3))
    a, b = bounds.taper.unbind(1)
    reach, widens = a + b * z, b * dz
    square = dx * dx + dy * dy - widens * widens
    half = x * dx + y * dy - reach * widens
    rest = x * x + y * y - reach * reach
    discriminant = half * half - square * rest
    meets = discriminant > 0
    root = discriminant.clamp_min_(0).sqrt_()
    inverse = torch.where(square == 0, TINY, square).reciprocal_()
    start, end = (-half - root) * inverse, (-half + root) * inverse
    steep = square < 0  # then end < start, and the inside is t <= end or t >= start
    down = widens > 0  # the cone widens along the ray: its lower nappe is what comes last
    infinite = torch.inf
    return (
        torch.where(steep, torch.where(down, start, -infinite), torch.where(meets, start, infinite)),
        torch.where(steep, torch.where(down, infinite, end), torch.where(meets, end, -infinite)),
    )


def clearance(bounds: Bounds, point: Vector, normal: Vector, heights: tuple[float, ...]) -> list[Tensor]:
    """How far the points `point` + h `normal`, (K, P), are from their objects, for each h m of `heights`: at most the true
    distance, equal to it opposite a face; negative inside."""
    shape, device = point[0].shape, point[0].device
    far = [torch.full(shape, -torch.inf, device=device) for _ in heights]
    for s, plane in enumerate(bounds.normal):
        n = len(plane[0])
        at, along = dot(plane, _first(point, n)), dot(plane, _first(normal, n))
        for h, result in zip(heights, far, strict=True):
            here = at + along * h
            torch.maximum(result[:n], torch.maximum(bounds.low[s] - here, here - bounds.high[s]), out=result[:n])
    if len(bounds.rounds):
        rows, m = bounds.rounds, bounds.unit.unbind(1)
        a, b = bounds.taper.unbind(1)
        p, d = _rows(point, rows), _rows(normal, rows)
        for h, result in zip(heights, far, strict=True):
            q = tuple(p[k] + d[k] * h for k in range(3))
            x, y, z = (m[4 * k] * q[0] + m[4 * k + 1] * q[1] + m[4 * k + 2] * q[2] + m[4 * k + 3] for k in range(3))
            beyond = (torch.sqrt(x * x + y * y) - (a + b * z)) * bounds.metric
            result.index_copy_(0, rows, torch.maximum(result[rows], beyond))
    return far


def _first(vector: Vector, n: int) -> Vector:
    return vector[0][:n], vector[1][:n], vector[2][:n]


def _rows(vector: Vector, rows: Tensor) -> Vector:
    return vector[0][rows], vector[1][rows], vector[2][rows]


# ---- which tiles could meet which objects; all tests err on the side of yes


def in_view(stage: Stage, scene: Tensor, origin: Tensor, corners: Tensor) -> Tensor:
    """(T, M') whether a cone about a tile's rays meets an object's bounding sphere.

    `origin` (T, 3) and `corners` (T, C, 3), unit vectors along the outermost rays.
    """
    axis = torch.nn.functional.normalize(corners.sum(1), dim=-1)
    # 2% more: a lens bends a tile's edges a little beyond its corners.
    spread = torch.acos((corners * axis[:, None]).sum(-1).amin(1).clamp(-1, 1)) * 1.02 + 1e-4
    away = stage.center[scene] - origin[:, None]
    distance = away.norm(dim=-1)
    angle = torch.acos(((away * axis[:, None]).sum(-1) / distance.clamp_min(1e-9)).clamp(-1, 1))
    radius = stage.radius[scene] * 1.001
    apparent = torch.asin((radius / distance.clamp_min(1e-9)).clamp(0, 1))
    return stage.present[scene] & ((angle <= spread[:, None] + apparent) | (distance <= radius))


@dataclass(frozen=True)
class Boxes:
    """The bounding boxes of what tiles see: `center`, `half` (T, 3) m; empty ones are not `valid` (T,)."""

    center: Tensor
    half: Tensor
    valid: Tensor


def could_hide(stage: Stage, scene: Tensor, boxes: Boxes, target: Tensor, reach: Tensor) -> Tensor:
    """(T, M') whether an object could touch a straight line between a tile's box and within `reach` (T,) of `target`
    (T, 3)."""
    center, radius = stage.center[scene], stage.radius[scene]
    start, line = boxes.center, target - boxes.center
    along = ((center - start[:, None]) * line[:, None]).sum(-1) / (line * line).sum(-1).clamp_min(1e-12)[:, None]
    nearest = start[:, None] + along.clamp(0, 1)[..., None] * line[:, None]
    width = torch.maximum(boxes.half.norm(dim=-1), reach)
    near = (center - nearest).norm(dim=-1) <= radius + width[:, None] + 1e-4
    # A face of the object with all of the tile and all of the light before it parts them from the object.
    normal = stage.normal[:, : stage.solids][scene]  # (T, M', S, 3)
    middle = (normal * boxes.center[:, None, None]).sum(-1)
    extent = (normal.abs() * boxes.half[:, None, None]).sum(-1)
    light = (normal * target[:, None, None]).sum(-1)
    width = reach[:, None, None]
    low, high = stage.low[scene], stage.high[scene]
    parted = (middle - extent >= high - 1e-5) & (light - width >= high - 1e-5)
    parted |= (middle + extent <= low + 1e-5) & (light + width <= low + 1e-5)
    return stage.present[scene] & boxes.valid[:, None] & near & ~parted.any(-1)


def close_by(stage: Stage, scene: Tensor, boxes: Boxes, reach: float) -> Tensor:
    """(T, M') whether an object could be within `reach` m of a tile's box."""
    normal = stage.normal[:, : stage.solids][scene]
    middle = (normal * boxes.center[:, None, None]).sum(-1)
    extent = (normal.abs() * boxes.half[:, None, None]).sum(-1) + reach
    apart = (middle - extent > stage.high[scene]) | (middle + extent < stage.low[scene])
    near = (stage.center[scene] - boxes.center[:, None]).norm(dim=-1) <= (
        stage.radius[scene] + boxes.half.norm(dim=-1)[:, None] + reach
    )
    return stage.present[scene] & boxes.valid[:, None] & near & ~apart.any(-1)
