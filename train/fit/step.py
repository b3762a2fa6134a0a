"""What a training step computes: the losses of both networks for a batch of pictures.

The detection network learns from one cut of every second picture at about the scale at which it later sees whole pictures,
because a cut costs little and shows blocks at many scales. The crop network learns from a window around each block, moved
about as far as the detection network's windows are off, and from the detection network's best peaks where there is no block.
Every second window is then replaced by the one that the crop network itself states for it, as in its second pass on a
picture: a window around the true keypoints, even if moved, would give the class away.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from train.blocks.kinds import BlockSet
from train.data.batch import Batch
from train.data.targets import STRIDE, Targets
from train.nets.crop_net import crops_of, planes_of, read_places, windows_of
from train.nets.detection_net import PIXELS, KeypointNet, Maps, find_peaks, maps_of
from train.nets.layers import normalized
from train.nets.losses import Centers, CropLosses, DetectionLosses, crop_losses, detection_losses
from train.nets.truth import Truth, detectable, truth_of

CUT = 320, 240  # px: width and height of its input in training
_CUT_SHARE = 0.5  # of the pictures of a batch: the detection network needs fewer than the crop network
_GRAY = 0.1  # share of the pictures that lose their color
_SCALES = 0.7, 1.4  # of a cut, relative to that of a whole picture
_OFF_CENTER = 0.35  # cuts: the greatest distance of the chosen block's center from the cut's, along each axis
_SHIFT = 0.12  # sides: the greatest shift of a block's window, along each axis
_GROW = 0.22  # the greatest change of the logarithm of its side
# A window of the second pass of a block is used if it is off by less: the greatest shift in sides, and change of the
# logarithm of the side. At the beginning of a training many are off by more.
_LOST_SHIFT, _LOST_GROW = 0.25, 0.5
_UNKNOWN_TABLE = 0.15  # fraction of the windows whose table is withheld
_PEAKS = 3  # peaks in each cut of which those that are no block are shown to the crop network
_LEAST_HEAT = 0.02  # their least heat
_CLEAR = 0.5  # of a window's side: a peak is no block if it is farther than this from the centers of all


@dataclass(frozen=True)
class Losses:
    """`total` is the sum of the losses of both networks; `picture` (P,), the picture of each block of `crops.solved`."""

    total: Tensor
    detection: DetectionLosses
    crops: CropLosses
    picture: Tensor


def losses_of(net: KeypointNet, batch: Batch, blocks: BlockSet) -> Losses:
    """The losses of `net` on `batch`; a training minimizes `total`."""
    targets, truth = batch.targets, truth_of(batch.targets, blocks, net.stances)
    images = normalized(_some_gray(batch))
    cuts = cuts_of(batch)
    rows = batch.cut[:, 4].argsort()[: max(1, round(_CUT_SHARE * len(cuts)))]  # the pictures that are cut
    maps = maps_of(net.detection(crops_of(images, rows, cuts[rows], *CUT)))
    place = torch.full_like(batch.cut[:, 0], -1, dtype=torch.long).index_copy(0, rows, torch.arange(len(rows)).to(rows))
    cut = (place[truth.picture] >= 0).nonzero()[:, 0]
    picture = truth.picture[cut]
    windows = _in_cuts(truth.windows[cut], cuts[picture])
    detection = detection_losses(maps, _centers(targets, cuts, rows), place[picture], truth.slot[cut], windows)
    picture, windows, plane = _crops_seen(
        net, images, batch, truth, _false_positives(maps, cuts, targets, rows), blocks
    )
    # Without any window this still gives every weight a gradient, of zero, for which other processes would wait.
    output = net.crops.predict(images, picture, windows, plane)
    count = len(truth)
    places = net.crops.places(output.features[:count], truth.stance)
    crops = crop_losses(output, places, windows[:count], truth, count)
    return Losses(detection.total + crops.total, detection, crops, truth.picture)


def _crops_seen(
    net: KeypointNet,
    images: Tensor,
    batch: Batch,
    truth: Truth,
    false_positives: tuple[Tensor, Tensor, Tensor],
    blocks: BlockSet,
) -> tuple[Tensor, Tensor, Tensor]:
    """The crops from which the crop network learns, those of the blocks of `truth` first, then those of `false_positives`:
    the picture (P,) of each, its window (P, 3) px, and the table's plane (P, PLANE) in it."""
    targets, (false_picture, number, false_windows) = batch.targets, false_positives
    picture = torch.cat([truth.picture, false_picture])
    windows = torch.cat([_moved(truth.windows, batch.jitter[truth.picture, truth.slot]), false_windows])
    # Also of false positives: else a window without a table would always be a block, and so would one of the second pass.
    slots = torch.cat([truth.slot, number % batch.jitter.shape[1]])
    known = batch.jitter[picture, slots, 3] >= 2 * _UNKNOWN_TABLE - 1
    again = (batch.jitter[picture, slots, 4] >= 0).nonzero()[:, 0]

    def plane_of(rows: Tensor) -> Tensor:
        cameras = (part[picture[rows]] for part in (targets.intrinsics, targets.camera_from_world, targets.distortion))
        return planes_of(windows[rows], *cameras) * known[rows, None]

    if len(again):
        second = _second_pass(net, images, picture[again], windows[again], plane_of(again), blocks)
        of_blocks = again[again < len(truth)]
        lost = _lost(second[: len(of_blocks)], truth.windows[of_blocks])
        second[: len(of_blocks)][lost] = windows[of_blocks][lost]
        windows = windows.index_copy(0, again, second)
    return picture, windows, plane_of(torch.arange(len(windows), device=windows.device))


