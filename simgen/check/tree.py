"""Reads a BOP dataset as it is: what cannot be read becomes a finding, and the rest is returned."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simgen.check.findings import (
    BadValue,
    MissingFile,
    NoPictures,
    Report,
    UnequalCounts,
    UnlistedPicture,
    UnreadableFile,
)
from simgen.dataset.layout import CAMERAS, IMAGE_SUFFIXES, INFOS, TRUTHS, images_of, scenes_of, splits_of, visible


@dataclass(frozen=True)
class Shot:
    """One picture: `name` is SPLIT/SCENE/IMAGE, `camera` its entry in scene_camera.json, `truths` and `infos` those of its
    objects in scene_gt.json and scene_gt_info.json. `masks` and `visible` are files, None for one that is missing."""

    name: str
    split: str
    picture: Path
    camera: Mapping[str, Any]
    truths: list[Mapping[str, Any]]
    infos: list[Mapping[str, Any]] | None
    masks: list[Path | None]
    visible: list[Path | None]
    depth: Path | None


def read_json(path: Path, report: Report) -> Any:
    """The content of `path`; None, and a finding, if there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        report(MissingFile(str(path), "is missing"))
    except (OSError, ValueError) as error:
        report(UnreadableFile(str(path), f"is no JSON: {error}"))
    return None


def shots_of(root: Path, report: Report) -> list[Shot]:
    """The pictures of all splits in `root`, in order."""
    found = []
    for split in splits_of(root):
        for scene in scenes_of(root / split).values():
            found += _scene(root, split, scene, report)
    if not found:
        report(NoPictures(str(root), "holds no SPLIT/SCENE with scene_camera.json and pictures"))
    return found


def _scene(root: Path, split: str, scene: Path, report: Report) -> list[Shot]:
    cameras, truths = (_by_image(scene / name, report) for name in (CAMERAS, TRUTHS))
    infos = _by_image(scene / INFOS, report) if (scene / INFOS).exists() else None
    pictures = images_of(scene)
    folders = {name: _files(scene / name) for name in ("mask", "mask_visib", "depth")}
    found = []
    for image in sorted(pictures):
        name = f"{split}/{scene.name}/{image:06d}"
        if image not in cameras:
            report(UnlistedPicture(str(pictures[image].relative_to(root)), f"is not in {CAMERAS}"))
            continue
        here = _records(truths.get(image, []), name, report)
        stated = None if infos is None else _records(infos.get(image, []), name, report)
        if stated is not None and len(stated) != len(here):
            report(UnequalCounts(name, f"{len(here)} objects in {TRUTHS}, {len(stated)} in {INFOS}"))
            stated = None
        masks, seen = (
            [_one(folders[folder], scene / folder, f"{image:06d}_{k:06d}", report) for k in range(len(here))]
            for folder in ("mask", "mask_visib")
        )
        depth = folders["depth"].get(f"{image:06d}")
        found.append(Shot(name, split, pictures[image], cameras[image], here, stated, masks, seen, depth))
    for image in sorted(set(cameras) - set(pictures)):
        report(MissingFile(f"{split}/{scene.name}/{image:06d}", f"is in {CAMERAS}, and there is no picture"))
    return found


def _by_image(path: Path, report: Report) -> dict[int, Any]:
    content = read_json(path, report)
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(str(key).isdecimal() for key in content):
        report(BadValue(str(path), "expected an object whose keys are the numbers of pictures"))
        return {}
    return {int(key): value for key, value in content.items()}


def _records(value: Any, name: str, report: Report) -> list[Mapping[str, Any]]:
    if isinstance(value, list) and all(isinstance(one, dict) for one in value):
        return value
    report(BadValue(name, "expected a list of objects"))
    return []


def _files(folder: Path) -> dict[str, Path]:
    """The picture files of `folder` by their names, padded to six digits."""
    files = (path for path in visible(folder) if path.suffix.lower() in IMAGE_SUFFIXES)
    return {"_".join(part.zfill(6) for part in path.stem.split("_")): path for path in files}


def _one(files: Mapping[str, Path], folder: Path, name: str, report: Report) -> Path | None:
    """The file `name` of `files`; a finding if it is missing though the folder holds others."""
    if files and name not in files:
        report(MissingFile(str(folder / f"{name}.png"), "is missing"))
    return files.get(name)
