"""Printed boards: what the PDF shows, and that it is found in pictures of it, to a tenth of a pixel."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pypdfium2
import pytest
import trimesh
from matplotlib.path import Path as Polygon
from numpy.typing import NDArray
from photographs import DPI, photograph, printed

from simgen.board.files import read_board
from simgen.board.find import error_limit, find_pages, why_not
from simgen.board.layout import board_for, seen_from_above, standing_on
from simgen.board.pdf import board_pdf
from simgen.board.schema import PAPERS
from simgen.board.value import SHARP, Board, Grid, dictionary_of, page_of
from simgen.catalogue import load_world
from simgen.errors import BoardError, ConfigError
from simgen.geometry import Array, inverse, look_at, project
from simgen.shapes.solids import Solid, make_solid

WORLD = load_world("tabletop")
SOLIDS = {solid.name: solid for solid in WORLD.solids}
MATRIX = np.array([[600.0, 0, 319.5], [0, 600, 239.5], [0, 0, 1]])


@pytest.fixture(scope="module")
def board() -> Board:
    return board_for("a4", WORLD.solids)


@pytest.fixture(scope="module")
def pdf(board: Board) -> bytes:
    return board_pdf(board, SOLIDS)


@pytest.fixture(scope="module")
def prints(pdf: bytes) -> list[NDArray[np.uint8]]:
    return [printed(pdf, page) for page in (0, 3)]


def view(distance: float, tilt_deg: float, azimuth_deg: float = 30.0) -> Array:
    """camera_from_page (4, 4) of a camera that looks at the middle of the page."""
    tilt, azimuth = np.radians([tilt_deg, azimuth_deg])
    away = np.array([np.cos(azimuth) * np.sin(tilt), np.sin(azimuth) * np.sin(tilt), np.cos(tilt)])
    return inverse(look_at(distance * away, np.array([0.002, -0.001, 0])))


# ---- the print


@pytest.mark.parametrize("paper", PAPERS)
def test_pages_have_the_size_of_the_paper(paper: str) -> None:
    pages = pypdfium2.PdfDocument(board_pdf(board_for(paper, [SOLIDS["cube"]]), SOLIDS))
    assert len(pages) == 2
    for page in pages:
        assert np.array(page.get_size()) / 72 * 0.0254 == pytest.approx(PAPERS[paper], abs=1e-6)


def test_the_pdf_shows_the_page_in_its_true_size(board: Board, prints: list[NDArray[np.uint8]]) -> None:
    """A renderer of PDF agrees with the page as it is drawn for the detector, in all of its parts."""
    for number, shown in zip((0, 3), prints, strict=True):
        drawn, first = board.pages[number].drawn
        # The middles of the pixels of `drawn` in the picture of the PDF, whose sides are rounded to whole pixels.
        height, width = drawn.shape
        x, y = (first[k] + (np.arange(n) + 0.5) / SHARP for k, n in ((0, width), (1, height)))
        size = np.array(PAPERS["a4"])
        u = (x + size[0] / 2) / size[0] * shown.shape[1] - 0.5
        v = (size[1] / 2 - y) / size[1] * shown.shape[0] - 0.5
        u, v = np.meshgrid(u.astype(np.float32), v.astype(np.float32))
        seen = cv2.remap(shown, u, v, cv2.INTER_LINEAR) / 255
        # All but the pixels on an edge, which may be anything between black and white.
        inner = cv2.erode(drawn, np.ones((5, 5))) == cv2.dilate(drawn, np.ones((5, 5)))
        black = inner & (drawn < 1e-6)
        assert black.mean() > 0.1 and seen[black].max() < 0.02
        if number == 0:
            inner[:80], inner[-80:] = False, False  # beyond the squares are the text and the ruler
            assert seen[inner & (drawn > 1 - 1e-6)].min() > 0.98


def test_the_ruler_is_100_mm_long(prints: list[NDArray[np.uint8]]) -> None:
    below = prints[0][-round(0.024 / 0.0254 * DPI) : -round(0.008 / 0.0254 * DPI)] < 128
    row = int(below.sum(1).argmax())  # its line is the longest dark row below the squares
    ends = np.flatnonzero(below[row])
    assert (ends[-1] - ends[0] + 1) / DPI * 25.4 == pytest.approx(100.1, abs=0.05)  # its end marks are 0.1 mm wide


def test_opencv_draws_the_same_chessboard(board: Board) -> None:
    """OpenCV's own picture of the ChArUco board, 40 px to a square, in both layouts."""
    for grid in (board.pages[0].grid, Grid(4, 6, 0.04, 0.03), Grid(4, 6, 0.04, 0.03, first=7, legacy=True)):
        assert grid is not None
        dictionary = "DICT_5X5_1000"
        theirs = grid.pattern(dictionary_of(dictionary)).generateImage((40 * grid.columns, 40 * grid.rows))
        drawn, first = page_of(grid, dictionary).drawn
        size = np.array([grid.columns, grid.rows]) * grid.square
        u = (np.arange(40 * grid.columns) + 0.5) / 40 * grid.square - size[0] / 2 - first[0]
        v = size[1] / 2 - (np.arange(40 * grid.rows) + 0.5) / 40 * grid.square - first[1]
        columns, rows = np.meshgrid(*((part * SHARP).astype(int) for part in (u, v)))
        assert np.mean((drawn[rows, columns] > 0.5) != (theirs > 128)) < 0.02  # its markers begin at whole pixels


