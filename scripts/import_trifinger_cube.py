"""Turns the nine trifinger_cube photographs into a BOP dataset, for evaluation only.

    python scripts/import_trifinger_cube.py SOURCE OUT

SOURCE is the folder with cube_v1/, cube_v2/, cuboid_2x2x8_v2/ and poses/ (the photographs and calibrations:
github.com/open-dynamic-robot-initiative/trifinger_object_tracking, BSD-3-Clause). Poses come from poses/scene_gt.json; the
cameras' poses in the world are not used. Photographs are copied byte for byte; there are no depth images and no masks, and
visible_fraction is the share of the block's outline within the picture: occlusion by fingers is unknown.
"""

import sys
from pathlib import Path

import numpy as np

from simgen.camera import lens_of_bop
from simgen.dataset.photographs import Photograph, import_command, write_photographs
from simgen.errors import DatasetError
from simgen.files import read_json
from simgen.geometry import rigid
from simgen.shapes.solids import make_solid

# By obj_id - 1 in poses/: name and shape as in scenes/blocks/tobin.yaml, size in m.
BLOCKS = (("cube", "cube", (0.065, 0.065, 0.065)), ("rectangular_prism", "rectangular_prism", (0.02, 0.02, 0.08)))


def import_photographs(source: Path, out: Path) -> int:
    """Writes the dataset and returns the number of photographs. Raises DatasetError that names the file at fault."""
    if out.exists() and any(out.iterdir()):
        raise DatasetError(f"{out}: is not empty; name a new folder")
    names, lenses, poses = (read_json(source / "poses" / f"{n}.json") for n in ("frames", "scene_camera", "scene_gt"))
    solids = [make_solid(name, shape, np.array(size)) for name, shape, size in BLOCKS]
    found = []
    for key in sorted(names, key=int):
        try:
            camera = np.array(lenses[key]["cam_K"], dtype=np.float64).reshape(3, 3)
            lens = lens_of_bop(lenses[key])
            (truth,) = poses[key]
            turn = np.array(truth["cam_R_m2c"], dtype=np.float64).reshape(3, 3)
            pose = rigid(turn, np.array(truth["cam_t_m2c"], dtype=np.float64) / 1000)
            solid = range(len(solids))[int(truth["obj_id"]) - 1]
        except (KeyError, ValueError, IndexError) as error:
            raise DatasetError(f"{source / 'poses'}: image {key} is not labeled in BOP's format ({error!r})") from error
        found.append(Photograph(source / names[key], names[key], camera, lens, None, solid, pose))
    source_name = "github.com/open-dynamic-robot-initiative/trifinger_object_tracking"
    write_photographs(out, found, solids, source_name)
    return len(found)


if __name__ == "__main__":
    sys.exit(
        import_command(
            "import_trifinger_cube", __doc__, "the folder with the photographs and poses/", import_photographs
        )
    )
