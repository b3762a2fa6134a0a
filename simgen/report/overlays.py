"""The labels of a sample in pixels of its picture, as JSON values that the page draws over the thumbnail."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from simgen.dataset.fields import entries
from simgen.dataset.models import Model
from simgen.dataset.scenes import Instance, Picture
from simgen.errors import DatasetError
from simgen.files import read_json
from simgen.geometry import Array, project, transform_points
from simgen.report.samples import Sample

_KEYPOINTS = "scene_keypoints.json"
_FARTHEST = 4  # pictures: what is projected beyond this distance from the corner is not drawn
_OUTLINES = 400  # numbers of one outline at most


def overlay_of(sample: Sample, scale: float) -> list[dict[str, Any]]:
    """A dict for each block, with those of these keys that are known: `visible` and `whole` are boxes [u, v, width,
    height]; `outline` are the polygons [u, v, u, v, ...] of its mask, exact to about a pixel of a thumbnail of which one
    pixel is `scale` of the picture's; `axes` [u, v] x 4, the origin and the ends of X, Y and Z; `keypoints` [[u, v,
    visibility], ...], visibility 1 occluded, 2 visible."""
    keypoints = _keypoints(sample)
    found = []
    for k, one in enumerate(sample.picture.instances):
        labels: dict[str, Any] = {"name": sample.models[one.obj_id].name}
        for key, box in (("visible", one.box_visible), ("whole", one.box_amodal)):
            if box[2] > 0:
                labels[key] = list(box)
        outline = _outline(sample, one.number, scale)
        if outline:
            labels["outline"] = outline
        axes = _axes(one, sample.picture)
        if axes is not None:
            labels["axes"] = axes
        points = keypoints[k] if keypoints is not None else _projected(one, sample.models[one.obj_id], sample.picture)
        if points:
            labels["keypoints"] = points
        found.append(labels)
    return found


def _outline(sample: Sample, number: int, scale: float) -> list[list[float]]:
    for folder in ("mask_visib", "mask"):
        path = sample.folder / folder / f"{sample.picture.path.stem}_{number:06d}.png"
        if path.is_file():
            mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            return [] if mask is None else _polygons(mask, scale)
    return []


def _polygons(mask: Any, scale: float) -> list[list[float]]:
    contours, _ = cv2.findContours((mask > 0).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    found: list[list[float]] = []
    left = _OUTLINES
    for contour in sorted(contours, key=len, reverse=True):
        points = cv2.approxPolyDP(contour, 0.6 * max(scale, 1.0), True).reshape(-1)
        if len(points) > left:
            break
        left -= len(points)
        found.append(points.tolist())
    return found


def _axes(one: Instance, picture: Picture) -> list[float] | None:
    half = 0.5 * float(one.size.max())
    ends = np.concatenate([np.zeros((1, 3)), half * np.eye(3)])
    return _pixels(transform_points(one.camera_from_block, ends), picture)


def _projected(one: Instance, model: Model, picture: Picture) -> list[list[float]] | None:
    """The keypoints of the model; their visibility is not known, so they count as visible."""
    if model.keypoints is None:
        return None
    points = model.keypoints * (one.size / model.size)
    pixels = _pixels(transform_points(one.camera_from_block, points), picture)
    return None if pixels is None else [[*pixels[k : k + 2], 2] for k in range(0, len(pixels), 2)]


def _pixels(points: Array, picture: Picture) -> list[float] | None:
    """The projections of `points` (P, 3) m in the camera frame; None if one is not before the camera, or far outside."""
    if (points[:, 2] <= 0).any():
        return None
    pixels = project(points, picture.intrinsics, picture.distortion)
    if not np.isfinite(pixels).all() or np.abs(pixels).max() > 2 * _FARTHEST * picture.intrinsics[:2, 2].max():
        return None
    return _rounded(pixels.ravel())


def _keypoints(sample: Sample) -> list[list[list[float]]] | None:
    """The stored keypoints of each block; None if the dataset stores none for this picture. Raises DatasetError."""
    path = sample.folder / _KEYPOINTS
    stored = _entry(path, sample.picture.image_id)
    if not isinstance(stored, list) or len(stored) != len(sample.picture.instances):
        return None
    found = []
    for k, one in enumerate(stored):
        try:
            # null is a keypoint behind the camera
            pairs = [[np.nan, np.nan] if point is None else point for point in one["keypoints_px"]]
            points = np.array(pairs, dtype=np.float64).reshape(-1, 2)
            kept = [j for j in range(len(points)) if np.isfinite(points[j]).all() and one["visibility"][j] > 0]
            found.append([[*_rounded(points[j]), int(one["visibility"][j])] for j in kept])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise DatasetError(
                f"{path}: image {sample.picture.image_id}, block {k}: {error!r}; expected keypoints_px, pairs of numbers, "
                "and visibility, a number for each"
            ) from error
    return found


def _entry(path: Path, image: int) -> Any:
    return _entries(path).get(image)


@lru_cache(maxsize=4)
def _entries(path: Path) -> dict[int, Any]:
    """The content of a JSON file by the number of the image; empty if there is no such file. Raises DatasetError."""
    return entries(read_json(path), path, "image") if path.is_file() else {}


def _rounded(values: Sequence[float] | Array) -> list[float]:
    return [round(float(value), 1) for value in values]
