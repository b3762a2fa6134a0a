"""Blocks find free places in every scene of scenes/, also in samples far beyond those that render tries first."""

import numpy as np
import pytest
from builders import ROOT, sampler_of

SCENES = sorted(path.stem for path in (ROOT / "scenes").glob("*.yaml"))


@pytest.mark.parametrize("scene", SCENES)
def test_blocks_find_places(scene: str) -> None:
    """PlacementError would end a training after an hour. Clutter takes most of the time, and has places of its own."""
    sampler, _ = sampler_of(
        f"scene={scene}", "randomize=full", "randomize.clutter.slots=0", "randomize.clutter.count=0"
    )
    for start in range(0, 6000, 1000):
        scenes = sampler.sample(0, np.arange(start, start + 1000))
        assert scenes.blocks.present.any(1).all()
