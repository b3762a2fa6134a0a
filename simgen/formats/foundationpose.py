"""format=foundationpose: folders for run_demo.py of FoundationPose (https://github.com/NVlabs/FoundationPose).

Each folder is one object: rgb/NAME.png, depth/NAME.png (mm, 16 bits), masks/NAME.png, cam_K.txt, mesh/textured_simple.obj
(m), and annotated_poses/NAME.txt, the true pose (4 x 4, m). FoundationPose estimates the pose in the first picture, for
which it needs the mask, and tracks it in the others. So pictures that are no video have a folder each.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from simgen.command.progress import Progress
from simgen.dataset.read import BopDataset, depth_path, read_depth, read_rgb
from simgen.dataset.scenes import Instance, Picture, mask_path, size_of
from simgen.errors import ConfigError, DatasetError
from simgen.files import write_file, writing
from simgen.formats.folder import PNG_ALONE, place, place_picture, share, write_png
from simgen.formats.labels import Category, LabelReader, camera_from_model, file_name, scale_of
from simgen.formats.meshes import load_model
from simgen.formats.pinhole import Undistorted
from simgen.formats.schema import ConvertConfig
from simgen.geometry import Array
from simgen.pictures import picture_header

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
    writer = _Writer(reader, config.pictures)
    with Progress(f"{dataset.split}: converted", len(sequences), "objects", ending=False) as progress:
        for one in sequences:
            folder = out / dataset.split / f"obj_{one.category.obj_id:06d}" / one.name
            writer.write_mesh(folder / "mesh", one.category, one.frames[0][1])
            write_file(folder / "cam_K.txt", _text(one.frames[0][0].intrinsics))
            for picture, instance in one.frames:
                writer.write_frame(folder, picture, instance)
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


class _Writer:
    """Writes frames and meshes. What several folders have is encoded once, and is the same file in all of them."""

    def __init__(self, reader: LabelReader, how: str) -> None:
        self._reader, self._how = reader, how
        self._frames: dict[tuple[int, int], Path] = {}  # the first folder with a picture
        self._meshes: dict[tuple[int, ...], Path] = {}
        self._lens: tuple[Picture, Undistorted] | None = None  # of the last picture

    def write_frame(self, folder: Path, picture: Picture, instance: Instance) -> None:
        """Writes `picture` with `instance` into `folder`. Raises DatasetError."""
        width, height = size_of(picture.path)
        name, lens = file_name(picture), self._lens_of(picture, width, height)
        (mask,) = self._reader.masks(picture, [instance], width, height)
        stored, target = mask_path(picture, instance.number), folder / "masks" / f"{name}.png"
        if lens is None and stored.is_file() and picture_header(stored).plain:
            place(stored, target, self._how)
        else:
            values = mask.astype(np.uint8) * np.uint8(255)
            write_png(target, values if lens is None else lens.values(values))
        first = self._frames.setdefault((picture.scene_id, picture.image_id), folder)
        if first is folder:
            self._write_picture(folder, picture, lens, width, height)
        else:
            for kind in ("rgb", "depth"):
                share(first / kind / f"{name}.png", folder / kind / f"{name}.png")
        pose = camera_from_model(instance, self._reader.category(instance).model)
        write_file(folder / "annotated_poses" / f"{name}.txt", _text(pose))

    def _write_picture(self, folder: Path, picture: Picture, lens: Undistorted | None, width: int, height: int) -> None:
        depth, source, name = read_depth(picture), depth_path(picture), file_name(picture)
        assert depth is not None  # write_foundationpose has looked
        if depth.shape != (height, width):
            raise DatasetError(
                f"{source}: has {depth.shape[1]} x {depth.shape[0]} px; expected the picture's {width} x {height}"
            )
        target = folder / "depth" / f"{name}.png"
        if lens is not None:
            write_png(folder / "rgb" / f"{name}.png", lens.picture(read_rgb(picture.path)))
            depth = np.asarray(lens.values(depth), dtype=np.float32)
        else:
            place_picture(picture.path, folder / "rgb" / name, self._how, PNG_ALONE)
        if lens is None and picture.depth_scale == 1.0 and _is_16_bit_png(source):
            place(source, target, self._how)
            return
        millimeters = np.rint(depth * np.float32(1000))
        # 0, unknown, where it is farther than 16 bits reach.
        write_png(target, np.where(millimeters > _FARTHEST, 0, millimeters).astype(np.uint16))

    def write_mesh(self, folder: Path, category: Category, instance: Instance) -> None:
        """The mesh in m, in the model's own frame and the size of `instance`. Raises DatasetError."""
        scale = scale_of(instance, category.model)
        first = self._meshes.setdefault((category.obj_id, *np.rint(1e6 * scale).astype(int).tolist()), folder)
        if first is not folder:
            for path in sorted(first.iterdir()):
                share(path, folder / path.name)
            return
        mesh = load_model(category.model)
        mesh.remove_unreferenced_vertices()
        mesh.vertices = mesh.vertices * (scale / 1000)
        with writing(folder):
            folder.mkdir(parents=True)
            mesh.export(folder / MESH)

    def _lens_of(self, picture: Picture, width: int, height: int) -> Undistorted | None:
        if not picture.distortion.any():
            return None
        if self._lens is None or self._lens[0] is not picture:
            self._lens = picture, Undistorted(picture, width, height)
        return self._lens[1]


def _is_16_bit_png(path: Path) -> bool:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return path.suffix == ".png" and image is not None and image.dtype == np.uint16


def _text(matrix: Array) -> bytes:
    return "".join(" ".join(f"{value:.17g}" for value in row) + "\n" for row in matrix).encode()
