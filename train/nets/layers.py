"""The layers of the networks of model=keypoints: torchvision's residual blocks, with GroupNorm.

With BatchNorm an image's output would depend on the rest of its batch in training, and on training statistics, which
photographs do not have, in evaluation. GroupNorm treats every image alike.
"""

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

MEAN, DEVIATION = 127.5, 63.75  # of pixel values in [0, 255], roughly


def normalized(images: Tensor) -> Tensor:
    """The networks' input: `images` with values in [0, 255] as float from -2 to 2."""
    return (images.float() - MEAN) / DEVIATION


def layer(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution without bias, GroupNorm and a ReLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, _norm(outputs), nn.ReLU(inplace=True))


def stages(widths: list[int], depths: list[int]) -> nn.ModuleList:
    """Stages of torchvision's residual blocks: stage k goes from `widths[k]` to `widths[k + 1]` channels in `depths[k]`
    blocks, the first of which halves the resolution."""
    pairs = zip(widths[:-1], widths[1:], depths, strict=True)
    return nn.ModuleList(_stage(before, after, depth) for before, after, depth in pairs)


class _Halved(nn.Conv2d):
    """A convolution with kernel 1 and stride 2. It selects every second pixel itself, because torch 2.14 crashes on a CPU
    in the backward pass of the strided convolution with 8 channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x[..., ::2, ::2])


def _stage(inputs: int, outputs: int, depth: int) -> nn.Sequential:
    shortcut = nn.Sequential(_Halved(inputs, outputs), _norm(outputs))
    first = BasicBlock(inputs, outputs, 2, shortcut, norm_layer=_norm)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs, norm_layer=_norm) for _ in range(depth - 1)))


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // 8, channels)