def test_the_same_board_gives_the_same_bytes(board: Board, pdf: bytes, tmp_path: Path) -> None:
    assert board_pdf(board, SOLIDS) == pdf
    path = tmp_path / "board.json"
    path.write_text(json.dumps(board.to_json()))
    again = read_board(path)
    assert again.to_json() == board.to_json()
    for page, other in zip(board.pages, again.pages, strict=True):
        assert all(np.array_equal(page.markers[name], other.markers[name]) for name in page.markers)
        assert np.array_equal(page.drawn[0], other.drawn[0])


@pytest.mark.parametrize("paper", PAPERS)
def test_an_outline_for_every_side_that_no_marker_touches(paper: str) -> None:
    made = board_for(paper, WORLD.solids)
    outlines = [outline for page in made.pages for outline in page.outlines]
    two, three = ("cone", "cylinder", "hexagonal_prism", "pyramid", "triangular_prism"), ("rectangular_prism",)
    sides = {name: 2 if name in two else 3 if name in three else 1 for name in SOLIDS}
    assert {name: sum(outline.block == name for outline in outlines) for name in SOLIDS} == sides
    assert [outline.name for outline in outlines] == [chr(ord("A") + k) for k in range(15)]
    numbers = [number for page in made.pages for number in (*page.markers, *page.tags)]
    assert len(numbers) == len(set(numbers))
    far = np.array(PAPERS[paper]) / 2 - 0.0099  # what printers leave white
    for page in made.pages:
        boxes = [np.stack([corners.min(0), corners.max(0)]) for corners in page.markers.values()]
        for outline in page.outlines:
            solid = SOLIDS[outline.block]
            points = solid.vertices @ outline.page_from_block[:3, :3].T + outline.page_from_block[:3, 3]
            assert points[:, 2].min() == pytest.approx(0, abs=1e-6)  # it lies on the page
            assert min(np.abs(solid.rests[:, 2, 3] - outline.page_from_block[2, 3])) < 1e-9
            (above,) = seen_from_above(solid, outline.page_from_block)
            assert Polygon(above).contains_points(page.tags[outline.tag]).all()
            boxes.append(np.stack([above.min(0), above.max(0)]))
        for k, box in enumerate(boxes):
            assert np.all(box[1] <= far) and np.all(box[0] >= -far)
            for other in boxes[:k]:
                assert np.any(box[0] > other[1]) or np.any(other[0] > box[1])


def covered(solid: Solid, pose: Array, shape: tuple[int, int], touching: bool) -> NDArray[np.uint8]:
    """1 where `solid` is above the pixels of a print of `shape`, or where it touches the paper, triangle by triangle."""
    points = solid.vertices @ pose[:3, :3].T + pose[:3, 3]
    image = np.zeros(shape, np.uint8)
    for triangle in points[solid.triangles]:
        if not touching or triangle[:, 2].max() < 3e-4:
            u = triangle[:, 0] * DPI / 0.0254 + shape[1] / 2 - 0.5
            v = shape[0] / 2 - 0.5 - triangle[:, 1] * DPI / 0.0254
            cv2.fillConvexPoly(image, np.round(np.stack([u, v], 1) * 256).astype(np.int32), 1, shift=8)
    return image


