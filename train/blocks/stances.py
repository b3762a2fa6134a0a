"""The classes of a keypoint model: for each kind the sides on which it may lie, each seen from several directions.

An upright prism and a lying one look different, and their keypoints are in other places. Of the symmetric poses of a block,
which look the same, one is to be predicted. Which one must follow from the picture without ambiguity: a class is a range of
angles about the vertical so small that exactly one of the symmetric poses is in it. Between two ranges two classes are about
equally probable, and each has its own keypoints.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from simgen.errors import SceneError
from simgen.geometry import Array
from simgen.shapes.sides import alike, upward
from train.blocks.kinds import BlockSet, Kind

MOST_SIDES = 100  # of a kind: one with more is curved everywhere, and its sides cannot be told apart
_SAME = 0.02  # distance of unit vectors: below it a symmetry maps one side to the other
_RANGE = np.radians(30)  # of the angles of a class, about


class Stances(nn.Module):
    """The S classes of a network for `blocks`: if `sides`, the ranges of angles of each kind's resting poses that look
    different, else the kinds.

    `kinds`: the number of kinds; `most`: the largest number K of keypoints of a kind; `rests`: for each class the numbers of
    its kind's resting poses. Buffers, which move with the network: kind (S,), the place of each class's kind in `blocks`;
    for each of the M sides up (M, 3), the vertical in the block's frame, across (M, 3), a direction whose horizontal part
    has angle 0, period (M,) rad, after which the block looks the same, and ranges (M,), the number of its classes.
    """

    kind: Tensor
    up: Tensor
    across: Tensor
    period: Tensor
    ranges: Tensor
    _ups: Tensor
    _there: Tensor
    _side: Tensor
    _first: Tensor
    _frame: Tensor

    def __init__(self, blocks: BlockSet, sides: bool) -> None:
        super().__init__()
        groups = [alike(kind) if sides else [np.arange(len(kind.rests))] for kind in blocks.kinds]
        self.sides = sides
        self.kinds = len(blocks)
        self.most = blocks.keypoints.shape[1]
        all_sides = [(owner, members) for owner, each in enumerate(groups) for members in each]
        described = [_side_of(blocks.kinds[owner], members[0]) for owner, members in all_sides]
        ranges = [max(1, round(period / _RANGE)) if sides else 1 for _, _, period in described]
        # Only one of the resting poses that look the same is predicted.
        self.rests = [
            members[:1] if sides else members
            for (_, members), n in zip(all_sides, ranges, strict=True)
            for _ in range(n)
        ]
        owners = [owner for (owner, _), count in zip(all_sides, ranges, strict=True) for _ in range(count)]
        room = max(len(kind.rests) for kind in blocks.kinds)
        ups = np.zeros((len(blocks), room, 3))
        side_of = np.zeros((len(blocks), room), dtype=np.int64)
        for number, (owner, members) in enumerate(all_sides):
            block = blocks.kinds[owner]
            side_of[owner, members] = number
            ups[owner, members] = [upward(block.axis, up) for up in block.rests[members, 2, :3]]
        there = np.array([[k < len(kind.rests) for k in range(room)] for kind in blocks.kinds])
        tables = {
            "kind": torch.tensor(owners),
            "up": torch.tensor(np.array([up for up, _, _ in described])).float(),
            "across": torch.tensor(np.array([across for _, across, _ in described])).float(),
            "period": torch.tensor([period for _, _, period in described]).float(),
            "ranges": torch.tensor(ranges),
            "_ups": torch.tensor(ups).float(),
            "_there": torch.tensor(there),
            "_side": torch.tensor(side_of),
            "_first": torch.tensor(np.cumsum([0, *ranges[:-1]])),
            "_frame": blocks.frame,
        }
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)

    def __len__(self) -> int:
        return len(self.rests)

    def likeliest(self, probability: Tensor) -> Tensor:
        """(...) the most probable class of the most probable kind, from the `probability` (..., S) of each class."""
        kind = self.of_kinds(probability).argmax(-1)
        return probability.masked_fill(self.kind != kind[..., None], -1).argmax(-1)

    def of_kinds(self, probability: Tensor) -> Tensor:
        """(..., kinds) the probability of each kind, from the `probability` (..., S) of each class."""
        return probability.new_zeros(*probability.shape[:-1], self.kinds).index_add(-1, self.kind, probability)

    def averaged(self, probability: Tensor, mirrored: Tensor) -> Tensor:
        """(P, S + 1): the `probability` (P, S + 1) of each class and, last, of no block, of which those of kinds and of no
        block are the means of `probability` and of `mirrored` (P, S + 1), that of the mirror image. The classes of a kind,
        which are ranges of angles, are others in a mirror image: their shares in their kind are those of `probability`."""
        one, other = self.of_kinds(probability[:, :-1]), self.of_kinds(mirrored[:, :-1])
        factor = (one + other) / (2 * one.clamp_min(1e-30))
        none = (probability[:, -1:] + mirrored[:, -1:]) / 2
        return torch.cat([probability[:, :-1] * factor[:, self.kind], none], 1)

    def of(self, kind: Tensor, up: Tensor, rotations: Tensor, members: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
        """The classes (P,) of blocks of `kind` (P,), and which of their symmetric poses are to be predicted, (P, G) bool, at
        least one of `members` (P, G).

        `up` (P, 3) is the vertical in the block's frame, `rotations` (P, G, 3, 3) the rotations camera_from_block of the
        symmetric poses, and `frame` (P, 2, 3) the vertical and the direction towards the viewer in the camera's frame.
        """
        axis = self._frame[kind, 2]  # 0 if the kind is not round
        side = self._side[kind, self._nearest(kind, up)]
        if not self.sides:
            return self._first[side], members
        # The symmetric poses that lie on the first of the sides that look the same.
        own = (rotations.mT @ frame[:, None, 0, :, None])[..., 0]  # (P, G, 3): the vertical in the frame of each
        along, true = (own * axis[:, None]).sum(2), (self.up[side] * axis).sum(1)
        is_round = axis.norm(dim=1, keepdim=True) > 0
        off = torch.where(is_round, (along - true[:, None]).abs(), 1 - (own * self.up[side][:, None]).sum(2))
        off = off.masked_fill(~members, torch.inf)
        lies = off <= off.amin(1, keepdim=True) + _SAME
        # Of these the one whose angle is in the first period.
        vertical, toward = frame[:, None].unbind(2)
        points = (rotations @ self.across[side][:, None, :, None])[..., 0]
        sine = (vertical * torch.linalg.cross(toward.expand_as(points), points)).sum(2)
        cosine = (toward * points).sum(2) - (toward * vertical).sum(2) * (points * vertical).sum(2)
        angle = torch.atan2(sine, cosine).remainder(2 * torch.pi).masked_fill(~lies, torch.inf)
        chosen = angle.argmin(1)
        least = angle.gather(1, chosen[:, None])[:, 0]
        count, period = self.ranges[side], self.period[side]
        place = (least / period * count).floor().long().clamp_min(0)
        place = torch.minimum(place, count - 1)
        return self._first[side] + place, functional.one_hot(chosen, members.shape[1]).bool()

    def _nearest(self, kind: Tensor, up: Tensor) -> Tensor:
        """(P,) the number of the resting pose of blocks of `kind` (P,) that is nearest to the vertical `up` (P, 3) in its
        frame."""
        across, _, axis = self._frame[kind].unbind(1)  # 0 if the kind is not round
        along = (up * axis).sum(1, keepdim=True)
        # Of a round block only the angle to its axis counts.
        round_up = along * axis + (up - along * axis).norm(dim=1, keepdim=True) * across
        up = torch.where(axis.norm(dim=1, keepdim=True) > 0, round_up, up)
        near = (self._ups[kind] @ up[:, :, None])[..., 0].masked_fill(~self._there[kind], -torch.inf)
        return near.argmax(1)


def _side_of(kind: Kind, rest: int) -> tuple[Array, Array, float]:
    """The vertical and another direction, in the frame of a block of `kind` in its resting pose number `rest`, and the angle
    about the vertical after which the block looks the same."""
    up = kind.rests[rest, 2, :3]
    across = kind.rests[rest, 0, :3]
    keeps = [turn[:3, :3] for turn in kind.symmetries if np.linalg.norm(turn[:3, :3].T @ up - up) < _SAME]
    if kind.sphere or (kind.axis is not None and abs(kind.axis @ up) > 1 - _SAME):
        return up, across, _RANGE  # it faces the viewer, whatever its angle
    if kind.axis is not None:
        # The axis itself: `Stances.of` takes its direction about the vertical, however the block is rotated about it.
        ends = any(np.linalg.norm(turn[:3, :3] @ kind.axis + kind.axis) < _SAME for turn in kind.symmetries)
        return up, kind.axis, np.pi if ends else 2 * np.pi
    return up, across, 2 * np.pi / len(keeps)


def check_sides(blocks: BlockSet) -> None:
    """Raises SceneError for a kind that has too many sides for each to be a class."""
    for kind in blocks.kinds:
        least = len(kind.rests) // len(kind.symmetries)  # symmetries map at most so many resting poses to one
        if least > MOST_SIDES:
            raise SceneError(
                f"block '{kind.name}': lies on {least} or more different sides, because its surface is curved everywhere; "
                f"expected at most {MOST_SIDES}: use a mesh with flat sides or fewer triangles, or shape: sphere"
            )
