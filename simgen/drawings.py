"""Pictures that simgen draws: contact sheets, and PNG files that state which program drew them, so that no other picture is
overwritten."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.PngImagePlugin

from simgen.pictures import Image, opened


def contact_sheet(tiles: Sequence[Image], columns: int | None = None) -> Image:
    """`tiles` (h, W, 3), at least one, all of one width, as one picture (H, W, 3): left to right and top to bottom in up to
    `columns` columns, by default about as many as rows. Lower tiles have black below them."""
    columns = min(columns or int(np.ceil(np.sqrt(len(tiles)))), len(tiles))
    height, width = max(tile.shape[0] for tile in tiles), tiles[0].shape[1]
    sheet = np.zeros((-(-len(tiles) // columns) * height, columns * width, 3), np.uint8)
    for k, tile in enumerate(tiles):
        top, left = k // columns * height, k % columns * width
        sheet[top : top + tile.shape[0], left : left + width] = tile
    return sheet


class Overview:
    """Evenly chosen ones of any number of pictures, which are added one after another, as one contact sheet: at most `MOST`,
    so that a few thousand photographs do not fill the memory."""

    MOST = 200

    def __init__(self) -> None:
        self.count, self.tiles = 0, list[Image]()
        self._every = 1

    def add(self, tile: Image) -> None:
        """Adds the next picture (h, W, 3); all have one width."""
        if self.count % self._every == 0:
            self.tiles.append(tile)
        self.count += 1
        if len(self.tiles) > self.MOST:
            self.tiles, self._every = self.tiles[::2], 2 * self._every

    def __str__(self) -> str:
        """What the sheet shows, in words."""
        return f"{len(self.tiles)} of {self.count} photographs" if self._every > 1 else "all photographs"


def png_bytes(image: Image, software: str = "") -> bytes:
    """`image` (H, W, 3) RGB as a PNG file, which states that `software` drew it."""
    chunks = PIL.PngImagePlugin.PngInfo()
    if software:
        chunks.add_text("Software", software)
    data = io.BytesIO()
    # Higher levels of compression cost far more time than they save.
    PIL.Image.fromarray(np.ascontiguousarray(image)).save(data, "PNG", pnginfo=chunks, compress_level=1)
    return data.getvalue()


def is_drawn_by(path: Path, software: str) -> bool:
    """Whether the picture `path` states that `software` drew it."""
    try:
        with opened(path) as image:
            return bool(image.info.get("Software") == software)
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError):
        return False
