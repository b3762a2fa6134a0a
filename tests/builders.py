"""Small pieces that several test files build scenes from."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from simgen.catalogue import World, load_world
from simgen.config import compose
from simgen.dataset.recipe import describe
from simgen.errors import RenderError
from simgen.pipeline import Pipeline, make_pipeline
from simgen.randomize import Sampler, make_sampler
from simgen.schema import Render

torch.set_num_threads(1)  # the tests' processes are the parallelism

ROOT = Path(__file__).resolve().parent.parent
PHOTOGRAPHS = ROOT.parent / "shared" / "real"
SMALL = ("width=160", "height=120")


@cache
def sampler_of(*overrides: str) -> tuple[Sampler, World]:
    """The sampler and the world of `python -m simgen render` with these overrides."""
    config = compose("render", Render, list(overrides))
    world = load_world(config.scene)
    sampler = make_sampler(
        config.randomize, world, width=config.width, height=config.height, settle=config.physics == "settle"
    )
    return sampler, world


def pipeline_of(*overrides: str) -> Pipeline:
    """The whole pipeline of `python -m simgen render` with these overrides."""
    return make_pipeline(compose("render", Render, list(overrides)))


def recipe_of(pipeline: Pipeline) -> dict[str, Any]:
    """What the manifest of a dataset of `pipeline` says of it."""
    return describe(pipeline.source, pipeline.world, pipeline.sampler, pipeline.images)


def need_egl() -> None:
    """Skips the test where PyBullet's EGL renderer does not work, and says why."""
    from simgen.render.bullet import probe_egl

    try:
        probe_egl()
    except RenderError as error:
        pytest.skip(str(error))


def tree(folder: Path, skip: Sequence[str] = ()) -> dict[str, bytes]:
    """Every file below `folder` with its bytes."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.name not in skip}
