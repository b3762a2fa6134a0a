"""Writes BOP datasets atomically and resumably: bytes depend on the recipe alone, also after an interrupted run.

Each file of a sample is written under a temporary name and then renamed. The record sample/NNNNNN.json is written last; a
sample without it does not exist. Records hold everything that is later gathered into BOP's scene_*.json and manifest.json.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen.camera import bop_lens
from simgen.catalogue import World
from simgen.dataset.read import MANIFEST
from simgen.errors import DatasetError
from simgen.files import differences, read_json, sha256_of, write_file, write_json, writing
from simgen.geometry import Array, inverse
from simgen.labels import Label
from simgen.scene import Scenes, to_json
from simgen.shapes.solids import Solid
from simgen.shapes.surface import surface_points

DATA_VERSION = 10  # incremented when the same recipe gives other bytes; see CHANGELOG, "Changes the data"
IMAGE_FORMATS = ("jpg", "png")
WRITERS = ("bop",)
SPLIT = "train"
IMAGES_PER_SCENE = 1000
Approve = Callable[[int, Mapping[str, bytes], bytes], None]  # of a sample's index, files by name, and record


@dataclass(frozen=True)
class Sample:
    """One finished sample: `scene` is Scenes of one row, rgb (H, W, 3) uint8, depth (H, W) float32 m."""

    scene: Scenes
    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
    labels: Sequence[Label]


def begin(out: Path, recipe: Mapping[str, Any], start: int, num: int, world: World) -> set[int]:
    """Prepares `out` for the samples start .. start + num - 1 of `recipe` and returns the numbers of those that exist.

    Raises DatasetError if `out` cannot be written, or holds another dataset; the error names the differences.
    """
    if (out / MANIFEST).exists():
        _compare(out, recipe, start, num)
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DatasetError(f"out: {out} exists and is not a dataset of simgen's; name a new or empty folder")
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        for leftover in out.rglob(".*.tmp"):
            leftover.unlink()
    done = {index for index in range(start, start + num) if _is_done(out, index)}
    if len(done) < num or read_json(out / MANIFEST).get("num") != num:
        write_json(out / MANIFEST, {**_head(recipe, start, num, world), "status": "rendering"}, indent=1)
        write_models(out / "models", world.solids)
    return done


def write_sample(out: Path, sample: Sample, image_format: str, approve: Approve | None = None) -> None:
    """Writes the files of one sample, then its record, after `approve` was called with its index, its files by name and its
    record. Raises DatasetError if that fails, and what `approve` raises."""
    index = int(sample.scene.index[0])
    folder, name = _place(out, index)
    files: dict[str, bytes] = {}

    def put(path: Path, suffix: str, image: NDArray[Any], options: Sequence[int] = ()) -> None:
        encoded, data = cv2.imencode(suffix, image, list(options))
        if not encoded:
            raise DatasetError(f"{path}: could not be encoded as {suffix}")
        files[path.relative_to(out).as_posix()] = data.tobytes()

    # Measured: half the time and half the bytes of OpenCV's own settings.
    fast = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB]
    plain = [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]
    options = [cv2.IMWRITE_JPEG_QUALITY, 95] if image_format == "jpg" else fast
    put(
        folder / "rgb" / f"{name}.{image_format}",
        f".{image_format}",
        cv2.cvtColor(sample.rgb, cv2.COLOR_RGB2BGR),
        options,
    )
    # Units of 0.1 mm, or coarser if the greatest depth does not fit in 16 bits.
    depth_scale = next(s for s in (0.1, 0.2, 0.5, 1.0, math.inf) if sample.depth.max() * 1000 <= 65535 * s)
    depth = np.rint(sample.depth * (1000 / depth_scale)).astype(np.uint16)
    put(folder / "depth" / f"{name}.png", ".png", depth, fast)
    for k, label in enumerate(sample.labels):
        put(folder / "mask" / f"{name}_{k:06d}.png", ".png", label.amodal.view(np.uint8) * np.uint8(255), plain)
        put(folder / "mask_visib" / f"{name}_{k:06d}.png", ".png", label.visible.view(np.uint8) * np.uint8(255), plain)
    valid = depth > 0
    record = {
        "camera": _camera(sample.scene, depth_scale),
        "gt": [truth_of(label) for label in sample.labels],
        "gt_info": [info_of(label, valid) for label in sample.labels],
        "keypoints": [_keypoints(label) for label in sample.labels],
        "recipe": to_json(sample.scene),
        "files": {path: hashlib.sha256(data).hexdigest() for path, data in files.items()},
    }
    if approve is not None:
        approve(index, files, json.dumps(record).encode())
    for path, data in files.items():
        write_file(out / path, data)
    write_json(folder / "sample" / f"{name}.json", record)


def finish(out: Path, recipe: Mapping[str, Any], start: int, num: int, world: World) -> None:
    """Gathers the records into scene_*.json, writes camera.json and, last of all, the complete manifest."""
    files: dict[str, str] = {}
    for scene in range(start // IMAGES_PER_SCENE, (start + num - 1) // IMAGES_PER_SCENE + 1):
        indices = range(max(start, scene * IMAGES_PER_SCENE), min(start + num, (scene + 1) * IMAGES_PER_SCENE))
        folder = out / SPLIT / f"{scene:06d}"
        parts: dict[str, dict[str, Any]] = {"camera": {}, "gt": {}, "gt_info": {}, "keypoints": {}}
        for index in indices:
            path = _record_path(out, index)
            record = read_json(path)
            for part, content in parts.items():
                content[str(index % IMAGES_PER_SCENE)] = record[part]
            files.update(record["files"])
            files[path.relative_to(out).as_posix()] = sha256_of(path)
        for part, content in parts.items():
            lines = ",\n".join(f'  "{key}": {json.dumps(value)}' for key, value in content.items())
            write_file(folder / f"scene_{part}.json", f"{{\n{lines}\n}}\n".encode())
            gathered = folder / f"scene_{part}.json"
            files[gathered.relative_to(out).as_posix()] = sha256_of(gathered)
    camera = read_json(_record_path(out, start))
    k, size = camera["camera"]["cam_K"], camera["recipe"]["cameras"]
    content = {"fx": k[0], "fy": k[4], "cx": k[2], "cy": k[5], "depth_scale": 0.1}
    write_json(out / "camera.json", {**content, "width": size["width"], "height": size["height"]})
    for path in [out / "camera.json", *sorted((out / "models").iterdir())]:
        files[path.relative_to(out).as_posix()] = sha256_of(path)
    complete = {**_head(recipe, start, num, world), "status": "complete", "files": dict(sorted(files.items()))}
    write_json(out / MANIFEST, complete, indent=1)


def write_models(folder: Path, solids: Sequence[Solid]) -> None:
    """models/ of a BOP dataset: a PLY for each solid, in millimeters, and models_info.json with the symmetries."""
    info = {}
    for obj_id, solid in enumerate(solids, start=1):
        write_file(folder / f"obj_{obj_id:06d}.ply", _ply(solid).encode("ascii"))
        low, size = solid.vertices.min(axis=0) * 1000, solid.size * 1000
        entry: dict[str, Any] = {"name": solid.name, "diameter": solid.diameter * 1000}
        entry.update({f"min_{axis}": float(low[k]) for k, axis in enumerate("xyz")})
        entry.update({f"size_{axis}": float(size[k]) for k, axis in enumerate("xyz")})
        if len(solid.symmetries) > 1:
            millimeters = solid.symmetries[1:].copy()
            millimeters[:, :3, 3] *= 1000
            entry["symmetries_discrete"] = [symmetry.ravel().tolist() for symmetry in millimeters]
        # BOP has no symmetry for spheres; two continuous axes generate all rotations.
        axes = [solid.axis.tolist()] if solid.axis is not None else [[0, 0, 1], [1, 0, 0]] if solid.sphere else []
        if axes:
            entry["symmetries_continuous"] = [{"axis": axis, "offset": [0, 0, 0]} for axis in axes]
        if solid.mesh_origin is not None:
            # The position of the mesh file's origin in this frame: camera_from_file = camera_from_block @ translation.
            entry["mesh_origin_mm"] = (solid.mesh_origin * 1000).tolist()
        entry["keypoints"] = (solid.keypoints * 1000).tolist()
        info[str(obj_id)] = entry
    write_json(folder / "models_info.json", info)


def _compare(out: Path, recipe: Mapping[str, Any], start: int, num: int) -> None:
    manifest = read_json(out / MANIFEST)
    if "recipe" not in manifest or "num" not in manifest:
        raise DatasetError(f"out: {out / MANIFEST} is not a manifest of simgen's; name a new or empty folder")
    version = manifest["recipe"].get("data_version")
    if version != recipe["data_version"]:
        raise DatasetError(
            f"out: {out} was rendered with data version {version}, and this simgen renders version "
            f"{recipe['data_version']}, which draws other pictures: name another folder (a complete dataset of an older "
            "version can still be used for training and evaluation)"
        )
    changed = differences(manifest["recipe"], json.loads(json.dumps(recipe)))
    found = [f"{key} is {there!r} there and {here!r} here" for key, there, here in changed]
    if manifest["start"] != start:
        found.append(f"start is {manifest['start']} there and {start} here")
    if manifest["num"] > num:
        found.append(f"num is {manifest['num']} there and only {num} here")
    if found:
        shown = "; ".join(found[:5]) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")
        raise DatasetError(f"out: {out} holds another dataset: {shown}; name another folder or the same configuration")


def _head(recipe: Mapping[str, Any], start: int, num: int, world: World) -> dict[str, Any]:
    table = {"center": world.table.center[:2].tolist(), "size": world.table.size[:2].tolist()}
    return {"format": "bop", "recipe": recipe, "start": start, "num": num, "split": SPLIT, "table": table}


def _is_done(out: Path, index: int) -> bool:
    path = _record_path(out, index)
    return path.exists() and all((out / name).exists() for name in read_json(path)["files"])


def _record_path(out: Path, index: int) -> Path:
    folder, name = _place(out, index)
    return folder / "sample" / f"{name}.json"


def _place(out: Path, index: int) -> tuple[Path, str]:
    return out / SPLIT / f"{index // IMAGES_PER_SCENE:06d}", f"{index % IMAGES_PER_SCENE:06d}"


def bop_pose(transform: Array, rotation: str, translation: str) -> dict[str, list[float]]:
    """A transform (4, 4) in m in BOP's format: under the key `rotation` 9 numbers by rows, under `translation` 3 in mm."""
    return {rotation: transform[:3, :3].ravel().tolist(), translation: (transform[:3, 3] * 1000).tolist()}


