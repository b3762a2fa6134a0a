"""Stand-ins for photographs of printed pages: the PDF itself, seen by a camera with a known pose."""

import cv2
import numpy as np
import pypdfium2
from numpy.typing import NDArray

from simgen.distortion import undistort
from simgen.geometry import Array, project

DPI = 600
_RAYS = 3  # along each side of a pixel
_ROWS = 64  # that are computed at once


def printed(pdf: bytes, page: int, dpi: int = DPI) -> NDArray[np.uint8]:
    """Page number `page` of `pdf` in gray, `dpi` pixels to the inch."""
    drawn = pypdfium2.PdfDocument(pdf)[page].render(scale=dpi / 72, grayscale=True).to_numpy()
    return np.ascontiguousarray(drawn.reshape(drawn.shape[:2]))


def photograph(
    print_: NDArray[np.uint8],
    size: tuple[int, int],
    intrinsics: Array,
    camera_from_page: Array,
    lens: Array | None = None,
    *,
    blur: float = 0.0,
    noise: float = 0.0,
    jpeg: int | None = None,
    dpi: float = DPI,
    seed: int = 0,
) -> NDArray[np.uint8]:
    """(H, W, 3) a picture of `size` (width, height) px of the `print_` on a gray table, as `sensed` makes it. The print's
    pixels are `dpi` to the inch, its middle is the page's."""
    width, height = size
    pose, eye = camera_from_page, -camera_from_page[:3, :3].T @ camera_from_page[:3, 3]
    half = np.array(print_.shape[::-1]) / 2 * 0.0254 / dpi
    edge = np.linspace(-1, 1, 9)
    around = np.array([[x, y, 0] for x in edge for y in edge]) * [*half, 0] @ pose[:3, :3].T + pose[:3, 3]
    # A pixel of the print in rays, where it is largest: a finer print is averaged first.
    scale = intrinsics[0, 0] / max(around[:, 2].min(), 0.05) * 0.0254 / dpi * _RAYS
    while scale < 0.5:
        print_ = np.asarray(cv2.resize(print_, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        dpi, scale = dpi / 2, scale * 2
    picture = np.full((height, width), 120.0)
    seen = project(around, intrinsics, lens)
    low, high = np.nanmin(seen, axis=0) - 4, np.nanmax(seen, axis=0) + 4
    left, right = int(np.clip(low[0], 0, width)), int(np.clip(high[0], 0, width))
    top, bottom = int(np.clip(low[1], 0, height)), int(np.clip(high[1], 0, height))
    u = left + (np.arange((right - left) * _RAYS) + 0.5) / _RAYS - 0.5
    for start in range(top, bottom, _ROWS):
        rows = min(_ROWS, bottom - start)
        v = start + (np.arange(rows * _RAYS) + 0.5) / _RAYS - 0.5
        plane = (np.stack(np.meshgrid(u, v), -1) - intrinsics[:2, 2]) / np.diag(intrinsics)[:2]
        if lens is not None:
            plane = undistort(plane.reshape(-1, 2), lens).reshape(plane.shape)
        rays = np.concatenate([plane, np.ones_like(plane[..., :1])], -1) @ pose[:3, :3]
        with np.errstate(all="ignore"):
            at = eye[:2] - rays[..., :2] * (eye[2] / rays[..., 2:])
        at[rays[..., 2] >= 0] = np.inf  # above the horizon
        x = at[..., 0] * dpi / 0.0254 + print_.shape[1] / 2 - 0.5
        y = print_.shape[0] / 2 - at[..., 1] * dpi / 0.0254 - 0.5
        places = (np.clip(part, -1e4, 3e4).astype(np.float32) for part in (x, y))
        sampled = cv2.remap(print_, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=120)
        picture[start : start + rows, left:right] = sampled.reshape(rows, _RAYS, right - left, _RAYS).mean((1, 3))
    return sensed(np.repeat((20 + picture * 0.8)[..., None], 3, -1), blur=blur, noise=noise, jpeg=jpeg, seed=seed)


def sensed(
    levels: Array, *, blur: float = 0.0, noise: float = 0.0, jpeg: int | None = None, seed: int = 0
) -> NDArray[np.uint8]:
    """The picture (H, W, 3) that a camera makes of `levels` (H, W, 3), 0 to 255, with a `blur` of so many px and a `noise`
    of so many levels of standard deviation, and of the JPEG quality `jpeg`."""
    seen: NDArray[np.float64] = np.asarray(levels, dtype=np.float64)
    if blur:
        seen = np.asarray(cv2.GaussianBlur(seen, (0, 0), blur), dtype=np.float64)
    grain = np.random.default_rng(seed).normal(size=seen.shape[:2])[..., None] * noise
    picture = np.clip(np.round(seen + grain), 0, 255).astype(np.uint8)
    if jpeg is not None:
        coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, jpeg])[1]
        picture = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), dtype=np.uint8)
    return picture
