"""Encodes samples as the files of a BOP dataset, and stores them: bytes depend on the recipe alone.

The record sample/NNNNNN.json of a sample is stored after its files; a sample without it does not exist. Records hold
everything that is later gathered into BOP's scene_*.json and manifest.json (dataset/assemble.py).
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen.camera import bop_lens
from simgen.errors import DatasetError, RenderError
from simgen.files import json_bytes, write_file
from simgen.geometry import Array, inverse
from simgen.labels import Label
from simgen.scene import Scenes, to_json
from simgen.shapes.solids import Solid
from simgen.shapes.surface import surface_points
from simgen.storage import Storage

DATA_VERSION = 11  # incremented when the same recipe gives other bytes; see CHANGELOG, "Changes the data"
_DEPTH_SCALES = 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0  # mm
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


@dataclass(frozen=True)
class Encoded:
    """The files of one sample by their names in the dataset; its record, which is stored after them, and its name."""

    files: Mapping[str, bytes]
    record: bytes
    record_name: str


def write_samples(
    out: Storage,
    samples: Iterable[Sample],
    image_format: str,
    written: Callable[[int], None] = lambda _: None,
    approve: Approve | None = None,
) -> None:
    """Stores the files of all `samples`, then their records. `approve` is called with each sample before it is stored,
    `written` with the number of samples just stored.

    Raises FileError if that fails, and what `approve` raises. If a sample raises, those before it are stored.
    """
    waiting: list[Encoded] = []

    def put() -> None:
        batch, waiting[:] = list(waiting), []
        if batch:
            out.put({name: data for one in batch for name, data in one.files.items()})
            out.put({one.record_name: one.record for one in batch})
            written(len(batch))

    try:
        for sample in samples:
            encoded = encode(sample, image_format)
            if approve is not None:
                approve(int(sample.scene.index[0]), encoded.files, encoded.record)
            waiting.append(encoded)
            if len(waiting) >= out.together:
                put()
    finally:
        put()


def encode(sample: Sample, image_format: str) -> Encoded:
    """The files and the record of `sample`. Raises DatasetError for a picture that cannot be encoded."""
    index = int(sample.scene.index[0])
    folder, number = place_of(index)
    files: dict[str, bytes] = {}

    def put(name: str, suffix: str, image: NDArray[Any], options: Sequence[int] = ()) -> None:
        encoded, data = cv2.imencode(suffix, image, list(options))
        if not encoded:
            raise DatasetError(f"{folder}/{name}{suffix}: could not be encoded")
        files[f"{folder}/{name}{suffix}"] = data.tobytes()

    # Measured: half the time and half the bytes of OpenCV's own settings.
    fast = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB]
    plain = [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]
    options = [cv2.IMWRITE_JPEG_QUALITY, 95] if image_format == "jpg" else fast
    put(f"rgb/{number}", f".{image_format}", cv2.cvtColor(sample.rgb, cv2.COLOR_RGB2BGR), options)
    # Units of 0.1 mm, or coarser if the greatest depth does not fit in 16 bits.
    greatest = float(sample.depth.max())
    depth_scale = next((scale for scale in _DEPTH_SCALES if greatest * 1000 <= 65535 * scale), None)
    if depth_scale is None:
        raise RenderError(
            f"sample {number}: a depth of {greatest:.0f} m; expected at most {65.535 * _DEPTH_SCALES[-1]:.0f} m"
        )
    depth = np.rint(sample.depth * (1000 / depth_scale)).astype(np.uint16)
    put(f"depth/{number}", ".png", depth, fast)
    for k, label in enumerate(sample.labels):
        put(f"mask/{number}_{k:06d}", ".png", label.amodal.view(np.uint8) * np.uint8(255), plain)
        put(f"mask_visib/{number}_{k:06d}", ".png", label.visible.view(np.uint8) * np.uint8(255), plain)
    valid = depth > 0
    record = {
        "camera": _camera(sample.scene, depth_scale),
        "gt": [truth_of(label) for label in sample.labels],
        "gt_info": [info_of(label, valid) for label in sample.labels],
        "keypoints": [_keypoints(label) for label in sample.labels],
        "recipe": to_json(sample.scene),
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }
    return Encoded(files, json_bytes(record), record_name(index))


def place_of(index: int) -> tuple[str, str]:
    """The folder of the scene that the sample `index` is in, and the sample's number in it, six digits."""
    return f"{SPLIT}/{index // IMAGES_PER_SCENE:06d}", f"{index % IMAGES_PER_SCENE:06d}"


def record_name(index: int) -> str:
    """The name of the record of the sample `index`."""
    folder, number = place_of(index)
    return f"{folder}/sample/{number}.json"


def write_models(folder: Path, solids: Sequence[Solid]) -> None:
    """Writes models/ of a BOP dataset into `folder`; see `models_files`."""
    for name, data in models_files(solids).items():
        write_file(folder / name, data)


def models_files(solids: Sequence[Solid]) -> dict[str, bytes]:
    """The files of models/ of a BOP dataset by name: a PLY for each solid, in millimeters, and models_info.json with the
    symmetries."""
    info, files = {}, {}
    *names, info_name = models_names(solids)
    for obj_id, solid in enumerate(solids, start=1):
        files[names[obj_id - 1]] = _ply(solid).encode("ascii")
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
    return {**files, info_name: json_bytes(info)}


def models_names(solids: Sequence[Solid]) -> list[str]:
    """The names of the files of models/."""
    return [*(f"obj_{obj_id:06d}.ply" for obj_id in range(1, len(solids) + 1)), "models_info.json"]


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
