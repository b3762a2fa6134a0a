"""Locates splits, scenes, images and models of a BOP dataset, in all common layouts.

Hidden files and folders (macOS leaves ._NAME and .DS_Store) and __MACOSX are ignored everywhere.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from simgen.errors import DatasetError
from simgen.pictures import is_hidden
from simgen.shapes.meshfile import FORMATS

CAMERAS, TRUTHS, INFOS = "scene_camera.json", "scene_gt.json", "scene_gt_info.json"
MODELS_INFO = "models_info.json"
MANIFEST = "manifest.json"
# In each of these lists the first that exists is used.
IMAGE_FOLDERS = ("rgb", "gray", "grey")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")
# These folders differ in the detail of their meshes only (T-LESS); frame and unit of an object are the same in all.
MODEL_FOLDERS = ("models", "models_eval", "models_cad", "models_reconst", "models_fine")


def own_keys(message: str, root: str) -> str:
    """`message`, which names keys of a training such as data.split, in those of a command that has them without `data.`
    and writes `root` before the dataset's folder."""
    return re.sub(r"\bdata\.(split|names|targets|table)\b", r"\1", message.replace("data.root=", root))


def visible(folder: Path) -> list[Path]:
    """The entries of `folder`, sorted by name, without hidden ones and those of operating systems; empty if it is not a
    folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not is_hidden(path.name))


def splits_of(root: Path) -> list[str]:
    """The names of the folders in `root` that hold scenes."""
    return [folder.name for folder in visible(root) if _scenes(folder)]


def scenes_of(split: Path) -> dict[int, Path]:
    """The scene folders of a split by scene number, in ascending order.

    A folder whose name is digits has that number; folders with other names get the next numbers after those.
    """
    folders = _scenes(split)
    numbered = {int(folder.name): folder for folder in folders if folder.name.isdecimal()}
    if len(numbered) < sum(folder.name.isdecimal() for folder in folders):
        raise DatasetError(f"{split}: two scene folders have the same number; rename one")
    named = [folder for folder in folders if not folder.name.isdecimal()]
    first = max(numbered, default=-1) + 1
    return dict(sorted(numbered.items())) | {first + k: folder for k, folder in enumerate(named)}


def images_of(scene: Path) -> Mapping[int, Path]:
    """The image files of a scene by image number, which is the file's name, with any number of digits."""
    folders = [folder for name in IMAGE_FOLDERS for folder in visible(scene) if folder.name.lower() == name]
    found: dict[int, Path] = {}
    for folder in folders[:1]:
        images = [p for p in visible(folder) if p.stem.isdecimal() and p.suffix.lower() in IMAGE_SUFFIXES]
        for path in sorted(images, key=lambda p: IMAGE_SUFFIXES.index(p.suffix.lower())):
            found.setdefault(int(path.stem), path)
    return found


def missing_image(scene: Path, image: int) -> DatasetError:
    """The error for an image that scene_camera.json lists but that has no file."""
    return DatasetError(
        f"{scene}: no file for image {image} in {' or '.join(f'{name}/' for name in IMAGE_FOLDERS[:2])}; expected e.g. "
        f"rgb/{image:06d}.jpg, with one of the endings {', '.join(IMAGE_SUFFIXES)}"
    )


def models_folder(root: Path) -> Path:
    """The folder in `root` with models_info.json: the first of MODEL_FOLDERS, or else any other models_*.

    Raises DatasetError if there is none.
    """
    folders = [root / name for name in MODEL_FOLDERS]
    folders += [path for path in visible(root) if path.name.lower().startswith("models") and path not in folders]
    for folder in folders:
        if (folder / MODELS_INFO).is_file():
            return folder
    there = [folder.name for folder in folders if folder.is_dir()]
    if there:
        raise DatasetError(
            f"{root / there[0] / MODELS_INFO}: missing; bop_toolkit's calc_model_info.py writes it from the meshes"
        )
    raise DatasetError(f"{root}: no {'/, '.join(MODEL_FOLDERS[:3])}/ with {MODELS_INFO}; BOP's format requires it")


def mesh_path(folder: Path, obj_id: int) -> Path:
    """The mesh of model `obj_id` in a models folder: obj_000001.ply, with any number of digits, or of another format."""
    for kind in (".ply", *FORMATS):
        for path in visible(folder):
            match = re.fullmatch(r"obj_(\d+)", path.stem.lower())
            if match and int(match[1]) == obj_id and path.suffix.lower() == kind:
                return path
    return folder / f"obj_{obj_id:06d}.ply"


def choose_split(root: Path, split: str | None, *, test: bool = False) -> str:
    """`split`, or the only split in `root`; with `test`, the only split whose name begins with "test".

    Raises DatasetError, which lists the existing splits.
    """
    splits = splits_of(root)
    tests = [name for name in splits if name.startswith("test")]
    if split is None and test and len(tests) == 1:
        return tests[0]
    if split is None and len(splits) == 1:
        return splits[0]
    if split is not None and split in splits:
        return split
    if splits:
        named = "name one with data.split=" if split is None else f"data.split={split} is not among them"
        raise DatasetError(f"{root}: holds the splits {', '.join(splits)}; {named}")
    raise DatasetError(f"{root}: no SPLIT/SCENE/{CAMERAS} here; {_guess(root)}")


def _scenes(split: Path) -> list[Path]:
    return [folder for folder in visible(split) if (folder / CAMERAS).is_file()]


def _guess(root: Path) -> str:
    """A hint for the user about `root`, which is not a BOP dataset."""
    full = root.resolve()
    if _scenes(full):  # a split
        return f"the dataset is one folder up: data.root={full.parent} data.split={full.name}"
    if (full / CAMERAS).is_file():  # a scene
        return f"the dataset is two folders up: data.root={full.parent.parent} data.split={full.parent.name}"
    below = next((folder for folder in visible(full) if splits_of(folder)), None)
    if below is not None:
        return f"the dataset is one folder down: data.root={root / below.name}"
    scenes = [scene for split in visible(full) for scene in visible(split)]
    if any(_has_several_sensors(scene) for scene in scenes):
        return (
            "it has scene_camera_SENSOR.json, as BOP's datasets with several sensors have: copy one sensor's files to "
            f"{CAMERAS}, {TRUTHS} and rgb/"
        )
    if any((scene / TRUTHS).is_file() for scene in scenes):
        return f"its scenes have {TRUTHS} and no {CAMERAS}, which has the intrinsics cam_K of each image"
    if (full / "annotations").is_dir() or any("coco" in path.name.lower() for path in full.glob("**/*.json")):
        return "it looks like a COCO dataset, which has no 6D poses; expected BOP's format"
    if any(full.glob("*/labels")) or (full / "labels").is_dir():
        return "it looks like a YOLO dataset, which has no 6D poses; expected BOP's format"
    return "expected a dataset in BOP's format, e.g. one that `python -m simgen render` made"


def _has_several_sensors(scene: Path) -> bool:
    return any(re.fullmatch(r"scene_camera_.+\.json", path.name) for path in visible(scene))
