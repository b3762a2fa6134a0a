"""Stand-ins for photographs of printed pages: the PDF itself, seen by a camera with a known pose."""

import cv2
import numpy as np
import pypdfium2
from numpy.typing import NDArray

from simgen.distortion import undistort
from simgen.geometry import Array

DPI = 600
_RAYS = 3  # along each side of a pixel


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
    table: float = 120.0,
    dpi: int = DPI,
    seed: int = 0,
) -> NDArray[np.uint8]:
    """(H, W, 3) a picture of `size` (width, height) px of the `print_` on a gray table, with a `blur` and a `noise` of so
    many px and levels of standard deviation."""
    width, height = size
    step = (np.arange(width * _RAYS) + 0.5) / _RAYS - 0.5, (np.arange(height * _RAYS) + 0.5) / _RAYS - 0.5
    picture = np.zeros((height, width))
    pose = camera_from_page
    # Sides of a print's pixel in the picture, where it is largest.
    corners = np.array([[x, y, 0] for x in (-0.1, 0.1) for y in (-0.14, 0.14)]) @ pose[:3, :3].T + pose[:3, 3]
    scale = intrinsics[0, 0] / corners[:, 2].min() * 0.0254 / dpi * _RAYS
    while scale < 0.5:
        print_, dpi, scale = cv2.resize(print_, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), dpi / 2, scale * 2
    rows = print_.shape[0]
    for start in range(0, height, 64):
        v = step[1][start * _RAYS : (start + 64) * _RAYS]
        grid = np.stack(np.meshgrid(step[0], v), -1)
        plane = (grid - intrinsics[:2, 2]) / np.diag(intrinsics)[:2]
        if lens is not None:
            plane = undistort(plane.reshape(-1, 2), lens).reshape(plane.shape)
        rays = np.concatenate([plane, np.ones_like(plane[..., :1])], -1) @ pose[:3, :3]
        eye = -pose[:3, :3].T @ pose[:3, 3]
        with np.errstate(all="ignore"):
            at = eye[:2] - rays[..., :2] * (eye[2] / rays[..., 2:])
        x = at[..., 0] * dpi / 0.0254 + print_.shape[1] / 2 - 0.5
        y = rows / 2 - at[..., 1] * dpi / 0.0254 - 0.5
        sampled = cv2.remap(
            print_,
            x.astype(np.float32),
            y.astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=table,
        )
        sampled = np.where((rays[..., 2] < 0) & np.isfinite(x), sampled, table).astype(np.float64)
        picture[start : start + 64] = sampled.reshape(len(v) // _RAYS, _RAYS, width, _RAYS).mean((1, 3))
    levels = np.repeat((20 + picture * 0.8)[..., None], 3, -1)
    return sensed(levels, blur=blur, noise=noise, jpeg=jpeg, seed=seed)


def sensed(
    levels: Array, *, blur: float = 0.0, noise: float = 0.0, jpeg: int | None = None, seed: int = 0
) -> NDArray[np.uint8]:
    """The picture (H, W, 3) that a camera makes of `levels` (H, W, 3), 0 to 255."""
    levels = np.asarray(levels, dtype=np.float64)
    if blur:
        levels = cv2.GaussianBlur(levels, (0, 0), blur)
    grain = np.random.default_rng(seed).normal(size=levels.shape[:2])[..., None] * noise
    picture = np.clip(np.round(levels + grain), 0, 255).astype(np.uint8)
    if jpeg is not None:
        picture = cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, jpeg])[1], cv2.IMREAD_COLOR)
    return np.asarray(picture)
