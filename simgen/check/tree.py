"""Reads the labels of a BOP dataset as they are: what cannot be read becomes a finding, and the rest is returned."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from simgen.check.findings import BadValue, MissingFile, NoPictures, UnequalCounts, UnlistedPicture
from simgen.check.folder import Folder
from simgen.dataset.layout import CAMERAS, IMAGE_SUFFIXES, INFOS, TRUTHS, images_of, scenes_of, splits_of
from simgen.errors import DatasetError

KEYPOINTS = "scene_keypoints.json"
_MOST = 10_000  # objects in one picture


@dataclass(frozen=True)
class Shot:
    """One picture: `name` is SPLIT/SCENE/IMAGE, `camera` its entry in scene_camera.json, `truths`, `infos` and `keypoints`
    those of its objects in scene_gt.json, scene_gt_info.json and scene_keypoints.json. `picture`, `masks`, `visible`,
    `depth` and `record` are names of files, None for one that is missing."""

    name: str
    split: str
    scene: int
    image: int
    picture: str
    camera: Mapping[str, Any]
    truths: list[Mapping[str, Any]]
    infos: list[Mapping[str, Any]] | None = None
    keypoints: list[Mapping[str, Any]] | None = None
    masks: list[str | None] = field(default_factory=list)
    visible: list[str | None] = field(default_factory=list)
    depth: str | None = None
    record: str | None = None


@dataclass(frozen=True)
class Scene:
    """A scene folder `name` (SPLIT/SCENE) of a split, its number, and its picture files by number."""

    name: str
    split: str
    number: int
    pictures: Mapping[int, str]


def find_scenes(folder: Folder) -> list[Scene]:
    """The scenes of all splits in `folder`, in order."""
    found = []
    for split in splits_of(folder.root):
        if folder.is_outside(split):
            continue
        try:
            scenes = scenes_of(folder.root / split)
        except DatasetError as error:
            folder.report(BadValue(split, str(error)))
            continue
        for number, path in scenes.items():
            name = f"{split}/{path.name}"
            if not folder.is_outside(name):
                pictures = {k: file.relative_to(folder.root).as_posix() for k, file in sorted(images_of(path).items())}
                found.append(Scene(name, split, number, pictures))
    if not found and not (folder.unfinished or folder.links):
        folder.report(NoPictures(str(folder.root), f"holds no SPLIT/SCENE with {CAMERAS} and pictures"))
    return found


def shots_of(folder: Folder, scene: Scene) -> Iterator[Shot]:
    """The pictures of `scene`, in order."""
    report = folder.report
    cameras, truths = (_by_image(folder, f"{scene.name}/{file}") for file in (CAMERAS, TRUTHS))
    infos, keypoints = (
        _by_image(folder, f"{scene.name}/{file}") if (folder.root / scene.name / file).exists() else None
        for file in (INFOS, KEYPOINTS)
    )
    files = {name: _files(folder, f"{scene.name}/{name}") for name in ("mask", "mask_visib", "depth")}
    records = folder.root / scene.name / "sample"
    recorded = records.is_dir()
    for image, picture in scene.pictures.items():
        name = f"{scene.name}/{image:06d}"
        if image not in cameras:
            report(UnlistedPicture(picture, f"is not in {CAMERAS}"))
            continue
        if not isinstance(cameras[image], dict):
            report(BadValue(name, f"{CAMERAS}: expected an object with cam_K"))
            continue
        here = _records(truths.get(image, []), name, TRUTHS, folder)
        stated = None if infos is None else _records(infos.get(image, []), name, INFOS, folder)
        if stated is not None and len(stated) != len(here):
            report(UnequalCounts(name, f"{len(here)} objects in {TRUTHS}, {len(stated)} in {INFOS}"))
            stated = None
        masks, seen = (
            [_one(files[kind], f"{scene.name}/{kind}", f"{image:06d}_{k:06d}", folder) for k in range(len(here))]
            for kind in ("mask", "mask_visib")
        )
        yield Shot(
            name,
            scene.split,
            scene.number,
            image,
            picture,
            cameras[image],
            here,
            stated,
            _keypoints(keypoints, image, len(here), name, folder),
            masks,
            seen,
            _one(files["depth"], f"{scene.name}/depth", f"{image:06d}", folder),
            f"{scene.name}/sample/{image:06d}.json" if recorded else None,
        )
    entries = {CAMERAS: cameras, TRUTHS: truths, INFOS: infos or {}, KEYPOINTS: keypoints or {}}
    for file, content in entries.items():
        _without_picture(f"{scene.name}/{file}", sorted(set(content) - set(scene.pictures)), folder)


def _without_picture(name: str, missing: list[int], folder: Folder) -> None:
    if missing:
        some = ", ".join(map(str, missing[:5])) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        folder.report(MissingFile(name, f"has entries of pictures that do not exist: {some}"))


def _by_image(folder: Folder, name: str) -> dict[int, Any]:
    content = folder.json(name)
    if content is None:
        return {}
    # More digits than 18 are no number of a picture, and take long to convert.
    if not isinstance(content, dict) or not all(key.isdecimal() and len(key) <= 18 for key in content):
        folder.report(BadValue(name, "expected an object whose keys are the numbers of pictures"))
        return {}
    return {int(key): value for key, value in content.items()}


def _records(value: Any, name: str, file: str, folder: Folder) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        folder.report(BadValue(name, f"{file}: expected a list of objects"))
        return []
    if len(value) > _MOST:
        folder.report(BadValue(name, f"{file}: {len(value)} objects in one picture; expected at most {_MOST}"))
        return []
    return value


def _keypoints(
    content: Mapping[int, Any] | None, image: int, count: int, name: str, folder: Folder
) -> list[Mapping[str, Any]] | None:
    if content is None or (image not in content and not count):
        return None
    here = _records(content.get(image, []), name, KEYPOINTS, folder)
    if len(here) != count:
        folder.report(UnequalCounts(name, f"{count} objects in {TRUTHS}, {len(here)} in {KEYPOINTS}"))
        return None
    return here


def _files(folder: Folder, name: str) -> dict[str, str]:
    """The picture files of the folder `name` by their names without suffix, of which numbers have six digits or as many as
    they need."""
    path = folder.root / name
    found = {}
    if path.is_dir() and not folder.is_outside(name):
        for file in sorted(entry.name for entry in path.iterdir()):
            stem, _, suffix = file.rpartition(".")
            if not file.startswith(".") and f".{suffix.lower()}" in IMAGE_SUFFIXES:
                parts = ((part.lstrip("0") if part.isdecimal() else part).zfill(6) for part in stem.split("_"))
                found["_".join(parts)] = f"{name}/{file}"
    return found


def _one(files: Mapping[str, str], folder_name: str, stem: str, folder: Folder) -> str | None:
    """The file `stem` of `files`; a finding if it is missing though its folder holds others."""
    if files and stem not in files:
        folder.report(MissingFile(f"{folder_name}/{stem}.png", "is missing"))
    return files.get(stem)