def hollow(name: str, *boxes: tuple[tuple[float, float, float], tuple[float, float, float]]) -> Solid:
    """A block of `boxes`, each its least and greatest corner in mm, that is not convex."""
    parts = [trimesh.creation.box(bounds=np.array(box) / 1000) for box in boxes]
    mesh = trimesh.util.concatenate(parts)
    middle = (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2
    return Solid(name, "mesh", mesh.vertices - middle, np.asarray(mesh.faces), None, False)


L = hollow("l", ((0, 0, 0), (60, 20, 30)), ((0, 20, 0), (20, 70, 30)))
FRAME = hollow(
    "frame",
    ((0, 0, 0), (60, 15, 12)),
    ((0, 45, 0), (60, 60, 12)),
    ((0, 15, 0), (15, 45, 12)),
    ((45, 15, 0), (60, 45, 12)),
)
BRIDGE = hollow("bridge", ((0, 0, 0), (15, 40, 20)), ((55, 0, 0), (70, 40, 20)), ((0, 0, 20), (70, 40, 35)))


@pytest.mark.parametrize("name", [*SOLIDS, "l", "frame", "bridge"])
def test_the_lines_of_the_pdf_are_the_outlines_of_the_blocks(name: str) -> None:
    """What a block covers as seen from above, whose border is drawn with dashes, and what stands on the paper."""
    solid = {**SOLIDS, "l": L, "frame": FRAME, "bridge": BRIDGE}[name]
    made = board_for("a4", [solid])
    file = board_pdf(made, {name: solid})
    for number, page in enumerate(made.pages[1:], 1):
        dark = printed(file, number) < 128
        distance = cv2.distanceTransform((~dark).astype(np.uint8), cv2.DIST_L2, 5) * 25.4 / DPI  # mm to what is printed
        for outline in page.outlines:
            pose = outline.page_from_block
            whole, stands = (covered(solid, pose, dark.shape, touching) for touching in (False, True))
            tag = page.tags[outline.tag]
            u, v = tag[:, 0] * DPI / 0.0254 + dark.shape[1] / 2, dark.shape[0] / 2 - tag[:, 1] * DPI / 0.0254
            rows, columns = (slice(int(part.min()) + 1, int(part.max()) - 1) for part in (v, u))
            assert whole[rows, columns].all() and np.ptp(tag, axis=0).min() > 0.004  # the block hides its tag
            clear = np.ones(dark.shape, np.bool_)
            clear[tuple(slice(int(p.min() - 0.2 * np.ptp(p)), int(p.max() + 0.2 * np.ptp(p))) for p in (v, u))] = False
            a_line = len(standing_on(solid, pose)[0]) == 2  # of a round side
            for mask, share in ((whole, 0.5), *(() if a_line else [(stands, 0.99)])):
                contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
                if not contours:  # it stands on edges, with hollows between
                    assert mask is stands and not solid.convex
                    continue
                columns, rows = np.concatenate([one[:, 0] for one in contours]).T
                shown = clear[rows, columns]  # lines end where the white around the tag begins
                assert (distance[rows, columns][shown] < 0.2).mean() > share and shown.mean() > 0.8, outline.name


def test_a_block_that_is_larger_than_the_paper_and_too_many_blocks() -> None:
    large = make_solid("plank", "rectangular_prism", [0.3, 0.05, 0.05])
    with pytest.raises(BoardError, match=r"^block 'plank': its outline of 50 x 300 mm does not fit .* paper=a4"):
        board_for("a4", [large])
    assert len(board_for("a3", [large]).pages) == 2
    with pytest.raises(BoardError, match=r"^blocks: .* outlines need more than the 1000 markers"):
        board_for("a4", [make_solid(f"block{k}", "rectangular_prism", [0.12, 0.1, 0.09]) for k in range(12)])
    ball = make_solid("ball", "sphere", [0.05, 0.05, 0.05])
    assert board_for("a4", [ball]).pages[1:] == ()


# ---- its file


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"columns": 5}, "rows: missing"),
        ({"a": 1}, "is not a board"),
        ([1], "is not a board"),
        ({"dictionary": "DICT_4X4"}, "dictionary: got DICT_4X4; expected a dictionary of OpenCV: DICT_4X4_"),
        ({"square": 35}, r"square: got 35 \(in mm\?\); expected a length in m"),
        ({"marker": 0.04}, "marker: got 0.04 m; expected less than the side of a square, 0.035 m"),
        ({"rows": 7.5}, "rows: got 7.5; expected a whole number"),
        ({"rows": 90}, "columns and rows: 5 x 90 squares need more markers than the 50 of DICT_4X4_50"),
        ({"legacy": "yes"}, "legacy: got yes; expected true or false"),
    ],
)
def test_a_board_that_is_none_is_refused(content: object, message: str, tmp_path: Path) -> None:
    right = {"columns": 5, "rows": 7, "square": 0.035, "marker": 0.026, "dictionary": "DICT_4X4_50"}
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(right))
    assert read_board(path).pages[0].grid == Grid(5, 7, 0.035, 0.026)
    if isinstance(content, dict) and content != {"a": 1}:
        missing = content == {"columns": 5}
        content = {**({"dictionary": "DICT_4X4_50"} if missing else right), **content}
    path.write_text(json.dumps(content))
    with pytest.raises(BoardError, match=f"^board: {path}: {message}"):
        read_board(path)


