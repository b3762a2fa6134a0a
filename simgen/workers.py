"""Renders datasets: runs the pipeline over a range of indices in worker processes."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import cv2

from simgen.check.sample import SampleCheck
from simgen.command.progress import Progress
from simgen.dataset.recipe import describe
from simgen.dataset.write import IMAGE_FORMATS, WRITERS, begin, finish, write_sample
from simgen.errors import ConfigError, RenderError
from simgen.pipeline import CHUNK, Pipeline, check_choice, make_pipeline
from simgen.render import Renderer, make_renderer
from simgen.schema import Render

RECYCLE = {"tiny": 1000}  # samples after which a new process replaces a worker: PyBullet leaks 2 kB for each
PREFLIGHT = 256  # scenes that are sampled before anything is written, so that impossible placements fail early


def render(config: Render) -> None:
    """Writes the dataset that `config` describes; samples that exist already are kept."""
    check_choice("writer", config.writer, WRITERS)
    check_choice("image_format", config.image_format, IMAGE_FORMATS)
    for key, value, least in (("num", config.num, 1), ("start", config.start, 0), ("workers", config.workers, 1)):
        if value < least:
            raise ConfigError(f"{key}: got {value}; expected a whole number of at least {least}")
    pipeline = make_pipeline(config)
    pipeline.sampler.sample(config.seed, range(config.start, config.start + min(config.num, PREFLIGHT)))
    renderer = make_renderer(
        config.renderer, pipeline.world, pipeline.images, config.raycast
    )  # fails here, not in a worker
    ignored = renderer.ignored
    next(pipeline.samples(renderer, [config.start]))  # fails here if the images are black
    if ignored:
        print(
            f"renderer={config.renderer} cannot vary {', '.join(ignored)}: sampled and recorded, but not visible; "
            "renderer=raycast draws them",
            file=sys.stderr,
        )
    for notice in (*pipeline.world.notes, *pipeline.sampler.notices):
        print(notice, file=sys.stderr)
    out = Path(config.out)
    recipe = {
        **describe(config, pipeline.world, pipeline.sampler, pipeline.images),
        "writer": config.writer,
        "image_format": config.image_format,
        "ignored": list(ignored),
    }
    done = begin(out, recipe, config.start, config.num, pipeline.world)
    todo = [index for index in range(config.start, config.start + config.num) if index not in done]
    print(
        f"rendering {len(todo)} of {config.num} samples with renderer={config.renderer}, "
        f"workers={config.workers} into {out}",
        flush=True,
    )
    if todo:
        with Progress("rendered", config.num, "images", done=len(done)) as progress:
            if len(todo) <= CHUNK:  # to start a process takes longer than to render a few samples
                approve = SampleCheck(pipeline.world.solids) if config.check else None
                for sample in pipeline.samples(renderer, todo):
                    write_sample(out, sample, config.image_format, approve)
                    progress.update()
            else:
                renderer.close()  # its files and memory are not needed while the workers render
                for finished in _run(config, todo):
                    progress.update(finished)
    renderer.close()
    finish(out, recipe, config.start, config.num, pipeline.world)
    print(f"{out}: {config.num} samples, complete")


def _run(config: Render, todo: list[int]) -> Iterator[int]:
    """Renders `todo` in worker processes; yields the number of samples in each finished chunk."""
    share = RECYCLE.get(config.renderer, len(todo) or 1) * config.workers
    for k in range(0, len(todo), share):
        yield from _run_pool(config, todo[k : k + share])


def _run_pool(config: Render, todo: list[int]) -> Iterator[int]:
    chunks = [todo[k : k + CHUNK] for k in range(0, len(todo), CHUNK)]
    workers = min(config.workers, len(chunks))
    # Workers are spawned: a fork is not safe with the threads of PyBullet and OpenCV.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker, (config,))
    waiting: set[Future[int]] = set()
    try:
        for chunk in chunks:
            if len(waiting) >= 2 * workers:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
            with _ignore_sigint_in_children():
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
def _ignore_sigint_in_children() -> Iterator[None]:
    """Child processes that start in this context ignore Ctrl-C from the beginning; the parent handles it."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set signal handlers
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


_worker: tuple[Render, Pipeline, Renderer, SampleCheck | None] | None = None


def _start_worker(config: Render) -> None:
    global _worker
    cv2.setNumThreads(1)  # the workers are the parallelism
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    pipeline = make_pipeline(config, checked=True)
    renderer = make_renderer(config.renderer, pipeline.world, pipeline.images, config.raycast, threads=1)
    _worker = config, pipeline, renderer, SampleCheck(pipeline.world.solids) if config.check else None


def _leave_with_parent() -> None:
    """Ends this worker when its parent has ended, so that no worker goes on writing after a run was killed."""
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
    config, pipeline, renderer, approve = _worker
    for sample in pipeline.samples(renderer, index):
        write_sample(Path(config.out), sample, config.image_format, approve)
    return len(index)
