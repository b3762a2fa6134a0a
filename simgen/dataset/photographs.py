"""Writes photographs with known poses as a BOP dataset, for evaluation."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simgen.camera import bop_lens
from simgen.dataset.layout import MANIFEST
from simgen.dataset.read import read_rgb
from simgen.dataset.write import bop_pose, write_models
from simgen.errors import SimgenError
from simgen.files import sha256_of, write_file, write_json
from simgen.geometry import Array
from simgen.shapes.solids import Solid
from simgen.silhouette import box_of, silhouette

SPLIT = "test"


@dataclass(frozen=True)
class Photograph:
    """One photograph of one block.

    path, name         the file, and its name in names.json
    intrinsics         (3, 3) px
    distortion         (5,) or (9,): a lens of simgen/distortion.py
    camera_from_world  (4, 4) m, or None if unknown
    solid              the index of the block's solid in the dataset
    camera_from_block  (4, 4) m
    """

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
    are no depth images and no masks, and visible_fraction is the share of the block's outline that lies in the picture."""
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
            **bop_lens(one.distortion),
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
    """Runs the script `name` with the arguments SOURCE OUT and returns its exit status. `run(source, out)` imports the
    photographs and returns their number; `source` is the help text of SOURCE."""
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