@pytest.mark.parametrize(
    ("columns", "rows", "found"),
    [(2, 2, "1 inner corner of"), (2, 7, "6 inner corners, all in one line,"), (3, 2, "2 inner corners of")],
)
def test_a_grid_without_four_inner_corners_that_span_a_plane_is_refused(
    columns: int, rows: int, found: str, tmp_path: Path
) -> None:
    """Three squares each way are enough."""
    grid = {"columns": columns, "rows": rows, "square": 0.035, "marker": 0.026, "dictionary": "DICT_4X4_50"}
    path = tmp_path / "mine.json"
    for content in (grid, {"dictionary": "DICT_4X4_50", "pages": [grid]}):
        path.write_text(json.dumps(content))
        with pytest.raises(
            BoardError, match=f"page 1: has {found}.*; expected four or more .*: a ChArUco board of 3 x 3"
        ):
            read_board(path)
    path.write_text(json.dumps({**grid, "columns": 3, "rows": 3}))
    (page,) = read_board(path).pages
    assert len(page.corners) == 4


@pytest.mark.parametrize(
    ("markers", "found"),
    [
        ({}, "0 corners"),
        ({"1": [[0, 0]] * 4}, "4 corners, all in one line,"),
        ({"1": [[0, 0], [1, 1], [0.5, 0.5], [0.2, 0.2]]}, "4 corners, all in one line,"),
    ],
)
def test_a_page_without_markers_is_refused(markers: object, found: str, tmp_path: Path) -> None:
    good = {"markers": {"0": [[0, 0.05], [0.05, 0.05], [0.05, 0], [0, 0]]}}
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"dictionary": "DICT_4X4_50", "pages": [good]}))
    assert len(read_board(path).pages) == 1
    path.write_text(json.dumps({"dictionary": "DICT_4X4_50", "pages": [good, {"markers": markers}]}))
    with pytest.raises(BoardError, match=f"page 2: has {found}"):
        read_board(path)


@pytest.mark.parametrize("name", ["DICT_APRILTAG_36h11", "DICT_APRILTAG_36H11", "dict_4x4_50"])
def test_a_single_tag_is_found(name: str, tmp_path: Path) -> None:
    path = tmp_path / "tag.json"
    path.write_text(json.dumps({"tag": 7, "side": 0.048, "dictionary": name}))
    board = read_board(path)
    shown = np.ascontiguousarray(np.round(255 * board.pages[0].drawn[0][::-1]).astype(np.uint8))
    pose = view(0.4, 35)
    (found,) = find_pages(photograph(shown, (640, 480), MATRIX, pose, blur=0.5, noise=2, dpi=SHARP * 0.0254), board)
    seen = project(found.points @ pose[:3, :3].T + pose[:3, 3], MATRIX)
    assert len(seen) == 4 and np.linalg.norm(seen - found.pixels, axis=1).max() < 0.1


