"""Draws a strip: the same sample with one factor at several values, and each value below its picture."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen.drawings import contact_sheet
from simgen.explain.along import Row
from simgen.explain.schema import ExplainConfig
from simgen.explain.stage import Stage, with_values
from simgen.factors import FOLDERS, leaves_of
from simgen.pipeline import Pipeline, make_resized_pipeline, notices_of
from simgen.render import make_renderer

Image = NDArray[np.uint8]

SEARCHED = 8  # samples in which the factor's effect is searched for
ENOUGH = 0.02  # share of the pixels that change, above which the effect is visible
_LEVELS = 6  # of 255: a smaller change of a pixel does not count
_CAPTION, _TITLE, _GAP = 20, 28, 3  # px
_MOST_COLUMNS = 7


@dataclass(frozen=True)
class Strip:
    """Pictures (h, w, 3) for each of the rows, of sample `index`; `changed` is the share of the pixels that differ between
    the two most different pictures of a row, at most. `notices` are lines for the user about files and renderer."""

    rows: tuple[Row, ...]
    pictures: tuple[tuple[Image, ...], ...]
    index: int
    changed: float
    notices: tuple[str, ...]


def draw_strip(config: ExplainConfig, factor: str, stage: Stage, rows: Sequence[Row]) -> Strip:
    """The pictures of `rows` for the sample config.index, or for the first of SEARCHED samples in which the factor is
    visible, or else for the one in which it is most. Raises a SimgenError as rendering does."""
    source = replace(config, scene=stage.scene, randomize=stage.randomize)
    if stage.detail:
        source = replace(source, width=None, height=None)
    pipelines: dict[str, Pipeline] = {}
    words = [value for row in rows for value in row.values if isinstance(value, str)]
    # Of a factor whose words are shown one by one, one alone may use a folder of the user's own.
    every = {factor: ["choice", *words]} if words else {}
    whole = make_resized_pipeline(replace(source, randomize=with_values(source.randomize, every)))

    def pipeline(value: Any) -> Pipeline:
        if str(value) not in pipelines:
            randomize = with_values(source.randomize, {factor: value})
            leaves = leaves_of(randomize, whole.world)
            randomize = with_values(randomize, {one.key: "" for one in FOLDERS if not one.users(leaves)})
            pipelines[str(value)] = make_resized_pipeline(replace(source, randomize=randomize), like=whole)
        return pipelines[str(value)]

    first = pipeline(rows[0].values[0])
    renderer = make_renderer(config.renderer, first.world, first.images, config.raycast)

    def draw(value: Any, index: int) -> Image:
        (sample,) = pipeline(value).samples(renderer, [index])
        return _middle(sample.rgb, config.width, config.height)

    try:
        index = config.index
        if index is None:
            effects: dict[int, float] = {}
            ends = [(row.values[0], row.values[len(row.values) // 2]) for row in rows]
            for index in range(SEARCHED):
                effects[index] = max(changed(draw(one, index), draw(other, index)) for one, other in ends)
                if effects[index] >= ENOUGH:
                    break
            index = max(effects, key=lambda k: effects[k])
        drawn = tuple(tuple(draw(value, index) for value in row.values) for row in rows)
    finally:
        renderer.close()
    effect = max(changed(row[0], picture) for row in drawn for picture in row)
    return Strip(tuple(rows), drawn, index, effect, notices_of(first, renderer))


def sheet_of(strip: Strip, title: str) -> Image:
    """The strip as one picture (H, W, 3): `title`, then the pictures of each row with their values below them."""
    tiles: list[Image] = []
    columns = min(max(len(row) for row in strip.pictures), _MOST_COLUMNS)
    for row, pictures in zip(strip.rows, strip.pictures, strict=True):
        made = [_tile(picture, caption) for picture, caption in zip(pictures, row.captions, strict=True)]
        missing = -len(made) % columns
        tiles += [*made, *[np.full_like(made[0], 255) for _ in range(missing)]]
    sheet = contact_sheet(tiles, columns)
    top = np.full((_TITLE, sheet.shape[1], 3), 255, np.uint8)
    _write(top, title, (6, 19), 0.5)
    return np.concatenate([top, sheet])


def changed(one: Image, other: Image) -> float:
    """The share of the pixels of two pictures that differ by more than _LEVELS."""
    gap = np.abs(one.astype(np.int16) - other.astype(np.int16)).max(-1)
    return float((gap > _LEVELS).mean())


def _middle(picture: Image, width: int | None, height: int | None) -> Image:
    """The middle of `picture`, at most `width` x `height` px."""
    (rows, columns), wanted = picture.shape[:2], (height or picture.shape[0], width or picture.shape[1])
    top, left = max(0, (rows - wanted[0]) // 2), max(0, (columns - wanted[1]) // 2)
    return picture[top : top + wanted[0], left : left + wanted[1]]


def _tile(picture: Image, caption: str) -> Image:
    tile = np.full((picture.shape[0] + _CAPTION + _GAP, picture.shape[1] + _GAP, 3), 255, np.uint8)
    tile[: picture.shape[0], : picture.shape[1]] = picture
    _write(tile, caption, (4, picture.shape[0] + 15), 0.45)
    return tile


def _write(image: Image, text: str, place: tuple[int, int], scale: float) -> None:
    """Writes `text`, smaller if it would be wider than the image."""
    font = cv2.FONT_HERSHEY_SIMPLEX
    (width, _), _ = cv2.getTextSize(text, font, scale, 1)
    scale *= min(1.0, (image.shape[1] - 2 * place[0]) / max(width, 1))
    cv2.putText(image, text, place, font, scale, (20, 20, 20), 1, cv2.LINE_AA)