def _camera(scene: Scenes, depth_scale: float) -> dict[str, Any]:
    cameras = scene.cameras
    camera: dict[str, Any] = {"cam_K": cameras.intrinsics[0].ravel().tolist(), "depth_scale": depth_scale}
    if np.any(cameras.distortion[0]):
        camera.update(bop_lens(cameras.distortion[0]))
    return {**camera, **bop_pose(inverse(cameras.world_from_camera[0]), "cam_R_w2c", "cam_t_w2c")}


def truth_of(label: Label) -> dict[str, Any]:
    """The entry of `label` in scene_gt.json."""
    pose = bop_pose(label.camera_from_block, "cam_R_m2c", "cam_t_m2c")
    return {**pose, "obj_id": label.model + 1, "size_mm": (label.size * 1000).tolist()}


def info_of(label: Label, valid: NDArray[np.bool_]) -> dict[str, Any]:
    """The entry of `label` in scene_gt_info.json; `valid` (H, W) are the pixels with a depth."""
    return {
        "bbox_obj": list(label.box_amodal),
        "bbox_visib": list(label.box_visible),
        "px_count_all": label.pixels,
        "px_count_valid": int(np.count_nonzero(label.amodal & valid)),
        "px_count_visib": int(np.count_nonzero(label.visible)),
        "visib_fract": label.visible_fraction,
    }


def _keypoints(label: Label) -> dict[str, Any]:
    pixels = [None if np.isnan(point).any() else point.tolist() for point in label.keypoints]
    return {"keypoints_px": pixels, "visibility": label.visibility.tolist()}


def _ply(solid: Solid) -> str:
    """The mesh in mm, and after its vertices points of no face, spread over it: tools measure ADD-S on all vertices."""
    mesh = solid.mesh
    count = len(mesh.normals)
    vertices = np.concatenate([mesh.corners.reshape(-1, 3) * 1000, np.repeat(mesh.normals, 3, axis=0)], axis=1)
    points = surface_points(mesh.corners) * 1000
    vertices = np.concatenate([vertices, np.pad(points, [(0, 0), (0, 3)])])
    header = ["ply", "format ascii 1.0", f"element vertex {len(vertices)}"]
    header += [f"property float {name}" for name in ("x", "y", "z", "nx", "ny", "nz")]
    header += [f"element face {count}", "property list uchar int vertex_indices", "end_header"]
    rows = [" ".join(f"{value:.6g}" for value in row) for row in vertices]
    faces = [f"3 {3 * k} {3 * k + 1} {3 * k + 2}" for k in range(count)]
    return "\n".join([*header, *rows, *faces]) + "\n"
