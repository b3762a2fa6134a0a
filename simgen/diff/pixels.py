"""Compares the pictures and labels of the same samples on two sides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen.command.progress import Progress
from simgen.dataset.read import read_rgb
from simgen.dataset.scenes import Instance, Picture
from simgen.diff.sides import Name
from simgen.drawings import contact_sheet

Image = NDArray[np.uint8]
WIDTH = 320  # px of a picture in the sheet
_CAPTION, _GAP = 20, 3  # px


@dataclass(frozen=True)
class PixelChange:
    """Two pictures that differ: the largest difference of a channel, of 255, and the share of the pixels that differ. If
    their sizes differ, 255 and 1."""

    name: Name
    largest: int
    share: float
    sizes: str  # both sizes if they differ, else ""

    @property
    def about(self) -> str:
        """The difference in words."""
        if self.sizes:
            return f"sizes {self.sizes}"
        return f"up to {self.largest} of 255 in {self.share:.2%} of the pixels"


def changed_pixels(a: Mapping[Name, Picture], b: Mapping[Name, Picture]) -> list[PixelChange]:
    """The pictures on both sides that differ, the most different first. Raises DatasetError for one that cannot be read."""
    both = sorted(a.keys() & b.keys())
    found = []
    with Progress("compared", len(both), "pictures", ending=False) as progress:
        for name in both:
            one, other = read_rgb(a[name].path), read_rgb(b[name].path)
            if one.shape != other.shape:
                sizes = " and ".join(f"{picture.shape[1]} x {picture.shape[0]}" for picture in (one, other))
                found.append(PixelChange(name, 255, 1.0, sizes))
            elif not np.array_equal(one, other):
                gap = _gap(one, other).max(-1)
                found.append(PixelChange(name, int(gap.max()), float((gap > 0).mean()), ""))
            progress.update()
    return sorted(found, key=lambda one: (-one.share * one.largest, one.name))


def changed_labels(a: Mapping[Name, Picture], b: Mapping[Name, Picture]) -> list[Name]:
    """The pictures on both sides whose camera or blocks have other labels."""
    return [name for name in sorted(a.keys() & b.keys()) if not _same_labels(a[name], b[name])]


def sheet_of(changes: Sequence[PixelChange], a: Mapping[Name, Picture], b: Mapping[Name, Picture]) -> Image:
    """A row for each of `changes`, at least one: the picture of A, that of B, and their difference, amplified so that the
    largest is white."""
    tiles: list[Image] = []
    for change in changes:
        one, other = read_rgb(a[change.name].path), read_rgb(b[change.name].path)
        if change.sizes:
            gap = np.zeros_like(one)
            factor = 0.0
        else:
            factor = 255 / change.largest
            gap = np.asarray(np.rint(_gap(one, other) * factor), dtype=np.uint8)
        captions = (f"A: {text_of(change.name)}", f"B: {text_of(change.name)}", f"x {factor:.3g}: {change.about}")
        tiles += [_tile(picture, caption) for picture, caption in zip((one, other, gap), captions, strict=True)]
    height = max(tile.shape[0] for tile in tiles)
    even = [cv2.copyMakeBorder(t, 0, height - t.shape[0], 0, 0, cv2.BORDER_CONSTANT, value=(255,) * 3) for t in tiles]
    return contact_sheet([np.asarray(tile, dtype=np.uint8) for tile in even], 3)


def text_of(name: Name) -> str:
    """The numbers of scene and image, for messages."""
    return f"scene {name[0]}, image {name[1]}"


def _same_labels(one: Picture, other: Picture) -> bool:
    same = np.array_equal(one.intrinsics, other.intrinsics) and np.array_equal(one.distortion, other.distortion)
    if not same or len(one.instances) != len(other.instances):
        return False
    if (one.camera_from_world is None) != (other.camera_from_world is None):
        return False
    if one.camera_from_world is not None and not np.array_equal(one.camera_from_world, other.camera_from_world):  # type: ignore[arg-type]
        return False
    return all(map(_same_instance, one.instances, other.instances))


def _same_instance(one: Instance, other: Instance) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in vars(one))


def _gap(one: Image, other: Image) -> NDArray[np.int16]:
    return np.abs(one.astype(np.int16) - other.astype(np.int16))


def _tile(picture: Image, caption: str) -> Image:
    height = max(1, round(picture.shape[0] * WIDTH / picture.shape[1]))
    tile = np.full((height + _CAPTION + _GAP, WIDTH + _GAP, 3), 255, np.uint8)
    tile[:height, :WIDTH] = cv2.resize(picture, (WIDTH, height), interpolation=cv2.INTER_AREA)
    cv2.putText(tile, caption, (4, height + 15), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (20, 20, 20), 1, cv2.LINE_AA)
    return tile
