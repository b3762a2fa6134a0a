"""Copies the two datasets of the printed tea box, and corrects the plane of the turntable; for evaluation only.

    python scripts/import_printed_box.py SOURCE OUT

SOURCE has desk/ and turntable/, two BOP datasets (split `test`) of frames of tutorial videos of github.com/lagadic/visp
(GPL-2.0-or-later), whose poses come from aligned edges. The plane that turntable/ states is that of a side of the box: it
turns with the box. The disc does not, and neither does the box's vertical axis. So the plane is taken from the poses: at a
right angle to the mean of the box's z axes, and half of the box's height below the mean of its middles. This is the plane
of a calibrated camera, but it comes from the labels against which a detector is then measured.
"""

import shutil
import sys
from pathlib import Path

import numpy as np

from simgen.dataset.layout import MANIFEST
from simgen.dataset.photographs import SPLIT, import_command
from simgen.dataset.read import open_dataset
from simgen.dataset.write import bop_pose
from simgen.errors import DatasetError
from simgen.files import read_json, sha256_of, write_json
from simgen.geometry import Array, rigid

_UPRIGHT_DEG = 5.0  # the labels are good to 1.5 degrees


def import_photographs(source: Path, out: Path) -> int:
    """Writes the datasets and returns the number of photographs. Raises DatasetError that names the file at fault."""
    if out.exists() and any(out.iterdir()):
        raise DatasetError(f"{out}: is not empty; name a new folder")
    turned, still = open_dataset(source / "turntable"), open_dataset(source / "desk")
    boxes = [one for picture in turned.pictures for one in picture.instances]
    if not boxes:
        raise DatasetError(f"{turned.root}: no box is labeled, so that no plane can be found")
    try:
        plane = plane_of(np.array([one.camera_from_block for one in boxes]), np.array([one.size[2] for one in boxes]))
    except ValueError as error:
        raise DatasetError(f"{turned.root}: {error}") from error
    for dataset in (still, turned):
        shutil.copytree(dataset.root, out / dataset.root.name)
    for path in sorted((out / "turntable" / SPLIT).glob("*/scene_camera.json")):
        cameras = read_json(path)
        write_json(path, {key: {**one, **bop_pose(plane, "cam_R_w2c", "cam_t_w2c")} for key, one in cameras.items()})
        name = path.relative_to(out / "turntable").as_posix()
        manifest = read_json(out / "turntable" / MANIFEST)
        if name in manifest.get("files", {}):
            write_json(
                out / "turntable" / MANIFEST,
                manifest | {"files": manifest["files"] | {name: sha256_of(path)}},
                indent=1,
            )
    return len(still) + len(turned)


def plane_of(boxes: Array, heights: Array) -> Array:
    """The pose (4, 4) m in the camera frame of the plane, z = 0, on which boxes with the poses `boxes` (N, 4, 4) m stand on
    their z sides; `heights` (N,) m are theirs. X is nearest to the camera's. Raises ValueError if their z axes differ, or
    if the camera is below the plane."""
    axes = boxes[:, :3, 2]
    up = axes.mean(0) / np.linalg.norm(axes.mean(0))
    spread = np.degrees(np.arccos(np.clip(axes @ up, -1, 1)).max())
    if spread > _UPRIGHT_DEG:
        raise ValueError(f"the boxes' z axes differ by up to {spread:.1f} degrees from their mean; expected one plane")
    y = np.cross(up, [1.0, 0, 0])
    y /= np.linalg.norm(y)
    level = float((boxes[:, :3, 3] @ up - heights / 2).mean())
    if level >= 0:
        raise ValueError("the camera is below the plane on which the boxes stand; their z axes must point up")
    return rigid(np.stack([np.cross(y, up), y, up], axis=1), level * up)


if __name__ == "__main__":
    sys.exit(import_command("import_printed_box", __doc__, "the folder with desk/ and turntable/", import_photographs))
