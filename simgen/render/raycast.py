"""`renderer=raycast`: ray casting of batches of scenes in tensor arithmetic, on a CPU or a CUDA device.

Blocks, table and fixtures are convex: the segment of a ray inside an object is the intersection of its segments inside the
object's slabs and inside its round side, so shapes are exact and round. Pictures are divided into tiles. For each tile, a
conservative test selects the objects that its rays may hit, and for each light the objects that may occlude it; only those
are tested ray by ray. No sum over rays has an order that could change, so the bytes depend neither on the batch nor on the
chunk.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from simgen.catalogue import World
from simgen.draws import Draws
from simgen.errors import ConfigError, RenderError
from simgen.geometry import NEAR
from simgen.render import Frames
from simgen.render.kernels import Run
from simgen.render.lens import plane_of
from simgen.render.light import Glow, lit
from simgen.render.rays import first_crossing, groups_of, in_view
from simgen.render.stage import BACKGROUND, FLOOR, WALL_X, WALL_Y, Kinds, Stage, Vector
from simgen.render.surface import Hits, Pictures, Tiles
from simgen.scene import Scenes, take
from simgen.schema import Raycast
from simgen.textures.images import ImageFolder

TILE = 16  # px: rays of a tile are tested against the same objects
RAYS = TILE * TILE
# Rays at a time, as they stand and fused: what was fastest for the CPU.
DEFAULT_CHUNK = {"cpu": (1 << 17, 1 << 22), "cuda": (1 << 22, 1 << 22)}
BYTES_PER_RAY = 700  # of working memory, at most: 260 to 520 were measured between chunks of 2^16 and 2^20 on a CPU
PAGES = 64  # of places on an area light
_CENTER = (0.0, 0.0)
_CORNERS = [0, TILE - 1, RAYS - TILE, RAYS - 1]


class RaycastRenderer:
    """A Renderer in torch. Raises RenderError where its device does not exist, or where a block is not convex."""

    name = "raycast"
    ignored: tuple[str, ...] = ()

    def __init__(self, world: World, images: ImageFolder, settings: Raycast) -> None:
        self._device = _device(settings.device)
        self.device = str(self._device)
        for key, value in (("supersample", settings.supersample), ("light_samples", settings.light_samples)):
            if not 1 <= value <= 64:
                raise ConfigError(f"raycast.{key}: got {value}; expected 1 to 64")
        strata = math.isqrt(settings.light_samples)
        if strata**2 != settings.light_samples:
            raise ConfigError(
                f"raycast.light_samples: got {settings.light_samples}; expected a square number: 1, 4, 9, ..."
            )
        self._chunk = DEFAULT_CHUNK[self._device.type][settings.compile] if settings.chunk is None else settings.chunk
        if self._chunk < RAYS:
            raise ConfigError(f"raycast.chunk: got {self._chunk}; expected at least {RAYS} rays")
        # Beside small pictures, the cost of a call counts: then several scenes share one.
        self.batch = 64 if self._device.type == "cuda" else 8 if settings.compile else 1
        self._world, self._images, self._settings = world, images, settings
        self._run = Run(settings.compile)
        self._kinds = Kinds.of(world, self._device)
        self._disc = _disc_samples(strata).to(self._device)

    def render(self, scenes: Scenes) -> Frames:
        # Compiled kernels are those of one mode of autograd: a training that validates without would compile all twice.
        with torch.inference_mode(False), torch.no_grad():
            return self._render(scenes)

    def _render(self, scenes: Scenes) -> Frames:
        height, width = scenes.cameras.height, scenes.cameras.width
        try:
            canvas = Canvas(len(scenes), scenes.blocks.model.shape[1], _count(height), _count(width), self._device)
            group = max(1, self._chunk // (_count(height) * _count(width) * RAYS))
            for start in range(0, len(scenes), group):
                self._render_group(take(scenes, slice(start, start + group)), canvas, start)
        except torch.OutOfMemoryError as error:
            raise RenderError(_too_little_memory(self._device, self._chunk, len(scenes))) from error
        frames = Frames(
            canvas.rgb[:, :, :height, :width].permute(0, 2, 3, 1),
            canvas.depth[:, :height, :width],
            canvas.slot[:, :height, :width],
            canvas.amodal[:, :, :height, :width],
        )
        return frames.cpu() if self._device.type == "cpu" else frames

    def close(self) -> None:
        pass

    def _render_group(self, scenes: Scenes, canvas: "Canvas", start: int) -> None:
        stage = Stage.of(scenes, self._world, self._kinds)
        glow = Glow.of(scenes, self._world, self._device)
        pictures = Pictures.of(scenes, self._images, stage)
        side = self._settings.supersample
        # Masks and depth are those of the pixels' centres; with an even number of samples that is a pass of its own.
        steps = [((k % side + 0.5) / side - 0.5, (k // side + 0.5) / side - 0.5) for k in range(side * side)]
        for number, step in enumerate(steps if _CENTER in steps else [_CENTER, *steps]):
            for tiles in self._tiles(scenes, step, number):
                hits = self._first_hits(stage, tiles)
                if step == _CENTER:
                    canvas.draw_hits(tiles, hits, start)
                if step in steps:
                    light = lit(self._run, stage, glow, pictures, tiles, hits, self._disc)
                    canvas.add_light(tiles, light, start, len(steps))

    def _tiles(self, scenes: Scenes, step: tuple[float, float], number: int) -> Iterator[Tiles]:
        """The rays through the pixels' centres plus `step` px, chunk by chunk; `number` tells passes apart."""
        cameras, device = scenes.cameras, self._device
        plane = _tiled(plane_of(cameras, step, TILE, device))
        pose = torch.tensor(cameras.world_from_camera, device=device).float()
        seed = torch.tensor(scenes.sensor.noise_seed, device=device)
        across = _count(cameras.width)
        per_scene = across * _count(cameras.height)
        each = self._chunk // RAYS
        for start in range(0, plane.shape[1], each):
            tile = torch.arange(start, min(start + each, plane.shape[1]), device=device)
            scene, place = tile // per_scene, tile % per_scene
            row, column = place // across, place % across
            x, y = plane[:, start : start + each]
            yield Tiles(
                scene=scene,
                key=seed[scene] * 1000003 + place * 7919 + number * 104729,
                place=torch.stack([row, column], 1),
                corner=torch.stack([column, row], 1) * TILE + torch.tensor(step, device=device),
                origin=pose[scene, :3, 3],
                directions=self._run(turned, x, y, pose[scene, :3, :3]),
            )

    def _first_hits(self, stage: Stage, tiles: Tiles) -> Hits:
        device, (count, rays) = self._device, tiles.directions[0].shape
        depth = torch.full((count, rays), torch.inf, device=device)
        owner = torch.full((count, rays), float(stage.solids + BACKGROUND), device=device)
        face = torch.zeros((count, rays), device=device)
        corners = torch.stack([part[:, _CORNERS] for part in tiles.directions], -1)
        spheres = (stage.present, stage.center, stage.radius)
        candidates = self._run(in_view, *spheres, tiles.scene, tiles.origin, corners)
        tile, thing = candidates.nonzero(as_tuple=True)
        enters = torch.empty((len(tile), rays), device=device)
        sides = torch.empty_like(enters)
        for group in groups_of(stage, tiles.scene, tile, thing):
            enter, side = self._run(first_crossing, group.bounds, tiles.origin, tiles.directions, group.tile, NEAR)
            enters.index_copy_(0, group.order, enter)
            sides.index_copy_(0, group.order, side)
        is_block = (thing < stage.blocks).nonzero()[:, 0]
        meets = enters[is_block] < torch.inf
        # Nearest first: in rounds in which no tile occurs twice.
        turn = (candidates.cumsum(1) - 1)[tile, thing]
        for number in range(int(turn.max()) + 1 if len(turn) else 0):
            rows = (turn == number).nonzero()[:, 0]
            where = tile[rows]
            best = self._run(nearer, depth, owner, face, where, enters, sides, rows, thing[rows].float())
            for whole, part in zip((depth, owner, face), best, strict=True):
                whole.index_copy_(0, where, part)
        walls = stage.walls[tiles.scene]
        depth, owner, face = self._run(
            room, depth, owner, face, tiles.origin, tiles.directions, walls, stage.room, stage.solids
        )
        return Hits(depth, owner, face, tile[is_block], thing[is_block], meets)


