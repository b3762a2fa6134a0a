"""The renderers, which draw Scenes as Frames. All have one interface, which tests/test_render.py checks."""

from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np

from simgen.catalogue import World
from simgen.errors import ConfigError, RenderError
from simgen.scene import Scenes
from simgen.schema import Raycast
from simgen.textures.images import ImageFolder

RENDERERS = ("raycast", "tiny")


@dataclass(frozen=True)
class Frames:
    """A batch of B rendered frames: NumPy arrays from a CPU, torch tensors on its device from a CUDA renderer.

    rgb (B, H, W, 3) float32: linear light, 1 is white; sensor.py turns it into 8-bit images. depth (B, H, W) float32: m
    along the optical axis, 0 for background. slot (B, H, W) int16: the index of the visible block, -1 for none. amodal
    (B, N, H, W) bool: the full mask of each block, without occlusion by others; None from backends that do not provide it.
    """

    rgb: Any
    depth: Any
    slot: Any
    amodal: Any = None

    def __post_init__(self) -> None:
        shape = self.depth.shape
        if len(shape) != 3 or self.rgb.shape != (*shape, 3) or self.slot.shape != shape:
            raise ValueError(
                f"Frames: shapes {tuple(self.rgb.shape)}, {tuple(shape)}, {tuple(self.slot.shape)} do not belong together"
            )

    def cpu(self) -> "Frames":
        """The same frames as NumPy arrays."""
        return Frames(*(to_numpy(getattr(self, item.name)) for item in fields(self)))


def to_numpy(values: Any) -> Any:
    """`values` as a NumPy array, from a NumPy array or a torch tensor on any device; None for None."""
    return None if values is None else np.asarray(values.cpu() if hasattr(values, "cpu") else values)


class Renderer(Protocol):
    """Draws scenes of one World."""

    name: str
    device: str  # where its Frames are: "cpu", or "cuda:0" and so on
    batch: int  # the preferred number of scenes in one call of `render`

    @property
    def ignored(self) -> tuple[str, ...]:
        """The configuration keys of the factors that this backend cannot render. They are sampled and recorded all the
        same."""
        ...

    def render(self, scenes: Scenes) -> Frames:
        """The frames of `scenes`. Each frame is a pure function of its scene: its bytes do not depend on what was rendered
        before or in the same batch."""
        ...

    def close(self) -> None:
        """Frees the renderer's resources outside Python."""
        ...


def make_renderer(
    name: str,
    world: World,
    images: ImageFolder | None = None,
    raycast: Raycast | None = None,
    *,
    threads: int | None = None,
) -> Renderer:
    """The backend `name` for `world`. `raycast` are the settings of the backend raycast, and `threads` the CPU threads that
    it may use, None for one for each core.

    Raises ConfigError for an unknown backend, RenderError for one that cannot run on this machine.
    """
    check_renderer(name)
    if name == "raycast":
        renderer: Renderer = _raycast().RaycastRenderer(world, images or ImageFolder(), raycast or Raycast(), threads)
        return renderer
    from simgen.render.bullet import BulletRenderer  # only this backend needs pybullet

    return BulletRenderer(world, images or ImageFolder())


def check_raycast(settings: Raycast) -> None:
    """Raises ConfigError for `settings` of the backend raycast that are out of range, RenderError for those with which it
    cannot run on this machine."""
    _raycast().device_of(settings)


def _raycast() -> Any:
    """The module of the backend raycast, the only one that needs Warp. Raises RenderError without it."""
    try:
        import simgen.render.raycast as module
    except ImportError as error:
        raise RenderError(
            f"renderer: raycast needs NVIDIA Warp, which cannot be imported ({error}); install it with `pip install "
            "warp-lang`, or use renderer=tiny"
        ) from error
    return module


def check_renderer(name: str) -> None:
    """Raises ConfigError if `name` is not a backend."""
    if name not in RENDERERS:
        raise ConfigError(f"renderer: unknown renderer '{name}'; expected one of {', '.join(RENDERERS)}")
