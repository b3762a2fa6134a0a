"""The second look of model=keypoints: each block that the first look found again, in a crop of its own.

The maps of the first look know where every block is, and their cells are as coarse for a block that is far as for one that
is near. A crop has one size, however large the block is in the picture, and comes from the picture as it was taken.
(The head of He et al. 2017, "Mask R-CNN", for each box is much the same, of features.)
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from train.layers import layer, normalised, stages
from train.stances import Stances

MARGIN = 1.5  # a window's side, in sides of the keypoints' box: some of what is around tells where the block ends
_LEAST, _MOST = 8.0, 4096.0  # px: the side of a window
_SHIFT, _GROW = 0.15, 0.25  # how far jitter moves a window's middle, in sides, and its side's logarithm
_BESIDE = (0, 0), (0.045, 0.045), (-0.045, 0.045), (0.045, -0.045), (-0.045, -0.045)  # sides
_AGREE = 0.08  # sides: keypoints farther apart than this are not of one mind
_LEVELS = 4  # at which the resolution is halved
_HIDDEN = 512  # numbers between the convolutions and what is told


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
    to the classes and keypoints of `stances`."""

    def __init__(self, stances: Stances, size: int, widths: list[int], depths: list[int]) -> None:
        super().__init__()
        self.size = size
        self.parts = [len(stances), 2 * stances.total, stances.rows.shape[1]]
        self.stem = layer(3, widths[0], kernel=5, stride=2)
        self.down = stages(widths[:_LEVELS], depths[: _LEVELS - 1])
        cells = (size >> _LEVELS) ** 2
        self.all = nn.Sequential(nn.Flatten(), nn.Linear(widths[_LEVELS - 1] * cells, _HIDDEN), nn.ReLU(inplace=True))
        self.out = nn.Linear(_HIDDEN, sum(self.parts))
        nn.init.normal_(self.out.weight, std=0.01)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What `look` reads, for `crops` (P, 3, size, size) of `crops_of`: (P, S), (P, T, 2) and (P, K)."""
        x = self.stem(crops.contiguous(memory_format=torch.channels_last))
        for down in self.down:
            x = down(x)
        stance, keypoints, log_scale = self.out(self.all(x)).float().split(self.parts, 1)
        return stance, keypoints.unflatten(1, (-1, 2)), log_scale

    def look(self, images: Tensor, picture: Tensor, windows: Tensor) -> Look:
        """What is in the `windows` (P, 3) px of the pictures `picture` (P,) in `images` (B, 3, H, W), RGB in [0, 255]."""
        stance, keypoints, log_scale = self(crops_of(images, picture, windows, self.size))
        side = windows[:, 2:]
        return Look(stance, windows[:, None, :2] + side[..., None] * keypoints, log_scale + torch.log(side))

    def look_around(self, images: Tensor, picture: Tensor, windows: Tensor) -> Look:
        """The mean of what `look` says in each window and in four beside it. Each keypoint's is that of the windows that
        agree with the middle one: others may have it in another guise of the block."""
        aside = windows.new_tensor(_BESIDE)[:, None] * windows[:, 2:]  # (W, P, 2)
        every = torch.cat([windows[:, :2] + aside, windows[:, 2:].expand(len(aside), -1, -1)], 2)
        looks = self.look(images, picture.repeat(len(aside)), every.flatten(0, 1))
        stance, keypoints, log_scale = (
            part.reshape(len(aside), -1, *part.shape[1:]) for part in (looks.stance, looks.keypoints, looks.log_scale)
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
    """`windows` (P, 3) as far off as a first look may have them, by `jitter` (P, 3) in [-1, 1]."""
    side = windows[:, 2:]
    return torch.cat([windows[:, :2] + _SHIFT * side * jitter[:, :2], side * torch.exp(_GROW * jitter[:, 2:])], 1)


def crops_of(images: Tensor, picture: Tensor, windows: Tensor, size: int) -> Tensor:
    """(P, 3, size, size) float32: the `windows` (P, 3) px of the pictures `picture` (P,) in `images` (B, 3, H, W), values
    about 0; beyond a picture's border 0. Each of a crop's pixels is the mean of what it covers."""
    middle, half = windows[:, :2] + 0.5, windows[:, 2:] / 2  # roi_align counts from the corner of the first pixel
    boxes = torch.cat([picture[:, None].float(), middle - half, middle + half], 1)
    return torch.as_tensor(roi_align(normalised(images), boxes, size, 1.0, -1, True))