def cuts_of(batch: Batch) -> Tensor:
    """(B, 3) px [u, v, width]: the part of each picture of `batch` that is cut out, at the scale and around the block that
    `batch.cut` selects. A cut is no larger than the picture."""
    height, width = batch.images.shape[2:]
    scale, choice, along, down, _, _ = batch.cut.unbind(1)
    usual = math.sqrt(PIXELS / (width * height))
    least = max(CUT[0] / width, CUT[1] / height)
    low, high = (math.log(part) for part in _SCALES)
    factor = (usual * torch.exp(low + (high - low) * (scale + 1) / 2)).clamp_min(least)
    size = torch.stack([CUT[0] / factor, CUT[1] / factor], 1)
    boxes = batch.targets.box
    there = batch.targets.present & (batch.targets.seen > 0)
    wanted = there & batch.targets.labelled
    wanted = wanted.where(wanted.any(1, keepdim=True), there)
    order = wanted.cumsum(1) - 1  # the number of each block among those that are wanted
    chosen = ((choice + 1) / 2 * wanted.sum(1)).floor().clamp(max=wanted.sum(1) - 1)
    picked = wanted & (order == chosen[:, None])
    middle = ((boxes[..., :2] + boxes[..., 2:]) / 2).nan_to_num() * picked[..., None]
    offset = torch.stack([along, down], 1)
    whole = boxes.new_tensor([width - 1, height - 1])
    center = torch.where(picked.any(1, keepdim=True), middle.sum(1), whole / 2) + _OFF_CENTER * size * offset
    center = torch.maximum(torch.minimum(center, whole + 0.5 - size / 2), size / 2 - 0.5)
    return torch.cat([center, size[:, :1]], 1)


def _in_cuts(windows: Tensor, cuts: Tensor) -> Tensor:
    """`windows` (P, 3) px of a picture in the pixels of its cut, `cuts` (P, 3)."""
    scale = CUT[0] / cuts[:, 2:]
    middle = windows.new_tensor([(CUT[0] - 1) / 2, (CUT[1] - 1) / 2])
    return torch.cat([(windows[:, :2] - cuts[:, :2]) * scale + middle, windows[:, 2:] * scale], 1)


def _from_cuts(windows: Tensor, cuts: Tensor) -> Tensor:
    """The inverse of `_in_cuts`."""
    scale = cuts[:, 2:] / CUT[0]
    middle = windows.new_tensor([(CUT[0] - 1) / 2, (CUT[1] - 1) / 2])
    return torch.cat([(windows[:, :2] - middle) * scale + cuts[:, :2], windows[:, 2:] * scale], 1)


