"""`python -m simgen label`: photographs, and a table of the poses of the blocks in them, become a BOP dataset.

Masks, boxes and visible fractions are computed from the meshes: the blocks of the table occlude each other, other things in
the photograph nothing. Photographs keep their bytes, and their lens.
"""

import csv
import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from simgen.camera import Camera, bop_lens, fit_camera, read_camera
from simgen.catalogue import load_block_set
from simgen.command.keys import check_choices
from simgen.dataset.visibility import Lens, Placed, visible_masks
from simgen.dataset.write import bop_pose, write_models
from simgen.drawings import Overview, contact_sheet, png_bytes
from simgen.errors import ConfigError, DatasetError, FileError
from simgen.files import write_file, write_json
from simgen.formats.bop import info_entry
from simgen.formats.folder import new_folder, place_picture, write_png
from simgen.formats.schema import LabelConfig
from simgen.geometry import Array, matrix_from_quaternion, project, rigid
from simgen.pictures import Image, list_pictures, read_picture
from simgen.shapes.solids import Solid

SPLIT = "test"
_COLUMNS = ("photo", "block", "x", "y", "z", "qw", "qx", "qy", "qz")
_UNIT = 0.01  # how far the length of a quaternion may be from 1: rounding to three digits stays below
_FARTHEST = 30.0  # m: a block that is farther away is in another unit
_TILE = 640  # px: the width of a picture on the sheet


@dataclass(frozen=True)
class Row:
    """A line of the table: `number` counts from 1; the block `block`, "" for a photograph without one, has the `pose` (4, 4)
    m."""

    number: int
    photo: str
    block: str
    pose: Array


def label(config: LabelConfig) -> None:
    """Writes the dataset; the folder appears when it is complete. Raises ConfigError and DatasetError that name the line of
    the table."""
    check_choices(config)
    folder, table = Path(config.photos), Path(config.poses)
    if not folder.is_dir():
        raise ConfigError(f"photos: {folder}: no such folder; expected a folder of photographs")
    rows = read_table(table)
    solids = load_block_set(Path(config.blocks))
    camera = read_camera(config.camera)
    if config.frame == "table" and camera.camera_from_table is None:
        raise ConfigError(f"frame: table needs camera_from_table, which {config.camera} does not state")
    by_photo: dict[str, list[Row]] = {}
    for row in rows:
        by_photo.setdefault(row.photo, []).append(row)
    _report_others(folder, by_photo)
    with new_folder(Path(config.out)) as out:
        scene = out / SPLIT / "000000"
        parts: dict[str, dict[str, Any]] = {"camera": {}, "gt": {}, "gt_info": {}}
        obj_ids = {solid.name: number for number, solid in enumerate(solids, start=1)}
        names, overview, noticed = {}, Overview(), set[str]()
        write_models(out / "models", solids)
        for number, (photo, of_photo) in enumerate(by_photo.items()):
            path = folder / photo
            if not path.is_file():
                raise DatasetError(f"{table}, line {of_photo[0].number}: photo: {path}: no such file")
            picture = read_picture(path)
            fitted = fit_camera(camera, picture.shape[1], picture.shape[0], config.camera)
            fitted.print_notices(config.camera, noticed)
            placed = [_placed(row, solids, fitted, config) for row in of_photo if row.block]
            place_picture(path, scene / "rgb" / f"{number:06d}", "copy")
            key = str(number)
            names[key] = photo
            parts["camera"][key] = _camera_entry(fitted)
            parts["gt"][key] = [
                {
                    **bop_pose(one.camera_from_block, "cam_R_m2c", "cam_t_m2c"),
                    "obj_id": obj_ids[one.solid.name],
                    "size_mm": (1000 * one.solid.size).tolist(),
                }
                for one in placed
            ]
            shown = [row for row in of_photo if row.block]
            parts["gt_info"][key] = _write_masks(scene, f"{number:06d}", placed, shown, fitted, picture, table)
            overview.add(_tile(picture, placed, fitted))
        for part, content in parts.items():
            write_json(scene / f"scene_{part}.json", content, indent=1)
        write_json(scene / "names.json", names, indent=1)
        write_file(out / "overlays.png", png_bytes(contact_sheet(overview.tiles)))
    count = sum(1 for row in rows if row.block)
    print(f"{config.out}: {len(by_photo)} photographs, {count} blocks, split {SPLIT}")
    print(
        f"{Path(config.out) / 'overlays.png'} shows {overview}: look at it: every block must lie where its outline is drawn"
    )


