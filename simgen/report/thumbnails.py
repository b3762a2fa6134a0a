"""Small pictures for the page, and which samples have one if there is no space for all."""

import base64
import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen.command.progress import Progress
from simgen.dataset.read import read_rgb
from simgen.errors import SimgenError
from simgen.report.overlays import overlay_of
from simgen.report.samples import Sample

_SIDES = (320, 240, 192, 160, 128)  # px of the longer side: the first with which all samples fit, or else the last
_QUALITY = 70  # of WebP
_TRIED = 12  # samples whose size is measured before a side is chosen


@dataclass(frozen=True)
class Thumbnails:
    """`entries` by the number of the sample: `image` is a data URL, `size` [width, height] px of the whole picture, `blocks`
    the labels of overlays.py, `fault` why there are none; instead of an image `error`, why there is none. `side` px is that
    of the longer side."""

    entries: dict[int, dict[str, Any]]
    side: int


def make_thumbnails(samples: Sequence[Sample], first: Collection[int], budget: int, seed: int) -> Thumbnails:
    """Thumbnails with labels in at most `budget` bytes of JSON: of all samples, or of those numbered `first` and of others
    that `seed` chooses."""
    chosen = set(first)
    order = sorted(range(len(samples)), key=lambda k: (k not in chosen, _hash(seed, samples[k].name)))
    tried = sorted(order[-_TRIED:])
    sizes = np.array([[_length(entry) for entry in _entries(samples[k], _SIDES)] for k in tried]).reshape(
        -1, len(_SIDES)
    )
    means = sizes.mean(axis=0) if tried else np.zeros(len(_SIDES))
    column = next((k for k, mean in enumerate(means) if mean * len(samples) <= 0.9 * budget), len(_SIDES) - 1)
    # Somewhat more than will fit, in the order of the files: each scene's files are read once.
    number = min(len(samples), int(1.1 * max(budget, 0) / max(means[column], 1)) + 1)
    made: dict[int, dict[str, Any]] = {}
    with Progress("made", number, "thumbnails", ending=False) as progress:
        for k in sorted(order[:number]):
            (made[k],) = _entries(samples[k], _SIDES[column : column + 1])
            progress.update()
    entries: dict[int, dict[str, Any]] = {}
    for k in order[:number]:
        budget -= _length(made[k])
        if budget < 0:
            break
        entries[k] = made[k]
    return Thumbnails(entries, _SIDES[column])


def _entries(sample: Sample, sides: Sequence[int]) -> list[dict[str, Any]]:
    """The entry of a sample for each of `sides` px."""
    try:
        image = read_rgb(sample.picture.path)
    except SimgenError as error:
        return [{"error": " ".join(str(error).split())}] * len(sides)
    return [_entry(sample, image, side) for side in sides]


def _entry(sample: Sample, image: NDArray[np.uint8], side: int) -> dict[str, Any]:
    height, width = image.shape[:2]
    scale = max(1.0, max(height, width) / side)
    entry: dict[str, Any] = {"image": _data_url(image, scale), "size": [width, height], "blocks": []}
    try:
        entry["blocks"] = overlay_of(sample, scale)
    except SimgenError as error:
        entry["fault"] = " ".join(str(error).split())
    return entry


def _data_url(image: NDArray[np.uint8], scale: float) -> str:
    size = max(1, round(image.shape[1] / scale)), max(1, round(image.shape[0] / scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale > 1 else image
    _, data = cv2.imencode(".webp", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])
    return f"data:image/webp;base64,{base64.b64encode(data.tobytes()).decode('ascii')}"


def _length(entry: Any) -> int:
    return len(json.dumps(entry, separators=(",", ":"))) + 12


def _hash(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()
