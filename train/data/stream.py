"""data=stream: training pictures that raycast renders on the fly; each is used once.

Item i of a stream is the batch of the samples i B to (i + 1) B - 1, a function of (configuration, seed, i) only.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset, get_worker_info

from simgen.draws import Draws
from simgen.errors import ConfigError
from simgen.pipeline import Pipeline, make_resized_pipeline
from simgen.render import Renderer, make_renderer
from simgen.schema import Randomize, Source
from simgen.sensor import sense
from train.blocks.kinds import BlockSet
from train.config import StreamConfig
from train.data.batch import Batch, jitter_of, tables_of
from train.data.targets import cells_on_table, joined, targets_of
from train.pose.view import table_of

HELD_OUT = 2**62  # added to a run's seed for validation: it is no run's seed for training


class Stream(Dataset[Batch]):
    """Batches of `batch_size` samples, in equal parts of each of `config.scenes`.

    Scene k has the seed `seed` + k 2^48, because scenes with one seed would have colors and lights in common.
    """

    def __init__(self, config: StreamConfig, randomize: Randomize, seed: int, batch_size: int) -> None:
        if batch_size % len(config.scenes):
            raise ConfigError(
                f"batch_size: got {batch_size}; expected a multiple of {len(config.scenes)}, as there are that many "
                "data.scenes"
            )
        self.each = batch_size // len(config.scenes)
        self.pipelines = [
            make_resized_pipeline(
                Source(
                    scene=scene,
                    seed=seed + (k << 48),
                    renderer="raycast",
                    physics="place",  # a drop takes longer than a picture, and a machine that trains may lack PyBullet
                    width=config.width,
                    height=config.height,
                    raycast=config.raycast,
                    randomize=randomize,
                )
            )
            for k, scene in enumerate(config.scenes)
        ]
        if any(pipeline.sampler.draws_photographs for pipeline in self.pipelines):
            raise ConfigError(
                "randomize: a texture may be 'photograph' (randomize=photographs), which is for `python -m train evaluate` "
                "only; expected another preset, such as randomize=full"
            )
        self.blocks = BlockSet.of_worlds(pipeline.world.solids for pipeline in self.pipelines)
        self.classes = [torch.tensor(self.blocks.classes_of(pipeline.world.solids)) for pipeline in self.pipelines]
        self._renderers: list[Renderer] | None = None  # made in the process that renders

    def __getitem__(self, item: int) -> Batch:
        if self._renderers is None:
            threads = None if get_worker_info() is None else 1  # processes share the cores
            self._renderers = [
                make_renderer("raycast", p.world, p.images, p.source.raycast, threads=threads) for p in self.pipelines
            ]
        index = range(item * self.each, (item + 1) * self.each)
        parts = [
            self._render(pipeline, renderer, classes, index)
            for pipeline, renderer, classes in zip(self.pipelines, self._renderers, self.classes, strict=True)
        ]
        names = ("images", "cells", "tables")
        images, cells, tables = (torch.cat([getattr(part, name) for part in parts]) for name in names)
        room = max(part.jitter.shape[1] for part in parts)
        jitter = torch.cat(
            [functional.pad(part.jitter, (0, 0, 0, 0, 0, room - part.jitter.shape[1])) for part in parts]
        )
        return Batch(images, joined([part.targets for part in parts]), cells, tables, jitter)

    def _render(self, pipeline: Pipeline, renderer: Renderer, classes: Tensor, index: range) -> Batch:
        scenes = pipeline.sampler.sample(pipeline.source.seed, index)
        frames = renderer.render(scenes)
        targets = targets_of(scenes, frames)
        images = torch.as_tensor(sense(frames.rgb, scenes.sensor)).permute(0, 3, 1, 2).contiguous()
        targets = replace(targets, model=classes.to(images.device)[targets.model])
        table = pipeline.world.table
        tables = tables_of(table_of(table.center[:2], table.size[:2]), len(images)).to(images.device)
        moves = jitter_of(Draws(pipeline.source.seed, np.arange(index.start, index.stop)), targets.model.shape[1])
        return Batch(images, targets, cells_on_table(scenes.cameras, images.device), tables, moves.to(images.device))
