"""The pipeline from a configuration to samples, and the processes that run it over a range of indices."""

import contextlib
import importlib.metadata
import multiprocessing
import os
import platform
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from tqdm import tqdm

from simgen.catalogue import World, load_world
from simgen.dataset.read import sha256_of
from simgen.dataset.write import DATA_VERSION, IMAGE_FORMATS, WRITERS, Sample, begin, finish, write_sample
from simgen.errors import ConfigError, RenderError
from simgen.labels import labels_of
from simgen.physics import sample_settled
from simgen.randomize import Sampler, make_sampler
from simgen.render import Frames, Renderer, check_renderer, make_renderer
from simgen.scene import Scenes, take
from simgen.schema import Raycast, Render, Source
from simgen.sensor import sense
from simgen.textures import ImageFolder, open_image_folder

PHYSICS = ("place", "settle")
CHUNK = 16  # samples drawn at once and handed to a worker at once
# Samples after which a worker makes way for a new one: PyBullet keeps 2 kB (tiny) to 50 kB (EGL) of each.
RECYCLE = 1000
BLACK = 1e-4  # linear light that a file shows as black
PREFLIGHT = 256  # samples drawn before anything is written, so that what cannot be placed is known by then


@dataclass(frozen=True)
class Pipeline:
    """A configuration, read and checked: everything that turns an index into a sample."""

    source: Source
    world: World
    sampler: Sampler
    images: ImageFolder

    def samples(self, renderer: Renderer, index: Sequence[int]) -> Iterator[Sample]:
        """The finished samples with these indices. Each is a pure function of the configuration and its index."""
        indices = np.asarray(index, dtype=np.int64)
        if self.source.physics == "settle":
            scenes = sample_settled(self.sampler, self.source.seed, indices)
        else:
            scenes = self.sampler.sample(self.source.seed, indices)
        for start in range(0, len(scenes), renderer.batch):
            part = take(scenes, slice(start, start + renderer.batch))
            frames = renderer.render(part)
            _check_not_black(frames, part, self.source.seed)
            rgb = sense(frames.rgb, part.sensor).cpu().numpy()
            frames = frames.cpu()
            labels = labels_of(part, frames, self.world)
            for row in range(len(part)):
                yield Sample(take(part, [row]), rgb[row], frames.depth[row].numpy(), labels[row])


def make_pipeline(source: Source) -> Pipeline:
    """Reads and checks all that `source` names. Raises a SimgenError that names the key at fault."""
    check_renderer(source.renderer)
    _check_choice("physics", source.physics, PHYSICS)
    if not 0 <= source.seed < 2**63:
        raise ConfigError(f"seed: got {source.seed}; expected 0 or a positive number below 2^63")
    world = load_world(source.scene)
    sampler = make_sampler(
        source.randomize, world, width=source.width, height=source.height, settle=source.physics == "settle"
    )
    folder = source.randomize.images
    images = open_image_folder(Path(folder), "randomize.images") if folder else ImageFolder()
    return Pipeline(source, world, sampler, images)


def render(config: Render) -> None:
    """Writes the dataset that `config` describes, or what of it is still missing."""
    _check_choice("writer", config.writer, WRITERS)
    _check_choice("image_format", config.image_format, IMAGE_FORMATS)
    for key, value, least in (("num", config.num, 1), ("start", config.start, 0), ("workers", config.workers, 1)):
        if value < least:
            raise ConfigError(f"{key}: got {value}; expected a whole number of at least {least}")
    pipeline = make_pipeline(config)
    pipeline.sampler.sample(config.seed, range(config.start, config.start + min(config.num, PREFLIGHT)))
    renderer = make_renderer(config.renderer, pipeline.world, pipeline.images, config.raycast)  # it may not work here
    if config.raycast.compile:  # one sample is not worth compiling for, and is the same without
        renderer.close()
        plain = replace(config.raycast, compile=False)
        renderer = make_renderer(config.renderer, pipeline.world, pipeline.images, plain)
    ignored = renderer.ignored
    next(pipeline.samples(renderer, [config.start]))  # nor may the light be enough to see by
    renderer.close()
    if ignored:
        print(
            f"renderer={config.renderer} cannot vary {', '.join(ignored)}: sampled and recorded, but not seen",
            file=sys.stderr,
        )
    out = Path(config.out)
    recipe = {
        **describe(pipeline),
        "writer": config.writer,
        "image_format": config.image_format,
        "ignored": list(ignored),
    }
    done = begin(out, recipe, config.start, config.num, pipeline.world)
    todo = [index for index in range(config.start, config.start + config.num) if index not in done]
    print(
        f"rendering {len(todo)} of {config.num} samples with renderer={config.renderer}, workers={config.workers} into {out}"
    )
    if todo:
        with tqdm(total=config.num, initial=len(done), unit="image", smoothing=0.1) as bar:
            for finished in _run(config, todo):
                bar.update(finished)
    finish(out, recipe, config.start, config.num, pipeline.world)
    print(f"{out}: {config.num} samples, complete")


