"""What the pictures of a dataset on disk show, as Targets has it: its kinds of blocks, and the blocks in each picture.

The meaning is that of train.data.targets: a distractor of a known kind is a block like any other but for `labelled`, and
`share` is the visible part of the block's pixels in the picture.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simgen.dataset.models import Model, solid_of
from simgen.dataset.read import BopDataset, read_depth, read_recipe
from simgen.dataset.scenes import Instance, Picture
from simgen.dataset.visibility import Lens, Placed, hull_depth
from simgen.errors import ConfigError, DatasetError
from simgen.geometry import Array, inverse
from simgen.scene import Scenes, from_json
from simgen.shapes.solids import Solid
from simgen.silhouette import box_of
from train.blocks.kinds import BlockSet, Kind

_SURFACE = 0.002  # m: where the depth image is as near to a block's surface, it shows that block


@dataclass(frozen=True)
class Classes:
    """The kinds that a model learns; for each object of a dataset, by obj_id, its class, -1 for one that is not to be
    detected, and its solid."""

    blocks: BlockSet
    of_object: Mapping[int, int]
    solids: Mapping[int, Solid]


@dataclass(frozen=True)
class Slot:
    """A block in a picture: one entry of Targets."""

    labelled: bool
    model: int
    scale: float
    camera_from_block: Array
    box: Array
    seen: int
    share: float


def classes_of(dataset: BopDataset, target: str) -> Classes:
    """The classes of the models in `dataset`: all for the `target` auto, or the one of that name.

    A kind's keypoints are those that the dataset states, or else corners of its mesh. Raises ConfigError for a target that
    is not there and for a name that two objects have, SceneError and DatasetError for a mesh that cannot be used.
    """
    names = Counter(model.name for model in dataset.models.values())
    double = next((name for name, count in names.items() if count > 1), None)
    if double is not None:
        raise ConfigError(f"data.names: two objects are named '{double}'; for training each needs a name of its own")
    chosen = [number for number, model in dataset.models.items() if target in ("auto", model.name)]
    if not chosen:
        raise ConfigError(f"data.target: got '{target}'; expected auto or one of {', '.join(sorted(names))}")
    solids = {number: solid_of(model) for number, model in dataset.models.items()}
    return Classes(
        BlockSet(_kind_of(dataset.models[number], solids[number]) for number in chosen),
        {number: chosen.index(number) if number in chosen else -1 for number in solids},
        {number: replace(solid) for number, solid in solids.items()},  # without what was computed: small to send
    )


def slots_of(
    dataset: BopDataset,
    picture: Picture,
    classes: Classes,
    lens: Lens,
    min_visible: float,
    *,
    recipe: Callable[[Picture], Mapping[str, Any] | None] = read_recipe,
    depth: Callable[[Picture], NDArray[np.float32] | None] = read_depth,
) -> list[Slot]:
    """The blocks in `picture`, which `lens` saw: those that are labeled, then the distractors of known kinds that a
    rendered dataset's recipe has. Of a block with a visible share below `min_visible` the share is 0: it is not asked for.

    `recipe` and `depth` read the picture's recipe and depth image. Raises DatasetError.
    """
    labelled = [_labelled(dataset, picture, one, classes, lens) for one in picture.instances]
    slots = [*labelled, *_distractors(picture, classes, lens, recipe(picture), depth)]
    return [slot if slot.share >= min_visible else replace(slot, share=0.0) for slot in slots]


def _kind_of(model: Model, solid: Solid) -> Kind:
    kind = replace(Kind.of(solid), mesh_origin=model.mesh_origin)
    if not model.sphere:
        kind = replace(kind, diameter=model.diameter, symmetries=model.symmetries, axis=model.axis)
    if model.keypoints is None:
        return kind
    return replace(kind, keypoints=np.concatenate([np.zeros((1, 3)), model.keypoints]))


def _labelled(dataset: BopDataset, picture: Picture, one: Instance, classes: Classes, lens: Lens) -> Slot:
    scale, share = _scale(dataset, picture, one), one.visible_fraction
    u, v, width, height = one.box_amodal
    if share > 0 and (u < 0 or v < 0 or u + width > lens.width or v + height > lens.height):
        # BOP's fraction is of the whole silhouette, beyond the border too.
        outline = lens.outline(Placed(classes.solids[one.obj_id], scale, one.camera_from_block))
        inside = int(np.count_nonzero(lens.mask(outline)))
        share = min(1.0, one.visible_pixels / max(1, inside))
    return Slot(
        labelled=True,
        model=classes.of_object[one.obj_id],
        scale=scale,
        camera_from_block=one.camera_from_block,
        box=_borders(one.box_visible),
        seen=one.visible_pixels,
        share=share,
    )


def _scale(dataset: BopDataset, picture: Picture, one: Instance) -> float:
    model = dataset.models[one.obj_id]
    ratio = one.size / model.size
    if np.ptp(ratio) > 1e-3 * ratio.mean():
        raise DatasetError(
            f"{picture.path}: a block measures {one.size.tolist()} m, which is not its model {model.size.tolist()} m times "
            "one number"
        )
    return float(ratio.mean())


def _distractors(
    picture: Picture,
    classes: Classes,
    lens: Lens,
    recipe: Mapping[str, Any] | None,
    depth_of: Callable[[Picture], NDArray[np.float32] | None],
) -> list[Slot]:
    """The distractors in the picture, their visible parts by the depth image. Where that is missing, or the block has
    hollows, the share is 0: what a network predicts in its box counts for nothing."""
    if recipe is None:
        return []
    scene: Scenes = from_json(dict(recipe))
    blocks = scene.blocks
    distractors = np.flatnonzero(blocks.present[0] & ~blocks.labelled[0])
    if not len(distractors):
        return []
    depth, found = depth_of(picture), []
    for slot in distractors:
        obj_id, scale = int(blocks.model[0, slot]) + 1, float(blocks.scale[0, slot])  # BOP counts from 1
        pose = inverse(scene.cameras.world_from_camera[0]) @ blocks.world_from_block[0, slot]
        block = Placed(classes.solids[obj_id], scale, pose)
        mask = lens.mask(lens.outline(block))
        whole = int(np.count_nonzero(mask))
        if not whole:
            continue
        if depth is None or not block.solid.convex:
            found.append(Slot(False, classes.of_object[obj_id], scale, pose, _borders(box_of(mask)), 1, 0.0))
            continue
        visible = np.zeros_like(mask)
        visible[mask] = np.abs(depth[mask] - hull_depth(block, lens, mask)) < _SURFACE
        seen = int(np.count_nonzero(visible))
        found.append(Slot(False, classes.of_object[obj_id], scale, pose, _borders(box_of(visible)), seen, seen / whole))
    return found


def _borders(box: tuple[int, int, int, int]) -> Array:
    """BOP's [u, v, width, height] as [left, top, right, bottom]; NaN where nothing is seen."""
    u, v, width, height = box
    if width <= 0:
        return np.full(4, np.nan)
    return np.array([u, v, u + width, v + height]) - 0.5
