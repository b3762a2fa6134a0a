"""Contact sheets: samples side by side with their labels drawn over them, for inspection before training."""

import re
import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen.catalogue import World
from simgen.command.progress import Progress
from simgen.config import compose
from simgen.dataset.write import Sample
from simgen.drawings import contact_sheet, is_drawn_by, png_bytes
from simgen.errors import ConfigError
from simgen.files import write_file
from simgen.geometry import project
from simgen.labels import OCCLUDED, VISIBLE, Label
from simgen.pipeline import CHUNK, check_start, make_resized_pipeline, notices_of
from simgen.render import make_renderer
from simgen.schema import Preview

# Colors of the labeled blocks in an image: the Okabe-Ito palette, which is safe for color-blind readers.
COLORS = [(230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167)]

LAYERS = ("masks", "boxes", "axes", "keypoints", "names")  # what `draw_labels` draws

_MARK = "simgen preview"


def preview(config: Preview) -> None:
    """Writes the contact sheet PNG that `config` describes."""
    if not 1 <= config.num <= 400:
        raise ConfigError(f"num: got {config.num}; expected 1 to 400 samples on one sheet")
    check_start(config.start, config.num)
    if config.vary is not None:
        # A preset varies its own group of factors and takes the others from `none`.
        try:
            preset = compose("preview", Preview, [f"randomize={config.vary}"])
        except ConfigError as error:
            raise ConfigError(re.sub(r"^randomize\b", "vary", str(error))) from error
        preset.randomize.camera.file = config.randomize.camera.file
        config = replace(config, randomize=preset.randomize)
    if Path(config.out).suffix.lower() != ".png":
        raise ConfigError(f"out: got {config.out}; expected the name of a .png file")
    if Path(config.out).exists() and not is_drawn_by(Path(config.out), _MARK):
        raise ConfigError(f"out: {config.out} exists, and preview did not draw it; name another file or move it")
    pipeline = make_resized_pipeline(config)
    renderer = make_renderer(config.renderer, pipeline.world, pipeline.images, config.raycast)
    for notice in notices_of(pipeline, renderer):
        print(notice, file=sys.stderr)
    index = list(range(config.start, config.start + config.num))
    tiles = []
    with Progress("drawn", config.num, "images") as progress:
        for k in range(0, config.num, CHUNK):
            for sample in pipeline.samples(renderer, index[k : k + CHUNK]):
                tiles.append(draw_labels(sample, pipeline.world))
                progress.update()
    renderer.close()
    write_file(Path(config.out), png_bytes(contact_sheet(tiles), _MARK))
    print(f"{config.out}: {config.num} samples of scene={config.scene}")


def draw_labels(sample: Sample, world: World, layers: Collection[str] = LAYERS) -> NDArray[np.uint8]:
    """The sample's image (H, W, 3) with its number and, for each labeled block, those of LAYERS that `layers` names: visible
    outline, amodal box, axes, keypoints (filled where visible, hollow where occluded), name and visible fraction."""
    image = np.array(sample.rgb)
    for k, label in enumerate(sample.labels):
        color = COLORS[k % len(COLORS)]
        if "masks" in layers:
            contours, _ = cv2.findContours(label.visible.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(image, contours, -1, color, 1)
        u, v, width, height = label.box_amodal
        if "boxes" in layers and width > 0:
            cv2.rectangle(image, (u, v), (u + width - 1, v + height - 1), color, 1)
        if "keypoints" in layers:
            _draw_keypoints(image, label, color)
        if "axes" in layers:
            _draw_axes(image, sample, label)
        if "names" in layers:
            name = f"{world.solids[label.model].name} {label.visible_fraction:.2f}"
            _write_text(image, name, (max(u, 1), max(v - 3, 9)), color)
    _write_text(image, str(int(sample.scene.index[0])), (3, image.shape[0] - 4), (255, 255, 255))
    return image


def _write_text(image: NDArray[np.uint8], text: str, place: tuple[int, int], color: tuple[int, int, int]) -> None:
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.33, 1)
    u, v = place
    image[max(v - height - 1, 0) : v + below, max(u - 1, 0) : u + width] //= 3
    cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.33, color, 1, cv2.LINE_AA)


def _draw_keypoints(image: NDArray[np.uint8], label: Label, color: tuple[int, int, int]) -> None:
    for point, seen in zip(label.keypoints, label.visibility, strict=True):
        if seen in (OCCLUDED, VISIBLE):
            u, v = np.rint(point).astype(int)
            cv2.circle(image, (int(u), int(v)), 2, color, -1 if seen == VISIBLE else 1, cv2.LINE_AA)


def _draw_axes(image: NDArray[np.uint8], sample: Sample, label: Label) -> None:
    cameras, pose = sample.scene.cameras, label.camera_from_block
    half = label.size.max()
    ends = pose[:3, 3] + np.concatenate([np.zeros((1, 3)), half * pose[:3, :3].T])
    pixels = project(ends, cameras.intrinsics[0], cameras.distortion[0])
    if np.isfinite(pixels).all() and np.abs(pixels).max() < 1e4:
        origin, *tips = [tuple(int(x) for x in np.rint(pixel)) for pixel in pixels]
        for tip, axis_color in zip(tips, ((255, 0, 0), (0, 255, 0), (0, 0, 255)), strict=True):
            cv2.line(image, origin, tip, axis_color, 1, cv2.LINE_AA)
