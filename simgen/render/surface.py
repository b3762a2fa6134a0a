"""Surface properties at the hit point of a ray: normal, color and gloss, from the object's number and face."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from simgen.render.kernels import Run
from simgen.render.rays import of_tiles
from simgen.render.stage import BACKGROUND, Stage, Vector, dot
from simgen.scene import SURFACES, TEXTURES, Scenes
from simgen.textures.color import decode
from simgen.textures.images import ImageFolder
from simgen.textures.procedural import FACES, LATTICE, OCTAVES, ROUND_FACE, lattice

PICTURE = 256  # px: what is kept of a user's picture on a surface; a background has the size of the frame


@dataclass(frozen=True)
class Tiles:
    """T tiles of P rays: `directions` (T, P) in world coordinates, 1 along the optical axis, from `origin` (T, 3).

    `scene` (T,), `place` (T, 2) the tile's row and column in the picture, `corner` (T, 2) px u and v of its first ray,
    `key` (T,) tells tiles apart wherever they are drawn.
    """

    scene: Tensor
    place: Tensor
    key: Tensor
    corner: Tensor
    origin: Tensor
    directions: Vector


@dataclass(frozen=True)
class Hits:
    """What the rays of T tiles meet first, (T, P) each: `depth` along the optical axis in m, 0 for nothing; `owner`, the
    object's number in the Stage; `face`, the slab it was entered by. Numbers are float32, which compilers handle best.

    (K,) pairs of a tile and a block that rays of it meet, seen or not: `tile`, `block`, and `meets` (K, P).
    """

    depth: Tensor
    owner: Tensor
    face: Tensor
    tile: Tensor
    block: Tensor
    meets: Tensor


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


class Frame(NamedTuple):
    """What K objects' faces are like: rows of Stage.normal, axis, unit and taper; and which tile and object each is."""

    normal: Tensor
    axis: Tensor
    unit: Tensor
    taper: Tensor
    tile: Tensor
    thing: Tensor


@dataclass(frozen=True)
class Shown:
    """The V pairs of a tile and an object that is seen in it: `tile`, `thing`, `scene`, `row` = scene * objects + object,
    `bent`: whether it has a round side."""

    stage: Stage
    tile: Tensor
    thing: Tensor
    scene: Tensor
    row: Tensor
    bent: Tensor

    @classmethod
    def of(cls, stage: Stage, tiles: Tiles, hits: Hits) -> "Shown":
        device = hits.depth.device
        shown = torch.zeros((len(hits.depth), stage.objects), dtype=torch.bool, device=device)
        shown.scatter_(1, hits.owner.long(), True)
        tile, thing = shown.nonzero(as_tuple=True)
        scene = tiles.scene[tile]
        row = scene * stage.objects + thing
        return cls(stage, tile, thing, scene, row, stage.all_round.reshape(-1)[row])

    def frames(self, run: Run, rows: Tensor) -> Iterator[tuple[Tensor, bool, Frame]]:
        """The pairs `rows`, flat ones and round ones apart."""
        # Fused, one kernel for both costs less than compiling two; its result is the same.
        bent = torch.ones_like(self.bent[rows]) if run.compiled else self.bent[rows]
        stage = self.stage
        for is_round, own in ((False, rows[~bent]), (True, rows[bent])):
            if len(own):
                row = self.row[own]
                frame = Frame(
                    stage.normal.reshape(-1, *stage.normal.shape[2:])[row],
                    stage.axis.reshape(-1, stage.axis.shape[2])[row],
                    stage.unit.reshape(-1, 12)[row],
                    stage.all_taper.reshape(-1, 3)[row],
                    self.tile[own],
                    self.thing[own],
                )
                yield own, is_round, frame


def place_of(depth: Tensor, origin: Tensor, direction: Vector, tile: Tensor) -> Vector:
    """World coordinates (K, P) of what the rays of the tiles `tile` (K,) meet."""
    start, far, (x, y, z) = origin[tile], depth.index_select(0, tile), of_tiles(direction, tile)
    return start[:, 0, None] + far * x, start[:, 1, None] + far * y, start[:, 2, None] + far * z


