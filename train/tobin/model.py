"""The position models tobin_small and tobin_vgg: a batch of images in, the block's position in the world frame out.

Both end in the head of Tobin et al. 2017, fully connected 256-64-3 without dropout. The output is in meters. The head's
own output is normalized by the mean and scale of the training labels, which the weights store as buffers.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.config import ModelConfig
from train.nets.layers import layer

_MEAN, _DEVIATION = 127.5, 63.75  # of pixel values in [0, 255], roughly


class Prediction(NamedTuple):
    """`position` (B, 3) m, in the world frame; `heatmap` (B, h, w) logits of the block's center in the image, None for
    tobin_vgg."""

    position: Tensor
    heatmap: Tensor | None


class PoseNet(nn.Module):
    """A `backbone` with `features` outputs between what both networks share: the scaling of pixels, and the head with the
    normalization of positions."""

    mean: Tensor
    scale: Tensor

    def __init__(self, backbone: nn.Module, features: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Sequential(nn.Linear(features, 256), nn.ReLU(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 3))
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("scale", torch.ones(()))

    def normalize(self, positions: Tensor) -> None:
        """Sets mean and scale from the training labels `positions` (N, 3) m.

        There is one scale for all axes, so that a millimeter has the same weight along each of them.
        """
        self.mean.copy_(positions.mean(0))
        self.scale.copy_((positions - positions.mean(0)).square().sum(1).mean().sqrt().clamp(min=1e-3))

    def forward(self, images: Tensor) -> Prediction:
        """The prediction for `images` (B, 3, height, width), RGB, uint8 or float in [0, 255]."""
        features, heatmap = self.backbone(
            ((images.float() - _MEAN) / _DEVIATION).contiguous(memory_format=torch.channels_last)
        )
        return Prediction(self.mean + self.scale * self.head(features).float(), heatmap)


class Vgg(nn.Module):
    """The convolutions of VGG-16, not pretrained. Their output is flattened, as in Tobin et al.: global pooling would
    discard positions."""

    def __init__(self) -> None:
        from torchvision.models import vgg16

        super().__init__()
        self.layers = vgg16(weights=None).features

    def forward(self, pixels: Tensor) -> tuple[Tensor, None]:
        return self.layers(pixels).flatten(1), None


class SoftArgmaxNet(nn.Module):
    """A U-Net with a spatial soft-argmax.

    The encoder halves the resolution four times, the decoder doubles it twice. Each of its `KEYPOINTS` maps, at a quarter
    of the resolution, is reduced to its expected coordinates (Finn et al. 2016, "Deep Spatial Autoencoders"): they are
    more precise than a cell, and the position is regressed from them. Map 0 is the heat map, which the keypoint loss
    trains to detect the block. The other maps are free, e.g. to detect the table and so correct for the camera's pose.

    With BatchNorm an image's output would depend on its batch in training, and on training statistics, which photographs
    do not have, in evaluation. GroupNorm treats every image alike. It is as fast here.
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
        # No bias: a softmax over cells cancels it.
        self.maps = nn.Conv2d(24, self.KEYPOINTS, 1, bias=False)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        quarter = self.down_4(self.down_2(pixels))
        eighth = self.down_8(quarter)
        sixteenth = self.down_16(eighth)
        merged = self.merge_8(self.narrow_8(eighth) + _resize_like(self.narrow_16(sixteenth), eighth))
        maps = self.maps(self.merge_4(quarter + _resize_like(merged, quarter))).float()
        return soft_argmax(maps).flatten(1), maps[:, 0]


def soft_argmax(maps: Tensor) -> Tensor:
    """(B, K, 2) the expected coordinates (u, v) of the softmax over each of `maps` (B, K, h, w) logits.

    Coordinates are normalized and do not depend on the resolution: -1 and 1 are the image's borders (not the centers of
    its border pixels), u to the right, v down. Finn et al. 2016, equation 2.
    """
    height, width = maps.shape[-2:]
    probability = maps.flatten(2).softmax(-1).reshape(maps.shape)
    u = probability.sum(-2) @ cell_centers(width).to(maps)
    v = probability.sum(-1) @ cell_centers(height).to(maps)
    return torch.stack([u, v], -1)


def cell_centers(count: int) -> Tensor:
    """(count,) the centers of `count` equal cells between the borders -1 and 1."""
    return (2 * torch.arange(count) + 1) / count - 1


def make_model(config: ModelConfig) -> PoseNet:
    """The network that `config` names, with random weights from torch's global generator."""
    if config.name == "tobin_vgg":
        return PoseNet(Vgg(), 512 * (config.height // 32) * (config.width // 32)).to(memory_format=torch.channels_last)
    return PoseNet(SoftArgmaxNet(), 2 * SoftArgmaxNet.KEYPOINTS).to(memory_format=torch.channels_last)


def _resize_like(small: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(small, size=like.shape[-2:], mode="nearest")
