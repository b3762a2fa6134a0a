"""What model=keypoints minimises, given simgen.targets.Targets: a focal loss of the heat, and for each block that is seen
the least loss of its keypoints over the block's symmetries.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from simgen.distortion import bend
from simgen.geometry import NEAR
from train.blocks.kinds import BlockSet
from train.blocks.stances import Stances
from train.data.targets import STRIDE, Targets
from train.nets.crop_net import UNTOLD, CropNet, moved, upward_of, windows_of
from train.nets.detection_net import TABLE_UNIT, Maps

_SOFT = 0.1  # m: misses below it count by their square
LEAST_SHARE = 0.1
LEAST_PIXELS = 16
_AROUND = 3  # cells, across a block's middle, that learn its keypoints
_SPREAD = 1.0  # cells: the heat around a middle falls off like this
# Misses are told in extents of their block, from its origin to the farthest keypoint, as poses are judged by its size; in
# pixels the nearest blocks would have all the say. No extent is less than this.
_LEAST_EXTENT = 4.0  # px
# Of it: misses below count by their square. With a kink at 0 the network stays longer with the mean of all turns.
_SOFT = 0.25
AGAIN = 0.3  # how far off the second look's own windows are, in which it looks once more, beside the first look's
# At initialisation all symmetric poses have equal loss, so the regressor would converge to their average. So the one most
# like `_upright` is preferred: a symmetric pose turned from it by the angle a costs this much of the block's extent, times
# (1 - cos a) / 2, more. It is little enough that a network in doubt between two may have either.
_PREFERENCE = 0.25


def table_loss(maps: Maps, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """The mean over cells of what `maps` miss of `wanted` (B, h, w, 2) m, NaN where nothing is asked, and of their doubt;
    and the mean distance that they miss it by, m."""
    assert maps.table is not None and maps.table_log_scale is not None
    asked = torch.isfinite(wanted).all(-1)
    miss = (maps.table - wanted.nan_to_num()).abs() * asked[..., None]
    near = functional.smooth_l1_loss(
        miss / TABLE_UNIT, torch.zeros_like(miss), beta=_SOFT / TABLE_UNIT, reduction="none"
    )
    # As of keypoints: the scale follows the misses and does not move them.
    doubt = (miss.detach().mean(-1) / maps.table_log_scale.exp() + maps.table_log_scale) * asked
    count = asked.sum().clamp_min(1)
    return (near.mean(-1).sum() + 0.1 * doubt.sum()) / count, miss.detach().norm(dim=-1).sum() / count


@dataclass(frozen=True)
class Weights:
    keypoints: float = 40.0
    kind: float = 1.0
    scale: float = 0.1


@dataclass(frozen=True)
class BlockLosses:
    """Means over the batch's blocks: `total` the weighted sum, `miss_px` the keypoints' mean distance, px."""

    total: Tensor
    keypoints: Tensor
    kind: Tensor
    scale: Tensor
    miss_px: Tensor


@dataclass(frozen=True)
class Losses(BlockLosses):
    """Those of the maps, whose `total` has all: with the `heat`; with a table's part `table_m`, the mean distance of its
    places, m; with a second look its `crops`."""

    heat: Tensor
    table_m: Tensor | None = None
    crops: BlockLosses | None = None


def keypoint_losses(maps: Maps, targets: Targets, blocks: BlockSet, weights: Weights) -> Losses:
    """The losses of `maps` for pictures that show `targets`, whose `model` is the class in `blocks`, -1 for what is not
    to be found."""
    height, width = maps.heat.shape[1:]
    there = targets.present & (targets.model >= 0) & (targets.seen > 0)
    found = findable(targets)
    corners = (targets.box + 0.5) / STRIDE  # cells; where nothing is seen NaN
    middle = ((corners[..., :2] + corners[..., 2:]) / 2 - 0.5).nan_to_num(-1e3)
    heat = _heat_loss(maps.heat, middle, found, corners, there & ~found)

    wanted = _wanted(targets, blocks, maps.stances)
    if not len(wanted.kind):
        zero = maps.heat.sum() * 0 + maps.log_scale.sum() * 0 + maps.stance.sum() * 0
        return Losses(heat + zero, zero, zero, zero, zero.detach(), heat)
    step = torch.arange(_AROUND, device=heat.device) - _AROUND // 2
    cell = middle[wanted.picture, wanted.slot].round().long()
    column = (cell[:, :1] + step).clamp(0, width - 1)[:, None].expand(-1, _AROUND, -1).flatten(1)  # (P, cells)
    row = (cell[:, 1:] + step).clamp(0, height - 1)[:, :, None].expand(-1, -1, _AROUND).flatten(1)
    picture = wanted.picture[:, None]
    each = _told_losses(
        maps.keypoints(wanted.stance[:, None], picture, row, column),
        maps.log_scale[picture, row, column],
        maps.stance.permute(0, 2, 3, 1)[picture, row, column],
        wanted=wanted,
        weights=weights,
    )
    return Losses(heat + each.total, each.keypoints, each.kind, each.scale, each.miss_px, heat)


def crop_losses(
    net: CropNet,
    stances: Stances,
    images: Tensor,
    jitter: Tensor,
    targets: Targets,
    blocks: BlockSet,
    weights: Weights,
) -> BlockLosses:
    """The losses of the second look `net` at the blocks that `targets` show in `images` (B, 3, H, W), in W windows each,
    moved by `jitter` (B, N, W, 4) in [-1, 1]: the first as far as a first look may be off, the others as far as the second
    look itself may be. The last of the jitter's numbers decides which are not told how the table is tilted."""
    wanted = _wanted(targets, blocks, stances)
    if not len(wanted.kind):
        zero = sum((weight.sum() for weight in net.parameters()), images.new_zeros((), dtype=torch.float32)) * 0
        return BlockLosses(zero, zero, zero, zero, zero.detach())
    shifts = jitter[wanted.picture, wanted.slot]  # (P, W, 4)
    times = shifts.shape[1]
    reach = shifts.new_full((times, 1), AGAIN)
    reach[0] = 1
    reach, shifts = reach.repeat(len(shifts), 1), shifts.flatten(0, 1)
    windows = moved(windows_of(wanted.truth[:, 0], wanted.real).repeat_interleave(times, 0), reach * shifts)
    picture = wanted.picture.repeat_interleave(times)
    upward = upward_of(
        windows, targets.intrinsics[picture], targets.camera_from_world[picture], targets.distortion[picture]
    )
    look = net.look(images, picture, windows, upward * (shifts[:, 3:] >= 2 * UNTOLD - 1))
    said = look.keypoints_of(wanted.stance.repeat_interleave(times), stances)
    parts = (part.reshape(-1, times, *part.shape[1:]) for part in (said, look.log_scale, look.stance))
    return _told_losses(*parts, wanted=wanted, weights=weights)


