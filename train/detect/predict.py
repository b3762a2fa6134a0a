"""`python -m train predict`: detects blocks in pictures, folders of pictures and videos."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simgen.camera import Camera, fit_camera, read_camera
from simgen.errors import ConfigError, PartialError, PictureError, SimgenError
from simgen.geometry import inverse, project, quaternion_from_matrix, rigid, transform_points
from simgen.pictures import Image, read_picture
from train.config import PredictConfig
from train.detect.board import BoardOnTable
from train.detect.detector import load_detector, note_if_uncalibrated
from train.detect.drawing import draw_detections
from train.detect.equivalent import Reported, equivalent_poses
from train.detect.familiarity import STRANGE
from train.detect.inputs import Input, inputs_of, video_frames
from train.detect.overlays import Predictions, VideoOverlay, check_outputs, overlay_path, write_overlay
from train.detect.types import Detection
from train.pose.view import View
from train.runs.trainer import device_of

_LISTED = 20  # greatest number of failures that the last line lists
# The coordinate frames of each line of output: those that it uses, with these words. Lengths are in meters.
_CAMERA = "OpenCV axes: X right, Y down, Z forward in the picture after its EXIF rotation; origin: center of projection"
_BLOCK = "axes of the block set or mesh file; origin: center of the block's bounding box"
_MESH = "axes and origin of the mesh file"
_TABLE = "that of camera_from_table in the camera file: Z up, the table's top at Z = 0"


def predict(config: PredictConfig) -> None:
    """Prints one line of JSON for each picture and video frame, and writes predictions.json and overlays into `config.out`.

    Raises PartialError at the end if some inputs could not be read; ConfigError, CheckpointError or PictureError if nothing
    was predicted; and ConfigError, before anything is written, if an output would overwrite a file of the user.
    """
    images = config.image if isinstance(config.image, list) else [config.image]
    inputs, out = inputs_of([str(image) for image in images]), Path(config.out)
    overlays = [overlay_path(out, one.name, video=one.video) for one in inputs]
    check_outputs(out, overlays, [one.path for one in inputs])
    camera = read_camera(config.camera)
    board = None if config.board is None else BoardOnTable(config.board, config.ruler_mm)
    detector = load_detector(config.checkpoint).zoomed(config.zoom)
    if config.kinds is not None:
        detector.blocks.check_names(config.kinds, "kinds")
    detector.net.to(device_of(config.accelerator))
    on_table = board is not None or camera.camera_from_table is not None
    note_if_uncalibrated(config.checkpoint, detector, {on_table})
    predictions, weak, strange = Predictions(out), _Weak(config.confidence), _Strange()
    failures: list[SimgenError] = []
    noticed: set[str] = set()
    try:
        for one, overlay in zip(inputs, overlays, strict=True):
            try:
                earlier: list[Reported] = []
                with VideoOverlay(overlay) as video:
                    for name, picture, fitted, rate in _pictures(one, camera, config.camera):
                        fitted.print_notices(config.camera, noticed)
                        view, table = (
                            board.view(fitted, picture, name) if board is not None else (_view_of(fitted), _TABLE)
                        )
                        seen = detector.look([picture], [view])[0]
                        detections = _of_kinds(seen.detections, config.kinds)
                        strange.note(name, seen.familiarity)
                        # The pictures of a folder are not a video: each is on its own.
                        detections, earlier = equivalent_poses(weak.without(detections), view, earlier)
                        line = describe_picture(name, picture, detections, view, seen.familiarity, table)
                        print(json.dumps(line, allow_nan=False), flush=True)
                        predictions.add(line)
                        drawn = draw_detections(picture, detections, view)
                        if rate is None:
                            write_overlay(overlay, drawn)
                        else:
                            video.write(drawn, rate)
            except (ConfigError, PictureError) as error:  # an error of this input only; errors in writing end the run
                failures.append(error)
    except KeyboardInterrupt:
        print(f"\n{len(predictions.lines)} pictures are done: {predictions.path}", file=sys.stderr)
        raise
    finally:
        predictions.close()
    weak.report(config.camera, on_table=on_table)
    if board is not None:
        board.report()
    strange.report()
    if failures and not predictions.lines:
        raise (
            failures[0] if len(failures) == 1 else ConfigError(f"image: no picture could be used: {_listed(failures)}")
        )
    if failures:
        raise PartialError(
            f"{len(failures)} of {_counted(len(inputs), 'input')} could not be used whole, the rest is in "
            f"{predictions.path}: {_listed(failures)}"
        )


class _Weak:
    """Removes detections below a confidence threshold, and counts them."""

    def __init__(self, confidence: float) -> None:
        self._confidence = confidence
        self._counts: list[int] = []
        self._best = 0.0

    def without(self, detections: Sequence[Detection]) -> list[Detection]:
        """The `detections` of a picture that are at or above the threshold."""
        weak = [one.confidence for one in detections if one.confidence < self._confidence]
        self._counts.append(len(weak))
        self._best = max([self._best, *weak])
        return [one for one in detections if one.confidence >= self._confidence]

    def report(self, camera: str, *, on_table: bool) -> None:
        """Prints a line on stderr if any detections were removed."""
        count, pictures = sum(self._counts), sum(count > 0 for count in self._counts)
        if not count:
            return
        free = (
            f"; {camera} states no camera_from_table, so poses are free and their confidence is low"
            if not on_table
            else ""
        )
        print(
            f"left out {_counted(count, 'detection')} in {_counted(pictures, 'picture')} below "
            f"confidence={self._confidence:g}, the best at {self._best:.2f}{free}; a lower confidence= shows them",
            file=sys.stderr,
        )


def describe_picture(
    name: str,
    picture: Image,
    detections: Sequence[Detection],
    view: View,
    familiarity: float | None,
    table: str = _TABLE,
) -> dict[str, Any]:
    """The line of output for `picture` (H, W, 3): its size after its EXIF rotation, how familiar it is to the model, the
    coordinate frames of the poses, of which `table` is the table's, and the `detections`, as plain JSON values."""
    frames = {"camera": _CAMERA, "block": _BLOCK}
    if any(detection.kind.mesh_origin is not None for detection in detections):
        frames["mesh"] = _MESH
    if view.camera_from_table is not None:
        frames["table"] = table
    return {
        "image": name,
        "size_px": [picture.shape[1], picture.shape[0]],
        "familiarity": None if familiarity is None else round(familiarity, 4),
        "coordinate_frames": frames,
        "blocks": [describe(detection, view) for detection in detections],
    }


