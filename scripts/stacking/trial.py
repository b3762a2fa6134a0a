"""One trial: the robot stacks the blocks by their predicted poses, and what became of the real ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from simgen.catalogue import World
from simgen.geometry import Array
from stacking.lying import Grasp, Lying
from stacking.robot import HOME, SLOW, Cell, Kinematics, TroubleError
from stacking.success import Ended
from stacking.task import Task

ABOVE = 0.10  # m between the tip's place in a grasp and the place above it
CRUISE = 0.28  # m, the height of the tip while the arm crosses the table
DEEP = 0.030  # m: the tip is at most so far below a block's top, so that the hand stays above it
GAP = 0.0015  # m between a block and what it is put on, before the fingers open
DOWN = 4  # joint positions along a vertical motion
REST = 1.0  # s between the last motion and the verdict
CHOICES = 8  # grasps that are planned, of those with the most room
HAND = 0.10  # m, half the width of the hand, along the direction in which it closes


@dataclass(frozen=True)
class Result:
    """How a trial ended: what became of the asked blocks, from the bottom up; `trouble`, the reason for which the robot gave
    up, "" if it did not; and `lifted`, how many blocks were in the gripper above the table."""

    ended: tuple[Ended, ...]
    trouble: str
    lifted: int
    steps: int


@dataclass(frozen=True)
class _Plan:
    """Joints (7,) above a place, and on the way down to it (DOWN, 7)."""

    cruise: Array
    above: Array
    down: Array


def run_trial(
    task: Task,
    world: World,
    predicted: Sequence[Lying],
    around: Sequence[Lying],
    kinematics: Kinematics,
    watch: Callable[[Cell], None] | None = None,
) -> Result:
    """Stacks the second and the third of `predicted` on the first. `around` are the other blocks that the robot knows of.

    The same arguments give the same bits.
    """
    cell = Cell(world, [*task.blocks, *task.others], watch)
    trouble, lifted = "", 0
    try:
        cell.wait(0.1)
        top = predicted[0].height
        for number in (1, 2):
            block = predicted[number]
            others = [other for other in (*predicted, *around) if other is not block]
            grasp, pick = _pick(block, others, kinematics, cell.arm)
            place = _place(predicted[0], top, block, grasp, kinematics, pick.cruise)
            _reach(cell, pick)
            cell.grip()
            _leave(cell, pick)
            if not any(cell.held(one) for one in range(len(cell.bodies))):
                raise TroubleError("nothing in the gripper")
            lifted += 1
            _reach(cell, place)
            cell.open()
            _leave(cell, place)
            top += block.height
        cell.move(HOME)
        cell.wait(REST)
    except TroubleError as reason:
        trouble = reason.reason
    try:
        count = len(task.blocks)
        ended = tuple(
            Ended(
                block.solid.name,
                tuple(float(x) for x in cell.pose(number)[:3, 3]),
                block.height,
                block.base,
                *cell.speed(number),
                cell.touched(number),
            )
            for number, block in zip(range(count), task.blocks, strict=True)
        )
        return Result(ended, trouble, lifted, cell.steps)
    finally:
        cell.close()


def _pick(block: Lying, others: Sequence[Lying], kinematics: Kinematics, start: Array) -> tuple[Grasp, _Plan]:
    """The grasp of `block` with the most room for the hand, and how to get there. Raises TroubleError("unreachable")."""
    if not block.grasps:
        raise TroubleError("unreachable")
    places = np.array([other.center for other in others]).reshape(-1, 2) - block.center
    ranked = sorted(block.grasps, key=lambda one: (-round(_room(one.angle, places), 3), one.angle))[:CHOICES]
    for grasp in ranked:
        try:
            return grasp, _plan(np.append(block.center, _depth(block)), (grasp.angle,), kinematics, start)
        except TroubleError:
            continue
    raise TroubleError("unreachable")


def _place(base: Lying, top: float, block: Lying, grasp: Grasp, kinematics: Kinematics, start: Array) -> _Plan:
    """How to put `block`, held by `grasp`, with its middle over that of `base` at the height `top`, its sides along those of
    `base`. Raises TroubleError("unreachable")."""
    tip = np.append(base.center, top + _depth(block) + GAP)
    turns = base.grasps[0].angle if base.grasps else grasp.angle
    return _plan(tip, (turns, turns + np.pi / 2), kinematics, start)


def _plan(tip: Array, angles: Sequence[float], kinematics: Kinematics, start: Array) -> _Plan:
    """The way to `tip` with the fingers closing along one of `angles`, which a half turn does not change: the one that is
    nearest to the middle of the wrist's range. Raises TroubleError("unreachable")."""
    best: _Plan | None = None
    for angle in (turned for one in angles for turned in (one, one + np.pi)):
        try:
            high = tip + np.array([0.0, 0.0, max(CRUISE - tip[2], ABOVE)])
            cruise = kinematics.joints(high, angle, np.append(start[:6], HOME[6]))
            joints, way = cruise, []
            for share in np.linspace(0, 1, DOWN + 1):
                joints = kinematics.joints(tip + np.array([0.0, 0.0, ABOVE * (1 - share)]), angle, joints)
                way.append(joints)
        except TroubleError:
            continue
        plan = _Plan(cruise, way[0], np.stack(way[1:]))
        if best is None or abs(plan.cruise[6] - HOME[6]) < abs(best.cruise[6] - HOME[6]):
            best = plan
    if best is None:
        raise TroubleError("unreachable")
    return best


def _reach(cell: Cell, plan: _Plan) -> None:
    cell.move(plan.cruise)
    cell.move(plan.above)
    for joints in plan.down:
        cell.move(joints, SLOW)


def _leave(cell: Cell, plan: _Plan) -> None:
    for joints in plan.down[-2::-1]:
        cell.move(joints, SLOW)
    cell.move(plan.above, SLOW)
    cell.move(plan.cruise)


def _depth(block: Lying) -> float:
    """m: the tip's height over the face that `block` lies on, while it is held."""
    return max(block.height / 2, block.height - DEEP)


def _room(angle: float, places: Array) -> float:
    """m: the least distance of `places` (P, 2), relative to the tip, from the hand that closes along `angle`."""
    if not len(places):
        return np.inf
    along = np.array([np.cos(angle), np.sin(angle)])
    nearest = np.clip(places @ along, -HAND, HAND)
    return float(np.linalg.norm(places - nearest[:, None] * along, axis=1).min())
