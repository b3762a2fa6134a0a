"""data=stream: training pictures that raycast renders on the fly.

Each is used in several steps, because rendering a picture takes longer than learning from it; each time other parts of
it are seen, every second time of its mirror image. Item i of a stream is a function of (configuration, seed, i) only.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from simgen.config import compose
from simgen.distributions import Distribution
from simgen.draws import Draws
from simgen.errors import ConfigError, SimgenError
from simgen.factors import leaves_of
from simgen.pipeline import Pipeline, make_resized_pipeline
from simgen.randomize import Sampler
from simgen.render import Renderer, check_raycast, make_renderer
from simgen.scene import Scenes
from simgen.schema import Randomize, Render, Source
from simgen.sensor import sense
from train.adr.bounds import bound_of, bounds_of, leaves_at
from train.blocks.kinds import BlockSet
from train.config import StreamConfig, check_parts
from train.data.batch import Batch, chances_of, tables_of
from train.data.mirror import mirrored, reflections_of
from train.data.targets import Targets, joined, targets_of
from train.pose.view import table_of

HELD_OUT = 2**62  # added to a run's seed for validation: it is no run's seed for training
_KEPT = 1024  # pictures that are kept to be used again, 1 GB at 640 x 480; more where 8 batches for each pass are more
# Counts the changes after which a training gets other pictures, or in another order, or its ranges grow otherwise.
VERSION = 4
ROUND = 8  # batches: with as many processes, or a divisor of it, each finds its own batches again


def seed_of(seed: int, k: int) -> int:
    """The seed of the samples of scene number `k` in a training with `seed`: scenes with one seed would have colors and
    lights in common."""
    return seed + (k << 48)


@contextmanager
def _keys_of_a_training() -> Iterator[None]:
    """Errors that begin with a key of `python -m simgen render` begin with that of a training."""
    try:
        yield
    except SimgenError as error:
        for key, own in (("physics", "data.physics"), ("raycast", "data.raycast"), ("scene", "data.scenes")):
            if str(error).startswith((f"{key}: ", f"{key}.")):
                raise type(error)((own + str(error)[len(key) :]).replace(f"use {key}", f"use {own}")) from error
        raise


class Stream(Dataset[Batch]):
    """Batches of `batch_size` samples, in equal parts of each of `config.scenes`. Each is used in up to `passes` steps,
    which are `lag` rounds of ROUND x `passes` steps apart, every second time mirrored. New batches come evenly, about
    one in `passes` steps, because few are drawn ahead: so neither drawing nor learning waits long for the other.

    Scene k has the seed `seed_of(seed, k)`. With
    `photographs` off a texture of photographs is refused. An epoch is `epoch` batches. With randomize.automatic, `states`
    gives the fractions of train.adr.leaves_at in each; a batch has those of the epoch in which it is first used, of those
    that were never new those of epoch 0.
    """

    def __init__(
        self,
        config: StreamConfig,
        randomize: Randomize,
        seed: int,
        batch_size: int,
        *,
        passes: int = 1,
        photographs: bool = False,
        states: Callable[[int], Mapping[str, float]] | None = None,
        epoch: int = ROUND,
    ) -> None:
        check_parts(batch_size, config)
        self.states, self.epoch = states, epoch
        if states is not None and (randomize.distinct_materials or randomize.distinct_layouts):
            raise ConfigError(
                "randomize.distinct_materials, distinct_layouts: cannot be limited with randomize=adr, which gives each "
                "sample a bound of its own; leave them at 0"
            )
        randomize = replace(randomize, automatic=False)
        self.passes, self.lag = passes, max(1, (_KEPT // batch_size // ROUND - 1) // max(1, passes - 1))
        self._drawn: dict[int, Batch] = {}
        self.each = batch_size // len(config.scenes)
        sources = [
            Source(
                scene=scene,
                seed=seed_of(seed, k),
                renderer="raycast",
                physics=config.physics,
                width=config.width,
                height=config.height,
                raycast=config.raycast,
                randomize=randomize,
            )
            for k, scene in enumerate(config.scenes)
        ]
        with _keys_of_a_training():
            check_raycast(config.raycast)
            self.pipelines = [make_resized_pipeline(source) for source in sources]
        if not photographs and any(pipeline.sampler.draws_photographs for pipeline in self.pipelines):
            raise ConfigError(
                "randomize: a texture may be 'photograph' (randomize=photographs), which is for `python -m train evaluate` "
                "only; expected another preset, such as randomize=full"
            )
        self.blocks = BlockSet.of_worlds(pipeline.world.solids for pipeline in self.pipelines)
        solids = {solid.name: solid for pipeline in self.pipelines for solid in pipeline.world.solids}
        self.reflections = reflections_of(self.blocks, solids.values())
        self.classes = [torch.tensor(self.blocks.classes_of(pipeline.world.solids)) for pipeline in self.pipelines]
        self._renderers: list[Renderer] | None = None  # made in the process that renders
        self._nominal: list[dict[str, Distribution]] = []
        self._own: list[set[str]] = []  # the names of each scene's bounds
        self.bounds: list[str] = []
        if states is not None:
            none = compose("render", Render, ["randomize=none"]).randomize
            self._nominal = [leaves_of(none, pipeline.world) for pipeline in self.pipelines]
            pairs = zip(self._nominal, self.pipelines, strict=True)
            self._own = [
                {one.name for one in bounds_of(low, p.sampler.leaves) if _shown(one.path, p)} for low, p in pairs
            ]
            self.bounds = sorted(set.union(*self._own))
        self._grown: tuple[int, list[Sampler]] = -1, []

    def __getitem__(self, item: int) -> Batch:
        number, again = self._place(item)
        if self.passes == 1:
            return self._draw(number)
        for old in [one for one in self._drawn if one < self._oldest(item)]:
            del self._drawn[old]
        if number not in self._drawn:
            self._drawn[number] = self._draw(number)
        kept = self._drawn[number]
        # What a process sends moves to shared memory, with an open file for each tensor, until it is let go: only a copy is.
        return self._seen_again(kept if get_worker_info() is None else deepcopy(kept), number, again)

    def sampled(self, number: int) -> list[Scenes]:
        """The scenes of batch `number` of those that are drawn, of each pipeline."""
        samplers = [p.sampler for p in self.pipelines] if self.states is None else self._samplers(number, self.states)
        pairs = zip(self.pipelines, samplers, strict=True)
        with _keys_of_a_training():
            return [replace(p, sampler=sampler).scenes(self._samples(number)) for p, sampler in pairs]

    def _samplers(self, number: int, states: Callable[[int], Mapping[str, float]]) -> list[Sampler]:
        """Those of the epoch in which batch `number` is first used."""
        epoch = self._epoch_of(number)
        if self._grown[0] != epoch:
            fractions, pairs = states(epoch), zip(self._nominal, self.pipelines, strict=True)
            grown = [leaves_at(fractions, self.bounds, low, p.sampler.leaves) for low, p in pairs]
            samplers = [replace(p.sampler, leaves=own) for own, p in zip(grown, self.pipelines, strict=True)]
            self._grown = epoch, samplers
        return self._grown[1]

    @property
    def _padding(self) -> int:
        """The numbers that are left out after each epoch, for a loader begins each with its first process."""
        return -self.epoch % ROUND

    def _padded(self, item: int) -> int:
        """The number of `item` where each epoch begins at a multiple of ROUND."""
        return item + item // self.epoch * self._padding

    def _place(self, item: int) -> tuple[int, int]:
        """The number of the batch that item `item` uses, among those that are drawn, and how often it was used before."""
        turn, rest = divmod(self._padded(item), ROUND * self.passes)
        row, column = divmod(rest, ROUND)
        again = (row + column) % self.passes
        return ROUND * (turn + (self.passes - 1 - again) * self.lag) + column, again

    def _oldest(self, item: int) -> int:
        """No batch with a lesser number is used by `item` or later."""
        return self._padded(item) // (ROUND * self.passes) * ROUND

    def pictures(self, items: int) -> int:
        """The number of pictures that are drawn for the first `items` items."""
        return len({self._place(item)[0] for item in range(items)}) * self.each * len(self.pipelines)

    def _epoch_of(self, number: int) -> int:
        """The epoch that first uses batch `number`; 0 for the batches of the first steps, of which some were never new."""
        turn, column = divmod(number, ROUND)
        turn -= (self.passes - 1) * self.lag
        first = (turn * self.passes + -column % self.passes) * ROUND + column
        return max(0, first // (self.epoch + self._padding))

    @_keys_of_a_training()
    def _draw(self, number: int) -> Batch:
        """Batch `number` of those that are drawn, on the CPU: a GPU's memory holds those of one step only."""
        if self._renderers is None:
            threads = None if get_worker_info() is None else 1  # processes share the cores
            self._renderers = [
                make_renderer("raycast", p.world, p.images, p.source.raycast, threads=threads) for p in self.pipelines
            ]
        parts = [
            self._render(*each)
            for each in zip(self.pipelines, self._renderers, self.classes, self.sampled(number), strict=True)
        ]
        images, tables = (torch.cat([getattr(part, name) for part in parts]) for name in ("images", "tables"))
        targets = joined([part.targets for part in parts])
        empty = images.new_zeros(0, dtype=torch.float32)
        return self._seen_again(Batch(images, targets, tables, empty, empty), number, 0)

    def _samples(self, number: int) -> range:
        return range(number * self.each, (number + 1) * self.each)

    def _seen_again(self, batch: Batch, number: int, again: int) -> Batch:
        """`batch` with other numbers for the parts of the pictures that are seen, mirrored every second time."""
        samples, slots = np.array(self._samples(number)), batch.targets.model.shape[1]
        chances = [chances_of(Draws(p.source.seed, samples) / again, slots) for p in self.pipelines]
        cut, jitter = (torch.cat(parts) for parts in zip(*chances, strict=True))
        if again % 2:
            batch = mirrored(batch, self.reflections)
        if self.states is not None:
            # A picture that was learned from, or drawn when ranges were others, does not tell how the model succeeds now.
            of = [
                self._bounds_of(k, samples) if again == 0 else np.full(len(samples), -1)
                for k in range(len(self.pipelines))
            ]
            batch = replace(batch, bound=torch.tensor(np.concatenate(of)))
        return replace(batch, cut=cut, jitter=jitter)

    def _bounds_of(self, k: int, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """The bounds of samples of scene number `k`, -1 for none, or for one that this scene does not have."""
        found = bound_of(self.pipelines[k].source.seed, samples, len(self.bounds))
        has = np.array([*(name in self._own[k] for name in self.bounds), False])  # the last for -1
        return np.where(has[found], found, -1)

    def _render(self, pipeline: Pipeline, renderer: Renderer, classes: Tensor, scenes: Scenes) -> "_Part":
        frames = renderer.render(scenes)
        targets = targets_of(scenes, frames).to(torch.device("cpu"))
        images = torch.as_tensor(sense(frames.rgb, scenes.sensor)).permute(0, 3, 1, 2).contiguous().cpu()
        targets = replace(targets, model=classes[targets.model])
        table = pipeline.world.table
        tables = tables_of(table_of(table.center[:2], table.size[:2]), len(images))
        return _Part(images, targets, tables)


def _shown(path: str, pipeline: Pipeline) -> bool:
    """Whether the factor `path` can change a picture of `pipeline`."""
    if path.startswith("fixture/"):
        return bool(pipeline.world.fixtures)
    return not path.startswith("camera/") or pipeline.sampler.camera is None


class _Part(NamedTuple):
    """The pictures of one scene in a batch."""

    images: Tensor
    targets: Targets
    tables: Tensor
