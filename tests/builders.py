"""Helpers of several test files."""

import contextlib
import importlib.util
import io
import runpy
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from simgen.catalogue import World, load_world
from simgen.config import compose
from simgen.dataset.recipe import describe
from simgen.pipeline import Pipeline, make_pipeline
from simgen.randomize import Sampler, make_sampler
from simgen.schema import Render

ROOT = Path(__file__).resolve().parent.parent
PHOTOGRAPHS = ROOT.parent / "shared" / "real"
SMALL = ("width=160", "height=120")

# Restores the factors of randomize=full at data version 7: no clutter, no pictures on surfaces or around the table, no
# windows, and no dropped blocks. For a test of a property that these would hide, and for pictures like those of earlier
# results.
_PATTERNS = "gradient,checker,stripes,noise"
OLD_WORLD = (
    "randomize.settle=0",
    "randomize.clutter.slots=0",
    "randomize.clutter.count=0",
    *(f"randomize.{name}.material.texture=[choice,flat,flat,{_PATTERNS},faces]" for name in ("blocks", "distractors")),
    f"randomize.fixture.texture=[choice,flat,flat,{_PATTERNS}]",
    *(f"randomize.{name}.texture=[choice,flat,{_PATTERNS}]" for name in ("table", "floor", "wall", "background")),
    *(
        f"randomize.{name}.{factor}=0"
        for name in ("blocks.material", "distractors.material", "fixture", "table")
        for factor in ("sides", "edge_mm", "wear")
    ),
    *(
        f"randomize.{name}.grime=0"
        for name in ("blocks.material", "distractors.material", "fixture", "table", "floor", "wall")
    ),
    "randomize.light.kind=[choice,directional,point,area]",
    "randomize.light.direction=[cap,[0,0,1],70]",
    "randomize.light.size=[loguniform,0.02,0.4]",
    "randomize.ambient.direction=[0,0,1]",
    "randomize.ambient.reflection=0",
    "randomize.ambient.ground=[hsv,[uniform,0,1],[uniform,0,0.4],[uniform,0.3,1]]",
)
# What scenes/tabletop.yaml had then: its cameras, and all together.
OLD_CAMERAS = (
    "randomize.camera.distance=[uniform,0.5,1.3]",
    "randomize.camera.elevation_deg=[uniform,25,80]",
    "randomize.camera.fov_deg=[uniform,38,58]",
    "randomize.camera.distortion=[uniform,[-0.1,-0.02,-0.001,-0.001,0],[0.05,0.02,0.001,0.001,0]]",
)
OLD_TABLETOP = (*OLD_WORLD, *OLD_CAMERAS, "randomize.distractors.scale=[loguniform,0.6,1.2]")


def scene_of_blocks(folder: Path, blocks: str) -> Path:
    """The scene tabletop with the block file `blocks`, a text, instead of its own; written into `folder`."""
    (folder / "blocks.yaml").write_text(blocks)
    text = (ROOT / "scenes" / "tabletop.yaml").read_text().replace("blocks: blocks/tobin.yaml", "blocks: blocks.yaml")
    path = folder / "own.yaml"
    path.write_text(text)
    return path


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


def events_of(folder: Path) -> list[tuple[str, int, Any]]:
    """What a run wrote to TensorBoard, in that order: name, step, and the picture (H, W, 3) or number."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    events: list[tuple[str, int, Any]] = []
    for path in sorted(folder.glob("events.*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "images":
                    data = np.frombuffer(value.tensor.string_val[2], np.uint8)
                    picture = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
                    events.append((value.tag, event.step, picture))
                else:
                    events.append((value.tag, event.step, float(value.tensor.float_val[0])))
    return events


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


def script_module(name: str) -> Any:
    """scripts/`name`.py as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def arrays_of(part: Any, above: str = "") -> dict[str, np.ndarray]:
    """The arrays of scenes by their names, such as lights.kind."""
    found = {}
    for item in fields(part):
        value, name = getattr(part, item.name), f"{above}{item.name}"
        found |= arrays_of(value, f"{name}.") if is_dataclass(value) else {name: np.asarray(value)}
    return found


def tree(folder: Path, skip: Sequence[str] = ()) -> dict[str, bytes]:
    """Every file below `folder` with its bytes."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.name not in skip}
