"""`Board`: the markers, corners and outlines on printed pages.

The frame of a page has its origin in the middle of the page, X to the right and Y up as one reads it, and Z out of the
paper. Lengths are meters. A marker's corners are in OpenCV's order: top left, top right, bottom right, bottom left as one
reads it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen.geometry import Array

DICTIONARIES: Mapping[str, int] = {
    name: getattr(cv2.aruco, name)
    for name in sorted(dir(cv2.aruco))
    if name.startswith("DICT_") and name == name.upper()  # some are spelled twice
}
EDGE = 0.010  # m: what a printer leaves white along the paper's edge
_LINE = 0.05  # of their length: points that spread less across it are in a line
SHARP = 8000  # px per m of a page as it is drawn


@dataclass(frozen=True)
class Grid:
    """A ChArUco board: `columns` x `rows` squares with the side `square` m, of which the white ones show markers with the
    side `marker` m, whose identifiers count from `first` on. `legacy` is the layout of OpenCV before 4.6, whose first square
    is white if the number of rows is even."""

    columns: int
    rows: int
    square: float
    marker: float
    first: int = 0
    legacy: bool = False

    def pattern(self, dictionary: "cv2.aruco.Dictionary") -> "cv2.aruco.CharucoBoard":
        """OpenCV's board, whose frame has its origin in the top left corner, Y down and Z into the paper."""
        count = len(cv2.aruco.CharucoBoard((self.columns, self.rows), 2.0, 1.0, dictionary).getIds())
        numbers = np.arange(self.first, self.first + count)
        board = cv2.aruco.CharucoBoard((self.columns, self.rows), self.square, self.marker, dictionary, numbers)
        board.setLegacyPattern(self.legacy)
        return board

    def placed(self, points: Array) -> Array:
        """(..., 3) `points` of OpenCV's frame in that of the page."""
        middle = np.array([self.columns, self.rows]) * self.square / 2
        return np.stack([points[..., 0] - middle[0], middle[1] - points[..., 1], 0 * points[..., 2]], -1)


@dataclass(frozen=True)
class Outline:
    """The place of a block on a page: its `block` and `page_from_block` (4, 4) of the block at rest there; `name` is the
    letter that is printed beside it. The marker `tag` in its middle is visible if no block is there."""

    name: str
    block: str
    page_from_block: Array
    tag: int


@dataclass(frozen=True)
class Page:
    """One page: `markers` of `dictionary`, corners (4, 2) m by number; `grid` if they are those of a ChArUco board; and
    `outlines`, whose tags are in `tags`, corners (4, 2) m by number."""

    dictionary: str
    markers: Mapping[int, Array]
    grid: Grid | None = None
    outlines: tuple[Outline, ...] = ()
    tags: Mapping[int, Array] = field(default_factory=dict)

    @cached_property
    def corners(self) -> Array:
        """(N, 2) m: the points that are looked for: the inner corners of the squares of a ChArUco board, else all corners of
        all markers."""
        if self.grid is None:
            return np.concatenate(list(self.markers.values()))
        pattern = self.grid.pattern(dictionary_of(self.dictionary))
        return self.grid.placed(np.array(pattern.getChessboardCorners(), dtype=np.float64))[:, :2]

    @cached_property
    def black(self) -> list[Array]:
        """What is black but for lines and text: upright rectangles (4, 2) m."""
        parts = _squares(self.grid) if self.grid else []
        for number, corners in [*self.markers.items(), *self.tags.items()]:
            parts += _cells(dictionary_of(self.dictionary), number, corners)
        return parts

    @cached_property
    def drawn(self) -> tuple[NDArray[np.float32], Array]:
        """The page as an image (H, W), 1 where it is white, whose rows go up, with SHARP pixels per m; and (2,) m, the
        position of its first pixel's corner. It ends where the paper may end: where outlines are simgen printed it, with a
        white edge; of any other page it is known that a marker has a cell of white around it."""
        dictionary = dictionary_of(self.dictionary)
        sides = [float(np.linalg.norm(corners[1] - corners[0])) for corners in self.markers.values()]
        margin = EDGE if self.outlines else min(sides) / (dictionary.markerSize + 2)
        first, last = (f(np.concatenate(self.black), axis=0) + way * margin for f, way in ((np.min, -1), (np.max, 1)))
        width, height = np.ceil((last - first) * SHARP).astype(int)
        image = np.ones((height, width), np.float32)
        for part in self.black:
            left, top = (part.min(0) - first) * SHARP
            right, bottom = (part.max(0) - first) * SHARP
            rows, columns = slice(int(top), int(bottom) + 1), slice(int(left), int(right) + 1)
            image[rows, columns] -= np.outer(_covered(top, bottom), _covered(left, right))
        return np.maximum(image, 0), first  # sums of parts may exceed 1 by a rounding


