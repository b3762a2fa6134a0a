"""Writes photographs with known poses as a BOP dataset: for evaluation, beside what simgen renders."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simgen.dataset.read import MANIFEST, read_rgb
from simgen.dataset.write import bop_pose, write_models
from simgen.errors import SimgenError
from simgen.files import sha256_of, write_file, write_json
from simgen.geometry import Array
from simgen.shapes import Solid
from simgen.silhouette import box_of, silhouette

SPLIT = "test"


@dataclass(frozen=True)
class Photograph:
    """The file `path`, known as `name`: its camera, and the pose (4, 4) m of the one block in it, number `solid` of the
    set."""

    path: Path
    name: str
    intrinsics: Array
    distortion: Array
    camera_from_world: Array | None
    solid: int
    camera_from_block: Array


def write_photographs(
    out: Path, photographs: Sequence[Photograph], solids: Sequence[Solid], source: str, **about: Any
) -> None:
    """Writes the dataset `out`, with `source` and `about` in its manifest. Photographs are copied byte for byte; there
    is no depth and there are no masks, and visible_fraction tells how much of the block's outline lies within the
    picture."""
    folder = out / SPLIT / "000000"
    cameras, truths, infos, names = {}, {}, {}, {}
    for number, one in enumerate(photographs):
        height, width = read_rgb(one.path).shape[:2]
        solid = solids[one.solid]
        outline = silhouette(solid, 1.0, one.camera_from_block, one.intrinsics, one.distortion, width, height)
        inside = outline.mask(width, height)
        key, world = str(number), one.camera_from_world
        names[key] = one.name
        cameras[key] = {
            "cam_K": one.intrinsics.ravel().tolist(),
            "dist_opencv5": one.distortion.tolist(),
            "depth_scale": 0.1,
            **({} if world is None else bop_pose(world, "cam_R_w2c", "cam_t_w2c")),
        }
        truths[key] = [
            {
                **bop_pose(one.camera_from_block, "cam_R_m2c", "cam_t_m2c"),
                "obj_id": one.solid + 1,
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
        write_file(folder / "rgb" / f"{number:06d}{one.path.suffix}", one.path.read_bytes())
    write_json(folder / "scene_camera.json", cameras)
    write_json(folder / "scene_gt.json", truths)
    write_json(folder / "scene_gt_info.json", infos)
    write_json(folder / "names.json", names)
    write_models(out / "models", solids)
    files = {path.relative_to(out).as_posix(): sha256_of(path) for path in sorted(out.rglob("*")) if path.is_file()}
    head = {"format": "bop", "source": source, "split": SPLIT, **about}
    write_json(out / MANIFEST, {**head, "status": "complete", "files": files}, indent=1)


def import_command(name: str, description: str | None, source: str, run: Callable[[Path, Path], int]) -> int:
    """The command line SOURCE OUT of the script `name`, which imports photographs by `run(source, out)`, their number; the
    process's exit status. `source` says in its help what SOURCE is."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("source", type=Path, help=source)
    parser.add_argument("out", type=Path, help="the dataset folder to write, new or empty")
    arguments = parser.parse_args()
    try:
        number = run(arguments.source, arguments.out)
    except SimgenError as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        return 2
    print(f"{arguments.out}: {number} photographs, split {SPLIT}")
    return 0
