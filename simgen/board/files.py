"""Reads the JSON files that describe printed boards."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from simgen.board.schema import RULER_MM
from simgen.board.value import (
    DICTIONARIES,
    Board,
    Grid,
    Outline,
    Page,
    dictionary_of,
    in_a_line,
    marker_square,
    page_of,
)
from simgen.errors import BoardError, ConfigError, FileError
from simgen.files import read_json
from simgen.geometry import Array

_SMALLEST, _LARGEST = 1e-3, 2.0  # m: a square's side outside this range is in another unit
_FEWEST = 4  # points that are looked for on a page: fewer determine no camera
_GRID = ("columns", "rows", "square", "marker")
_SCALES = 0.9, 1.1  # a print that is farther from its true size is more likely a slip of the ruler


def read_board(path: str | Path, ruler_mm: float = RULER_MM, key: str = "board") -> Board:
    """The board in the file `path`: one that `python -m simgen board` wrote, a ChArUco board of your own as {"columns": 5,
    "rows": 7, "square": 0.035, "marker": 0.026, "dictionary": "DICT_4X4_50"}, or a single marker as {"tag": 7, "side": 0.08,
    "dictionary": "
    ""DICT_APRILTAG_36h11"}; lengths in m. The printed ruler, and with it all of the board, has the length `ruler_mm`
    in place of RULER_MM. Raises BoardError that begins with `key`, ConfigError for the ruler."""
    factor = ruler_mm / RULER_MM
    if not _SCALES[0] <= factor <= _SCALES[1]:
        low, high = (RULER_MM * scale for scale in _SCALES)
        raise ConfigError(
            f"ruler_mm: got {ruler_mm:g}; expected {low:g} to {high:g}, the length of the printed ruler in mm"
        )
    try:
        board = _board_of(read_json(Path(path)))
        return board if factor == 1 else board.scaled(factor)
    except FileError as error:
        raise BoardError(f"{key}: {error}") from error
    except BoardError as error:
        raise BoardError(f"{key}: {path}: {error}") from error


def _board_of(data: Any) -> Board:
    if not isinstance(data, Mapping) or not {"pages", "tag", "columns"} & set(data):
        raise BoardError("is not a board; expected the .json that `python -m simgen board` writes beside the PDF")
    name = str(data.get("dictionary")).upper()
    if name not in DICTIONARIES:
        near = difflib.get_close_matches(name, DICTIONARIES, 1, 0)[0]
        raise BoardError(
            f"dictionary: got {data.get('dictionary')}; expected a dictionary of OpenCV: {near} or another"
        )
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
    for number, page in enumerate(pages, 1):
        _check_points(page, number)
    known = len(dictionary_of(name).bytesList)
    numbers = [number for page in pages for number in (*page.markers, *page.tags)]
    if not numbers or max(numbers) >= known or len(set(numbers)) < len(numbers):
        raise BoardError(
            f"markers: got {len(numbers)}, up to number {max(numbers, default=-1)}; expected different ones from 0 to "
            f"{known - 1}, as {name} has"
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


def _check_points(page: Page, number: int) -> None:
    """Raises BoardError if the points of `page`, the `number`-th, determine no plane."""
    count = len(page.corners) if page.markers else 0
    if count < _FEWEST or in_a_line(page.corners):
        what = f"{count} {'inner corner' if page.grid else 'corner'}{'' if count == 1 else 's'}"
        raise BoardError(
            f"page {number}: has {what}{', all in one line,' if count >= _FEWEST else ''} of its "
            f"{'squares' if page.grid else 'markers'}; expected four or more that are not in one line: "
            "a ChArUco board of 3 x 3 squares, or a marker, at least"
        )


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
