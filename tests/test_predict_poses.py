"""python -m train predict: what it reports of poses, kinds and cameras. The detector is a stand-in."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import PIL.Image
import pytest
from predicting import (
    BLUE,
    BRICK,
    CUBE,
    SIZE,
    Detector,
    detection_of,
    film,
    predictions,
    run,
    save,
    stand_in,
    turns_of,
    with_table,
)

import train.detect.predict
from simgen.config import Command, main
from simgen.errors import ConfigError
from simgen.geometry import matrix_from_quaternion, rigid, rotation_about
from train.config import PredictConfig
from train.detect.predict import predict
from train.pose.view import Pose


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Detector:
    return stand_in(monkeypatch, tmp_path)


def test_detections_below_the_confidence_are_counted(detector: Detector, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("in/a.png", "in/b.png"):
        save(name)
    run("in")
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == (
        "left out 4 detections in 2 pictures below confidence=0.5, the best at 0.08; camera.json states no "
        "camera_from_table, so poses are free and their confidence is low; a lower confidence= shows them"
    )
    run("in", confidence=0.0)
    captured = capsys.readouterr()
    assert captured.err == "" and all(len(json.loads(line)["blocks"]) == 3 for line in captured.out.splitlines())


def test_a_model_without_a_calibration_is_told(detector: Detector, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the poses that are asked for: here no table is known."""
    save("in/a.png")
    for free, on_table, expected in ((1, None, False), (None, 1, True)):
        detector.calibration = SimpleNamespace(free=free, on_table=on_table)
        run("in", confidence=0.0)
        line = "is not calibrated for poses without a known table: their confidence is the network's score; run `python"
        assert (line in capsys.readouterr().err) == expected


def test_a_photograph_is_turned_as_exif_states_and_the_message_explains_it(detector: Detector) -> None:
    """The camera file is of upright pictures of 64 x 48 px."""
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    portrait = np.ascontiguousarray(np.rot90(BLUE))
    portrait[:5] = 255
    save("upright.png", portrait, exif=exif)
    run("upright.png")
    assert np.array_equal(detector.seen[0], np.rot90(portrait, -1))
    assert predictions()[0]["size_px"] == list(SIZE)
    save("lying.png", BLUE, exif=exif)
    with pytest.raises(ConfigError, match=r"^lying\.png: camera: .* rotated by 90 degrees .* EXIF"):
        run("lying.png")


def test_a_video_continues_the_pose_of_the_last_frame_and_a_picture_does_not(detector: Detector) -> None:
    """A cube that rotates by 10 degrees a frame: reported up to 110 degrees in a video, and in pictures at most by 67.5. Its
    keypoints are those of the reported pose by OpenCV, whichever of the 24 the network predicted them for."""
    camera_from_table, random = with_table(), np.random.default_rng(0)
    yaws = 10.0 * np.arange(12)
    for yaw in yaws:
        pose = camera_from_table @ rigid(rotation_about(2, np.radians(yaw)), np.array([0, 0, 0.025]))
        pose = pose @ CUBE.symmetries[random.integers(24)]
        detector.shown.append(
            [
                detection_of(CUBE, Pose(pose, np.eye(6) * 1e-4, 1.0)),
                detection_of(BRICK, Pose(pose, np.eye(6), 1.0), 0.1),
            ]
        )
    detector.shown *= 2
    run([str(film("film.avi", len(yaws)))])
    lines = predictions()
    np.testing.assert_allclose(turns_of(lines), [[0, 0, yaw] for yaw in yaws], atol=1e-3)
    for line in lines:
        (block,) = line["blocks"]
        pose = block["camera_from_block"]
        rotation, _ = cv2.Rodrigues(matrix_from_quaternion(np.array(pose["rotation_wxyz"])))
        camera = np.array([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]])
        lens = np.array([0.1, 0, 0, 0, 0])
        pixels, _ = cv2.projectPoints(CUBE.keypoints, rotation, np.array(pose["translation_m"]), camera, lens)
        np.testing.assert_allclose(block["keypoints_px"], pixels[:, 0], atol=0.02)
    for k in range(len(yaws)):
        save(f"in/{k:02d}.png")
    run("in", out="pictures")
    np.testing.assert_allclose(
        turns_of(predictions("pictures")), [[0, 0, (yaw + 22.5) % 90 - 22.5] for yaw in yaws], atol=1e-3
    )


