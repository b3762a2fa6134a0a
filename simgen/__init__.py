"""simgen: labelled, domain-randomized images of blocks on a table, each a pure function of (seed, index).

The world frame is the table's, Z up, metres; cameras have OpenCV axes (geometry.py). `import simgen` needs no pybullet.
"""

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
