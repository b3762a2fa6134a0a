"""Scenes as tensors for ray casting: half-spaces, frames and materials of all objects in world coordinates."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simgen.catalogue import World
from simgen.errors import RenderError
from simgen.geometry import Array
from simgen.scene import SURFACES, Materials, Scenes
from simgen.shapes.solids import make_solid
from simgen.textures.color import decode

FLOOR, WALL_X, WALL_Y, BACKGROUND = range(4)  # an object's number is one of these plus Stage.solids

Vector = tuple[Tensor, Tensor, Tensor]


def dot(a: Vector, b: Vector) -> Tensor:
    # Written out: a reduction's order of additions, and with it the last bit, may depend on the shape.
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@dataclass(frozen=True)
class Kinds:
    """What all scenes of a World share. K kinds of convex object: its solids, the table, each fixture box.

    normal (K, S, 3) and low, high (K, S) m: slabs low <= n.x <= high in the object's frame; rows beyond `count` (K,) repeat
    the first. axis (K, S + 1): which coordinate axis each slab's texture is projected along (the last entry is the round
    side's, which has none). taper (K, 3) is Solid.quadric, and
    round (K,) whether it counts. size (K, 3), radius (K,) m.
    """

    normal: Tensor
    low: Tensor
    high: Tensor
    count: Tensor
    axis: Tensor
    taper: Tensor
    round: Tensor
    size: Tensor
    radius: Tensor

    @classmethod
    def of(cls, world: World, device: torch.device) -> "Kinds":
        solids = [*world.solids, *(make_solid("box", "cube", box.size) for box in world.boxes)]
        check_convex(world)
        most = max(len(solid.slabs) for solid in solids)
        slabs = np.stack([_padded(solid.slabs, most) for solid in solids])
        normal = slabs[..., :3]
        # As in shapes.box_mapping: the axis that the normal is nearest to.
        axis = np.argmax(np.round(np.abs(normal), 6), axis=2)

        def tensor(values: Any) -> Tensor:
            return torch.tensor(np.asarray(values, dtype=np.float64), device=device)

        return cls(
            normal=tensor(normal),
            low=tensor(slabs[..., 3]),
            high=tensor(slabs[..., 4]),
            count=torch.tensor([len(solid.slabs) for solid in solids], device=device),
            axis=torch.tensor(np.concatenate([axis, np.zeros((len(solids), 1), int)], 1), device=device),
            taper=tensor([solid.quadric or (0.5, 0.0, 0.0) for solid in solids]),
            round=torch.tensor([solid.quadric is not None for solid in solids], device=device),
            size=tensor([solid.size for solid in solids]),
            radius=tensor([solid.radius for solid in solids]),
        )


def check_convex(world: World) -> None:
    """Raises RenderError that names the first block of `world` that raycast cannot draw."""
    for solid in world.solids:
        if not solid.convex:
            raise RenderError(
                f"renderer: raycast draws convex blocks only, and block '{solid.name}' has hollows or holes; render it with "
                "renderer=tiny (and train on that dataset), or split its mesh into convex blocks"
            )


def _padded(rows: Array, n: int) -> Array:
    return np.concatenate([rows, np.repeat(rows[:1], n - len(rows), 0)])


@dataclass(frozen=True)
class Stage:
    """A batch of scenes ready for rays. B scenes, M objects: `solids` convex ones (slots of blocks, table, fixtures), then
    floor, walls along X, walls along Y, background.

    All in world coordinates, float32. present, center (B, M', 3), radius (B, M'), for the M' = `solids` convex objects;
    normal (B, M, S, 3), low, high (B, M, S), count (B, M); `unit` (B, M, 3, 4) maps the world to units of the object's
    bounding box, its middle being 0. Materials (B, M): colours are linear light.
    """

    solids: int
    blocks: int
    present: Tensor
    center: Tensor
    radius: Tensor
    normal: Tensor
    low: Tensor
    high: Tensor
    count: Tensor
    axis: Tensor
    round: Tensor
    taper: Tensor
    metric: Tensor  # (B, M) m for each unit of the round side's excess
    unit: Tensor
    solid_normal: Tensor  # `normal` and `unit` of the convex objects alone
    solid_unit: Tensor
    all_taper: Tensor  # `taper` of all objects
    all_round: Tensor
    round_face: Tensor
    texture: Tensor
    color: Tensor
    color2: Tensor
    cycles: Tensor
    cosine: Tensor
    sine: Tensor
    pattern: Tensor
    roughness: Tensor
    metalness: Tensor
    specular: Tensor
    walls: Tensor
    room: Tensor  # (6,) low x, y, z and high x, y, z

    @property
    def objects(self) -> int:
        return self.solids + 4

    @classmethod
    def of(cls, scenes: Scenes, world: World, kinds: Kinds) -> "Stage":
        device = kinds.size.device
        blocks, batch = scenes.blocks, len(scenes)
        n = blocks.model.shape[1]
        boxes = world.boxes
        solids = n + len(boxes)

        def tensor(values: Any) -> Tensor:
            return torch.tensor(values, device=device)

        def with_boxes(own: Tensor, theirs: Tensor) -> Tensor:
            return torch.cat([own, theirs.expand(batch, *theirs.shape)], 1)

        place, _, there = world.standing(scenes.fixtures)
        pose = tensor(blocks.world_from_block)
        kind = with_boxes(tensor(blocks.model), tensor(np.arange(len(boxes)) + len(world.solids)))
        larger = np.pad(scenes.fixtures.scale, ((0, 0), (1, 0)), constant_values=1.0)
        scale = torch.cat([tensor(blocks.scale), tensor(larger)], 1)
        center = torch.cat([pose[..., :3, 3], tensor(place)], 1)
        turn = with_boxes(pose[..., :3, :3], torch.eye(3, dtype=torch.float64, device=device).expand(len(boxes), 3, 3))
        normal = (turn[:, :, None] * kinds.normal[kind][:, :, :, None]).sum(-1)
        offset = (normal * center[:, :, None]).sum(-1)
        size = kinds.size[kind] * scale[..., None]
        rows = turn.transpose(-1, -2) / size[..., None]
        unit = torch.cat([rows, -(rows * center[:, :, None]).sum(-1, keepdim=True)], -1)
        taper = kinds.taper[kind]
        # A unit of excess over the round side's radius is this long across, and shorter along its normal.
        across, up = size[..., :2].amin(-1), size[..., 2]
        metric = across / torch.sqrt(1 + (taper[..., 1] * across / up) ** 2)
        room_unit, room_normal = _room_frames(world, normal.shape[2], device)
        low, high = np.array([*world.room.low, world.room.floor]), np.array([*world.room.high, 0.0])
        high[2] = world.room.floor + world.room.height
        room_axis = torch.tensor([2, 0, 1, 2], device=device)[:, None].expand(4, kinds.axis.shape[1])
        look = _materials(scenes, world)
        return cls(
            solids=solids,
            blocks=n,
            present=torch.cat([tensor(blocks.present), tensor(there)], 1),
            center=center.float(),
            radius=(kinds.radius[kind] * scale).float(),
            normal=with_boxes(normal, room_normal).float(),
            solid_normal=normal.float(),
            solid_unit=unit.float(),
            all_taper=with_boxes(taper, torch.zeros((4, 3), dtype=torch.float64, device=device)).float(),
            all_round=with_boxes(kinds.round[kind], torch.zeros(4, dtype=torch.bool, device=device)),
            round_face=torch.tensor([float(normal.shape[2])], device=device),
            low=(kinds.low[kind] * scale[..., None] + offset).float(),
            high=(kinds.high[kind] * scale[..., None] + offset).float(),
            count=kinds.count[kind],
            axis=with_boxes(kinds.axis[kind], room_axis).float(),
            round=kinds.round[kind],
            taper=taper.float(),
            metric=metric.float(),
            unit=with_boxes(unit, room_unit).float(),
            texture=tensor(look.texture),
            color=tensor(decode(look.color)).float(),
            color2=tensor(decode(look.color2)).float(),
            cycles=tensor(look.cycles).float(),
            cosine=tensor(np.cos(look.angle)).float(),
            sine=tensor(np.sin(look.angle)).float(),
            pattern=tensor(look.pattern),
            roughness=tensor(look.roughness).float(),
            metalness=tensor(look.metalness).float(),
            specular=tensor(look.specular).float(),
            walls=tensor(scenes.surfaces.walls),
            room=tensor(np.concatenate([low, high])).float(),
        )


def _room_frames(world: World, slabs: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """`unit` (4, 3, 4) and `normal` (4, slabs, 3) of floor, walls along X and Y, and background."""
    room = world.room
    size = np.array([*(room.high - room.low), room.height])
    middle = np.array([*(room.high + room.low) / 2, room.floor + room.height / 2])
    unit = np.concatenate([np.diag(1 / size), (-middle / size)[:, None]], 1)
    axes = np.eye(3)[[2, 0, 1, 2]]
    return (
        torch.tensor(np.repeat(unit[None], 4, 0), device=device),
        torch.tensor(np.repeat(axes[:, None], slabs, 1), device=device),
    )


def _materials(scenes: Scenes, world: World) -> Materials:
    """(B, M): blocks, table, fixture boxes, floor, walls twice, background."""
    groups = [len(SURFACES) + k for k, group in enumerate(world.fixtures) for _ in group]
    table, floor, wall, background = (SURFACES.index(name) for name in SURFACES)
    columns = [table, *groups, floor, wall, wall, background]
    own, shared = scenes.blocks.material, scenes.surfaces.material
    return Materials(
        **{
            name: np.concatenate([getattr(own, name), getattr(shared, name)[:, columns]], 1)
            for name in Materials.__dataclass_fields__
        }
    )