class _Strange:
    """Counts pictures unlike those of the training."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._count = 0

    def note(self, name: str, familiarity: float | None) -> None:
        """Counts the picture `name`."""
        self._count += 1
        if familiarity is not None and familiarity < STRANGE:
            self._names.append(name)

    def report(self) -> None:
        """Prints a line on stderr if a picture had a familiarity below STRANGE."""
        if self._names:
            print(
                f"{len(self._names)} of {_counted(self._count, 'picture')} unlike those of the training (familiarity below "
                f"{STRANGE:g}), so the confidence may be wrong: {', '.join(self._names[:_LISTED])}"
                f"{', ...' if len(self._names) > _LISTED else ''}",
                file=sys.stderr,
            )


def describe(detection: Detection, view: View) -> dict[str, Any]:
    """`detection` as plain JSON values: meters, pixels, unit quaternions wxyz; `sigma` holds standard deviations.

    `keypoints_px` are the projections of the kind's keypoints in the reported pose, not the network's predictions, which may
    be of another equivalent pose; null for one that is not in front of the camera.
    """
    pose = detection.pose
    points = transform_points(pose.camera_from_block, detection.kind.keypoints)
    pixels = project(points, view.intrinsics, view.distortion)
    deviation = np.sqrt(np.maximum(np.diag(pose.covariance), 0))
    result = {
        "kind": detection.kind.name,
        "size_m": _rounded(detection.kind.size),
        "confidence": round(detection.confidence, 4),
        "camera_from_block": _transform(pose.camera_from_block),
        "sigma": {"rotation_deg": _rounded(np.degrees(deviation[:3]), 3), "translation_m": _rounded(deviation[3:])},
        "keypoints_px": [_rounded(pixel, 2) if np.isfinite(pixel).all() else None for pixel in pixels],
        "on_table": detection.on_table,
    }
    if detection.kind.mesh_origin is not None:  # the pose of the user's own model, whose origin may differ
        own = rigid(np.eye(3), detection.kind.mesh_origin)
        result["camera_from_mesh"] = _transform(pose.camera_from_block @ own)
    if view.camera_from_table is not None:
        result["table_from_block"] = _transform(inverse(view.camera_from_table) @ pose.camera_from_block)
    return result


def _view_of(camera: Camera) -> View:
    return View(camera.intrinsics, camera.distortion, camera.camera_from_table, camera.table)


def _pictures(one: Input, camera: Camera, camera_name: str) -> Iterator[tuple[str, Image, Camera, float | None]]:
    """Name, pixels and camera of each picture in `one`, and the frames per second if it is a video. Raises PictureError, and
    ConfigError if the camera does not fit the pictures; both name the file."""
    frames: Iterable[tuple[str, Image, float | None]] = (
        ((f"{one.name}#{number:06d}", *frame) for number, frame in enumerate(video_frames(one.path)))
        if one.video
        else [(one.name, read_picture(one.path), None)]
    )
    for name, picture, rate in frames:
        try:
            fitted = fit_camera(camera, picture.shape[1], picture.shape[0], camera_name)
        except ConfigError as error:
            raise ConfigError(f"{one.path}: {error}") from error
        yield name, picture, fitted, rate


def _of_kinds(detections: list[Detection], kinds: Sequence[str] | None) -> list[Detection]:
    return detections if kinds is None else [one for one in detections if one.kind.name in kinds]


def _listed(failures: Sequence[SimgenError]) -> str:
    more = f"; and {len(failures) - _LISTED} more" if len(failures) > _LISTED else ""
    return "; ".join(str(error) for error in failures[:_LISTED]) + more


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _transform(pose: Any) -> dict[str, list[float]]:
    quaternion = quaternion_from_matrix(pose[:3, :3])
    return {"rotation_wxyz": _rounded(quaternion, 6), "translation_m": _rounded(pose[:3, 3], 5)}


def _rounded(values: Any, digits: int = 5) -> Any:
    return (np.round(np.asarray(values), digits) + 0.0).tolist()  # without -0.0
