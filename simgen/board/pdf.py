"""Draws a board as a PDF in its true size: vectors only, so that no printer resamples it."""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from simgen.board.layout import seen_from_above, standing_on
from simgen.board.schema import PAPERS, RULER_MM
from simgen.board.value import Board, Outline, Page
from simgen.shapes.solids import Solid

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MM = 1e3
_POINT = 25.4 / 72  # mm
_LINE = 0.2 / _POINT  # pt: the width of an outline
_EDGE = 11.0  # mm: from the paper's edge to the text of a page without a frame
_QUIET = 0.3  # of a tag's side, half of it on each side: the white around it
_FRAMED = 41.0  # mm: the same inside a frame of markers


def board_pdf(board: Board, solids: Mapping[str, Solid]) -> bytes:
    """The PDF of `board`, which layout.board_for made of `solids`, by name. The same board gives the same bytes."""
    import matplotlib
    from matplotlib.backends.backend_pdf import FigureCanvasPdf, PdfPages
    from matplotlib.figure import Figure

    assert board.paper is not None
    width, height = (_MM * side for side in PAPERS[board.paper])
    file = io.BytesIO()
    with matplotlib.rc_context({"pdf.fonttype": 42}), PdfPages(file, metadata={"CreationDate": None}) as pages:
        for number, page in enumerate(board.pages, 1):
            figure = Figure(figsize=(width / 25.4, height / 25.4))
            FigureCanvasPdf(figure)
            axes = figure.add_axes((0, 0, 1, 1))
            axes.set_axis_off()
            axes.set_xlim(-width / 2, width / 2)
            axes.set_ylim(-height / 2, height / 2)
            for outline in page.outlines:
                _outline(axes, outline, solids[outline.block])
            for corners in page.tags.values():  # white around each tag, over the lines
                axes.fill(
                    *(_MM * (corners + _QUIET * (corners - corners.mean(0)))).T, facecolor="white", edgecolor="none"
                )
            _black(axes, page)
            _words(axes, board, number, height / 2 - (_EDGE if page.grid else _FRAMED))
            pages.savefig(figure)
    return file.getvalue()


def _black(axes: "Axes", page: Page) -> None:
    """All that is black as one path: between the parts of one path a viewer draws no seams."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    parts = page.black
    path = Path.make_compound_path(*(Path(_MM * part, closed=False) for part in [np.vstack([p, p[:1]]) for p in parts]))
    # Not add_patch, which spends half a second on limits that are set already.
    axes.add_artist(PathPatch(path, facecolor="black", edgecolor="none", linewidth=0, zorder=3))


def _outline(axes: "Axes", outline: Outline, solid: Solid) -> None:
    """What stands on the page as a line, what of the block is beyond it as a dashed line, and the names below."""
    above, below = (
        [_MM * part for part in parts(solid, outline.page_from_block)] for parts in (seen_from_above, standing_on)
    )
    same = len(above) == len(below) and all(
        len(one) == len(other) and np.abs(np.sort(one, 0) - np.sort(other, 0)).max() < 0.05
        for one, other in zip(above, below, strict=True)
    )
    for part in above:
        axes.fill(*part.T, fill=False, edgecolor="black", linewidth=_LINE, linestyle="-" if same else (0, (6, 4)))
    for part in () if same else below:
        axes.fill(*part.T, fill=False, edgecolor="black", linewidth=_LINE)
    every = np.concatenate(above)
    middle, bottom = (every[:, 0].min() + every[:, 0].max()) / 2, every[:, 1].min()
    axes.text(middle, bottom - 1.5, f"{outline.name}  {outline.block}", ha="center", va="top", fontsize=8)


def _words(axes: "Axes", board: Board, number: int, top: float) -> None:
    """Which page it is, how to print it, and the ruler."""
    from matplotlib.collections import LineCollection

    page = board.pages[number - 1]
    assert board.paper is not None
    what = f"board on {board.paper.upper()} paper, page {number} of {len(board.pages)}"
    if page.grid:
        what += f": {page.grid.columns} x {page.grid.rows} squares of {_MM * page.grid.square:g} mm"
    axes.text(0, top, what, ha="center", va="top", fontsize=8)
    axes.text(0, top - 4, "Print in its true size (100%), on flat, matte paper", ha="center", va="top", fontsize=8)
    if page.outlines:
        axes.text(
            0, top - 8, "Put blocks on their outlines: the line is where a block stands, a dashed\nline what it covers, "
            "seen from above. Leave others empty.", ha="center", va="top", fontsize=7,
        )  # fmt: skip
    half, low = RULER_MM / 2, -top + 1
    marks = [(mm - half, 3.0 if mm % 10 == 0 else 2.0 if mm % 5 == 0 else 1.2) for mm in range(round(2 * half) + 1)]
    lines = [[(-half, low), (half, low)], *([(x, low), (x, low + size)] for x, size in marks)]
    axes.add_collection(LineCollection(lines, colors="black", linewidths=_LINE / 2, capstyle="butt"), autolim=False)
    axes.text(0, low + 3.5, f"must measure {2 * half:g} mm", ha="center", va="bottom", fontsize=7)
