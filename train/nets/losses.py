"""The losses of model=keypoints, for blocks given by train.nets.truth."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from train.nets.crop_net import CropOutput, log_density, read_places
from train.nets.detection_net import Maps
from train.nets.truth import Truth

_AROUND = 3  # cells across a block's center that learn its window
_SPREAD = 1.0  # cells: the standard deviation of the heat's target around a center
SOLVED = 0.05  # sides of a window: keypoints that are nearer are right, about a tenth of a block's extent
_SOFT = 0.1  # sides: the loss of a window is quadratic below this error


@dataclass(frozen=True)
class DetectionLosses:
    """The losses of the detection network, and their sum."""

    total: Tensor
    heat: Tensor
    window: Tensor


@dataclass(frozen=True)
class CropLosses:
    """The losses of the crop network, means over crops (`stance`, `right`) or over blocks, 0 of none: `total` is their sum;
    `right`, the share of crops whose class is the most probable; `miss`, the keypoints' mean distance from the nearest
    symmetric pose, in sides of the window; `solved` (count,) bool, the blocks whose class is the most probable and whose
    miss is under SOLVED."""

    total: Tensor
    stance: Tensor
    sized: Tensor
    keypoints: Tensor
    right: Tensor
    miss: Tensor
    solved: Tensor


@dataclass(frozen=True)
class Centers:
    """Where blocks are in B maps: center (B, N, 2) cells of those to be `detected` (B, N); corners (B, N, 4) cells of the
    boxes of all blocks, NaN if hidden; `ignored` (B, N): nothing counts in their boxes."""

    center: Tensor
    detected: Tensor
    corners: Tensor
    ignored: Tensor


def detection_losses(maps: Maps, centers: Centers, picture: Tensor, slot: Tensor, windows: Tensor) -> DetectionLosses:
    """The losses of `maps`; the blocks (picture, slot) (P,) have the `windows` (P, 3) px of the input image."""
    heat = _heat_loss(maps.heat, centers)
    inside = centers.detected[picture, slot]
    picture, slot, windows = picture[inside], slot[inside], windows[inside]
    height, width = maps.heat.shape[1:]
    step = torch.arange(_AROUND, device=heat.device) - _AROUND // 2
    cell = centers.center[picture, slot].round().long()
    column = (cell[:, :1] + step).clamp(0, width - 1)[:, None].expand(-1, _AROUND, -1).flatten(1)  # (P, cells)
    row = (cell[:, 1:] + step).clamp(0, height - 1)[:, :, None].expand(-1, -1, _AROUND).flatten(1)
    predicted = maps.windows[picture[:, None], row, column]  # (P, cells, 3)
    side = windows[:, None, 2:]
    off = torch.cat([(predicted[..., :2] - windows[:, None, :2]) / side, (predicted[..., 2:] / side).log()], -1)
    window = (
        functional.smooth_l1_loss(off, torch.zeros_like(off), beta=_SOFT, reduction="none").sum((1, 2)) / _AROUND**2
    )
    window = window.sum() / max(1, len(windows))
    return DetectionLosses(heat + window, heat, window)


def crop_losses(output: CropOutput, places: Tensor, windows: Tensor, truth: Truth, count: int) -> CropLosses:
    """The losses of the crop network's `output` for crops of which the first `count` show the blocks of `truth` in `windows`
    (P, 3) px and the others no block. `places` are its log probabilities for the true classes of those blocks."""
    none = output.stance.shape[1] - 1
    target = torch.cat([truth.stance, truth.stance.new_full((len(output.stance) - count,), none)])
    stance = _mean(functional.cross_entropy(output.stance, target, reduction="none"))
    sized = _mean(functional.binary_cross_entropy_with_logits(output.sized[:count], truth.sized, reduction="none"))
    at = (truth.keypoints - windows[:, None, None, :2]) / windows[:, None, None, 2:]  # (P, G, K, 2) sides
    density = log_density(places, at)
    density = (density * truth.real[:, None]).sum(2).masked_fill(~truth.members, -torch.inf)  # (P, G)
    keypoints = -_mean(density.logsumexp(1) / (2 * truth.real.sum(1)))  # for each coordinate
    with torch.no_grad():
        found = (read_places(places, windows)[0] - windows[:, None, :2]) / windows[:, None, 2:]
        distance = ((found[:, None] - at).norm(dim=-1) * truth.real[:, None]).sum(2) / truth.real.sum(1, keepdim=True)
        off = distance.masked_fill(~truth.members, torch.inf).amin(1)
        known = output.stance.argmax(1) == target
    total, solved = stance + sized + keypoints, known[:count] & (off < SOLVED)
    return CropLosses(total, stance, sized, keypoints, _mean(known.float()), _mean(off), solved)


def _mean(values: Tensor) -> Tensor:
    """The mean of `values` (N,), 0 if there are none."""
    return values.sum() / max(1, len(values))


def _heat_loss(heat: Tensor, centers: Centers) -> Tensor:
    """The focal loss of `heat` (B, h, w) logits, whose targets peak at the `centers`. Zhou et al. 2019, equation 1, alpha 2,
    beta 4."""
    center, detected, corners, ignored = centers.center, centers.detected, centers.corners, centers.ignored
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
