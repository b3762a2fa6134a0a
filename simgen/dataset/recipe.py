"""What determines the bytes of a dataset's samples, for its manifest."""

import importlib.metadata
import platform
from dataclasses import asdict
from typing import Any

from simgen.catalogue import World
from simgen.dataset.write import DATA_VERSION
from simgen.files import sha256_of
from simgen.randomize import Sampler
from simgen.schema import Randomize, Raycast, Source
from simgen.textures.images import ImageFolder


def describe(source: Source, world: World, sampler: Sampler, images: ImageFolder) -> dict[str, Any]:
    """The recipe for manifest.json: all that determines the bytes of a sample beside its index, as plain JSON values."""
    libraries = ("numpy", "scipy", "opencv-python-headless", "pillow", "trimesh", "torch", "torchvision", "pybullet")
    return {
        "data_version": DATA_VERSION,
        "seed": source.seed,
        "scene": source.scene,
        "world": dict(world.source),
        "renderer": source.renderer,
        **({"raycast": _drawn_by(source.raycast)} if source.renderer == "raycast" else {}),
        "physics": source.physics,
        "width": sampler.width,
        "height": sampler.height,
        "randomize": _factors(source.randomize),
        **({"camera": sampler.camera.to_json()} if sampler.camera is not None else {}),
        "images": {name: sha256_of(path) for name, path in zip(images.names, images.paths, strict=True)},
        "versions": {
            "simgen": _version("simgen"),
            "python": platform.python_version(),
            **{name: _version(name) for name in libraries},
        },
    }


def _factors(randomize: Randomize) -> dict[str, Any]:
    """The configuration's factors. Without a camera file the key is left out, so that older datasets can be finished."""
    factors = asdict(randomize)
    if not randomize.camera.file:
        del factors["camera"]["file"]
    return factors


def _version(package: str) -> str | None:
    """The version of an installed package; None where it is not installed, as pybullet need not be for raycast."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _drawn_by(raycast: Raycast) -> dict[str, Any]:
    """The settings that change bytes: chunk and compile do not."""
    device = raycast.device.split(":", maxsplit=1)[0]
    return {"device": device, "supersample": raycast.supersample, "light_samples": raycast.light_samples}
