"""Draws the picture of Settings: `Drawer`, which keeps world, pictures and renderer from one picture to the next."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from simgen.catalogue import World
from simgen.dataset.write import Sample
from simgen.errors import ConfigError
from simgen.geometry import Array
from simgen.live.schema import Live
from simgen.live.settings import Settings
from simgen.pipeline import make_resized_pipeline, notices_of
from simgen.randomize import Sampler
from simgen.render import make_renderer


@dataclass(frozen=True)
class Drawing:
    """A picture of `settings`: the sample, the numbers of each factor in it by full key, and the seconds that it took."""

    settings: Settings
    sample: Sample
    values: Mapping[str, Array]
    seconds: float


class Drawer:
    """Draws samples of configurations that differ in seed, index and factors from `config`. Raises as make_pipeline and
    make_renderer do."""

    def __init__(self, config: Live) -> None:
        self._pipeline = make_resized_pipeline(config)
        self._renderer = make_renderer(config.renderer, self.world, self._pipeline.images, config.raycast)

    @property
    def world(self) -> World:
        return self._pipeline.world

    @property
    def notices(self) -> tuple[str, ...]:
        """Lines for the user, of `notices_of`."""
        return notices_of(self._pipeline, self._renderer)

    def draw(self, settings: Settings) -> Drawing:
        """The picture of `settings`. Raises a SimgenError that states why there is none."""
        begun = time.monotonic()
        if not 0 <= settings.index < 2**63:
            raise ConfigError(f"start: got {settings.index}; expected 0 or a positive number below 2^63")
        pipeline = make_resized_pipeline(settings.config(), like=self._pipeline)
        (sample,) = pipeline.samples(self._renderer, [settings.index])
        values = values_of(pipeline.sampler, settings.seed, settings.index, int(sample.scene.attempt[0]))
        return Drawing(settings, sample, values, time.monotonic() - begun)

    def close(self) -> None:
        self._renderer.close()


def values_of(sampler: Sampler, seed: int, index: int, attempt: int = 0) -> dict[str, Array]:
    """The numbers (dim,) of each factor of a sample, and the numbers of slots, by full key. Of a factor that each block,
    light or object has, those of the first. A block or object whose place was taken is elsewhere than its factor `place`."""
    drawn = sampler.drawn(seed, [index], attempt=attempt)
    values = {f"randomize.{path.replace('/', '.')}": numbers[0] for path, numbers in drawn.items()}
    slots = {"blocks": sampler.slots[0], "distractors": sampler.slots[1]}
    slots |= {"clutter": sampler.clutter, "light": sampler.lights}
    return values | {f"randomize.{name}.slots": np.array([count]) for name, count in slots.items()}