def turned(x: Tensor, y: Tensor, turn: Tensor) -> Vector:
    """World directions (T, P) of the rays through (x, y, 1) of cameras that are turned by `turn` (T, 3, 3)."""
    return (
        turn[:, 0, 0, None] * x + turn[:, 0, 1, None] * y + turn[:, 0, 2, None],
        turn[:, 1, 0, None] * x + turn[:, 1, 1, None] * y + turn[:, 1, 2, None],
        turn[:, 2, 0, None] * x + turn[:, 2, 1, None] * y + turn[:, 2, 2, None],
    )


def nearer(
    depth: Tensor,
    owner: Tensor,
    face: Tensor,
    tile: Tensor,
    enters: Tensor,
    sides: Tensor,
    rows: Tensor,
    thing: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """`depth`, `owner` and `face` of the tiles `tile` (K,), or those of the object `thing` (K,) where it is entered before:
    `rows` (K,) of `enters` and `sides`."""
    before, enter = depth.index_select(0, tile), enters.index_select(0, rows)
    first = enter < before
    return (
        torch.minimum(before, enter),
        torch.where(first, thing[:, None], owner.index_select(0, tile)),
        torch.where(first, sides.index_select(0, rows), face.index_select(0, tile)),
    )


def room(
    depth: Tensor,
    owner: Tensor,
    face: Tensor,
    origin: Tensor,
    direction: Vector,
    walls: Tensor,
    bounds: Tensor,
    solids: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """The same with floor and walls behind everything, and depth 0 where there is nothing at all. Floor and walls are seen
    from inside alone, and hide no light. `bounds` (6,): low x, y, z and high x, y, z."""
    ox, oy, oz = (origin[:, k, None] for k in range(3))
    dx, dy, dz = direction
    low_x, low_y, floor, high_x, high_y, top = bounds.unbind(0)
    enclosed = walls[:, None]
    to_floor = torch.where(dz < 0, (floor - oz) / dz, torch.inf)
    to_x = torch.where(dx == 0, torch.inf, (torch.where(dx > 0, high_x, low_x) - ox) / dx)
    to_y = torch.where(dy == 0, torch.inf, (torch.where(dy > 0, high_y, low_y) - oy) / dy)
    to_wall = torch.minimum(to_x, to_y)
    x, y = ox + to_floor * dx, oy + to_floor * dy
    within = (x >= low_x) & (x <= high_x) & (y >= low_y) & (y <= high_y)
    on_floor = torch.where(enclosed, to_floor <= to_wall, within) & (dz < 0)
    on_wall = enclosed & ~on_floor & (oz + to_wall * dz <= top)
    distance = torch.where(on_floor, to_floor, torch.where(on_wall, to_wall, torch.inf))
    on_side = torch.where(to_x <= to_y, float(WALL_X), float(WALL_Y))
    name = torch.where(on_floor, float(FLOOR), on_side) + solids
    first = distance < depth
    depth = torch.minimum(distance, depth)
    return (
        depth.masked_fill(depth == torch.inf, 0),
        torch.where(first, name, owner),
        face.masked_fill(first, 0),
    )


class Canvas:
    """The pictures of B scenes, made of whole tiles: rgb (B, 3, H', W') and depth (B, H', W') float32, slot int16, amodal
    (B, N, H', W') bool."""

    def __init__(self, batch: int, blocks: int, down: int, across: int, device: torch.device) -> None:
        size = (down * TILE, across * TILE)
        self.rgb = torch.zeros((batch, 3, *size), device=device)
        self.depth = torch.empty((batch, *size), device=device)
        self.slot = torch.empty((batch, *size), dtype=torch.int16, device=device)
        self.amodal = torch.zeros((batch, blocks, *size), dtype=torch.bool, device=device)

    def draw_hits(self, tiles: Tiles, hits: Hits, start: int) -> None:
        """Puts depth, slot and amodal masks of `tiles` where they belong; the first of their scenes is number `start`."""
        blocks = self.amodal.shape[1]
        self._put(self.depth, tiles, hits.depth, start)
        self._put(self.slot, tiles, hits.owner.masked_fill(hits.owner >= blocks, -1).to(torch.int16), start)
        pair, (row, column) = hits.tile, tiles.place[hits.tile].unbind(1)
        meets = hits.meets.reshape(-1, TILE, TILE)
        _cut(self.amodal)[tiles.scene[pair] + start, hits.block, row, column] = meets

    def add_light(self, tiles: Tiles, light: Vector, start: int, passes: int) -> None:
        """Adds one of `passes` passes' light."""
        for channel, part in enumerate(light):
            self._put(self.rgb[:, channel], tiles, part if passes == 1 else part / passes, start, add=passes > 1)

    @staticmethod
    def _put(whole: Tensor, tiles: Tiles, values: Tensor, start: int, *, add: bool = False) -> None:
        cut, pieces = _cut(whole), values.reshape(-1, TILE, TILE)
        each = cut.shape[1] * cut.shape[2]
        if len(pieces) % each == 0:  # whole scenes, one after the other: copied at once
            there = cut[start : start + len(pieces) // each]
            pieces = pieces.view(there.shape)
            there.copy_(there + pieces if add else pieces)
            return
        scene, (row, column) = tiles.scene + start, tiles.place.unbind(1)
        cut[scene, row, column] = cut[scene, row, column] + pieces if add else pieces


def _cut(whole: Tensor) -> Tensor:
    """(..., H', W') as a view (..., H' / TILE, W' / TILE, TILE, TILE)."""
    *leading, height, width = whole.shape
    return whole.view(*leading, height // TILE, TILE, width // TILE, TILE).transpose(-2, -3)


def _count(pixels: int) -> int:
    return -(-pixels // TILE)


def _tiled(plane: Tensor) -> Tensor:
    """(B, C, H, W), H and W multiples of TILE, as (C, T, P)."""
    batch, channels, height, width = plane.shape
    cut = plane.reshape(batch, channels, height // TILE, TILE, width // TILE, TILE)
    return cut.permute(1, 0, 2, 4, 3, 5).reshape(channels, -1, RAYS)


def _disc_samples(side: int) -> Tensor:
    """(PAGES, side^2, P, 2) places on the unit disc: each ray of a page has one in every ring and sector of equal area."""
    numbers = (Draws(0, np.array([0])) / "disc").uniform(PAGES * side * side * RAYS * 2)
    jitter = torch.tensor(numbers).reshape(PAGES, side, side, RAYS, 2)
    ring, sector = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    radius = torch.sqrt((ring[..., None] + jitter[..., 0]) / side)
    angle = (sector[..., None] + jitter[..., 1]) * (2 * math.pi / side)
    places = torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], -1)
    return places.reshape(PAGES, side * side, RAYS, 2).float()


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"raycast.device: got '{name}'; expected cpu, cuda or cuda:K") from error
    if device.type not in DEFAULT_CHUNK:
        raise ConfigError(f"raycast.device: got '{name}'; expected cpu, cuda or cuda:K")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise RenderError(
            f"raycast.device: '{name}' asked for, but torch {torch.__version__} finds {torch.cuda.device_count()} CUDA "
            "devices; install a driver and a CUDA build of torch, or use raycast.device=cpu"
        )
    return device


def _too_little_memory(device: torch.device, chunk: int, batch: int) -> str:
    free = _free_memory(device)
    fits = 1 << max(8, int(free * 0.8 / BYTES_PER_RAY).bit_length() - 1)
    need = chunk * BYTES_PER_RAY
    return (
        f"raycast.chunk: {chunk} rays at a time (about {need / 1e6:.0f} MB) and the pictures of {batch} scenes do not fit "
        f"into the memory of {device}, of which {free / 1e6:.0f} MB are free; use raycast.chunk={min(fits, chunk // 2)}, or "
        "fewer scenes at once"
    )


def _free_memory(device: torch.device) -> float:
    """Bytes."""
    return float(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else 0.0
