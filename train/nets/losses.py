"""The losses of model=keypoints, given train.data.targets.Targets: a focal loss of the heat map, and for each visible block
the loss of its keypoints, the minimum over the block's symmetric poses.
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
from train.nets.crop_net import UNKNOWN_TABLE, CropNet, jittered, table_normals, windows_of
from train.nets.detection_net import TABLE_UNIT, Maps

LEAST_SHARE = 0.1  # visible share of a block that is a target
LEAST_PIXELS = 16  # its visible pixels
_SOFT_PLACE = 0.1  # m: the loss of a point on the table is quadratic below this error
_AROUND = 3  # cells across a block's center that learn its keypoints
_SPREAD = 1.0  # cells: the standard deviation of the heat's target around a center
# Keypoint errors are divided by the block's extent in the picture, from its origin to the farthest keypoint, because poses
# are evaluated relative to the block's size. In pixels the nearest blocks would dominate. No extent is less than this.
_LEAST_EXTENT = 4.0  # px
# Extents: the loss of a keypoint is quadratic below this error. With a kink at 0 the network stays longer at the average
# of all rotations.
_SOFT = 0.25
# The windows of the crop network's second pass, which follow from its first pass, are off by this fraction of what the
# first stage's are.
SECOND_PASS = 0.3
# At initialization all symmetric poses have equal loss, so the network would converge to their average. To break the tie,
# the pose most like `_upright` is preferred: a symmetric pose rotated from it by the angle a costs this fraction of the
# block's extent, times (1 - cos a) / 2, more. It is small, so that where two poses are about equal either may be predicted.
_PREFERENCE = 0.25


def table_loss(maps: Maps, truth: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of the table head's points and scales, a mean over cells, and the mean distance of the points from the
    `truth` (B, h, w, 2) m. Cells whose truth is NaN do not count."""
    assert maps.table is not None and maps.table_log_scale is not None
    valid = torch.isfinite(truth).all(-1)
    error = (maps.table - truth.nan_to_num()).abs() * valid[..., None]
    point = functional.smooth_l1_loss(
        error / TABLE_UNIT, torch.zeros_like(error), beta=_SOFT_PLACE / TABLE_UNIT, reduction="none"
    )
    # As with keypoints: the scale is fitted to the errors and has no effect on them.
    scale = (error.detach().mean(-1) / maps.table_log_scale.exp() + maps.table_log_scale) * valid
    count = valid.sum().clamp_min(1)
    return (point.mean(-1).sum() + 0.1 * scale.sum()) / count, error.detach().norm(dim=-1).sum() / count


@dataclass(frozen=True)
class Weights:
    """The weights of the losses in their sum, beside the heat's, which is 1."""

    keypoints: float = 40.0
    kind: float = 1.0
    scale: float = 0.1


@dataclass(frozen=True)
class BlockLosses:
    """Means over the batch's blocks: `total` is the weighted sum, `miss_px` the keypoints' mean error in px."""

    total: Tensor
    keypoints: Tensor
    kind: Tensor
    scale: Tensor
    miss_px: Tensor


@dataclass(frozen=True)
class Losses(BlockLosses):
    """The losses of the maps. `total` also contains `heat` and, if the network has these parts, the table head's and the
    crop network's losses. `table_m` is the mean error of the table head's points in m, `crops` the crop network's losses."""

    heat: Tensor
    table_m: Tensor | None = None
    crops: BlockLosses | None = None


