"""Mirrored training pictures: the pictures that a mirrored scene would give, with its targets.

A mirrored picture shows the mirror image of each block. That is the block itself in another pose only if a reflection maps
the block onto itself; a picture of any other block is left as it is.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from simgen.geometry import Array
from simgen.shapes.reflections import reflections
from simgen.shapes.solids import Solid
from train.blocks.kinds import BlockSet, Kind
from train.data.batch import Batch

_P2 = 3  # place in a lens of the tangential coefficient that changes its sign; in a fisheye lens k4 is there


def reflections_of(blocks: BlockSet, solids: Iterable[Solid]) -> Tensor:
    """(C, 4, 4) block_from_block: a reflection that maps each kind of `blocks` onto itself, NaN for a kind without one.
    `solids` are those of the kinds, by name. Raises SceneError for a mesh that cannot be used."""
    named = {solid.name: solid for solid in solids}
    return torch.tensor(np.stack([_reflection(kind, named[kind.name]) for kind in blocks.kinds])).float()


def all_mirror(reflections: Tensor) -> bool:
    """Whether each kind equals its mirror image, given its `reflections` (C, 4, 4) of `reflections_of`."""
    return bool(torch.isfinite(reflections).all())


def _reflection(kind: Kind, solid: Solid) -> Array:
    # A dataset may state fewer symmetries than the shape has, as of a block with a print: that of its mirror image differs.
    if len(kind.symmetries) == len(solid.symmetries) and (kind.axis is None) == (solid.axis is None):
        for found in reflections(solid, solid.keypoints, axis=kind.axis, sphere=kind.sphere):
            return found
    return np.full((4, 4), np.nan)


def mirrored(batch: Batch, reflections: Tensor) -> Batch:
    """`batch` with every picture mirrored left to right whose blocks of known kinds all equal their mirror images, as if the
    scene had been mirrored before its camera. `reflections` (C, 4, 4) are those of `reflections_of`."""
    targets, width = batch.targets, batch.images.shape[3]
    known = targets.present & (targets.model >= 0)
    own = reflections.to(targets.scale.device)[targets.model.clamp_min(0)]
    own = torch.where((targets.model >= 0)[..., None, None], own, torch.eye(4, device=own.device))
    turned = (~known | torch.isfinite(own).flatten(2).all(2)).all(1)  # (B,)
    own = own.nan_to_num().clone()
    own[..., :3, 3] *= targets.scale[..., None]
    flip = torch.diag(own.new_tensor([-1.0, 1, 1, 1]))
    intrinsics, distortion = targets.intrinsics.clone(), targets.distortion.clone()
    intrinsics[:, 0, 1:] *= -1  # skew and principal point
    intrinsics[:, 0, 2] += width - 1
    distortion[:, _P2] *= torch.where(distortion[:, 8] > 0, 1.0, -1.0)
    left, top, right, bottom = targets.box.unbind(2)
    changed = {
        "camera_from_block": flip @ targets.camera_from_block @ own,
        "intrinsics": intrinsics,
        "distortion": distortion,
        "camera_from_world": flip
        @ targets.camera_from_world
        @ flip,  # the mirrored scene's x axis points the other way
        "box": torch.stack([width - 1 - right, top, width - 1 - left, bottom], 2),
    }
    tables = torch.stack([-batch.tables[..., 0].flip(1), batch.tables[..., 1]], 2)
    return replace(
        batch,
        images=_where(turned, batch.images.flip(3), batch.images),
        targets=replace(
            targets, **{name: _where(turned, new, getattr(targets, name)) for name, new in changed.items()}
        ),
        tables=_where(turned, tables, batch.tables),
    )


def _where(rows: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(rows.reshape(-1, *[1] * (new.ndim - 1)), new, old)
