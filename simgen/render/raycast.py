"""`renderer=raycast`: batches of scenes with any lights, cast in plain tensor arithmetic on a CPU or a CUDA device.

Blocks, table and fixtures are convex: a ray's part inside one is the overlap of its parts inside its slabs, and inside its
round side, so shapes are exact and a cylinder has no corners. Pictures are cut into tiles. For each tile a cheap test says
which objects its rays could meet, and for each light which could stand before it; only those are then tested ray by ray.
Every number is computed ray by ray with no sum whose order could change, so the bytes depend neither on the batch nor on
the chunk.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from simgen.catalogue import World
from simgen.draws import Draws
from simgen.errors import ConfigError, RenderError
from simgen.geometry import NEAR
from simgen.render import Frames
from simgen.render.lens import plane_of
from simgen.render.light import Glow, lit
from simgen.render.rays import bounds_of, crossing, in_view, pair
from simgen.render.stage import BACKGROUND, FLOOR, WALL_X, WALL_Y, Kinds, Stage, Vector
from simgen.render.surface import Hits, Pictures, seen_surface
from simgen.scene import Scenes, take
from simgen.schema import Raycast
from simgen.textures import ImageFolder

TILE = 16  # px: rays of a tile are tested against the same objects
RAYS = TILE * TILE
DEFAULT_CHUNK = {"cpu": 1 << 16, "cuda": 1 << 22}  # rays at a time
BYTES_PER_RAY = 700  # of working memory, at most; measured by scripts/bench_render.py --memory
PAGES = 64  # of places on an area light
_CENTER = (0.0, 0.0)


class RaycastRenderer:
    """A Renderer in torch. Raises RenderError where its device does not exist, or where a block is not convex."""

    name = "raycast"
    ignored: tuple[str, ...] = ()

    def __init__(self, world: World, images: ImageFolder, settings: Raycast) -> None:
        self.device = _device(settings.device)
        for key, value, least in (("supersample", settings.supersample, 1), ("light_samples", settings.light_samples, 1)):
            if not least <= value <= 64:
                raise ConfigError(f"raycast.{key}: got {value}; expected {least} to 64")
        self._strata = math.isqrt(settings.light_samples)
        if self._strata**2 != settings.light_samples:
            raise ConfigError(f"raycast.light_samples: got {settings.light_samples}; expected a square number: 1, 4, 9, ...")
        self._chunk = DEFAULT_CHUNK[self.device.type] if settings.chunk is None else settings.chunk
        if self._chunk < RAYS:
            raise ConfigError(f"raycast.chunk: got {self._chunk}; expected at least {RAYS} rays")
        self.batch = 1 if self.device.type == "cpu" else 64
        self._world, self._images, self._settings = world, images, settings
        self._kinds = Kinds.of(world, self.device)
        self._disc = _disc_samples(self._strata).to(self.device)

    def render(self, scenes: Scenes) -> Frames:
        cameras = scenes.cameras
        height, width = cameras.height, cameras.width
        shape = (len(scenes), height, width)
        try:
            frames = Frames(
                torch.empty((*shape, 3), device=self.device),
                torch.empty(shape, device=self.device),
                torch.empty(shape, dtype=torch.int16, device=self.device),
                torch.empty(
                    (len(scenes), scenes.blocks.model.shape[1], height, width), dtype=torch.bool, device=self.device
                ),
            )
            group = max(1, self._chunk // (_count(height) * _count(width) * RAYS))
            for start in range(0, len(scenes), group):
                rows = slice(start, start + group)
                self._render_group(take(scenes, rows), frames, rows)
        except torch.OutOfMemoryError as error:
            raise RenderError(_too_little_memory(self.device, self._chunk, len(scenes))) from error
        return frames

    def close(self) -> None:
        pass

    def _render_group(self, scenes: Scenes, frames: Frames, rows: slice) -> None:
        stage = Stage.of(scenes, self._world, self._kinds)
        glow = Glow.of(scenes, self._world, self.device)
        pictures = Pictures.of(scenes, self._images, stage)
        side = self._settings.supersample
        # Masks and depth are those of the pixels' centres; with an even number of samples that is a pass of its own.
        steps = [((k % side + 0.5) / side - 0.5, (k // side + 0.5) / side - 0.5) for k in range(side * side)]
        passes = steps if _CENTER in steps else [_CENTER, *steps]
        total: Tensor | None = None
        for number, step in enumerate(passes):
            colors, centers = [], []
            for tiles in self._tiles(scenes, step):
                hits = self._first_hits(stage, tiles)
                if step == _CENTER:
                    centers.append(hits)
                if step in steps:
                    colors.append(self._shade(stage, glow, pictures, tiles, hits, number))
            if step == _CENTER:
                _write_hits(frames, rows, centers, stage)
            if colors:
                whole = torch.cat(colors, 1)
                total = whole if total is None else total + whole
        assert total is not None
        mean = total / len(steps) if len(steps) > 1 else total
        for channel in range(3):
            frames.rgb[rows, ..., channel] = _untiled(mean[channel], frames.depth.shape)

    def _tiles(self, scenes: Scenes, step: tuple[float, float]) -> Iterator["Tiles"]:
        """The rays through the pixels' centres plus `step` px, chunk by chunk."""
        cameras, device = scenes.cameras, self.device
        plane = _tiled(plane_of(cameras, step, TILE, device))
        pose = torch.tensor(cameras.world_from_camera, device=device).float()
        seed = torch.tensor(scenes.sensor.noise_seed, device=device)
        across = _count(cameras.width)
        per_scene = across * _count(cameras.height)
        each = self._chunk // RAYS
        for start in range(0, plane.shape[1], each):
            number = torch.arange(start, min(start + each, plane.shape[1]), device=device)
            scene, place = number // per_scene, number % per_scene
            x, y = plane[:, start : start + each]
            turn = pose[scene, :3, :3]
            yield Tiles(
                scene=scene,
                place=place,
                key=seed[scene] * 1000003 + place * 7919,
                corner=torch.stack([place % across, place // across], 1) * TILE,
                origin=pose[scene, :3, 3],
                directions=tuple(  # type: ignore[arg-type]
                    turn[:, k, 0, None] * x + turn[:, k, 1, None] * y + turn[:, k, 2, None] for k in range(3)
                ),
            )

    def _first_hits(self, stage: Stage, tiles: "Tiles") -> Hits:
        device, shape = self.device, tiles.directions[0].shape
        depth = torch.full(shape, torch.inf, device=device)
        owner = torch.full(shape, stage.solids + BACKGROUND, dtype=torch.int16, device=device)
        face = torch.zeros(shape, dtype=torch.uint8, device=device)
        amodal = torch.zeros((shape[0], stage.blocks, RAYS), dtype=torch.bool, device=device)
        for tile, thing in _rounds(in_view(stage, tiles.scene, tiles.origin, tiles.outermost())):
            pairs = pair(stage, tiles.scene, tile, thing)
            tile, thing = pairs.tile, pairs.row % stage.objects
            origin = tuple(tiles.origin[tile, k, None] for k in range(3))
            directions = tuple(part[tile] for part in tiles.directions)
            enter, leave, side = crossing(bounds_of(stage, pairs), origin, directions)  # type: ignore[arg-type]
            hit = (enter < leave) & (enter > NEAR)
            blocks = (thing < stage.blocks).nonzero()[:, 0]
            amodal[tile[blocks], thing[blocks]] = hit[blocks]
            before = depth[tile]
            nearer = hit & (enter < before)
            depth.index_copy_(0, tile, torch.where(nearer, enter, before))
            owner.index_copy_(0, tile, torch.where(nearer, thing[:, None].to(torch.int16), owner[tile]))
            face.index_copy_(0, tile, torch.where(nearer, side, face[tile]))
        _room_hits(stage, tiles, depth, owner, face)
        return Hits(depth.masked_fill_(torch.isinf(depth), 0), owner, face, amodal)

    def _shade(
        self, stage: Stage, glow: Glow, pictures: Pictures, tiles: "Tiles", hits: Hits, number: int
    ) -> Tensor:
        """(3, T, P) linear light."""
        position: Vector = tuple(  # type: ignore[assignment]
            tiles.origin[:, k, None] + hits.depth * tiles.directions[k] for k in range(3)
        )
        surface = seen_surface(stage, pictures, tiles.scene, tiles.corner, position, tiles.directions, hits)
        nothing = hits.owner == stage.solids + BACKGROUND
        light = lit(stage, glow, tiles.scene, surface, tiles.directions, hits, self._disc, tiles.key + number * 104729)
        return torch.stack([torch.where(nothing, a, b) for a, b in zip(surface.albedo, light, strict=True)])


@dataclass(frozen=True)
class Tiles:
    """T tiles of P = RAYS rays: `directions` (T, P) in world coordinates, 1 along the optical axis, from `origin` (T, 3).

    `scene` (T,), `place` (T,) in the picture, `corner` (T, 2) px u and v of the first pixel, `key` (T,) tells tiles apart
    wherever they are drawn.
    """

    scene: Tensor
    place: Tensor
    key: Tensor
    corner: Tensor
    origin: Tensor
    directions: Vector

    def outermost(self) -> Tensor:
        """(T, 4, 3) unit vectors along the rays in the tile's corners."""
        corners = [0, TILE - 1, RAYS - TILE, RAYS - 1]
        rays = torch.stack([part[:, corners] for part in self.directions], -1)
        return torch.nn.functional.normalize(rays, dim=-1)


def _room_hits(stage: Stage, tiles: Tiles, depth: Tensor, owner: Tensor, face: Tensor) -> None:
    """Floor and walls, behind everything else. They are seen from inside alone, and hide no light."""
    (ox, oy, oz), (dx, dy, dz) = (tiles.origin[:, k, None] for k in range(3)), tiles.directions
    low_x, low_y, floor, high_x, high_y, top = stage.room.tolist()
    walls = stage.walls[tiles.scene][:, None]
    to_floor = torch.where(dz < 0, (floor - oz) / dz, torch.inf)
    to_x = torch.where(dx == 0, torch.inf, (torch.where(dx > 0, high_x, low_x) - ox) / dx)
    to_y = torch.where(dy == 0, torch.inf, (torch.where(dy > 0, high_y, low_y) - oy) / dy)
    to_wall = torch.minimum(to_x, to_y)
    x, y = ox + to_floor * dx, oy + to_floor * dy
    within = (x >= low_x) & (x <= high_x) & (y >= low_y) & (y <= high_y)
    on_floor = torch.where(walls, to_floor <= to_wall, within) & (dz < 0)
    on_wall = walls & ~on_floor & (oz + to_wall * dz <= top)
    distance = torch.where(on_floor, to_floor, torch.where(on_wall, to_wall, torch.inf))
    nearer = distance < depth
    name = torch.where(on_floor, FLOOR, torch.where(to_x <= to_y, WALL_X, WALL_Y)) + stage.solids
    owner.copy_(torch.where(nearer, name.to(torch.int16), owner))
    depth.copy_(torch.where(nearer, distance, depth))
    face.masked_fill_(nearer, 0)


def _rounds(candidates: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The pairs (tile, object) that `candidates` (T, M) marks, in rounds in which no tile occurs twice."""
    tile, thing = candidates.nonzero(as_tuple=True)
    turn = (candidates.cumsum(1) - 1)[tile, thing]
    order = torch.argsort(turn, stable=True)
    sizes = torch.bincount(turn).tolist()
    yield from zip(tile[order].split(sizes), thing[order].split(sizes), strict=True)


def _write_hits(frames: Frames, rows: slice, parts: list[Hits], stage: Stage) -> None:
    shape = frames.depth.shape
    owner = torch.cat([hits.owner for hits in parts])
    frames.depth[rows] = _untiled(torch.cat([hits.depth for hits in parts]), shape)
    frames.slot[rows] = _untiled(torch.where(owner < stage.blocks, owner, -1), shape)
    assert frames.amodal is not None
    amodal = torch.cat([hits.amodal for hits in parts])
    for slot in range(stage.blocks):
        frames.amodal[rows, slot] = _untiled(amodal[:, slot], shape)


def _count(pixels: int) -> int:
    return -(-pixels // TILE)


def _tiled(plane: Tensor) -> Tensor:
    """(B, C, H, W), H and W multiples of TILE, as (C, T, P)."""
    batch, channels, height, width = plane.shape
    cut = plane.reshape(batch, channels, height // TILE, TILE, width // TILE, TILE)
    return cut.permute(1, 0, 2, 4, 3, 5).reshape(channels, -1, RAYS)


def _untiled(tiles: Tensor, shape: Sequence[int]) -> Tensor:
    """(T, P) as (B, H, W), `shape` ending in H, W: what the tiles reach beyond the picture is cut off."""
    height, width = shape[-2:]
    down, across = _count(height), _count(width)
    cut = tiles.reshape(-1, down, across, TILE, TILE).transpose(2, 3)
    return cut.reshape(-1, down * TILE, across * TILE)[:, :height, :width]


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
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
    fits = 1 << max(8, int(free * 0.8 / BYTES_PER_RAY).bit_length() - 1)
    return (
        f"raycast.chunk: {chunk} rays at a time (about {chunk * BYTES_PER_RAY / 1e6:.0f} MB) and the pictures of {batch} scenes "
        f"do not fit into the memory of {device}, of which {free / 1e6:.0f} MB are free; use raycast.chunk={min(fits, chunk // 2)}, "
        "or fewer scenes at once"
    )
