"""The classes of a keypoint model: the kinds, or each kind on each of its sides ("stances"), with keypoints for each class.

An upright prism and a lying one have little in common in a picture, and their keypoints nothing.
"""

import numpy as np
import torch
from torch import Tensor, nn

from simgen.errors import SceneError
from simgen.geometry import Array
from train.blocks.kinds import BlockSet, Kind, frame_about

MOST_SIDES = 100  # of a kind: one with more is curved everywhere, and its sides cannot be told apart
_SAME = 0.02  # distance of unit vectors: below it a symmetry maps one side to the other


class Stances(nn.Module):
    """The S classes of a network for `blocks`: if `apart`, each kind's resting poses that look different, else the kinds.

    `kinds`: the number of kinds; `most`: the largest number K of keypoints of a kind; `rests`: for each class the numbers of
    its kind's resting poses. As a buffer, which moves with the network: kind (S,), the place of each class's kind in
    `blocks`.
    """

    kind: Tensor
    _ups: Tensor
    _there: Tensor
    _class: Tensor
    _frame: Tensor

    def __init__(self, blocks: BlockSet, apart: bool) -> None:
        super().__init__()
        groups = [alike(kind) if apart else [np.arange(len(kind.rests))] for kind in blocks.kinds]
        self.apart = apart
        self.kinds = len(blocks)
        self.most = blocks.keypoints.shape[1]
        self.rests = [members for each in groups for members in each]
        owners = [number for number, each in enumerate(groups) for _ in each]
        room = max(len(kind.rests) for kind in blocks.kinds)
        ups = np.zeros((len(blocks), room, 3))
        classes = np.zeros((len(blocks), room), dtype=np.int64)
        for number, (owner, members) in enumerate(zip(owners, self.rests, strict=True)):
            block = blocks.kinds[owner]
            classes[owner, members] = number
            ups[owner, members] = [_upward(block.axis, up) for up in block.rests[members, 2, :3]]
        there = np.array([[k < len(kind.rests) for k in range(room)] for kind in blocks.kinds])
        tables = {"kind": torch.tensor(owners), "_class": torch.tensor(classes)}
        tables |= {
            "_ups": torch.tensor(ups).float(),
            "_there": torch.tensor(there),
            "_frame": blocks.frame,
        }
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)

    def __len__(self) -> int:
        return len(self.rests)

    def likeliest(self, probability: Tensor) -> tuple[Tensor, Tensor]:
        """The most probable class of the most probable kind, (...), and that kind's probability, (...), from the
        `probability` (..., S) of each class."""
        kinds = probability.new_zeros(*probability.shape[:-1], self.kinds).index_add(-1, self.kind, probability)
        share, kind = kinds.max(-1)
        return probability.masked_fill(self.kind != kind[..., None], -1).argmax(-1), share

    def of(self, kind: Tensor, up: Tensor) -> Tensor:
        """(P,) the classes of blocks of `kind` (P,), by the rest nearest to the vertical `up` (P, 3) in its frame."""
        across, _, axis = self._frame[kind].unbind(1)  # 0 if the kind is not round
        along = (up * axis).sum(1, keepdim=True)
        # Of a round block only the angle to its axis counts.
        round_up = along * axis + (up - along * axis).norm(dim=1, keepdim=True) * across
        up = torch.where(axis.norm(dim=1, keepdim=True) > 0, round_up, up)
        near = (self._ups[kind] @ up[:, :, None])[..., 0].masked_fill(~self._there[kind], -torch.inf)
        return self._class[kind, near.argmax(1)]


def check_sides(blocks: BlockSet) -> None:
    """Raises SceneError for a kind that has too many sides for each to be a class."""
    for kind in blocks.kinds:
        least = len(kind.rests) // len(kind.symmetries)  # symmetries map at most so many resting poses to one
        if least > MOST_SIDES:
            raise SceneError(
                f"block '{kind.name}': lies on {least} or more different sides, because its surface is curved everywhere; "
                f"expected at most {MOST_SIDES}: use a mesh with flat sides or fewer triangles, or shape: sphere"
            )


def alike(kind: Kind) -> list[Array]:
    """The numbers of the rests of `kind`, in groups that look the same because of its symmetries."""
    ups = kind.rests[:, 2, :3]
    groups: list[list[int]] = []
    for number, up in enumerate(ups):
        turned_ups = [_upward(kind.axis, turn[:3, :3] @ up) for turn in kind.symmetries]
        for group in groups:
            if min(np.linalg.norm(_upward(kind.axis, ups[group[0]]) - turned) for turned in turned_ups) < _SAME:
                group.append(number)
                break
        else:
            groups.append([number])
    return [np.array(group) for group in groups]


def _upward(axis: Array | None, up: Array) -> Array:
    """`up` (3,); for a round block rotated about its `axis` into a fixed half-plane, where vectors can be compared."""
    if axis is None:
        return up
    along = float(up @ axis)
    return np.asarray(along * axis + np.linalg.norm(up - along * axis) * frame_about(axis)[0])
