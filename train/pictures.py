"""The pictures of an evaluation: all errors on a map of the table, and the worst of them on their photographs."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from simgen.dataset.read import read_rgb
from simgen.geometry import Array, project, transform_points
from train.data import Examples

Image = NDArray[np.uint8]

GREEN, RED = (0, 220, 0), (255, 40, 40)
TILE = 640  # px, the width of a photograph on the sheet


def draw_table(examples: Examples, predicted: Array, errors_cm: Array) -> Image:
    """The table from above (H, W, 3): a dot at each true place, a line to `predicted` (N, 3) m, coloured by error."""
    figure = Figure(figsize=(9, 8), dpi=100, layout="compressed")
    axes = figure.add_subplot()
    dataset, true = examples.dataset, examples.positions
    if dataset.table_center is not None and dataset.table_size is not None:
        corner = dataset.table_center - dataset.table_size / 2
        axes.add_patch(
            Rectangle((corner[0], corner[1]), *dataset.table_size, fill=False, edgecolor="0.3", label="table")
        )
    lines = LineCollection(list(np.stack([true[:, :2], predicted[:, :2]], 1)), linewidths=1.5, cmap="turbo")
    lines.set_array(errors_cm)
    # A few wild misses must not paint all others the same blue.
    lines.set_clim(0, max(3 * float(np.median(errors_cm)), 1e-3))
    axes.add_collection(lines)
    axes.scatter(true[:, 0], true[:, 1], s=14, c="black", zorder=3, label="true")
    axes.set(xlabel="X (m)", ylabel="Y (m)", aspect="equal")
    axes.set_title(f"{examples.target}: mean XY error {errors_cm.mean():.2f} cm over {len(examples)} pictures")
    axes.autoscale_view()
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2)
    figure.colorbar(lines, label="XY error (cm)", extend="max")
    return drawn(figure)


def draw_worst(examples: Examples, predicted: Array, errors_cm: Array, *, count: int = 5) -> Image:
    """The `count` pictures with the greatest errors (H, W, 3): the true place green, `predicted` (N, 3) m red."""
    worst = np.argsort(-errors_cm, kind="stable")[:count]
    return sheet([_tile(examples, int(row), predicted[row], float(errors_cm[row])) for row in worst])


def drawn(figure: Figure) -> Image:
    """The pixels (H, W, 3) of `figure`."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.renderer.buffer_rgba())[..., :3].copy()


def draw_curves(curves: Mapping[str, Array]) -> Image:
    """Each of `curves` (N,) by step, on a scale of its own, one above the other (H, W, 3)."""
    figure = Figure(figsize=(8, 3 * len(curves)), dpi=100, layout="constrained")
    for place, (name, values) in enumerate(curves.items()):
        axes = figure.add_subplot(len(curves), 1, place + 1)
        axes.plot(values, linewidth=1)
        axes.set(xlabel="step", ylabel=name, yscale="log")
        axes.grid(alpha=0.3)
    return drawn(figure)


def sheet(tiles: list[Image]) -> Image:
    """Tiles of one width (h, W, 3), at least one, in rows of up to three."""
    height = max(tile.shape[0] for tile in tiles)
    tiles = [np.pad(tile, ((0, height - tile.shape[0]), (0, 0), (0, 0))) for tile in tiles]
    columns = min(3, len(tiles))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    return np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])


def headed(image: Image, label: str) -> Image:
    """`image` with `label` in its upper left corner."""
    image = np.ascontiguousarray(image)
    cv2.rectangle(image, (0, 0), (18 * len(label), 34), (0, 0, 0), -1)
    cv2.putText(image, label, (8, 25), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255), 2, cv2.LINE_AA)
    return image


def write_png(path: Path, image: Image) -> None:
    """Writes `image` (H, W, 3) RGB so that `path` holds the old bytes or the new ones, never a part."""
    encoded = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))[1]
    part = path.with_name(path.name + ".part")
    part.write_bytes(encoded.tobytes())
    part.replace(path)


def _tile(examples: Examples, row: int, predicted: Array, error_cm: float) -> Image:
    picture = examples.pictures[row]
    image = read_rgb(picture.path)
    factor = TILE / image.shape[1]
    image = np.ascontiguousarray(cv2.resize(image, (TILE, round(factor * image.shape[0]))), dtype=np.uint8)
    if picture.camera_from_world is None:  # examples have one: find_examples leaves the others out
        raise AssertionError(picture.path)
    points = transform_points(picture.camera_from_world, np.stack([examples.positions[row], predicted]))
    pixels = (project(points, picture.intrinsics, picture.distortion) + 0.5) * factor - 0.5
    ends = [tuple(int(v) for v in np.clip(np.round(p), -9999, 9999)) if np.isfinite(p).all() else None for p in pixels]
    if ends[0] and ends[1]:
        cv2.line(image, ends[0], ends[1], (255, 255, 0), 1, cv2.LINE_AA)
    for end, color in zip(ends, (GREEN, RED), strict=True):
        if end:  # a place behind the camera has no pixel
            cv2.drawMarker(image, end, (0, 0, 0), cv2.MARKER_CROSS, 22, 5)
            cv2.drawMarker(image, end, color, cv2.MARKER_CROSS, 20, 2)
    return headed(image, f"{picture.scene_id}/{picture.image_id}: {error_cm:.1f} cm")
