"""The second look of model=keypoints: each block that the first look found again, in a crop of its own.

The maps of the first look know where every block is, and their cells are as coarse for a block that is far as for one that
is near. A crop has one size, however large the block is in the picture, and comes from the picture as it was taken.
(The head of He et al. 2017, "Mask R-CNN", for each box is much the same, of features.) Beside the crop the network is told
how the table is tilted in it, where the camera is known: a square on the table is then one quadrangle and not any.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import roi_align

from simgen.distortion import straighten
from train.blocks.stances import Stances
from train.nets.layers import layer, normalised, stages

MARGIN = 1.5  # a window's side, in sides of the keypoints' box: some of what is around tells where the block ends
_LEAST = 8.0
_MOST = 4096.0
_SHIFT = 0.15
_GROW = 0.25
_BESIDE = (0, 0), (0.045, 0.045), (-0.045, 0.045), (0.045, -0.045), (-0.045, -0.045)  # sides
_AGREE = 0.08  # sides: keypoints farther apart than this are not of one mind
_LEVELS = 4  # at which the resolution is halved
_HIDDEN = 512  # numbers between the convolutions and what is told
_TILT = 128  # numbers between the table's tilt and what it does to those
UNTOLD = 0.1  # share of the windows in training that are not told how the table is tilted: where no camera is known


@dataclass(frozen=True)
class Look:
    """What the second look says of P crops: stance (P, S) logits of the classes; keypoints (P, T, 2) px of the picture,
    those of all classes; log_scale (P, K), the logarithm of their expected distance from the truth in px, as in Maps."""

    stance: Tensor
    keypoints: Tensor
    log_scale: Tensor

    def keypoints_of(self, stance: Tensor, stances: Stances) -> Tensor:
        """(P, K, 2) px: those of the classes `stance` (P,)."""
        return self.keypoints.gather(1, stances.rows[stance][..., None].expand(-1, -1, 2))


class CropNet(nn.Module):
    """Residual blocks from crops of `size` px down to a 16th of it, as in KeypointNet, and from all that is left of a crop
    to the classes and keypoints of `stances`. `widths` are the channels at 1/2, 1/4, 1/8 and 1/16, `depths` the residual
    blocks at the last three.

    The table's tilt stretches and shifts the numbers of both layers in between (Perez et al. 2018, "FiLM").
    """

    def __init__(self, stances: Stances, size: int, widths: list[int], depths: list[int]) -> None:
        super().__init__()
        self.size, self.widths = size, widths
        self.parts = [len(stances), 2 * stances.total, stances.rows.shape[1]]
        self.stem = layer(3, widths[0], kernel=5, stride=2)
        self.down = stages(widths, depths)
        cells = (size >> _LEVELS) ** 2
        self.all = nn.Sequential(nn.Flatten(), nn.Linear(widths[-1] * cells, _HIDDEN))
        self.more = nn.ModuleList(nn.Linear(_HIDDEN, _HIDDEN) for _ in range(2))
        self.out = nn.Linear(_HIDDEN, sum(self.parts))
        nn.init.normal_(self.out.weight, std=0.01)
        self.tilt = nn.Sequential(
            nn.Linear(3, _TILT), nn.ReLU(inplace=True), nn.Linear(_TILT, _TILT), nn.ReLU(inplace=True)
        )
        self.film = nn.Linear(_TILT, 4 * _HIDDEN)
        for weights in (*self.more[1].parameters(), *self.film.parameters()):
            nn.init.zeros_(weights)  # these begin as if they were not there

    def forward(self, crops: Tensor, upward: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What `look` reads, for `crops` (P, 3, size, size) of `crops_of` and `upward` (P, 3) of `upward_of`: (P, S),
        (P, T, 2) and (P, K)."""
        x = self.stem(crops.contiguous(memory_format=torch.channels_last))
        for down in self.down:
            x = down(x)
        stretch, shift, stretch_more, shift_more = self.film(self.tilt(upward)).chunk(4, 1)
        x = functional.relu(self.all(x) * (1 + stretch) + shift)
        x = x + self.more[1](functional.relu(self.more[0](x) * (1 + stretch_more) + shift_more))
        stance, keypoints, log_scale = self.out(x).float().split(self.parts, 1)
        return stance, keypoints.unflatten(1, (-1, 2)), log_scale

    def look(self, images: Tensor, picture: Tensor, windows: Tensor, upward: Tensor) -> Look:
        """What is in the `windows` (P, 3) px of the pictures `picture` (P,) in `images` (B, 3, H, W), RGB in [0, 255], on
        tables tilted as `upward` (P, 3) of `upward_of` says."""
        stance, keypoints, log_scale = self(crops_of(images, picture, windows, self.size), upward)
        side = windows[:, 2:]
        return Look(stance, windows[:, None, :2] + side[..., None] * keypoints, log_scale + torch.log(side))

    def look_around(self, images: Tensor, picture: Tensor, windows: Tensor, upward: Tensor) -> Look:
        """The mean of what `look` says in each window and in four beside it. Each keypoint's is that of the windows that
        agree with the middle one: others may have it in another symmetric pose of the block."""
        aside = windows.new_tensor(_BESIDE)[:, None] * windows[:, 2:]  # (W, P, 2)
        every = torch.cat([windows[:, :2] + aside, windows[:, 2:].expand(len(aside), -1, -1)], 2)
        times = len(aside)
        looks = self.look(images, picture.repeat(times), every.flatten(0, 1), upward.repeat(times, 1))
        stance, keypoints, log_scale = (
            part.reshape(times, -1, *part.shape[1:]) for part in (looks.stance, looks.keypoints, looks.log_scale)
        )
        agree = (keypoints - keypoints[:1]).norm(dim=-1, keepdim=True) < _AGREE * windows[:, 2, None, None]
        return Look(stance.log_softmax(2).mean(0), (keypoints * agree).sum(0) / agree.sum(0), log_scale.mean(0))


