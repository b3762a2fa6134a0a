"""data=stream: pictures drawn when they are needed, by raycast, never one twice.

Item i of a stream is a batch, a function of (configuration, seed, i) and nothing else: of the samples i B to (i + 1) B - 1.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, Sampler

from simgen.draws import Draws
from simgen.errors import ConfigError
from simgen.pipeline import Pipeline, make_pipeline
from simgen.geometry import Array
from simgen.render import Renderer, make_renderer
from simgen.schema import Randomize, Source
from simgen.sensor import sense
from simgen.targets import Targets, joined, targets_of
from train.blockset import BlockSet
from train.config import StreamConfig
from train.pose import table_of
from train.table_view import cells_on_table

WINDOWS = 2  # of each block: a picture takes longer to draw than to learn from
HELD_OUT = 2**62  # added to a run's seed: no run's training pictures are another's validation


@dataclass(frozen=True)
class Shot:
    """A batch to learn from: images (B, 3, H, W) uint8, targets whose `model` is the class in the source's BlockSet, and
    `cells` (B, h, w, 2) m, where on the table's plane each cell of the network's maps looks (see train.table_view).
    `tables` (B, 2, 2) m are the table's least and greatest X and Y, NaN where nobody knows. `jitter` (B, N, WINDOWS, 4) in
    [-1, 1] moves the windows in which a second look sees the blocks of `targets` (see train.keypoint_loss.crop_losses).
    """

    images: Tensor
    targets: Targets
    cells: Tensor
    tables: Tensor
    jitter: Tensor

    def to(self, device: torch.device) -> "Shot":
        return Shot(*(getattr(self, item.name).to(device) for item in fields(self)))


class Stream(Dataset[Shot]):
    """Batches of `batch_size` samples of the stream `seed`, in equal parts of each of `config.scenes`.

    Scene k draws from the seed `seed` + k 2^48: two scenes of one seed would have colours and lights in common.
    """

    def __init__(self, config: StreamConfig, randomize: Randomize, seed: int, batch_size: int) -> None:
        if batch_size % len(config.scenes):
            raise ConfigError(
                f"batch_size: got {batch_size}; expected a multiple of {len(config.scenes)}, as there are that many "
                "data.scenes"
            )
        self.each = batch_size // len(config.scenes)
        self.pipelines = [
            make_pipeline(
                Source(
                    scene=scene,
                    seed=seed + (k << 48),
                    renderer="raycast",
                    width=config.width,
                    height=config.height,
                    raycast=config.raycast,
                    randomize=randomize,
                )
            )
            for k, scene in enumerate(config.scenes)
        ]
        self.blocks = BlockSet.of_worlds(pipeline.world.solids for pipeline in self.pipelines)
        self.classes = [torch.tensor(self.blocks.classes_of(pipeline.world.solids)) for pipeline in self.pipelines]
        self._renderers: list[Renderer] | None = None  # made in the process that draws

    def __getitem__(self, item: int) -> Shot:
        if self._renderers is None:
            self._renderers = [make_renderer("raycast", p.world, p.images, p.source.raycast) for p in self.pipelines]
        index = range(item * self.each, (item + 1) * self.each)
        parts = [
            self._draw(pipeline, renderer, classes, index)
            for pipeline, renderer, classes in zip(self.pipelines, self._renderers, self.classes, strict=True)
        ]
        names = ("images", "cells", "tables")
        images, cells, tables = (torch.cat([getattr(part, name) for part in parts]) for name in names)
        room = max(part.jitter.shape[1] for part in parts)
        jitter = torch.cat(
            [functional.pad(part.jitter, (0, 0, 0, 0, 0, room - part.jitter.shape[1])) for part in parts]
        )
        return Shot(images, joined([part.targets for part in parts]), cells, tables, jitter)

    def _draw(self, pipeline: Pipeline, renderer: Renderer, classes: Tensor, index: range) -> Shot:
        scenes = pipeline.sampler.sample(pipeline.source.seed, index)
        frames = renderer.render(scenes)
        targets = targets_of(scenes, frames)
        images = sense(frames.rgb, scenes.sensor).permute(0, 3, 1, 2).contiguous()
        targets = replace(targets, model=classes.to(images.device)[targets.model])
        table = pipeline.world.table
        tables = tables_of(table_of(table.center[:2], table.size[:2]), len(images)).to(images.device)
        moves = jitter_of(Draws(pipeline.source.seed, np.arange(index.start, index.stop)), targets.model.shape[1])
        return Shot(images, targets, cells_on_table(scenes.cameras, images.device), tables, moves.to(images.device))


def jitter_of(draws: Draws, slots: int) -> Tensor:
    """Shot.jitter of the samples of `draws` with `slots` blocks each."""
    numbers = (draws / "train" / "window").uniform(4 * WINDOWS * slots)
    return torch.tensor(2 * numbers - 1).float().reshape(-1, slots, WINDOWS, 4)


def tables_of(table: Array | None, count: int) -> Tensor:
    """Shot.tables of `count` pictures of one `table` as train.pose.View has it."""
    corners = np.full((2, 2), np.nan) if table is None else table
    return torch.tensor(corners).float().expand(count, 2, 2)


class Items(Sampler[int]):
    """The items of epoch e of `length` steps, of which process `rank` of `world` takes its own: no item comes twice, and the
    processes' together are those of one process with as many times the batch."""

    def __init__(self, length: int, rank: int = 0, world: int = 1) -> None:
        self.length, self.rank, self.world, self.epoch = length, rank, world, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        first = self.epoch * self.length
        return iter(range(first * self.world + self.rank, (first + self.length) * self.world, self.world))


def shots(source: Dataset[Shot], items: Items, *, workers: int) -> DataLoader[Shot]:
    """The shots of `source` with the numbers `items`, made by `workers` processes, or in this one where there are none, as
    on a GPU."""
    return DataLoader(
        source,
        batch_size=None,
        sampler=items,
        num_workers=workers,
        persistent_workers=workers > 0,
        prefetch_factor=4 if workers else None,
        multiprocessing_context="spawn" if workers else None,
    )
