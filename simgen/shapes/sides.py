"""Which resting poses of a block look the same."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from simgen import exact
from simgen.geometry import Array, frame_about

_SAME = 0.02  # distance of unit vectors: below it a symmetry maps one side to the other


class Block(Protocol):
    """What a Solid and a detector's Kind have in common."""

    @property
    def rests(self) -> Array: ...
    @property
    def symmetries(self) -> Array: ...
    @property
    def axis(self) -> Array | None: ...


def alike(block: Block) -> list[NDArray[np.int64]]:
    """The numbers of the resting poses of `block`, in groups that look the same because of its symmetries."""
    ups = block.rests[:, 2, :3]
    groups: list[list[int]] = []
    for number, up in enumerate(ups):
        turned_ups = [upward(block.axis, exact.dot(turn[:3, :3], up)) for turn in block.symmetries]
        for group in groups:
            if min(np.linalg.norm(upward(block.axis, ups[group[0]]) - turned) for turned in turned_ups) < _SAME:
                group.append(number)
                break
        else:
            groups.append([number])
    return [np.array(group) for group in groups]


def upward(axis: Array | None, up: Array) -> Array:
    """`up` (3,); for a round block rotated about its `axis` into a fixed half-plane, where vectors can be compared."""
    if axis is None:
        return up
    along = float(exact.dot(up, axis))
    return np.asarray(along * axis + exact.norm(up - along * axis) * frame_about(axis)[0])
