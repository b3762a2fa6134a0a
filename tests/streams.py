"""Batches of a stream, for several test files."""

from functools import cache

import torch
from builders import OLD_TABLETOP

from simgen.config import compose
from simgen.schema import Render
from train.blocks.kinds import BlockSet
from train.config import StreamConfig
from train.data.batch import Batch
from train.data.stream import Stream


@cache
def batch_of(*overrides: str, size: int = 4, seed: int = 0) -> tuple[Batch, BlockSet]:
    """The first batch of `size` pictures of 160 x 120 px of scene=tabletop without clutter, and its kinds. Not to be
    changed: it is drawn once."""
    config = StreamConfig(scenes=["tabletop"], width=160, height=120, workers=0)
    randomize = compose("render", Render, [*OLD_TABLETOP, *overrides]).randomize
    stream = Stream(config, randomize, seed, size)
    return stream[0], stream.blocks


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    """Random numbers from -1 to 1, for Batch.cut and Batch.jitter."""
    return 2 * torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) - 1
