"""Plausibility checks of a camera's intrinsics, lens and pose. Each error states the likely mistake."""

from collections.abc import Sequence

import numpy as np

from simgen.distortion import Array, is_fisheye
from simgen.errors import ConfigError
from simgen.geometry import NEAR, inverse, project, rigid, unproject

LEAST_SIDE, GREATEST_SIDE = 8, 16384  # px
FARTHEST = 10.0  # m, the greatest plausible distance of the table
_NARROWEST, _WIDEST = 1.0, 170.0  # degrees, of a pinhole's field of view
_WIDEST_FISHEYE = 220.0
_SKEW = 0.01  # px at the picture's border, below the accuracy of any calibration
_AXES = np.diag([1.0, -1.0, -1.0, 1.0])  # between OpenCV's camera axes and those of OpenGL and Blender
# Common camera resolutions, to state the likely one of an intrinsic matrix.
_SIZES = (
    (4608, 3456), (4032, 3024), (4000, 3000), (4656, 3496), (3840, 2160), (3280, 2464), (3264, 2448), (2592, 1944),
    (2560, 1440), (2448, 2048), (2048, 1536), (1920, 1200), (1920, 1080), (1600, 1200), (1440, 1080), (1280, 1024),
    (1280, 960), (1280, 800), (1280, 720), (1024, 768), (960, 540), (848, 480), (800, 600), (720, 540), (640, 480),
    (640, 400), (640, 360), (424, 240), (320, 240),
)  # fmt: skip


def check_intrinsics(matrix: Array, key: str) -> None:
    """Raises ConfigError that begins with `key` unless `matrix` (3, 3) is an intrinsic matrix in px."""
    if not np.isfinite(matrix).all():
        raise ConfigError(f"{key}: got {_short(matrix)}; expected finite numbers")
    if not matrix.any():
        raise ConfigError(
            f"{key}: is all zeros: the camera is not calibrated; expected [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]"
        )
    if not matrix[:2, 2].any() and matrix[2, :2].any():
        raise ConfigError(
            f"{key}: looks transposed, as MATLAB writes it: cx and cy are in the last row; expected [[fx, 0, cx], [0, "
            "fy, cy], [0, 0, 1]] (MATLAB also counts pixels from 1: subtract 1 from its cx and cy)"
        )
    if np.abs(matrix[2] - [0, 0, 1]).max() > 1e-6 or abs(matrix[1, 0]) > 1e-6:
        raise ConfigError(f"{key}: got {_short(matrix)}; expected [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]")
    if matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise ConfigError(
            f"{key}: the focal lengths are {matrix[0, 0]:g} and {matrix[1, 1]:g}; expected positive ones, in px (a "
            "negative one belongs to OpenGL's axes; here y points down and z forward)"
        )


def check_size(width: int, height: int, key: str) -> None:
    """Raises ConfigError that begins with `key` unless `width` and `height` px are those of a picture."""
    if not all(LEAST_SIDE <= side <= GREATEST_SIDE for side in (width, height)):
        raise ConfigError(
            f"{key}: a picture of {width} x {height} px; expected {LEAST_SIDE} to {GREATEST_SIDE} px a side"
        )


def check_fit(matrix: Array, lens: Array, width: int, height: int, key: str) -> None:
    """Raises ConfigError that begins with `key` unless `matrix` (3, 3) can be that of a picture of `width` x `height` px."""
    fx, fy, cx, cy = matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]
    if max(fx, fy) < 10 and 0 <= cx <= 1.5 and 0 <= cy <= 1.5:
        raise ConfigError(
            f"{key}: looks normalized: fx {fx:g}, fy {fy:g}, cx {cx:g}, cy {cy:g}; expected px: multiply the first row "
            f"by the width ({width}) and the second by the height ({height})"
        )
    if not (-0.5 <= cx <= width - 0.5 and -0.5 <= cy <= height - 0.5):
        seems = ""
        if cx > 0 and cy > 0:
            across, down = likely_size(cx, cy)
            seems = f"; it looks like the matrix of a picture of {across} x {down} px: "
            if (across > down) == (width > height):
                seems += f"multiply its first two rows by {width / across:.4g}, or calibrate at {width} x {height}"
            else:
                seems += "the picture is turned, or width and height are exchanged"
        raise ConfigError(
            f"{key}: the principal point ({cx:.6g}, {cy:.6g}) lies outside the picture of {width} x {height} px{seems}"
        )
    if abs(matrix[0, 1]) * height / fy > _SKEW:
        raise ConfigError(
            f"{key}: has a skew of {matrix[0, 1]:g}; expected 0: like OpenCV, simgen has square-cornered pixels; calibrate "
            "without skew"
        )
    for focal, side, name in ((fx, width, "fx"), (fy, height, "fy")):
        if is_fisheye(lens):
            angle, widest = np.degrees(side / focal), _WIDEST_FISHEYE
        else:
            angle, widest = np.degrees(2 * np.arctan(side / 2 / focal)), _WIDEST
        if not _NARROWEST <= angle <= widest:
            guess = "in millimeters?" if angle > widest else "of another resolution?"
            raise ConfigError(
                f"{key}: {name} = {focal:g} on {side} px is a field of view of {angle:.4g} degrees; expected "
                f"{_NARROWEST:g} to {widest:g}: a focal length in px, not {guess}"
            )
    if not 1 / 3 < fx / fy < 3:
        raise ConfigError(f"{key}: fx {fx:g} and fy {fy:g} differ by a factor of over 3; expected nearly square pixels")


