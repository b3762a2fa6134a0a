"""Whether blocks are stacked, and why they are not."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from stacking.lying import Lying, tolerates

# As ManiSkill's StackCube-v1 has them (Tao et al. 2024): m beyond the half diagonal in the plane, m from the height of the
# layer, m / s and rad / s of a block at rest.
SIDEWAYS, UPWARD, STILL, TURNING = 0.005, 0.005, 0.01, 0.5
# The causes of failures.
SEEING, GRASPING, PHYSICS = "seeing", "grasping", "physics"


@dataclass(frozen=True)
class Ended:
    """An asked block at the end of a trial: the place (3,) m of its middle; its height and the shorter side of its base, m,
    as it lay at the beginning; its speed in m / s and rad / s; and whether a finger touches it."""

    kind: str
    place: tuple[float, ...]
    height: float
    base: float
    speed: float
    turning: float
    touched: bool


def faults(ended: Sequence[Ended], kinds: Sequence[str]) -> list[str]:
    """What is missing for `ended` to be a stack of `kinds` from the bottom up; nothing for a success."""
    layers = sorted(ended, key=lambda one: one.place[2])
    found = []
    if [one.kind for one in layers] != list(kinds):
        found.append("order")
    for below, above in pairwise(layers):
        sideways = np.hypot(above.place[0] - below.place[0], above.place[1] - below.place[1])
        upward = abs(above.place[2] - below.place[2] - (above.height + below.height) / 2)
        if sideways > np.sqrt(2) * below.base / 2 + SIDEWAYS or upward > UPWARD:
            found.append("not on top")
    if any(one.speed > STILL or one.turning > TURNING for one in ended):
        found.append("not at rest")
    if any(one.touched for one in ended):
        found.append("not released")
    return list(dict.fromkeys(found))


def cause(lying: Sequence[Lying], predicted: Sequence[Lying | None], trouble: str) -> str:
    """Of a failed trial: SEEING if a block was missed or its pose is one with which the gripper cannot work; GRASPING if the
    poses are good and the robot gave up; PHYSICS if it did all that it planned, and the stack did not stand."""
    if any(one is None or not tolerates(truth, one) for truth, one in zip(lying, predicted, strict=True)):
        return SEEING
    return GRASPING if trouble else PHYSICS
