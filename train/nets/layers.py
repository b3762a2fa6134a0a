"""What networks share: the scale of their input, and a convolution with GroupNorm.

With BatchNorm an image's output would depend on the rest of its batch in training, and on training statistics, which
photographs do not have, in evaluation. GroupNorm treats every image alike.
"""

from torch import Tensor, nn

MEAN, DEVIATION = 127.0, 128.0  # of pixel values in [0, 255]: those with which EfficientNet-Lite0 was trained
NORMAL_EPS = 1e-3  # of its batch normalization
_GROUP = 8  # channels


def normalized(images: Tensor) -> Tensor:
    """The networks' input: `images` with values in [0, 255] as float from -1 to 1."""
    return (images - MEAN).div_(DEVIATION)


def layer(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution without bias, GroupNorm and a ReLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(outputs // _GROUP, outputs), nn.ReLU(inplace=True))
