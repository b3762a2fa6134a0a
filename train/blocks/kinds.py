"""What a keypoint model knows of the blocks that it finds: names, sizes, keypoints, symmetries and ways to lie."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from torch import Tensor

from simgen.errors import ConfigError
from simgen.geometry import Array, rigid
from simgen.shapes import Solid

TURNS = 12  # of a continuous symmetry: as many members stand for it
_SHARP = np.cos(np.radians(25))  # between facets' normals: less of an angle is of a round side that facets stand for


@dataclass(frozen=True)
class Edges:
    """The E edges of a convex block with F facets: `ends` (E, 2) places in Kind.corners, `sides` (E, 2) the facets beside
    it, `facets` (F, 4) rows [n, d], the block being where n.x <= d, `sharp` (E,) whether it is an edge of the block and
    not only of what stands for its round side, `longest` m."""

    ends: NDArray[np.int64]
    sides: NDArray[np.int64]
    facets: Array
    sharp: NDArray[np.bool_]
    longest: float


@dataclass(frozen=True)
class Kind:
    """One kind of block, in metres in the block frame of shapes.py.

    keypoints (K, 3): the block's origin first, then those of the solid; symmetries (S, 4, 4), the identity first;
    `axis` (3,) of a continuous symmetry or None; rests (R, 4, 4) table_from_block; corners (V, 3) of the convex hull.
    """

    name: str
    size: Array
    diameter: float
    keypoints: Array
    symmetries: Array
    axis: Array | None
    rests: Array
    corners: Array

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
            corners=solid.vertices[solid.hull.vertices],
        )

    def resized(self, size: Array) -> "Kind":
        """The same block with the bounding box `size` (3,) m: stretched along its axes, less the symmetries that this
        breaks."""
        ratio = np.asarray(size, dtype=np.float64) / self.size
        corners = self.corners * ratio

        def kept(turn: Array) -> bool:
            moved = corners @ turn[:3, :3].T + turn[:3, 3] * ratio
            gaps = np.linalg.norm(moved[:, None] - corners, axis=2).min(axis=1)
            return bool(gaps.max() < 1e-3 * np.ptp(corners, axis=0).max())

        symmetries = np.stack([rigid(s[:3, :3], s[:3, 3] * ratio) for s in self.symmetries if kept(s)])
        rests = self.rests.copy()
        rests[:, 2, 3] = -(self.rests[:, 2, :3] @ corners.T).min(axis=1)  # still with the lowest corner on the table
        # A round block stays round if it is stretched along its axis alone.
        stays = self.axis is not None and np.ptp(ratio[np.abs(self.axis) < 0.5]) < 1e-3
        diameter = float(max(np.linalg.norm(corners - corner, axis=1).max() for corner in corners))
        axis = self.axis if stays else None
        return Kind(
            self.name, np.asarray(size, float), diameter, self.keypoints * ratio, symmetries, axis, rests, corners
        )

    @cached_property
    def group(self) -> Array:
        """(G, 4, 4) all symmetries as the loss has them: TURNS turns for a continuous one."""
        return self.group_of(TURNS)

    @cached_property
    def edges(self) -> Edges:
        hull = ConvexHull(self.corners)
        facets, number = np.unique(np.round(hull.equations, 5), axis=0, return_inverse=True)
        pairs = hull.simplices[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
        ends, edge = np.unique(np.sort(pairs, axis=1), axis=0, return_inverse=True)
        beside = np.repeat(number.ravel(), 3)[np.argsort(edge.ravel(), kind="stable")].reshape(-1, 2)
        ends, beside = ends[real := beside[:, 0] != beside[:, 1]], beside[real]  # not within a facet
        normals = facets[:, :3] / np.linalg.norm(facets[:, :3], axis=1, keepdims=True)
        sharp = (normals[beside[:, 0]] * normals[beside[:, 1]]).sum(1) < _SHARP
        longest = float(np.linalg.norm(self.corners[ends[:, 0]] - self.corners[ends[:, 1]], axis=1).max())
        return Edges(ends, beside, np.concatenate([facets[:, :3], -facets[:, 3:]], 1), sharp, longest)

    def group_of(self, turns: int) -> Array:
        """(G, 4, 4) all symmetries, a continuous one as `turns` turns times each discrete one."""
        if self.axis is None:
            return self.symmetries
        about = turns_about(self.axis, 2 * np.pi * np.arange(turns) / turns)
        return np.stack([turn @ symmetry for turn in about for symmetry in self.symmetries])


class BlockSet:
    """The kinds that a model tells apart, in the order of its classes, and their tables padded to one length.

    keypoints (C, K, 3) m with `real` (C, K) bool; group (C, G, 4, 4) with `members` (C, G) bool; `frame` (C, 3, 3): for a
    round kind rows e1, e2, axis, for any other zeros.
    """

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self.kinds = tuple(kinds)
        points, groups = [kind.keypoints for kind in self.kinds], [kind.group for kind in self.kinds]
        self.keypoints, self.real = _padded(points, np.zeros(3))
        self.group, self.members = _padded(groups, np.eye(4))
        self.frame = torch.tensor(
            np.stack([np.zeros((3, 3)) if kind.axis is None else frame_about(kind.axis) for kind in self.kinds])
        ).float()

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

    def classes_of(self, solids: Iterable[Solid]) -> list[int]:
        """The class of each of `solids`, by name. Raises ConfigError for one that is not here, or is another block."""
        found = []
        for solid in solids:
            if solid.name not in self.names:
                raise ConfigError(f"blocks: the model knows no '{solid.name}'; it knows {', '.join(self.names)}")
            number = self.names.index(solid.name)
            if not np.allclose(Kind.of(solid).keypoints, self.kinds[number].keypoints, atol=1e-6):
                raise ConfigError(
                    f"blocks: '{solid.name}' has another shape or size than the one of that name that the model knows; "
                    "give it a name of its own"
                )
            found.append(number)
        return found

    def to_json(self) -> list[dict[str, Any]]:
        """Plain values, for checkpoints; `from_json` gives the same back."""
        return [
            {
                name: value.tolist() if isinstance(value, np.ndarray) else value
                for name, value in vars(kind).items()
                if name in Kind.__dataclass_fields__
            }
            for kind in self.kinds
        ]

    @staticmethod
    def from_json(data: Iterable[Mapping[str, Any]]) -> "BlockSet":
        """Raises KeyError, TypeError or ValueError for what `to_json` did not write."""

        def kind_of(values: Mapping[str, Any]) -> Kind:
            size, keypoints, symmetries, rests, corners = (
                np.array(values[name], dtype=np.float64)
                for name in ("size", "keypoints", "symmetries", "rests", "corners")
            )
            axis = None if values["axis"] is None else np.array(values["axis"], dtype=np.float64)
            name, diameter = str(values["name"]), float(values["diameter"])
            return Kind(name, size, diameter, keypoints, symmetries, axis, rests, corners)

        return BlockSet(kind_of(values) for values in data)

    @staticmethod
    def of_worlds(solids: Iterable[Iterable[Solid]]) -> "BlockSet":
        """The kinds of several block sets, each name once. Raises ConfigError where one name means two blocks."""
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
    """The turns (N, 4, 4) by `angle` (N,) radians about `axis` (3,) through the origin; Rodrigues' formula."""
    skew, angle = np.cross(np.eye(3), axis), angle[:, None, None]
    return rigid(np.eye(3) + np.sin(angle) * skew + (1 - np.cos(angle)) * skew @ skew, np.zeros((len(angle), 3)))


def frame_about(axis: Array) -> Array:
    """(3, 3) rows: two directions at right angles to `axis` (3,) and to each other, and the axis."""
    first = np.cross(axis, np.eye(3)[np.argmin(np.abs(axis))])
    first = first / np.linalg.norm(first)
    return np.stack([first, np.cross(axis, first), axis])


def _padded(rows: list[Array], filler: Array) -> tuple[Tensor, Tensor]:
    longest = max(len(row) for row in rows)
    whole = np.stack(
        [np.concatenate([row, np.broadcast_to(filler, (longest - len(row), *filler.shape))]) for row in rows]
    )
    real = np.arange(longest) < np.array([[len(row)] for row in rows])
    return torch.tensor(whole).float(), torch.tensor(real)
