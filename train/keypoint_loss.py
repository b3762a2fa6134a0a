"""What model=keypoints minimises, given simgen.targets.Targets: a focal loss of the heat, and for each block that is seen
the least loss of its keypoints over the block's symmetries.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from simgen.targets import Targets
from train.blockset import BlockSet
from train.keypoint_net import STRIDE, Maps

LEAST_SHARE, LEAST_PIXELS = 0.1, 16  # of a block that counts as seen; where there is less, nothing is asked
_AROUND = 3  # cells, across a block's middle, that learn its keypoints
_SPREAD = 1.0  # cells: the heat around a middle falls off like this
# Misses are told in extents of their block, from its origin to the farthest keypoint, as poses are judged by its size; in
# pixels the nearest blocks would have all the say. No extent is less than this.
_LEAST_EXTENT = 4.0  # px
# Of it: misses below count by their square. With a kink at 0 the network stays longer with the mean of all turns.
_SOFT = 0.25
_NEAR = 0.02  # m: what is nearer to the camera's plane has no image
# A network that knows nothing yet misses all symmetric guises alike and would learn their mean. So the guise that is most
# like `_upright` is preferred: a guise turned from it by the angle a costs this much of the block's extent, times
# (1 - cos a) / 2, more. It is little enough that a network in doubt between two may have either.
_PREFERENCE = 0.25


@dataclass(frozen=True)
class Weights:
    keypoints: float = 40.0
    kind: float = 1.0
    scale: float = 0.1


@dataclass(frozen=True)
class Losses:
    """Means over the batch's blocks: `total` is their weighted sum; `miss_px` the keypoints' mean distance, px; with a
    table's part `table_m` is the mean distance of its places, m."""

    total: Tensor
    heat: Tensor
    keypoints: Tensor
    kind: Tensor
    scale: Tensor
    miss_px: Tensor
    table_m: Tensor | None = None


def keypoint_losses(maps: Maps, targets: Targets, blocks: BlockSet, weights: Weights) -> Losses:
    """The losses of `maps` for pictures that show `targets`, whose `model` is the class in `blocks`, -1 for what is not
    to be found."""
    height, width = maps.heat.shape[1:]
    kind = targets.model
    there = targets.present & (kind >= 0) & (targets.seen > 0)
    found = findable(targets)
    corners = (targets.box + 0.5) / STRIDE  # cells; where nothing is seen NaN
    middle = ((corners[..., :2] + corners[..., 2:]) / 2 - 0.5).nan_to_num(-1e3)
    heat = _heat_loss(maps.heat, middle, found, corners, there & ~found)

    picture, slot = found.nonzero(as_tuple=True)
    if not len(picture):
        zero = maps.heat.sum() * 0 + maps.log_scale.sum() * 0 + maps.stance.sum() * 0
        return Losses(heat + zero, heat, zero, zero, zero, zero.detach())
    step = torch.arange(_AROUND, device=heat.device) - _AROUND // 2
    cell = middle[picture, slot].round().long()
    column = (cell[:, :1] + step).clamp(0, width - 1)[:, None].expand(-1, _AROUND, -1).flatten(1)  # (P, cells)
    row = (cell[:, 1:] + step).clamp(0, height - 1)[:, :, None].expand(-1, -1, _AROUND).flatten(1)
    wanted = kind[picture, slot]
    stance = maps.stances.of(wanted, _up(targets, picture, slot))
    said = maps.keypoints(stance[:, None], picture[:, None], row, column)  # (P, cells, K, 2)
    log_scale = maps.log_scale[picture[:, None], row, column]
    logits = maps.stance.permute(0, 2, 3, 1)[picture[:, None], row, column]

    truth, unlike = candidates(targets, picture, slot, wanted, blocks)  # (P, G, K, 2), (P, G)
    real = blocks.real[wanted]
    miss = (said[:, None] - truth[:, :, None]).abs()  # (P, G, cells, K, 2)
    extent = (truth - truth[:, :, :1]).norm(dim=-1).amax((1, 2))  # from the origin to the farthest keypoint, px
    each = (miss.mean((2, 4)) * real[:, None]).sum(2) / real.sum(1, keepdim=True)
    each = each + _PREFERENCE * extent[:, None] * unlike
    best = each.masked_fill(~blocks.members[wanted], torch.inf).argmin(1)
    miss = miss[torch.arange(len(best), device=best.device), best]  # (P, cells, K, 2)
    count = real.sum() * _AROUND * _AROUND * 2
    keypoints = (
        functional.smooth_l1_loss(
            miss / extent.clamp_min(_LEAST_EXTENT)[:, None, None, None],
            torch.zeros_like(miss),
            beta=_SOFT,
            reduction="none",
        )
        * real[:, None, :, None]
    ).sum() / count
    # The scale follows the misses and does not move them: an error is not excused by doubt.
    doubt = (miss.detach().mean(-1) / log_scale.exp() + log_scale) * real[:, None]
    scale = doubt.sum() / (count / 2)
    named = functional.cross_entropy(logits.flatten(0, 1), stance.repeat_interleave(_AROUND * _AROUND))
    total = heat + weights.keypoints * keypoints + weights.kind * named + weights.scale * scale
    distance = (miss.detach().norm(dim=-1) * real[:, None]).sum() / (count / 2)
    return Losses(total, heat, keypoints, named, scale, distance)


