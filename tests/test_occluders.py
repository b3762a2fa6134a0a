"""Occluders that are pasted into training pictures: what they cover is hidden in the masks, and nothing else changes."""

from typing import Any

import numpy as np
import pytest
import torch

from simgen.draws import Draws
from simgen.render import Frames
from train.data import occluders
from train.data.occluders import occluded

HEIGHT, WIDTH, BLOCKS = 120, 160, 3


def frames() -> Frames:
    """Four pictures of two blocks, each of its own color, on grounds of which no two pixels are equal; the third slot is
    empty."""
    batch = 4
    number = np.arange(batch * HEIGHT * WIDTH, dtype=np.float32).reshape(batch, HEIGHT, WIDTH)
    rgb = np.stack([number, np.zeros_like(number), np.zeros_like(number)], -1)
    slot = np.full((batch, HEIGHT, WIDTH), -1, np.int16)
    slot[:, 30:60, 20:50], slot[:, 70:90, 100:140] = 0, 1
    rgb[slot >= 0] = [-1, 1, 0]
    amodal = np.stack([slot == k for k in range(BLOCKS)], 1)
    return Frames(rgb, np.ones_like(number), slot, amodal)


def draws(seed: int = 0) -> Draws:
    return Draws(seed, np.arange(4)) / "occluders"


def test_what_is_covered_is_hidden_and_shows_another_picture() -> None:
    before = frames()
    after = occluded(before, draws(), 1.0)
    hidden = (before.slot >= 0) & (after.slot < 0)
    changed = (before.rgb != after.rgb).any(-1)
    assert np.array_equal(changed & (before.slot >= 0), hidden)  # a covered pixel is hidden, and no other
    assert np.array_equal(after.slot[~hidden], before.slot[~hidden])
    assert np.array_equal(after.rgb[~changed], before.rgb[~changed])
    assert after.depth is before.depth and after.amodal is before.amodal
    for picture in range(4):
        pixels = after.rgb[picture][changed[picture]][:, 0]
        assert (pixels >= 0).all()  # no block is pasted
        origin = np.unique(pixels.astype(int) // (HEIGHT * WIDTH))
        assert origin.tolist() == [(picture + 1) % 4]
        assert len(np.unique(pixels)) == len(pixels) or changed[picture].sum() > len(np.unique(pixels)) > 20
    assert 0.1 < hidden.sum() / (before.slot >= 0).sum() < 0.7
    assert (changed & (before.slot < 0)).any()


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_as_many_blocks_are_covered_as_stated(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    """Of 2,400, but for those that an occluder at their border leaves whole; without the occluders elsewhere."""
    monkeypatch.setattr(occluders, "_ELSEWHERE", 0)
    covered = every = 0
    for seed in range(300):
        before = frames()
        after = occluded(before, draws(seed), share)
        for block in (0, 1):
            covered += int(((before.slot == block) & (after.slot != block)).any((1, 2)).sum())
            every += 4
    assert 0.75 * share < covered / every < 1.1 * share
    none = occluded(frames(), draws(), 0.0)
    assert np.array_equal(none.rgb, frames().rgb) and np.array_equal(none.slot, frames().slot)


def test_a_picture_is_the_same_in_torch_and_again() -> None:
    once, again = (occluded(frames(), draws(), 0.7) for _ in range(2))
    other = frames()
    tensors: list[Any] = [torch.tensor(part) for part in (other.rgb, other.depth, other.slot, other.amodal)]
    made = occluded(Frames(*tensors), draws(), 0.7)
    assert torch.is_tensor(made.rgb)
    for name in ("rgb", "slot"):
        assert np.array_equal(getattr(once, name), getattr(again, name))
        assert np.array_equal(getattr(once, name), getattr(made, name).numpy())
