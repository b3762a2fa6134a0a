"""Fixtures for all tests."""

import os

# The tests' processes are the parallelism: threads of libraries in each of them would wait for each other. NumPy and torch
# read this when they are imported, also in the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from copy import deepcopy
from functools import cache
from typing import Any

import pytest
import torch

import simgen.config

torch.set_num_threads(1)

# The files that take longest, which begin first, so that no process of tests has one of them left when the others are done.
LONG = (
    "test_keypoint_run.py",
    "test_keypoint_learns.py",
    "test_workers.py",
    "test_tutorial_own_cell.py",
    "test_own_cell.py",
    "test_render.py",
    "test_randomize_law.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


@cache
def _composed(name: str, schema: type, overrides: tuple[str, ...]) -> Any:
    return _compose(name, schema, overrides)


def _compose_once(name: str, schema: type, overrides: Sequence[str] = ()) -> Any:
    """simgen.config.compose, each configuration once in a process of tests."""
    return deepcopy(_composed(name, schema, tuple(overrides)))


_compose = simgen.config.compose
simgen.config.compose = _compose_once  # before any other module imports it
import simgen.executors  # noqa: E402


@pytest.fixture(autouse=True)
def _same_draws() -> None:
    """Seeds torch, so that random weights are the same in every run and in any order of the tests."""
    torch.manual_seed(0)


class SameProcess(Executor):
    """Stands in for simgen's pool of worker processes and does their work at once, in this process."""

    def __init__(
        self, workers: int, context: object, initializer: Callable[..., None], arguments: tuple[Any, ...]
    ) -> None:
        initializer(*arguments)

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments, **options))
        except Exception as error:
            future.set_exception(error)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        pass


@pytest.fixture(autouse=True, scope="session")
def _render_in_this_process() -> Iterator[None]:
    """A worker process imports everything anew, which takes a second of CPU time. Tests of the processes start the
    command (test_workers.py), where this does not reach."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simgen.executors, "ProcessPoolExecutor", SameProcess)
        yield


@pytest.fixture(scope="module")
def small_input() -> Iterator[None]:
    """The detection network sees whole pictures of toy_cubes at their own size, in training and in use: a tenth of the usual
    pixels."""
    from toy_cubes import SIZE  # not for all tests: it imports the training

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.fit.step.CUT", SIZE)
        patch.setattr("train.fit.step._CUT_SHARE", 1)
        for module in ("train.fit.step", "train.detect.detector"):
            patch.setattr(f"{module}.PIXELS", SIZE[0] * SIZE[1])
        yield
