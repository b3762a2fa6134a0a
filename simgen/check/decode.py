"""Decodes the pictures of a dataset, whole or not at all."""

import struct

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen.check.findings import Report, UnreadableFile

_LARGEST = 179_000_000  # pixels: above that, simgen reads no picture
_PNG = b"\x89PNG\r\n\x1a\n"


def decode(
    data: bytes, name: str, flags: int, where: str, report: Report
) -> NDArray[np.uint8] | NDArray[np.uint16] | None:
    """The picture in `data` of the file `name`, as cv2.imdecode gives it with `flags`; None, and a finding, if it is
    truncated, too large or no picture."""
    wrong = _wrong(data)
    if wrong is None:
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        except cv2.error as error:
            image, wrong = None, f"cannot be decoded ({error.err})"
        if image is not None:
            return image  # type: ignore[return-value]
    report(UnreadableFile(where, f"{name} {wrong or 'cannot be decoded'}"))
    return None


def _wrong(data: bytes) -> str | None:
    """What keeps the picture in `data` from being decoded whole. OpenCV fills what is missing of a JPEG file with gray."""
    if not data:
        return "is empty"
    if data.startswith(_PNG):
        width, height = struct.unpack(">II", data[16:24]) if len(data) >= 24 else (0, 0)
        if width * height > _LARGEST:
            return f"has {width} x {height} pixels; expected at most {_LARGEST}"
        return None if b"IEND" in data[-64:] or b"IEND" in data else "is truncated"
    if data.startswith(b"\xff\xd8"):
        width, height = _jpeg_size(data)
        if width * height > _LARGEST:
            return f"has {width} x {height} pixels; expected at most {_LARGEST}"
        # The end marker, after the start of the last scan: one before it is that of a thumbnail.
        return None if data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda") else "is truncated"
    return None


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height in the frame header of a JPEG file; 0, 0 if there is none."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        kind, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(data[at + 7 : at + 9]), int.from_bytes(data[at + 5 : at + 7])
        at += 2 + length if kind != 0xFF else 1
    return 0, 0
