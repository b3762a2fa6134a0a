"""`Board`: the markers, corners and outlines on printed pages, and the JSON file that describes them.

The frame of a page has its origin in the middle of the page, X to the right and Y up as one reads it, and Z out of the paper.
Lengths are meters. A marker's corners are in OpenCV's order: top left, top right, bottom right, bottom left as one reads it.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen.errors import BoardError, FileError
from simgen.files import read_json
from simgen.geometry import Array

DICTIONARIES: Mapping[str, int] = {
    name: getattr(cv2.aruco, name)
    for name in sorted(dir(cv2.aruco))
    if name.startswith("DICT_") and not name.endswith(("h5", "h9", "h10", "h11", "h12"))  # spelled twice
}
_SMALLEST, _LARGEST = 1e-3, 2.0  # m: a square's side outside this range is in another unit
SHARP = 8000  # px per m of a page as it is drawn
_WHITE = 0.01  # m: drawn around its parts
_GRID = ("columns", "rows", "square", "marker")


@dataclass(frozen=True)
class Grid:
    """A ChArUco board: `columns` x `rows` squares with the side `square` m, of which the white ones show markers with the side
    `marker` m, whose identifiers count from `first` on. `legacy` is the layout of OpenCV before 4.6, whose first square
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
    """The place of a block on a page: its `block` and `page_from_block` (4, 4) of the block at rest there; `name` is the letter
    that is printed beside it. The marker `tag` in its middle is visible if no block is there."""

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
    def black(self) -> list[Array]:
        """What is black but for lines and text: upright rectangles (4, 2) m."""
        parts = _squares(self.grid) if self.grid else []
        for number, corners in [*self.markers.items(), *self.tags.items()]:
            parts += _cells(dictionary_of(self.dictionary), number, corners)
        return parts

    @cached_property
    def drawn(self) -> tuple[NDArray[np.float32], Array]:
        """The page as an image (H, W), 1 where it is white, whose rows go up, with SHARP pixels per m; and (2,) m, the position
        of its first pixel's corner."""
        first, last = (
            f(np.concatenate(self.black), axis=0) + margin for f, margin in ((np.min, -_WHITE), (np.max, _WHITE))
        )
        width, height = np.ceil((last - first) * SHARP).astype(int)
        image = np.ones((height, width), np.float32)
        for part in self.black:
            left, top = (part.min(0) - first) * SHARP
            right, bottom = (part.max(0) - first) * SHARP
            rows, columns = slice(int(top), int(bottom) + 1), slice(int(left), int(right) + 1)
            image[rows, columns] -= np.outer(_covered(top, bottom), _covered(left, right))
        return image, first


@dataclass(frozen=True)
class Board:
    """Pages with markers of one `dictionary`; no two markers are the same. `paper` is the format it is printed on, None if it
    is not simgen's."""

    dictionary: str
    pages: tuple[Page, ...]
    paper: str | None = None

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
    return Page(dictionary, dict(zip(pattern.getIds().tolist(), corners, strict=True)), grid)


def marker_square(side: float, middle: tuple[float, float]) -> Array:
    """(4, 2) m: the corners of an upright marker with the `side` m around `middle`."""
    half = side / 2
    return np.array([[-half, half], [half, half], [half, -half], [-half, -half]]) + middle


def _covered(start: float, end: float) -> Array:
    """The share of each pixel, from that of `start` to that of `end`, that lies between them."""
    edges = np.arange(int(start), int(end) + 2)
    return np.clip(np.minimum(edges[1:], end) - np.maximum(edges[:-1], start), 0, 1)


def _cells(dictionary: "cv2.aruco.Dictionary", number: int, corners: Array) -> list[Array]:
    """The black parts of marker `number` with the `corners` (4, 2): quadrilaterals (4, 2), each a run of black cells."""
    bits = cv2.aruco.Dictionary.getBitsFromByteList(dictionary.bytesList[number : number + 1], dictionary.markerSize)
    cells = np.pad(1 - bits, 1, constant_values=1)  # 1 is black, as is the border
    count = len(cells)
    top_left, top_right, _, bottom_left = corners
    right, down = (top_right - top_left) / count, (bottom_left - top_left) / count
    found = []
    for row, line in enumerate(cells):
        ends = np.flatnonzero(np.diff(np.pad(line, 1)))
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
                points = (corners + [column, row]) * grid.square
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


def read_board(path: str | Path, key: str = "board") -> Board:
    """The board in the file `path`: one that `python -m simgen board` wrote, a ChArUco board of your own as {"columns": 5,
    "rows": 7, "square": 0.035, "marker": 0.026, "dictionary": "DICT_4X4_50"}, or a single marker as {"tag": 7, "side": 0.08,
    "dictionary": "DICT_APRILTAG_36h11"}; lengths in m. Raises BoardError that begins with `key`."""
    try:
        return _board_of(read_json(Path(path)))
    except FileError as error:
        raise BoardError(f"{key}: {error}") from error
    except BoardError as error:
        raise BoardError(f"{key}: {path}: {error}") from error