@dataclass(frozen=True)
class _Wanted:
    """The P blocks that a network is asked to find, each `slot` (P,) of a `picture` (P,): kind and stance (P,), real (P, K)
    and members (P, G) of BlockSet, and what `candidates` gives: truth (P, G, K, 2) px, unlike (P, G)."""

    picture: Tensor
    slot: Tensor
    kind: Tensor
    stance: Tensor
    real: Tensor
    members: Tensor
    truth: Tensor
    unlike: Tensor


def _wanted(targets: Targets, blocks: BlockSet, stances: Stances) -> _Wanted:
    picture, slot = findable(targets).nonzero(as_tuple=True)
    kind = targets.model[picture, slot]
    stance = stances.of(kind, _up(targets, picture, slot))
    symmetric_poses = candidates(targets, picture, slot, kind, blocks)
    return _Wanted(picture, slot, kind, stance, blocks.real[kind], blocks.members[kind], *symmetric_poses)


def _told_losses(said: Tensor, log_scale: Tensor, logits: Tensor, *, wanted: _Wanted, weights: Weights) -> BlockLosses:
    """Of what A answers say of each of P blocks: `said` (P, A, K, 2) px the keypoints of the true class, `log_scale`
    (P, A, K) and `logits` (P, A, S)."""
    answers = said.shape[1]
    miss = (said[:, None] - wanted.truth[:, :, None]).abs()  # (P, G, A, K, 2)
    # From the origin to the farthest keypoint, px.
    extent = (wanted.truth - wanted.truth[:, :, :1]).norm(dim=-1).amax((1, 2))
    each = (miss.mean((2, 4)) * wanted.real[:, None]).sum(2) / wanted.real.sum(1, keepdim=True)
    each = each + _PREFERENCE * extent[:, None] * wanted.unlike
    best = each.masked_fill(~wanted.members, torch.inf).argmin(1)
    miss = miss[torch.arange(len(best), device=best.device), best]  # (P, A, K, 2)
    count = wanted.real.sum() * answers * 2
    keypoints = (
        functional.smooth_l1_loss(
            miss / extent.clamp_min(_LEAST_EXTENT)[:, None, None, None],
            torch.zeros_like(miss),
            beta=_SOFT,
            reduction="none",
        )
        * wanted.real[:, None, :, None]
    ).sum() / count
    # The scale follows the misses and does not move them: an error is not excused by doubt.
    doubt = (miss.detach().mean(-1) / log_scale.exp() + log_scale) * wanted.real[:, None]
    scale = doubt.sum() / (count / 2)
    kind = functional.cross_entropy(logits.flatten(0, 1), wanted.stance.repeat_interleave(answers))
    total = weights.keypoints * keypoints + weights.kind * kind + weights.scale * scale
    distance = (miss.detach().norm(dim=-1) * wanted.real[:, None]).sum() / (count / 2)
    return BlockLosses(total, keypoints, kind, scale, distance)


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
    # All rotations of a sphere are the same pose: its keypoints are placed as the camera sees it.
    turn = torch.where(blocks.sphere[kind][:, None, None], _upright(shift), turn)
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
    x, y = (points[..., k] / points[..., 2].clamp_min(NEAR) for k in (0, 1))
    plane = torch.stack(bend(x, y, [part[:, None, None] for part in distortion.unbind(1)], torch), -1)
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