def _some_gray(batch: Batch) -> Tensor:
    """The images of `batch`, some of them without color, as of a gray camera."""
    rows = (batch.cut[:, 5] < 2 * _GRAY - 1).nonzero()[:, 0]
    gray = batch.images[rows].float().mean(1, keepdim=True).round().to(batch.images.dtype)
    return batch.images.index_copy(0, rows, gray.expand(-1, batch.images.shape[1], -1, -1))


def _centers(targets: Targets, cuts: Tensor, rows: Tensor) -> Centers:
    """Where blocks are in the `cuts` (B, 3) of the pictures `rows`. A block whose center is outside its cut is ignored."""
    scale = (CUT[0] / cuts[:, 2])[:, None, None]
    shift = cuts.new_tensor(CUT) / 2 - 0.5
    corners = (targets.box - cuts[:, None, [0, 1, 0, 1]]) * scale + shift[[0, 1, 0, 1]]
    corners = (corners + 0.5) / STRIDE
    center = ((corners[..., :2] + corners[..., 2:]) / 2 - 0.5).nan_to_num(-1e3)
    cells = cuts.new_tensor(CUT) / STRIDE
    inside = ((center > -0.5) & (center < cells - 0.5)).all(-1)
    visible = targets.present & (targets.model >= 0) & (targets.seen > 0)
    detected = detectable(targets) & inside
    return Centers(center[rows], detected[rows], corners[rows], (visible & ~detected)[rows])


def _moved(windows: Tensor, moves: Tensor) -> Tensor:
    """`windows` (P, 3) shifted and scaled by the first three of `moves` (P, 5) in [-1, 1]."""
    side = windows[:, 2:]
    return torch.cat([windows[:, :2] + side * _SHIFT * moves[:, :2], side * (_GROW * moves[:, 2:3]).exp()], 1)


@torch.no_grad()
def _second_pass(
    net: KeypointNet, images: Tensor, picture: Tensor, windows: Tensor, plane: Tensor, blocks: BlockSet
) -> Tensor:
    """The windows (P, 3) px of the crop network's second pass, after a first one on `windows` (P, 3) px of the pictures
    `picture` (P,) of `images`, with the table's `plane` (P, PLANE)."""
    output = net.crops.predict(images, picture, windows, plane)
    stance = net.stances.likeliest(output.stance.softmax(1)[:, :-1])
    keypoints, _ = read_places(net.crops.places(output.features, stance), windows)
    second = windows_of(keypoints, blocks.real[net.stances.kind[stance]])
    # A training that diverges is to end with a loss that is no number, not in a window that is none.
    return second.where(torch.isfinite(second).all(1, keepdim=True), windows)


def _lost(windows: Tensor, true: Tensor) -> Tensor:
    """(P,) which of `windows` (P, 3) are too far from the `true` ones (P, 3) to be learned from."""
    shift = (windows[:, :2] - true[:, :2]).abs().amax(1) / true[:, 2]
    return (shift > _LOST_SHIFT) | ((windows[:, 2] / true[:, 2]).log().abs() > _LOST_GROW)


@torch.no_grad()
def _false_positives(maps: Maps, cuts: Tensor, targets: Targets, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of the pictures `rows`, to which `maps` belong: the picture (Q,), the number among that picture's peaks (Q,), and the
    windows (Q, 3) px of the best peaks that are no block."""
    peaks = find_peaks(maps, _PEAKS)
    picture = rows[:, None].expand_as(peaks.score)
    windows = _from_cuts(peaks.windows.flatten(0, 1), cuts[picture.flatten()]).reshape(*picture.shape, 3)
    center = (targets.box[..., :2] + targets.box[..., 2:]) / 2
    distance = (windows[:, :, None, :2] - center[rows][:, None]).norm(dim=-1).nan_to_num(torch.inf)  # (B, D, N)
    blocks = targets.present & (targets.model >= 0)
    near = ((distance < _CLEAR * windows[..., 2:]) & blocks[rows][:, None]).any(2)
    wrong = ~near & (peaks.score > _LEAST_HEAT)
    return picture[wrong], wrong.nonzero()[:, 1], windows[wrong]
