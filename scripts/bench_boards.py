"""How well printed boards are found, and what follows from it, where the truth is known.

    python scripts/bench_boards.py

The pages of the PDF itself are seen by cameras with known poses, with blur, noise and JPEG compression: from 0.5 to 3 m,
tilted by up to 60 degrees. Printed are the distances of corners from where they are, the error of the focal length of twelve
photographs, the error of the plane at 1 m, and the time that finding the board adds to a picture of 640x480 px. Needs `pip
install -e '.[dev]'`.
"""

import time
from functools import lru_cache

import cv2
import numpy as np
import pypdfium2
from numpy.typing import NDArray
from scipy.interpolate import RectBivariateSpline

from simgen.board.calibrate import View, calibrate
from simgen.board.find import find_pages
from simgen.board.layout import board_for
from simgen.board.pdf import board_pdf
from simgen.board.place import place_over
from simgen.board.value import Board
from simgen.camera import Camera
from simgen.catalogue import load_world
from simgen.distortion import undistort
from simgen.geometry import Array, inverse, look_at, project

DPI = 24 * 25.4  # 24 px to a mm: A4 is a whole number of pixels
_RAYS = 3  # along each side of a pixel
_ROWS = 64  # that are computed at once


def printed(pdf: bytes, page: int, dpi: float = DPI) -> NDArray[np.uint8]:
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
    while scale < 1:
        print_ = np.asarray(cv2.resize(print_, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        dpi, scale = dpi / 2, scale * 2
    picture = np.full((height, width), 120.0)
    seen = project(around, intrinsics, lens)
    low, high = np.nanmin(seen, axis=0) - 4, np.nanmax(seen, axis=0) + 4
    left, right = int(np.clip(low[0], 0, width)), int(np.clip(high[0], 0, width))
    top, bottom = int(np.clip(low[1], 0, height)), int(np.clip(high[1], 0, height))
    plane = _rays(size, intrinsics.tobytes(), None if lens is None else np.asarray(lens, dtype=np.float64).tobytes())
    for start in range(top, bottom, _ROWS):
        rows = min(_ROWS, bottom - start)
        part = plane[start * _RAYS : (start + rows) * _RAYS, left * _RAYS : right * _RAYS]
        rays = np.concatenate([part, np.ones_like(part[..., :1])], -1) @ pose[:3, :3]
        with np.errstate(all="ignore"):
            at = eye[:2] - rays[..., :2] * (eye[2] / rays[..., 2:])
        at[rays[..., 2] >= 0] = np.inf  # above the horizon
        x = at[..., 0] * dpi / 0.0254 + print_.shape[1] / 2 - 0.5
        y = print_.shape[0] / 2 - at[..., 1] * dpi / 0.0254 - 0.5
        places = (np.clip(one, -1e4, 3e4).astype(np.float32) for one in (x, y))
        sampled = cv2.remap(print_, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=120)
        picture[start : start + rows, left:right] = sampled.reshape(rows, _RAYS, right - left, _RAYS).mean((1, 3))
    return sensed(np.repeat((20 + picture * 0.8)[..., None], 3, -1), blur=blur, noise=noise, jpeg=jpeg, seed=seed)


@lru_cache(maxsize=2)
def _rays(size: tuple[int, int], intrinsics: bytes, lens: bytes | None) -> Array:
    """(_RAYS H, _RAYS W, 2) where the rays through a picture of `size` px meet the plane z = 1."""
    matrix = np.frombuffer(intrinsics).reshape(3, 3)
    v, u = ((np.arange(n * _RAYS) + 0.5) / _RAYS - 0.5 for n in (size[1], size[0]))
    if lens is None:
        return np.asarray((np.stack(np.meshgrid(u, v), -1) - matrix[:2, 2]) / np.diag(matrix)[:2])
    # A lens is smooth: a spline through every eighth pixel is as good, and much faster.
    down, across = (np.linspace(-0.5, n - 0.5, n // 8 + 1) for n in (size[1], size[0]))
    coarse = undistort(
        (np.stack(np.meshgrid(across, down), -1) - matrix[:2, 2]) / np.diag(matrix)[:2], np.frombuffer(lens)
    )
    return np.stack([RectBivariateSpline(down, across, coarse[..., k])(v, u) for k in (0, 1)], -1)


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


def looking(distance: float, tilt_deg: float, azimuth_deg: float, x: float = 0, y: float = 0) -> Array:
    """camera_from_page (4, 4) of a camera that looks at (x, y) m of the page."""
    tilt, azimuth = np.radians([tilt_deg, azimuth_deg])
    away = np.array([np.cos(azimuth) * np.sin(tilt), np.sin(azimuth) * np.sin(tilt), np.cos(tilt)])
    target = np.array([x, y, 0])
    return inverse(look_at(target + distance * away, target))


# Width, height and focal length in px, distance in m: a webcam, a better one, and parts of a phone's picture of 4000 x 3000.
CAMERAS = (((640, 480), 600, 0.5), ((1280, 960), 1200, 1.0), ((960, 720), 3200, 2.0), ((640, 480), 3200, 3.0))
TILTS = (0, 20, 40, 60)
_LENS = np.array([-0.2, 0.06, 0.001, -0.0008, 0])


def _large(board: Board, shown: NDArray[np.uint8]) -> str:
    """What is found of the board in pictures of a phone, of which one pixel is less than its blur."""
    size, matrix = (4000, 3000), np.array([[3200.0, 0, 2000], [0, 3200, 1500], [0, 0, 1]])
    parts = []
    for blur in (1.5, 3.0, 5.0):
        pose = looking(0.4, 25, 40)
        picture = photograph(shown, size, matrix, pose, blur=blur, noise=4, jpeg=90)
        start = time.perf_counter()
        found = find_pages(picture, board)
        spent = time.perf_counter() - start
        true = [project(one.points @ pose[:3, :3].T + pose[:3, 3], matrix) for one in found]
        off = [np.linalg.norm(at - one.pixels, axis=1) for at, one in zip(true, found, strict=True)]
        median = f"median {np.median(np.concatenate(off)):.2f} px" if off else "none"
        parts.append(f"{blur:g} px: {sum(map(len, off))} corners, {median}, {spent:.1f} s")
    return "; ".join(parts)


def _label_errors(board: Board, shown: NDArray[np.uint8]) -> str:
    """The greatest errors of the poses of blocks on the outlines of page 2, half of which is covered."""
    size, matrix = (1280, 960), np.array([[1240.0, 0, 650], [0, 1240, 472], [0, 0, 1]])
    off, turned = [], []
    for seed in range(20):
        pose = looking(0.5 + 0.02 * seed, 15 + 2 * seed, 137 * seed)
        picture = photograph(shown, size, matrix, pose, _LENS)
        (u, v), *_ = project(pose[:3, 3][None], matrix, _LENS)
        cv2.circle(picture, (round(u), round(v)), round(0.1 * 1240 / pose[2, 3]), (90, 120, 60), -1)
        (found,) = find_pages(sensed(picture, blur=0.8, noise=3, jpeg=90, seed=seed), board)
        placed = place_over(Camera(matrix, *size, _LENS), [found]).pose
        for outline in board.pages[1].outlines:
            one, other = placed @ outline.page_from_block, pose @ outline.page_from_block
            off.append(1e3 * np.linalg.norm(one[:3, 3] - other[:3, 3]))
            cosine = (np.trace(one[:3, :3].T @ other[:3, :3]) - 1) / 2
            turned.append(np.degrees(np.arccos(min(1.0, float(cosine)))))
    return f"{max(off):.2f} mm and {max(turned):.3f} degrees"


def main() -> None:
    world = load_world("tabletop")
    board = board_for("a4", world.solids)
    pdf = board_pdf(board, {solid.name: solid for solid in world.solids})
    prints = {0: printed(pdf, 0), 1: printed(pdf, 1)}
    rng = np.random.default_rng(0)
    off: dict[int, list[Array]] = {page: [] for page in prints}
    missed = 0
    print("median and 90% quantile of the distance of corners, px: page with the board / with outlines")
    for size, focal, distance in CAMERAS:
        matrix = np.array([[focal, 0, size[0] / 2], [0, focal, size[1] / 2], [0, 0, 1]])
        for tilt in TILTS:
            parts = []
            for page, shown in prints.items():
                here = []
                for _ in range(3):
                    pose = looking(distance, tilt, rng.uniform(0, 360))
                    picture = photograph(shown, size, matrix, pose, blur=rng.uniform(0.4, 1.2), noise=3, jpeg=90)
                    found = find_pages(picture, board)
                    missed += len(found) != 1
                    for one in found:
                        true = project(one.points @ pose[:3, :3].T + pose[:3, 3], matrix)
                        here.append(np.linalg.norm(true - one.pixels, axis=1))
                off[page] += here
                every = np.concatenate(here) if here else np.full(1, np.nan)
                parts.append(f"{np.median(every):.3f} {np.quantile(every, 0.9):.3f}")
            print(f"  {distance:g} m, {size[0]} px, {tilt:2d} degrees: {' / '.join(parts)}")
    for page, parts_of in off.items():
        every = np.concatenate(parts_of)
        print(
            f"  page {page + 1}: median {np.median(every):.3f}, 90% {np.quantile(every, 0.9):.3f} of {len(every)} corners"
        )
    print(f"  not found: {missed} of {2 * 3 * len(CAMERAS) * len(TILTS)} photographs")
    print(f"  a phone's picture of 4000 x 3000 px, blurred: {_large(board, prints[0])}")
    errors = []
    for seed in range(5):
        rng, views, size = np.random.default_rng(seed), [], (640, 480)
        matrix = np.array([[620.0, 0, 325], [0, 620.6, 236], [0, 0, 1]])
        for k in range(12):
            beside = 0.06 * np.array([np.cos(2.4 * k), np.sin(2.4 * k)])
            pose = looking(rng.uniform(0.26, 0.4), 12 + 6 * (k % 6), 137.5 * k, *beside)
            picture = photograph(
                prints[0], size, matrix, pose, _LENS, blur=rng.uniform(0.4, 1), noise=3, jpeg=92, seed=k
            )
            views.append(View(str(k), tuple(find_pages(picture, board))))
        errors.append(100 * abs(calibrate(views, *size, "standard").camera.intrinsics[0, 0] / matrix[0, 0] - 1))
    print(
        f"focal length, 12 photographs of 640x480 px, five times: off by {', '.join(f'{error:.2f}%' for error in errors)}"
    )
    heights, tilts, size = [], [], (1280, 960)
    matrix = np.array([[1240.0, 0, 650], [0, 1240, 472], [0, 0, 1]])
    for tilt in TILTS:
        for seed in range(5):
            pose = looking(1.0, tilt, 70 * seed + tilt)
            picture = photograph(prints[0], size, matrix, pose, _LENS, blur=0.8, noise=3, jpeg=90, seed=seed)
            placed = place_over(Camera(matrix, *size, _LENS), find_pages(picture, board)).pose
            heights.append(1e3 * abs(pose[:3, 2] @ (placed[:3, 3] - pose[:3, 3])))
            tilts.append(np.degrees(np.arccos(min(1.0, float(placed[:3, 2] @ pose[:3, 2])))))
    print(f"plane at 1 m, 20 photographs: off by up to {max(heights):.2f} mm and {max(tilts):.3f} degrees")
    print(f"labels of blocks on outlines, 20 photographs: off by up to {_label_errors(board, prints[1])}")
    for page, shown in prints.items():
        size, matrix = (640, 480), np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]])
        picture = photograph(shown, size, matrix, looking(0.6, 35, 20), blur=0.6, noise=3)
        times = []
        for _ in range(20):
            start = time.perf_counter()
            place_over(Camera(matrix, *size), find_pages(picture, board))
            times.append(1e3 * (time.perf_counter() - start))
        print(f"finding page {page + 1} in a picture of 640x480 px: {np.median(times):.0f} ms")


if __name__ == "__main__":
    main()