def findable(targets: Targets) -> Tensor:
    """(B, N) bool: the blocks that a network is asked to find: of a known kind, and enough of them seen."""
    enough = (targets.share >= LEAST_SHARE) & (targets.seen >= LEAST_PIXELS)
    return targets.present & (targets.model >= 0) & enough


def candidates(
    targets: Targets, picture: Tensor, slot: Tensor, kind: Tensor, blocks: BlockSet
) -> tuple[Tensor, Tensor]:
    """Where the keypoints of the blocks (picture, slot) (P,) of class `kind` (P,) are, for each member of the symmetry
    group, (P, G, K, 2) px, and how unlike `_upright` each makes the block, (P, G) in [0, 1]. A continuous symmetry's
    members begin with the turn that faces the camera, so that what is to be learnt follows from what is seen."""
    pose = targets.camera_from_block[picture, slot]
    turn, shift = pose[:, :3, :3], pose[:, :3, 3]
    eye = -(turn.transpose(1, 2) @ shift[..., None])  # (P, 3, 1): the camera in the block frame
    frame = blocks.frame[kind]
    x, y, _ = (frame @ eye)[..., 0].unbind(1)
    angle = torch.atan2(y, x)  # 0 where the frame is
    facing = _about(frame, angle)
    points = targets.scale[picture, slot, None, None, None] * blocks.keypoints[kind][:, None]  # (P, 1, K, 3)
    group = blocks.group[kind]  # (P, G, 4, 4): shifts are of the block at scale 1
    moved = (
        points @ group[..., :3, :3].transpose(-1, -2)
        + targets.scale[picture, slot, None, None, None] * group[..., None, :3, 3]
    )
    faced = turn @ facing
    seen = moved @ faced[:, None].transpose(-1, -2) + shift[:, None, None]
    stands = faced[:, None] @ group[..., :3, :3]
    cosine = ((stands * _upright(shift)[:, None]).sum((2, 3)) - 1) / 2
    return _project(seen, targets.intrinsics[picture], targets.distortion[picture]), (1 - cosine) / 2


def _up(targets: Targets, picture: Tensor, slot: Tensor) -> Tensor:
    """(P, 3) the table's z axis in the frame of each block."""
    z = targets.camera_from_world[picture, :3, 2]
    return (targets.camera_from_block[picture, slot, :3, :3].mT @ z[:, :, None])[..., 0]


