"""Finds the pages of a board in a picture, with OpenCV."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen.board.refine import refine
from simgen.board.value import DICTIONARIES, Board, Page, dictionary_of, in_a_line, page_of
from simgen.geometry import Array

_LEAST = 2  # markers of a page, unless it has fewer: of a single one a false detection is too likely
_SMALL = 3_000_000  # px: a smaller picture is looked at once more in twice its size if nothing is found
_MANY = 6  # markers: so many are not seen by mistake
_ENOUGH = 2000  # px: larger pictures are reduced where only a message depends on them
_FEW, _ROUNDS, _STAYS = 8, 6, 0.02  # corners, rounds, px
_OFF = 0.15  # of a marker's side: farther from where the others place it, a marker is not one of this page


@dataclass(frozen=True)
class Sighting:
    """Page number `page` of a board in a picture: its points (N, 3) m in the page's frame, and where they are seen, `pixels`
    (N, 2). Of a ChArUco board they are the inner corners of its squares, else the corners of markers. `legacy` is the layout
    that a ChArUco board turned out to have."""

    page: int
    points: Array
    pixels: Array
    legacy: bool = False


def find_pages(picture: NDArray[np.uint8], board: Board) -> list[Sighting]:
    """The pages of `board` in `picture` (H, W, 3) or (H, W), in order."""
    gray = gray_of(picture)
    found = _pages(gray, board, _markers(gray, *board.wanted))
    if not found and gray.size < _SMALL:
        found = _pages(gray, board, _markers(gray, *board.wanted, 2))
    return found


def error_limit(limit: float, width: int | None, height: int | None) -> float:
    """px: the `limit` of the errors of corners in a picture of `width` x `height` px, if its size is known. It is meant for
    pictures of up to 2000 px, and grows with larger ones, as what paper and lens add to the errors does."""
    return limit * max(1.0, max(width or 0, height or 0) / _ENOUGH)


def gray_of(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) of `picture` (H, W, 3) or (H, W)."""
    return picture if picture.ndim == 2 else np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def _pages(gray: NDArray[np.uint8], board: Board, seen: dict[int, Array]) -> list[Sighting]:
    found = []
    for number, page in enumerate(board.pages):
        own = {key: corners for key, corners in seen.items() if key in page.markers}
        if len(own) < min(_LEAST, len(page.markers)):
            continue
        sighting = _sighting(gray, number, page, own)
        if sighting is not None:
            found.append(sighting)
    return found


def why_not(picture: NDArray[np.uint8], board: Board) -> str:
    """What `picture`, in which find_pages finds nothing, shows in place of `board`, for a message."""
    gray = _reduced(gray_of(picture))
    least = min(_LEAST, min(len(page.markers) for page in board.pages))
    if len(_markers(np.ascontiguousarray(gray[:, ::-1]), *board.wanted)) >= least:
        return "the picture is mirrored, as by a webcam's selfie mode: switch that off"
    seen = _markers(gray, *board.wanted)
    if len(seen) >= _MANY:
        return (
            f"{len(seen)} markers of the board are seen, but not where its file has them: it is the file of another "
            "board, or the paper is folded"
        )
    if seen:
        return (
            f"only {len(seen)} of the board's markers {'is' if len(seen) == 1 else 'are'} seen well; show it larger, "
            "sharper or without a hand or a block over it"
        )
    for name in DICTIONARIES:
        every = dictionary_of(name)
        others = _markers(gray, every, range(len(every.bytesList)))
        if len(others) >= _LEAST:
            return (
                f"another board is seen, with markers of {name} (numbers {min(others)} to {max(others)}); name its file "
                "with board="
            )
    return "no board is seen; it must be whole enough, sharp and evenly lit, and each marker 20 px or more wide"


