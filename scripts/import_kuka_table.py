"""Turns the 52 kuka_table photographs into a BOP dataset, for evaluation only.

    python scripts/import_kuka_table.py SOURCE OUT

SOURCE is the folder with photos/i-j.jpg and calibration.json (the photographs: github.com/matwilso/domrand, data/real, MIT).
The box's pose comes from the grid label in the file name: center at X = -0.50 - 0.15 i, Y = 0.61 - 0.15 j, sides parallel to
the table's; labels are about 1 cm off on average. The camera is the calibrated one. Photographs are copied byte for byte;
there are no depth images and no masks, and visible_fraction is the share of the box's outline within the picture.
"""

import re
import sys
from pathlib import Path

import numpy as np

from simgen.camera import read_camera
from simgen.catalogue import load_world
from simgen.dataset.photographs import Photograph, import_command, write_photographs
from simgen.dataset.read import read_rgb
from simgen.errors import DatasetError
from simgen.geometry import rigid


def grid_place(name: str) -> tuple[float, float]:
    """X, Y in m of the box's center in the table frame, from a photograph's name i-j."""
    match = re.fullmatch(r"(\d)-(\d)", name)
    if not match:
        raise DatasetError(f"{name}.jpg: expected a name i-j.jpg, the row and column of the grid")
    return -0.50 - 0.15 * int(match[1]), 0.61 - 0.15 * int(match[2])


def import_photographs(source: Path, out: Path) -> int:
    """Writes the dataset and returns the number of photographs. Raises DatasetError that names the file at fault."""
    photographs = sorted((source / "photos").glob("*.jpg"))
    if not photographs:
        raise DatasetError(
            f"{source / 'photos'}: holds no .jpg; expected the photographs of github.com/matwilso/domrand, data/real"
        )
    if out.exists() and any(out.iterdir()):
        raise DatasetError(f"{out}: is not empty; name a new folder")
    camera = read_camera(source / "calibration.json")
    world = load_world("kuka_table")
    box = next(solid for solid in world.solids if solid.name == "kuka_box")
    number = world.solids.index(box)
    if camera.camera_from_table is None:
        raise DatasetError(
            f"{source / 'calibration.json'}: camera_from_table: missing; expected the camera's pose, 4 x 4"
        )

    found = []
    for path in photographs:
        if read_rgb(path).shape != (camera.height, camera.width, 3):
            raise DatasetError(
                f"{path}: expected a picture of {camera.width} x {camera.height} px, as stated in calibration.json"
            )
        x, y = grid_place(path.stem)
        pose = camera.camera_from_table @ rigid(np.eye(3), np.array([x, y, box.size[2] / 2]))
        found.append(
            Photograph(path, path.stem, camera.intrinsics, camera.distortion, camera.camera_from_table, number, pose)
        )
    table = {"center": world.table.center[:2].tolist(), "size": world.table.size[:2].tolist()}
    write_photographs(out, found, world.solids, "github.com/matwilso/domrand data/real", table=table)
    return len(photographs)


if __name__ == "__main__":
    sys.exit(
        import_command("import_kuka_table", __doc__, "the folder with photos/ and calibration.json", import_photographs)
    )
