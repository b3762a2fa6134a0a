"""The poses that the robot uses: the truth, the truth with noise, or what the detector says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from simgen import exact
from simgen.draws import Draws
from simgen.geometry import inverse, rotation_about
from simgen.shapes.solids import Solid
from stacking.lying import Lying
from stacking.task import Task
from train.detect.types import Detection
from train.pose.view import View

# REFUSING is the detector that refuses a trial with an unsure block, LOOKING the one that looks again before.
TRUTH, NOISE, DETECTOR, REFUSING, LOOKING = "truth", "noise", "detector", "refusing", "looking"


@dataclass(frozen=True)
class Source:
    """Where poses come from: `name`, one of the five above; of NOISE the standard deviations in mm along X and along Y, and
    in degrees about the vertical."""

    name: str
    millimeters: float = 0.0
    degrees: float = 0.0


@dataclass(frozen=True)
class Predicted:
    """`blocks` are those asked for, from the bottom up, None for one that is not seen, with the detector's `confidences` in
    them; `around` are all others that are seen."""

    blocks: tuple[Lying | None, ...]
    around: tuple[Lying, ...]
    confidences: tuple[float, ...] = ()


@dataclass(frozen=True)
class Sighting:
    """A detected block and the detector's confidence in it."""

    confidence: float
    block: Lying


def true_poses(task: Task) -> Predicted:
    return Predicted(task.blocks, task.others)


def noisy_poses(task: Task, source: Source, seed: int) -> Predicted:
    """The truth with normal noise. Draws of one task are the same multiples of each standard deviation."""
    draws = Draws(seed, task.scene.index) / "stacking/noise"
    normal = draws.lanes(range(len(task.blocks))).normal(3)
    blocks = []
    for block, (x, y, turn) in zip(task.blocks, normal, strict=True):
        pose = block.pose.copy()
        pose[:3, :3] = exact.product(rotation_about(2, np.radians(source.degrees) * turn), pose[:3, :3])
        pose[:2, 3] += source.millimeters / 1000 * np.array([x, y])
        blocks.append(Lying(block.solid, pose))
    return Predicted(tuple(blocks), task.others)


def sightings(detections: Sequence[Detection], view: View, solids: Mapping[str, Solid]) -> list[Sighting]:
    """The `detections` of one picture as blocks in the table frame. `solids` are the scene's shapes by their names: what is
    detected as another one is left out."""
    assert view.camera_from_table is not None
    table_from_camera = inverse(view.camera_from_table)
    return [
        Sighting(one.confidence, Lying(solids[one.kind.name], table_from_camera @ one.pose.camera_from_block))
        for one in detections
        if one.kind.name in solids
    ]


def detected_poses(kinds: Sequence[str], seen: Sequence[Sighting]) -> Predicted:
    """For each of the asked `kinds` the most confident block of those `seen` in any number of pictures that lies as a
    gripper can stack it; of several blocks of a kind the most confident is the lowest."""
    left = sorted(seen, key=lambda one: -one.confidence)
    chosen: list[Sighting | None] = []
    for kind in kinds:
        found = next((one for one in left if one.block.solid.name == kind and one.block.stackable), None)
        chosen.append(found)
        if found is not None:  # the same block in another picture is not a second one
            left = [one for one in left if np.linalg.norm(one.block.center - found.block.center) > found.block.base / 2]
    return Predicted(
        tuple(None if one is None else one.block for one in chosen),
        tuple(one.block for one in left),
        tuple(0.0 if one is None else one.confidence for one in chosen),
    )


def paired(truth: Sequence[Lying], predicted: Sequence[Lying | None]) -> list[Lying | None]:
    """`predicted` in the order of `truth`: blocks of one kind look alike, so the nearest are matched."""

    def distance(order: Sequence[int]) -> tuple[int, float]:
        wrong, total = 0, 0.0
        for block, number in zip(truth, order, strict=True):
            other = predicted[number]
            if other is None:
                continue
            wrong += block.solid.name != other.solid.name
            total += float(np.linalg.norm(block.center - other.center))
        return wrong, total

    return [predicted[number] for number in min(permutations(range(len(truth))), key=distance)]


def errors(truth: Lying, predicted: Lying) -> tuple[float, float]:
    """The distance in mm and the angle in degrees between both; the angle is that between their nearest grasps."""
    turns = [
        abs((one.angle - other.angle + np.pi / 2) % np.pi - np.pi / 2)
        for one in truth.grasps
        for other in predicted.grasps
    ]
    shift = np.linalg.norm(truth.center - predicted.center)
    return float(1000 * shift), float(np.degrees(min(turns, default=np.pi / 2)))
