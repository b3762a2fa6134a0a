"""On which of its sides a block lies: what a network may tell apart beside the kind, with keypoints of its own for each.

A prism that stands and one that lies have little in common in a picture, and their keypoints nothing. A network that must
tell both by the same numbers begins with what lies between them, and stays there for long.
"""

import numpy as np
import torch
from torch import Tensor, nn

from simgen.geometry import Array
from train.blocks.kinds import BlockSet, Kind, frame_about

_SAME = 0.02  # between unit vectors: sides that a symmetry makes one


class Stances(nn.Module):
    """The S classes of a network that finds `blocks`: each kind's ways to lie that look different if `apart`, else the
    kinds.

    `kinds`: how many kinds there are; `rests`: of each class, which of its kind's rests belong to it. As tensors, which move
    with the network: kind (S,), the place of each class's kind in `blocks`; rows (S, K), which of the `total` keypoints of a
    cell are the class's.
    """

    kind: Tensor
    rows: Tensor
    _ups: Tensor
    _there: Tensor
    _class: Tensor
    _frame: Tensor

    def __init__(self, blocks: BlockSet, apart: bool) -> None:
        super().__init__()
        groups = [alike(kind) if apart else [np.arange(len(kind.rests))] for kind in blocks.kinds]
        self.kinds = len(blocks)
        self.rests = [members for each in groups for members in each]
        owners = [number for number, each in enumerate(groups) for _ in each]
        counts = [len(blocks.kinds[owner].keypoints) for owner in owners]
        most = blocks.keypoints.shape[1]
        firsts = np.cumsum([0, *counts[:-1]]) if apart else np.zeros(len(owners), dtype=np.int64)
        self.total = int(sum(counts)) if apart else most
        # Beyond a kind's own keypoints a row says whatever stands there; BlockSet.real tells which count.
        rows = np.minimum(firsts[:, None] + np.arange(most), self.total - 1)

        room = max(len(kind.rests) for kind in blocks.kinds)
        ups = np.zeros((len(blocks), room, 3))
        classes = np.zeros((len(blocks), room), dtype=np.int64)
        for number, (owner, members) in enumerate(zip(owners, self.rests, strict=True)):
            block = blocks.kinds[owner]
            classes[owner, members] = number
            ups[owner, members] = [_upward(block.axis, up) for up in block.rests[members, 2, :3]]
        there = np.array([[k < len(kind.rests) for k in range(room)] for kind in blocks.kinds])
        tables = {"kind": torch.tensor(owners), "rows": torch.tensor(rows), "_class": torch.tensor(classes)}
        tables |= {
            "_ups": torch.tensor(ups).float(),
            "_there": torch.tensor(there),
            "_frame": blocks.frame,
        }
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)

    def __len__(self) -> int:
        return len(self.rests)

    def likeliest(self, chance: Tensor) -> tuple[Tensor, Tensor]:
        """The likeliest class of the likeliest kind by the `chance` (..., S) of each class, and that kind's."""
        kinds = chance.new_zeros(*chance.shape[:-1], self.kinds).index_add(-1, self.kind, chance)
        share, kind = kinds.max(-1)
        return chance.masked_fill(self.kind != kind[..., None], -1).argmax(-1), share

    def of(self, kind: Tensor, up: Tensor) -> Tensor:
        """(P,) the classes of blocks of `kind` (P,) by what is `up` (P, 3) in their own frame: that of the nearest rest."""
        across, _, axis = self._frame[kind].unbind(1)  # 0 where the kind is not round
        along = (up * axis).sum(1, keepdim=True)
        # Of a round block only the angle to its axis counts.
        round_up = along * axis + (up - along * axis).norm(dim=1, keepdim=True) * across
        up = torch.where(axis.norm(dim=1, keepdim=True) > 0, round_up, up)
        near = (self._ups[kind] @ up[:, :, None])[..., 0].masked_fill(~self._there[kind], -torch.inf)
        return self._class[kind, near.argmax(1)]


def alike(kind: Kind) -> list[Array]:
    """The rests of `kind` in groups that look the same, by its symmetries."""
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
    """`up` (3,), of a round block turned about its `axis` to where all of its kind are compared."""
    if axis is None:
        return up
    along = float(up @ axis)
    return np.asarray(along * axis + np.linalg.norm(up - along * axis) * frame_about(axis)[0])
