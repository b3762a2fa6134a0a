"""Renderers: Scenes in, Frames out. Every backend obeys one contract (tests/test_render.py)."""

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from simgen.catalogue import World
from simgen.errors import ConfigError
from simgen.scene import Scenes
from simgen.schema import Raycast
from simgen.textures.images import ImageFolder

RENDERERS = ("tiny", "egl", "raycast")


@dataclass(frozen=True)
class Frames:
    """A batch of pictures, on the device that drew them.

    rgb (B, H, W, 3) float32, linear light, 1 being white (sensor.py makes pictures for files of it); depth (B, H, W)
    float32 m along the optical axis, 0 where nothing is hit; slot (B, H, W) int16, which block is seen, -1 where none is.
    amodal (B, N, H, W) bool: where each block would be seen if nothing stood before it; None from backends that cannot
    tell.
    """

    rgb: Tensor
    depth: Tensor
    slot: Tensor
    amodal: Tensor | None = None

    def __post_init__(self) -> None:
        shape = self.depth.shape
        if len(shape) != 3 or self.rgb.shape != (*shape, 3) or self.slot.shape != shape:
            raise ValueError(
                f"Frames: shapes {tuple(self.rgb.shape)}, {tuple(shape)}, {tuple(self.slot.shape)} do not belong together"
            )

    def cpu(self) -> "Frames":
        """The same in the host's memory, where numpy can read it."""
        amodal = None if self.amodal is None else self.amodal.cpu()
        return replace(self, rgb=self.rgb.cpu(), depth=self.depth.cpu(), slot=self.slot.cpu(), amodal=amodal)


class Renderer(Protocol):
    """Draws scenes of one World."""

    name: str
    device: torch.device
    batch: int  # how many scenes at a time suit it

    @property
    def ignored(self) -> tuple[str, ...]:
        """The factors, by configuration key, that this backend cannot vary: they are sampled and recorded, not seen."""
        ...

    def render(self, scenes: Scenes) -> Frames:
        """The frames of `scenes`, a pure function of them: the same bytes whatever was rendered before, or beside."""
        ...

    def close(self) -> None:
        """Frees what the renderer holds outside Python."""
        ...


def make_renderer(
    name: str, world: World, images: ImageFolder | None = None, raycast: Raycast | None = None
) -> Renderer:
    """The backend `name` for `world`; `raycast` are the settings of the backend of that name.

    Raises ConfigError for an unknown one, RenderError for one that cannot run here.
    """
    check_renderer(name)
    if name == "raycast":
        from simgen.render.raycast import RaycastRenderer

        return RaycastRenderer(world, images or ImageFolder(), raycast or Raycast())
    from simgen.render.bullet import BulletRenderer  # pybullet is needed by those alone who render with it

    return BulletRenderer(name, world, images or ImageFolder())


def check_renderer(name: str) -> None:
    """Raises ConfigError unless `name` is a backend."""
    if name not in RENDERERS:
        raise ConfigError(f"renderer: unknown renderer '{name}'; expected one of {', '.join(RENDERERS)}")
