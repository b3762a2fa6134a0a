"""Turns the nine trifinger_cube photographs into a BOP dataset, for evaluation only.

    python scripts/import_trifinger_cube.py SOURCE OUT

SOURCE is the folder with cube_v1/, cube_v2/, cuboid_2x2x8_v2/ and poses/ (the photographs and calibrations:
github.com/open-dynamic-robot-initiative/trifinger_object_tracking, BSD-3-Clause). Poses come from poses/scene_gt.json; the
cameras' place in the world is not used. Photographs are copied byte for byte; there is no depth and there are no masks, and
visible_fraction is that of the block's outline within the picture: fingers that cover a part are not known.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from simgen.dataset.read import MANIFEST, read_json, read_rgb, sha256_of
from simgen.dataset.write import bop_pose, write_file, write_json, write_models
from simgen.errors import DatasetError, SimgenError
from simgen.geometry import rigid
from simgen.labels import box_of
from simgen.shapes import make_solid
from simgen.silhouette import silhouette

SPLIT = "test"
# obj_id - 1 in poses/: name and shape as scenes/blocks/tobin.yaml has them, size in m.
BLOCKS = (("cube", "cube", (0.065, 0.065, 0.065)), ("rectangular_prism", "rectangular_prism", (0.02, 0.02, 0.08)))


def import_photographs(source: Path, out: Path) -> int:
    """Writes the dataset and returns the number of photographs. Raises DatasetError that names the file at fault."""
    if out.exists() and any(out.iterdir()):
        raise DatasetError(f"{out}: is not empty; name a new folder")
    names, lenses, poses = (read_json(source / "poses" / f"{n}.json") for n in ("frames", "scene_camera", "scene_gt"))
    solids = [make_solid(name, shape, np.array(size)) for name, shape, size in BLOCKS]
    folder = out / SPLIT / "000000"
    cameras, truths, infos = {}, {}, {}
    for key in sorted(names, key=int):
        path = source / names[key]
        try:
            height, width = read_rgb(path).shape[:2]
            camera = np.array(lenses[key]["cam_K"], dtype=np.float64).reshape(3, 3)
            lens = np.array(lenses[key]["dist_opencv5"], dtype=np.float64)
            (truth,) = poses[key]
            solid = solids[int(truth["obj_id"]) - 1]
            turn = np.array(truth["cam_R_m2c"], dtype=np.float64).reshape(3, 3)
            pose = rigid(turn, np.array(truth["cam_t_m2c"], dtype=np.float64) / 1000)
        except (KeyError, ValueError, IndexError) as error:
            raise DatasetError(
                f"{source / 'poses'}: image {key} is not labelled as BOP defines it ({error!r})"
            ) from error
        outline = silhouette(solid, 1.0, pose, camera, lens, width, height)
        inside = outline.mask(width, height)
        cameras[key] = {"cam_K": camera.ravel().tolist(), "dist_opencv5": lens.tolist(), "depth_scale": 0.1}
        truths[key] = [
            {
                **bop_pose(pose, "cam_R_m2c", "cam_t_m2c"),
                "obj_id": int(truth["obj_id"]),
                "size_mm": (solid.size * 1000).tolist(),
            }
        ]
        infos[key] = [
            {
                "bbox_obj": list(outline.box()),
                "bbox_visib": list(box_of(inside)),
                "px_count_all": outline.count(),
                "px_count_valid": 0,
                "px_count_visib": int(inside.sum()),
                "visib_fract": float(inside.sum() / outline.count()),
            }
        ]
        write_file(folder / "rgb" / f"{int(key):06d}.png", path.read_bytes())
    write_json(folder / "scene_camera.json", cameras)
    write_json(folder / "scene_gt.json", truths)
    write_json(folder / "scene_gt_info.json", infos)
    write_json(folder / "names.json", names)
    write_models(out / "models", solids)
    files = {str(path.relative_to(out)): sha256_of(path) for path in sorted(out.rglob("*")) if path.is_file()}
    source_name = "github.com/open-dynamic-robot-initiative/trifinger_object_tracking"
    write_json(
        out / MANIFEST, {"format": "bop", "source": source_name, "split": SPLIT, "status": "complete", "files": files}
    )
    return len(names)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", type=Path, help="the folder with the photographs and poses/")
    parser.add_argument("out", type=Path, help="the dataset folder to write, new or empty")
    arguments = parser.parse_args()
    try:
        number = import_photographs(arguments.source, arguments.out)
    except SimgenError as error:
        print(f"import_trifinger_cube: error: {error}", file=sys.stderr)
        return 2
    print(f"{arguments.out}: {number} photographs, split {SPLIT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
