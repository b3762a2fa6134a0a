"""Whether the targets of an evaluation, test_targets_*.json, are in the labels."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simgen.check.findings import BadValue, TargetUnlikeTruth
from simgen.check.folder import Folder
from simgen.check.tree import Shot

_VISIBLE = 0.1  # the visible fraction from which BOP asks for an object, and how exactly it is known
_SLACK = 0.01


@dataclass(frozen=True)
class Labeled:
    """The number of objects of each obj_id in a picture, and of those that are certainly visible enough to be targets; None
    where scene_gt_info.json does not state it."""

    all: Mapping[Any, int]
    visible: Mapping[Any, int] | None


def labeled_of(shot: Shot) -> Labeled:
    kinds = [truth.get("obj_id") for truth in shot.truths]
    kinds = [kind if type(kind) is int else None for kind in kinds]
    if shot.infos is None:
        return Labeled(Counter(kinds), None)
    shares = [info.get("visib_fract") for info in shot.infos]
    known = [float(share) for share in shares if isinstance(share, float) or share in (0, 1)]
    if len(known) < len(shares):
        return Labeled(Counter(kinds), None)
    seen = [kind for kind, share in zip(kinds, known, strict=True) if share >= _VISIBLE + _SLACK]
    return Labeled(Counter(kinds), Counter(seen))


def check_targets(folder: Folder, labeled: Mapping[tuple[str, int, int], Labeled]) -> None:
    """Reports targets without a picture or object. `labeled` holds all pictures by split, scene and image. Targets are those
    of the splits whose names begin with "test"; without such a split nothing is checked."""
    splits = sorted({split for split, _, _ in labeled if split.startswith("test")})
    for path in sorted(folder.root.glob("test_targets_*.json")):
        content = folder.json(path.name)
        if content is None or not splits:
            continue
        if not isinstance(content, list):
            folder.report(BadValue(path.name, "expected a list of targets"))
            continue
        _check(folder, path.name, content, splits, labeled)


def _check(
    folder: Folder,
    name: str,
    targets: Sequence[Any],
    splits: Sequence[str],
    labeled: Mapping[tuple[str, int, int], Labeled],
) -> None:
    known: set[tuple[int, int, int]] = set()
    for k, one in enumerate(targets):
        where = f"{name} entry {k}"
        keys = ("scene_id", "im_id", "obj_id", "inst_count")
        if not isinstance(one, dict) or not all(type(one.get(key, 0)) is int for key in keys):
            folder.report(BadValue(where, "expected an object with the whole numbers scene_id and im_id"))
            continue
        if "scene_id" not in one or "im_id" not in one:
            folder.report(BadValue(where, "scene_id or im_id is missing"))
            continue
        scene, image = one["scene_id"], one["im_id"]
        found = [labeled[split, scene, image] for split in splits if (split, scene, image) in labeled]
        if not found:
            folder.report(
                TargetUnlikeTruth(where, f"there is no picture {image} of scene {scene} in {', '.join(splits)}")
            )
            continue
        if "obj_id" not in one:  # targets of detection name pictures alone
            continue
        kind, count = one["obj_id"], one.get("inst_count", 1)
        if (scene, image, kind) in known:
            folder.report(TargetUnlikeTruth(where, f"asks for object {kind} in picture {image} of scene {scene} again"))
        known.add((scene, image, kind))
        most = max(here.all.get(kind, 0) for here in found)
        # Other lists of targets than this one may ask for some of the visible objects only.
        stated = [here.visible for here in found if here.visible is not None]
        least = min((here.get(kind, 0) for here in stated), default=0) if name == "test_targets_bop19.json" else 0
        if not max(least, 1) <= count <= most:
            wanted = f"{max(least, 1)} to {most}" if most else "none"
            folder.report(
                TargetUnlikeTruth(
                    where,
                    f"asks for {count} of object {kind} in picture {image} of scene {scene}; labeled are {wanted}",
                )
            )
