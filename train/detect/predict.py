"""`python -m train predict`: which blocks a photograph, a folder of them or a video shows, and where."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen.dataset.read import read_rgb
from simgen.errors import ConfigError, DatasetError
from simgen.files import read_json, write_json
from simgen.geometry import inverse, quaternion_from_matrix
from train.config import PredictConfig
from train.detect.detector import load_detector
from train.detect.drawing import draw_detections
from train.detect.types import Detection
from train.draw.sheets import write_png
from train.pose.view import View
from train.runs.trainer import device_of

Image = NDArray[np.uint8]

PICTURES, VIDEOS = (".jpg", ".jpeg", ".png", ".bmp", ".webp"), (".mp4", ".avi", ".mov", ".mkv", ".webm")
_CAMERA = (
    "{width, height, intrinsics: 3 x 3 px, distortion: up to 5 numbers, camera_from_table: 4 x 4 m, table: [[least X, least "
    "Y], [greatest X, greatest Y]] m}, the last three optional"
)


def predict(config: PredictConfig) -> None:
    """Prints one line of JSON for each picture and leaves predictions.json and an overlay of each in `config.out`.

    Raises CheckpointError, ConfigError and DatasetError.
    """
    detector = load_detector(config.checkpoint).zoomed(config.zoom)
    detector.net.to(device_of(config.accelerator))
    camera = read_camera(Path(config.camera))
    out, source = Path(config.out), Path(config.image)
    lines = []
    video: cv2.VideoWriter | None = None
    out.mkdir(parents=True, exist_ok=True)
    for name, picture, rate in _pictures(source):
        view = view_of(camera, picture, config.camera)
        finds = [found for found in detector.find([picture], [view])[0] if found.confidence >= config.confidence]
        lines.append({"image": name, "blocks": [describe(found, view) for found in finds]})
        print(json.dumps(lines[-1], allow_nan=False))
        drawn = draw_detections(picture, finds, view)
        if rate is None:
            write_png(out / f"{Path(name).stem}.png", drawn)
            continue
        if video is None:
            size = (picture.shape[1], picture.shape[0])
            video = cv2.VideoWriter(str(out / f"{source.stem}.avi"), cv2.VideoWriter.fourcc(*"MJPG"), rate, size)
        video.write(np.ascontiguousarray(drawn[..., ::-1]))
    if video is not None:
        video.release()
    write_json(out / "predictions.json", lines, indent=1)


def describe(found: Detection, view: View) -> dict[str, Any]:
    """A find as plain values: metres, pixels, unit quaternions wxyz; `sigma` are standard deviations."""
    pose = found.pose
    deviation = np.sqrt(np.maximum(np.diag(pose.covariance), 0))
    result = {
        "kind": found.kind.name,
        "size_m": _rounded(found.kind.size),
        "confidence": round(found.confidence, 4),
        "camera_from_block": _transform(pose.camera_from_block),
        "sigma": {"rotation_deg": _rounded(np.degrees(deviation[:3]), 3), "translation_m": _rounded(deviation[3:])},
        "keypoints_px": _rounded(found.keypoints, 2),
        "on_table": found.on_table is not None,
    }
    if view.camera_from_table is not None:
        result["table_from_block"] = _transform(inverse(view.camera_from_table) @ pose.camera_from_block)
    return result


def read_camera(path: Path) -> Mapping[str, Any]:
    """The camera file `path`. Raises ConfigError that says what is wrong with it and what is expected."""
    try:
        data = read_json(path)
    except DatasetError as error:
        raise ConfigError(f"camera: {error}") from error
    wanted = {"intrinsics": (3, 3), "camera_from_table": (4, 4), "table": (2, 2), "distortion": None}
    if not isinstance(data, dict) or not {"width", "height", "intrinsics"} <= set(data) <= {"width", "height", *wanted}:
        raise ConfigError(f"camera: {path}: expected {_CAMERA}")
    camera: dict[str, Any] = {}
    for key, shape in wanted.items():
        if key not in data:
            continue
        try:
            values = np.array(data[key], dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"camera: {path}: {key}: got {data[key]!r}; expected {_CAMERA}") from error
        right = values.shape == shape if shape else values.ndim == 1 and len(values) <= 5
        if not right or not np.isfinite(values).all():
            raise ConfigError(f"camera: {path}: {key}: got {data[key]!r}; expected {_CAMERA}")
        camera[key] = values
    for key in ("width", "height"):
        if not isinstance(data[key], int) or data[key] < 1:
            raise ConfigError(f"camera: {path}: {key}: got {data[key]!r}; expected the picture's {key} in px")
        camera[key] = data[key]
    turn = camera.get("camera_from_table", np.eye(4))
    if np.abs(turn[:3, :3] @ turn[:3, :3].T - np.eye(3)).max() > 1e-3 or np.linalg.det(turn[:3, :3]) < 0:
        raise ConfigError(f"camera: {path}: camera_from_table: its upper left 3 x 3 is no rotation")
    if "table" in camera and ("camera_from_table" not in camera or not np.all(camera["table"][0] < camera["table"][1])):
        raise ConfigError(
            f"camera: {path}: table: wants camera_from_table beside it, and [least X and Y, greatest X and Y]"
        )
    return camera


def view_of(camera: Mapping[str, Any], picture: Image, name: str) -> View:
    """The View of `picture` (H, W, 3), which may be the camera's at another resolution. Raises ConfigError where its sides
    have another ratio."""
    height, width = picture.shape[:2]
    across, down = width / camera["width"], height / camera["height"]
    if abs(across / down - 1) > 0.01:
        raise ConfigError(
            f"camera: {name} is of {camera['width']} x {camera['height']} px, the picture of {width} x {height}: a crop; "
            "give the camera of that crop"
        )
    lens = np.zeros(5)
    given = camera.get("distortion", np.zeros(0))
    lens[: len(given)] = given
    return View(camera["intrinsics"], lens, camera.get("camera_from_table"), camera.get("table")).resized(across, down)


def _pictures(source: Path) -> Iterator[tuple[str, Image, float | None]]:
    """Name and pixels of each picture that `source` holds, and of a video's its frames each second."""
    if source.is_dir():
        paths = sorted(path for path in source.iterdir() if path.suffix.lower() in PICTURES)
        if not paths:
            raise ConfigError(f"image: {source} holds no picture; expected some of {', '.join(PICTURES)}")
        for path in paths:
            yield path.name, read_rgb(path), None
    elif source.suffix.lower() in VIDEOS:
        yield from _frames(source)
    else:
        yield source.name, read_rgb(source), None


def _frames(source: Path) -> Iterator[tuple[str, Image, float]]:
    video = cv2.VideoCapture(str(source))
    try:
        if not video.isOpened():
            raise DatasetError(f"{source}: missing or no video that OpenCV reads; expected one of {', '.join(VIDEOS)}")
        rate = float(video.get(cv2.CAP_PROP_FPS)) or 25.0
        number = 0
        while True:
            there, frame = video.read()
            if not there:
                break
            yield f"{source.name}#{number:06d}", np.asarray(frame[..., ::-1], dtype=np.uint8), rate
            number += 1
        if not number:
            raise DatasetError(f"{source}: holds no frame; expected a video")
    finally:
        video.release()


def _transform(pose: Any) -> dict[str, list[float]]:
    quaternion = quaternion_from_matrix(pose[:3, :3])
    return {"rotation_wxyz": _rounded(quaternion, 6), "translation_m": _rounded(pose[:3, 3], 5)}


def _rounded(values: Any, digits: int = 5) -> Any:
    return np.round(np.asarray(values), digits).tolist()
