"""The figures of a position model's evaluation: all errors on a map of the table, and the pictures with the worst errors."""

import cv2
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from simgen.dataset.read import read_rgb
from simgen.geometry import Array, project, transform_points
from train.draw.sheets import GREEN, RED, TILE, Image, drawn, headed, sheet
from train.metrics import xy_errors
from train.runs.tensorboard import PREDICTIONS, WORST
from train.tobin.data import Examples, PositionBatch


def draw_table(examples: Examples, predicted: Array, errors_cm: Array) -> Image:
    """(H, W, 3) RGB: the table from above with a dot at each true position and a line to the `predicted` one (N, 3) m,
    colored by error."""
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
    # A few gross errors must not compress the color scale of all others.
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
    """(H, W, 3) RGB: the `count` pictures with the greatest errors, the true position green, `predicted` (N, 3) m red."""
    worst = np.argsort(-errors_cm, kind="stable")[:count]
    return sheet([_tile(examples, int(row), predicted[row], float(errors_cm[row])) for row in worst])


def held_out_sheets(examples: Examples, predicted: Array, *, count: int = 6) -> dict[str, Image]:
    """For TensorBoard the sheets of the first `count` of `examples` and of those with the greatest errors, the true position
    green, `predicted` (N, 3) m red."""
    errors_cm = 100 * xy_errors(predicted, examples.positions)
    first = [_tile(examples, row, predicted[row], float(errors_cm[row])) for row in range(min(count, len(examples)))]
    return {PREDICTIONS: sheet(first), WORST: draw_worst(examples, predicted, errors_cm, count=count)}


def draw_input(batch: PositionBatch, *, count: int = 6) -> Image:
    """(H, W, 3) RGB: the first `count` pictures of `batch` with a green cross at the block's center."""
    tiles = []
    for image, keypoint in zip(batch["images"][:count], batch["keypoints"], strict=False):
        tile = np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())
        pixel = ((keypoint.cpu().numpy() + 1) * [tile.shape[1], tile.shape[0]] - 1) / 2
        u, v = (int(x) for x in np.clip(np.round(pixel), -9999, 9999))
        cv2.drawMarker(tile, (u, v), GREEN, cv2.MARKER_CROSS, 12, 1)
        tiles.append(tile)
    return sheet(tiles)


def _tile(examples: Examples, row: int, predicted: Array, error_cm: float) -> Image:
    picture = examples.pictures[row]
    image = read_rgb(picture.path)
    factor = TILE / image.shape[1]
    image = np.ascontiguousarray(cv2.resize(image, (TILE, round(factor * image.shape[0]))), dtype=np.uint8)
    if picture.camera_from_world is None:  # cannot be: find_examples leaves such pictures out
        raise AssertionError(picture.path)
    points = transform_points(picture.camera_from_world, np.stack([examples.positions[row], predicted]))
    pixels = (project(points, picture.intrinsics, picture.distortion) + 0.5) * factor - 0.5
    ends = [tuple(int(v) for v in np.clip(np.round(p), -9999, 9999)) if np.isfinite(p).all() else None for p in pixels]
    if ends[0] and ends[1]:
        cv2.line(image, ends[0], ends[1], (255, 255, 0), 1, cv2.LINE_AA)
    for end, color in zip(ends, (GREEN, RED), strict=True):
        if end:  # a point behind the camera has no pixel
            cv2.drawMarker(image, end, (0, 0, 0), cv2.MARKER_CROSS, 22, 5)
            cv2.drawMarker(image, end, color, cv2.MARKER_CROSS, 20, 2)
    return headed(image, f"{picture.scene_id}/{picture.image_id}: {error_cm:.1f} cm")
