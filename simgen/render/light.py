"""The light that reaches surfaces: direct light with shadows, and ambient light with occlusion."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from simgen.catalogue import World
from simgen.render.kernels import Run
from simgen.render.rays import Bounds, Boxes, clearance, close_by, could_hide, crossing, groups_of, of_tiles
from simgen.render.shading import Surface, ambient, gloss_of, occlusion, reflect
from simgen.render.stage import BACKGROUND, Stage, Vector, dot
from simgen.render.surface import Frame, Hits, Pictures, Shown, Tiles, is_seen, normal_of, normals, place_of, shares
from simgen.scene import LIGHTS, Scenes

FAR = 20.0  # m: shadow rays to a directional light end here
NEAR_LIGHT = 1e-3  # m: no surface counts as nearer to a light
HEIGHTS = (0.01, 0.025, 0.06)  # m above a surface at which its surroundings are felt
STEPS = 1 << 16  # occlusion is summed in whole steps of 1 / STEPS: then the order of summation does not matter


@dataclass(frozen=True)
class Glow:
    """The lights of B scenes as tensors, float32.

    `place` (B, L, 3): where a light is, or for a directional one the direction to it; `local` (B, L) tells them apart, 1
    and 0. `strength` (B, L, 3): colour times intensity, and the square of the distance. `across`, `up` (B, L, 3) span the
    disc of an area light, zero for others.
    """

    present: Tensor
    local: Tensor
    place: Tensor
    strength: Tensor
    specular: Tensor
    shadow: Tensor
    area: Tensor
    across: Tensor
    up: Tensor
    sky: Tensor
    ground: Tensor
    occlusion: Tensor

    @classmethod
    def of(cls, scenes: Scenes, world: World, device: torch.device) -> "Glow":
        lights, around = scenes.lights, scenes.ambient
        local = (lights.kind != LIGHTS.index("directional"))[..., None]
        area = lights.kind == LIGHTS.index("area")
        direction = lights.direction
        middle = np.array([*world.table.center[:2], 0.0])
        place = np.where(local, middle + direction * lights.distance[..., None], direction)
        falloff = np.where(local, lights.distance[..., None] ** 2, 1.0)
        strength = lights.color * lights.intensity[..., None] * falloff
        helper = np.where(np.abs(direction[..., 2:]) < 0.9, [0.0, 0.0, 1.0], [1.0, 0.0, 0.0])
        across = np.cross(direction, helper)
        across /= np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1e-12)
        up = np.cross(direction, across)
        radius = np.where(area, lights.size, 0.0)[..., None]

        def tensor(values: object) -> Tensor:
            result = torch.tensor(np.asarray(values), device=device)
            return result.float() if result.is_floating_point() else result

        return cls(
            present=tensor(lights.present & (lights.intensity > 0)),
            local=tensor(local[..., 0].astype(np.float64)),
            place=tensor(place),
            strength=tensor(strength),
            specular=tensor(lights.specular),
            shadow=tensor(lights.shadow),
            area=tensor(area & (lights.size > 0)),
            across=tensor(across * radius),
            up=tensor(up * radius),
            sky=tensor(around.sky * around.intensity[:, None]),
            ground=tensor(around.ground * around.intensity[:, None]),
            occlusion=tensor(around.occlusion),
        )


class Look(NamedTuple):
    """What K surfaces are made of: linear `color` and `color2` (K, 3), roughness, metalness, specular (K, 1); `shines`
    (K, 1) whether the surface is a background, which no light reaches."""

    color: Tensor
    color2: Tensor
    roughness: Tensor
    metalness: Tensor
    specular: Tensor
    shines: Tensor


class Lamp(NamedTuple):
    """One light for K pairs: `place`, `strength` (K, 3), `local`, `specular` (K, 1), and how much is `visible` (T, P)."""

    place: Tensor
    local: Tensor
    strength: Tensor
    specular: Tensor
    visible: Tensor


def lit(run: Run, stage: Stage, glow: Glow, pictures: Pictures, tiles: Tiles, hits: Hits, disc: Tensor) -> Vector:
    """Linear light (T, P) that the rays of `tiles` bring. Worked out for each object that a tile shows, over the whole tile,
    and kept where the object is what is seen.

    `disc` (pages, samples, P, 2) holds places on the unit disc; a tile's key picks its page.
    """
    shown = Shown.of(stage, tiles, hits)
    share, worn, picture = shares(run, shown, pictures, tiles, hits)
    rays = (hits.depth, tiles.origin, tiles.directions)
    boxes = Boxes(*run(bounding_boxes, *rays, hits.owner, stage.solids + BACKGROUND))
    open_share = _open_share(run, glow, shown, tiles, hits, boxes)
    numbers = [light for light in range(glow.present.shape[1]) if glow.present[tiles.scene, light].any()]
    visible = [_visible(run, stage, glow, light, tiles, hits, boxes, disc) for light in numbers]
    total = [torch.zeros_like(hits.depth) for _ in range(3)]
    for rows, is_round, frame in shown.frames(run, torch.arange(len(shown.tile), device=hits.depth.device)):
        row, scene = shown.row[rows], shown.scene[rows]
        look = Look(
            stage.color.reshape(-1, 3)[row],
            stage.color2.reshape(-1, 3)[row],
            stage.roughness.reshape(-1)[row][:, None],
            stage.metalness.reshape(-1)[row][:, None],
            stage.specular.reshape(-1)[row][:, None],
            (shown.thing[rows] == stage.solids + BACKGROUND)[:, None],
        )
        lamps = [
            Lamp(
                glow.place[scene, light],
                glow.local[scene, light][:, None],
                glow.strength[scene, light] * glow.present[scene, light][:, None],
                glow.specular[scene, light][:, None],
                seen,
            )
            for light, seen in zip(numbers, visible, strict=True)
        ]
        around = (glow.sky[scene], glow.ground[scene], open_share)
        albedo = run(blend, look, share[rows] if len(rows) < len(share) else share)
        _wear(albedo, rows, worn, picture)
        part = run(shade, frame, is_round, look, albedo, *rays, hits.face, hits.owner, around, lamps)
        for whole, value in zip(total, part, strict=True):
            whole.index_add_(0, frame.tile, value)  # one term is not 0: exact
    return total[0], total[1], total[2]


def _wear(albedo: Vector, rows: Tensor, worn: Tensor, picture: Tensor) -> None:
    """Puts the colours `picture` (W, P, 3) of the pairs `worn` into `albedo`, which is that of the pairs `rows`."""
    if len(worn):
        here, there = (rows[:, None] == worn[None]).nonzero(as_tuple=True)
        for k in range(3):
            albedo[k][here] = picture[there, :, k]


def blend(look: Look, share: Tensor) -> Vector:
    """Linear albedo (K, P)."""
    a, b = look.color, look.color2
    return (
        a[:, 0, None] + (b - a)[:, 0, None] * share,
        a[:, 1, None] + (b - a)[:, 1, None] * share,
        a[:, 2, None] + (b - a)[:, 2, None] * share,
    )


def shade(
    frame: Frame,
    is_round: bool,
    look: Look,
    albedo: Vector,
    depth: Tensor,
    origin: Tensor,
    direction: Vector,
    face: Tensor,
    owner: Tensor,
    around: tuple[Tensor, Tensor, Tensor],
    lamps: list[Lamp],
) -> Vector:
    """Radiance (K, P) towards the camera where the pair's object is what is seen, 0 elsewhere."""
    tile = frame.tile
    place = place_of(depth, origin, direction, tile)
    normal, _, _ = normal_of(frame, is_round, place, direction, face)
    surface = Surface(normal, albedo, look.roughness, look.metalness, look.specular)
    dx, dy, dz = of_tiles(direction, tile)
    inverse = torch.rsqrt(dx * dx + dy * dy + dz * dz)
    gloss = gloss_of(surface, (-dx * inverse, -dy * inverse, -dz * inverse))
    r, g, b = ambient(surface, gloss, around[0], around[1], around[2].index_select(0, tile))
    for lamp in lamps:
        toward, inverse = aim(place, lamp.place, lamp.local)
        falloff = lamp.local * (inverse * inverse) + (1 - lamp.local)
        arriving = lamp.visible.index_select(0, tile) * falloff
        red, green, blue = reflect(surface, gloss, toward, dot(normal, toward).clamp_min(0), lamp.specular)
        r = r + red * (arriving * lamp.strength[:, 0, None])
        g = g + green * (arriving * lamp.strength[:, 1, None])
        b = b + blue * (arriving * lamp.strength[:, 2, None])
    mine = is_seen(owner, tile, frame.thing).float()
    return (
        torch.where(look.shines, albedo[0], r) * mine,
        torch.where(look.shines, albedo[1], g) * mine,
        torch.where(look.shines, albedo[2], b) * mine,
    )