def _upright(shift: Tensor) -> Tensor:
    """(P, 3, 3) camera_from_block turns of blocks at `shift` (P, 3) that stand upright and straight before a camera that
    looks down on them by 45 degrees: x to the right, z halfway between up and towards the camera."""
    away = functional.normalize(shift, dim=1)
    down = torch.tensor([0.0, 1, 0], device=shift.device, dtype=shift.dtype)
    right = functional.normalize(torch.linalg.cross(down.expand_as(away), away), dim=1)
    up = torch.linalg.cross(right, away)  # at a right angle to the line of sight
    z = functional.normalize(up - away, dim=1)
    return torch.stack([right, torch.linalg.cross(z, right), z], 2)


def _about(frame: Tensor, angle: Tensor) -> Tensor:
    """(P, 3, 3) turns by `angle` (P,) about the third row of `frame` (P, 3, 3); none where the frame is 0."""
    first, second, axis = frame.unbind(1)
    outer = axis[:, :, None] * axis[:, None]
    cosine, sine = angle.cos()[:, None, None], angle.sin()[:, None, None]
    across = first[:, :, None] * first[:, None] + second[:, :, None] * second[:, None]
    swap = second[:, :, None] * first[:, None] - first[:, :, None] * second[:, None]
    round_kind = (axis.norm(dim=1) > 0)[:, None, None]
    return torch.where(round_kind, outer + cosine * across + sine * swap, torch.eye(3, device=frame.device))


def _project(points: Tensor, intrinsics: Tensor, distortion: Tensor) -> Tensor:
    """geometry.project for points (P, G, K, 3) of cameras (P, ...), with what is behind the camera drawn far outside."""
    x, y = (points[..., k] / points[..., 2].clamp_min(_NEAR) for k in (0, 1))
    k1, k2, p1, p2, k3 = (c[:, None, None] for c in distortion.unbind(1))
    square = x * x + y * y
    radial = 1 + square * (k1 + square * (k2 + square * k3))
    u = x * radial + 2 * p1 * x * y + p2 * (square + 2 * x * x)
    v = y * radial + p1 * (square + 2 * y * y) + 2 * p2 * x * y
    plane = torch.stack([u, v], -1)
    lens = intrinsics[:, None, :2, :2].transpose(-1, -2)
    return plane @ lens + intrinsics[:, None, None, :2, 2]


def _heat_loss(heat: Tensor, middle: Tensor, found: Tensor, corners: Tensor, unclear: Tensor) -> Tensor:
    """The focal loss of `heat` (B, h, w) logits around the `middle` (B, N, 2) cells of the blocks that are `found`;
    cells in the box `corners` (B, N, 4) of an `unclear` block count for nothing. Zhou et al. 2019, equation 1, alpha 2,
    beta 4."""
    height, width = heat.shape[1:]
    row, column = (torch.arange(n, device=heat.device) for n in (height, width))
    nearest = middle.round()
    du, dv = column - nearest[..., :1], row - nearest[..., 1:]  # (B, N, w), (B, N, h)
    around = torch.exp(-(du[:, :, None] ** 2 + dv[..., None] ** 2) / (2 * _SPREAD**2))
    wanted = (around * found[..., None, None]).amax(1)
    inside = (
        (column[None, None, None] >= corners[..., None, 0:1] - 1)
        & (column[None, None, None] <= corners[..., None, 2:3])
        & (row[None, None, :, None] >= corners[..., None, 1:2] - 1)
        & (row[None, None, :, None] <= corners[..., None, 3:4])
    )
    asked = ~(inside & unclear[..., None, None]).any(1) | (wanted == 1)
    sure = heat.sigmoid()
    yes = functional.logsigmoid(heat) * (1 - sure) ** 2 * (wanted == 1)
    no = functional.logsigmoid(-heat) * sure**2 * (1 - wanted) ** 4 * (wanted < 1) * asked
    return -(yes + no).sum() / found.sum().clamp_min(1)
