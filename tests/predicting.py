"""A stand-in for the detector of `python -m train predict`, and what is given to the command and read of it."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
from scipy.spatial.transform import Rotation

import train.detect.predict
from simgen.geometry import inverse, look_at, matrix_from_quaternion
from simgen.shapes.solids import make_solid
from train.blocks.kinds import BlockSet, Kind
from train.config import PredictConfig, check_predict
from train.detect.predict import predict
from train.detect.types import Detection, Seen
from train.pose.view import Pose, View

SIZE = (64, 48)  # px
CUBE = Kind.of(make_solid("cube", "cube", np.array([0.05, 0.05, 0.05])))
BRICK = Kind.of(make_solid("brick", "rectangular_prism", np.array([0.04, 0.08, 0.03])))
BLUE = np.zeros((SIZE[1], SIZE[0], 3), np.uint8) + np.array([10, 20, 200], np.uint8)


def detection_of(kind: Kind, free: Pose, confidence: float = 0.9) -> Detection:
    """A detection whose `keypoints` are not those of its pose."""
    count = len(kind.keypoints)
    return Detection(kind, 0.9, confidence, np.full(4, 0.9), 0.0, np.zeros((count, 2)), np.ones(count), free, False)


class Detector:
    """Detects one cube with confidence 0.9 and two weak ones in each picture, or what is `shown`; keeps the pictures."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []
        self.net = self
        self.blocks = BlockSet([CUBE, BRICK])
        self.views: list[View] = []
        self.stop_at: int | None = None
        self.shown: list[list[Detection]] = []
        self.familiar: list[float | None] = []
        self.calibration: Any = SimpleNamespace(on_table=1, free=1)

    def zoomed(self, factor: float) -> "Detector":
        return self

    def to(self, device: object) -> None:
        pass

    def look(self, pictures: Sequence[np.ndarray], views: Sequence[View]) -> list[Seen]:
        detections = self.detections(pictures, views)
        known = self.familiar[len(self.seen) - 1] if self.familiar else None
        return [Seen(detections, known)]

    def detections(self, pictures: Sequence[np.ndarray], views: Sequence[View]) -> list[Detection]:
        if len(self.seen) == self.stop_at:
            raise KeyboardInterrupt
        self.seen += pictures
        self.views += views
        if self.shown:
            return self.shown[len(self.seen) - 1]
        pose = np.eye(4)
        pose[2, 3] = 0.5
        free = Pose(pose, np.eye(6) * 1e-4, 1.0)
        return [detection_of(CUBE, free, confidence) for confidence in (0.9, 0.08, 0.02)]


def save(name: str, picture: np.ndarray = BLUE, **options: Any) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(picture).save(path, **options)
    return path


def film(name: str, frames: int, noise: int = 0) -> Path:
    """A video in which frame k is of one color, red = 40 k, but for `noise`."""
    codec = {".avi": "MJPG", ".wmv": "WMV2"}.get(Path(name).suffix, "mp4v")
    video = cv2.VideoWriter(name, cv2.VideoWriter.fourcc(*codec), 5.0, SIZE)
    assert video.isOpened()
    for k in range(frames):
        grain = np.random.default_rng(k).integers(0, noise + 1, (SIZE[1], SIZE[0], 3))
        video.write((grain + np.array([0, 0, 40 * k])).astype(np.uint8))
    video.release()
    return Path(name)


def run(image: Any, out: str = "out", **changes: Any) -> list[str]:
    """Predicts; the names in predictions.json."""
    config = PredictConfig(image=image, camera="camera.json", out=out, accelerator="cpu", **changes)
    check_predict(config)
    predict(config)
    return [line["image"] for line in json.loads((Path(out) / "predictions.json").read_text())]


def with_table() -> np.ndarray:
    """camera.json with the table's pose, 0.5 m from the camera, which is returned: camera_from_table."""
    pose = inverse(look_at(np.array([0.0, -0.3, 0.4]), np.zeros(3)))
    camera = json.loads(Path("camera.json").read_text())
    Path("camera.json").write_text(
        json.dumps({**camera, "distortion": [0.1, 0, 0, 0, 0], "camera_from_table": pose.tolist()})
    )
    return pose


def predictions(out: str = "out") -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = json.loads((Path(out) / "predictions.json").read_text())
    return lines


def turns_of(lines: list[dict[str, Any]]) -> list[list[float]]:
    """The rotation vectors (degrees) of table_from_block of the only block of each line."""
    found = [block["table_from_block"]["rotation_wxyz"] for line in lines for block in line["blocks"]]
    rotations = matrix_from_quaternion(np.array(found))
    result: list[list[float]] = Rotation.from_matrix(rotations).as_rotvec(degrees=True).tolist()
    return result


def files(folder: str) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())


def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Detector:
    made = Detector()
    monkeypatch.setattr(train.detect.predict, "load_detector", lambda path: made)
    monkeypatch.chdir(tmp_path)
    camera = {"width": SIZE[0], "height": SIZE[1], "intrinsics": [[60, 0, 32], [0, 60, 24], [0, 0, 1]]}
    Path("camera.json").write_text(json.dumps(camera))
    return made
