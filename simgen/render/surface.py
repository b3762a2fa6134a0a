"""What a ray sees where it ends: normal, colour and gloss, from the object's number and face."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from simgen.render.shading import Surface
from simgen.render.stage import BACKGROUND, Stage, Vector, dot
from simgen.scene import SURFACES, TEXTURES, Scenes
from simgen.textures import ImageFolder, decode, mix

PICTURE = 256  # px: what is kept of a user's picture on a surface; a background has the size of the frame


@dataclass(frozen=True)
class Hits:
    """What the rays of T tiles meet first, (T, P) each: `depth` along the optical axis in m, 0 for nothing; `owner`, the
    object's number in the Stage; `face`, the slab it was entered by. amodal (T, N, P): which blocks the ray meets at all."""

    depth: Tensor
    owner: Tensor
    face: Tensor
    amodal: Tensor


@dataclass(frozen=True)
class Pictures:
    """The pictures that surfaces of these scenes wear: `images` (I, PICTURE, PICTURE, 3) linear, `number` (B, M) which one,
    and `backgrounds` (J, H, W, 3) with the number (B,) of each scene's."""

    images: Tensor
    number: Tensor
    backgrounds: Tensor
    background: Tensor
    frame: tuple[int, int]

    @classmethod
    def of(cls, scenes: Scenes, folder: ImageFolder, stage: Stage) -> "Pictures":
        device = stage.texture.device
        frame = (scenes.cameras.height, scenes.cameras.width)
        worn = stage.texture == TEXTURES.index("image")
        behind = worn[:, stage.solids + BACKGROUND].cpu().numpy()
        number = torch.zeros_like(stage.pattern)
        images = torch.zeros((0, PICTURE, PICTURE, 3), device=device)
        if worn.any():
            files = stage.pattern % len(folder.paths)
            used, places = torch.unique(files[worn], return_inverse=True)
            number[worn] = places
            images = _loaded([folder.image(int(k), (PICTURE, PICTURE)) for k in used.tolist()], device)
        rows = np.flatnonzero(behind)
        pattern = scenes.surfaces.material.pattern[:, SURFACES.index("background")]
        backgrounds = _loaded([folder.image(int(pattern[row]), frame) for row in rows], device, frame)
        background = np.zeros(len(scenes), np.int64)
        background[rows] = np.arange(len(rows))
        return cls(images, number, backgrounds, torch.tensor(background, device=device), frame)


def _loaded(
    images: list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]],
    device: torch.device,
    frame: tuple[int, int] = (PICTURE, PICTURE),
) -> Tensor:
    if not images:
        return torch.zeros((0, *frame, 3), device=device)
    return decode(torch.tensor(np.stack(images), device=device).float() / 255)  # type: ignore[no-any-return]


def seen_surface(
    stage: Stage, pictures: Pictures, scene: Tensor, corner: Tensor, position: Vector, direction: Vector, hits: Hits
) -> Surface:
    """The Surface (T, P) at `position`, seen along `direction`. `corner` (T, 2) is each tile's first pixel.

    Worked out for each object that a tile shows, over the whole tile, and kept where the object is what is seen.
    """
    tiles, rays = hits.depth.shape
    shown = torch.zeros((tiles, stage.objects), dtype=torch.bool, device=scene.device)
    shown.scatter_(1, hits.owner.long(), True)
    tile, thing = shown.nonzero(as_tuple=True)
    kind = stage.texture[scene[tile], thing]
    order = torch.argsort(kind, stable=True)
    tile, thing, kind = tile[order], thing[order], kind[order]
    row = scene[tile] * stage.objects + thing
    place, facing = tuple(part[tile] for part in position), tuple(part[tile] for part in direction)
    unit = stage.unit.reshape(-1, 12)[row].T[..., None]
    q = tuple(
        unit[4 * k] * place[0] + unit[4 * k + 1] * place[1] + unit[4 * k + 2] * place[2] + unit[4 * k + 3]
        for k in range(3)
    )
    face = hits.face[tile].long()
    normal, axis = _normals(stage, row, thing, face, q, unit, facing)
    u = torch.where(axis == 0, q[1], q[0])
    v = torch.where(axis == 2, q[1], q[2])
    far = (thing == stage.solids + BACKGROUND).nonzero()[:, 0]
    u[far], v[far] = _screen(corner[tile[far]], pictures.frame, rays)
    color = _colors(stage, pictures, row, kind, u, v, scene[tile])
    mine = hits.owner[tile] == thing[:, None].to(torch.int16)
    # Where another object is seen, nothing is added: each sum has one term that is not 0, and is exact.
    gloss = (part.reshape(-1)[row][:, None].expand(-1, rays) for part in (stage.roughness, stage.metalness, stage.specular))
    parts = []
    for value in (*normal, *color, *gloss):
        whole = torch.zeros((tiles, rays), device=scene.device)
        parts.append(whole.index_add_(0, tile, torch.where(mine, value, 0.0)))
    nx, ny, nz, r, g, b, roughness, metalness, specular = parts
    return Surface(position, (nx, ny, nz), (r, g, b), roughness, metalness, specular)


