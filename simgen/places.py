"""Free places for blocks on the table."""

import numpy as np
from numpy.typing import NDArray

from simgen.catalogue import Box
from simgen.geometry import Array


def first_fits(tries: list[Array], radius: Array, table: Box) -> tuple[Array, NDArray[np.bool_]]:
    """For each slot in turn the first of its `tries` (2, T, R) that is free, else the first, (N, 2, R) m; and whether
    one is free, (N, R). `radius` is (N, R) m.
    """
    slots, batch = radius.shape
    radius = np.ascontiguousarray(radius)
    middle, half = table.center[:2, None], table.size[:2, None] / 2 + 1e-9
    place = np.empty((slots, 2, batch))
    taken = np.full((slots, 2, batch), np.inf)  # a block at infinity is clear of all others
    found = np.zeros((slots, batch), dtype=bool)
    between, reaches = np.empty_like(taken), np.empty_like(radius)
    for slot, spots in enumerate(tries):
        # Most blocks take their first proposal; the others are tested only for those that do not.
        first = place[slot] = spots[:, 0]
        reach = np.add(radius[:slot], radius[slot], out=reaches[:slot])
        reach *= reach
        clear = _squares(np.subtract(taken[:slot], first, out=between[:slot])) >= reach
        found[slot] = np.logical_and.reduce(clear) & np.logical_and.reduce(np.abs(first - middle) <= half)
        left = np.flatnonzero(~found[slot])
        if len(left) and spots.shape[1] > 1:
            others = np.take(spots[:, 1:], left, axis=2).swapaxes(0, 1)  # (T - 1, 2, R)
            free = np.logical_and.reduce(np.abs(others - middle) <= half, axis=1)
            gap = np.take(taken[:slot], left, axis=2) - others[:, None]
            free &= np.logical_and.reduce(_squares(gap) >= np.take(reach, left, axis=1), axis=1)
            found[slot, left] = some = np.logical_or.reduce(free)
            place[slot][:, left[some]] = others[np.argmax(free, axis=0), :, np.arange(len(left))][some].T
        taken[slot] = np.where(found[slot], place[slot], np.inf)
    return place, found


def _squares(gap: Array) -> Array:
    """(..., R) squared lengths of the vectors (..., 2, R), which are overwritten."""
    gap *= gap
    gap[..., 0, :] += gap[..., 1, :]
    return gap[..., 0, :]
