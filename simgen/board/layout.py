"""Arranges a board: a first page with a ChArUco board, then pages with the outlines of blocks inside a frame of markers."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from simgen.board.schema import PAPERS
from simgen.board.value import EDGE, Board, Grid, Outline, Page, dictionary_of, marker_square, page_of
from simgen.errors import BoardError
from simgen.geometry import Array, rigid, rotation_about
from simgen.shapes.sides import alike
from simgen.shapes.solids import Solid

# Many markers, so that each page has its own: a photograph then needs no note of which page it shows.
_DICTIONARY = "DICT_5X5_1000"
# An odd number of rows: OpenCV's layout before 4.6 is the same.
_GRIDS = {"a4": Grid(5, 7, 0.035, 0.026), "letter": Grid(5, 7, 0.034, 0.025), "a3": Grid(5, 7, 0.052, 0.039)}
_SIDE, _QUIET = 0.022, 0.006  # m: of the frame's markers, and the white around them
_TEXT = 0.022  # m: the height of the lines at the top, and of those at the bottom
_APART = 0.016  # m: between outlines
_TAG = 0.7  # of the largest square around an outline's middle that is inside it: the side of the marker there
_LARGEST_TAG = 0.022  # m
_LINE = 0.1  # of its length: a narrower part that touches the page is a line
_FINE = 20_000  # px per m, in which outlines of blocks that are not convex are found
_SPECK, _STRAIGHT = 400.0, 2.0  # px: the area of an outline that is left out, and what a line may be off


@dataclass(frozen=True)
class _Piece:
    """An outline to be arranged: page_from_block with the middle of what is seen from above at the origin, its size (2,) m
    and the corners (4, 2) m of its tag."""

    block: str
    pose: Array
    size: Array
    tag: Array


def board_for(paper: str, solids: Sequence[Solid]) -> Board:
    """The board for `paper`, a key of PAPERS, with an outline for each side on which one of `solids` lies, but for spheres,
    which have no outline to stand on. Raises BoardError for a block that is too large for the paper, or too many blocks."""
    pages = [page_of(_GRIDS[paper], _DICTIONARY)]
    number, letters = len(pages[0].markers), 0
    pieces = [piece for solid in solids if not solid.sphere for piece in _pieces(solid, paper)]
    most = len(dictionary_of(_DICTIONARY).bytesList)
    for count, placed in enumerate(_sheets(pieces, _room(paper))):
        frame = _frame(paper)
        if number + len(frame) + len(placed) > most:
            raise BoardError(
                f"blocks: {len(pieces)} outlines need more than the {most} markers there are, after {count + 1} pages; "
                "name fewer blocks with blocks=[...]"
            )
        markers = {number + k: corners for k, corners in enumerate(frame)}
        number += len(frame)
        outlines: list[Outline] = []
        tags: dict[int, Array] = {}
        for piece, middle in placed:
            tag = number + len(tags)
            tags[tag] = piece.tag + middle
            pose = rigid(piece.pose[:3, :3], piece.pose[:3, 3] + [*middle, 0])
            outlines.append(Outline(_letter(letters + len(outlines)), piece.block, pose, tag))
        number += len(tags)
        letters += len(outlines)
        pages.append(Page(_DICTIONARY, markers, None, tuple(outlines), tags))
    return Board(_DICTIONARY, tuple(pages), paper)


def seen_from_above(solid: Solid, pose: Array) -> list[Array]:
    """The outlines (P, 2) m of `solid` at `pose` (4, 4) page_from_block, seen from above: of a convex block one,
    counterclockwise, of any other also those of its parts and holes."""
    points = solid.vertices @ pose[:3, :3].T + pose[:3, 3]
    if solid.convex:
        return [np.asarray(points[ConvexHull(points[:, :2]).vertices, :2])]
    return _outlines(points[solid.triangles, :2])


def standing_on(solid: Solid, pose: Array) -> list[Array]:
    """The outlines (P, 2) m of what touches the page of `solid` at `pose` (4, 4); a line (2, 2) for a round side."""
    points = solid.vertices @ pose[:3, :3].T + pose[:3, 3]
    touches = points[:, 2] < 2e-3 * solid.diameter
    low = points[touches, :2]
    spread = np.linalg.svd(low - low.mean(0), compute_uv=False)
    if len(low) < 3 or spread[1] < _LINE * spread[0]:
        along = (low - low.mean(0)) @ np.linalg.svd(low - low.mean(0))[2][0]
        return [np.asarray(low[[int(along.argmin()), int(along.argmax())]])]
    faces = solid.triangles[touches[solid.triangles].all(1)]
    if solid.convex or not len(faces):
        return [np.asarray(low[ConvexHull(low).vertices])]
    return _outlines(points[faces, :2])


def _raster(triangles: Array) -> tuple[NDArray[np.uint8], Array]:
    """(H, W), 1 where one of `triangles` (T, 3, 2) m is, _FINE pixels to the meter, and (2,) m, where its first pixel is."""
    first = triangles.min((0, 1)) - 2 / _FINE
    size = np.ceil((triangles.max((0, 1)) - first) * _FINE).astype(int) + 3
    image = np.zeros(size[::-1], np.uint8)
    for corners in np.round((triangles - first) * _FINE * 256).astype(np.int32):
        cv2.fillConvexPoly(image, corners, 1, shift=8)
    return image, first


def _outlines(triangles: Array) -> list[Array]:
    """The outlines (P, 2) m of the union of `triangles` (T, 3, 2) m, to a tenth of a mm."""
    image, first = _raster(triangles)
    contours, _ = cv2.findContours(image, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    large = (one for one in contours if cv2.contourArea(one) > _SPECK)
    return [first + cv2.approxPolyDP(one, _STRAIGHT, True)[:, 0] / _FINE for one in large]


def _room(paper: str) -> Array:
    """(2,) m: the size of the part of a page where outlines may be."""
    return np.array(PAPERS[paper]) - 2 * (EDGE + _SIDE + _QUIET) - [0, 2 * _TEXT]


def _frame(paper: str) -> list[Array]:
    """The corners (4, 2) m of the markers along the paper's edges."""
    far = np.array(PAPERS[paper]) / 2 - EDGE - _SIDE / 2
    counts = [math.floor(2 * reach / (_SIDE + _QUIET)) + 1 for reach in far]
    across, down = (np.linspace(-reach, reach, count) for reach, count in zip(far, counts, strict=True))
    middles = [(x, y) for y in (far[1], -far[1]) for x in across] + [
        (x, y) for x in (-far[0], far[0]) for y in down[1:-1]
    ]
    return [marker_square(_SIDE, middle) for middle in middles]


