"""The pipeline from a configuration to samples: sampling, physics, rendering, sensor model and labels."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simgen.camera import fit_camera
from simgen.catalogue import World, load_world
from simgen.clutter import clear_of_blocks
from simgen.dataset.write import Sample
from simgen.engine import load_pybullet
from simgen.errors import ConfigError, RenderError
from simgen.labels import labels_of
from simgen.physics import sample_settled
from simgen.randomize import Sampler, make_sampler
from simgen.render import Frames, Renderer, check_renderer, to_numpy
from simgen.scene import Scenes, take
from simgen.schema import Source
from simgen.sensor import sense
from simgen.shapes.meshfolder import open_mesh_folder
from simgen.textures.images import ImageFolder, open_image_folder
from simgen.textures.photographs import photographs

PHYSICS = {"randomize": None, "place": False, "settle": True}  # the words, and what each replaces randomize.settle with
CHUNK = 16  # samples in one unit of work for a worker
BLACK = 1e-4  # linear light below which a pixel of a file is black


@dataclass(frozen=True)
class Pipeline:
    """A checked configuration with its world, sampler and image folder; makes samples from indices."""

    source: Source
    world: World
    sampler: Sampler
    images: ImageFolder

    def scenes(self, index: Sequence[int]) -> Scenes:
        """The scenes of the samples with these indices, as they are rendered."""
        scenes = sample_settled(self.sampler, self.source.seed, np.asarray(index, dtype=np.int64))
        return clear_of_blocks(scenes, self.world)

    def samples(self, renderer: Renderer, index: Sequence[int]) -> Iterator[Sample]:
        """The finished samples with these indices. Each is a pure function of the configuration and its index."""
        scenes = self.scenes(index)
        for start in range(0, len(scenes), renderer.batch):
            part = take(scenes, slice(start, start + renderer.batch))
            frames = renderer.render(part)
            black = _are_black(frames)
            rgb = to_numpy(sense(frames.rgb, part.sensor))
            frames = frames.cpu()
            labels = labels_of(part, frames, self.world)
            for row in range(len(part)):
                if black[row]:  # the samples before it are kept
                    raise _black_error(part, row, self.source.seed)
                yield Sample(take(part, [row]), rgb[row], frames.depth[row], labels[row])


def check_start(start: int, num: int) -> None:
    """Raises ConfigError if no sample can have the index `start`, or that of the last of `num`."""
    if not 0 <= start <= start + num <= 2**63:
        raise ConfigError(f"start: got {start}; expected 0 or a positive number; start + num must be at most 2^63")


def make_pipeline(source: Source, *, checked: bool = False) -> Pipeline:
    """Reads and checks all files and settings of `source`. Raises a SimgenError that names the faulty key.

    A worker process sets `checked`: the main process has decoded all pictures of the image folder, and printed what it
    skipped.
    """
    check_renderer(source.renderer)
    world = load_world(source.scene)
    if source.randomize.clutter.meshes:
        meshes = open_mesh_folder(Path(source.randomize.clutter.meshes), "randomize.clutter.meshes")
        world = replace(world, meshes=meshes)
    folder = source.randomize.images
    images = open_image_folder(Path(folder), "randomize.images", checked=checked) if folder else ImageFolder()
    pipeline = _assembled(source, world, images)
    if images.skipped and not checked:
        print(f"randomize.images: {len(images.paths)} pictures in {folder}; skipped {images.skipped}", file=sys.stderr)
    return pipeline


def make_resized_pipeline(source: Source, *, like: Pipeline | None = None) -> Pipeline:
    """`make_pipeline` for a command with a default image size: the camera of a camera file is scaled to that size.

    `like` is the pipeline of a source with the same scene, pictures and meshes, which are then not read again. Raises
    ConfigError where the file's camera has another aspect ratio.
    """

    def made(source: Source) -> Pipeline:
        return make_pipeline(source) if like is None else _assembled(source, like.world, like.images)

    file = source.randomize.camera.file
    if not file or source.width is None or source.height is None:
        return made(source)
    pipeline = made(replace(source, width=None, height=None))
    sampler = pipeline.sampler
    assert sampler.camera is not None
    camera = fit_camera(sampler.camera, source.width, source.height, file, "randomize.camera.file")
    sampler = replace(sampler, camera=camera, width=source.width, height=source.height)
    return replace(pipeline, source=source, sampler=sampler)


def notices_of(pipeline: Pipeline, renderer: Renderer) -> tuple[str, ...]:
    """Lines for the user of a command that draws: what is to be known of the files, and which factors are not drawn."""
    cannot = f"renderer={renderer.name} cannot vary {', '.join(renderer.ignored)}"
    ignored = [f"{cannot}: sampled, but not visible; renderer=raycast draws them"] if renderer.ignored else []
    return (*pipeline.world.notes, *pipeline.sampler.notices, *ignored)


def _assembled(source: Source, world: World, images: ImageFolder) -> Pipeline:
    check_choice("physics", source.physics, tuple(PHYSICS))
    if source.randomize.automatic:
        raise ConfigError(
            "randomize.automatic: ranges grow while a model learns, and here none does; use randomize=full, or train with "
            "data=stream"
        )
    if not 0 <= source.seed < 2**63:
        raise ConfigError(f"seed: got {source.seed}; expected 0 or a positive number below 2^63")
    sampler = make_sampler(
        source.randomize, world, width=source.width, height=source.height, settle=PHYSICS[source.physics]
    )
    if np.any(sampler.leaves["settle"].support()[1]):
        load_pybullet("physics", "physics=place")  # fails here, not at the first scene that is dropped
    if sampler.draws_photographs:
        photographs()  # fails here, not at the first scene that shows one
    return Pipeline(source, world, sampler, images)


def _are_black(frames: Frames) -> NDArray[np.bool_]:
    """(B,) whether a frame is black. The background is ignored, because it emits light."""
    there = frames.depth > 0
    bright = frames.rgb >= BLACK
    lit = there & (bright[..., 0] | bright[..., 1] | bright[..., 2])  # four times as fast as any()
    # A few pixels along edges may be half background.
    return np.asarray(to_numpy(lit.sum((1, 2)) < 0.05 * there.sum((1, 2))))


def _black_error(scenes: Scenes, row: int, seed: int) -> RenderError:
    """The error for a black image, which means that the lights are configured wrongly."""
    dark = not np.any(scenes.lights.present[row] & (scenes.lights.intensity[row] > 0))
    cause = (
        "it has no light and no ambient: raise randomize.light.count or randomize.ambient.intensity"
        if dark and scenes.ambient.intensity[row] == 0
        else "raise randomize.ambient.intensity or randomize.light.intensity"
    )
    return RenderError(f"randomize.light: sample {scenes.index[row]} of seed {seed} is black; {cause}")


def check_choice(key: str, value: str, options: Sequence[str]) -> None:
    """Raises ConfigError that names `key` unless `value` is one of `options`."""
    if value not in options:
        raise ConfigError(f"{key}: unknown {key} '{value}'; expected one of {', '.join(options)}")
