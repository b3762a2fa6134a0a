"""Output folders that appear when they are complete, and pictures that keep their bytes."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from simgen.dataset.read import read_rgb
from simgen.errors import ConfigError, DatasetError, PictureError
from simgen.files import write_file, writing
from simgen.pictures import picture_header, png_bytes


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` to write into. It is renamed to `out` at the end, and removed after an error.

    Raises ConfigError, before anything is written, if `out` exists and is not an empty folder.
    """
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise ConfigError(f"out: {out} exists and is not an empty folder; name a new folder")
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
    """Copies the file `source` to `target`, or links it, as the key `pictures` states. Raises DatasetError."""
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


def place_picture(source: Path, target: Path, how: str, *, png: bool = False) -> tuple[Path, int, int]:
    """Places the picture `source` as `target`, whose suffix it sets: the path, and the width and height in px.

    Its bytes stay where every program shows the same: 8 bits, gray or RGB, not turned by EXIF, and with `png` a PNG. Other
    pictures are decoded and written as PNG. Raises DatasetError.
    """
    try:
        header = picture_header(source)
    except PictureError as error:
        raise DatasetError(f"{error}; it is a picture of a dataset: restore the dataset") from error
    if header.plain and (not png or header.format == "PNG"):
        target = target.with_name(target.name + (".png" if png else source.suffix.lower()))
        place(source, target, how)
        return target, header.width, header.height
    pixels = read_rgb(source)
    target = target.with_name(target.name + ".png")
    write_file(target, png_bytes(pixels))
    return target, pixels.shape[1], pixels.shape[0]
