"""The inputs of predict: pictures, folders of pictures and videos."""

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from simgen.errors import ConfigError, PictureError
from simgen.pictures import VIDEOS, Image, is_overlay, is_picture, list_pictures, picture_suffixes
from train.detect.overlays import is_drawn

_MISSING_SHARE = (
    0.02  # share of a video's stated frames that must be readable: containers without an index state an estimate
)
_RATES = (1.0, 240.0)  # frames per second that a video can have; anything else is a wrong header
_RATE = 25.0


@dataclass(frozen=True)
class Input:
    """One file. `name` is its path relative to the common folder of all inputs, with forward slashes; names are unique."""

    path: Path
    name: str
    video: bool


def inputs_of(images: Sequence[str]) -> list[Input]:
    """The files that `images` name, each once: files, all pictures in folders, and the matches of patterns such as *.jpg.
    Files that are left out are reported on stderr, a line for each reason.

    Raises ConfigError for a path that does not exist, for a live camera or a URL, and if no picture is left.
    """
    roots: list[Path] = []
    files: dict[str, Path] = {}  # by resolved path, so that no file is read twice
    for path in (path for text in images for path in _expanded(text)):
        if path.is_dir():
            listing = list_pictures(path)
            roots.append(_absolute(path))
            found = list(listing.pictures)
            if listing.skipped or not found:
                skipped = f"; skipped {listing.skipped}" if listing.skipped else ""
                print(f"{path}: {len(found)} picture{'s' * (len(found) != 1)}{skipped}", file=sys.stderr)
            if listing.videos:
                print(f"{path}: to predict on its videos, name them one by one", file=sys.stderr)
        elif is_overlay(path) and is_drawn(path):  # an overlay of an earlier run that a pattern matches
            print(f"{path}: skipped, predict drew it", file=sys.stderr)
            continue
        else:
            roots.append(_absolute(path).parent)
            found = [path]
        for one in found:
            files.setdefault(os.path.realpath(one), one)  # Path.resolve() fails for cyclic links
    if not files:
        raise ConfigError(
            f"image: {', '.join(images)}: no picture there; expected pictures (.jpg, .png, .tif, .heic, ...), a folder of "
            "them or a video"
        )
    base = Path(os.path.commonpath(roots))
    return [Input(path, _absolute(path).relative_to(base).as_posix(), _is_video(path)) for path in files.values()]


def video_frames(path: Path) -> Iterator[tuple[Image, float]]:
    """Each frame (H, W, 3) RGB of the video `path`, rotated upright by OpenCV, with the frames per second.

    Raises PictureError if OpenCV cannot open the video, and after the last readable frame if the file states more frames.
    """
    if path.stat().st_size == 0:
        raise PictureError(f"{path}: is empty (0 bytes); copy it again from its source")
    capture = _opened(path)
    if capture is None:
        raise PictureError(
            f"{path}: is no video that OpenCV can read: cut off, damaged, or of a codec that is missing; copy it again from "
            "where it came, or convert it, e.g. to an mp4 with H.264"
        )
    try:
        stated, rate = capture.get(cv2.CAP_PROP_FRAME_COUNT), float(capture.get(cv2.CAP_PROP_FPS))
        rate = rate if _RATES[0] <= rate <= _RATES[1] else _RATE
        count = 0
        while True:
            there, frame = capture.read()
            if not there:
                break
            count += 1
            yield np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), dtype=np.uint8), rate
    finally:
        capture.release()
    if not count:
        raise PictureError(f"{path}: holds no frame that OpenCV can read; copy it again from its source")
    if stated - count > _MISSING_SHARE * stated:
        raise PictureError(
            f"{path}: only {count} of its {stated:.0f} frames can be read: it is cut off, damaged or trimmed; copy it again "
            "from where it came"
        )


def _expanded(text: str) -> list[Path]:
    """The files and folders that `text`, a path or a pattern, names."""
    path = Path(text)
    if path.is_file() or path.is_dir():
        return [path]
    if path.exists():
        raise ConfigError(f"image: {text}: is a device; predict reads no live camera: record pictures or a video first")
    if text.isdecimal():
        raise ConfigError(
            f"image: {text}: no such file, and predict reads no live camera: record pictures or a video, and name that"
        )
    if "://" in text:
        raise ConfigError(f"image: {text}: is an address; expected a file: download or record it first")
    suffixes = picture_suffixes() | VIDEOS
    found = [Path(name) for name in sorted(glob.glob(text, recursive=True))]  # noqa: PTH207 - text may be absolute
    found = [path for path in found if path.is_dir() or path.suffix.lower() in suffixes]
    if not found:
        raise ConfigError(f"image: {text}: no such file or folder; check the path")
    return found


def _absolute(path: Path) -> Path:
    """`path` without "..", which could lead out of the output folder. Links are not resolved."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links


def _is_video(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix in VIDEOS or suffix in picture_suffixes():
        return suffix in VIDEOS
    if is_picture(path):
        return False
    capture = _opened(path)
    if capture is not None:
        capture.release()
    return capture is not None


def _opened(path: Path) -> "cv2.VideoCapture | None":
    """The opened video `path`; None if OpenCV cannot open it, or only as a series of pictures."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # quiet: an error of ours is one line
    capture = cv2.VideoCapture(str(path))
    if capture.isOpened() and capture.getBackendName() != "CV_IMAGES":
        return capture
    capture.release()
    return None
