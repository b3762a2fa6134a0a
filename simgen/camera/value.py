"""`Camera`: one calibrated camera, checked when it is made."""

import sys
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from simgen.camera.checks import (
    FARTHEST,
    check_fit,
    check_intrinsics,
    check_pose,
    check_rigid,
    check_size,
    smaller_size,
)
from simgen.camera.lenses import NO_LENS, describe_lens
from simgen.distortion import BROWN, COEFFICIENTS, Array, is_fisheye, lens_reach, undistort
from simgen.errors import ConfigError

_WIDE = 130.0  # degrees: hardly any lens that is no fisheye sees more


@dataclass(frozen=True, eq=False)  # comparing arrays with == gives an array
class Camera:
    """A camera with plausible values. Raises ConfigError, which states the likely mistake, for values that are not.

    intrinsics         (3, 3) px; pixel (0, 0) is the center of the top-left pixel, as in OpenCV
    width, height      px of the picture that the intrinsics apply to; None if unknown (see `for_picture`)
    distortion         (5,) or (9,): a lens of distortion.py
    camera_from_table  (4, 4) m: the table's top is the plane z = 0 of the table frame, Z up; None if unknown
    table              (2, 2) m: least and greatest X and Y of the table's top; None if unknown
    notices            lines for the user about how the file was interpreted
    """

    intrinsics: Array
    width: int | None = None
    height: int | None = None
    distortion: Array = field(default_factory=lambda: NO_LENS.copy())
    camera_from_table: Array | None = None
    table: Array | None = None
    notices: tuple[str, ...] = ()

    def print_notices(self, name: str, printed: set[str]) -> None:
        """Prints on stderr those `notices` of the camera file `name` that are not among the `printed` ones, to which it adds
        them."""
        for notice in self.notices:
            if notice not in printed:
                printed.add(notice)
                print(f"camera: {name}: {notice}", file=sys.stderr)

    def __post_init__(self) -> None:
        for name, shapes in (
            ("intrinsics", [(3, 3)]),
            ("distortion", [(BROWN,), (COEFFICIENTS,)]),
            ("camera_from_table", [(4, 4)]),
            ("table", [(2, 2)]),
        ):
            value = getattr(self, name)
            if value is None:
                continue
            array = np.array(value, dtype=np.float64)
            if array.shape not in shapes or not np.isfinite(array).all():
                wanted = " or ".join(" x ".join(map(str, shape)) for shape in shapes)
                raise ConfigError(f"{name}: got {array.tolist()}; expected {wanted} finite numbers")
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        check_intrinsics(self.intrinsics, "intrinsics")
        if (self.width is None) != (self.height is None):
            raise ConfigError("width and height: one of them is missing; expected both, in px")
        if self.camera_from_table is not None:
            check_rigid(self.camera_from_table, "camera_from_table")
        if self.table is not None:
            if self.camera_from_table is None:
                raise ConfigError("table: expected camera_from_table beside it")
            if not np.all(self.table[0] < self.table[1]):
                raise ConfigError(
                    f"table: got {self.table.tolist()}; expected [[least X, least Y], [greatest X, greatest Y]] in m"
                )
            if np.abs(self.table).max() > 2 * FARTHEST:
                raise ConfigError(f"table: got {self.table.tolist()}; expected meters, not millimeters")
        if self.width is None or self.height is None:
            return
        check_size(self.width, self.height, "width and height")
        check_fit(self.intrinsics, self.distortion, self.width, self.height, "intrinsics")
        if self.camera_from_table is not None:
            size = (self.width, self.height)
            check_pose(self.camera_from_table, self.intrinsics, self.distortion, size, self.table, "camera_from_table")

    def for_picture(self, width: int, height: int) -> "Camera":
        """This camera for a picture of `width` x `height` px; if the size differs, with scaled intrinsics and a notice.

        Raises ConfigError for a picture of another aspect ratio, which is cropped or rotated.
        """
        if self.width is None or self.height is None:
            sized = replace(self, width=width, height=height)
            return replace(sized, notices=(*self.notices, *sized.doubts()))
        if (width, height) == (self.width, self.height):
            return self
        sizes = f"is of {self.width} x {self.height} px, the picture of {width} x {height}"
        if not self.fits(width, height):
            if self.fits(height, width):
                raise ConfigError(
                    f"{sizes}: one of the two is rotated by 90 degrees (phones store the rotation in EXIF, which is "
                    "applied here as in OpenCV); calibrate with pictures that are rotated like this one"
                )
            raise ConfigError(
                f"{sizes}: the picture is cropped, or taken in another mode of the camera; give the intrinsics of such a "
                "picture (for a crop: subtract its left and top from cx and cy)"
            )
        notice = (
            f"{sizes}: read as the whole picture, resized: the intrinsics are multiplied by {width / self.width:.4g}"
        )
        return replace(self.resized(width, height), notices=(*self.notices, notice))

    def fits(self, width: int, height: int) -> bool:
        """Whether a picture of `width` x `height` px has this camera's aspect ratio, to within a rounding of its sides."""
        if self.width is None or self.height is None:
            return True
        sides = (width, height, self.width, self.height)
        return abs(width * self.height - height * self.width) <= max(sides)

    def resized(self, width: int, height: int) -> "Camera":
        """This camera for its picture resized to `width` x `height` px. Raises ConfigError if its own size is unknown."""
        if self.width is None or self.height is None:
            raise ConfigError("width and height: not known, so the intrinsics cannot be scaled")
        matrix = np.array(self.intrinsics)
        across, down = width / self.width, height / self.height
        matrix[0] *= across
        matrix[1] *= down
        matrix[:2, 2] += [(across - 1) / 2, (down - 1) / 2]
        return replace(self, intrinsics=matrix, width=width, height=height)

    def doubts(self) -> list[str]:
        """Warnings about values that are unlikely but possible, a line each."""
        if self.width is None or self.height is None:
            return []
        result = []
        smaller = smaller_size(self.intrinsics, self.width, self.height)
        if smaller:
            result.append(
                f"the principal point ({self.intrinsics[0, 2]:.6g}, {self.intrinsics[1, 2]:.6g}) is far from the middle of "
                f"{self.width} x {self.height} px: are the intrinsics of {smaller[0]} x {smaller[1]}?"
            )
        exchanged = np.abs(self.intrinsics[1::-1, 2] / [self.width, self.height] - 0.5).max()
        off = np.abs(self.intrinsics[:2, 2] / [self.width, self.height] - 0.5).min()
        if self.width != self.height and exchanged < 0.03 and off > 0.06:
            result.append("cx and cy look exchanged: the other way round they are in the middle of the picture")
        angle = np.degrees(2 * np.arctan(self.width / 2 / self.intrinsics[0, 0]))
        if angle > _WIDE and not is_fisheye(self.distortion):
            result.append(
                f"fx = {self.intrinsics[0, 0]:g} on {self.width} px is a field of view of {angle:.0f} degrees: is it in "
                "millimeters? expected px"
            )
        corners = np.array([[u, v] for u in (0, self.width - 1) for v in (0, self.height - 1)])
        plane = (corners - self.intrinsics[:2, 2]) / np.diag(self.intrinsics)[:2]
        reach = lens_reach(self.distortion)
        rays = np.linalg.norm(undistort(plane, self.distortion), axis=1)
        if np.isfinite(reach) and np.any(rays > 0.999 * reach):
            model = "fisheye" if is_fisheye(self.distortion) else "opencv"
            result.append(
                f"the lens {self.distortion.tolist()} shows nothing in a corner of the picture: is {model} its model, "
                "and are its coefficients in OpenCV's order?"
            )
        return result

    def to_json(self) -> dict[str, Any]:
        """This camera in simgen's camera file format."""
        result: dict[str, Any] = {}
        if self.width is not None:
            result.update(width=self.width, height=self.height)
        result.update(intrinsics=self.intrinsics.tolist(), **describe_lens(self.distortion))
        for name in ("camera_from_table", "table"):
            value = getattr(self, name)
            if value is not None:
                result[name] = value.tolist()
        return result