def _check_not_black(frames: Frames, scenes: Scenes, seed: int) -> None:
    """A black picture teaches nothing, and is a mistake of whoever set the light. A background shines by itself, and does
    not count."""
    there = frames.depth > 0
    lit = there & (frames.rgb.amax(-1) >= BLACK)
    # A few pixels along edges may be half background.
    black = lit.flatten(1).sum(1) < 0.05 * there.flatten(1).sum(1)
    for row in np.flatnonzero(black.cpu().numpy()):
        dark = not np.any(scenes.lights.present[row] & (scenes.lights.intensity[row] > 0))
        cause = (
            "it has no light and no ambient: raise randomize.light.count or randomize.ambient.intensity"
            if dark and scenes.ambient.intensity[row] == 0
            else "raise randomize.ambient.intensity or randomize.light.intensity"
        )
        raise RenderError(f"randomize.light: sample {scenes.index[row]} of seed {seed} is black; {cause}")


def describe(pipeline: Pipeline) -> dict[str, Any]:
    """The recipe for manifest.json: all that determines the bytes of a sample beside its index, as plain JSON values."""
    source, images = pipeline.source, pipeline.images
    libraries = ("numpy", "scipy", "opencv-python-headless", "pillow", "trimesh", "torch", "torchvision", "pybullet")
    return {
        "data_version": DATA_VERSION,
        "seed": source.seed,
        "scene": source.scene,
        "world": dict(pipeline.world.source),
        "renderer": source.renderer,
        **({"raycast": _drawn_by(source.raycast)} if source.renderer == "raycast" else {}),
        "physics": source.physics,
        "width": pipeline.sampler.width,
        "height": pipeline.sampler.height,
        "randomize": asdict(source.randomize),
        "images": {path.name: sha256_of(path) for path in images.paths},
        "versions": {
            "simgen": importlib.metadata.version("simgen"),
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in libraries},
        },
    }


def _drawn_by(raycast: Raycast) -> dict[str, Any]:
    """The settings that change bytes: chunk and compile do not."""
    device = raycast.device.split(":", maxsplit=1)[0]
    return {"device": device, "supersample": raycast.supersample, "light_samples": raycast.light_samples}


def _check_choice(key: str, value: str, options: Sequence[str]) -> None:
    if value not in options:
        raise ConfigError(f"{key}: unknown {key} '{value}'; expected one of {', '.join(options)}")


def _run(config: Render, todo: list[int]) -> Iterator[int]:
    """Renders `todo` in worker processes; yields the number of samples in each finished chunk."""
    share = RECYCLE * config.workers if config.renderer in ("tiny", "egl") else len(todo)
    for k in range(0, len(todo), share):
        yield from _run_pool(config, todo[k : k + share])


def _run_pool(config: Render, todo: list[int]) -> Iterator[int]:
    chunks = [todo[k : k + CHUNK] for k in range(0, len(todo), CHUNK)]
    workers = min(config.workers, len(chunks))
    # A fresh interpreter for each worker: a fork would share PyBullet's and OpenCV's threads.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker, (config,))
    waiting: set[Future[int]] = set()
    try:
        for chunk in chunks:
            if len(waiting) >= 2 * workers:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
            with _deaf_children():
                waiting.add(pool.submit(_render_chunk, chunk))
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    except BrokenProcessPool as error:
        raise RenderError(
            "renderer: a worker process died (out of memory, or the renderer crashed); finished samples are kept: run the "
            "same command again, with fewer workers or another renderer"
        ) from error
    finally:
        for future in waiting:
            future.cancel()
        pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _deaf_children() -> Iterator[None]:
    """Processes that start meanwhile never hear Ctrl-C, not even while they are still importing: that is the parent's."""
    if threading.current_thread() is not threading.main_thread():  # only the main one may set handlers
        yield
        return
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, heard)


_worker: tuple[Render, Pipeline, Renderer] | None = None


def _start_worker(config: Render) -> None:
    global _worker
    cv2.setNumThreads(1)  # the workers are the parallelism
    torch.set_num_threads(1)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    pipeline = make_pipeline(config)
    _worker = config, pipeline, make_renderer(config.renderer, pipeline.world, pipeline.images, config.raycast)


def _leave_with_parent() -> None:
    """Ends this worker when its parent is gone, so that a killed run leaves nothing behind, least of all a writer."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        try:
            if _worker is not None:
                _worker[2].close()  # its files
        finally:
            os._exit(1)


def _render_chunk(index: list[int]) -> int:
    assert _worker is not None
    config, pipeline, renderer = _worker
    for sample in pipeline.samples(renderer, index):
        write_sample(Path(config.out), sample, config.image_format)
    return len(index)
