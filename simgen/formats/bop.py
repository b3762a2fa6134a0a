"""format=bop: a plain BOP dataset, for bop_toolkit and everything that reads BOP.

https://github.com/thodan/bop_toolkit/blob/master/docs/bop_datasets_format.md. Files have BOP's names, JSON files its keys.
Labels that the dataset lacks are computed. BOP's cameras have no lens distortion, so pictures are undistorted.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simgen.command.progress import Progress
from simgen.dataset.fields import entries, records
from simgen.dataset.layout import INFOS, MODELS_INFO, models_folder
from simgen.dataset.models import Model
from simgen.dataset.read import BopDataset, depth_path, read_depth, read_rgb
from simgen.dataset.scenes import Picture, mask_path, size_of
from simgen.dataset.visibility import Lens
from simgen.dataset.write import bop_pose
from simgen.errors import ConfigError, DatasetError
from simgen.files import read_json, write_file, write_json
from simgen.formats.folder import BOP_SUFFIXES, place, place_picture, write_png
from simgen.formats.labels import LabelReader, Mask, camera_from_model, scale_of
from simgen.formats.meshes import load_model, textures_of
from simgen.formats.pinhole import Undistorted
from simgen.formats.schema import ConvertConfig
from simgen.silhouette import Silhouette, box_of

TARGETS = "test_targets_bop19.json"
_LEAST_VISIBLE = 0.1  # of a target's silhouette, as in the BOP challenge
_SAME_SIZE = 1e-4
_MASKS = ("mask", "mask_visib")
_KEYS = ("bbox_obj", "bbox_visib", "px_count_all", "px_count_valid", "px_count_visib", "visib_fract")


def write_bop(dataset: BopDataset, config: ConvertConfig) -> None:
    """Writes one split, and with the first the models and camera.json. Raises ConfigError and DatasetError."""
    out, split = Path(config.out), Path(config.out) / dataset.split
    _check_sizes(dataset)
    if not (out / "models").exists():
        _write_models(dataset, out / "models")
        _write_camera(dataset.pictures[0], out / "camera.json")
    reader, infos = LabelReader(dataset), _Infos()
    gathered: dict[int, dict[str, dict[str, Any]]] = {}
    with Progress(f"{dataset.split}: converted", len(dataset), "pictures", ending=False) as progress:
        for picture in dataset.pictures:
            entry = _write_picture(
                split / f"{picture.scene_id:06d}", reader, picture, infos.of(picture), config.pictures
            )
            for part, value in entry.items():
                parts = gathered.setdefault(picture.scene_id, {"camera": {}, "gt": {}, "gt_info": {}})
                parts[part][str(picture.image_id)] = value
            progress.update()
    reader.report()
    for scene, contents in gathered.items():
        for part, content in contents.items():
            lines = ",\n".join(f'  "{key}": {json.dumps(value, allow_nan=False)}' for key, value in content.items())
            write_file(split / f"{scene:06d}" / f"scene_{part}.json", f"{{\n{lines}\n}}\n".encode())
    if config.targets:
        _write_targets(out, gathered)


class _Infos:
    """The entries of scene_gt_info.json of each picture; None where there is none."""

    def __init__(self) -> None:
        self._scene: tuple[Path, Mapping[int, Any]] | None = None

    def of(self, picture: Picture) -> list[Mapping[str, Any]] | None:
        path = picture.path.parent.parent / INFOS
        if self._scene is None or self._scene[0] != path:
            self._scene = path, entries(read_json(path), path, "image") if path.is_file() else {}
        found = self._scene[1].get(picture.image_id)
        return None if found is None else records(found, f"{path}: image {picture.image_id}")


def _write_picture(
    scene: Path, reader: LabelReader, picture: Picture, infos: list[Mapping[str, Any]] | None, how: str
) -> dict[str, Any]:
    """Writes the files of `picture` into the folder `scene`; its entries in the three JSON files."""
    width, height = size_of(picture.path)
    name, models = f"{picture.image_id:06d}", reader.dataset.models
    lens = Undistorted(picture, width, height) if picture.distortion.any() else None
    gray = picture.path.parent.name.lower() != "rgb"
    target = scene / ("gray" if gray else "rgb") / name
    if lens is None:
        place_picture(picture.path, target, how, BOP_SUFFIXES, gray=gray)
    else:
        straight = lens.picture(read_rgb(picture.path))  # three equal channels if it is gray
        write_png(target.with_name(f"{name}.png"), straight[..., 0] if gray else straight)
    camera: dict[str, Any] = {"cam_K": picture.intrinsics.ravel().tolist(), "depth_scale": picture.depth_scale}
    if picture.camera_from_world is not None:
        camera.update(bop_pose(picture.camera_from_world, "cam_R_w2c", "cam_t_w2c"))
    depth = _place_depth(scene / "depth" / f"{name}.png", picture, (height, width), lens, how)
    poses = [camera_from_model(one, models[one.obj_id]) for one in picture.instances]
    truths = [
        {**bop_pose(pose, "cam_R_m2c", "cam_t_m2c"), "obj_id": one.obj_id}
        for pose, one in zip(poses, picture.instances, strict=True)
    ]
    files = [[mask_path(picture, one.number, folder) for folder in _MASKS] for one in picture.instances]
    stored = all(path.is_file() for pair in files for path in pair)
    visible = reader.masks(picture, picture.instances, width, height)
    if lens is None and infos is not None and stored:  # everything stays as it is
        for k, pair in enumerate(files):
            for folder, path in zip(_MASKS, pair, strict=True):
                place(path, scene / folder / f"{name}_{k:06d}.png", how)
        kept = [infos[one.number] for one in picture.instances]
        return {
            "camera": camera,
            "gt": truths,
            "gt_info": [{key: one[key] for key in _KEYS if key in one} for one in kept],
        }
    found = []
    plain = Lens(picture.intrinsics, np.zeros(5), width, height)
    for k, (one, seen) in enumerate(zip(picture.instances, visible, strict=True)):
        if lens is not None:
            seen = np.asarray(lens.values(seen.view(np.uint8)), dtype=np.bool_)
        outline = plain.outline(reader.placed(one))
        inside = plain.mask(outline)
        whole = inside | seen
        for folder, mask in zip(_MASKS, (whole, seen), strict=True):
            write_png(scene / folder / f"{name}_{k:06d}.png", mask.astype(np.uint8) * np.uint8(255))
        # A visible pixel that the outline just misses belongs to the object.
        pixels = outline.count() + int(np.count_nonzero(seen & ~inside))
        found.append(info_entry(outline, pixels, whole, seen, depth))
    return {"camera": camera, "gt": truths, "gt_info": found}


def info_entry(
    outline: Silhouette, pixels: int, whole: Mask, seen: Mask, depth: NDArray[np.float32] | None
) -> dict[str, Any]:
    """An entry of scene_gt_info.json, from an object's silhouette of `pixels` px, also beyond the border, the masks (H, W)
    of all of it and of its visible part, and the picture's depth (H, W) m."""
    shown = int(np.count_nonzero(seen))
    return {
        "bbox_obj": list(outline.box()),
        "bbox_visib": list(box_of(seen)),
        "px_count_all": pixels,
        "px_count_valid": 0 if depth is None else int(np.count_nonzero(whole & (depth > 0))),
        "px_count_visib": shown,
        "visib_fract": shown / pixels if pixels else 0.0,
    }


