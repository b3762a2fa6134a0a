"""The pictures of a keypoint model's training: rendered on the fly or read from a dataset. `sources_of(TrainConfig)`."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from simgen.config import compose
from simgen.dataset.recipe import describe
from simgen.dataset.shards import is_shards
from simgen.errors import ConfigError, DatasetError
from simgen.pipeline import Pipeline
from train.adr.growth import States
from train.blocks.kinds import BlockSet
from train.blocks.stances import check_sides
from train.config import DataConfig, StreamConfig, TrainConfig
from train.data.batch import Batch, Items
from train.data.bop import Batches, BopBatches, common_size, most_common
from train.data.bop_labels import classes_of
from train.data.dataset import open_shard_source, open_source
from train.data.images import check_simulated, content_of_dataset, split
from train.data.mirror import all_mirror
from train.data.shards import ShardBatches, index_hash
from train.data.stream import HELD_OUT, ROUND, VERSION, Stream
from train.data.targets import SAME_SIZE


@dataclass(frozen=True)
class Sources:
    """`training`: batches for training, `epoch` of them per process between two validations, made by `workers` processes.

    `held_out`: batches for model selection (`choose`, the first `each`), calibration (`learn`, as many) and the test of the
    calibration (`check`, as many). Every `per_scene` consecutive pictures of a batch are of one scene. With `sides` the
    classes are those of Stances with sides; with `mirrors` each kind equals its mirror image. A run prints `summary`
    and records `described`. `bounds` are the names of those that grow with randomize=adr.
    """

    training: Dataset[Batch]
    epoch: int
    workers: int
    held_out: Dataset[Batch]
    each: int
    per_scene: int
    blocks: BlockSet
    sides: bool
    mirrors: bool
    summary: str
    described: Mapping[str, Any] = field(default_factory=dict)
    bounds: tuple[str, ...] = ()

    @property
    def choose(self) -> range:
        return range(self.each)

    def chosen(self, rank: int, world: int) -> Items:
        """The items of `choose` that process `rank` of `world` takes."""
        return Items(self.each // world, rank, world)

    @property
    def learn(self) -> range:
        return range(self.each, 2 * self.each)

    @property
    def check(self) -> range:
        return range(2 * self.each, 3 * self.each)


def sources_of(config: TrainConfig) -> Sources:
    """The pictures of a training. Raises a SimgenError that names the key, the file or the block at fault."""
    made = (
        _of_stream(config, config.data) if isinstance(config.data, StreamConfig) else _of_dataset(config, config.data)
    )
    if made.sides:
        check_sides(made.blocks)
    return made


def _of_stream(config: TrainConfig, data: StreamConfig) -> Sources:
    size = config.trainer.batch_size
    grows = config.randomize.automatic
    states = States(Path(config.out)) if grows else None
    epoch = data.epoch * config.trainer.all_devices
    stream = Stream(data, config.randomize, config.seed, size, passes=data.passes, states=states, epoch=epoch)
    held_out: Dataset[Batch] = Stream(data, config.randomize, config.seed + HELD_OUT, size)
    # Each process has as many batches of the model selection, so that none takes those of calibration and test.
    together = config.trainer.all_devices
    if data.photographs:
        held_out = Mixed(held_out, _with_photographs(config, data))
        together = math.lcm(2, together)  # so that each of the three has as many batches of both kinds
    each = math.ceil(math.ceil(data.validation / size) / together) * together
    used = "once" if data.passes == 1 else f"up to {data.passes} times"
    notices = [notice for pipeline in stream.pipelines for notice in _notices(pipeline)]
    if data.passes > 1 and data.workers > 1 and ROUND % data.workers:
        notices.append(
            f"data.workers={data.workers}: several processes draw the same pictures, because each finds again only those "
            f"that it drew itself; with 1, 2, 4 or {ROUND} each picture is drawn once"
        )
    pictures = stream.pictures(config.trainer.epochs * epoch)
    summary = f"learns {', '.join(stream.blocks.names)} from {pictures} pictures, each used {used}"
    return Sources(
        training=stream,
        epoch=data.epoch,
        workers=data.workers,
        held_out=held_out,
        each=each,
        per_scene=stream.each,
        blocks=stream.blocks,
        sides=True,
        mirrors=all_mirror(stream.reflections),
        summary="\n".join([*notices, summary]),
        bounds=tuple(stream.bounds),
        described={"stream_version": VERSION, "content": content_of_scenes(stream.pipelines)},
    )


def content_of_scenes(pipelines: Sequence[Pipeline]) -> dict[str, str]:
    """The SHA-256, by scene, of what its files and those of its block set, its pictures, meshes and camera hold, which the
    configuration only names."""
    found = {}
    for pipeline in pipelines:
        recipe = describe(pipeline.source, pipeline.world, pipeline.sampler, pipeline.images)
        read = {key: recipe.get(key) for key in ("world", "images", "meshes", "camera")}
        found[pipeline.source.scene] = hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()
    return found


def _notices(pipeline: Pipeline) -> Iterator[str]:
    """Lines for the user about the blocks in the pictures of `pipeline`."""
    yield from pipeline.world.notes
    low, high = (float(end[0]) for end in pipeline.sampler.leaves["blocks/scale"].support())
    if min(low, high) < 1 - SAME_SIZE or max(low, high) > 1 + SAME_SIZE:
        yield (
            f"randomize.blocks.scale: from {low:g} to {high:g}: a block that is over {SAME_SIZE:.0%} larger or smaller "
            "than in the block set is learned as one of another size, like a distractor; for blocks of several "
            "sizes give the block set a block of each size"
        )
    for solid in pipeline.world.solids:
        if not solid.convex:
            yield (
                f"block '{solid.name}': is not convex: it is drawn as it is, but its keypoints, its resting poses and the "
                "errors of poses are those of its convex hull"
            )


def _with_photographs(config: TrainConfig, data: StreamConfig) -> Stream:
    """The held-out stream whose surfaces and surroundings show photographs; all other factors are those of the training.
    Raises ConfigError without the packages that hold the photographs."""
    full, worn = (
        compose("train", TrainConfig, [f"randomize={preset}"]).randomize for preset in ("full", "photographs")
    )
    randomize = _changed(config.randomize, full, worn)
    try:
        return Stream(data, randomize, config.seed + HELD_OUT, config.trainer.batch_size, photographs=True)
    except ConfigError as error:
        if not str(error).startswith("photographs: "):
            raise
        raise ConfigError(f"data.photographs: {error}, or use data.photographs=false") from error


def _changed(value: Any, before: Any, after: Any) -> Any:
    """`value`, a tree of dataclasses, with the leaves of `after` where those differ from `before`."""
    if not is_dataclass(value):
        return value if before == after else after
    names = [item.name for item in fields(value)]
    return replace(
        value, **{name: _changed(*(getattr(part, name) for part in (value, before, after))) for name in names}
    )  # type: ignore[type-var]


class Mixed(Dataset[Batch]):
    """The batches of two sources in turn."""

    def __init__(self, first: Dataset[Batch], second: Dataset[Batch]) -> None:
        self.sources = first, second

    def __getitem__(self, item: int) -> Batch:
        number, which = divmod(item, len(self.sources))
        return self.sources[which][number]


def _of_dataset(config: TrainConfig, data: DataConfig) -> Sources:
    if is_shards(data.root):
        return _of_shards(config, data)
    dataset = open_source(data)
    check_simulated(dataset)
    # On which side a block lies is determined by the table's pose.
    posed = [picture.camera_from_table is not None for picture in dataset.pictures]
    classes = classes_of(dataset, data.target)
    size, others = common_size(dataset)

    def batches_of(rows: NDArray[np.int64], **options: Any) -> Batches:
        return BopBatches(dataset, rows, classes, size=size, min_visible=data.min_visible, **options)

    about = content_of_dataset(dataset)
    return _divided(config, data, len(dataset), batches_of, posed=sum(posed), others=others, about=about)


def _of_shards(config: TrainConfig, data: DataConfig) -> Sources:
    shards = open_shard_source(data)
    check_simulated(shards.dataset)
    classes = classes_of(shards.dataset, data.target)
    size, others = most_common(shards.index.sizes)

    def batches_of(rows: NDArray[np.int64], **options: Any) -> Batches:
        return ShardBatches(shards, rows, classes, size=size, min_visible=data.min_visible, **options)

    about = {"index_sha256": index_hash(shards), "pictures": len(shards)}
    posed = shards.index.posed if shards.table else 0
    return _divided(config, data, len(shards), batches_of, posed=posed, others=others, about=about)


def _divided(
    config: TrainConfig,
    data: DataConfig,
    count: int,
    batches_of: Callable[..., Batches],
    *,
    posed: int,
    others: int,
    about: Mapping[str, Any],
) -> Sources:
    """The sources of a dataset of `count` pictures, of which the table's pose is known in `posed`, and `others` have another
    size. `batches_of` makes the batches of
    some of its rows, `about` is what a run records of it."""
    rows, validation = split(count, data.validation, config.seed)
    devices = config.trainer.all_devices
    together = config.trainer.batch_size * devices
    if len(rows) < together or len(validation) < 3 * devices:
        raise DatasetError(
            f"{data.root}: {len(rows)} pictures for training and {len(validation)} held out; expected at least "
            f"{together}, for one step, and {3 * devices}: render more, or change trainer.batch_size or data.validation, "
            f"the held-out fraction of {count}"
        )
    training = batches_of(
        rows,
        batch_size=config.trainer.batch_size,
        seed=config.seed,
        strength=config.trainer.jitter,
        cache_gb=data.cache_gb * len(rows) / count,
        workers=data.workers,
    )
    # Each process has a batch at least of the model selection, so that none takes those of calibration and test.
    each = min(config.trainer.batch_size, len(validation) // (3 * devices))
    held_out = batches_of(
        np.sort(validation),
        batch_size=each,
        shuffle=False,
        cache_gb=data.cache_gb * len(validation) / count,
        workers=data.workers,
    )
    scaled = f"; {others} of another size are scaled into {training.width}x{training.height} px" if others else ""
    size = count * training.width * training.height * 3 / 1e9
    blind = f"; {count - posed} without the table's pose, so that the model learns to use no table" if posed else ""
    again = (
        f"; they need {size:.1f} GB, more than data.cache_gb, and are decoded in each epoch" if data.cache_gb else ""
    )
    names = ", ".join(training.blocks.names)
    return Sources(
        training=training,
        epoch=len(training) // devices,
        workers=0 if training.cached else data.workers,
        held_out=held_out,
        each=len(held_out) // 3,
        per_scene=each,
        blocks=training.blocks,
        sides=posed == count,
        mirrors=all_mirror(training.reflections),
        summary=f"learns {names} from {len(rows)} pictures; {len(validation)} are held out{scaled}"
        + (blind if posed < count else "")
        + ("" if training.cached else again),
        described={"dataset": dict(about)},
    )
