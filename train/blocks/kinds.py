"""The blocks that a keypoint model detects: names, sizes, keypoints, symmetries and resting poses."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from torch import Tensor

from simgen.errors import ConfigError
from simgen.geometry import Array, frame_about, rigid
from simgen.shapes.hulls import diameter_of, planes_of, rests_of
from simgen.shapes.solids import Solid
from simgen.shapes.surface import surface_points
from simgen.shapes.symmetry import Shape

SPHERE_CORNERS = 642  # points that approximate a sphere to 0.4% of its radius


@dataclass(frozen=True)
class Kind:
    """One kind of block, in meters in the block frame of simgen.shapes.

    keypoints (K, 3): the block's origin first, then those of the solid; symmetries (S, 4, 4), the identity first;
    `axis` (3,) of a continuous symmetry or None; rests (R, 4, 4) table_from_block; corners (V, 3) of the convex hull.
    A `sphere` is symmetric about every axis. `learned_rests` (R,): if the block has another size than in training, the index
    of the resting pose at the training size that each of `rests` corresponds to; None at the training size. `mesh_origin`
    (3,): the origin of the user's own model in the block frame; None if it is the block's origin.
    """

    name: str
    size: Array
    diameter: float
    keypoints: Array
    symmetries: Array
    axis: Array | None
    rests: Array
    corners: Array
    sphere: bool = False
    learned_rests: NDArray[np.int64] | None = None
    mesh_origin: Array | None = None

    @staticmethod
    def of(solid: Solid) -> "Kind":
        return Kind(
            name=solid.name,
            size=solid.size,
            diameter=solid.diameter,
            keypoints=np.concatenate([np.zeros((1, 3)), solid.keypoints]),
            symmetries=solid.symmetries,
            axis=solid.axis,
            rests=solid.rests,
            corners=solid.corners[:SPHERE_CORNERS] if solid.sphere else solid.corners,
            sphere=solid.sphere,
            mesh_origin=solid.mesh_origin
            if solid.mesh_origin is not None and np.abs(solid.mesh_origin).max() > 1e-6 * solid.diameter
            else None,
        )

    def resized(self, size: Array) -> "Kind":
        """The same block stretched along its axes to the bounding box `size` (3,) m, with the resting poses and symmetries
        of that size: the sides of a pyramid become steeper, a rectangular prism may become square.

        Both are computed from the convex hull. If the surface has fewer symmetries than its hull, those that the stretched
        hull still has are kept.
        """
        ratio = np.asarray(size, dtype=np.float64) / self.size
        if np.array_equal(ratio, np.ones(3)):
            return self
        if np.ptp(ratio) < 1e-9 * ratio.max():
            return self._scaled(float(ratio[0]))
        before, _ = _shape_of(self.corners)
        after, hull = _shape_of(self.corners * ratio)
        axis_before = before.round_axis()
        axis = after.round_axis()
        symmetries = after.symmetries(axis)
        # The hull determines the symmetries if it does so at the known size.
        known = (axis_before is None) == (self.axis is None) and len(before.symmetries(axis_before)) == len(
            self.symmetries
        )
        if not known and not self.sphere:
            # A round block stays round if it is stretched along its axis alone.
            stays = self.axis is not None and np.ptp(ratio[np.abs(self.axis) < 0.5]) < 1e-3
            axis = self.axis if stays else None
            moved = [rigid(s[:3, :3], s[:3, 3] * ratio) for s in self.symmetries]
            symmetries = np.stack([s for s in moved if after.keeps(s, after.tolerance)])
        mass = np.asarray(trimesh.Trimesh(hull.points, hull.simplices).convex_hull.center_mass)
        rests = rests_of(after.planes, mass, axis, after.diameter)
        return Kind(
            name=self.name,
            size=np.asarray(size, dtype=np.float64),
            diameter=after.diameter,
            keypoints=self.keypoints * ratio,
            symmetries=symmetries,
            axis=axis,
            rests=rests,
            corners=after.corners,
            learned_rests=self._learned(-rests[:, 2, :3] * ratio),
            mesh_origin=None if self.mesh_origin is None else self.mesh_origin * ratio,
        )

    def rests_like(self, numbers: NDArray[Any]) -> Array:
        """The resting poses (R, 4, 4) that correspond to the resting poses `numbers` at the training size; all resting poses
        if none corresponds."""
        if self.learned_rests is None:
            return np.asarray(self.rests[numbers])
        like = self.rests[np.isin(self.learned_rests, numbers)]
        return np.asarray(like if len(like) else self.rests)

    def facing(self, truth: Array, pose: Array) -> Array:
        """Of the poses that look like `truth` (4, 4), that whose rotation is nearest to that of `pose` (4, 4)."""
        if self.sphere:
            return rigid(pose[:3, :3], truth[:3, 3])
        same = truth @ self.symmetries
        if self.axis is not None:
            # The trace of (turn about the axis)^T Q is cosine (tr Q - a.Q a) + sine a.v, where v is Q's skew part.
            q = np.swapaxes(same[:, :3, :3], 1, 2) @ pose[:3, :3]
            skew = np.stack([q[:, 2, 1] - q[:, 1, 2], q[:, 0, 2] - q[:, 2, 0], q[:, 1, 0] - q[:, 0, 1]], 1)
            cosine = np.trace(q, axis1=1, axis2=2) - np.einsum("i,sij,j->s", self.axis, q, self.axis)
            same = same @ turns_about(self.axis, np.arctan2(skew @ self.axis, cosine))
        return np.asarray(same[np.einsum("sij,ij->s", same[:, :3, :3], pose[:3, :3]).argmax()])

    def _scaled(self, factor: float) -> "Kind":
        """The same block `factor` times as large."""
        symmetries, rests = self.symmetries.copy(), self.rests.copy()
        symmetries[:, :3, 3] *= factor
        rests[:, :3, 3] *= factor
        lengths = {name: getattr(self, name) * factor for name in ("size", "diameter", "keypoints", "corners")}
        if self.mesh_origin is not None:
            lengths["mesh_origin"] = self.mesh_origin * factor
        return replace(self, symmetries=symmetries, rests=rests, **lengths)

    def _learned(self, downs: Array) -> NDArray[np.int64]:
        """(R,) the index of the resting pose whose downward normal is nearest to each of `downs` (R, 3)."""
        downs = downs / np.linalg.norm(downs, axis=1, keepdims=True)
        own = -self.rests[:, 2, :3]
        if self.axis is not None:  # of a round block only the angle to its axis counts
            return np.asarray(np.abs((downs @ self.axis)[:, None] - own @ self.axis).argmin(axis=1))
        return np.asarray((downs @ own.T).argmax(axis=1))

    @cached_property
    def surface(self) -> Array:
        """(simgen.shapes.surface.POINTS, 3) m: points spread over the surface of the convex hull, for ADD-S."""
        hull = ConvexHull(self.corners)
        return surface_points(hull.points[hull.simplices])

    def group_of(self, turns: int) -> Array:
        """(G, 4, 4) all symmetries: `turns` rotations for a continuous one, times each discrete one."""
        if self.axis is None:
            return self.symmetries
        about = turns_about(self.axis, 2 * np.pi * np.arange(turns) / turns)
        return np.stack([turn @ symmetry for turn in about for symmetry in self.symmetries])


_STORED = [name for name in Kind.__dataclass_fields__ if name != "learned_rests"]


def _shape_of(corners: Array) -> tuple[Shape, ConvexHull]:
    hull = ConvexHull(corners)
    diameter = diameter_of(corners)
    return Shape(corners, planes_of(hull, diameter), diameter), hull


class BlockSet:
    """The kinds of a model, in the order of its classes, and their tables padded to one length.

    keypoints (C, K, 3) m with `real` (C, K) bool; group (C, G, 4, 4), the discrete symmetries, with `members` (C, G) bool;
    `center` (C, 3) m, the point that all of them leave in its place; `frame` (C, 3, 3): for a round kind rows e1, e2, axis,
    for any other zeros; `sphere` (C,) bool.
    """

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self.kinds = tuple(kinds)
        points, groups = [kind.keypoints for kind in self.kinds], [kind.symmetries for kind in self.kinds]
        self.keypoints, self.real = _padded(points, np.zeros(3))
        self.group, self.members = _padded(groups, np.eye(4))
        # The mean of the places to which a group moves the origin is a place that it leaves alone.
        self.center = torch.tensor(np.stack([one[:, :3, 3].mean(0) for one in groups])).float()
        self.frame = torch.tensor(
            np.stack([np.zeros((3, 3)) if kind.axis is None else frame_about(kind.axis) for kind in self.kinds])
        ).float()
        self.sphere = torch.tensor([kind.sphere for kind in self.kinds])

    def __len__(self) -> int:
        return len(self.kinds)

    @property
    def names(self) -> list[str]:
        return [kind.name for kind in self.kinds]

    def to(self, device: torch.device) -> "BlockSet":
        moved = object.__new__(BlockSet)
        for name, value in vars(self).items():
            setattr(moved, name, value.to(device) if isinstance(value, Tensor) else value)
        return moved

    def check_names(self, names: Iterable[str], key: str) -> None:
        """Raises ConfigError that begins with `key` if one of `names` is no kind of these."""
        for name in names:
            if name not in self.names:
                raise ConfigError(f"{key}: the model has no block '{name}'; it has {', '.join(self.names)}")

    def classes_of(self, solids: Iterable[Solid]) -> list[int]:
        """The class of each of `solids`, by name. Raises ConfigError for an unknown or different block."""
        found = []
        for solid in solids:
            self.check_names([solid.name], "blocks")
            number = self.names.index(solid.name)
            if not np.allclose(Kind.of(solid).keypoints, self.kinds[number].keypoints, atol=1e-6):
                raise ConfigError(
                    f"blocks: '{solid.name}' differs in shape or size from the model's block of that name; give it another "
                    "name"
                )
            found.append(number)
        return found

    def to_json(self) -> list[dict[str, Any]]:
        """JSON values, for checkpoints; the inverse of `from_json`."""
        return [
            {
                name: value.tolist() if isinstance(value, np.ndarray) else value
                for name, value in vars(kind).items()
                if name in _STORED
                and not (name == "sphere" and not value)
                and not (name == "mesh_origin" and value is None)
            }
            for kind in self.kinds
        ]

    @staticmethod
    def from_json(data: Iterable[Mapping[str, Any]]) -> "BlockSet":
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError for anything else."""

        def kind_of(values: Mapping[str, Any]) -> Kind:
            size, keypoints, symmetries, rests, corners = (
                np.array(values[name], dtype=np.float64)
                for name in ("size", "keypoints", "symmetries", "rests", "corners")
            )
            axis = None if values["axis"] is None else np.array(values["axis"], dtype=np.float64)
            name, diameter = str(values["name"]), float(values["diameter"])
            sphere = bool(values.get("sphere", False))
            stored = values.get("mesh_origin")
            origin = None if stored is None else np.array(stored, dtype=np.float64)
            return Kind(name, size, diameter, keypoints, symmetries, axis, rests, corners, sphere, mesh_origin=origin)

        return BlockSet(kind_of(values) for values in data)

    @staticmethod
    def of_worlds(solids: Iterable[Iterable[Solid]]) -> "BlockSet":
        """The kinds of several block sets, each name once. Raises ConfigError if two blocks have the same name."""
        kinds: list[Kind] = []
        for block_set in solids:
            for solid in block_set:
                known = BlockSet(kinds) if kinds else None
                if known is None or solid.name not in known.names:
                    kinds.append(Kind.of(solid))
                else:
                    known.classes_of([solid])
        return BlockSet(kinds)


def turns_about(axis: Array, angle: Array) -> Array:
    """The rotations (N, 4, 4) by `angle` (N,) radians about `axis` (3,), or one for each (N, 3), through the origin; the
    identity for an axis of length 0. Rodrigues' formula."""
    skew, angle = np.cross(np.eye(3), axis[..., None, :]), angle[:, None, None]
    return rigid(np.eye(3) + np.sin(angle) * skew + (1 - np.cos(angle)) * skew @ skew, np.zeros((len(angle), 3)))


def _padded(rows: list[Array], filler: Array) -> tuple[Tensor, Tensor]:
    longest = max(len(row) for row in rows)
    whole = np.stack(
        [np.concatenate([row, np.broadcast_to(filler, (longest - len(row), *filler.shape))]) for row in rows]
    )
    real = np.arange(longest) < np.array([[len(row)] for row in rows])
    return torch.tensor(whole).float(), torch.tensor(real)