@dataclass(frozen=True)
class Board:
    """Pages with markers of one `dictionary`; no two markers are the same. `paper` is the format it is printed on, None if
    it is not simgen's."""

    dictionary: str
    pages: tuple[Page, ...]
    paper: str | None = None

    @cached_property
    def wanted(self) -> tuple["cv2.aruco.Dictionary", list[int]]:
        """OpenCV's dictionary of the markers of all pages alone, in which fewer are mistaken and all are found sooner, and
        the number of each in the whole dictionary."""
        names = sorted(number for page in self.pages for number in page.markers)
        whole = dictionary_of(self.dictionary)
        return cv2.aruco.Dictionary(whole.bytesList[names], whole.markerSize, whole.maxCorrectionBits), names

    def scaled(self, factor: float) -> "Board":
        """The board as a printer printed it that scales by `factor`."""
        return replace(self, pages=tuple(_scaled(page, factor) for page in self.pages))

    def to_json(self) -> dict[str, Any]:
        pages = []
        for page in self.pages:
            entry: dict[str, Any] = {}
            if page.grid is not None:
                entry.update(vars(page.grid))
            else:
                entry["markers"] = {str(key): corners.tolist() for key, corners in page.markers.items()}
            if page.outlines:
                entry["outlines"] = [
                    {**vars(outline), "page_from_block": outline.page_from_block.tolist()} for outline in page.outlines
                ]
                entry["tags"] = {str(key): corners.tolist() for key, corners in page.tags.items()}
            pages.append(entry)
        return {"paper": self.paper, "dictionary": self.dictionary, "pages": pages}


def dictionary_of(name: str) -> "cv2.aruco.Dictionary":
    """OpenCV's dictionary of markers that is called `name`, a key of DICTIONARIES."""
    return cv2.aruco.getPredefinedDictionary(DICTIONARIES[name])


@lru_cache(maxsize=64)
def page_of(grid: Grid, dictionary: str) -> Page:
    """The page that shows `grid` alone, in its middle."""
    pattern = grid.pattern(dictionary_of(dictionary))
    corners = grid.placed(np.array(pattern.getObjPoints(), dtype=np.float64))[..., :2]
    return Page(dictionary, dict(zip(np.ravel(pattern.getIds()).tolist(), corners, strict=True)), grid)


def marker_cells(dictionary: "cv2.aruco.Dictionary", number: int) -> NDArray[np.bool_]:
    """The cells (R, R) of marker `number` with its border, from the top left, True where they are white."""
    bits = cv2.aruco.Dictionary.getBitsFromByteList(dictionary.bytesList[number : number + 1], dictionary.markerSize)
    return np.pad(np.asarray(bits), 1).astype(np.bool_)


def marker_square(side: float, middle: tuple[float, float]) -> Array:
    """(4, 2) m: the corners of an upright marker with the `side` m around `middle`."""
    half = side / 2
    return np.array([[-half, half], [half, half], [half, -half], [-half, -half]]) + middle


def in_a_line(points: Array) -> bool:
    """Whether `points` (N, 2) lie about in one line, or all at one place, so that they determine no plane."""
    spread = np.linalg.svd(points - points.mean(0), compute_uv=False)
    return bool(spread[1] <= _LINE * spread[0])


def _covered(start: float, end: float) -> Array:
    """The share of each pixel, from that of `start` to that of `end`, that lies between them."""
    edges = np.arange(int(start), int(end) + 2)
    return np.asarray(np.clip(np.minimum(edges[1:], end) - np.maximum(edges[:-1], start), 0, 1))


def _cells(dictionary: "cv2.aruco.Dictionary", number: int, corners: Array) -> list[Array]:
    """The black parts of marker `number` with the `corners` (4, 2): quadrilaterals (4, 2), each a run of black cells."""
    cells = ~marker_cells(dictionary, number)  # True is black, as is the border
    count = len(cells)
    top_left, top_right, _, bottom_left = corners
    right, down = (top_right - top_left) / count, (bottom_left - top_left) / count
    found = []
    for row, line in enumerate(cells):
        ends = np.flatnonzero(np.diff(np.pad(line.astype(int), 1)))
        for start, end in zip(ends[::2], ends[1::2], strict=True):
            found.append(
                top_left + np.array([[start, row], [end, row], [end, row + 1], [start, row + 1]]) @ [right, down]
            )
    return found


def _squares(grid: Grid) -> list[Array]:
    """The black squares (4, 2) of a ChArUco board."""
    first = 1 if grid.legacy and grid.rows % 2 == 0 else 0  # the number of the first black square
    corners = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    squares = []
    for row in range(grid.rows):
        for column in range(grid.columns):
            if (row + column) % 2 == first:
                points = (corners + np.array([column, row])) * grid.square
                squares.append(grid.placed(np.pad(points, ((0, 0), (0, 1))))[:, :2])
    return squares


def _scaled(page: Page, factor: float) -> Page:
    def larger(corners: Mapping[int, Array]) -> dict[int, Array]:
        return {key: factor * value for key, value in corners.items()}

    outlines = []
    for outline in page.outlines:
        pose = outline.page_from_block.copy()
        pose[:2, 3] *= factor  # its height is that of the block, which no printer changes
        outlines.append(replace(outline, page_from_block=pose))
    grid = page.grid and replace(page.grid, square=factor * page.grid.square, marker=factor * page.grid.marker)
    return Page(page.dictionary, larger(page.markers), grid, tuple(outlines), larger(page.tags))