def _normals(
    stage: Stage, row: Tensor, thing: Tensor, face: Tensor, q: Vector, unit: Tensor, facing: Vector
) -> tuple[Vector, Tensor]:
    """Unit normals towards where the rays come from, and the axis that textures are projected along, (K, P) each."""
    slabs = stage.normal.shape[2]
    # A ray enters a slab against its outward normal, whichever of the two sides that is.
    flat = face.clamp_max(slabs - 1)
    table = stage.normal.reshape(-1, slabs, 3)[row]
    n = [torch.gather(table[..., k], 1, flat) for k in range(3)]
    sign = torch.where(dot((n[0], n[1], n[2]), facing) > 0, -1.0, 1.0)
    n = [part * sign for part in n]
    axis = torch.gather(stage.axis.reshape(-1, slabs + 1)[row], 1, face)
    solid = (thing < stage.solids).nonzero()[:, 0]
    own = row[solid] // stage.objects * stage.solids + thing[solid]
    rounds = solid[stage.round.reshape(-1)[own]]
    if len(rounds):
        own = row[rounds] // stage.objects * stage.solids + thing[rounds]
        a, b = (part[:, None] for part in stage.taper.reshape(-1, 2)[own].unbind(1))
        x, y, z = (part[rounds] for part in q)
        slope = (x, y, -b * (a + b * z))
        m = unit[:, rounds]
        g = [m[k] * slope[0] + m[4 + k] * slope[1] + m[8 + k] * slope[2] for k in range(3)]
        inverse = torch.rsqrt(dot((g[0], g[1], g[2]), (g[0], g[1], g[2])).clamp_min(1e-20))
        side = face[rounds] == slabs
        for k in range(3):
            n[k][rounds] = torch.where(side, g[k] * inverse, n[k][rounds])
        # In the object's own axes a row of `unit` has the length 1 / size.
        size = [torch.rsqrt(m[4 * k] ** 2 + m[4 * k + 1] ** 2 + m[4 * k + 2] ** 2) for k in range(3)]
        own_slope = [(part / length).abs() for part, length in zip(slope, size, strict=True)]
        widest = torch.maximum(own_slope[0], own_slope[1])
        along = torch.where(own_slope[2] > widest, 2, torch.where(own_slope[1] > own_slope[0], 1, 0))
        axis[rounds] = torch.where(side, along, axis[rounds])
    return (n[0], n[1], n[2]), axis


def _screen(corner: Tensor, frame: tuple[int, int], rays: int) -> tuple[Tensor, Tensor]:
    """u, v (K, P) of a texture that fills the frame."""
    height, width = frame
    side = int(rays**0.5)
    step = torch.arange(rays, device=corner.device)
    u, v = corner[:, 0, None] + step % side, corner[:, 1, None] + step // side
    return (u + 0.5) / width - 0.5, 0.5 - (v + 0.5) / height


def _colors(
    stage: Stage, pictures: Pictures, row: Tensor, kind: Tensor, u: Tensor, v: Tensor, scene: Tensor
) -> Vector:
    """Linear colours (K, P); the pairs come sorted by `kind`."""
    start, end = stage.color.reshape(-1, 3)[row], stage.color2.reshape(-1, 3)[row]
    share = torch.zeros_like(u)
    sizes = torch.bincount(kind, minlength=len(TEXTURES)).tolist()
    first = 0
    image: Tensor | None = None
    for name, size in zip(TEXTURES, sizes, strict=True):
        rows = slice(first, first + size)
        first += size
        if not size or name == "flat":
            continue
        if name == "image":
            image = _sampled(stage, pictures, row[rows], u[rows], v[rows], scene[rows])
            continue
        own = (part.reshape(-1)[row[rows]][:, None] for part in (stage.cycles, stage.angle, stage.pattern))
        cycles, angle, pattern = own
        share[rows] = mix(name, u[rows], v[rows], cycles=cycles, angle=angle, pattern=pattern)
    color = [start[:, k, None] + (end - start)[:, k, None] * share for k in range(3)]
    if image is not None:
        for k in range(3):
            color[k][-sizes[-1] :] = image[..., k]
    return color[0], color[1], color[2]


def _sampled(stage: Stage, pictures: Pictures, row: Tensor, u: Tensor, v: Tensor, scene: Tensor) -> Tensor:
    """(K, P, 3) the pictures at (u, v)."""
    result = torch.empty((*u.shape, 3), device=u.device)
    behind = row % stage.objects == stage.solids + BACKGROUND
    for rows, images, number in (
        ((~behind).nonzero()[:, 0], pictures.images, pictures.number.reshape(-1)[row]),
        (behind.nonzero()[:, 0], pictures.backgrounds, pictures.background[scene]),
    ):
        if len(rows):
            height, width = images.shape[1:3]
            column = ((u[rows] + 0.5) * width).long().clamp(0, width - 1)
            line = ((0.5 - v[rows]) * height).long().clamp(0, height - 1)
            result[rows] = images[number[rows][:, None], line, column]
    return result