def _reduced(gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`gray`, or a smaller picture of at most _ENOUGH px along each side."""
    scale = _ENOUGH / max(gray.shape)
    if scale >= 1:
        return gray
    size = round(gray.shape[1] * scale), round(gray.shape[0] * scale)
    return np.asarray(cv2.resize(gray, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _markers(
    gray: NDArray[np.uint8], dictionary: "cv2.aruco.Dictionary", names: Sequence[int], larger: int = 1
) -> dict[int, Array]:
    """The corners (4, 2) px of the markers in `gray`, looked for in a picture that is `larger`, by name, where `names` are
    those of the markers of `dictionary`; those that are seen twice are left out."""
    if larger > 1:
        size = larger * gray.shape[1], larger * gray.shape[0]
        gray = np.asarray(cv2.resize(gray, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    parameters = cv2.aruco.DetectorParameters()
    if larger == 1:  # without the smallest of OpenCV's three windows, which takes a third of the time
        parameters.adaptiveThreshWinSizeMin = parameters.adaptiveThreshWinSizeMin + parameters.adaptiveThreshWinSizeStep
    corners, numbers, _ = cv2.aruco.ArucoDetector(dictionary, parameters).detectMarkers(gray)
    found = [] if numbers is None else [names[int(number)] for number in np.ravel(numbers)]
    return {
        name: (np.asarray(corner, dtype=np.float64).reshape(4, 2) + 0.5) / larger - 0.5
        for name, corner in zip(found, corners, strict=True)
        if found.count(name) == 1
    }


def _sighting(gray: NDArray[np.uint8], number: int, page: Page, seen: dict[int, Array]) -> Sighting | None:
    """Page number `number`, of which the markers `seen` are seen."""
    page = _layout(page, seen)
    kept = _consistent(page, seen)
    if len(kept) < min(_LEAST, len(page.markers)):
        return None
    known = np.concatenate([page.markers[name] for name in kept])
    at = np.concatenate([seen[name] for name in kept])
    sure = np.zeros(0, np.bool_)
    # The second time also those that the first could not foresee, because of the lens. Where few determine how the page is
    # drawn, it is drawn again until they stay where they are.
    for _ in range(2 if len(page.corners) > _FEW else _ROUNDS):
        start = _foreseen(page.corners, known, at)
        if start is None:
            return None
        found, sure = refine(gray, page, page.corners, start)
        if sure.sum() < 4 or in_a_line(page.corners[sure]):
            return None
        known, at = page.corners[sure], found[sure]
        if sure.all() and (len(at) > _FEW or np.abs(at - start).max() < _STAYS):
            break
    legacy = page.grid is not None and page.grid.legacy
    return Sighting(number, np.pad(known, ((0, 0), (0, 1))), at, legacy)


def _layout(page: Page, seen: dict[int, Array]) -> Page:
    """`page`, a ChArUco board in whichever of OpenCV's two layouts its markers are."""
    if page.grid is None or page.grid.rows % 2:
        return page
    pages = [page, page_of(replace(page.grid, legacy=not page.grid.legacy), page.dictionary)]
    return max(pages, key=lambda one: len(_consistent(one, seen)))


def _foreseen(points: Array, known: Array, at: Array) -> Array | None:
    """Where `points` (N, 2) m of a page are seen, about: (N, 2) px, given that the points `known` (M, 2) m are seen `at`
    (M, 2) px. What a homography leaves of the nearest of these, as a lens does, is added. None if there is no homography."""
    found, _ = cv2.findHomography(known, at)
    if found is None:
        return None
    homography = np.asarray(found, dtype=np.float64)

    def moved(some: Array) -> Array:
        return np.asarray(cv2.perspectiveTransform(some[:, None], homography), dtype=np.float64)[:, 0]

    nearest = np.linalg.norm(points[:, None] - known, axis=2).argmin(1)
    return np.asarray(moved(points) + (at - moved(known))[nearest])


def _consistent(page: Page, seen: dict[int, Array]) -> list[int]:
    """The numbers of the markers of `page` that lie where a homography from the page places them; none if they are those of
    another board, whose markers are in other places."""
    names = sorted(name for name in seen if name in page.markers)
    if len(names) < 2:
        return names
    points = np.concatenate([page.markers[name] for name in names])
    pixels = np.concatenate([seen[name] for name in names])
    side = np.linalg.norm(np.diff(pixels.reshape(-1, 4, 2), axis=1), axis=2).mean()
    homography, _ = cv2.findHomography(points, pixels, cv2.RANSAC, _OFF * float(side))
    if homography is None:
        return []
    moved = cv2.perspectiveTransform(points[:, None], homography)[:, 0]
    off = np.linalg.norm(moved - pixels, axis=1).reshape(-1, 4).max(1)
    sides = np.linalg.norm(np.diff(pixels.reshape(-1, 4, 2), axis=1), axis=2).mean(1)
    return [name for name, one, size in zip(names, off, sides, strict=True) if one < _OFF * size]
