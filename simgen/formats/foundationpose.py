"""format=foundationpose: folders for run_demo.py of FoundationPose (https://github.com/NVlabs/FoundationPose).

Each folder is one object: rgb/NAME.png, depth/NAME.png (mm, 16 bits), masks/NAME.png, cam_K.txt, mesh/textured_simple.obj
(m), and annotated_poses/NAME.txt, the true pose (4 x 4, m). FoundationPose estimates the pose in the first picture, for
which it needs the mask, and tracks it in the others. So pictures that are no video have a folder each.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen.command.progress import Progress
from simgen.dataset.read import BopDataset, depth_path, read_depth, read_rgb
from simgen.dataset.scenes import Instance, Picture, mask_path, size_of
from simgen.errors import ConfigError, DatasetError
from simgen.files import write_file, writing
from simgen.formats.folder import PNG_ALONE, place, place_picture, write_png
from simgen.formats.labels import Category, LabelReader, Mask, camera_from_model, file_name, scale_of
from simgen.formats.meshes import load_model
from simgen.formats.pinhole import Undistorted
from simgen.formats.schema import ConvertConfig
from simgen.geometry import Array
from simgen.pictures import picture_header, png_bytes

MESH = "textured_simple.obj"
_FARTHEST = 65535  # mm


@dataclass(frozen=True)
class Sequence6D:
    """A folder to write: its name below the split, and its frames, each a picture and the object in it."""

    name: str
    category: Category
    frames: Sequence[tuple[Picture, Instance]]


def write_foundationpose(dataset: BopDataset, config: ConvertConfig) -> None:
    """Writes one split: SPLIT/obj_OBJ_ID/SCENE_IMAGE_NUMBER/, or with `sequence` SPLIT/obj_OBJ_ID/SCENE/. Pictures of lenses
    that distort are undistorted. Raises ConfigError and DatasetError."""
    out = Path(config.out).resolve()
    if "rgb" in str(out):
        raise ConfigError(
            "out: its path contains 'rgb', which FoundationPose replaces by 'depth' and 'masks' wherever it stands; name a "
            "folder without it"
        )
    reader = LabelReader(dataset, config.min_visible)
    for picture in dataset.pictures:
        if not depth_path(picture).is_file():
            raise DatasetError(f"{depth_path(picture)}: missing; format=foundationpose needs depth for each picture")
    sequences = list(_by_scene(dataset, reader) if config.sequence else _by_picture(dataset, reader))
    meshes: dict[tuple[int, ...], Path] = {}
    with Progress(f"{dataset.split}: converted", len(sequences), "objects", ending=False) as progress:
        for one in sequences:
            folder = out / dataset.split / f"obj_{one.category.obj_id:06d}" / one.name
            _write_mesh(folder / "mesh", one.category, one.frames[0][1], meshes)
            first = one.frames[0][0]
            write_file(folder / "cam_K.txt", _text(first.intrinsics))
            for picture, instance in one.frames:
                _write_frame(folder, reader, picture, instance, config.pictures)
            progress.update()
    reader.report()


def _by_picture(dataset: BopDataset, reader: LabelReader) -> Iterator[Sequence6D]:
    for picture in dataset.pictures:
        for one in reader.objects(picture):
            name = f"{file_name(picture)}_{one.number:06d}"
            yield Sequence6D(name, reader.category(one), [(picture, one)])


def _by_scene(dataset: BopDataset, reader: LabelReader) -> Iterator[Sequence6D]:
    """A sequence for each object of each scene: the pictures that show it. Raises DatasetError if they are no sequence."""
    found: dict[tuple[int, int], list[tuple[Picture, Instance]]] = {}
    for picture in dataset.pictures:
        for one in reader.objects(picture):
            found.setdefault((picture.scene_id, one.obj_id), []).append((picture, one))
    for (scene, obj_id), frames in found.items():
        where = f"{dataset.root / dataset.split}: scene {scene}, object {obj_id}"
        first, instance = frames[0]
        if len({picture.image_id for picture, _ in frames}) < len(frames):
            raise DatasetError(f"{where}: is in a picture several times, so that it is no sequence; use sequence=false")
        size = size_of(first.path)
        for picture, other in frames:
            if not np.allclose(picture.intrinsics, first.intrinsics, rtol=1e-6) or size_of(picture.path) != size:
                raise DatasetError(
                    f"{where}: images {first.image_id} and {picture.image_id} have different cameras, and a sequence has "
                    "one; use sequence=false"
                )
            if not np.allclose(other.size, instance.size, rtol=1e-6):
                raise DatasetError(f"{where}: changes its size, so that it is no sequence; use sequence=false")
        yield Sequence6D(f"{scene:06d}", reader.category(instance), frames)


def _write_frame(folder: Path, reader: LabelReader, picture: Picture, instance: Instance, how: str) -> None:
    width, height = size_of(picture.path)
    (mask,) = reader.masks(picture, [instance], width, height)
    depth = read_depth(picture)
    assert depth is not None  # write_foundationpose has looked
    if depth.shape != (height, width):
        raise DatasetError(
            f"{depth_path(picture)}: has {depth.shape[1]} x {depth.shape[0]} px; expected the picture's {width} x {height}"
        )
    name = file_name(picture)
    places = {kind: folder / kind / name for kind in ("rgb", "depth", "masks")}
    if picture.distortion.any():
        lens = Undistorted(picture, width, height)
        write_file(_png(places["rgb"]), png_bytes(lens.picture(read_rgb(picture.path))))
        _write_mask(_png(places["masks"]), np.asarray(lens.values(mask.view(np.uint8)), dtype=np.bool_))
        _write_depth(_png(places["depth"]), np.asarray(lens.values(depth), dtype=np.float32))
    else:
        place_picture(picture.path, places["rgb"], how, PNG_ALONE)
        stored = mask_path(picture, instance.number)
        if stored.is_file() and picture_header(stored).plain:
            place(stored, _png(places["masks"]), how)
        else:
            _write_mask(_png(places["masks"]), mask)
        if picture.depth_scale == 1.0 and _is_16_bit_png(depth_path(picture)):
            place(depth_path(picture), _png(places["depth"]), how)
        else:
            _write_depth(_png(places["depth"]), depth)
    pose = camera_from_model(instance, reader.category(instance).model)
    write_file(folder / "annotated_poses" / f"{name}.txt", _text(pose))


def _write_mesh(folder: Path, category: Category, instance: Instance, written: dict[tuple[int, ...], Path]) -> None:
    """The mesh in m, in the model's own frame and the size of `instance`. A mesh is written once, and then hard-linked."""
    scale = scale_of(instance, category.model)
    key = category.obj_id, *np.rint(1e6 * scale).astype(int).tolist()
    folder.mkdir(parents=True)
    with writing(folder):
        if key in written:
            for path in sorted(written[key].iterdir()):
                try:
                    os.link(path, folder / path.name)
                except OSError:  # a file system without hard links
                    shutil.copyfile(path, folder / path.name)
            return
        mesh = load_model(category.model)
        mesh.remove_unreferenced_vertices()
        mesh.vertices = mesh.vertices * (scale / 1000)
        mesh.export(folder / MESH)
    written[key] = folder


def _write_mask(path: Path, mask: Mask) -> None:
    write_png(path, mask.astype(np.uint8) * np.uint8(255))


def _write_depth(path: Path, depth: NDArray[np.float32]) -> None:
    """`depth` (H, W) m in mm; 0, unknown, where it is farther than 16 bits reach."""
    millimeters = np.rint(depth * np.float32(1000))
    write_png(path, np.where(millimeters > _FARTHEST, 0, millimeters).astype(np.uint16))


def _is_16_bit_png(path: Path) -> bool:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return path.suffix == ".png" and image is not None and image.dtype == np.uint16


def _png(path: Path) -> Path:
    return path.with_name(f"{path.name}.png")


def _text(matrix: Array) -> bytes:
    return "".join(" ".join(f"{value:.17g}" for value in row) + "\n" for row in matrix).encode()