def _pieces(solid: Solid, paper: str) -> Iterator[_Piece]:
    room = _room(paper)
    for group in alike(solid):
        pose = solid.rests[group[0]]
        # Its longest edge along X or Y, whichever is narrower in the other.
        for turn in (0, np.pi / 2):
            turned = rigid(rotation_about(2, turn) @ pose[:3, :3], np.array([0, 0, pose[2, 3]]))
            seen = (solid.vertices @ turned[:3, :3].T)[:, :2]
            turned[:2, 3] = -(seen.min(0) + seen.max(0)) / 2
            size = np.ptp(seen, axis=0)
            if np.all(size <= room):
                yield _Piece(solid.name, turned, size, _tag(solid, turned))
                break
        else:
            width, height = 1e3 * np.sort(np.ptp(seen, axis=0))
            raise BoardError(
                f"block '{solid.name}': its outline of {width:.0f} x {height:.0f} mm does not fit between the markers of "
                f"paper={paper} ({1e3 * room[0]:.0f} x {1e3 * room[1]:.0f} mm); take a larger paper "
                f"({', '.join(PAPERS)}), or name the blocks with blocks=[...]"
            )


def _tag(solid: Solid, pose: Array) -> Array:
    """The corners (4, 2) m of the marker that `solid` at `pose` (4, 4) covers: in the middle of its outline, or as near to
    it as a block that is not convex is wide enough."""
    if solid.convex:
        (outline,) = seen_from_above(solid, pose)
        edges = np.roll(outline, -1, axis=0) - outline
        cross = outline[:, 0] * np.roll(outline[:, 1], -1) - np.roll(outline[:, 0], -1) * outline[:, 1]
        middle = ((outline + np.roll(outline, -1, axis=0)) * cross[:, None]).sum(0) / (3 * cross.sum())  # its centroid
        inward = np.stack([-edges[:, 1], edges[:, 0]], 1) / np.linalg.norm(edges, axis=1, keepdims=True)
        fits = float((2 * ((middle - outline) * inward).sum(1) / np.abs(inward).sum(1)).min())
    else:
        points = solid.vertices @ pose[:3, :3].T + pose[:3, 3]
        image, first = _raster(points[solid.triangles, :2])
        # Half the side of the greatest square around each pixel that is inside.
        away = cv2.distanceTransform(image, cv2.DIST_C, 3)
        wide = np.argwhere(away >= min(float(away.max()), _LARGEST_TAG / _TAG / 2 * _FINE))
        row, column = wide[np.linalg.norm(wide - np.argwhere(image).mean(0), axis=1).argmin()]
        middle, fits = first + np.array([column, row]) / _FINE, 2 * float(away[row, column]) / _FINE
    return marker_square(min(_TAG * fits, _LARGEST_TAG), (float(middle[0]), float(middle[1])))


def _sheets(pieces: Sequence[_Piece], room: Array) -> Iterator[list[tuple[_Piece, Array]]]:
    """The pieces of each page with the middle (2,) m of each, in rows from the top; the order of `pieces` is kept."""
    page: list[tuple[_Piece, Array]] = []
    row: list[_Piece] = []
    top = room[1] / 2

    def close() -> None:
        """Spreads the pieces of `row` over the width."""
        width = sum(piece.size[0] for piece in row)
        gap = (room[0] - width) / (len(row) + 1)
        left, middle = -room[0] / 2, top - max(piece.size[1] for piece in row) / 2
        for piece in row:
            left += gap
            page.append((piece, np.array([left + piece.size[0] / 2, middle])))
            left += piece.size[0]

    for piece in pieces:
        if row and sum(one.size[0] + _APART for one in row) + piece.size[0] > room[0]:
            close()
            top -= max(one.size[1] for one in row) + _APART
            row = []
        if top - max(one.size[1] for one in (*row, piece)) < -room[1] / 2:
            if row:
                close()
            yield page
            page, row, top = [], [], room[1] / 2
        row.append(piece)
    if row:
        close()
        yield page


def _letter(number: int) -> str:
    """A, B, ... Z, AA, AB, ..."""
    last = chr(ord("A") + number % 26)
    return last if number < 26 else _letter(number // 26 - 1) + last
