"""simgen: labeled, domain-randomized images of blocks on a table, each a pure function of (seed, index).

The world frame is the table's, Z up, meters; cameras have OpenCV axes (geometry.py). `import simgen` loads nothing heavy:
the public names below are imported when they are first used, and pybullet only by its own renderers and by physics=settle.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simgen.catalogue import World, load_world
    from simgen.dataset.read import BopDataset, open_dataset
    from simgen.draws import Draws
    from simgen.errors import SimgenError
    from simgen.labels import Label, labels_of
    from simgen.randomize import Sampler, make_sampler
    from simgen.render import Frames, Renderer, make_renderer
    from simgen.scene import Scenes
    from simgen.sensor import sense

__all__ = [
    "BopDataset",
    "Draws",
    "Frames",
    "Label",
    "Renderer",
    "Sampler",
    "Scenes",
    "SimgenError",
    "World",
    "labels_of",
    "load_world",
    "make_renderer",
    "make_sampler",
    "open_dataset",
    "sense",
]

_HOMES = {
    "BopDataset": "simgen.dataset.read",
    "Draws": "simgen.draws",
    "Frames": "simgen.render",
    "Label": "simgen.labels",
    "Renderer": "simgen.render",
    "Sampler": "simgen.randomize",
    "Scenes": "simgen.scene",
    "SimgenError": "simgen.errors",
    "World": "simgen.catalogue",
    "labels_of": "simgen.labels",
    "load_world": "simgen.catalogue",
    "make_renderer": "simgen.render",
    "make_sampler": "simgen.randomize",
    "open_dataset": "simgen.dataset.read",
    "sense": "simgen.sensor",
}


def __getattr__(name: str) -> Any:
    """The public name `name`, imported on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'simgen' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