def smaller_size(matrix: Array, width: int, height: int) -> tuple[int, int] | None:
    """A common resolution well below `width` x `height` px that fits `matrix` (3, 3) better; None if there is none."""
    across, down = likely_size(matrix[0, 2], matrix[1, 2])
    return (across, down) if (across, down) in _SIZES and across < 0.7 * width and down < 0.7 * height else None


def likely_size(cx: float, cy: float) -> tuple[int, int]:
    """Width and height px of the picture with the principal point (cx, cy) in its middle: a common resolution if one is
    near."""
    middle = (2 * cx + 1, 2 * cy + 1)
    sizes = [*_SIZES, *((height, width) for width, height in _SIZES)]
    width, height = min(sizes, key=lambda size: max(abs(np.log(m / s)) for m, s in zip(middle, size, strict=True)))
    near = max(abs(middle[0] / width - 1), abs(middle[1] / height - 1)) < 0.06
    return (width, height) if near else (round(middle[0]), round(middle[1]))


def check_rigid(pose: Array, key: str) -> None:
    """Raises ConfigError that begins with `key` unless `pose` (4, 4) is a rigid transform that maps columns."""
    if not np.isfinite(pose).all():
        raise ConfigError(f"{key}: got {_short(pose)}; expected finite numbers")
    if np.abs(pose[3] - [0, 0, 0, 1]).max() > 1e-6:
        if np.abs(pose[:, 3] - [0, 0, 0, 1]).max() < 1e-6:
            raise ConfigError(
                f"{key}: looks transposed, as MATLAB and OpenGL write it: the translation is in the last row; expected "
                "it in the last column and 0 0 0 1 in the last row"
            )
        raise ConfigError(f"{key}: the last row is {_short(pose[3])}; expected 0 0 0 1")
    rotation = pose[:3, :3]
    gram = rotation @ rotation.T
    if np.abs(gram - np.eye(3)).max() > 1e-3:
        scale = np.sqrt(abs(np.trace(gram)) / 3)
        scaled = scale > 0 and np.abs(gram / scale**2 - np.eye(3)).max() < 1e-3
        raise ConfigError(
            f"{key}: its upper left 3 x 3 is no rotation"
            + (f" but one times {scale:.6g}; divide the 3 x 3 by that" if scaled else ": its rows are not orthonormal")
        )
    if np.linalg.det(rotation) < 0:
        raise ConfigError(f"{key}: its upper left 3 x 3 is no rotation but mirrors: an axis has the wrong sign")


def check_pose(pose: Array, matrix: Array, lens: Array, size: tuple[int, int], table: Array | None, key: str) -> None:
    """Raises ConfigError that begins with `key` unless the camera with `pose` (4, 4) m, camera_from_table, is above the
    table's plane z = 0 and sees some of it within FARTHEST m. `table` (2, 2) m are the least and greatest X and Y of the
    table's top, if known: some of that must be in the picture.

    The message names the mistake that explains it, if one does: the inverse, OpenGL's axes, another unit.
    """
    camera = matrix, lens, size
    guess, has_origin = _guess(pose, camera, table)
    height = inverse(pose)[2, 3]
    hint = f"; it looks {guess}" if guess else ""
    if height <= NEAR:
        where = "in" if abs(height) <= NEAR else "under"
        raise ConfigError(f"{key}: the camera is {where} the table's plane z = 0, at a height of {height:.4g} m{hint}")
    nearest = _nearest(pose, camera)
    if nearest > FARTHEST:
        what = "no part of the table's plane z = 0 is in the picture"
        if np.isfinite(nearest):
            what = f"the table is {nearest:.4g} m away; expected meters, and less than {FARTHEST:g}"
        raise ConfigError(f"{key}: {what}{hint}")
    if table is not None and not _sees_table(pose, camera, table):
        raise ConfigError(f"{key}: no part of the table {_short(table)} m is in the picture{hint}")
    # If the camera is not above the table's origin, pose and inverse can both be plausible: the right one shows the origin.
    if table is None and has_origin and guess.startswith("inverted:") and not _sees_origin(pose, camera):
        raise ConfigError(
            f"{key}: looks {guess}: the table's origin is not in the picture, and with the inverse it is; if it is right, "
            "state the table's extent: table: [[least X, least Y], [greatest X, greatest Y]] in m"
        )


