"""The table of each picture of predict, from a printed board that lies on it."""

import sys

from simgen.board.files import read_board
from simgen.board.find import find_pages
from simgen.board.place import place_over
from simgen.camera import Camera
from simgen.errors import BoardError
from simgen.pictures import Image
from train.pose.view import View

_LISTED = 20  # greatest number of pictures that the last line lists


class BoardOnTable:
    """Finds the board in the file `path`, printed with a ruler of `ruler_mm`, in pictures. Raises BoardError."""

    def __init__(self, path: str, ruler_mm: float) -> None:
        self._path, self._board = path, read_board(path, ruler_mm)
        self._count = 0
        self._without: list[tuple[str, str]] = []

    def view(self, camera: Camera, picture: Image, name: str) -> tuple[View, str]:
        """The view of `picture` (H, W, 3) by `camera`, and what the table's coordinate frame is. Where the board is not
        found the table is unknown, and so is its frame: ""."""
        self._count += 1
        try:
            sightings = find_pages(picture, self._board)
            if not sightings:
                raise BoardError("no board")
            first = sightings[0]  # of several pages: the same one from frame to frame
            pose = place_over(camera, [first]).pose
        except BoardError as error:
            self._without.append((name, str(error)))
            return View(camera.intrinsics, camera.distortion), ""
        frame = (
            f"that of page {first.page + 1} of {self._path}: origin in the middle of the page, X right and Y up as one "
            "reads it, Z up; the table's top at Z = 0"
        )
        return View(camera.intrinsics, camera.distortion, pose), frame

    def report(self) -> None:
        """Prints a line on stderr if the board was not found in a picture."""
        if self._without:
            listed = ", ".join(f"{name} ({reason})" for name, reason in self._without[:_LISTED])
            print(
                f"{self._path} is not seen in {len(self._without)} of {self._count} picture{'s' * (self._count != 1)}, "
                "so poses there are free and their confidence is low: "
                f"{listed}{', ...' if len(self._without) > _LISTED else ''}",
                file=sys.stderr,
            )
