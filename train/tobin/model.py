"""Two networks with one contract: a batch of pictures in, the block's position in the world frame out.

Both end in the head of Tobin et al. 2017, fully connected 256-64-3 without dropout. Positions leave the network in
metres; inside they are normalised by the training labels' mean and scale, which travel in the weights as buffers.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.config import ModelConfig
from train.nets.layers import layer, normalised


class Prediction(NamedTuple):
    """`position` (B, 3) m, world frame; `heatmap` (B, h, w) logits of where the block's centre is in the picture, or
    None from a network that has none."""

    position: Tensor
    heatmap: Tensor | None


class PoseNet(nn.Module):
    """What both networks share: scaling of pixels, the head, and the normalisation of positions."""

    mean: Tensor
    scale: Tensor

    def __init__(self, backbone: nn.Module, features: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Sequential(nn.Linear(features, 256), nn.ReLU(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 3))
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("scale", torch.ones(()))

    def normalise(self, positions: Tensor) -> None:
        """Sets mean and scale from training `positions` (N, 3) m.

        One scale for all axes, so that a millimetre weighs the same along each, whatever the table's proportions.
        """
        self.mean.copy_(positions.mean(0))
        self.scale.copy_((positions - positions.mean(0)).square().sum(1).mean().sqrt().clamp(min=1e-3))

    def forward(self, images: Tensor) -> Prediction:
        """The prediction for `images` (B, 3, height, width), RGB, uint8 or float in [0, 255]."""
        features, heatmap = self.backbone(normalised(images).contiguous(memory_format=torch.channels_last))
        return Prediction(self.mean + self.scale * self.head(features).float(), heatmap)


class Vgg(nn.Module):
    """The convolutions of VGG-16, not pretrained, flattened as Tobin et al. do: no pooling throws away where."""

    def __init__(self) -> None:
        from torchvision.models import vgg16

        super().__init__()
        self.layers = vgg16(weights=None).features

    def forward(self, pixels: Tensor) -> tuple[Tensor, None]:
        return self.layers(pixels).flatten(1), None


class SoftArgmaxNet(nn.Module):
    """A U-shaped network whose last feature maps are read by a spatial soft-argmax.

    Half the resolution four times for context, back up twice for precision, then `KEYPOINTS` maps at a quarter of the
    resolution, each reduced to its expected place (Finn et al. 2016, "Deep Spatial Autoencoders"). A place is what
    a regression of positions needs, and it is finer than a cell. Map 0 is the heatmap that the keypoint loss teaches to
    find the block; the others are free, e.g. to find the table and so undo the camera's jitter.

    GroupNorm and not BatchNorm: a picture is then treated alike in training and evaluation and whatever its batch,
    which matters when the evaluation is on photographs with statistics that no training batch had. It is as fast here.
    """

    KEYPOINTS = 32

    def __init__(self) -> None:
        super().__init__()
        self.down_2 = layer(3, 16, kernel=5, stride=2)
        self.down_4 = nn.Sequential(layer(16, 24, stride=2), layer(24, 24))
        self.down_8 = nn.Sequential(layer(24, 48, stride=2), layer(48, 48))
        self.down_16 = nn.Sequential(layer(48, 80, stride=2), layer(80, 80), layer(80, 80))
        self.narrow_16, self.narrow_8 = nn.Conv2d(80, 24, 1), nn.Conv2d(48, 24, 1)
        self.merge_8, self.merge_4 = layer(24, 24), layer(24, 24)
        # No bias: a softmax over places does not see it.
        self.maps = nn.Conv2d(24, self.KEYPOINTS, 1, bias=False)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        quarter = self.down_4(self.down_2(pixels))
        eighth = self.down_8(quarter)
        sixteenth = self.down_16(eighth)
        merged = self.merge_8(self.narrow_8(eighth) + _grow(self.narrow_16(sixteenth), eighth))
        maps = self.maps(self.merge_4(quarter + _grow(merged, quarter))).float()
        return soft_argmax(maps).flatten(1), maps[:, 0]


def soft_argmax(maps: Tensor) -> Tensor:
    """The expected place (B, K, 2), as (u, v), of the softmax over each of `maps` (B, K, h, w).

    Coordinates are normalised: -1 and 1 are the picture's borders (not the centres of its border pixels), u to the
    right, v down, so they do not depend on the resolution. Finn et al. 2016, equation 2.
    """
    height, width = maps.shape[-2:]
    share = maps.flatten(2).softmax(-1).reshape(maps.shape)
    u = share.sum(-2) @ cell_centres(width).to(maps)
    v = share.sum(-1) @ cell_centres(height).to(maps)
    return torch.stack([u, v], -1)


def cell_centres(count: int) -> Tensor:
    """Where the centres of `count` equal cells are (count,) between the borders -1 and 1."""
    return (2 * torch.arange(count) + 1) / count - 1


def make_model(config: ModelConfig) -> PoseNet:
    """The network that `config` names, with weights drawn from torch's own generator."""
    if config.name == "tobin_vgg":
        return PoseNet(Vgg(), 512 * (config.height // 32) * (config.width // 32)).to(memory_format=torch.channels_last)
    return PoseNet(SoftArgmaxNet(), 2 * SoftArgmaxNet.KEYPOINTS).to(memory_format=torch.channels_last)


def _grow(small: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(small, size=like.shape[-2:], mode="nearest")
