"""Whether poses, cameras, models, masks, boxes, counts and depth of a picture agree with each other."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen.check.findings import (
    BadValue,
    BehindCamera,
    BoxUnlikeMask,
    CameraUnlikePicture,
    CountUnlikeMask,
    DepthUnlikePose,
    Finding,
    MaskSize,
    MaskUnlikePose,
    NotARotation,
    Report,
    UnknownObject,
    UnreadableFile,
    VisibleBeyondMask,
    VisibleTwice,
    WrongUnit,
)
from simgen.check.meshes import Array, Lens, Mesh, depth_at, inside, lens_of, silhouette
from simgen.check.schema import CheckConfig
from simgen.check.tree import Shot

_SAMPLES = 24  # pixels of an object at which its depth is compared
_ROTATION = 1e-3  # greatest error of an element of R R^T
_LENGTHS = 0.2, 50.0  # of a picture's width: the focal lengths of cameras
_DISTANCES = 0.5, 1000.0  # of its diameter: how far an object is
_FLOOR = 1.0  # mm: depth is not known better


def check_shot(
    shot: Shot,
    size: tuple[int, int],
    models: Mapping[int, tuple[Mesh, float]],
    limits: CheckConfig,
    report: Report,
) -> None:
    """Reports what does not agree in `shot`, a picture of `size` (width, height) px; `models` are a mesh and a diameter in
    mm for each obj_id."""
    width, height = size
    try:
        lens = lens_of(shot.camera)
    except (KeyError, TypeError, ValueError) as error:
        report(BadValue(shot.name, f"scene_camera.json: {error!r}; expected cam_K of 9 numbers"))
        return
    focal, center = np.diag(lens.matrix)[:2], lens.matrix[:2, 2]
    low, high = (part * width for part in _LENGTHS)
    if not (low < focal.min() and focal.max() < high and np.all((center > 0) & (center < [width, height]))):
        report(
            CameraUnlikePicture(
                shot.name, f"cam_K {lens.matrix.round(1).tolist()} cannot be that of {width} x {height} px"
            )
        )
        return
    depth = _depth(shot, width, height, report)
    seen_before = np.full((height, width), -1)
    for number in range(len(shot.truths)):
        _check_object(shot, number, models, lens, (width, height), depth, seen_before, limits, report)


def _check_object(
    shot: Shot,
    number: int,
    models: Mapping[int, tuple[Mesh, float]],
    lens: Lens,
    size: tuple[int, int],
    depth: Array | None,
    seen_before: NDArray[np.int64],
    limits: CheckConfig,
    report: Report,
) -> None:
    where, truth = f"{shot.name} object {number}", shot.truths[number]
    pose = _pose(truth, where, report)
    if pose is None:
        return
    obj_id = truth.get("obj_id")
    if not isinstance(obj_id, int) or obj_id not in models:
        report(UnknownObject(where, f"obj_id {obj_id!r} has no model"))
        return
    mesh, diameter = models[obj_id]
    if "size_mm" in truth:  # of simgen: the size of the block in this picture
        factor = np.array(truth["size_mm"], dtype=np.float64) / mesh.size
        mesh, diameter = Mesh(mesh.vertices * factor, mesh.triangles), diameter * float(factor.max())
    away = float(np.linalg.norm(pose[:3, 3]))
    if not _DISTANCES[0] * diameter < away < _DISTANCES[1] * diameter:
        report(WrongUnit(where, f"an object with a diameter of {diameter:.4g} mm is {away:.4g} mm away"))
        return
    if (mesh.vertices @ pose[2, :3] + pose[2, 3]).min() <= 0:
        if pose[2, 3] <= 0:
            report(BehindCamera(where, f"cam_t_m2c is {pose[:3, 3].round(1).tolist()} mm"))
        return  # partly behind the camera's plane: it has no silhouette
    whole, box = silhouette(mesh, pose, lens, *size)
    drawn = inside(whole, *size)
    info = None if shot.infos is None else shot.infos[number]
    mask, visible = (_mask(path, size, where, report) for path in (shot.masks[number], shot.visible[number]))
    if mask is not None:
        _same_shape(mask, drawn, where, limits, report)
    if mask is not None and visible is not None and np.any(visible & ~mask):
        report(VisibleBeyondMask(where, f"{np.count_nonzero(visible & ~mask)} pixels of mask_visib are not in mask"))
    if visible is not None:
        twice = visible & (seen_before >= 0)
        if twice.any():
            other = int(seen_before[twice][0])
            report(VisibleTwice(where, f"{twice.sum()} pixels of mask_visib are also those of object {other}"))
        seen_before[visible] = number
    if info is not None:
        _check_info(info, whole, box, visible, where, limits, report)
    if depth is not None and visible is not None:
        _check_depth(depth, visible, mesh, diameter, pose, lens, where, limits, report)


def _pose(truth: Mapping[str, Any], where: str, report: Report) -> Array | None:
    try:
        rotation = np.array(truth["cam_R_m2c"], dtype=np.float64).reshape(3, 3)
        shift = np.array(truth["cam_t_m2c"], dtype=np.float64).reshape(3)
    except (KeyError, TypeError, ValueError) as error:
        report(BadValue(where, f"{error!r}; expected cam_R_m2c of 9 numbers and cam_t_m2c of 3"))
        return None
    if not (np.isfinite(rotation).all() and np.isfinite(shift).all()):
        report(BadValue(where, "its pose has numbers that are not finite"))
        return None
    off = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
    if off > _ROTATION or np.linalg.det(rotation) < 0:
        report(NotARotation(where, f"R R^T is off by {off:.2g}, the determinant is {np.linalg.det(rotation):.3f}"))
        return None
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, shift
    return pose


def _mask(path: Path | None, size: tuple[int, int], where: str, report: Report) -> NDArray[np.bool_] | None:
    if path is None:
        return None
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        report(UnreadableFile(where, f"{path.parent.name}/{path.name} cannot be decoded"))
        return None
    if mask.shape[::-1] != size:
        report(
            MaskSize(
                where,
                f"{path.parent.name}/{path.name} has {mask.shape[1]} x {mask.shape[0]} px, not {size[0]} x {size[1]}",
            )
        )
        return None
    return np.asarray(mask > 0)


def _same_shape(
    mask: NDArray[np.bool_], drawn: NDArray[np.bool_], where: str, limits: CheckConfig, report: Report
) -> None:
    """Whether `mask` and the silhouette `drawn` differ only near their borders."""
    reach = np.ones((2 * limits.border_px + 1,) * 2, np.uint8)
    outer, inner = (cv2.dilate(drawn.astype(np.uint8), reach), cv2.erode(drawn.astype(np.uint8), reach))
    beyond, within = int(np.count_nonzero(mask & (outer == 0))), int(np.count_nonzero(~mask & (inner > 0)))
    if beyond + within > 0:
        report(
            MaskUnlikePose(
                where,
                f"{beyond} pixels of mask are outside of the projected model, and {within} of the model outside of mask, "
                f"more than {limits.border_px} px from its border",
            )
        )


def _check_info(
    info: Mapping[str, Any],
    whole: NDArray[np.bool_],
    box: Array,
    visible: NDArray[np.bool_] | None,
    where: str,
    limits: CheckConfig,
    report: Report,
) -> None:
    def off(name: str, stated: Any, true: Any, most: float, kind: type[Finding]) -> None:
        numbers = np.asarray(stated, dtype=np.float64)
        if numbers.shape != np.shape(true):
            report(BadValue(where, f"{name} is {stated!r}"))
        elif np.abs(numbers - true).max() > most:
            report(kind(where, f"{name} is {stated}, and by mask and pose {np.round(true, 3).tolist()}"))

    area = int(np.count_nonzero(whole))
    if "bbox_obj" in info and info["bbox_obj"][2] > 0:
        off("bbox_obj", info["bbox_obj"], box + np.array([0.5, 0.5, 0, 0]), limits.box_px + 1, BoxUnlikeMask)
    if visible is None:
        return
    count = int(np.count_nonzero(visible))
    if count:
        u, v, across, down = cv2.boundingRect(visible.astype(np.uint8))
        if "bbox_visib" in info:
            off("bbox_visib", info["bbox_visib"], np.array([u, v, across, down]), limits.box_px, BoxUnlikeMask)
    if "px_count_visib" in info:
        off("px_count_visib", info["px_count_visib"], count, 0, CountUnlikeMask)
    if "px_count_all" in info:
        border = 2 * float(box[2:].sum()) + 8  # px along its border, which may count or not
        off("px_count_all", info["px_count_all"], area, border, CountUnlikeMask)
    if "visib_fract" in info and "px_count_all" in info:
        share = count / info["px_count_all"] if info["px_count_all"] else 0.0
        off("visib_fract", info["visib_fract"], share, limits.fraction, CountUnlikeMask)


def _depth(shot: Shot, width: int, height: int, report: Report) -> Array | None:
    """(H, W) mm; 0 is unknown."""
    if shot.depth is None:
        return None
    image = cv2.imread(str(shot.depth), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 2 or image.shape != (height, width):
        report(UnreadableFile(shot.name, f"depth/{shot.depth.name} is no gray picture of {width} x {height} px"))
        return None
    if "depth_scale" not in shot.camera:
        report(BadValue(shot.name, "scene_camera.json: depth_scale is missing"))
        return None
    return image.astype(np.float64) * float(shot.camera["depth_scale"])


def _check_depth(
    depth: Array,
    visible: NDArray[np.bool_],
    mesh: Mesh,
    diameter: float,
    pose: Array,
    lens: Lens,
    where: str,
    limits: CheckConfig,
    report: Report,
) -> None:
    # Not at the border, where a pixel may show what is behind.
    core = cv2.erode(visible.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool) & (depth > 0)
    rows, columns = np.nonzero(core)
    if len(rows) < _SAMPLES:
        return
    some = np.linspace(0, len(rows) - 1, _SAMPLES).astype(int)
    pixels = np.stack([columns[some], rows[some]], 1).astype(np.float64)
    off = np.abs(depth_at(mesh, pose, lens.rays(pixels)) - depth[rows[some], columns[some]])
    middle = float(np.median(off))
    if middle > max(_FLOOR, limits.depth * diameter):
        report(DepthUnlikePose(where, f"its depth and that of its pose differ by {middle:.1f} mm in the median"))
