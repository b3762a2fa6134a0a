"""Refines the corners of a printed page to a tenth of a pixel: the surroundings of each are aligned with the picture.

The page is drawn as the camera sees it, with its markers, and blurred like the picture. Then the shift, the contrast and the
brightness of a window around each corner, as far as it shows the page, follow by least squares (Lucas and Kanade 1981, "An
Iterative Image Registration Technique"; Baker and Matthews 2004). A corner detector that knows nothing of the markers nearby
is off by up to a pixel when the page is seen at 60 degrees.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen.board.value import SHARP, Page
from simgen.geometry import Array

_RAYS = 3  # along each side of a pixel of the page as it is drawn
_HALF = 7  # px: half of a window
_BLURS = (0.45, 0.7, 1.0, 1.4, 2.0, 2.8)  # px: standard deviations that are tried
_STEPS = 6
_SOME = 16  # corners by which the blur is chosen
_FAR = 4.0  # px: a corner that moves farther is not the one that was looked for
_ALIKE = 0.8  # least correlation of a window with the page as it was drawn
_CONTRAST = 10.0  # levels between black and white, at least
_BESIDE, _WHOLE = 1.0, 0.95  # px: a pixel counts if so much of what a Gaussian around it covers is the page
_UNSURE = 0.25  # px: greatest standard deviation of a corner that is used


def refine(gray: NDArray[np.uint8], page: Page, points: Array, pixels: Array) -> tuple[Array, NDArray[np.bool_]]:
    """The corners (N, 2) px in `gray` (H, W) of `page` at the `points` (N, 2) m, at least four, which are about at `pixels`
    (N, 2); and (N,) whether each was found with certainty."""
    homography, _ = cv2.findHomography(points, pixels, cv2.RANSAC, 3.0)
    if homography is None:
        return pixels, np.zeros(len(pixels), np.bool_)
    drawn = np.asarray(cv2.perspectiveTransform(points[:, None], homography), dtype=np.float64)[:, 0]
    end = np.array(gray.shape[::-1])
    inside = np.all((pixels > 0) & (pixels < end - 1), axis=1)
    # The part of the picture in which the page is.
    low = np.floor(np.maximum(drawn.min(0), 0) - 2 * _HALF).astype(int)
    size = np.ceil(np.minimum(drawn.max(0), end) + 2 * _HALF).astype(int) - low + 1
    if size.min() <= 4 * _HALF or inside.sum() < 4:
        return pixels, np.zeros(len(pixels), np.bool_)
    sharp, shows = _as_seen(page, np.asarray(homography, dtype=np.float64), low, size)
    offsets = np.stack(np.meshgrid(*2 * [np.arange(-_HALF, _HALF + 1.0)]), -1)
    some = np.flatnonzero(inside)[np.unique(np.linspace(0, inside.sum() - 1, _SOME).astype(int))]
    errors = [
        np.median(_aligned(gray, _blurred(sharp, blur), shows, drawn[some] - low, pixels[some], offsets, 3)[1])
        for blur in _BLURS
    ]
    seen = _blurred(sharp, _BLURS[int(np.argmin(errors))])
    at, _, deviation, likeness = _aligned(gray, seen, shows, drawn - low, pixels, offsets, _STEPS)
    moved = np.linalg.norm(at - pixels, axis=1)
    return at, inside & (moved < _FAR) & (deviation < _UNSURE) & (likeness > _ALIKE)


def _blurred(image: Array, deviation: float) -> Array:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), deviation))


def _as_seen(
    page: Page, homography: Array, low: NDArray[np.int64], size: NDArray[np.int64]
) -> tuple[Array, NDArray[np.float32]]:
    """`page`, 1 where it is white, in a part of the picture, `size` (2,) px from `low` (2,) px on, (H, W); and (H, W), 1
    where a pixel and what is beside it show nothing else."""
    sheet, first = page.drawn
    height, width = sheet.shape
    scale = float(SHARP)
    # Page pixels (x right, y up) to meters, to the picture, _RAYS rays for each of its pixels and side.
    to_meters = np.array([[1 / scale, 0, first[0] + 0.5 / scale], [0, 1 / scale, first[1] + 0.5 / scale], [0, 0, 1]])
    first_ray = (_RAYS - 1) / 2 - _RAYS * low
    rays = np.array([[_RAYS, 0, first_ray[0]], [0, _RAYS, first_ray[1]], [0, 0, 1]])
    ends = np.array([[[x, y]] for x, y in ((0, 0), (width, 0), (width, height), (0, height))]) - 0.5
    border = cv2.perspectiveTransform(ends, homography @ to_meters)[:, 0] - low
    shows = np.zeros(size[::-1], np.uint8)
    cv2.fillConvexPoly(shows, np.round(border * 256).astype(np.int32), 1, shift=8)
    inner = cv2.GaussianBlur(shows.astype(np.float32), (0, 0), _BESIDE) > _WHOLE
    whole = rays @ homography @ to_meters
    corner = np.array([[[width / 2 + x, height / 2 + y]] for x, y in ((0, 0), (1, 0), (0, 1))])
    middle, *beside = cv2.perspectiveTransform(corner, whole)[:, 0]
    density = np.linalg.norm(beside - middle, axis=1).max()
    while density < 1:  # as an average, not by leaving out
        smaller = max(1, sheet.shape[1] // 2), max(1, sheet.shape[0] // 2)
        across, down = sheet.shape[1] / smaller[0], sheet.shape[0] / smaller[1]
        halved = np.array([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2], [0, 0, 1]])
        sheet = np.asarray(cv2.resize(sheet, smaller, interpolation=cv2.INTER_AREA), dtype=np.float32)
        whole, density = whole @ halved, 2 * density
    drawn = cv2.warpPerspective(
        sheet, whole, tuple(int(_RAYS * n) for n in size), flags=cv2.INTER_LINEAR, borderValue=1.0
    )
    white = cv2.resize(drawn, tuple(int(n) for n in size), interpolation=cv2.INTER_AREA)
    return np.asarray(white), np.asarray(inner, dtype=np.float32)


def _aligned(
    gray: NDArray[np.uint8],
    page: Array,
    shows: NDArray[np.float32],
    drawn: Array,
    pixels: Array,
    offsets: Array,
    steps: int,
) -> tuple[Array, Array, Array, Array]:
    """The positions (N, 2) px in `gray` of the places `drawn` (N, 2) of `page` (H, W), from about `pixels` (N, 2) on; the
    mean square (N,) of what remains, the standard deviations (N,) px and the correlations (N,), all where `shows` (H, W) is
    1."""

    def windows(image: NDArray[np.float32], middles: Array) -> Array:
        places = (middles[:, None, None] + offsets).astype(np.float32)
        flat = places.reshape(-1, offsets.shape[1], 2)
        values = cv2.remap(image, flat[..., 0], flat[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(values, dtype=np.float64).reshape(len(middles), -1)

    slopes = [np.ascontiguousarray(part, dtype=np.float32) for part in np.gradient(page.astype(np.float32))[::-1]]
    image = gray.astype(np.float32)
    ideal = windows(page.astype(np.float32), drawn)
    counts = (windows(shows, drawn) > 0.5).astype(np.float64)  # (N, P)
    many = np.maximum(counts.sum(1), 1)
    jacobian = np.stack([*(windows(slope, drawn) for slope in slopes), ideal, np.ones_like(ideal)], -1)  # (N, P, 4)
    weighted = np.swapaxes(jacobian * counts[..., None], 1, 2)
    normal = weighted @ jacobian + 1e-9 * np.eye(4)
    at = pixels.copy()
    for _ in range(steps):
        values = windows(image, at)
        solved = np.linalg.solve(normal, (weighted @ values[..., None]))[..., 0]
        contrast = np.where(np.abs(solved[:, 2:3]) > 1e-6, solved[:, 2:3], np.inf)
        at = at - np.clip(solved[:, :2] / contrast, -1, 1)
    left = values - (jacobian @ solved[..., None])[..., 0]
    error = (counts * left**2).sum(1) / many
    mean = (counts * values).sum(1) / many
    variance = (counts * (values - mean[:, None]) ** 2).sum(1) / many
    spread = np.linalg.inv(normal)[:, [0, 1], [0, 1]].max(1) * error / np.maximum(contrast[:, 0] ** 2, 1e-12)
    likeness = np.sqrt(np.clip(1 - error / np.maximum(variance, 1e-9), 0, 1))
    likeness[solved[:, 2] < _CONTRAST] = 0  # a uniform window is like anything
    return at, error, np.sqrt(spread), likeness
