"""Whether poses, cameras, models, masks, boxes, counts, keypoints and depth of a picture agree with each other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen.check.decode import decode
from simgen.check.findings import (
    BadValue,
    BehindCamera,
    BoxUnlikeMask,
    CameraUnlikePicture,
    CountUnlikeMask,
    DepthUnlikePose,
    Finding,
    KeypointUnlikePose,
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
from simgen.check.meshes import Lens, Mesh, Silhouette, depth_at, lens_of, silhouette
from simgen.check.models import ModelOf
from simgen.check.numbers import Array, numbers
from simgen.check.schema import CheckConfig
from simgen.check.tree import Shot

Mask = NDArray[np.uint8]  # (H, W), not 0 where an object is
_SAMPLES = 24  # pixels of an object at which its depth is compared
_ROTATION = 1e-3  # greatest error of an element of R R^T
_LENGTHS = 0.2, 50.0  # of a picture's width: the focal lengths of cameras
_DISTANCES = 0.5, 1000.0  # of its diameter: how far an object is
_FLOOR = 1.0  # mm: depth is not known better


@dataclass
class _View:
    """What is known of a picture while its objects are checked: `depth` (H, W) in units of `depth_scale` mm, and `owner`
    (H, W), 1 + the number of the object that claims a pixel."""

    shot: Shot
    width: int
    height: int
    lens: Lens
    depth: NDArray[Any] | None
    depth_scale: float
    owner: NDArray[np.uint16]


def check_shot(
    shot: Shot,
    size: tuple[int, int],
    models: Mapping[int, ModelOf],
    read: Callable[[str], bytes | None],
    limits: CheckConfig,
    report: Report,
) -> list[int]:
    """Reports what does not agree in `shot`, a picture of `size` (width, height) px whose other files `read` reads. Returns
    the number of visible pixels of each object, -1 where it is unknown."""
    width, height = size
    areas = [-1] * len(shot.truths)
    try:
        lens = lens_of(shot.camera)
    except ValueError as error:
        report(BadValue(shot.name, f"scene_camera.json: {error}; expected cam_K of 9 numbers"))
        return areas
    focal, center = np.diag(lens.matrix)[:2], lens.matrix[:2, 2]
    low, high = (part * width for part in _LENGTHS)
    if not (low < focal.min() and focal.max() < high and np.all((center > 0) & (center < [width, height]))):
        report(
            CameraUnlikePicture(
                shot.name, f"cam_K {lens.matrix.round(1).tolist()} cannot be that of {width} x {height} px"
            )
        )
        return areas
    _check_world(shot, report)
    depth, scale = _depth(shot, width, height, read, report)
    owner = np.zeros((height, width), np.uint16)
    view = _View(shot, width, height, lens, depth, scale, owner)
    for number in range(len(shot.truths)):
        areas[number] = _check_object(view, number, models, read, limits, report)
    return areas


def _check_object(
    view: _View,
    number: int,
    models: Mapping[int, ModelOf],
    read: Callable[[str], bytes | None],
    limits: CheckConfig,
    report: Report,
) -> int:
    """Checks one object; returns its visible pixels, -1 if they are unknown."""
    shot, where = view.shot, f"{view.shot.name} object {number}"
    truth = shot.truths[number]
    mask, visible = _masks(view, number, read, where, report)
    seen = -1 if visible is None else cv2.countNonZero(visible)
    pose = _pose(truth, "cam_R_m2c", "cam_t_m2c", where, report)
    obj_id = truth.get("obj_id")
    if pose is None:
        return seen
    if type(obj_id) is not int or obj_id not in models:
        report(UnknownObject(where, f"obj_id {obj_id!r} has no model"))
        return seen
    model = models[obj_id]
    mesh, diameter = model.mesh, model.diameter
    if "size_mm" in truth:  # of simgen: the size of the block in this picture
        try:
            size = numbers(truth["size_mm"], 3)
        except ValueError as error:
            report(BadValue(where, f"size_mm is {error}"))
            return seen
        if size.min() <= 0:
            report(BadValue(where, f"size_mm is {size.tolist()}"))
            return seen
        mesh, diameter = mesh.scaled(size), diameter * float((size / np.maximum(mesh.size, 1e-9)).max())
    away = float(np.linalg.norm(pose[:3, 3]))
    if not _DISTANCES[0] * diameter < away < _DISTANCES[1] * diameter:
        report(WrongUnit(where, f"an object with a diameter of {diameter:.4g} mm is {away:.4g} mm away"))
        return seen
    if (mesh.vertices @ pose[2, :3] + pose[2, 3]).min() <= 0:
        # Of a block that is behind the camera nothing is seen: some tools label those, too.
        count = None if shot.infos is None else shot.infos[number].get("px_count_visib")
        unseen = seen <= 0 and (cv2.countNonZero(mask) == 0 if mask is not None else count == 0)
        if pose[2, 3] <= 0 and not unseen:
            report(BehindCamera(where, f"cam_t_m2c is {pose[:3, 3].round(1).tolist()} mm"))
        return seen  # partly behind the camera's plane: it has no silhouette
    drawn = silhouette(mesh, pose, view.lens, view.width, view.height, limits.border_px)
    if drawn is not None and mask is not None:
        _same_shape(mask, drawn, where, limits, report)
    # The rectangle around the visible pixels: all that follows is within it.
    u, v, across, down = (0, 0, 0, 0) if visible is None else cv2.boundingRect(visible)
    part = np.s_[v : v + down, u : u + across]
    if seen > 0 and visible is not None:
        _check_overlap(view, number, visible[part], None if mask is None else mask[part], part, where, report)
    if shot.infos is not None:
        _check_info(shot.infos[number], view, drawn, mask, seen, np.array([u, v, across, down]), where, limits, report)
    if view.depth is not None and visible is not None and seen > 0:
        _check_depth(view, visible[part], (u, v), mesh, diameter, pose, where, limits, report)
    if shot.keypoints is not None and model.keypoints is not None:
        scale = mesh.size / np.maximum(model.mesh.size, 1e-9)
        _check_keypoints(shot.keypoints[number], model.keypoints * scale, pose, view.lens, where, limits, report)
    return seen


def _pose(truth: Mapping[str, Any], rotation: str, shift: str, where: str, report: Report) -> Array | None:
    """(4, 4) mm; None, and a finding, for what is no rigid transform."""
    pose = np.eye(4)
    for key, shape in ((rotation, (3, 3)), (shift, (3,))):
        try:
            if key not in truth:
                raise ValueError("missing")
            part = numbers(truth[key], *shape)
        except ValueError as error:
            report(BadValue(where, f"{key} is {error}; expected {rotation} of 9 numbers and {shift} of 3"))
            return None
        if key == rotation:
            pose[:3, :3] = part
        else:
            pose[:3, 3] = part
    turn = pose[:3, :3]
    off = float(np.abs(turn @ turn.T - np.eye(3)).max())
    if off > _ROTATION or np.linalg.det(turn) < 0:
        report(NotARotation(where, f"R R^T is off by {off:.2g}, the determinant is {np.linalg.det(turn):.3f}"))
        return None
    return pose


def _check_world(shot: Shot, report: Report) -> None:
    """The pose of the camera in the world, if the picture states one."""
    if "cam_R_w2c" in shot.camera or "cam_t_w2c" in shot.camera:
        _pose(shot.camera, "cam_R_w2c", "cam_t_w2c", f"{shot.name} scene_camera.json", report)


def _masks(
    view: _View, number: int, read: Callable[[str], bytes | None], where: str, report: Report
) -> tuple[Mask | None, Mask | None]:
    """The mask of an object and that of its visible part. Where their files are equal, as of all objects that nothing hides,
    they are decoded once."""
    names = view.shot.masks[number], view.shot.visible[number]
    whole, part = (None if name is None else read(name) for name in names)
    mask = _mask(whole, names[0], view, where, report)
    return mask, mask if part is not None and part == whole else _mask(part, names[1], view, where, report)


def _mask(data: bytes | None, name: str | None, view: _View, where: str, report: Report) -> Mask | None:
    if data is None or name is None:
        return None
    short = "/".join(name.split("/")[-2:])
    mask = decode(data, short, cv2.IMREAD_GRAYSCALE, where, report)
    if mask is not None and mask.shape != (view.height, view.width):
        size = f"{mask.shape[1]} x {mask.shape[0]} px, not {view.width} x {view.height}"
        report(MaskSize(where, f"{short} has {size}"))
        return None
    return mask  # type: ignore[return-value]


def _same_shape(mask: Mask, drawn: Silhouette, where: str, limits: CheckConfig, report: Report) -> None:
    """Whether `mask` and the silhouette differ only near their borders."""
    height, width = mask.shape
    reach = np.ones((2 * limits.border_px + 1,) * 2, np.uint8)
    # The part of the silhouette's image that is in the picture, and that part of the picture.
    left, top = max(drawn.left, 0), max(drawn.top, 0)
    right = min(drawn.left + drawn.image.shape[1], width)
    bottom = min(drawn.top + drawn.image.shape[0], height)
    there = cv2.countNonZero(mask)
    beyond = within = 0
    if right <= left or bottom <= top:
        beyond = there
    else:
        inner = np.s_[top - drawn.top : bottom - drawn.top, left - drawn.left : right - drawn.left]
        outer, core = cv2.dilate(drawn.image, reach)[inner], cv2.erode(drawn.image, reach)[inner]
        here = mask[top:bottom, left:right]
        beyond = there - int(np.count_nonzero(here[outer > 0]))
        within = int(np.count_nonzero(core)) - int(np.count_nonzero(here[core > 0]))
    if beyond + within > 0:
        report(
            MaskUnlikePose(
                where,
                f"{beyond} pixels of mask are outside of the projected model, and {within} of the model outside of mask, "
                f"more than {limits.border_px} px from its border",
            )
        )


def _check_overlap(
    view: _View, number: int, visible: Mask, mask: Mask | None, part: Any, where: str, report: Report
) -> None:
    """Whether the visible pixels are in the mask, and in that of no other object."""
    seen = visible > 0
    if mask is not None:
        beyond = int(np.count_nonzero(seen & (mask == 0)))
        if beyond:
            report(VisibleBeyondMask(where, f"{beyond} pixels of mask_visib are not in mask"))
    owner = view.owner[part]
    twice = owner[seen]
    if twice.any():
        other = int(twice[twice > 0][0]) - 1
        report(VisibleTwice(where, f"{np.count_nonzero(twice)} pixels of mask_visib are also those of object {other}"))
    owner[seen] = number + 1


def _check_info(
    info: Mapping[str, Any],
    view: _View,
    drawn: Silhouette | None,
    mask: Mask | None,
    seen: int,
    rectangle: Array,
    where: str,
    limits: CheckConfig,
    report: Report,
) -> None:
    def stated(name: str, *shape: int) -> Array | None:
        if name not in info:
            return None
        try:
            return numbers(info[name], *shape)
        except ValueError as error:
            report(BadValue(where, f"scene_gt_info.json: {name} is {error}"))
            return None

    def off(name: str, found: Array | None, true: Any, most: float, kind: type[Finding]) -> None:
        if found is not None and np.abs(found - true).max() > most:
            report(kind(where, f"{name} is {found.tolist()}, and by mask and pose {np.round(true, 3).tolist()}"))

    box, whole = stated("bbox_obj", 4), stated("px_count_all", 1)
    count, share = stated("px_count_visib", 1), stated("visib_fract", 1)
    valid, around = stated("px_count_valid", 1), stated("bbox_visib", 4)
    # px along its border, which may count or not
    border = 8.0 if drawn is None else 8 + 2 * float(drawn.box[2:].sum())
    if drawn is not None:
        if box is not None and box[2] > 0 and drawn.box[2:].min() > 0:
            off("bbox_obj", box, drawn.box + np.array([0.5, 0.5, 0, 0]), limits.box_px + 1, BoxUnlikeMask)
        off("px_count_all", whole, cv2.countNonZero(drawn.image), border, CountUnlikeMask)
    if valid is not None and mask is not None and view.depth is not None:
        u, v, across, down = cv2.boundingRect(mask)
        part = np.s_[v : v + down, u : u + across]
        measured = int(np.count_nonzero((mask[part] > 0) & (view.depth[part] > 0)))
        off("px_count_valid", valid, measured, border, CountUnlikeMask)
    if seen < 0:
        return
    if seen > 0:
        off("bbox_visib", around, rectangle, limits.box_px, BoxUnlikeMask)
    off("px_count_visib", count, seen, 0, CountUnlikeMask)
    if whole is not None:
        off("visib_fract", share, seen / whole[0] if whole[0] > 0 else 0.0, limits.fraction, CountUnlikeMask)


def _depth(
    shot: Shot, width: int, height: int, read: Callable[[str], bytes | None], report: Report
) -> tuple[NDArray[Any] | None, float]:
    """(H, W), 0 where it is unknown, and the mm of one unit."""
    if shot.depth is None:
        return None, 1.0
    try:
        if "depth_scale" not in shot.camera:
            raise ValueError("missing")
        scale = float(numbers(shot.camera["depth_scale"], 1)[0])
        if scale <= 0:
            raise ValueError(f"{scale:g}, not above 0")
    except ValueError as error:
        report(BadValue(shot.name, f"scene_camera.json: depth_scale is {error}"))
        return None, 1.0
    data, short = read(shot.depth), "/".join(shot.depth.split("/")[-2:])
    image = None if data is None else decode(data, short, cv2.IMREAD_UNCHANGED, shot.name, report)
    if image is not None and image.shape != (height, width):
        report(UnreadableFile(shot.name, f"{short} is no gray picture of {width} x {height} px"))
        return None, 1.0
    return image, scale


def _check_depth(
    view: _View,
    visible: Mask,
    corner: tuple[int, int],
    mesh: Mesh,
    diameter: float,
    pose: Array,
    where: str,
    limits: CheckConfig,
    report: Report,
) -> None:
    assert view.depth is not None
    (u, v), (down, across) = corner, visible.shape
    # Not at the border, where a pixel may show what is behind.
    padded = cv2.copyMakeBorder(visible, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=0)
    core = cv2.erode(padded, np.ones((5, 5), np.uint8))[2:-2, 2:-2] > 0
    rows, columns = np.nonzero(core & (view.depth[v : v + down, u : u + across] > 0))
    if len(rows) < _SAMPLES:
        return
    some = np.linspace(0, len(rows) - 1, _SAMPLES).astype(int)
    columns, rows = columns[some] + u, rows[some] + v
    rays = view.lens.rays(np.stack([columns, rows], 1).astype(np.float64))
    off = np.abs(depth_at(mesh, pose, rays) - view.depth[rows, columns] * view.depth_scale)
    middle = float(np.median(off))
    if middle > max(_FLOOR, limits.depth * diameter):
        report(DepthUnlikePose(where, f"its depth and that of its pose differ by {middle:.1f} mm in the median"))


def _check_keypoints(
    stated: Mapping[str, Any],
    keypoints: Array,
    pose: Array,
    lens: Lens,
    where: str,
    limits: CheckConfig,
    report: Report,
) -> None:
    """The pixels in scene_keypoints.json against `keypoints` (K, 3) mm of the model; null is one that has no pixel."""
    pixels = stated.get("keypoints_px")
    if not isinstance(pixels, list) or len(pixels) != len(keypoints):
        report(BadValue(where, f"scene_keypoints.json: keypoints_px is no list of {len(keypoints)} points"))
        return
    points = keypoints @ pose[:3, :3].T + pose[:3, 3]
    known = [k for k, pixel in enumerate(pixels) if pixel is not None and points[k, 2] > 0]
    try:
        found = np.array([numbers(pixels[k], 2) for k in known]).reshape(-1, 2)
    except ValueError as error:
        report(BadValue(where, f"scene_keypoints.json: a keypoint is {error}"))
        return
    if not known or lens.folds(points[known]):
        return
    off = np.linalg.norm(found - lens.project(points[known]), axis=1)
    if not off.max() <= limits.keypoint_px:
        worst = int(np.argmax(off))
        report(KeypointUnlikePose(where, f"keypoint {known[worst]} is {off[worst]:.1f} px from that of the pose"))
