"""Contact sheets, curves and PNG files."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from simgen.drawings import contact_sheet, is_drawn_by, png_bytes
from simgen.files import write_file
from simgen.geometry import Array

Image = NDArray[np.uint8]
GREEN = (0, 220, 0)
RED = (255, 40, 40)
TILE = 640  # px, the width of a photograph on the sheet
_MARK = "simgen train"


def drawn(figure: Figure) -> Image:
    """The pixels (H, W, 3) of `figure`."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.renderer.buffer_rgba())[..., :3].copy()


def draw_curves(curves: Mapping[str, Array]) -> Image:
    """A figure (H, W, 3) RGB with one plot for each of `curves` (N,) against the step, on a logarithmic scale."""
    figure = Figure(figsize=(8, 3 * len(curves)), dpi=100, layout="constrained")
    for place, (name, values) in enumerate(curves.items()):
        axes = figure.add_subplot(len(curves), 1, place + 1)
        axes.plot(values, linewidth=1)
        axes.set(xlabel="step", ylabel=name, yscale="log")
        axes.grid(alpha=0.3)
    return drawn(figure)


def sheet(tiles: list[Image]) -> Image:
    """A contact sheet (H, W, 3) of `tiles` (h, w, 3), at least one, all of one width, in rows of up to three."""
    return contact_sheet(tiles, 3)


def headed(image: Image, label: str) -> Image:
    """`image` (H, W, 3) with `label` in white on black in its upper left corner."""
    image = np.ascontiguousarray(image)
    cv2.rectangle(image, (0, 0), (18 * len(label), 34), (0, 0, 0), -1)
    cv2.putText(image, label, (8, 25), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255), 2, cv2.LINE_AA)
    return image


def write_png(path: Path, image: Image) -> None:
    """Writes `image` (H, W, 3) RGB atomically as a PNG file, which `is_ours` then knows. Raises FileError if that fails."""
    write_file(path, png_bytes(image, _MARK))


def is_ours(path: Path) -> bool:
    """Whether `write_png` wrote the file `path`."""
    return is_drawn_by(path, _MARK)
