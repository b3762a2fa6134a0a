"""Renders samples in chunks, in this process, in worker processes or on a Ray cluster. All give the same bytes."""

import contextlib
import logging
import multiprocessing
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2

from simgen.check.sample import SampleCheck
from simgen.dataset.assemble import changes, listed, read_manifest
from simgen.dataset.layout import MANIFEST
from simgen.dataset.recipe import describe_dataset
from simgen.dataset.write import write_samples
from simgen.errors import ConfigError, RenderError, SimgenError
from simgen.pipeline import CHUNK, Pipeline, make_pipeline
from simgen.render import Renderer, make_renderer
from simgen.schema import Render
from simgen.storage import open_storage

RECYCLE = {"tiny": 1000}  # samples after which a new process replaces a worker: PyBullet leaks 2 kB for each
RETRIES = 5  # times that Ray renders a chunk again after its worker or its node has died


def in_processes(config: Render, todo: Sequence[int]) -> Iterator[int]:
    """Renders `todo` in worker processes; yields the number of samples in each finished chunk."""
    share = RECYCLE.get(config.renderer, len(todo) or 1) * config.workers
    for k in range(0, len(todo), share):
        yield from _run_pool(config, todo[k : k + share])


def _run_pool(config: Render, todo: Sequence[int]) -> Iterator[int]:
    chunks = _chunks(todo)
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


_Worker = tuple[Render, Pipeline, Renderer, SampleCheck | None]
_worker: _Worker | None = None
_making = threading.Lock()  # until it is assigned, its files cannot be removed


def _start_worker(config: Render) -> None:
    global _worker
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    with _making:
        _worker = _make_worker(config)


def _make_worker(config: Render) -> _Worker:
    """What renders in this process. Raises RenderError unless it writes where the command does, and would draw the same."""
    cv2.setNumThreads(1)  # the workers are the parallelism
    pipeline = make_pipeline(config, checked=True)
    renderer = make_renderer(config.renderer, pipeline.world, pipeline.images, config.raycast, threads=1)
    recipe = describe_dataset(config, pipeline.world, pipeline.sampler, pipeline.images, renderer.ignored)
    out = open_storage(config.out)
    if MANIFEST not in out.top():
        raise RenderError(
            f"out: {out} has no {MANIFEST} here, so it is not the folder of the command; name one that all nodes share, or "
            "a URL such as s3://bucket/folder"
        )
    found = changes(read_manifest(out)["recipe"], recipe)
    if found:
        raise RenderError(
            f"a worker would draw other pictures than this run has begun with: {listed(found)}; restore what has changed "
            "since, or install the same on all nodes"
        )
    return config, pipeline, renderer, SampleCheck(pipeline.world.solids) if config.check else None


def _leave_with_parent() -> None:
    """Ends this worker when its parent has ended, so that no worker goes on writing after a run was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        try:
            with _making:
                if _worker is not None:
                    _worker[2].close()  # its files
        finally:
            os._exit(1)


def _render_chunk(index: Sequence[int]) -> int:
    assert _worker is not None
    config, pipeline, renderer, approve = _worker
    write_samples(open_storage(config.out), pipeline.samples(renderer, index), config.image_format, approve=approve)
    return len(index)


def _chunks(todo: Sequence[int]) -> list[Sequence[int]]:
    return [todo[k : k + CHUNK] for k in range(0, len(todo), CHUNK)]


def on_ray(config: Render, todo: Sequence[int]) -> Iterator[int]:
    """Renders `todo` on a Ray cluster, a task for each chunk; yields the number of samples in each finished one.

    The cluster is that of the environment variable RAY_ADDRESS, or one that runs on this machine, or else one that is begun
    for this run. Ray repeats the tasks of a worker or a node that has died. Raises RenderError if it gives up.
    """
    with cluster() as ray:
        waiting: list[Any] = []
        if not open_storage(config.out).url:
            config = replace(config, out=str(Path(config.out).resolve()))
        shared = ray.put((config, str(Path.cwd())))
        recycled = RECYCLE.get(config.renderer, 0) // CHUNK  # 0 for never
        task = ray.remote(num_cpus=1, max_retries=RETRIES, max_calls=recycled, scheduling_strategy="SPREAD")(_ray_chunk)
        task = task.options(name="simgen.chunk")  # the name of its process, too
        try:
            for chunk in _chunks(todo):
                while len(waiting) >= 2 * max(1, int(ray.cluster_resources().get("CPU", 1))):
                    done, waiting = ray.wait(waiting)
                    yield from ray.get(done)
                waiting.append(task.remote(shared, chunk))
            while waiting:
                done, waiting = ray.wait(waiting)
                yield from ray.get(done)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, SimgenError):
                raise error.cause from error
            raise
        except ray.exceptions.RayError as error:
            raise RenderError(f"{summary_of(error)}; finished samples are kept: run the same command again") from error
        finally:
            for reference in waiting:
                ray.cancel(reference)


def summary_of(error: Exception) -> str:
    """The beginning of an error of Ray, whose text has many lines, as one line."""
    return f"executor=ray: {' '.join(str(error).split())[:300]}"


@contextlib.contextmanager
def cluster() -> Iterator[Any]:
    """The module ray, connected to a cluster."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it reports to its makers otherwise
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise ConfigError(
            "executor: ray is not installed: pip install 'simgen[ray]', or use executor=processes"
        ) from error
    if ray.is_initialized():
        yield ray
        return
    address = os.environ.get("RAY_ADDRESS", "")
    try:
        match = re.fullmatch(r"([^/]+):(\d+)", address)
        if match:  # Ray itself waits for a minute, then ends the process
            socket.create_connection((match[1], int(match[2])), timeout=10).close()
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"executor: no Ray cluster at RAY_ADDRESS={address} ({error}); start one with `ray start --head`, or use "
            "executor=processes"
        ) from error
    try:
        nodes = sum(node["Alive"] for node in ray.nodes())
        cpus = int(ray.cluster_resources().get("CPU", 0))
        print(f"executor=ray: {cpus} CPUs of {nodes} nodes at {ray.get_runtime_context().gcs_address}", file=sys.stderr)
        yield ray
    finally:
        ray.shutdown()


def _ray_chunk(shared: tuple[Render, str], index: Sequence[int]) -> int:
    """Renders the samples `index` in a worker of Ray, which makes its pipeline once."""
    global _worker
    config, folder = shared
    try:
        if _worker is None or _worker[0] != config:
            with contextlib.suppress(OSError):  # absolute paths need no such folder
                os.chdir(folder)  # relative paths are meant as in the command
            _worker = _make_worker(config)
        return _render_chunk(index)
    except SimgenError as error:
        raise type(error)(f"{error} (on the node {socket.gethostname()})") from error


EXECUTORS: Mapping[str, Callable[[Render, Sequence[int]], Iterator[int]]] = {"processes": in_processes, "ray": on_ray}