def is_seen(owner: Tensor, tile: Tensor, thing: Tensor) -> Tensor:
    """(K, P) whether the object `thing` (K,) is what the rays of the tiles `tile` (K,) meet first."""
    return owner.index_select(0, tile) == thing[:, None]


def slab_normal(frame: Frame, code: Tensor) -> Vector:
    """The normal (K, P) of the slabs `code` (K, P); the first one's where that is none of them."""
    x, y, z = (_picked(frame.normal[..., k], code) for k in range(3))
    return x, y, z


def _picked(values: Tensor, code: Tensor) -> Tensor:
    """(K, P) of `values` (K, S) that with the number `code` (K, P)."""
    found = values[:, 0, None].expand(code.shape)
    for s in range(1, values.shape[1]):
        found = torch.where(code == s, values[:, s, None], found)
    return found


def normal_of(
    frame: Frame, is_round: bool, place: Vector, direction: Vector, face: Tensor
) -> tuple[Vector, Tensor, Vector]:
    """The unit normal (K, P) towards where the rays come from, the axis (K, P) that textures are projected along, and the
    place in units of the object's bounding box, its middle being 0."""
    m = frame.unit[..., None].unbind(1)
    x, y, z = (dot((m[4 * k], m[4 * k + 1], m[4 * k + 2]), place) + m[4 * k + 3] for k in range(3))
    code = face.index_select(0, frame.tile)
    nx, ny, nz = slab_normal(frame, code)
    axis = _picked(frame.axis[:, :-1], code)
    # A ray enters a slab against its outward normal, whichever of the two sides that is.
    sign = torch.where(dot((nx, ny, nz), of_tiles(direction, frame.tile)) > 0, -1.0, 1.0)
    normal = (nx * sign, ny * sign, nz * sign)
    if is_round:
        a, b, c = frame.taper[..., None].unbind(1)
        slope = (x, y, c * z - b * (a + b * z))  # half the gradient of x^2 + y^2 + c z^2 - (a + b z)^2
        g = (
            m[0] * slope[0] + m[4] * slope[1] + m[8] * slope[2],
            m[1] * slope[0] + m[5] * slope[1] + m[9] * slope[2],
            m[2] * slope[0] + m[6] * slope[1] + m[10] * slope[2],
        )
        inverse = torch.rsqrt(dot(g, g).clamp_min(1e-20))
        side = code == frame.normal.shape[1]
        normal = (
            torch.where(side, g[0] * inverse, normal[0]),
            torch.where(side, g[1] * inverse, normal[1]),
            torch.where(side, g[2] * inverse, normal[2]),
        )
        # In the object's own axes: a row of `unit` has the length 1 / size.
        squares = [m[4 * k] * m[4 * k] + m[4 * k + 1] * m[4 * k + 1] + m[4 * k + 2] * m[4 * k + 2] for k in range(3)]
        sx, sy, sz = (part.abs() * (square * torch.rsqrt(square)) for part, square in zip(slope, squares, strict=True))
        along = torch.where(sz > torch.maximum(sx, sy), 2.0, torch.where(sy > sx, 1.0, 0.0))
        axis = torch.where(side, along, axis)
    return normal, axis, (x, y, z)


def texture_place(
    frame: Frame, is_round: bool, depth: Tensor, origin: Tensor, direction: Vector, face: Tensor
) -> tuple[Tensor, Tensor]:
    """u and v (K, P): the two coordinates beside the axis of projection, as in shapes.box_mapping."""
    place = place_of(depth, origin, direction, frame.tile)
    _, axis, q = normal_of(frame, is_round, place, direction, face)
    return torch.where(axis == 0, q[1], q[0]), torch.where(axis == 2, q[1], q[2])


def face_number(frame: Frame, is_round: bool, direction: Vector, face: Tensor) -> Tensor:
    """(K, P) the number of the face, as shapes.face_numbers has it: twice the slab's, and 1 more on its high side."""
    code = face.index_select(0, frame.tile)
    # A ray enters against the outward normal.
    high = dot(slab_normal(frame, code), of_tiles(direction, frame.tile)) < 0
    number = 2 * code + high.float()
    return torch.where(code == frame.normal.shape[1], float(ROUND_FACE), number) if is_round else number


