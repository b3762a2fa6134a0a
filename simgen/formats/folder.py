"""Output folders that appear when they are complete, and pictures that keep their bytes."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen.dataset.hashes import unchanged
from simgen.dataset.read import read_rgb
from simgen.errors import ConfigError, DatasetError, PictureError
from simgen.files import write_file, writing
from simgen.pictures import picture_header

# The formats whose bytes may stay, and their suffixes.
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "TIFF": ".tif", "BMP": ".bmp", "WEBP": ".webp"}
BOP_SUFFIXES = {name: SUFFIXES[name] for name in ("JPEG", "PNG", "TIFF")}
PNG_ALONE = {"PNG": ".png"}
_FAST = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB]


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` to write into. It is renamed to `out` at the end, and removed after an error.

    Raises ConfigError, before anything is written, if `out` exists and is not an empty folder.
    """
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise ConfigError(f"out: {out} exists and is not an empty folder; name a new folder")
    out = out.resolve()
    folder = out.with_name(f".{out.name}.{os.getpid()}.unfinished")
    with writing(out):
        folder.mkdir(parents=True)
    try:
        yield folder
        with writing(out):
            folder.rename(out)  # fails if somebody has filled `out` meanwhile
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def place(source: Path, target: Path, how: str) -> None:
    """Copies the file `source` to `target`, or links it, as the key `pictures` states. Raises DatasetError, also for a file
    that has changed since its dataset's manifest was written."""
    source = unchanged(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    with writing(target):
        if how == "copy":
            shutil.copyfile(source, target)
        elif how == "symlink":
            target.symlink_to(source.resolve())
        else:
            try:
                os.link(source.resolve(), target)
            except OSError as error:
                raise DatasetError(
                    f"pictures: {source} cannot be hard-linked into the folder of out ({error.strerror}); use "
                    "pictures=copy, or an out on the same file system"
                ) from error


def place_picture(
    source: Path, target: Path, how: str, suffixes: Mapping[str, str] = SUFFIXES, *, gray: bool = False
) -> tuple[Path, int, int]:
    """Places the picture `source` as `target`, to which it adds the suffix: the path, and the width and height in px.

    Its bytes stay where every program shows the same, 8 bits, gray or RGB and not turned by EXIF, and where `suffixes` has
    its format, by Pillow's name. Other pictures are decoded and written as PNG, of one channel if they are `gray`. Raises
    DatasetError.
    """
    try:
        header = picture_header(source)
    except PictureError as error:
        raise DatasetError(f"{error}; it is a picture of a dataset: restore the dataset") from error
    if header.plain and header.format in suffixes:
        target = target.with_name(target.name + suffixes[header.format])
        place(source, target, how)
        return target, header.width, header.height
    pixels = read_rgb(source)
    target = target.with_name(target.name + ".png")
    write_png(target, pixels[..., 0] if gray else pixels)
    return target, pixels.shape[1], pixels.shape[0]


def write_png(path: Path, image: NDArray[Any]) -> None:
    """Writes `image`, (H, W) of 8 or 16 bits or (H, W, 3) RGB, as a PNG file."""
    encoded, data = cv2.imencode(".png", image if image.ndim == 2 else np.ascontiguousarray(image[..., ::-1]), _FAST)
    assert encoded, path
    write_file(path, data.tobytes())


def share(source: Path, target: Path) -> None:
    """Makes `target` the same file as `source`, both of an output folder; a copy on a file system without hard links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with writing(target):
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)