def test_the_end_of_the_paper_near_a_small_tag_moves_none_of_its_corners(tmp_path: Path) -> None:
    """A tag with one cell of white around it on a darker table, seen from so far that a window reaches beyond the paper."""
    path = tmp_path / "tag.json"
    path.write_text(json.dumps({"tag": 3, "side": 0.04, "dictionary": "DICT_APRILTAG_36h11"}))
    board = read_board(path)
    image, first = board.pages[0].drawn
    cell = 0.04 / 8
    low, high = (round((end - first[0]) * SHARP) for end in (-0.02 - cell, 0.02 + cell))
    shown = np.ascontiguousarray(np.round(255 * image[low:high, low:high][::-1]).astype(np.uint8))
    off = []
    for number, (distance, tilt) in enumerate([(0.5, 30), (0.7, 0), (0.7, 50), (0.9, 20), (0.9, 40), (1.1, 10)]):
        pose = view(distance, tilt, 50 * number)
        picture = photograph(shown, (640, 480), MATRIX, pose, blur=0.6, noise=2, dpi=SHARP * 0.0254, seed=number)
        (found,) = find_pages(picture, board)
        seen = project(found.points @ pose[:3, :3].T + pose[:3, 3], MATRIX)
        off.append(np.linalg.norm(seen - found.pixels, axis=1))
    assert np.median(np.concatenate(off)) < 0.1 and np.concatenate(off).max() < 0.3


def test_a_missing_file_and_a_wrong_ruler(tmp_path: Path) -> None:
    with pytest.raises(BoardError, match=r"^board: .*board\.json: missing"):
        read_board(tmp_path / "board.json")
    with pytest.raises(ConfigError, match=r"^ruler_mm: got 9\.8; expected 90 to 110"):
        read_board(tmp_path / "board.json", 9.8)


def test_a_print_that_is_scaled(board: Board, prints: list[NDArray[np.uint8]], tmp_path: Path) -> None:
    """A ruler of 98 mm: all that is printed is smaller by 2%, but not the blocks."""
    path = tmp_path / "board.json"
    path.write_text(json.dumps(board.to_json()))
    small = read_board(path, 98)
    for page, other in zip(board.pages, small.pages, strict=True):
        assert all(np.allclose(0.98 * page.markers[name], other.markers[name]) for name in page.markers)
        for one, two in zip(page.outlines, other.outlines, strict=True):
            assert np.allclose(0.98 * one.page_from_block[:2, 3], two.page_from_block[:2, 3])
            assert one.page_from_block[2, 3] == two.page_from_block[2, 3]
    pose = view(0.5, 30)
    picture = photograph(prints[0], (640, 480), MATRIX, pose)
    (one,), (two,) = find_pages(picture, board), find_pages(picture, small)
    assert np.allclose(0.98 * one.points, two.points) and np.allclose(one.pixels, two.pixels, atol=0.1)


# ---- pictures of it


# Width and height, focal length, distance, tilt. The last ones are parts of a phone's picture of 4000 x 3000 px.
SHOTS = [
    ((640, 480), 600, 0.5, 0), ((640, 480), 600, 0.5, 40), ((640, 480), 600, 0.5, 60), ((960, 720), 1200, 1.0, 30),
    ((960, 720), 1200, 1.0, 50), ((800, 600), 3200, 2.0, 45), ((480, 360), 3200, 3.0, 20), ((480, 360), 3200, 3.0, 60),
]  # fmt: skip


@pytest.mark.parametrize("page", [0, 3])
def test_corners_are_found_to_a_tenth_of_a_pixel(page: int, board: Board, prints: list[NDArray[np.uint8]]) -> None:
    """With blur, noise and JPEG, from 0.5 to 3 m, tilted by up to 60 degrees: median 0.1 px, worst decile 0.3 px."""
    rng = np.random.default_rng(page)
    off = []
    for number, (size, focal, distance, tilt) in enumerate(SHOTS):
        matrix = np.array([[focal, 0, size[0] / 2], [0, focal, size[1] / 2], [0, 0, 1]])
        pose = view(distance, tilt, rng.uniform(0, 360))
        picture = photograph(
            prints[page > 0], size, matrix, pose, blur=rng.uniform(0.4, 1.2), noise=3, jpeg=90, seed=number
        )
        (found,) = find_pages(picture, board)
        assert found.page == page and len(found.points) >= 12
        seen = project(found.points @ pose[:3, :3].T + pose[:3, 3], matrix)
        off.append(np.linalg.norm(seen - found.pixels, axis=1))
    assert np.median(np.concatenate(off)) < 0.1
    assert np.quantile(np.concatenate(off), 0.9) < 0.3


