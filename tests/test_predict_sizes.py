"""predict at any resolution: the networks look at the right place of the picture, whatever its size and its EXIF rotation.

The first stage is a stand-in whose heat is the brightness; the second stage has random weights.
"""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import train.detect.predict
from simgen.catalogue import load_world
from train.blocks.kinds import BlockSet
from train.config import PredictConfig
from train.data.targets import STRIDE
from train.detect.detector import Detector
from train.detect.predict import predict
from train.nets.crop_net import CropNet
from train.nets.detection_net import PIXELS, WINDOW_UNIT, KeypointNet
from train.pose.view import View

BLOCKS = BlockSet(BlockSet.of_worlds([load_world("tabletop").solids]).kinds[:3])
SIDE = 1.4  # the logarithm of a window's side, in WINDOW_UNIT
SIZES = [(40, 30), (30, 40), (640, 480), (480, 640), (1000, 90), (333, 1001)]


class Bright(nn.Module):
    """As DetectionNet: its heat is high where the image is white. Its windows are exp(SIDE) units wide around each cell."""

    def backbone(self, images: Tensor) -> list[Tensor]:
        return [images] * 6

    def decode(self, levels: list[Tensor]) -> Tensor:
        light = functional.avg_pool2d(levels[0].mean(1, keepdim=True), STRIDE)
        smooth = functional.avg_pool2d(light, 5, 1, 2, count_include_pad=False)  # one peak for each spot
        none = torch.zeros_like(smooth)
        return torch.cat([3 * smooth, none, none, none + SIDE], 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.decode(self.backbone(images))


@pytest.fixture(scope="module")
def detector() -> Detector:
    net = KeypointNet(BLOCKS, sides=True, pretrained=False).eval()
    net.detection = Bright()  # type: ignore[assignment]
    return Detector(net, BLOCKS)


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The windows that the second stage gets, of each of its two passes over each picture."""
    seen: list[Tensor] = []
    original = CropNet.predict

    def noted(self: CropNet, images: Tensor, picture: Tensor, windows: Tensor, plane: Tensor) -> Any:
        seen.append(windows)
        return original(self, images, picture, windows, plane)

    monkeypatch.setattr(CropNet, "predict", noted)
    return seen


def spot(size: tuple[int, int], place: tuple[float, float]) -> np.ndarray:
    """A black picture of `size` (width, height) with a white disc at `place`, in shares of the sides."""
    width, height = size
    picture = np.zeros((height, width, 3), np.uint8)
    center = (round(place[0] * width), round(place[1] * height))
    radius = max(2, round(0.04 * np.sqrt(width * height)))
    cv2.circle(picture, center, radius, (255, 255, 255), cv2.FILLED)
    return picture


def camera_of(size: tuple[int, int]) -> dict[str, Any]:
    width, height = size
    matrix = [[max(size), 0, (width - 1) / 2], [0, max(size), (height - 1) / 2], [0, 0, 1]]
    return {"width": width, "height": height, "intrinsics": matrix}


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_the_second_stage_looks_where_the_first_one_points(
    detector: Detector, windows: list[Tensor], size: tuple[int, int]
) -> None:
    """To within a cell of the first stage, on which some 12 thousand cells see any picture."""
    width, height = detector._size(np.zeros((size[1], size[0], 3), np.uint8))
    assert width % STRIDE == height % STRIDE == 0 and min(width, height) >= 32
    assert 0.9 < width * height / PIXELS < 1.1 and abs(np.log(width / height * size[1] / size[0])) < 0.06
    view = View(np.array(camera_of(size)["intrinsics"]), np.zeros(5))
    place = 0.7, 0.4
    (found,) = detector.find([spot(size, place)], [view])
    cell = STRIDE * size[0] / width
    assert windows[0].shape == (1, 3)
    np.testing.assert_allclose(windows[0][0, :2], [place[0] * size[0], place[1] * size[1]], atol=0.5 + cell)
    scaled = (size[0] / width + size[1] / height) / 2  # the side is scaled like the picture
    assert float(windows[0][0, 2]) == pytest.approx(WINDOW_UNIT * np.exp(SIDE) * scaled, rel=1e-5)
    for one in found:
        assert np.isfinite(one.pose.camera_from_block).all() and 0 <= one.confidence <= 1
    assert detector.find([np.zeros((size[1], size[0], 3), np.uint8)], [view]) == [[]]


def test_many_blocks_are_all_searched(detector: Detector, windows: list[Tensor]) -> None:
    """70 in a picture: each has a window of its own."""
    picture = np.zeros((480, 640, 3), np.uint8)
    places = [(30 + 64 * column, 34 + 68 * row) for row in range(7) for column in range(10)]
    for place in places:
        cv2.circle(picture, place, 16, (255, 255, 255), cv2.FILLED)
    detector.find([picture], [View(np.array(camera_of((640, 480))["intrinsics"]), np.zeros(5))])
    found = windows[0][:, :2].numpy()
    assert len(found) == len(places)
    assert max(np.linalg.norm(found - place, axis=1).min() for place in places) < 6


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_rotated_photograph_is_searched_as_it_is_shown(
    detector: Detector, windows: list[Tensor], orientation: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The camera file is of the picture as it is shown: 120 x 160 px. So are pixels and poses in the output."""
    monkeypatch.setattr(train.detect.predict, "load_detector", lambda path: detector)
    shown = spot((120, 160), (0.3, 0.25))
    stored = np.rot90(shown, {1: 0, 3: 2, 6: 1, 8: -1}[orientation])
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    PIL.Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.jpg", exif=exif, quality=95)
    (tmp_path / "camera.json").write_text(json.dumps(camera_of((120, 160))))
    config = PredictConfig(
        image=str(tmp_path / "a.jpg"),
        camera=str(tmp_path / "camera.json"),
        out=str(tmp_path / "out"),
        confidence=0,
        accelerator="cpu",
    )
    predict(config)
    np.testing.assert_allclose(windows[0][0, :2], [36, 40], atol=2.5)
    (line,) = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert line["size_px"] == [120, 160]
    assert cv2.imread(str(tmp_path / "out" / "a.jpg.overlay.png")).shape == (160, 120, 3)