def _board_of(data: Any) -> Board:
    if not isinstance(data, Mapping) or not {"pages", "tag", "columns"} & set(data):
        raise BoardError("is not a board; expected the .json that `python -m simgen board` writes beside the PDF")
    name = data.get("dictionary")
    if name not in DICTIONARIES:
        near = difflib.get_close_matches(str(name), DICTIONARIES, 1, 0)[0]
        raise BoardError(f"dictionary: got {name}; expected a dictionary of OpenCV: {near} or another")
    pages: tuple[Page, ...]
    if "tag" in data:
        side, number = _length(data, "side"), _whole(data, "tag", 0)
        pages = (Page(name, {number: marker_square(side, (0, 0))}),)
    elif "columns" in data:
        pages = (_grid_page(data, name),)
    else:
        if not isinstance(data["pages"], list):
            raise BoardError("pages: expected a list")
        pages = tuple(_page(entry, name) for entry in data["pages"])
    known = len(dictionary_of(name).bytesList)
    numbers = [number for page in pages for number in (*page.markers, *page.tags)]
    if not numbers or max(numbers) >= known or len(set(numbers)) < len(numbers):
        raise BoardError(
            f"markers: got {len(numbers)}, up to number {max(numbers, default=-1)}; expected different ones from 0 to {known - 1}, as {name} has"
        )
    return Board(name, pages, data.get("paper"))


def _page(entry: Any, dictionary: str) -> Page:
    if not isinstance(entry, Mapping):
        raise BoardError("pages: expected a mapping for each page")
    if "markers" not in entry:
        return _grid_page(entry, dictionary)
    outlines = []
    for one in entry.get("outlines", []):
        if not isinstance(one, Mapping) or set(one) != set(Outline.__dataclass_fields__):
            raise BoardError(f"outlines: got {one}; expected {', '.join(Outline.__dataclass_fields__)} for each")
        outlines.append(
            Outline(
                str(one["name"]),
                str(one["block"]),
                _array(one["page_from_block"], (4, 4), "page_from_block"),
                _whole(one, "tag", 0),
            )
        )
    tags = _corners(entry.get("tags", {}), "tags")
    if {outline.tag for outline in outlines} != set(tags):
        raise BoardError("tags: expected one for each outline")
    return Page(dictionary, _corners(entry["markers"], "markers"), None, tuple(outlines), tags)


def _grid_page(data: Mapping[str, Any], dictionary: str) -> Page:
    for key in _GRID:
        if key not in data:
            raise BoardError(f"{key}: missing; a ChArUco board has {', '.join(_GRID)}")
    legacy = data.get("legacy", False)
    if not isinstance(legacy, bool):
        raise BoardError(f"legacy: got {legacy}; expected true or false")
    grid = Grid(
        _whole(data, "columns", 2), _whole(data, "rows", 2), _length(data, "square"), _length(data, "marker"),
        _whole({"first": 0, **data}, "first", 0), legacy,
    )  # fmt: skip
    if grid.marker >= grid.square:
        raise BoardError(f"marker: got {grid.marker} m; expected less than the side of a square, {grid.square} m")
    known = len(dictionary_of(dictionary).bytesList)
    if grid.first + (grid.columns * grid.rows) // 2 > known:
        raise BoardError(
            f"columns and rows: {grid.columns} x {grid.rows} squares need more markers than the {known} of {dictionary}"
        )
    return page_of(grid, dictionary)


def _corners(data: Any, key: str) -> dict[int, Array]:
    if not isinstance(data, Mapping) or not all(str(name).isdecimal() for name in data):
        raise BoardError(f"{key}: expected four corners for each number of a marker")
    return {int(name): _array(value, (4, 2), f"{key}: {name}") for name, value in data.items()}


def _array(value: Any, shape: tuple[int, ...], key: str) -> Array:
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.zeros(0)
    if array.shape != shape or not np.isfinite(array).all() or np.abs(array).max() > _LARGEST:
        raise BoardError(f"{key}: got {value}; expected {' x '.join(map(str, shape))} numbers in m")
    return array


def _length(data: Mapping[str, Any], key: str) -> float:
    value = data.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool) or not _SMALLEST <= value <= _LARGEST:
        hint = " (in mm?)" if isinstance(value, int | float) and value > _LARGEST else ""
        raise BoardError(f"{key}: got {value}{hint}; expected a length in m, {_SMALLEST} to {_LARGEST}")
    return float(value)


def _whole(data: Mapping[str, Any], key: str, least: int) -> int:
    value = data.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 10_000:
        raise BoardError(f"{key}: got {value}; expected a whole number from {least} on")
    return value
