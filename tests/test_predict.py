"""python -m train predict: which files it reads and writes, and what it reports. The detector is a stand-in."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
from scipy.spatial.transform import Rotation

import train.detect.predict
from simgen.config import Command, main
from simgen.errors import ConfigError, FileError, PartialError, PictureError
from simgen.geometry import inverse, look_at, matrix_from_quaternion, rigid, rotation_about
from simgen.shapes.solids import make_solid
from train.blocks.kinds import BlockSet, Kind
from train.config import PredictConfig, check_predict
from train.detect.inputs import inputs_of
from train.detect.overlays import Predictions
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


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Detector:
    stand_in = Detector()
    monkeypatch.setattr(train.detect.predict, "load_detector", lambda path: stand_in)
    monkeypatch.chdir(tmp_path)
    camera = {"width": SIZE[0], "height": SIZE[1], "intrinsics": [[60, 0, 32], [0, 60, 24], [0, 0, 1]]}
    Path("camera.json").write_text(json.dumps(camera))
    return stand_in


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


def test_nothing_of_the_users_is_overwritten_and_the_same_command_works_again(detector: Detector) -> None:
    """Not even where the output folder is that of the pictures; and two pictures of one name have an overlay each."""
    pictures = [save("in/a.jpg"), save("in/a.png"), save("in/day1/a.jpg"), save("in/b.JPEG"), film("in/c.avi", 2)]
    before = [path.read_bytes() for path in pictures]
    for _ in range(2):
        assert run("in", out="in") == ["a.jpg", "a.png", "b.JPEG", "day1/a.jpg"]
        assert run("in/c.avi", out="in") == ["c.avi#000000", "c.avi#000001"]
    assert [path.read_bytes() for path in pictures] == before
    overlays = ["a.jpg.overlay.png", "a.png.overlay.png", "b.JPEG.overlay.png", "c.avi.overlay.avi"]
    own = ["a.jpg", "a.png", "b.JPEG", "c.avi", "day1/a.jpg", "day1/a.jpg.overlay.png", "predictions.json"]
    assert files("in") == sorted([*own, *overlays])
    # As the shell expands *.png the second time: an overlay is no picture of the user's.
    assert run(["in/a.png", "in/a.png.overlay.png"], out="in") == ["a.png"]


@pytest.mark.parametrize("name", ["predictions.json", "a.png.overlay.png", "film.mp4.overlay.avi", ""])
def test_a_file_that_predict_did_not_write_is_refused_before_anything_is_written(detector: Detector, name: str) -> None:
    """An output folder that is a file is, too."""
    save("a.png")
    film("film.mp4", 2)
    Path("out").mkdir(exist_ok=True)
    mine = Path("out") / name if name else Path("mine")
    mine.write_bytes(b'[{"image_id": 3, "score": 1.0}]')
    with pytest.raises(ConfigError, match=f"^out: {mine} (exists|is a file)"):
        run(["a.png", "film.mp4"], out="out" if name else "mine")
    assert mine.read_bytes().startswith(b'[{"image_id"')
    if name == "predictions.json":
        mine.write_bytes(b"[]")  # predict never writes an empty list
        with pytest.raises(ConfigError, match=f"^out: {mine} exists"):
            run(["a.png", "film.mp4"])
    assert not detector.seen and files("out") == ([name] if name else [])


def test_an_output_that_is_an_input_is_refused(detector: Detector) -> None:
    """The overlay of a picture named as an overlay that the user made."""
    save("in/a.png")
    theirs = save("in/a.png.overlay.png").read_bytes()
    with pytest.raises(ConfigError, match=r"^out: in/a\.png\.overlay\.png is an input"):
        run(["in/a.png", "in/a.png.overlay.png"], out="in")
    assert Path("in/a.png.overlay.png").read_bytes() == theirs


@pytest.mark.parametrize("broken", ["0.png", "2.png", "4.png"])
def test_a_broken_picture_anywhere_is_named_in_the_end_and_the_rest_is_done(
    detector: Detector, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], broken: str
) -> None:
    for k in range(5):
        save(f"in/{k}.png")
    Path("in", broken).write_bytes(b"\x89PNG\r\n\x1a\n cut")
    save("in/3.png", np.zeros((50, 50, 3), np.uint8))  # of another camera
    arguments = ["image=in", "camera=camera.json", "out=out", "accelerator=cpu"]
    monkeypatch.setattr(sys, "argv", ["train", "predict", *arguments])
    assert main("train", {"predict": Command("", PredictConfig, predict)}) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(
        "train: error: 2 of 5 inputs could not be used whole, the rest is in out/predictions.json: "
    )
    assert f"in/{broken}: " in error and "in/3.png: camera: camera.json: is of 64 x 48 px" in error
    done = [f"{k}.png" for k in range(5) if k != 3 and f"{k}.png" != broken]
    assert [line["image"] for line in json.loads(Path("out/predictions.json").read_text())] == done
    assert files("out") == sorted([*(f"{name}.overlay.png" for name in done), "predictions.json"])


def test_where_no_picture_can_be_used_nothing_is_written(detector: Detector) -> None:
    Path("a.jpg").write_bytes(b"")
    Path("b.jpg").write_bytes(b"")
    with pytest.raises(PictureError, match=r"^a\.jpg: is empty") as caught:
        run("a.jpg")
    assert caught.value.exit_status == 2
    with pytest.raises(ConfigError, match=r"^image: no picture could be used: a\.jpg: .*; b\.jpg: "):
        run(["a.jpg", "b.jpg"])
    assert not Path("out").exists()


def test_several_inputs_have_names_below_the_folder_that_they_share(detector: Detector) -> None:
    for name in ("x/a.png", "y/a.png", "y/z/b.png", "x/._a.png"):
        save(name)
    assert run("x/a.png") == ["a.png"]
    assert run(["x/a.png", "y/a.png"]) == ["x/a.png", "y/a.png"]
    assert run(["x/a.png", "y", "x/../x/a.png"]) == ["x/a.png", "y/a.png", "y/z/b.png"]
    assert run("y/*.png") == ["a.png"] and run("*/*.png") == ["x/a.png", "y/a.png"]
    assert run("*") == ["x/a.png", "y/a.png", "y/z/b.png"]
    assert run(str(Path("y").resolve())) == ["a.png", "z/b.png"]
    Path("x/link.png").symlink_to("a.png")
    assert run("x") == ["a.png"]  # the same file, once
    Path("x/circle.png").symlink_to("circle.png")
    with pytest.raises(PartialError, match=r"x/circle\.png: "):
        run("x")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("gone.jpg", r"^image: gone\.jpg: no such file or folder"),
        ("gone/*.jpg", r"^image: gone/\*\.jpg: no such file or folder"),
        (0, r"^image: 0: no such file, and predict reads no live camera"),
        ("/dev/null", r"^image: /dev/null: is a device"),
        ("rtsp://camera/stream", "is an address; expected a file"),
        ("empty", r"^image: empty: no picture there"),
        (["empty", "notes"], r"^image: empty, notes: no picture there"),
        ([], "^image: "),
    ],
)
def test_what_is_no_picture_is_refused(detector: Detector, image: Any, message: str) -> None:
    for folder in ("empty", "notes"):
        Path(folder).mkdir()
    Path("notes/readme.txt").write_text("x")
    with pytest.raises(ConfigError, match=message):
        run(image)
    assert not Path("out").exists()


def test_what_of_a_folder_is_skipped_is_counted(detector: Detector, capsys: pytest.CaptureFixture[str]) -> None:
    save("in/a.tiff")
    film("in/film.mp4", 1)
    for name in ("._a.tiff", "notes.txt"):
        (Path("in") / name).write_bytes(b"")
    assert run("in") == ["a.tiff"]
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == [
        "in: 1 picture; skipped 1 video, 1 hidden file, 1 other file (.txt)",
        "in: to predict on its videos, name them one by one",
    ]


@pytest.mark.parametrize("name", ["a.mp4", "a.m4v", "a.MOV", "a.avi", "a.mkv", "a.wmv", "film"])
def test_a_video_gives_its_frames_in_order(detector: Detector, name: str) -> None:
    """By any suffix, and by none."""
    made = film("made.mp4" if name == "film" else name.lower(), 4)
    made.rename(name)
    assert run(name) == [f"{name}#{k:06d}" for k in range(4)]
    reds = [float(frame[..., 0].mean()) for frame in detector.seen]
    assert reds == pytest.approx([0, 40, 80, 120], abs=6)  # red, and not blue
    assert all(frame[..., 2].mean() < 6 and frame.flags.c_contiguous for frame in detector.seen)
    back = cv2.VideoCapture(f"out/{name}.overlay.avi")
    assert int(back.get(cv2.CAP_PROP_FRAME_COUNT)) == 4
    assert back.get(cv2.CAP_PROP_FPS) == pytest.approx(5)
    there, frame = back.read()
    assert there and frame.shape == (SIZE[1], SIZE[0], 3)


def test_the_message_for_a_truncated_video_has_the_number_of_frames_read(detector: Detector) -> None:
    whole = film("whole.avi", 4, noise=99).read_bytes()
    Path("cut.avi").write_bytes(whole[: len(whole) * 8 // 10])
    with pytest.raises(PartialError, match=r"cut\.avi: only [123] of its 4 frames can be read"):
        run("cut.avi")
    read = len(detector.seen)
    assert 1 <= read <= 3
    assert len(json.loads(Path("out/predictions.json").read_text())) == read
    assert int(cv2.VideoCapture("out/cut.avi.overlay.avi").get(cv2.CAP_PROP_FRAME_COUNT)) == read
    for name, content in (("text.mp4", b"no video"), ("empty.mp4", b"")):
        Path(name).write_bytes(content)
        with pytest.raises(PictureError, match=rf"^{name}: is (no video that OpenCV can read|empty)"):
            run(name, out=name[:4])
        assert not Path(name[:4]).exists()


def test_an_interrupted_run_leaves_what_is_done(detector: Detector) -> None:
    for k in range(30):
        save(f"in/{k:02d}.png")
    detector.stop_at = 25
    with pytest.raises(KeyboardInterrupt):
        run("in")
    done = json.loads(Path("out/predictions.json").read_text())
    assert [line["image"] for line in done] == [f"{k:02d}.png" for k in range(25)]
    detector.stop_at = None
    assert len(run("in")) == 30
    # A process that is killed writes nothing any more; but most is there already.
    predictions = Predictions(Path("killed"))
    for k in range(200):
        predictions.add({"image": f"{k}", "blocks": []})
    assert len(json.loads(Path("killed/predictions.json").read_text())) >= 180


def test_a_disk_that_is_full_ends_the_run(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    save("a.png")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(FileError, match="No space left on device"):
        run("a.png")


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


def test_names_do_not_lead_out_of_the_output_folder(detector: Detector) -> None:
    save("in/a.png")
    Path("deep/down").mkdir(parents=True)
    os.chdir("deep/down")
    (one,) = inputs_of(["../../in/a.png"])
    assert one.name == "a.png"
    both = inputs_of(["../../in/a.png", str(save("b.png"))])
    assert [one.name for one in both] == ["in/a.png", "deep/down/b.png"]


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
