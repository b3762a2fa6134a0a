"""Reads a camera file of any supported format."""

from pathlib import Path

from simgen.camera.files import load
from simgen.camera.formats import camera_of
from simgen.camera.value import Camera
from simgen.errors import ConfigError


def read_camera(path: str | Path, key: str = "camera") -> Camera:
    """The camera in the file `path`, in any of the formats FORMATS. `FILE#NAME` is camera NAME of a file with several.

    Raises ConfigError, one line that begins with `key` and the file's name and states the faulty key in the file, what was
    expected, and the likely mistake.
    """
    name, choice = str(path), None
    if not Path(name).exists() and "#" in name:
        name, choice = name.rsplit("#", 1)
    try:
        return camera_of(load(Path(name)), choice)
    except ConfigError as error:
        raise ConfigError(f"{key}: {name}: {error}") from error


def fit_camera(camera: Camera, width: int, height: int, name: str, key: str = "camera") -> Camera:
    """`camera`, read from the file `name`, for a picture of `width` x `height` px: Camera.for_picture, whose errors then
    begin with `key` and the file's name."""
    try:
        return camera.for_picture(width, height)
    except ConfigError as error:
        raise ConfigError(f"{key}: {name}: {error}") from error
