"""Where the robot believes blocks to be: the truth, the truth with noise, or what the detector says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from simgen.draws import Draws
from simgen import exact
from simgen.geometry import inverse, rotation_about
from simgen.shapes.solids import Solid
from stacking.lying import Lying
from stacking.task import Task
from train.detect.types import Detection
from train.pose.view import View

TRUTH, NOISE, DETECTOR, REFUSING = "truth", "noise", "detector", "refusing"


@dataclass(frozen=True)
class Source:
    """Where poses come from: `name`, one of the four above; of NOISE the standard deviations in mm along X and along Y, and in
    degrees about the vertical."""

    name: str
    millimeters: float = 0.0
    degrees: float = 0.0


@dataclass(frozen=True)
class Belief:
    """`blocks` are those asked for, from the bottom up, None for one that is not seen, with the detector's `confidences` in them;
    `around` are all others that are seen."""

    blocks: tuple[Lying | None, ...]
    around: tuple[Lying, ...]
    confidences: tuple[float, ...] = ()


def true_belief(task: Task) -> Belief:
    return Belief(task.blocks, task.others)


def noisy_belief(task: Task, source: Source, seed: int) -> Belief:
    """The truth with normal noise. Draws of one task are the same multiples of each standard deviation."""
    draws = Draws(seed, task.scene.index) / "stacking/noise"
    normal = draws.lanes(range(len(task.blocks))).normal(3)
    blocks = []
    for block, (x, y, turn) in zip(task.blocks, normal, strict=True):
        pose = block.pose.copy()
        pose[:3, :3] = exact.product(rotation_about(2, np.radians(source.degrees) * turn), pose[:3, :3])
        pose[:2, 3] += source.millimeters / 1000 * np.array([x, y])
        blocks.append(Lying(block.solid, pose))
    return Belief(tuple(blocks), task.others)


def detected_belief(
    kinds: Sequence[str], detections: Sequence[Detection], view: View, solids: Mapping[str, Solid]
) -> Belief:
    """For each of the asked `kinds` the most confident detection of it that lies as a gripper can stack it; of several blocks of a
    kind the most confident is the lowest. `solids` are the shapes by their names."""
    assert view.camera_from_table is not None
    table_from_camera = inverse(view.camera_from_table)
    left = [
        (detection.confidence, Lying(solids[detection.kind.name], table_from_camera @ detection.pose.camera_from_block))
        for detection in detections  # the most confident first
    ]
    chosen: list[tuple[float, Lying] | None] = []
    for kind in kinds:
        found = next((one for one in left if one[1].solid.name == kind and one[1].stackable), None)
        chosen.append(found)
        if found is not None:
            left.remove(found)
    return Belief(
        tuple(None if one is None else one[1] for one in chosen),
        tuple(block for _, block in left),
        tuple(0.0 if one is None else one[0] for one in chosen),
    )


def paired(truth: Sequence[Lying], believed: Sequence[Lying | None]) -> list[Lying | None]:
    """`believed` in the order of `truth`: blocks of one kind cannot be told apart, so they are paired to be nearest in sum."""

    def distance(order: Sequence[int]) -> tuple[int, float]:
        wrong, total = 0, 0.0
        for block, number in zip(truth, order, strict=True):
            other = believed[number]
            if other is None:
                continue
            wrong += block.solid.name != other.solid.name
            total += float(np.linalg.norm(block.center - other.center))
        return wrong, total

    return [believed[number] for number in min(permutations(range(len(truth))), key=distance)]


def errors(truth: Lying, believed: Lying) -> tuple[float, float]:
    """The distance in mm and the angle in degrees between both, as a gripper has them: angles up to the block's symmetries."""
    turns = [
        abs((one.angle - other.angle + np.pi / 2) % np.pi - np.pi / 2)
        for one in truth.grasps
        for other in believed.grasps
    ]
    shift = np.linalg.norm(truth.center - believed.center)
    return float(1000 * shift), float(np.degrees(min(turns, default=np.pi / 2)))