def test_limits_of_errors_grow_with_large_pictures() -> None:
    assert [error_limit(1.0, *size) for size in ((640, 480), (2000, 1500), (4000, 3000), (3000, 4000))] == [1, 1, 2, 2]


def test_a_hand_over_the_board_takes_corners_away_and_moves_none(board: Board, prints: list[NDArray[np.uint8]]) -> None:
    pose = view(0.45, 25)
    picture = photograph(prints[0], (640, 480), MATRIX, pose, blur=0.6)
    (whole,) = find_pages(picture, board)
    cv2.ellipse(picture, (320, 300), (130, 60), 20, 0, 360, (180, 140, 120), -1)
    (part,) = find_pages(picture, board)
    assert 4 <= len(part.points) < len(whole.points)
    seen = project(part.points @ pose[:3, :3].T + pose[:3, 3], MATRIX)
    assert np.linalg.norm(seen - part.pixels, axis=1).max() < 0.3


def test_corners_in_one_line_determine_nothing(board: Board, prints: list[NDArray[np.uint8]]) -> None:
    """All but one row of squares is covered."""
    pose = view(0.45, 25, 90)
    picture = photograph(prints[0], (640, 480), MATRIX, pose, blur=0.6)
    band = np.array([[-0.09, 0.05, 0], [0.09, 0.05, 0], [0.09, -0.13, 0], [-0.09, -0.13, 0]])
    band = np.concatenate([band, band * [1, 1, 0] + [0, 0.0, 0]])
    outline = project(band[:4] @ pose[:3, :3].T + pose[:3, 3], MATRIX)
    cv2.fillPoly(picture, [np.round(outline).astype(np.int32)], (90, 90, 90))
    for found in find_pages(picture, board):
        assert np.linalg.matrix_rank(found.points[:, :2] - found.points[0, :2], tol=1e-3) == 2


@pytest.mark.parametrize("legacy", [False, True])
def test_both_layouts_of_a_chessboard_with_even_rows(legacy: bool) -> None:
    """The file does not say which: the markers do."""
    grid = Grid(5, 6, 0.035, 0.026, legacy=legacy)
    board = Board("DICT_4X4_50", (page_of(replace(grid, legacy=False), "DICT_4X4_50"),))
    drawn, _ = page_of(grid, "DICT_4X4_50").drawn
    shown = np.ascontiguousarray(np.round(255 * drawn[::-1]).astype(np.uint8))
    pose = view(0.5, 30)
    (found,) = find_pages(photograph(shown, (640, 480), MATRIX, pose, dpi=SHARP * 0.0254), board)
    assert found.legacy is legacy and len(found.points) == 20
    seen = project(found.points @ pose[:3, :3].T + pose[:3, 3], MATRIX)
    assert np.linalg.norm(seen - found.pixels, axis=1).max() < 0.15


def test_what_is_seen_in_place_of_the_board_is_said(board: Board, prints: list[NDArray[np.uint8]]) -> None:
    picture = photograph(prints[0], (640, 480), MATRIX, view(0.5, 20))
    mirrored = np.ascontiguousarray(picture[:, ::-1])
    assert find_pages(mirrored, board) == [] and why_not(mirrored, board).startswith("the picture is mirrored")
    other = Board("DICT_4X4_50", (page_of(Grid(5, 7, 0.035, 0.026), "DICT_4X4_50"),))
    assert find_pages(picture, other) == []
    assert why_not(picture, other).startswith("another board is seen, with markers of DICT_5X5_")
    nothing = np.full((480, 640, 3), 120, np.uint8)
    assert find_pages(nothing, board) == [] and why_not(nothing, board).startswith("no board is seen")
    # The same markers in other places: a board of another size of squares is only scaled, one of other columns is not.
    wide = Board("DICT_5X5_1000", (page_of(Grid(7, 5, 0.035, 0.026), "DICT_5X5_1000"),))
    assert find_pages(picture, wide) == []
