"""Training targets for a whole batch, on the device that rendered it: `targets_of(Scenes, Frames)`.

The geometry is that of simgen/labels.py, as tensors with one row per slot. Masks and outlines are left out, and the parts of
a block beyond the picture's border do not count in its visible share.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from simgen.distortion import padded
from simgen.geometry import inverse
from simgen.render import Frames
from simgen.scene import Scenes

STRIDE = 4  # px: the side of a cell of the maps
# Relative difference of a block's size from its kind's: distractors are never within 20% of a labeled block's size.
SAME_SIZE = 0.1


@dataclass(frozen=True)
class Targets:
    """The targets of B pictures with N slots for blocks each, float32 and int64.

    present            (B, N) bool
    labelled           (B, N) bool, False for a distractor
    model              (B, N), the block's place in World.solids
    scale              (B, N), factor of the solid's size
    camera_from_block  (B, N, 4, 4) m
    intrinsics         (B, 3, 3) px
    distortion         (B, 9), see simgen/distortion.py
    camera_from_world  (B, 4, 4) m, NaN if unknown
    box                (B, N, 4) px: left, top, right and bottom borders of the visible pixels, half a pixel beyond their
                       centers; NaN if no pixel is visible
    seen               (B, N) px, the number of visible pixels
    share              (B, N), the visible share of the block's pixels in the picture, 0 if it has none there
    """

    present: Tensor
    labelled: Tensor
    model: Tensor
    scale: Tensor
    camera_from_block: Tensor
    intrinsics: Tensor
    distortion: Tensor
    camera_from_world: Tensor
    box: Tensor
    seen: Tensor
    share: Tensor

    def __len__(self) -> int:
        return len(self.present)

    def to(self, device: torch.device) -> "Targets":
        return Targets(**{item.name: getattr(self, item.name).to(device) for item in fields(self)})


def joined(parts: Sequence[Targets]) -> Targets:
    """The targets of several batches as one, in order."""
    names = [item.name for item in fields(Targets)]
    return Targets(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


def targets_of(scenes: Scenes, frames: Frames) -> Targets:
    """The targets of `scenes`, on the device of `frames` (NumPy arrays are on the CPU). The frames must have amodal masks,
    as those of raycast do."""
    if frames.amodal is None:
        raise ValueError("targets_of: frames without amodal masks; expected those of renderer=raycast")
    visible, amodal = torch.as_tensor(frames.slot), torch.as_tensor(frames.amodal)
    device, blocks, cameras = visible.device, scenes.blocks, scenes.cameras
    camera_from_world = inverse(cameras.world_from_camera)

    def tensor(values: np.ndarray) -> Tensor:
        made = torch.tensor(values, device=device)
        return made.float() if made.is_floating_point() else made

    box, seen = visible_boxes(visible, blocks.model.shape[1])
    whole = amodal.flatten(2).sum(2, dtype=torch.int32)  # int64 would copy all to eight bytes a pixel
    return Targets(
        present=tensor(blocks.present),
        labelled=tensor(blocks.labelled),
        model=tensor(blocks.model),
        scale=tensor(blocks.scale),
        camera_from_block=tensor(camera_from_world[:, None] @ blocks.world_from_block),
        intrinsics=tensor(cameras.intrinsics),
        distortion=tensor(padded(cameras.distortion)),
        camera_from_world=tensor(camera_from_world),
        box=box,
        seen=seen,
        share=seen / whole.clamp_min(1),
    )


def visible_boxes(slot: Tensor, blocks: int) -> tuple[Tensor, Tensor]:
    """The borders (B, N, 4) px [left, top, right, bottom] of the pixels of each of N `blocks` in `slot` (B, H, W), NaN if it
    has none, and their number (B, N)."""
    batch, height, width = slot.shape
    name = (
        torch.where(slot >= 0, slot, blocks).long()
        + (blocks + 1) * torch.arange(batch, device=slot.device)[:, None, None]
    )

    def tally(along: int, length: int) -> Tensor:
        """(B, N, length): the number of each block's pixels in each column or row."""
        shape = [1, 1, 1]
        shape[along] = length
        place = torch.arange(length, device=slot.device).reshape(shape)
        counts = torch.bincount((name * length + place).flatten(), minlength=batch * (blocks + 1) * length)
        return counts.reshape(batch, blocks + 1, length)[:, :blocks]

    columns, rows = tally(2, width), tally(1, height)
    seen = columns.sum(2)

    def ends(counts: Tensor) -> tuple[Tensor, Tensor]:
        there = (counts > 0).to(torch.uint8)
        return there.argmax(2) - 0.5, counts.shape[2] - 0.5 - there.flip(2).argmax(2)

    (left, right), (top, bottom) = ends(columns), ends(rows)
    box = torch.stack([left, top, right, bottom], 2)
    return box.masked_fill((seen == 0)[..., None], torch.nan), seen
