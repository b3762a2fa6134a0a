"""The networks of model=keypoints: the detection network, and with it the crop network (train.nets.crop_net).

The detection network finds blocks of all kinds, however many, in one pass (Zhou et al. 2019, "Objects as Points"): for each
cell of a quarter of the resolution the heat, which peaks at the center of each block's visible part, and the window around
the block that the crop network is to look at.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.blocks.kinds import BlockSet
from train.blocks.stances import Stances
from train.data.targets import STRIDE
from train.nets.backbone import CHANNELS, Backbone
from train.nets.crop_net import CropNet
from train.nets.layers import layer

WIDTH, HEIGHT = 512, 384  # px: of the detection network's input for a whole picture of this aspect ratio
PIXELS = WIDTH * HEIGHT  # of its input for any other
LEAST_SIDE = 32  # px: an image's least side, because the resolution is halved five times
WINDOW_UNIT = 32.0  # px: the unit of a window's offset and side
_LEVELS = 1, 2, 4, 5  # the backbone's stages whose outputs are used: at 1/4, 1/8, 1/16 and 1/32
_FEATURES = 48  # channels of the decoder
_APART = 0.25  # of a window's side: a peak nearer than this to a better one is the same block


@dataclass(frozen=True)
class Maps:
    """The detection network's output for h x w cells: heat (B, h, w), logits of a block's center; windows (B, h, w, 3) px of
    the input image, [u, v, side]."""

    heat: Tensor
    windows: Tensor


@dataclass(frozen=True)
class Peaks:
    """The D best peaks of each of B images, best first: score (B, D) in [0, 1], the heat, 0 where there are fewer; windows
    (B, D, 3) px."""

    score: Tensor
    windows: Tensor


class DetectionNet(nn.Module):
    """EfficientNet-Lite0 down to a 32nd of the resolution and a feature pyramid back up to a quarter (Lin et al. 2017)."""

    def __init__(self, *, pretrained: bool) -> None:
        super().__init__()
        self.backbone = Backbone(_LEVELS[-1] + 1, pretrained=pretrained)
        self.narrow = nn.ModuleList(nn.Conv2d(CHANNELS[level], _FEATURES, 1) for level in _LEVELS)
        self.merge = nn.ModuleList(layer(_FEATURES, _FEATURES) for _ in _LEVELS[1:])
        self.head = layer(_FEATURES, _FEATURES)
        self.out = nn.Conv2d(_FEATURES, 4, 1)
        nn.init.normal_(self.out.weight, std=0.01)
        # A low prior, because few cells are a block's center (Lin et al. 2017, "Focal Loss", section 4.1).
        self.out.bias = nn.Parameter(torch.tensor([-4.0, 0, 0, 0]))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 4, h, w): the raw output, which `maps_of` decodes. `images` (B, 3, H, W) are normalized; H and W are multiples
        of STRIDE, h = H / STRIDE."""
        return self.decode(self.backbone(images))

    def decode(self, levels: list[Tensor]) -> Tensor:
        """The raw output, from those of the stages of `backbone`."""
        up = self.narrow[-1](levels[_LEVELS[-1]])
        for k in reversed(range(len(_LEVELS) - 1)):
            level = levels[_LEVELS[k]]
            scaled = functional.interpolate(up, size=level.shape[-2:], mode="nearest")
            up = self.merge[k](self.narrow[k](level) + scaled)
        return torch.as_tensor(self.out(self.head(up)))


class KeypointNet(nn.Module):
    """Both networks of a model, and its classes."""

    def __init__(self, blocks: BlockSet, *, sides: bool, pretrained: bool) -> None:
        super().__init__()
        self.stances = Stances(blocks, sides)
        self.detection = DetectionNet(pretrained=pretrained)
        self.crops = CropNet(self.stances, pretrained=pretrained)
        self.to(memory_format=torch.channels_last)

    def load_imagenet(self) -> None:
        """Gives the backbones the weights of ImageNet. Raises ConfigError without the package that holds them."""
        for net in (self.detection, self.crops):
            net.backbone.load_imagenet()


def maps_of(output: Tensor) -> Maps:
    """The maps that the raw `output` (B, 4, h, w) of DetectionNet encodes."""
    heat, across, down, side = output.float().unbind(1)
    u, v = (STRIDE * torch.arange(n, device=heat.device) + (STRIDE - 1) / 2 for n in reversed(heat.shape[1:]))
    windows = torch.stack(
        [u + WINDOW_UNIT * across, v[:, None] + WINDOW_UNIT * down, WINDOW_UNIT * side.clamp(-5, 5).exp()], -1
    )
    return Maps(heat, windows)


def find_peaks(maps: Maps, most: int) -> Peaks:
    """The `most` best peaks of each image. A peak is a cell with the greatest heat of the 3 x 3 cells around it, whose
    window is not nearly that of a better one."""
    heat = maps.heat.sigmoid()
    best = functional.max_pool2d(heat[:, None], 3, 1, 1)[:, 0]
    score, place = heat.where(heat == best, 0).flatten(1).topk(min(most, heat[0].numel()), 1)
    windows = maps.windows.flatten(1, 2).gather(1, place[..., None].expand(-1, -1, 3))
    distance = (windows[:, :, None, :2] - windows[:, None, :, :2]).norm(dim=-1)
    side = torch.minimum(windows[:, :, None, 2], windows[:, None, :, 2])
    same = (distance < _APART * side).tril(-1)
    for k in range(1, score.shape[1]):  # the best first: what a removed peak is near to stays
        removed = (same[:, k] & (score > 0)).any(1)
        score[:, k] = score[:, k].where(~removed, 0)
    score, order = score.sort(dim=1, descending=True, stable=True)
    return Peaks(score, windows.gather(1, order[..., None].expand(-1, -1, 3)))
