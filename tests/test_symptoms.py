"""Symptoms of a failing training: each is detected where it is present, and nowhere else."""

import numpy as np
import torch
from torch import nn

from train.data.targets import Targets
from train.fit.symptoms import UNLIKE, dead_parts, exploded, unlikeness, unsupported


def test_dead_units_are_named() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    with torch.no_grad():
        net[0].bias.fill_(100)  # above zero for every input
    net(torch.ones(2, 4)).sum().backward()
    assert dead_parts(net) == []
    net.zero_grad()
    with torch.no_grad():
        net[0].bias.fill_(-100)  # below zero for every input: the ReLU lets nothing through
    net(torch.ones(2, 4)).sum().backward()
    assert dead_parts(net) == ["0.weight", "0.bias", "2.weight"]


def test_an_exploding_gradient_is_detected_at_its_step() -> None:
    norms = np.linspace(5, 1, 100)
    assert exploded(norms) is None
    assert exploded(np.where(np.arange(100) == 40, 1000.0, norms)) == 40
    assert exploded(np.where(np.arange(100) == 7, np.nan, norms)) == 7
    assert exploded(np.array([np.inf])) == 0


def test_pictures_of_one_kind_are_alike_and_others_not() -> None:
    rng = np.random.default_rng(0)

    def pictures(number: int, low: int, high: int) -> torch.Tensor:
        level = rng.integers(low, high, (number, 3, 1, 1))
        return torch.tensor(np.clip(level + rng.normal(0, 20, (number, 3, 24, 32)), 0, 255).astype(np.uint8))

    far = [unlikeness(pictures(16, 50, 200), pictures(16, 50, 200)) for _ in range(40)]
    assert max(far) < UNLIKE
    assert unlikeness(pictures(16, 50, 200), pictures(16, 110, 260)) > UNLIKE / 2
    normalized_twice = pictures(16, 50, 200) // 4
    assert unlikeness(pictures(16, 50, 200), normalized_twice) > UNLIKE


def test_a_label_without_a_pixel_is_detected() -> None:
    images = torch.full((2, 3, 40, 60), 90, dtype=torch.uint8)
    images[0, 1, 10:20, 10:25] = 120  # a block that one channel shows
    images[1, 2, 30, 30] = 255  # a single pixel of noise is no block
    box = torch.tensor([[[9.5, 9.5, 24.5, 19.5]], [[27.5, 27.5, 40.5, 36.5]]])
    empty = {name: torch.zeros(0) for name in Targets.__dataclass_fields__}
    targets = Targets(**{**empty, "box": box})
    assert unsupported(images, targets, torch.tensor([[True], [True]])) == [(1, 0)]
    assert unsupported(images, targets, torch.tensor([[True], [False]])) == []
