"""The outputs of predict: predictions.json, and each picture or video with its detections drawn over it.

Only files that predict wrote are overwritten: it recognizes its overlays by a mark in the file, and predictions.json by its
entries.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from simgen.drawings import is_drawn_by, png_bytes
from simgen.errors import ConfigError, FileError
from simgen.files import write_file, write_json, writing
from simgen.pictures import OVERLAY, Image

PREDICTIONS = "predictions.json"
# The keys of its entries; earlier versions wrote the first and the last.
_KEYS = {"image", "size_px", "familiarity", "coordinate_frames", "blocks"}
_GROWTH = 1.1  # predictions.json is rewritten whenever it has grown by this share, so the total time is linear.
_MARK = "simgen predict"
_MARKED_VIDEO = b"JUNK" + len(_MARK).to_bytes(4, "little") + _MARK.encode()  # an unknown RIFF chunk, which players skip


def overlay_path(out: Path, name: str, *, video: bool) -> Path:
    """The path of the overlay of the input `name`. It contains the whole name, so that those of a.jpg and a.png differ."""
    return out / f"{name}{OVERLAY}{'.avi' if video else '.png'}"


def check_outputs(out: Path, overlays: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Raises ConfigError if writing `overlays` and predictions.json into `out` would overwrite one of `inputs`, or another
    file that predict did not write."""
    taken = {os.path.realpath(path) for path in inputs}
    for path in (out / PREDICTIONS, *overlays):
        place = next(above for above in path.parents if above.exists())
        if not place.is_dir():
            raise ConfigError(f"out: {place} is a file; expected a folder")
        if os.path.realpath(path) in taken:
            raise ConfigError(f"out: {path} is an input, which would be overwritten; name another folder")
        if path.exists() and not (_are_predictions(path) if path.name == PREDICTIONS else is_drawn(path)):
            raise ConfigError(f"out: {path} exists, and predict did not write it; name another folder or move it")


def is_drawn(path: Path) -> bool:
    """Whether the picture or video `path` is an overlay of predict, by the mark in the file."""
    try:
        if path.suffix.lower() == ".avi":
            with path.open("rb") as file:
                file.seek(-min(len(_MARKED_VIDEO), path.stat().st_size), os.SEEK_END)
                return file.read() == _MARKED_VIDEO
        return is_drawn_by(path, _MARK)
    except OSError:
        return False


def write_overlay(path: Path, drawn: Image) -> None:
    """Writes the picture `drawn` (H, W, 3) RGB with predict's mark, atomically."""
    write_file(path, png_bytes(drawn, _MARK))


class Predictions:
    """Writes predictions.json in `out`. The file is always complete JSON. After an error it holds all lines; after a killed
    process, most of them."""

    def __init__(self, out: Path) -> None:
        self.path = out / PREDICTIONS
        self.lines: list[Mapping[str, Any]] = []
        self._written = 0

    def add(self, line: Mapping[str, Any]) -> None:
        """Appends `line`. Raises FileError if the file cannot be written."""
        self.lines.append(line)
        if len(self.lines) >= _GROWTH * self._written:
            self.close()

    def close(self) -> None:
        """Writes the remaining lines."""
        if len(self.lines) > self._written:
            write_json(self.path, self.lines, indent=1)
            self._written = len(self.lines)


class VideoOverlay:
    """A video with detections drawn in, which appears at `path` when it is closed. For use in a with statement; without
    frames there is no file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f".{path.stem}.part.avi")
        self._writer: cv2.VideoWriter | None = None

    def write(self, drawn: Image, rate: float) -> None:
        """Appends the frame `drawn` (H, W, 3) RGB of a video of `rate` frames per second. Raises FileError where it
        cannot be written."""
        if self._writer is None:
            with writing(self._path):
                self._path.parent.mkdir(parents=True, exist_ok=True)
            size = (drawn.shape[1], drawn.shape[0])
            self._writer = cv2.VideoWriter(str(self._part), cv2.VideoWriter.fourcc(*"MJPG"), rate, size)
            if not self._writer.isOpened():
                raise FileError(f"{self._path}: cannot be written; free disk space, or name another folder with out=")
        self._writer.write(np.ascontiguousarray(drawn[..., ::-1]))

    def __enter__(self) -> "VideoOverlay":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is None:
            return
        self._writer.release()
        if isinstance(error, FileError) or not self._part.exists():
            self._part.unlink(missing_ok=True)
            return
        with writing(self._path):
            with self._part.open("ab") as file:
                file.write(_MARKED_VIDEO)
            self._part.replace(self._path)


def _are_predictions(path: Path) -> bool:
    try:
        lines = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return (
        isinstance(lines, list)
        and len(lines) > 0
        and all(isinstance(line, dict) and {"image", "blocks"} <= set(line) <= _KEYS for line in lines)
    )
