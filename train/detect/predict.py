"""`python -m train predict`: which blocks a photograph, a folder of them or a video shows, and where."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen.camera import Camera, fit_camera, read_camera
from simgen.dataset.read import read_rgb
from simgen.errors import ConfigError, DatasetError
from simgen.files import write_json
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


def predict(config: PredictConfig) -> None:
    """Prints one line of JSON for each picture and leaves predictions.json and an overlay of each in `config.out`.

    Raises CheckpointError, ConfigError and DatasetError.
    """
    detector = load_detector(config.checkpoint).zoomed(config.zoom)
    detector.net.to(device_of(config.accelerator))
    camera = read_camera(config.camera)
    sizes: set[tuple[int, ...]] = set()
    out, source = Path(config.out), Path(config.image)
    lines = []
    video: cv2.VideoWriter | None = None
    out.mkdir(parents=True, exist_ok=True)
    for name, picture, rate in _pictures(source):
        view = view_of(camera, picture, config.camera)
        if picture.shape not in sizes:
            sizes.add(picture.shape)
            _tell(camera, picture, config.camera)
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


def view_of(camera: Camera, picture: Image, name: str) -> View:
    """The View of `picture` (H, W, 3), of `camera` as read from the file `name`, which may be of another resolution. Raises
    ConfigError where its sides have another ratio."""
    height, width = picture.shape[:2]
    fitted = fit_camera(camera, width, height, name)
    return View(fitted.intrinsics, fitted.distortion, fitted.camera_from_table, fitted.table)


def _tell(camera: Camera, picture: Image, name: str) -> None:
    """Prints what a user should know of how `camera` was read and made that of `picture`."""
    for notice in fit_camera(camera, picture.shape[1], picture.shape[0], name).notices:
        print(f"camera: {name}: {notice}", file=sys.stderr)


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