def aim(place: Vector, light: Tensor, local: Tensor) -> tuple[Vector, Tensor]:
    """The unit direction to the light, and 1 / the distance to it, 1 for a directional one."""
    x, y, z = (light[:, k, None] - local * place[k] for k in range(3))
    inverse = torch.rsqrt((x * x + y * y + z * z).clamp_min(NEAR_LIGHT * NEAR_LIGHT))
    return (x * inverse, y * inverse, z * inverse), inverse


def bounding_boxes(
    depth: Tensor, origin: Tensor, direction: Vector, owner: Tensor, nothing: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Center and half size (T, 3) of boxes about what tiles see, and whether they see anything but `nothing`."""
    empty = owner == nothing
    lows, highs = [], []
    for k in range(3):
        place = origin[:, k, None] + depth * direction[k]
        lows.append(place.masked_fill(empty, torch.inf).amin(1))
        highs.append(place.masked_fill(empty, -torch.inf).amax(1))
    low, high = torch.stack(lows, 1), torch.stack(highs, 1)
    return (low + high) * 0.5, (high - low) * 0.5, ~empty.all(1)


def blocked(
    bounds: Bounds,
    depth: Tensor,
    origin: Tensor,
    direction: Vector,
    owner: Tensor,
    tile: Tensor,
    thing: Tensor,
    light: Tensor,
    local: Tensor,
) -> Tensor:
    """(K, P), 1.0 where the object is in the way to the light."""
    place = place_of(depth, origin, direction, tile)
    toward, inverse = aim(place, light, local)
    met, enter = _ahead(bounds, place, toward, owner, tile, thing)
    return (met & (enter * inverse < torch.where(local > 0, 1.0, FAR))).float()


def blocked_part(
    bounds: Bounds,
    depth: Tensor,
    origin: Tensor,
    direction: Vector,
    owner: Tensor,
    tile: Tensor,
    thing: Tensor,
    light: Tensor,
    spot: Tensor,
    across: Tensor,
    up: Tensor,
) -> Tensor:
    """The same for one place of an area light for each ray: `spot` (K, P, 2) on the disc that `across` and `up` (K, 3) span
    about `light`."""
    px, py, pz = place = place_of(depth, origin, direction, tile)
    a, b = spot[..., 0], spot[..., 1]
    line = (
        light[:, 0, None] + across[:, 0, None] * a + up[:, 0, None] * b - px,
        light[:, 1, None] + across[:, 1, None] * a + up[:, 1, None] * b - py,
        light[:, 2, None] + across[:, 2, None] * a + up[:, 2, None] * b - pz,
    )
    met, enter = _ahead(bounds, place, line, owner, tile, thing)
    return (met & (enter < 1)).float()


def _ahead(
    bounds: Bounds, place: Vector, line: Vector, owner: Tensor, tile: Tensor, thing: Tensor
) -> tuple[Tensor, Tensor]:
    """(K, P) whether the object lies ahead of `place` along `line`, and where it begins. It never does on its own surface:
    it is convex."""
    enter, leave, _ = crossing(bounds, place, line)
    return (enter < leave) & (leave > 0) & ~is_seen(owner, tile, thing), enter


def _visible(
    run: Run, stage: Stage, glow: Glow, light: int, tiles: Tiles, hits: Hits, boxes: Boxes, disc: Tensor
) -> Tensor:
    """(T, P) share of the light that nothing hides from the surface."""
    scene = tiles.scene
    visible = torch.ones_like(hits.depth)
    local, place = glow.local[scene, light][:, None], glow.place[scene, light]
    target = torch.where(local > 0, place, boxes.center + FAR * place)
    asked = glow.present[scene, light] & glow.shadow[scene, light]
    wide = glow.across[scene, light].norm(dim=-1)
    tile, thing = could_hide(run, stage, scene, boxes, target, torch.where(asked, wide, -1.0))
    soft = glow.area[scene, light][tile]
    page = ((tiles.key + light * 15485863) * 2654435761 >> 20) % len(disc)
    for rows, samples, is_soft in ((~soft, 1, False), (soft, disc.shape[1], True)):
        groups = list(groups_of(stage, scene, tile[rows], thing[rows]))
        for sample in range(samples if groups else 0):
            count = torch.zeros_like(visible)
            for group in groups:
                own = scene[group.tile]
                seen = (group.bounds, hits.depth, tiles.origin, tiles.directions, hits.owner, group.tile, group.thing)
                if is_soft:
                    spot = disc[page[group.tile], sample]
                    disc_axes = (glow.across[own, light], glow.up[own, light])
                    hidden = run(blocked_part, *seen, glow.place[own, light], spot, *disc_axes)
                else:
                    hidden = run(blocked, *seen, glow.place[own, light], glow.local[own, light][:, None])
                count.index_add_(0, group.tile, hidden)
            visible = run(less, visible, count, torch.full((1, 1), 1 / samples, device=visible.device))
    return visible


def less(visible: Tensor, count: Tensor, share: Tensor) -> Tensor:
    """`visible` without `share` (1, 1) where anything was counted."""
    return visible - (count > 0) * share


def _open_share(run: Run, glow: Glow, shown: Shown, tiles: Tiles, hits: Hits, boxes: Boxes) -> Tensor:
    """(T, P) share of the light from everywhere that reaches the surface."""
    stage, strength = shown.stage, glow.occlusion[tiles.scene]
    # A point that much above the surface feels what is that much away from it.
    tile, thing = close_by(stage, tiles.scene, boxes, torch.where(strength > 0, 2 * HEIGHTS[-1], -1.0))
    # A convex object takes nothing away from its own surface.
    alone = (hits.owner == hits.owner[:, :1]).all(1)
    kept = ~(alone[tile] & (hits.owner[tile, 0] == thing))
    tile, thing = tile[kept], thing[kept]
    taken = torch.zeros_like(hits.depth)
    if not len(tile):
        return taken + 1
    dark = torch.zeros(len(taken), dtype=torch.bool, device=taken.device)
    dark[tile] = True
    normal = tuple(torch.zeros_like(taken) for _ in range(3))
    for _, is_round, frame in shown.frames(run, dark[shown.tile].nonzero()[:, 0]):
        own = run(normals, frame, is_round, hits.depth, tiles.origin, tiles.directions, hits.face, hits.owner)
        for whole, value in zip(normal, own, strict=True):
            whole.index_add_(0, frame.tile, value)
    for group in groups_of(stage, tiles.scene, tile, thing):
        rays = (hits.depth, tiles.origin, tiles.directions)
        lost = run(takes, group.bounds, *rays, normal, hits.owner, group.tile, group.thing)
        taken.index_add_(0, group.tile, lost)
    return run(remains, taken, strength)


def takes(
    bounds: Bounds,
    depth: Tensor,
    origin: Tensor,
    direction: Vector,
    normal: Vector,
    owner: Tensor,
    tile: Tensor,
    thing: Tensor,
) -> Tensor:
    """(K, P) steps of the light from everywhere that an object takes from others' surfaces."""
    place = place_of(depth, origin, direction, tile)
    lost = occlusion(clearance(bounds, place, of_tiles(normal, tile), HEIGHTS), HEIGHTS)
    return torch.floor(lost * STEPS) * ~is_seen(owner, tile, thing)


def remains(taken: Tensor, strength: Tensor) -> Tensor:
    """The share that is left."""
    return 1 - strength[:, None] * (taken * (1 / STEPS)).clamp_max(1)
