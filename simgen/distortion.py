"""Lens distortion: OpenCV's rational (Brown-Conrady) model and its fisheye model, for one camera or a batch of them.

A lens is an array of up to 9 numbers; numbers that are left out at the end are zeros:

    5   k1 k2 p1 p2 k3                      Brown-Conrady, in OpenCV's order
    8   k1 k2 p1 p2 k3 k4 k5 k6             rational: the radial polynomial is divided by 1 + k4 r^2 + k5 r^4 + k6 r^6
    9   the same and a flag, 1 for fisheye  k1 k2 k3 k4 0 0 0 0 1: OpenCV's fisheye (equidistant, Kannala-Brandt) model

So four numbers are k1 k2 p1 p2, as in OpenCV, and never a fisheye lens. Formulas: OpenCV documentation, "Camera Calibration
and 3D Reconstruction" and "Fisheye camera model". Points (x, y) are normalized image coordinates: where a ray meets the
plane z = 1 of the camera frame.

`bend` and `straighten` accept NumPy arrays and torch tensors: their argument `library` is the module numpy or torch.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simgen import exact

Array = NDArray[np.float64]

COEFFICIENTS = 9
BROWN = 5  # numbers of a lens without k4, k5 and k6
_STEPS = 8  # of Newton's method: their error is below 1e-9 for common machine vision lenses, within lens_reach
_HALVINGS = 60  # bisection steps: down to the last bit of a float64
_TINY = 1e-12


def fisheye_lens(coefficients: Any) -> Array:
    """The lens (9,) of OpenCV's fisheye model with `coefficients` k1 k2 k3 k4."""
    lens = np.zeros(COEFFICIENTS)
    lens[:4] = coefficients
    lens[8] = 1
    return lens


def is_fisheye(distortion: Array) -> NDArray[np.bool_]:
    """(...) which of the lenses `distortion` (..., 4 to 9) are fisheye lenses."""
    return np.asarray(padded(distortion)[..., 8] > 0)


def padded(distortion: Any) -> Array:
    """The lenses `distortion` (..., up to 9), padded with zeros to (..., 9)."""
    distortion = np.asarray(distortion, dtype=np.float64)
    missing = COEFFICIENTS - distortion.shape[-1]
    return np.concatenate([distortion, np.zeros((*distortion.shape[:-1], missing))], -1) if missing else distortion


def distort(points: Array, distortion: Array) -> Array:
    """Distorted positions (..., P, 2) of `points` (..., P, 2), both in normalized coordinates, for the lens `distortion`
    (..., up to 9)."""
    x, y = bend(points[..., 0], points[..., 1], _columns(distortion), np)
    return np.stack([x, y], -1)


def undistort(points: Array, distortion: Array) -> Array:
    """The inverse of `distort`: undistorted normalized coordinates (..., P, 2).

    Fixed-point iteration until points move less than 1e-12 (at most 50 times); Newton's method for fisheye lenses; bisection
    of the radius for points at which these do not converge. A point outside the image of the lens gets the ray at
    `lens_reach` in its direction.
    """
    points = np.asarray(points, dtype=np.float64)
    lens = padded(distortion)
    result = points
    if np.any(lens[..., 8]):
        with np.errstate(all="ignore"):
            result = np.stack(straighten(points[..., 0], points[..., 1], _columns(lens), np), -1)
            left = ~(np.abs(distort(result, lens) - points).max(-1) < _TINY)
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            for _ in range(50):
                step = points - distort(result, lens)
                result = result + step
                if np.max(np.abs(step), initial=0.0) < _TINY:
                    return np.asarray(result)
            left = ~(np.abs(step).max(-1) < _TINY)
    left &= np.isfinite(points).all(-1)
    rows = np.broadcast_to(lens[..., None, :], (*points.shape[:-1], COEFFICIENTS))[left]
    result = np.array(np.broadcast_to(result, points.shape))
    result[left] = _halved(points[left], rows)
    return result


def lens_reach(distortion: Array) -> float:
    """The radius in normalized coordinates beyond which the lens `distortion` (up to 9,) is no longer one-to-one; infinite
    if it is one-to-one everywhere.

    This is where the radial map has its first maximum or pole; for a fisheye lens, the tangent of the angle of that maximum.
    """
    k1, k2, p, q, k3, k4, k5, k6, fisheye = padded(distortion)
    if fisheye:
        angle = _first_root([9 * q, 7 * p, 5 * k2, 3 * k1, 1.0])  # p and q are its k3 and k4
        return float(exact.tangent(angle)) if angle < np.pi / 2 else np.inf
    if not (k4 or k5 or k6):
        return _first_root([7 * k3, 5 * k2, 3 * k1, 1.0])
    above, below = np.array([k3, k2, k1, 1.0]), np.array([k6, k5, k4, 1.0])
    slope = np.polymul([7 * k3, 5 * k2, 3 * k1, 1.0], below)  # d/dr of r above(s) / below(s), s = r^2, times below^2
    slope = np.polysub(slope, 2 * np.polymul([1.0, 0.0], np.polymul(above, np.polyder(below))))
    return min(_first_root(slope), _first_root(below))