def faced(frame: Frame, is_round: bool, direction: Vector, face: Tensor, pattern: Tensor, table: Tensor) -> Tensor:
    """(K, P) share of the second colour of a block whose faces have colours of their own; see textures.of_face."""
    return _of_face(face_number(frame, is_round, direction, face), pattern, table)


def textured(
    kind: str,
    frame: Frame,
    is_round: bool,
    depth: Tensor,
    origin: Tensor,
    direction: Vector,
    face: Tensor,
    cycles: Tensor,
    angle: tuple[Tensor, Tensor],
    pattern: Tensor,
    table: Tensor,
) -> Tensor:
    """(K, P) share of the second colour; see textures.mix."""
    u, v = texture_place(frame, is_round, depth, origin, direction, face)
    return _mix(kind, u, v, cycles, angle, pattern, table)


def normals(
    frame: Frame, is_round: bool, depth: Tensor, origin: Tensor, direction: Vector, face: Tensor, owner: Tensor
) -> Vector:
    """The normal (K, P) where the object is what is seen, 0 elsewhere."""
    place = place_of(depth, origin, direction, frame.tile)
    normal, _, _ = normal_of(frame, is_round, place, direction, face)
    mine = is_seen(owner, frame.tile, frame.thing).float()
    return normal[0] * mine, normal[1] * mine, normal[2] * mine


def shares(run: Run, shown: Shown, pictures: Pictures, tiles: Tiles, hits: Hits) -> tuple[Tensor, Tensor, Tensor]:
    """What textures make of each pair's surface: the share (V, P) of its second colour, and, for those that wear a picture,
    their rows (W,) and linear colours (W, P, 3)."""
    stage, count, rays = shown.stage, len(shown.tile), hits.depth.shape[1]
    device = hits.depth.device
    share = torch.zeros((count, rays), device=device)
    kinds = stage.texture.reshape(-1)[shown.row]
    behind = shown.thing == stage.solids + BACKGROUND
    look = [part.reshape(-1)[shown.row][:, None] for part in (stage.cycles, stage.cosine, stage.sine, stage.pattern)]
    worn, colors = [], []
    for number in torch.unique(kinds).tolist():
        name = TEXTURES[number]
        if name == "flat":
            continue
        here = kinds == number
        screen = (here & behind).nonzero()[:, 0]
        if len(screen):
            u, v = _screen(tiles.corner[shown.tile[screen]], pictures.frame, rays)
            if name == "image":
                worn.append(screen)
                colors.append(_sampled(pictures.backgrounds, pictures.background[shown.scene[screen]], u, v))
            else:
                cycles, cosine, sine, pattern = (part[screen] for part in look)
                share[screen] = run(
                    _mix, name, u, v, cycles, (cosine, sine), pattern, torch.from_numpy(lattice().copy()).to(device)
                )
        for rows, is_round, frame in shown.frames(run, (here & ~behind).nonzero()[:, 0]):
            seen = (frame, is_round, hits.depth, tiles.origin, tiles.directions, hits.face)
            if name == "image":
                u, v = run(texture_place, *seen)
                worn.append(rows)
                colors.append(_sampled(pictures.images, pictures.number.reshape(-1)[shown.row[rows]], u, v))
            elif name == "faces":
                found = run(
                    faced,
                    frame,
                    is_round,
                    tiles.directions,
                    hits.face,
                    look[3][rows],
                    torch.from_numpy(lattice().copy()).to(device),
                )
                share.index_copy_(0, rows, found)
            else:
                cycles, cosine, sine, pattern = (part[rows] for part in look)
                found = run(
                    textured,
                    name,
                    *seen,
                    cycles,
                    (cosine, sine),
                    pattern,
                    torch.from_numpy(lattice().copy()).to(device),
                )
                share.index_copy_(0, rows, found)
    nothing = torch.zeros(0, dtype=torch.int64, device=device)
    return share, torch.cat(worn or [nothing]), torch.cat(colors or [torch.zeros((0, rays, 3), device=device)])


