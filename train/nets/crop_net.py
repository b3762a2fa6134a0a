"""The second stage of model=keypoints: the crop network predicts class and keypoints of each detection from a crop.

The first stage's maps have the same coarse cells for distant blocks as for near ones. A crop has a fixed size in pixels,
whatever the block's size in the picture, and is cut from the picture at its original resolution. (The head of He et al.
2017, "Mask R-CNN", does the same with features.)

If the table's plane is known, the network also gets the plane as the crop shows it: its normal and its scale. The normal
determines what a square on the table looks like, the scale how large a block is: of two cubes only one has the right size.

Each keypoint is predicted as a distribution over the cells of a map (as in Tompson et al. 2014, "Joint Training of a
Convolutional Network and a Graphical Model"), which depends on the class. Its width is the uncertainty.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import roi_align

from simgen.distortion import straighten
from train.blocks.stances import Stances
from train.nets.backbone import CHANNELS, Backbone
from train.nets.layers import layer

SIZE = 96  # px: a crop's side
MARGIN = 1.5  # a window's side, in sides of the keypoints' box: the surroundings show where the block ends
CELLS = SIZE // 4  # of a keypoint's map, across and down
_LEAST_SIDE, _MOST_SIDE = 8.0, 16384.0  # px: limits of a window's side
_LEVELS = 1, 2, 4  # the backbone's stages whose outputs are used: at 1/4, 1/8 and 1/16
_WIDE = 64  # channels at 1/16
_FEATURES = 48  # channels of the decoder
_HIDDEN = 384  # units from which the classes are predicted
PLANE = 5  # numbers that describe the table's plane: see `planes_of`
_MIRRORED = -1, 1, 1, 1, 1  # what multiplies them if the picture is mirrored left to right
_PLANE_UNITS = 128  # of the layers that process them
_USUAL = 0.1  # m: the side of a usual window on the table
_POWERS = 5  # of a cell's place: u, v, u^2, v^2, u v
# The numbers of a class are its embedding times this. In 250 steps of 96 crops the keypoints' median error was 7.6% of a
# window with it, and 13.2% with 1.
_GAIN = 10.0
# Crops that go through the network at once are a multiple: cuDNN plans each convolution anew for each number of crops.
_TOGETHER = {"cuda": 256}
_AROUND = 2  # cells on each side of the best that count in a keypoint's mean and deviation


@dataclass(frozen=True)
class CropOutput:
    """The crop network's output for P crops: stance (P, S + 1), logits of the classes and, last, of no block; `sized` (P,),
    the logit of the block having the size of its kind; features (P, n, CELLS, CELLS), from which `CropNet.places` computes
    the keypoints of a class."""

    stance: Tensor
    sized: Tensor
    features: Tensor


class CropNet(nn.Module):
    """EfficientNet-Lite0 down to a 16th of the resolution; from there a fully connected layer to the classes of `stances`,
    and a feature pyramid back up to a quarter. A class's keypoints are linear functions of the pyramid's features and of the
    cell's place.

    The table's plane scales and shifts the activations at a 16th (Perez et al. 2018, "FiLM").
    """

    powers: Tensor

    def __init__(self, stances: Stances, *, pretrained: bool) -> None:
        super().__init__()
        self.most = stances.most
        self.backbone = Backbone(_LEVELS[-1] + 1, pretrained=pretrained)
        self.narrow = nn.ModuleList(
            nn.Conv2d(CHANNELS[level], width, 1)
            for level, width in zip(_LEVELS, (_FEATURES, _FEATURES, _WIDE), strict=True)
        )
        self.wide, self.top = layer(_WIDE, _WIDE), layer(_WIDE, _FEATURES, kernel=1)
        self.merge = nn.ModuleList(layer(_FEATURES, _FEATURES) for _ in _LEVELS[1:])
        self.plane = nn.Sequential(
            nn.Linear(PLANE, _PLANE_UNITS),
            nn.ReLU(inplace=True),
            nn.Linear(_PLANE_UNITS, _PLANE_UNITS),
            nn.ReLU(inplace=True),
        )
        self.film = nn.Linear(_PLANE_UNITS, 2 * (_WIDE + _HIDDEN))
        self.all = nn.Linear(_WIDE * (SIZE // 16) ** 2, _HIDDEN)
        self.out = nn.Linear(_HIDDEN, len(stances) + 2)
        self.keypoints = nn.Embedding(len(stances), self.most * (_FEATURES + _POWERS + 1))
        nn.init.normal_(self.keypoints.weight, std=0.05 / _GAIN)
        for weights in self.film.parameters():
            nn.init.normal_(weights, std=1e-3)  # at first the plane has hardly any effect
        place = 2 * (torch.arange(CELLS) + 0.5) / CELLS - 1
        v, u = torch.meshgrid(place, place, indexing="ij")
        self.register_buffer("powers", 4 * torch.stack([u, v, u * u, v * v, u * v]), persistent=False)

    def forward(self, crops: Tensor, plane: Tensor) -> tuple[Tensor, Tensor]:
        """The classes' logits (P, S + 2), the last that of `sized`, and the features (P, n, CELLS, CELLS). `crops` (P, 3,
        SIZE, SIZE) are of `crops_of`, `plane` (P, PLANE) of `planes_of`."""
        logits, levels = self._encoded(crops, plane)
        return logits, self._decoded(*levels)

    def _encoded(self, crops: Tensor, plane: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """The logits, and the features at a quarter, an eighth and a 16th of the resolution."""
        levels = self.backbone(crops)
        quarter, eighth, sixteenth = (narrow(levels[level]) for narrow, level in zip(self.narrow, _LEVELS, strict=True))
        film = self.film(self.plane(plane))
        stretch, shift, stretch_all, shift_all = film.split([_WIDE, _WIDE, _HIDDEN, _HIDDEN], 1)
        x = functional.relu(sixteenth * (1 + stretch[..., None, None]) + shift[..., None, None])
        x = x + self.wide(x)
        hidden = functional.relu(self.all(x.flatten(1)) * (1 + stretch_all) + shift_all)
        return self.out(hidden).float(), (quarter, eighth, x)

    def _decoded(self, quarter: Tensor, eighth: Tensor, sixteenth: Tensor) -> Tensor:
        up = functional.interpolate(self.top(sixteenth), scale_factor=2.0, mode="nearest")
        up = functional.interpolate(self.merge[1](eighth + up), scale_factor=2.0, mode="nearest")
        merged: Tensor = self.merge[0](quarter + up)
        return merged

    def predict(self, images: Tensor, picture: Tensor, windows: Tensor, plane: Tensor) -> CropOutput:
        """The prediction for the `windows` (P, 3) px, each in image number `picture` (P,) of the `normalized` `images`
        (B, 3, H, W), with the `plane` (P, PLANE) of `planes_of`."""
        count, (crops, plane) = len(windows), _filled_up(images, picture, windows, plane)
        logits, features = self(crops, plane)
        return CropOutput(logits[:count, :-1], logits[:count, -1], features[:count])

    def predict_mirrored(
        self, images: Tensor, picture: Tensor, windows: Tensor, plane: Tensor
    ) -> tuple[Tensor, Tensor]:
        """CropOutput.stance and `sized` for the mirror images of the windows that `predict` takes."""
        crops, plane = _filled_up(images, picture, windows, plane)
        logits, _ = self._encoded(crops.flip(3), plane * plane.new_tensor(_MIRRORED))
        logits = logits[: len(windows)]
        return logits[:, :-1], logits[:, -1]

    def places(self, features: Tensor, stance: Tensor) -> Tensor:
        """(P, K, CELLS, CELLS) log probabilities of the cell in which each keypoint of the classes `stance` (P,) is, for the
        crops with the `features` (P, n, CELLS, CELLS)."""
        numbers = [_FEATURES, _POWERS, 1]
        parts = (_GAIN * self.keypoints(stance)).reshape(-1, self.most, sum(numbers)).split(numbers, 2)
        logits = torch.einsum("pkf,pfvu->pkvu", parts[0], features) + parts[2][..., None]
        logits = logits + torch.einsum("pkf,fvu->pkvu", parts[1], self.powers)
        return torch.log_softmax(logits.float().flatten(2), 2).reshape(logits.shape)


def _filled_up(images: Tensor, picture: Tensor, windows: Tensor, plane: Tensor) -> tuple[Tensor, Tensor]:
    """The crops and planes of `CropNet.forward` for P windows, and for more of them to fill up their number."""
    rows = filled_up(len(windows), _TOGETHER.get(windows.device.type, 1)).to(windows.device)
    return crops_of(images, picture[rows], windows[rows], SIZE, SIZE), plane[rows]


def filled_up(count: int, together: int) -> Tensor:
    """The numbers 0 to `count` - 1, of which the last is repeated until they are a multiple of `together`."""
    return torch.arange(count + -count % together).clamp(max=count - 1)


def log_density(places: Tensor, at: Tensor) -> Tensor:
    """(P, G, K) the logarithm of the density, per cell, at the positions `at` (P, G, K, 2), in sides from the window's
    center, given the log probabilities `places` (P, K, CELLS, CELLS): bilinear between the cells' centers. A position
    outside them counts as at the border."""
    place = ((at + 0.5) * CELLS - 0.5).clamp(0, CELLS - 1 - 1e-3)
    cell = place.floor().long()
    part = (place - cell).clamp(1e-6, 1 - 1e-6)
    corner = torch.tensor([[0, 0], [1, 0], [0, 1], [1, 1]], device=places.device)  # of four cells, along u and v
    number = ((cell[..., None, :] + corner) * corner.new_tensor([1, CELLS])).sum(-1)  # (P, G, K, 4)
    weight = torch.where(corner == 1, part[..., None, :], 1 - part[..., None, :]).prod(-1)
    # One gather from each map: of a map that is repeated for each of the G, the gradient would be G times as large.
    number = number.transpose(1, 2)  # (P, K, G, 4)
    values = places.flatten(2).gather(2, number.flatten(2)).reshape(number.shape)
    return (values.transpose(1, 2) + weight.log()).logsumexp(3)


def read_places(places: Tensor, windows: Tensor) -> tuple[Tensor, Tensor]:
    """The keypoints (P, K, 2) px of the picture that the log probabilities `places` (P, K, CELLS, CELLS) in the `windows`
    (P, 3) state, and the standard deviations (P, K) px of each coordinate: means and deviations around the best cell."""
    best = places.flatten(2).argmax(2)
    step = torch.arange(CELLS, device=places.device)
    down = (step - (best // CELLS)[..., None]).abs() <= _AROUND
    across = (step - (best % CELLS)[..., None]).abs() <= _AROUND
    near = down[..., None] & across[..., None, :]
    weight = places.masked_fill(~near, -torch.inf).flatten(2).softmax(2).reshape(places.shape)
    place = (step + 0.5) / CELLS - 0.5
    sums = weight.sum(2), weight.sum(3)  # along v, and along u
    mean = torch.stack([(part * place).sum(2) for part in sums], -1)
    variance = torch.stack([(part * place**2).sum(2) for part in sums], -1) - mean**2
    side = windows[:, 2:, None]
    return windows[:, None, :2] + side * mean, side[..., 0] * variance.mean(2).clamp_min(0).sqrt()


def windows_of(keypoints: Tensor, real: Tensor) -> Tensor:
    """(P, 3) px [u, v, side]: the square windows around P blocks' `keypoints` (P, K, 2) px, without those of padding, which
    are not `real` (P, K)."""
    far = torch.finfo(keypoints.dtype).max
    low = keypoints.masked_fill(~real[..., None], far).amin(1)
    high = keypoints.masked_fill(~real[..., None], -far).amax(1)
    side = (MARGIN * (high - low).amax(1, keepdim=True)).clamp(_LEAST_SIDE, _MOST_SIDE)
    return torch.cat([(low + high) / 2, side], 1)


def planes_of(
    windows: Tensor,
    intrinsics: Tensor,
    camera_from_table: Tensor,
    distortion: Tensor | None = None,
    size: Tensor | None = None,
) -> Tensor:
    """(P, PLANE): the table's plane as each of `windows` (P, 3) px shows it: its unit normal, pointing up, in the OpenCV
    axes of a camera that is rotated, by the smallest rotation, so that its optical axis goes through the window's center;
    the logarithm of the window's side on the plane, in usual sides; and 1. All 0 where `camera_from_table` (P, 4, 4) is
    unknown, that is, NaN, or where the window's center is at or above the horizon.

    `intrinsics` (P, 3, 3) px; `distortion` (P, 9) or None. Only a fisheye's distortion is removed: any other lens changes a
    ray's direction by a degree or less, except in the corners. `size` (P,) is the size of the block that is looked for,
    relative to its size in training, if they differ.
    """
    pixels = torch.cat([windows[:, :2], torch.ones_like(windows[:, :1])], 1)
    ray = torch.linalg.solve(intrinsics, pixels)
    if distortion is not None and bool((distortion[:, 8] > 0).any()):
        fisheye = distortion[:, 8] > 0
        flat = straighten(ray[:, 0], ray[:, 1], distortion.unbind(1), torch)
        ray[:, :2] = torch.where(fisheye[:, None], torch.stack(flat, 1), ray[:, :2])
    normal = camera_from_table[:, :3, 2]
    depth = (normal * camera_from_table[:, :3, 3]).sum(1) / (normal * ray).sum(1)
    side = windows[:, 2] * depth / intrinsics[:, 0, 0] / _USUAL
    side = side if size is None else side / size
    ray = functional.normalize(ray, dim=1)
    forward = ray.new_tensor([0.0, 0, 1]).expand_as(ray)
    both = ray + forward  # Rodrigues' formula for the rotation from one to the other, about their cross product
    turned = normal - (normal * both).sum(1, keepdim=True) / (1 + ray[:, 2:]) * both
    turned = turned + 2 * (normal * ray).sum(1, keepdim=True) * forward
    described = torch.cat([turned, side.log()[:, None], torch.ones_like(side)[:, None]], 1)
    return described.where(torch.isfinite(described).all(1, keepdim=True), 0)


def crops_of(images: Tensor, picture: Tensor, windows: Tensor, width: int, height: int) -> Tensor:
    """(P, 3, height, width) float32: the `windows` (P, 3) px, whose sides are those along u, each of image number `picture`
    (P,) of the `normalized` `images` (B, 3, H, W); 0 beyond the border. Each pixel of a crop is the mean of the area that it
    covers."""
    # roi_align counts from the corner of the first pixel
    middle, half = windows[:, :2] + 0.5, windows[:, 2:] / 2 * windows.new_tensor([1, height / width])
    boxes = torch.cat([picture[:, None].float(), middle - half, middle + half], 1)
    return torch.as_tensor(roi_align(images, boxes, (height, width), 1.0, -1, True))