def bend(x: Any, y: Any, lens: Any, library: Any) -> tuple[Any, Any]:
    """Distorted coordinates of the normalized coordinates (x, y); `lens` are its nine numbers, which broadcast against x."""
    k1, k2, p1, p2, k3, k4, k5, k6, fisheye = lens
    r2 = x * x + y * y
    radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    seen_x = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    seen_y = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    if not bool((fisheye > 0).any()):
        return seen_x, seen_y
    r = library.sqrt(r2 + 1e-300 if library is np else r2.clamp_min(1e-30))
    angle = exact.arctan(r) if library is np else library.arctan(r)
    share = _shown_at(angle, lens) / r
    return library.where(fisheye > 0, x * share, seen_x), library.where(fisheye > 0, y * share, seen_y)


def straighten(x: Any, y: Any, lens: Any, library: Any, start: tuple[Any, Any] | None = None) -> tuple[Any, Any]:
    """The inverse of `bend` by Newton's method, started at `start` or at (x, y); valid for points within `lens_reach`."""
    k1, k2, p1, p2, k3, k4, k5, k6, fisheye = lens
    rational = bool(((k4 != 0) | (k5 != 0) | (k6 != 0)).any())
    flat_x, flat_y = start or (x, y)
    for _ in range(_STEPS):
        r2 = flat_x * flat_x + flat_y * flat_y
        radial, slope = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)), k1 + r2 * (2 * k2 + r2 * 3 * k3)
        if rational:
            below, bent = 1 + r2 * (k4 + r2 * (k5 + r2 * k6)), k4 + r2 * (2 * k5 + r2 * 3 * k6)
            radial = radial / below
            slope = (slope - radial * bent) / below
        off_x = flat_x * radial + 2 * p1 * flat_x * flat_y + p2 * (r2 + 2 * flat_x * flat_x) - x
        off_y = flat_y * radial + p1 * (r2 + 2 * flat_y * flat_y) + 2 * p2 * flat_x * flat_y - y
        # The Jacobian, which is symmetric.
        xx = radial + 2 * flat_x * flat_x * slope + 2 * p1 * flat_y + 6 * p2 * flat_x
        yy = radial + 2 * flat_y * flat_y * slope + 6 * p1 * flat_y + 2 * p2 * flat_x
        xy = 2 * flat_x * flat_y * slope + 2 * p1 * flat_x + 2 * p2 * flat_y
        scale = 1 / (xx * yy - xy * xy)
        flat_x, flat_y = (
            flat_x - (yy * off_x - xy * off_y) * scale,
            flat_y - (xx * off_y - xy * off_x) * scale,
        )
    if not bool((fisheye > 0).any()):
        return flat_x, flat_y
    r = library.sqrt(x * x + y * y + 1e-30)
    angle = r + 0 * k1
    for _ in range(_STEPS):
        square = angle * angle
        rise = 1 + square * (3 * k1 + square * (5 * k2 + square * (7 * p1 + square * 9 * p2)))
        angle = angle - (_shown_at(angle, lens) - r) / rise
    share = (exact.tangent(angle) if library is np else library.tan(angle)) / r
    return library.where(fisheye > 0, x * share, flat_x), library.where(fisheye > 0, y * share, flat_y)


def _shown_at(angle: Any, lens: Any) -> Any:
    """Distorted radius, in focal lengths, of a ray at `angle` radians from the axis of a fisheye lens."""
    k1, k2, k3, k4 = lens[:4]
    square = angle * angle
    return angle * (1 + square * (k1 + square * (k2 + square * (k3 + square * k4))))


def _columns(distortion: Any) -> list[Array]:
    """The nine numbers of the lenses (..., up to 9), each (..., 1), to broadcast over the points of a lens."""
    return [column[..., None] for column in np.moveaxis(padded(distortion), -1, 0)]


def _halved(points: Array, lens: Array) -> Array:
    """`undistort` by bisection, of points (P, 2) with a `lens` (P, 9) each."""
    unique, which = np.unique(lens, axis=0, return_inverse=True)
    reach = np.array([lens_reach(row) for row in unique])[which.reshape(-1)]
    fisheye = lens[:, 8] > 0
    columns, radius = list(lens.T), exact.norm(points)
    # Bisection of the ray's angle from the axis, which is finite even if the radius is not.
    low, high = np.zeros(len(points)), exact.arctan(reach) - 1e-9
    radial = [*columns[:2], np.where(fisheye, columns[2], 0), np.where(fisheye, columns[3], 0), *columns[4:]]
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        shown = np.where(fisheye, _shown_at(middle, radial), bend(exact.tangent(middle), 0 * middle, radial, np)[0])
        low, high = np.where(shown < radius, middle, low), np.where(shown < radius, high, middle)
    flat = points * (exact.tangent((low + high) / 2) / np.maximum(radius, 1e-300))[:, None]
    if not np.any(lens[:, 2:4] * ~fisheye[:, None]):
        return np.asarray(flat)
    # The tangential part is small: Newton's method converges from the radial solution, except near lens_reach.
    with np.errstate(all="ignore"):
        start = (flat[:, 0], flat[:, 1])
        solved = np.stack(straighten(points[:, 0], points[:, 1], columns, np, start), -1)
        misses = [exact.norm(distort(tried[:, None], lens)[:, 0] - points) for tried in (flat, solved)]
    return np.asarray(np.where((misses[1] < misses[0])[:, None], solved, flat))


def _first_root(polynomial: Any) -> float:
    """The square root of the least positive real root of a polynomial in r^2; infinite if there is none."""
    roots = np.roots(polynomial)
    turns = roots.real[(np.abs(roots.imag) < 1e-9) & (roots.real > 0)]
    return float(np.sqrt(turns.min())) if len(turns) else np.inf