Camera = tuple[Array, Array, tuple[int, int]]  # intrinsics, lens, width and height


def _guess(pose: Array, camera: Camera, table: Array | None) -> tuple[str, bool]:
    """The likely mistake in `pose`, and whether the table's origin is in the picture once it is corrected. The first
    mistake whose correction shows the origin, else the first whose correction is plausible, else "" and False."""
    far = max(float(np.linalg.norm(pose[:3, 3])), 1e-9)
    # Of the two units, the one that makes the distance nearer to a meter.
    unit, factor = min((("millimeters", 1000), ("centimeters", 100)), key=lambda one: abs(np.log(far / one[1])))
    scaled = rigid(pose[:3, :3], pose[:3, 3] / factor)
    candidates = [
        ("inverted: table_from_camera; invert it, or name the key table_from_camera", inverse(pose)),
        ("to have OpenGL or Blender axes; negate its second and third rows (camera y down, z forward)", _AXES @ pose),
        (
            "inverted and to have OpenGL or Blender axes, like Blender's matrix_world; negate its second and third columns "
            "and invert it",
            _AXES @ inverse(pose),
        ),
        (f"to be in {unit}; divide the translation by {factor}", scaled),
        (
            f"inverted and in {unit}: table_from_camera; divide the translation by {factor} and invert it",
            inverse(scaled),
        ),
        (f"to be in {unit} and to have OpenGL or Blender axes", _AXES @ scaled),
        (f"inverted, in {unit} and to have OpenGL or Blender axes", _AXES @ inverse(scaled)),
    ]
    possible = [
        (name, tried)
        for name, tried in candidates
        if inverse(tried)[2, 3] > NEAR
        and _nearest(tried, camera) <= FARTHEST
        and (table is None or _sees_table(tried, camera, table))
    ]
    with_origin = [name for name, tried in possible if _sees_origin(tried, camera)]
    return next(iter([*with_origin, *(name for name, _ in possible)]), ""), bool(with_origin)


def _nearest(pose: Array, camera: Camera) -> float:
    """The depth in m of the nearest point of the plane z = 0 that is in the picture; infinite if none is."""
    matrix, lens, (width, height) = camera
    u, v = np.meshgrid(np.linspace(0, width - 1, 9), np.linspace(0, height - 1, 9))
    rays = unproject(np.stack([u, v], -1).reshape(-1, 2), matrix, lens) @ pose[:3, :3]
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = -inverse(pose)[2, 3] / rays[:, 2]
    return float(np.min(depth, where=np.isfinite(depth) & (depth > 0), initial=np.inf))


def _sees_origin(pose: Array, camera: Camera) -> bool:
    return _sees(pose, camera, np.zeros((1, 3)))


def _sees_table(pose: Array, camera: Camera, table: Array) -> bool:
    x, y = np.meshgrid(*np.linspace(table[0], table[1], 17).T)
    return _sees(pose, camera, np.stack([x, y, 0 * x], -1).reshape(-1, 3))


def _sees(pose: Array, camera: Camera, points: Array) -> bool:
    matrix, lens, size = camera
    seen = points @ pose[:3, :3].T + pose[:3, 3]
    with np.errstate(invalid="ignore", over="ignore"):
        pixels = project(seen, matrix, lens)
        # Beyond lens_reach the distortion formula maps points far outside back into the picture: check without it.
        flat = np.abs(seen[:, :2]) <= 2 * np.array(size) / np.diag(matrix)[:2] * np.maximum(seen[:, 2:], 0)
        inside = np.all((pixels >= -0.5) & (pixels <= np.array(size) - 0.5), axis=1)
    return bool(np.any(inside & (flat.all(axis=1) | is_fisheye(lens))))


def _short(values: Array | Sequence[float]) -> str:
    return np.array2string(np.asarray(values), separator=", ", precision=6, suppress_small=True).replace("\n", "")