def read_table(path: Path) -> list[Row]:
    """The lines of the table of poses in the CSV file `path`. Raises FileError and DatasetError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"poses: {path}: cannot be read ({error}); expected a .csv file") from error
    reader = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    missing = [name for name in _COLUMNS if name not in (reader.fieldnames or [])]
    if missing:
        raise DatasetError(
            f"{path}, line 1: no column {', '.join(missing)}; expected a first line {','.join(_COLUMNS)}"
        )
    try:
        rows = [_row(path, reader.line_num, values) for values in reader]
    except csv.Error as error:
        raise DatasetError(f"{path}, line {reader.line_num}: is no CSV ({error})") from error
    if not rows:
        raise DatasetError(f"{path}: has no pose; expected a line for each block")
    return rows


def _row(path: Path, number: int, values: Mapping[str | None, Any]) -> Row:
    where = f"{path}, line {number}"
    photo, block = (str(values.get(name) or "").strip() for name in ("photo", "block"))
    if not photo or Path(photo).is_absolute() or ".." in Path(photo).parts:
        raise DatasetError(f"{where}: photo: got {photo!r}; expected the name of a file in the folder of photos")
    if not block:
        return Row(number, photo, "", np.eye(4))
    numbers = []
    for name in _COLUMNS[2:]:
        try:
            value = float(values[name])
        except (TypeError, ValueError):
            value = np.nan
        if not np.isfinite(value):
            raise DatasetError(f"{where}: {name}: got {values[name]!r}; expected a finite number")
        numbers.append(value)
    shift, quaternion = np.array(numbers[:3]), np.array(numbers[3:])
    length = float(np.linalg.norm(quaternion))
    if abs(length - 1) > _UNIT:
        raise DatasetError(
            f"{where}: qw, qx, qy, qz: got {quaternion.tolist()} of length {length:.4g}; expected a unit quaternion"
        )
    return Row(number, photo, block, rigid(matrix_from_quaternion(quaternion / length), shift))


def _report_others(folder: Path, named: Mapping[str, Any]) -> None:
    others = [path for path in list_pictures(folder).pictures if path.relative_to(folder).as_posix() not in named]
    if others:
        print(
            f"{folder}: {len(others)} photographs are not in the table and are left out; a photograph without blocks has a "
            "line with its name alone",
            file=sys.stderr,
        )


def _placed(row: Row, solids: Sequence[Solid], camera: Camera, config: LabelConfig) -> Placed:
    """The block of `row` in the camera frame. Raises DatasetError."""
    where = f"{config.poses}, line {row.number}"
    solid = next((one for one in solids if one.name == row.block), None)
    if solid is None:
        raise DatasetError(
            f"{where}: block: got '{row.block}'; {config.blocks} has {', '.join(one.name for one in solids)}"
        )
    pose = row.pose
    if config.frame == "table":
        assert camera.camera_from_table is not None  # label has looked
        pose = camera.camera_from_table @ pose
    if config.origin == "mesh" and solid.mesh_origin is not None:
        pose = pose @ rigid(np.eye(3), -solid.mesh_origin)
    distance = float(np.linalg.norm(pose[:3, 3]))
    if distance > _FARTHEST:
        raise DatasetError(
            f"{where}: the block is {distance:.4g} m away from the camera; x, y and z are in meters: divide millimeters by "
            "1000"
        )
    if pose[2, 3] <= 0:
        raise DatasetError(
            f"{where}: the block is behind the camera, at {pose[:3, 3].round(4).tolist()} m; expected OpenCV's axes: X "
            "right, Y down, Z forward; poses in the table's frame need frame=table"
        )
    return Placed(solid, 1.0, pose)


def _camera_entry(camera: Camera) -> dict[str, Any]:
    entry: dict[str, Any] = {"cam_K": camera.intrinsics.ravel().tolist(), "depth_scale": 1.0}
    if camera.distortion.any():
        entry.update(bop_lens(camera.distortion))
    if camera.camera_from_table is not None:
        entry.update(bop_pose(camera.camera_from_table, "cam_R_w2c", "cam_t_w2c"))
    return entry


def _write_masks(
    scene: Path,
    name: str,
    placed: Sequence[Placed],
    rows: Sequence[Row],
    camera: Camera,
    picture: Image,
    table: Path,
) -> list[dict[str, Any]]:
    """Writes the masks of the blocks in the photograph `name`; their entries in scene_gt_info.json."""
    lens = Lens(camera.intrinsics, camera.distortion, picture.shape[1], picture.shape[0])
    outlines = [lens.outline(block) for block in placed]
    whole = [lens.mask(outline) for outline in outlines]
    found = []
    for k, (outline, mask, seen) in enumerate(zip(outlines, whole, visible_masks(placed, whole, lens), strict=True)):
        if not mask.any():
            raise DatasetError(
                f"{table}, line {rows[k].number}: the block is not in the picture; look at the pose and the camera's file"
            )
        for kind, values in (("mask", mask), ("mask_visib", seen)):
            write_png(scene / kind / f"{name}_{k:06d}.png", values.astype(np.uint8) * np.uint8(255))
        found.append(info_entry(outline, outline.count(), mask, seen, None))
    return found


def _tile(picture: Image, placed: Sequence[Placed], camera: Camera) -> Image:
    """`picture` with the outline of each block and its axes, X red, Y green and Z blue, reduced for the sheet."""
    drawn = picture.copy()
    thickness = max(1, picture.shape[1] // 400)
    lens = Lens(camera.intrinsics, camera.distortion, picture.shape[1], picture.shape[0])
    for one in placed:
        mask = lens.mask(lens.outline(one)).view(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, contours, -1, (255, 255, 0), thickness)
        ends = np.concatenate([np.zeros((1, 3)), np.eye(3) * one.solid.diameter / 2])
        points = ends @ one.camera_from_block[:3, :3].T + one.camera_from_block[:3, 3]
        pixels = project(points, camera.intrinsics, camera.distortion)
        for k in range(3):
            if np.isfinite(pixels[[0, k + 1]]).all() and np.abs(pixels[[0, k + 1]]).max() < 1e5:
                start, end = pixels[[0, k + 1]].round().astype(int).tolist()
                cv2.line(drawn, start, end, tuple(255 * int(k == j) for j in range(3)), thickness)
    height = round(drawn.shape[0] * _TILE / drawn.shape[1])
    return np.asarray(cv2.resize(drawn, (_TILE, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