def _screen(corner: Tensor, frame: tuple[int, int], rays: int) -> tuple[Tensor, Tensor]:
    """u, v (K, P) of a texture that fills the frame."""
    height, width = frame
    side = int(rays**0.5)
    step = torch.arange(rays, device=corner.device)
    u, v = corner[:, 0, None] + step % side, corner[:, 1, None] + step // side
    return (u + 0.5) / width - 0.5, 0.5 - (v + 0.5) / height


def _sampled(images: Tensor, number: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """(K, P, 3): the pictures `number` (K,) of `images` at (u, v)."""
    height, width = images.shape[1:3]
    column = ((u + 0.5) * width).long().clamp(0, width - 1)
    line = ((0.5 - v) * height).long().clamp(0, height - 1)
    return images[number[:, None], line, column]


def _mix(
    kind: str, u: Tensor, v: Tensor, cycles: Tensor, angle: tuple[Tensor, Tensor], pattern: Tensor, table: Tensor
) -> Tensor:
    """The share in [0, 1] of the second color at (u, v); (0, 0) is the middle of the surface, its edges are at -0.5 and 0.5.

    `kind` is one of TEXTURES except flat and image (no second color) and faces (see `of_face`). The other arguments
    broadcast against u and v, which have the same shape: `angle` is the cosine and sine of the rotation of gradients,
    checkers and stripes; `pattern` (int64) selects the noise from `table`, which is lattice().
    """
    if kind == "noise":
        return _noise(u, v, cycles, pattern, table)
    cosine, sine = angle
    along = u * cosine + v * sine
    if kind == "gradient":
        # The corners have the unmixed colors.
        return (along / (cosine.abs() + sine.abs()) + 0.5).clamp(0, 1)
    stripes = torch.floor(along * (2 * cycles))
    if kind == "checker":
        stripes = stripes + torch.floor((v * cosine - u * sine) * (2 * cycles))
    return stripes - 2 * torch.floor(stripes * 0.5)


def _of_face(number: Tensor, pattern: Tensor, table: Tensor) -> Tensor:
    """The share in [0, 1] of the second color on the face `number` (0, 1, ...; see shapes.face_numbers) of a block with one
    color for each face; `pattern` (int64) selects them from `table`, which is lattice()."""
    return table[(_hashed(pattern) + 977 * (number.to(torch.int64) % FACES)) % len(table)]


def _hashed(pattern: Tensor) -> Tensor:
    return pattern * 2654435761 + 12345  # Knuth's multiplicative hash


def _noise(u: Tensor, v: Tensor, cycles: Tensor, pattern: Tensor, table: Tensor) -> Tensor:
    """Value noise in [0, 1]: OCTAVES lattices of random numbers, smoothly interpolated and summed."""
    total = torch.zeros_like(u)
    hashed = _hashed(pattern)  # its bits offset the lattice, in each octave differently
    for octave in range(OCTAVES):
        x, y = u * (cycles * 2**octave), v * (cycles * 2**octave)
        left, low = torch.floor(x), torch.floor(y)
        x, y = x - left, y - low
        x, y = x * x * (3 - 2 * x), y * y * (3 - 2 * y)
        column = left.to(torch.int32) + ((hashed >> (8 * octave)) & (LATTICE - 1)).to(torch.int32)
        row = low.to(torch.int32) + ((hashed >> (8 * octave + 24)) & (LATTICE - 1)).to(torch.int32)
        column, next_column = column & (LATTICE - 1), (column + 1) & (LATTICE - 1)
        row, next_row = (row & (LATTICE - 1)) * LATTICE, ((row + 1) & (LATTICE - 1)) * LATTICE
        a, b = table[row + column], table[row + next_column]
        c, d = table[next_row + column], table[next_row + next_column]
        near, far = a + (b - a) * x, c + (d - c) * x
        total = total + (near + (far - near) * y) * 0.5**octave
    # The sum is concentrated about 0.5; this spreads it over most of [0, 1].
    return ((total / (2 - 0.5 ** (OCTAVES - 1)) - 0.5) * 1.8 + 0.5).clamp(0, 1)
