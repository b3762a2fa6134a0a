"""`python -m simgen render`: checks a configuration, then renders its samples, or a part of them, into a dataset."""

import re
import sys

from simgen.check.sample import SampleCheck
from simgen.command.progress import Progress
from simgen.dataset.assemble import begin, claim, finish, head_of, read_manifest
from simgen.dataset.recipe import describe_dataset
from simgen.dataset.write import IMAGE_FORMATS, WRITERS, write_samples
from simgen.errors import ConfigError
from simgen.executors import EXECUTORS
from simgen.pipeline import CHUNK, check_choice, check_start, make_pipeline, notices_of
from simgen.render import make_renderer
from simgen.schema import Render
from simgen.storage import open_storage

PREFLIGHT = 256  # scenes that are sampled before anything is written, so that impossible placements fail early


def render(config: Render) -> None:
    """Writes the dataset that `config` describes, or a part of it; samples that exist already are kept."""
    check_choice("writer", config.writer, WRITERS)
    check_choice("image_format", config.image_format, IMAGE_FORMATS)
    check_choice("executor", config.executor, tuple(EXECUTORS))
    for key, value, least in (("num", config.num, 1), ("start", config.start, 0), ("workers", config.workers, 1)):
        if value < least:
            raise ConfigError(f"{key}: got {value}; expected a whole number of at least {least}")
    check_start(config.start, config.num)
    wanted = samples_of(config.part, config.start, config.num)
    out = open_storage(config.out)
    if out.private and config.executor != "processes":
        raise ConfigError(f"executor={config.executor}: {config.out} is the memory of one process; name another out=")
    pipeline = make_pipeline(config)
    first = wanted or range(config.start, config.start + 1)
    pipeline.sampler.sample(config.seed, first[:PREFLIGHT])
    renderer = make_renderer(
        config.renderer, pipeline.world, pipeline.images, config.raycast
    )  # fails here, not in a worker
    next(pipeline.samples(renderer, first[:1]))  # fails here if the images are black
    for notice in notices_of(pipeline, renderer):
        print(notice, file=sys.stderr)
    recipe = describe_dataset(config, pipeline.world, pipeline.sampler, pipeline.images, renderer.ignored)
    done = begin(out, recipe, config.start, config.num, pipeline.world, wanted)
    if config.part is not None and read_manifest(out)["status"] != "complete":
        claim(out, recipe, wanted, sys.argv[1:])
    todo = [index for index in wanted if index not in done]
    print(
        f"rendering {len(todo)} of {len(wanted)} samples with renderer={config.renderer}, "
        f"{f'workers={config.workers}' if config.executor == 'processes' else f'executor={config.executor}'} into {out}",
        flush=True,
    )
    if todo:
        with Progress("rendered", len(wanted), "images", done=len(done)) as progress:
            # To start a process takes longer than to render a few samples.
            if out.private or (len(todo) <= CHUNK and config.executor == "processes"):
                approve = SampleCheck(pipeline.world.solids) if config.check else None
                write_samples(out, pipeline.samples(renderer, todo), config.image_format, progress.update, approve)
            else:
                renderer.close()  # its files and memory are not needed while the workers render
                for finished in EXECUTORS[config.executor](config, todo):
                    progress.update(finished)
    renderer.close()
    if config.part is None:
        finish(out, head_of(recipe, config.start, config.num, pipeline.world))
        print(f"{out}: {config.num} samples, complete")
    else:
        print(
            f"{out}: part {config.part}, {len(wanted)} samples, complete; after all parts: python -m simgen merge {out}"
        )


def samples_of(part: str | None, start: int, num: int) -> range:
    """The samples of `part`, K/N, of those from `start` to `start` + `num` - 1: the K-th of N pieces of equal length, up to
    one sample. All of them if `part` is None. Raises ConfigError."""
    if part is None:
        return range(start, start + num)
    k, n = parse_part(part)
    return range(start + num * (k - 1) // n, start + num * k // n)


def parse_part(part: str) -> tuple[int, int]:
    """K and N of `part`, K/N, 1 <= K <= N. Raises ConfigError."""
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", part)
    k, n = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= k <= n:
        raise ConfigError(f"part: got {part}; expected K/N with K from 1 to N, e.g. part=1/64 to part=64/64")
    return k, n