def windows_of(keypoints: Tensor, real: Tensor) -> Tensor:
    """(P, 3) px [u, v, side]: the square windows around the `keypoints` (P, K, 2) px of P blocks that are `real` (P, K)."""
    far = torch.finfo(keypoints.dtype).max
    low = keypoints.masked_fill(~real[..., None], far).amin(1)
    high = keypoints.masked_fill(~real[..., None], -far).amax(1)
    side = (MARGIN * (high - low).amax(1, keepdim=True)).clamp(_LEAST, _MOST)
    return torch.cat([(low + high) / 2, side], 1)


def moved(windows: Tensor, jitter: Tensor) -> Tensor:
    """`windows` (P, 3) as far off as a first look may have them, by the first three of `jitter` (P, 4) in [-1, 1]."""
    side = windows[:, 2:]
    return torch.cat([windows[:, :2] + _SHIFT * side * jitter[:, :2], side * torch.exp(_GROW * jitter[:, 2:3])], 1)


def upward_of(
    windows: Tensor, intrinsics: Tensor, camera_from_table: Tensor, distortion: Tensor | None = None
) -> Tensor:
    """(P, 3): the unit vector that is upward on the table, in the axes (OpenCV's) of a camera turned, by the least turn, to
    look straight at the middle of each of `windows` (P, 3) px; 0 where `camera_from_table` (P, 4, 4) is NaN, that is,
    unknown.

    `intrinsics` (P, 3, 3) px; `distortion` (P, 9) or None: only a fisheye lens is straightened, for another lens turns a ray
    by a degree or less, corners aside.
    """
    pixels = torch.cat([windows[:, :2], torch.ones_like(windows[:, :1])], 1)
    ray = torch.linalg.solve(intrinsics, pixels)
    if distortion is not None and bool((distortion[:, 8] > 0).any()):
        fisheye = distortion[:, 8] > 0
        flat = straighten(ray[:, 0], ray[:, 1], distortion.unbind(1), torch)
        ray[:, :2] = torch.where(fisheye[:, None], torch.stack(flat, 1), ray[:, :2])
    ray = functional.normalize(ray, dim=1)
    normal = camera_from_table[:, :3, 2]
    forward = ray.new_tensor([0.0, 0, 1]).expand_as(ray)
    both = ray + forward  # Rodrigues' formula for the turn from the one to the other, about their cross product
    turned = normal - (normal * both).sum(1, keepdim=True) / (1 + ray[:, 2:]) * both
    return (turned + 2 * (normal * ray).sum(1, keepdim=True) * forward).nan_to_num(0)


def crops_of(images: Tensor, picture: Tensor, windows: Tensor, size: int) -> Tensor:
    """(P, 3, size, size) float32: the `windows` (P, 3) px of the pictures `picture` (P,) in `images` (B, 3, H, W), values
    about 0; beyond a picture's border 0. Each of a crop's pixels is the mean of what it covers."""
    middle, half = windows[:, :2] + 0.5, windows[:, 2:] / 2  # roi_align counts from the corner of the first pixel
    boxes = torch.cat([picture[:, None].float(), middle - half, middle + half], 1)
    return torch.as_tensor(roi_align(normalised(images), boxes, size, 1.0, -1, True))
