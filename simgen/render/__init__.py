"""Renderers: Scenes in, Frames out. Every backend obeys one contract (tests/test_render.py)."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from simgen.catalogue import World
from simgen.errors import ConfigError
from simgen.scene import Scenes
from simgen.textures import ImageFolder

RENDERERS = ("tiny", "egl")


@dataclass(frozen=True)
class Frames:
    """A batch of pictures.

    rgb (B, H, W, 3) uint8; depth (B, H, W) float32 m along the optical axis, 0 where nothing is hit; slot (B, H, W) int16,
    which block is seen, -1 where none is.
    """

    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
    slot: NDArray[np.int16]

    def __post_init__(self) -> None:
        shape = self.depth.shape
        if len(shape) != 3 or self.rgb.shape != (*shape, 3) or self.slot.shape != shape:
            raise ValueError(f"Frames: shapes {self.rgb.shape}, {shape}, {self.slot.shape} do not belong together")


class Renderer(Protocol):
    """Draws scenes of one World."""

    name: str

    @property
    def ignored(self) -> tuple[str, ...]:
        """The factors, by configuration key, that this backend cannot vary: they are sampled and recorded, not seen."""
        ...

    def render(self, scenes: Scenes) -> Frames:
        """The frames of `scenes`, a pure function of them: the same bytes whatever was rendered before."""
        ...

    def close(self) -> None:
        """Frees what the renderer holds outside Python."""
        ...


def make_renderer(name: str, world: World, images: ImageFolder | None = None) -> Renderer:
    """The backend `name` for `world`. Raises ConfigError for an unknown one, RenderError for one that cannot run here."""
    check_renderer(name)
    from simgen.render.bullet import BulletRenderer  # pybullet is needed by those alone who render with it

    return BulletRenderer(name, world, images or ImageFolder())


def check_renderer(name: str) -> None:
    """Raises ConfigError unless `name` is a backend."""
    if name not in RENDERERS:
        raise ConfigError(f"renderer: unknown renderer '{name}'; expected one of {', '.join(RENDERERS)}")