def keypoint_losses(maps: Maps, targets: Targets, blocks: BlockSet, weights: Weights) -> Losses:
    """The losses of `maps` for pictures with `targets`, whose `model` is the place of the kind in `blocks`, -1 for objects
    that are not to be detected."""
    height, width = maps.heat.shape[1:]
    visible = targets.present & (targets.model >= 0) & (targets.seen > 0)
    detected = detectable(targets)
    corners = (targets.box + 0.5) / STRIDE  # cells; NaN for a hidden block
    center = ((corners[..., :2] + corners[..., 2:]) / 2 - 0.5).nan_to_num(-1e3)
    heat = _heat_loss(maps.heat, center, detected, corners, visible & ~detected)

    truth = _truth_of(targets, blocks, maps.stances)
    if not len(truth.kind):
        zero = maps.heat.sum() * 0 + maps.log_scale.sum() * 0 + maps.stance.sum() * 0
        return Losses(heat + zero, zero, zero, zero, zero.detach(), heat)
    step = torch.arange(_AROUND, device=heat.device) - _AROUND // 2
    cell = center[truth.picture, truth.slot].round().long()
    column = (cell[:, :1] + step).clamp(0, width - 1)[:, None].expand(-1, _AROUND, -1).flatten(1)  # (P, cells)
    row = (cell[:, 1:] + step).clamp(0, height - 1)[:, :, None].expand(-1, -1, _AROUND).flatten(1)
    picture = truth.picture[:, None]
    each = _block_losses(
        maps.keypoints(truth.stance[:, None], picture, row, column),
        maps.log_scale[picture, row, column],
        maps.stance.permute(0, 2, 3, 1)[picture, row, column],
        truth=truth,
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
    """The losses of the crop network `net` for the blocks of `targets` in `images` (B, 3, H, W), each in W windows, which
    `jitter` (B, N, W, 4) in [-1, 1] moves: the first as far as the first stage's windows may be off, the others as far as
    those of the second pass. The jitter's last number selects the windows whose table normal is withheld."""
    truth = _truth_of(targets, blocks, stances)
    if not len(truth.kind):
        zero = sum((weight.sum() for weight in net.parameters()), images.new_zeros((), dtype=torch.float32)) * 0
        return BlockLosses(zero, zero, zero, zero, zero.detach())
    shifts = jitter[truth.picture, truth.slot]  # (P, W, 4)
    times = shifts.shape[1]
    reach = shifts.new_full((times, 1), SECOND_PASS)
    reach[0] = 1
    reach, shifts = reach.repeat(len(shifts), 1), shifts.flatten(0, 1)
    windows = jittered(windows_of(truth.keypoints[:, 0], truth.real).repeat_interleave(times, 0), reach * shifts)
    picture = truth.picture.repeat_interleave(times)
    upward = table_normals(
        windows, targets.intrinsics[picture], targets.camera_from_world[picture], targets.distortion[picture]
    )
    output = net.predict(images, picture, windows, upward * (shifts[:, 3:] >= 2 * UNKNOWN_TABLE - 1))
    predicted = output.keypoints_of(truth.stance.repeat_interleave(times), stances)
    parts = (part.reshape(-1, times, *part.shape[1:]) for part in (predicted, output.log_scale, output.stance))
    return _block_losses(*parts, truth=truth, weights=weights)


@dataclass(frozen=True)
class _Truth:
    """The P blocks to be detected, block number `slot` (P,) of image number `picture` (P,): kind and stance (P,), real (P,
    K) and members (P, G) of BlockSet, and from `candidates` the keypoints (P, G, K, 2) px in all symmetric poses and their
    difference (P, G) from an upright pose."""

    picture: Tensor
    slot: Tensor
    kind: Tensor
    stance: Tensor
    real: Tensor
    members: Tensor
    keypoints: Tensor
    difference: Tensor


def _truth_of(targets: Targets, blocks: BlockSet, stances: Stances) -> _Truth:
    picture, slot = detectable(targets).nonzero(as_tuple=True)
    kind = targets.model[picture, slot]
    stance = stances.of(kind, _up(targets, picture, slot))
    symmetric_poses = candidates(targets, picture, slot, kind, blocks)
    return _Truth(picture, slot, kind, stance, blocks.real[kind], blocks.members[kind], *symmetric_poses)


def _block_losses(
    predicted: Tensor, log_scale: Tensor, logits: Tensor, *, truth: _Truth, weights: Weights
) -> BlockLosses:
    """The losses of A predictions, by as many cells or windows, for each of P blocks: `predicted` (P, A, K, 2) px, the
    keypoints of the true class, `log_scale` (P, A, K) and `logits` (P, A, S)."""
    count = predicted.shape[1]
    error = (predicted[:, None] - truth.keypoints[:, :, None]).abs()  # (P, G, A, K, 2)
    # From the origin to the farthest keypoint, px.
    extent = (truth.keypoints - truth.keypoints[:, :, :1]).norm(dim=-1).amax((1, 2))
    each = (error.mean((2, 4)) * truth.real[:, None]).sum(2) / truth.real.sum(1, keepdim=True)
    each = each + _PREFERENCE * extent[:, None] * truth.difference
    best = each.masked_fill(~truth.members, torch.inf).argmin(1)
    error = error[torch.arange(len(best), device=best.device), best]  # (P, A, K, 2)
    coordinates = truth.real.sum() * count * 2
    keypoints = (
        functional.smooth_l1_loss(
            error / extent.clamp_min(_LEAST_EXTENT)[:, None, None, None],
            torch.zeros_like(error),
            beta=_SOFT,
            reduction="none",
        )
        * truth.real[:, None, :, None]
    ).sum() / coordinates
    # The scale is fitted to the errors and has no effect on them: a large uncertainty does not excuse an error.
    scale = (error.detach().mean(-1) / log_scale.exp() + log_scale) * truth.real[:, None]
    scale = scale.sum() / (coordinates / 2)
    kind = functional.cross_entropy(logits.flatten(0, 1), truth.stance.repeat_interleave(count))
    total = weights.keypoints * keypoints + weights.kind * kind + weights.scale * scale
    distance = (error.detach().norm(dim=-1) * truth.real[:, None]).sum() / (coordinates / 2)
    return BlockLosses(total, keypoints, kind, scale, distance)


def detectable(targets: Targets) -> Tensor:
    """(B, N) bool: the blocks to be detected, those of a known kind of which enough is visible."""
    enough = (targets.share >= LEAST_SHARE) & (targets.seen >= LEAST_PIXELS)
    return targets.present & (targets.model >= 0) & enough


def candidates(
    targets: Targets, picture: Tensor, slot: Tensor, kind: Tensor, blocks: BlockSet
) -> tuple[Tensor, Tensor]:
    """The keypoints of the blocks (picture, slot) (P,) of `kind` (P,) in each symmetric pose, (P, G, K, 2) px, and the
    difference of each pose from `_upright`, (P, G) in [0, 1]. The members of a continuous symmetry begin with the rotation
    that faces the camera, so that the target follows from what is visible."""
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
    group = blocks.group[kind]  # (P, G, 4, 4): translations are of the block at scale 1
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
    """(P, 3) the table's z axis in each block's frame."""
    z = targets.camera_from_world[picture, :3, 2]
    return (targets.camera_from_block[picture, slot, :3, :3].mT @ z[:, :, None])[..., 0]


def _upright(shift: Tensor) -> Tensor:
    """(P, 3, 3) camera_from_block rotations of blocks at `shift` (P, 3) that stand upright, squarely in front of a camera
    that looks down on them at 45 degrees: x points right, z halfway between up and towards the camera."""
    away = functional.normalize(shift, dim=1)
    down = torch.tensor([0.0, 1, 0], device=shift.device, dtype=shift.dtype)
    right = functional.normalize(torch.linalg.cross(down.expand_as(away), away), dim=1)
    up = torch.linalg.cross(right, away)  # at a right angle to the line of sight
    z = functional.normalize(up - away, dim=1)
    return torch.stack([right, torch.linalg.cross(z, right), z], 2)


def _about(frame: Tensor, angle: Tensor) -> Tensor:
    """(P, 3, 3) rotations by `angle` (P,) about the third row of `frame` (P, 3, 3); the identity where the frame is 0."""
    first, second, axis = frame.unbind(1)
    outer = axis[:, :, None] * axis[:, None]
    cosine, sine = angle.cos()[:, None, None], angle.sin()[:, None, None]
    across = first[:, :, None] * first[:, None] + second[:, :, None] * second[:, None]
    swap = second[:, :, None] * first[:, None] - first[:, :, None] * second[:, None]
    round_kind = (axis.norm(dim=1) > 0)[:, None, None]
    return torch.where(round_kind, outer + cosine * across + sine * swap, torch.eye(3, device=frame.device))


def _project(points: Tensor, intrinsics: Tensor, distortion: Tensor) -> Tensor:
    """geometry.project for points (P, G, K, 3) of cameras (P, ...); points behind the camera are put far outside."""
    x, y = (points[..., k] / points[..., 2].clamp_min(NEAR) for k in (0, 1))
    plane = torch.stack(bend(x, y, [part[:, None, None] for part in distortion.unbind(1)], torch), -1)
    lens = intrinsics[:, None, :2, :2].transpose(-1, -2)
    return plane @ lens + intrinsics[:, None, None, :2, 2]


def _heat_loss(heat: Tensor, center: Tensor, detected: Tensor, corners: Tensor, ignored: Tensor) -> Tensor:
    """The focal loss of `heat` (B, h, w) logits, whose targets peak at the `center` (B, N, 2) cells of the blocks that are
    to be `detected`. Cells in the box `corners` (B, N, 4) of an `ignored` block do not count. Zhou et al. 2019, equation 1,
    alpha 2, beta 4."""
    height, width = heat.shape[1:]
    row, column = (torch.arange(n, device=heat.device) for n in (height, width))
    nearest = center.round()
    du, dv = column - nearest[..., :1], row - nearest[..., 1:]  # (B, N, w), (B, N, h)
    around = torch.exp(-(du[:, :, None] ** 2 + dv[..., None] ** 2) / (2 * _SPREAD**2))
    target = (around * detected[..., None, None]).amax(1)
    inside = (
        (column[None, None, None] >= corners[..., None, 0:1] - 1)
        & (column[None, None, None] <= corners[..., None, 2:3])
        & (row[None, None, :, None] >= corners[..., None, 1:2] - 1)
        & (row[None, None, :, None] <= corners[..., None, 3:4])
    )
    counts = ~(inside & ignored[..., None, None]).any(1) | (target == 1)
    score = heat.sigmoid()
    positive = functional.logsigmoid(heat) * (1 - score) ** 2 * (target == 1)
    negative = functional.logsigmoid(-heat) * score**2 * (1 - target) ** 4 * (target < 1) * counts
    return -(positive + negative).sum() / detected.sum().clamp_min(1)
