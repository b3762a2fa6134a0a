"""The second stage of model=keypoints: the crop network predicts class and keypoints of each detection from a crop.

The first stage's maps have the same coarse cells for distant blocks as for near ones. A crop has a fixed size in pixels,
whatever the block's size in the picture, and is cut from the picture at its original resolution. (The head of He et al.
2017, "Mask R-CNN", does the same with features.)

If the table's plane is known, the network also gets the plane as the crop shows it: its normal and its scale. The normal
determines what a square on the table looks like, the scale how large a block is: of two cubes only one has the right size.

Each coordinate of a keypoint is predicted as a distribution over positions (Li et al. 2022, "SimCC"). Where two positions
are possible it has two peaks, and its width is the uncertainty.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import roi_align

from simgen.distortion import straighten
from train.blocks.stances import Stances
from train.nets.backbone import CHANNELS, Backbone
from train.nets.layers import normalized

SIZE = 96  # px: a crop's side
MARGIN = 1.5  # a window's side, in sides of the keypoints' box: the surroundings show where the block ends
POSITIONS = 64  # of each coordinate of a keypoint
REACH = 0.6  # sides: the positions are spread from -REACH to REACH around the window's center
_LEAST_SIDE, _MOST_SIDE = 8.0, 4096.0  # px: limits of a window's side
_STAGES = 5  # of the backbone: down to a 16th of the resolution
_STRIDE = 16
_NARROW = 64  # channels of the features that the fully connected layers get
_HIDDEN = 384  # units of each hidden layer
PLANE = 5  # numbers that describe the table's plane: see `planes_of`
_PLANE_UNITS = 128  # of the layers that process them
_USUAL = 0.1  # m: the side of a usual window on the table
_AROUND = 4  # positions on each side of the best that count in the mean and the deviation


@dataclass(frozen=True)
class CropOutput:
    """The crop network's output for P crops: stance (P, S + 1), logits of the classes and, last, of no block; `sized` (P,),
    the logit of the block having the size of its kind; hidden (P, n), from which `CropNet.places` computes the keypoints of
    a class."""

    stance: Tensor
    sized: Tensor
    hidden: Tensor


class CropNet(nn.Module):
    """EfficientNet-Lite0 down to a 16th of the resolution, and fully connected layers from there to the classes of `stances`
    and, given a class, to its keypoints.

    The table's plane, and the class, scale and shift the activations of hidden layers (Perez et al. 2018, "FiLM").
    """

    def __init__(self, stances: Stances, *, pretrained: bool) -> None:
        super().__init__()
        self.backbone = Backbone(_STAGES, pretrained=pretrained)
        self.narrow = nn.Conv2d(CHANNELS[_STAGES - 1], _NARROW, 1)
        self.all = nn.Linear(_NARROW * (SIZE // _STRIDE) ** 2, _HIDDEN)
        self.more = nn.ModuleList(nn.Linear(_HIDDEN, _HIDDEN) for _ in range(2))
        self.plane = nn.Sequential(
            nn.Linear(PLANE, _PLANE_UNITS),
            nn.ReLU(inplace=True),
            nn.Linear(_PLANE_UNITS, _PLANE_UNITS),
            nn.ReLU(inplace=True),
        )
        self.film = nn.Linear(_PLANE_UNITS, 4 * _HIDDEN)
        self.out = nn.Linear(_HIDDEN, len(stances) + 2)
        self.given = nn.Embedding(len(stances), 2 * _HIDDEN)
        self.keypoints = nn.Linear(_HIDDEN, _HIDDEN)
        self.positions = nn.Linear(_HIDDEN, 2 * POSITIONS * stances.most)
        for weights in (*self.more[1].parameters(), *self.film.parameters(), *self.given.parameters()):
            nn.init.normal_(weights, std=1e-3)  # at first these layers have hardly any effect

    def forward(self, crops: Tensor, plane: Tensor) -> tuple[Tensor, Tensor]:
        """The classes' logits (P, S + 2), the last that of `sized`, and the hidden units (P, n). `crops` (P, 3, SIZE, SIZE)
        are of `crops_of`, `plane` (P, PLANE) of `planes_of`."""
        x = functional.relu(self.narrow(self.backbone(crops)[-1]))
        stretch, shift, stretch_more, shift_more = self.film(self.plane(plane)).chunk(4, 1)
        x = functional.relu(self.all(x.flatten(1)) * (1 + stretch) + shift)
        x = x + self.more[1](functional.relu(self.more[0](x) * (1 + stretch_more) + shift_more))
        return self.out(x).float(), x

    def predict(self, images: Tensor, picture: Tensor, windows: Tensor, plane: Tensor) -> CropOutput:
        """The prediction for the `windows` (P, 3) px, each in image number `picture` (P,) of `images` (B, 3, H, W), RGB in
        [0, 255], with the `plane` (P, PLANE) of `planes_of`."""
        out, hidden = self(crops_of(images, picture, windows, SIZE, SIZE), plane)
        return CropOutput(out[:, :-1], out[:, -1], hidden)

    def places(self, hidden: Tensor, stance: Tensor) -> Tensor:
        """(P, K, 2, POSITIONS) log probabilities: where the keypoints of the classes `stance` (P,) are along u and v, for
        the crops with the `hidden` units (P, n)."""
        stretch, shift = self.given(stance).chunk(2, 1)
        x = functional.relu(self.keypoints(hidden) * (1 + stretch) + shift)
        places = self.positions(x).float().unflatten(1, (-1, 2, POSITIONS))
        return torch.log_softmax(places, -1)


def log_density(places: Tensor, at: Tensor) -> Tensor:
    """(...) the logarithm of the density at the positions `at` (...), in sides from the window's center, given the log
    probabilities `places` (..., POSITIONS): linear between the positions. Beyond the outermost it is theirs."""
    place = ((at / REACH + 1) / 2 * (POSITIONS - 1)).clamp(0, POSITIONS - 1 - 1e-3)
    left = place.floor().long()
    part = (place - left).clamp(1e-6, 1)
    first, second = (places.gather(-1, (left + k)[..., None])[..., 0] for k in range(2))
    return torch.logaddexp(first + torch.log1p(-part), second + part.log())


def read_places(places: Tensor, windows: Tensor) -> tuple[Tensor, Tensor]:
    """The keypoints (P, K, 2) px of the picture that the log probabilities `places` (P, K, 2, POSITIONS) in the `windows`
    (P, 3) state, and their standard deviations (P, K) px: means and deviations around the best position."""
    position = torch.linspace(-REACH, REACH, POSITIONS, device=places.device)
    step = torch.arange(POSITIONS, device=places.device)
    near = (step - places.argmax(-1, keepdim=True)).abs() <= _AROUND
    weight = places.masked_fill(~near, -torch.inf).softmax(-1)
    mean = (weight * position).sum(-1)
    variance = (weight * (position - mean[..., None]) ** 2).sum(-1)
    side = windows[:, 2:, None]
    return windows[:, None, :2] + side * mean, side[..., 0] * variance.mean(-1).sqrt()


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
    (P,) of `images` (B, 3, H, W), normalized; 0 beyond the border. Each pixel of a crop is the mean of the area that it
    covers."""
    # roi_align counts from the corner of the first pixel
    middle, half = windows[:, :2] + 0.5, windows[:, 2:] / 2 * windows.new_tensor([1, height / width])
    boxes = torch.cat([picture[:, None].float(), middle - half, middle + half], 1)
    return torch.as_tensor(roi_align(normalized(images), boxes, (height, width), 1.0, -1, True))
