"""All light that reaches surfaces: every light with its shadows, and what comes from everywhere."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from simgen.catalogue import World
from simgen.render.rays import Boxes, bounds_of, clearance, close_by, could_hide, crossing, pair
from simgen.render.shading import Gloss, Surface, ambient, gloss_of, occlusion, reflect
from simgen.render.stage import BACKGROUND, Stage, Vector, dot
from simgen.render.surface import Hits
from simgen.scene import LIGHTS, Scenes

BIAS = 1e-4  # m: shadow rays start this far above the surface
FAR = 20.0  # m: shadow rays to a directional light end here
NEAR_LIGHT = 1e-3  # m: no surface counts as nearer to a light
HEIGHTS = (0.01, 0.025, 0.06)  # m above a surface at which its surroundings are felt
STEPS = 1 << 16  # occlusion is summed in whole steps of 1 / STEPS: then the order of summation does not matter


@dataclass(frozen=True)
class Glow:
    """The lights of B scenes as tensors, float32. `place` (B, L, 3): where a light is, or for a directional one the direction
    to it; `local` (B, L) tells them apart, 1 and 0. `strength` (B, L, 3): colour times intensity, and the square of the
    distance. `across`, `up` (B, L, 3) span the disc of an area light, zero for others."""

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


def lit(
    stage: Stage, glow: Glow, scene: Tensor, surface: Surface, direction: Vector, hits: Hits, disc: Tensor, key: Tensor
) -> Vector:
    """Radiance (T, P) towards the camera of `surface`, seen along `direction`.

    `disc` (pages, samples, P, 2) holds places on the unit disc; `key` (T,) picks a page for each tile and light.
    """
    inverse = torch.rsqrt(dot(direction, direction))
    view = (-direction[0] * inverse, -direction[1] * inverse, -direction[2] * inverse)
    gloss = gloss_of(surface, view)
    nothing = hits.owner == stage.solids + BACKGROUND
    boxes = _boxes(surface.position, nothing)
    sky, ground = (tuple(part[scene].unbind(1)) for part in (glow.sky, glow.ground))
    share = _open_share(stage, glow, scene, surface, hits, boxes)
    total = list(
        ambient(
            surface, gloss, tuple(c[:, None] for c in sky), tuple(c[:, None] for c in ground), share
        )  # type: ignore[arg-type]
    )
    # Lifted off the surface, so that a shadow ray does not meet what it leaves.
    start = tuple(p + BIAS * n for p, n in zip(surface.position, surface.normal, strict=True))
    for light in range(glow.present.shape[1]):
        rows = glow.present[scene, light].nonzero()[:, 0]
        if not len(rows):
            continue
        part = _One(stage, glow, light, scene, rows, surface, gloss, start, boxes)  # type: ignore[arg-type]
        visible = _visible(stage, glow, part, disc, key)
        color = reflect(part.surface, part.gloss, part.toward, part.cosine, glow.specular[part.scene, light][:, None])
        for k in range(3):
            arriving = glow.strength[part.scene, light, k][:, None] * part.falloff * visible
            if len(rows) == len(scene):
                total[k] += color[k] * arriving
            else:
                total[k].index_add_(0, rows, color[k] * arriving)
    return total[0], total[1], total[2]


class _One:
    """One light and the tiles `rows` whose scenes have it."""

    def __init__(
        self,
        stage: Stage,
        glow: Glow,
        light: int,
        scene: Tensor,
        rows: Tensor,
        surface: Surface,
        gloss: Gloss,
        start: Vector,
        boxes: Boxes,
    ) -> None:
        self.light, self.rows, self.scene = light, rows, scene[rows]
        whole = len(rows) == len(scene)

        def own(part: Tensor) -> Tensor:
            return part if whole else part[rows]

        def all_own(parts: Vector) -> Vector:
            return own(parts[0]), own(parts[1]), own(parts[2])

        self.surface = Surface(
            all_own(surface.position),
            all_own(surface.normal),
            all_own(surface.albedo),
            own(surface.roughness),
            own(surface.metalness),
            own(surface.specular),
        )
        self.gloss = Gloss(
            all_own(gloss.view), own(gloss.facing), own(gloss.alpha2), own(gloss.dielectric), own(gloss.matt)
        )
        self.start = all_own(start)
        self.boxes = Boxes(own(boxes.center), own(boxes.half), own(boxes.valid))
        local = glow.local[self.scene, light][:, None]
        place = glow.place[self.scene, light]
        x, y, z = (place[:, k, None] - local * part for k, part in enumerate(self.start))
        inverse = torch.rsqrt((x * x + y * y + z * z).clamp_min(NEAR_LIGHT**2))
        self.falloff = inverse * inverse
        self.toward: Vector = (x * inverse, y * inverse, z * inverse)
        self.cosine = dot(self.surface.normal, self.toward).clamp_min(0)
        reach = torch.where(local > 0, 1.0, FAR)
        self.line: Vector = (x * reach, y * reach, z * reach)
        self.target = torch.where(local > 0, place, self.boxes.center + FAR * place)


def _visible(stage: Stage, glow: Glow, one: _One, disc: Tensor, key: Tensor) -> Tensor:
    """(R, P) share of the light that nothing hides from the surface."""
    light, scene = one.light, one.scene
    visible = torch.ones_like(one.cosine)
    wide = glow.across[scene, light].norm(dim=-1)
    hides = could_hide(stage, scene, one.boxes, one.target, wide)
    hides &= (glow.shadow[scene, light] & (one.cosine > 0).any(1))[:, None]
    if not hides.any():
        return visible
    area = glow.area[scene, light]
    for soft in (False, True):
        tile, thing = (hides & (area == soft)[:, None]).nonzero(as_tuple=True)
        if not len(tile):
            continue
        pairs = pair(stage, scene, tile, thing)
        bounds = bounds_of(stage, pairs)
        start, line = (tuple(part[pairs.tile] for part in vector) for vector in (one.start, one.line))
        page = ((key[one.rows] + light * 15485863) * 2654435761 >> 20) % len(disc)
        samples = disc.shape[1] if soft else 1
        hidden = torch.zeros_like(visible)
        for sample in range(samples):
            aimed = line
            if soft:
                place = disc[page[pairs.tile], sample]
                across, up = glow.across[scene[pairs.tile], light], glow.up[scene[pairs.tile], light]
                aimed = tuple(
                    line[k] + across[:, k, None] * place[..., 0] + up[:, k, None] * place[..., 1] for k in range(3)
                )
            enter, leave, _ = crossing(bounds, start, aimed)  # type: ignore[arg-type]
            blocked = (enter < leave) & (leave > 0) & (enter < 1)
            count = torch.zeros_like(visible).index_add_(0, pairs.tile, blocked.float())
            hidden += (count > 0).float()
        visible -= hidden / samples
    return visible


def _open_share(
    stage: Stage, glow: Glow, scene: Tensor, surface: Surface, hits: Hits, boxes: Boxes
) -> Tensor:
    """(T, P) share of the light from everywhere that reaches the surface."""
    shape = hits.depth.shape
    strength = glow.occlusion[scene]
    # A point that much above the surface feels what is that much away from it.
    near = close_by(stage, scene, boxes, 2 * HEIGHTS[-1]) & (strength > 0)[:, None]
    # A convex object takes nothing away from its own surface.
    owner = hits.owner[:, :1].long()
    alone = (hits.owner == hits.owner[:, :1]).all(1)
    only = torch.zeros((len(scene), stage.objects), dtype=torch.bool, device=scene.device)
    only.scatter_(1, owner, alone[:, None])
    tile, thing = (near & ~only[:, : stage.solids]).nonzero(as_tuple=True)
    taken = torch.zeros(shape, device=scene.device)
    if len(tile):
        pairs = pair(stage, scene, tile, thing)
        point, normal = (tuple(part[pairs.tile] for part in vector) for vector in (surface.position, surface.normal))
        lost = occlusion(clearance(bounds_of(stage, pairs), point, normal, HEIGHTS), HEIGHTS)  # type: ignore[arg-type]
        own = hits.owner[pairs.tile] == (pairs.row % stage.objects)[:, None].to(torch.int16)
        taken.index_add_(0, pairs.tile, torch.where(own, 0.0, torch.round(lost * STEPS)))
    return 1 - strength[:, None] * (taken / STEPS).clamp_max(1)


def _boxes(position: Vector, nothing: Tensor) -> Boxes:
    low = torch.stack([part.masked_fill(nothing, torch.inf).amin(1) for part in position], 1)
    high = torch.stack([part.masked_fill(nothing, -torch.inf).amax(1) for part in position], 1)
    valid = ~nothing.all(1)
    return Boxes((low + high) / 2, (high - low) / 2, valid)
