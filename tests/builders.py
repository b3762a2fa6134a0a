"""Helpers of several test files."""

import contextlib
import io
import runpy
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from simgen.catalogue import World, load_world
from simgen.config import compose
from simgen.dataset.recipe import describe
from simgen.pipeline import Pipeline, make_pipeline
from simgen.randomize import Sampler, make_sampler
from simgen.schema import Render

torch.set_num_threads(1)  # the tests' processes are the parallelism

ROOT = Path(__file__).resolve().parent.parent
PHOTOGRAPHS = ROOT.parent / "shared" / "real"
SMALL = ("width=160", "height=120")


@cache
def sampler_of(*overrides: str) -> tuple[Sampler, World]:
    """The sampler and the world of `python -m simgen render` with these overrides. No blocks are dropped."""
    config = compose("render", Render, list(overrides))
    world = load_world(config.scene)
    sampler = make_sampler(config.randomize, world, width=config.width, height=config.height, settle=False)
    return sampler, world


def pipeline_of(*overrides: str) -> Pipeline:
    """The whole pipeline of `python -m simgen render` with these overrides, by default with physics=place."""
    return make_pipeline(compose("render", Render, ["physics=place", *overrides]))


def recipe_of(pipeline: Pipeline) -> dict[str, Any]:
    """The recipe in the manifest of a dataset of `pipeline`."""
    return describe(pipeline.source, pipeline.world, pipeline.sampler, pipeline.images)


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def run_command(command: Callable[[], object], *argv: str) -> Done:
    """The result of `command` with sys.argv `argv`, in this process, because a new one needs seconds to import torch. The
    command may return its status or exit with it."""
    stdout, stderr, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = list(argv)
    try:
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            status = command()
    except SystemExit as exit:
        status = exit.code
    finally:
        sys.argv = before
    return Done(int(status or 0), stdout.getvalue(), stderr.getvalue())  # type: ignore[call-overload]


def run_script(name: str, *arguments: str) -> Done:
    """The result of scripts/`name` called with `arguments`."""
    path = str(ROOT / "scripts" / name)
    return run_command(lambda: runpy.run_path(path, run_name="__main__"), path, *arguments)


def tree(folder: Path, skip: Sequence[str] = ()) -> dict[str, bytes]:
    """Every file below `folder` with its bytes."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.name not in skip}