def _place_depth(
    path: Path, picture: Picture, shape: tuple[int, int], lens: Undistorted | None, how: str
) -> NDArray[np.float32] | None:
    """Places the depth image of `picture` of `shape` (H, W), in its own unit; (H, W) m, None if there is none. Raises
    DatasetError for depth of another size."""
    depth = read_depth(picture)
    if depth is None:
        return None
    if depth.shape != shape:
        raise DatasetError(
            f"{depth_path(picture)}: {depth.shape[1]} x {depth.shape[0]} pixels, its picture {shape[1]} x {shape[0]}; "
            "expected depth of the picture's size"
        )
    if lens is None:
        place(depth_path(picture), path.with_suffix(depth_path(picture).suffix), how)
        return depth
    straight = np.asarray(lens.values(depth), dtype=np.float32)
    write_png(path, np.rint(straight * np.float32(1000 / picture.depth_scale)).astype(np.uint16))
    return straight


def _check_sizes(dataset: BopDataset) -> None:
    scaled = [
        one.obj_id
        for picture in dataset.pictures
        for one in picture.instances
        if np.abs(scale_of(one, dataset.models[one.obj_id]) - 1).max() > _SAME_SIZE
    ]
    if scaled:
        raise DatasetError(
            f"{dataset.root / dataset.split}: {len(scaled)} objects, the first of object {scaled[0]}, have another size "
            "than their model, and BOP knows one size for each; render with randomize.blocks.scale=1"
        )


def _write_camera(picture: Picture, path: Path) -> None:
    width, height = size_of(picture.path)
    k = picture.intrinsics
    focal = {"fx": k[0, 0], "fy": k[1, 1], "cx": k[0, 2], "cy": k[1, 2]}
    write_json(path, {**focal, "depth_scale": picture.depth_scale, "width": width, "height": height}, indent=1)


def _write_models(dataset: BopDataset, folder: Path) -> None:
    """obj_NNNNNN.ply with their textures, and models_info.json with the sizes that it may lack."""
    source = models_folder(dataset.root)
    infos = entries(read_json(source / MODELS_INFO), source / MODELS_INFO, "object")
    written = {}
    for obj_id, info in infos.items():
        model = dataset.models[obj_id]
        _write_mesh(model, folder / f"obj_{obj_id:06d}.ply")
        low = 1000 * (model.center + model.middle - model.size / 2)
        sizes = {f"min_{axis}": low[k] for k, axis in enumerate("xyz")}
        sizes |= {f"size_{axis}": 1000 * model.size[k] for k, axis in enumerate("xyz")}
        written[str(obj_id)] = {**sizes, **info}
    write_json(folder / MODELS_INFO, written, indent=1)


def _write_mesh(model: Model, path: Path) -> None:
    textures = textures_of(model)
    if model.mesh.suffix.lower() != ".ply":
        write_file(path, load_model(model).export(file_type="ply", encoding="ascii"))
        return
    place(model.mesh, path, "copy")
    for texture in textures:
        if not (path.parent / texture.name).exists():  # several models may share one
            place(texture, path.parent / texture.name, "copy")


def _write_targets(out: Path, scenes: Mapping[int, Mapping[str, Any]]) -> None:
    """The objects to detect in each picture: those with a visible fraction of at least 0.1, counted by obj_id."""
    path = out / TARGETS
    if path.exists():
        raise ConfigError(f"targets: {TARGETS} is of one split; name it with split=")
    targets = []
    for scene, parts in sorted(scenes.items()):
        for image in sorted(parts["gt"], key=int):
            pairs = zip(parts["gt"][image], parts["gt_info"][image], strict=True)
            seen = [truth["obj_id"] for truth, info in pairs if info["visib_fract"] >= _LEAST_VISIBLE]
            targets += [
                {"im_id": int(image), "inst_count": seen.count(obj_id), "obj_id": obj_id, "scene_id": scene}
                for obj_id in sorted(set(seen))
            ]
    write_json(path, targets, indent=1)
