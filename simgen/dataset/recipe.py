"""The recipe in a dataset's manifest: all settings that determine the bytes of its samples."""

import contextlib
import importlib.metadata
import platform
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from simgen.catalogue import World
from simgen.dataset.write import DATA_VERSION
from simgen.engine import DISTRIBUTIONS
from simgen.files import sha256_of
from simgen.randomize import Sampler
from simgen.schema import Randomize, Raycast, Render, Source
from simgen.shapes.meshfile import mesh_sha256
from simgen.textures.images import ImageFolder

_OPENCV = ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python")
_DISTRIBUTIONS = ("simgen", "numpy", "scipy", *_OPENCV, "pillow", "trimesh", *DISTRIBUTIONS)
_RAYCAST = ("warp-lang",)  # and what only this renderer needs


def describe(source: Source, world: World, sampler: Sampler, images: ImageFolder) -> dict[str, Any]:
    """The recipe for manifest.json as JSON values: all that determines the bytes of a sample, except its index."""
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
        "meshes": {name: mesh_sha256(path) for name, path in zip(world.meshes.names, world.meshes.paths, strict=True)},
        "photographs": sampler.draws_photographs,
        "versions": {"python": platform.python_version(), **_installed(source.renderer)},
    }


def describe_dataset(
    config: Render, world: World, sampler: Sampler, images: ImageFolder, ignored: Sequence[str]
) -> dict[str, Any]:
    """The recipe in the manifest of a dataset that `config` writes; `ignored` are the factors that its renderer cannot
    vary."""
    return {
        **describe(config, world, sampler, images),
        "writer": config.writer,
        "image_format": config.image_format,
        "ignored": list(ignored),
    }


def _factors(randomize: Randomize) -> dict[str, Any]:
    """The configuration's factors. Without a camera file, its key is left out, so that datasets of older versions can be
    resumed."""
    factors = asdict(randomize)
    if not randomize.camera.file:
        del factors["camera"]["file"]
    return factors


def _installed(renderer: str) -> dict[str, str]:
    """The installed distributions that can change the bytes of a sample, with their versions. OpenCV and PyBullet have
    several distributions each; those that are not installed are left out."""
    versions = {}
    for name in (*_DISTRIBUTIONS, *(_RAYCAST if renderer == "raycast" else ())):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def _drawn_by(raycast: Raycast) -> dict[str, Any]:
    """The renderer's settings. Of the device only its kind changes bytes."""
    device = raycast.device.split(":", maxsplit=1)[0]
    return {"device": device, "supersample": raycast.supersample, "light_samples": raycast.light_samples}
