"""Real photographs, for validation only: pictures that are inside the distributions of other Python packages.

They stand for surfaces and surroundings of the real world, on which a detector can be measured; no training may use them.
Which pictures they are does not depend on what is installed: all files of the list must be there, with these bytes. The
packages are never imported.
"""

import importlib.util
import math
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from simgen.errors import ConfigError
from simgen.files import sha256_of
from simgen.pictures import Image, read_picture
from simgen.textures.images import shrink
from simgen.textures.numbers import Numbers

_PIXELS = 1024 * 1024  # that are kept of a photograph
_SKIMAGE = "source not stated; distributed with scikit-image (BSD-3-Clause)"
_BULLET = "source not stated; distributed with PyBullet (zlib)"
# The name by which pip knows each package.
_DISTRIBUTIONS = {
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "matplotlib": "matplotlib",
    "pybullet_data": "pybullet" if sys.version_info < (3, 12) else "pybullet-arm64",
}


class Photograph(NamedTuple):
    """A file of an installed package: `package`, its `path` there, its sha256, and the `license` of the photograph."""

    package: str
    path: str
    sha256: str
    license: str


# fmt: off
PHOTOGRAPHS = (
    # The licenses of the first are those that the docstrings of skimage.data state.
    Photograph("skimage", "data/astronaut.png",
               "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5", "public domain (NASA)"),
    Photograph("skimage", "data/brick.png",
               "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf", "CC0 (CC0Textures)"),
    Photograph("skimage", "data/camera.png",
               "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a", "CC0 (Lav Varshney)"),
    Photograph("skimage", "data/chelsea.png",
               "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb", "CC0 (Stefan van der Walt)"),
    Photograph("skimage", "data/coffee.png",
               "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7", "CC0 (Rachel Michetti)"),
    Photograph("skimage", "data/coins.png",
               "f8d773fc9cfa6f4d8e5942dc34d0a0788fcaed2a4fefbbed0aef5398d7ef4cba",
               "no known restrictions (Brooklyn Museum)"),
    Photograph("skimage", "data/grass.png",
               "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89", "CC0 (linolafett)"),
    Photograph("skimage", "data/gravel.png",
               "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12", "CC0 (CC0Textures)"),
    Photograph("skimage", "data/hubble_deep_field.jpg",
               "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4", "public domain (NASA)"),
    Photograph("skimage", "data/ihc.png",
               "f8dd1aa387ddd1f49d8ad13b50921b237df8e9b262606d258770687b0ef93cef",
               "no known restrictions (Center for Microscopy and Molecular Imaging)"),
    Photograph("skimage", "data/moon.png",
               "78739619d11f7eb9c165bb5d2efd4772cee557812ec847532dbb1d92ef71f577", _SKIMAGE),
    Photograph("skimage", "data/motorcycle_left.png",
               "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
               "license not stated (Middlebury Stereo 2014, Scharstein et al.)"),
    Photograph("skimage", "data/page.png",
               "341a6f0a61557662b02734a9b6e56ec33a915b2c41886b97509dedf2a43b47a3", _SKIMAGE),
    Photograph("skimage", "data/retina.jpg",
               "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6", "CC0 (Mikael Häggström)"),
    Photograph("skimage", "data/rocket.jpg",
               "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c", "public domain (SpaceX)"),
    Photograph("skimage", "data/text.png",
               "bd84aa3a6e3c9887850d45d606c96b2e59433fbef50338570b63c319e668e6d1", "public domain (Wikipedia)"),
    Photograph("sklearn", "datasets/images/china.jpg",
               "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29", "CC BY 2.0 (danielbuechele)"),
    Photograph("sklearn", "datasets/images/flower.jpg",
               "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638", "CC BY 2.0 (vultilion)"),
    Photograph("matplotlib", "mpl-data/sample_data/grace_hopper.jpg",
               "a8ca6d734765703b09728ab47fe59f473d93ae3967fc24c7c0288c3c7adb7130",
               "license not stated; distributed with matplotlib (portrait by the U.S. Navy)"),
    Photograph("pybullet_data", "quadruped/t-motor.jpg",
               "f88659be538dc73da8d0e5a5d60ad51eb4e1f3e164cd0b25393c92e69b59d2d1", _BULLET),
    Photograph("pybullet_data", "racecar/meshes/wheel.jpg",
               "0ac59d17edba8ba7340c2705719af3250a011f07c99286d6cdd4ac501a77fb72", _BULLET),
    Photograph("pybullet_data", "table/table.png",
               "76c696aee7efa541dcb91f15da6899fca7099b02d690040d8cc98e78800597f1", _BULLET),
    Photograph("pybullet_data", "tray/tray.jpg",
               "e37d0188c5f0b6f9b399f557be0364be405f1254e4bb26ddf9dcd0d00bdc73e6", _BULLET),
)
# fmt: on


@cache
def photographs() -> tuple[Path, ...]:
    """The files of PHOTOGRAPHS on this machine, in their order. Raises ConfigError that states how to install them if one is
    missing or is another file."""
    return tuple(_file_of(photograph) for photograph in PHOTOGRAPHS)


def photograph_of(k: int, size: int = 256) -> Image:
    """A part of photograph `k` modulo their number, (size, size, 3) uint8 sRGB: a random square of 40 to 100% of its height
    or width, mirrored or not. A pure function of its arguments. Raises ConfigError as `photographs` does."""
    paths = photographs()
    numbers = Numbers("photograph", k)
    whole = _decoded(paths[k % len(paths)])
    height, width = whole.shape[:2]
    side = int(min(height, width) * math.sqrt(numbers.uniform(0.16, 1)))
    top, left = numbers.integer(0, height - side), numbers.integer(0, width - side)
    part = whole[top : top + side, left : left + side]
    part = part[:, ::-1] if numbers.chance(0.5) else part
    # Averaged where it is reduced, interpolated where it is enlarged; in float64, so that no processor rounds differently.
    how = cv2.INTER_AREA if side >= size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(part.astype(np.float64), (size, size), interpolation=how) + 0.5, dtype=np.uint8)


@cache
def _decoded(path: Path) -> Image:
    return shrink(read_picture(path, _PIXELS), _PIXELS)


def _file_of(photograph: Photograph) -> Path:
    spec = importlib.util.find_spec(photograph.package)  # of a top-level package: it is not imported
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    path = Path(folders[0]) / photograph.path if folders else None
    if path is None or not path.is_file():
        what = "is missing"
    elif sha256_of(path) != photograph.sha256:
        what = f"has other bytes than expected (sha256 {photograph.sha256[:8]}...)"
    else:
        return path
    limits = ", for Python 3.11 to 3.13" if photograph.package == "pybullet_data" else ""
    raise ConfigError(
        f"photographs: {photograph.package}/{photograph.path} {what}; pip install --force-reinstall "
        f"{_DISTRIBUTIONS[photograph.package]}{limits}"
    )