def test_each_line_states_the_size_and_the_coordinate_frames(
    detector: Detector, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that the line uses; on stdout and in the file. A keypoint behind the camera has no pixel."""
    save("a.png")
    near = np.eye(4)
    near[2, 3] = 0.01
    detector.shown = [[detection_of(CUBE, Pose(near, np.eye(6), 1.0))]] * 3
    run("a.png")
    (line,) = predictions()
    assert json.loads(capsys.readouterr().out) == line
    assert list(line) == ["image", "size_px", "familiarity", "coordinate_frames", "blocks"]
    assert line["size_px"] == list(SIZE)
    assert list(line["coordinate_frames"]) == ["camera", "block"]
    assert "OpenCV" in line["coordinate_frames"]["camera"] and "center" in line["coordinate_frames"]["block"]
    pixels, pose = (line["blocks"][0][key] for key in ("keypoints_px", "camera_from_block"))
    depths = CUBE.keypoints @ matrix_from_quaternion(np.array(pose["rotation_wxyz"]))[2] + 0.01
    assert [pixel is None for pixel in pixels] == [depth <= 0 for depth in depths]
    assert 0 < pixels.count(None) < len(pixels)
    detector.shown = [[detection_of(replace(CUBE, mesh_origin=np.ones(3)), Pose(near, np.eye(6), 1.0))]] * 3
    with_table()
    Path("out/predictions.json").write_text('[{"image": "a.png", "blocks": []}]')  # of an earlier version: overwritten
    run("a.png")
    frames = predictions()[0]["coordinate_frames"]
    assert list(frames) == ["camera", "block", "mesh", "table"]
    poses = [key.split("_from_") for key in predictions()[0]["blocks"][0] if "_from_" in key]
    assert {frame for pose in poses for frame in pose} == set(frames)


def test_only_the_kinds_that_are_asked_for_are_reported(
    detector: Detector, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save("a.png")
    pose = Pose(rigid(np.eye(3), np.array([0, 0, 0.5])), np.eye(6), 1.0)
    detector.shown = [[detection_of(CUBE, pose), detection_of(BRICK, pose, 0.8), detection_of(CUBE, pose, 0.1)]] * 9
    for kinds, names in (("null", ["cube", "brick"]), ("brick", ["brick"]), ("[brick,cube]", ["cube", "brick"])):
        arguments = ["image=a.png", "camera=camera.json", "out=out", "accelerator=cpu", f"kinds={kinds}"]
        monkeypatch.setattr(sys, "argv", ["train", "predict", *arguments])
        assert main("train", {"predict": Command("", PredictConfig, predict)}) == 0
        assert [block["kind"] for block in predictions()[0]["blocks"]] == names
        assert ("left out 1 detection" in capsys.readouterr().err) == ("cube" in names)
    for unknown, error in ((["cube", "gear"], "the model has no block 'gear'; it has cube, brick"), ([], "got none")):
        with pytest.raises(ConfigError, match=f"^kinds: {error}"):
            run("a.png", out="elsewhere", kinds=unknown)
    assert not Path("elsewhere").exists()


def test_a_camera_of_another_resolution_is_scaled_or_refused(
    detector: Detector, capsys: pytest.CaptureFixture[str]
) -> None:
    """The camera file is of 64 x 48 px. The border of the picture, half a pixel beyond its first pixel, stays the border."""
    for name, (width, height) in {"a": (128, 96), "b": (16, 12), "c": (128, 96)}.items():
        save(f"in/{name}.png", np.zeros((height, width, 3), np.uint8))
    run("in")
    for view, factor in zip(detector.views, (2, 0.25, 2), strict=True):
        focal, center = 60 * factor, (np.array([32, 24]) + 0.5) * factor - 0.5
        np.testing.assert_allclose(view.intrinsics, [[focal, 0, center[0]], [0, focal, center[1]], [0, 0, 1]])
    notices = [line for line in capsys.readouterr().err.splitlines() if line.startswith("camera: ")]
    assert [line.rpartition(" by ")[2] for line in notices] == ["2", "0.25"]  # once for each size
    for name, shape, reason in (("d", (100, 64), "cropped"), ("e", (64, 48), "rotated by 90 degrees")):
        save(f"{name}.png", np.zeros((*shape, 3), np.uint8))
        with pytest.raises(ConfigError, match=rf"^{name}\.png: camera: camera\.json: is of 64 x 48 px, .*{reason}"):
            run(f"{name}.png")


def test_pictures_unlike_those_of_the_training_are_named(
    detector: Detector, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line at the end; none where all are familiar, or where the model does not know."""
    monkeypatch.setattr(train.detect.predict, "_LISTED", 2)
    for name in "abcdef":
        save(f"in/{name}.png")
    detector.familiar = [0.5, 0.0099, 0.01, 0.0, 0.123456, 0.002]
    run("in")
    printed, errors = capsys.readouterr()
    assert [json.loads(line)["familiarity"] for line in printed.splitlines()] == [0.5, 0.0099, 0.01, 0.0, 0.1235, 0.002]
    assert [line["familiarity"] for line in predictions()] == [0.5, 0.0099, 0.01, 0.0, 0.1235, 0.002]
    (line,) = [line for line in errors.splitlines() if "unlike" in line]
    assert line == (
        "3 of 6 pictures unlike those of the training (familiarity below 0.01), so the confidence may be wrong: b.png, "
        "d.png, ..."
    )
    for familiar in ([0.01], []):
        detector.seen, detector.familiar = [], familiar
        run("in/a.png", out="other")
        assert predictions("other")[0]["familiarity"] == (familiar[0] if familiar else None)
        assert "unlike" not in capsys.readouterr().err
