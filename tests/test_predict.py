"""python -m train predict: which files it reads and writes. The detector is a stand-in."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from predicting import (
    SIZE,
    Detector,
    files,
    film,
    run,
    save,
    stand_in,
)

from simgen.config import Command, main
from simgen.errors import ConfigError, FileError, PartialError, PictureError
from train.config import PredictConfig
from train.detect.inputs import inputs_of
from train.detect.overlays import Predictions
from train.detect.predict import predict


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Detector:
    return stand_in(monkeypatch, tmp_path)


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


def test_names_do_not_lead_out_of_the_output_folder(detector: Detector) -> None:
    save("in/a.png")
    Path("deep/down").mkdir(parents=True)
    os.chdir("deep/down")
    (one,) = inputs_of(["../../in/a.png"])
    assert one.name == "a.png"
    both = inputs_of(["../../in/a.png", str(save("b.png"))])
    assert [one.name for one in both] == ["in/a.png", "deep/down/b.png"]
