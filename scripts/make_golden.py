"""Writes tests/golden/: a few small reference pictures for the tests of the renderers.

    python scripts/make_golden.py

Run it only after a change that is meant to change the data, inspect the pictures, and increment DATA_VERSION.
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen.config import compose
from simgen.pipeline import make_pipeline
from simgen.render import make_renderer
from simgen.schema import Render

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "golden"
SETTINGS = {
    "none": ["randomize=none"],
    "full": ["randomize=full"],
    "tobin2017": ["randomize=tobin2017"],
    "kuka_table": ["scene=kuka_table", "randomize=full"],
    "tiny": ["randomize=full", "renderer=tiny"],
}


def golden_picture(name: str) -> NDArray[np.uint8]:
    """(96, 512, 3) RGB: samples 0 to 3 of the setting `name`, side by side. No blocks are dropped, because the two
    distributions of PyBullet are built by different compilers."""
    pipeline = make_pipeline(compose("render", Render, [*SETTINGS[name], "physics=place", "width=128", "height=96"]))
    renderer = make_renderer(pipeline.source.renderer, pipeline.world, pipeline.images)
    return np.concatenate([sample.rgb for sample in pipeline.samples(renderer, range(4))], axis=1)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in SETTINGS:
        cv2.imwrite(str(FOLDER / f"{name}.png"), np.ascontiguousarray(golden_picture(name)[..., ::-1]))
        print(FOLDER / f"{name}.png")
