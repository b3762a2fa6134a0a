"""The task of a trial: a scene of three blocks to stack and others in between, and its picture.

A pure function of configuration, seed and index, for every source of poses the same.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simgen.catalogue import World
from simgen.config import compose
from simgen.errors import PlacementError
from simgen.geometry import inverse
from simgen.pipeline import Pipeline, make_pipeline
from simgen.render import Renderer, to_numpy
from simgen.scene import Scenes
from simgen.schema import Render
from simgen.sensor import sense
from stacking.lying import Lying
from train.pose.view import View, table_of

BLOCKS = 3
# Other objects than blocks stand around the table only: the robot's planner knows blocks. What vanishes from a full table
# would change no other place, so the slots are those of the scene.
SETTINGS = (
    "physics=place",
    "randomize.blocks.slots=3",
    "randomize.distractors.slots=6",
    "randomize.clutter.where=around",
)
ATTEMPTS = 200  # placements of one scene before an error
APART = 1_000_000  # between the indices of two looks: more than there are trials
# m between a block to stack and the outline of any other: a finger and its way while opening.
CLEARANCE = 0.045


@dataclass(frozen=True)
class Task:
    """`blocks` are the three to stack, from the bottom up; `others` lie between them. `scene` is a Scenes of one row."""

    scene: Scenes
    blocks: tuple[Lying, ...]
    others: tuple[Lying, ...]

    @property
    def kinds(self) -> tuple[str, ...]:
        """What the robot is asked for, from the bottom up."""
        return tuple(block.solid.name for block in self.blocks)


def cell(randomize: str, seed: int) -> Pipeline:
    """The pipeline of scene=stacking with the preset `randomize`."""
    return make_pipeline(
        compose("render", Render, ["scene=stacking", f"randomize={randomize}", f"seed={seed}", *SETTINGS])
    )


def task_of(pipeline: Pipeline, index: int) -> Task:
    """The task number `index`: the first placement in which the gripper can stack all three blocks and reach between them.

    Distractors that are in the gripper's way are left out. Raises PlacementError after ATTEMPTS placements.
    """
    world, seed = pipeline.world, pipeline.source.seed
    for attempt in range(ATTEMPTS):
        scene = pipeline.sampler.sample(seed, np.array([index]), attempt=attempt)
        slots = [int(slot) for slot in np.flatnonzero(scene.blocks.present[0])]
        lying = {slot: _lying(scene, slot, world) for slot in slots}
        asked = [slot for slot in slots if scene.blocks.labelled[0, slot]]
        if not all(lying[slot].stackable for slot in asked):
            continue
        if any(_near(lying[a], lying[b]) for a in asked for b in asked if a < b):
            continue
        kept = [slot for slot in slots if slot not in asked and not any(_near(lying[slot], lying[a]) for a in asked)]
        # The broadest is at the bottom.
        asked.sort(key=lambda slot: (-round(lying[slot].base, 4), slot))
        present = np.zeros_like(scene.blocks.present)
        present[0, asked + kept] = True
        scene = replace(scene, blocks=replace(scene.blocks, present=present))
        return Task(scene, tuple(lying[slot] for slot in asked), tuple(lying[slot] for slot in kept))
    raise PlacementError(
        f"scene=stacking: sample {index} of seed {seed}: no placement of {ATTEMPTS} leaves room for the gripper around "
        "three blocks; widen varied.blocks.place in scenes/stacking.yaml"
    )


def picture_of(task: Task, pipeline: Pipeline, renderer: Renderer, look: int = 0) -> tuple[NDArray[np.uint8], View]:
    """The picture (H, W, 3) that the camera takes, and the camera, whose pose over the table is known. Each `look` is by
    another camera at the same scene."""
    scene = task.scene
    if look:
        other = pipeline.sampler.sample(pipeline.source.seed, scene.index + look * APART)
        scene = replace(scene, cameras=other.cameras, sensor=other.sensor)
    rgb = to_numpy(sense(renderer.render(scene).rgb, scene.sensor))[0]
    cameras, table = scene.cameras, pipeline.world.table
    edges = table_of(table.center[:2], table.size[:2])
    return rgb, View(cameras.intrinsics[0], cameras.distortion[0], inverse(cameras.world_from_camera[0]), edges)


def _near(a: Lying, b: Lying) -> bool:
    return bool(np.linalg.norm(a.center - b.center) < a.radius + b.radius + CLEARANCE)


def _lying(scene: Scenes, slot: int, world: World) -> Lying:
    blocks = scene.blocks
    solid, scale = world.solids[blocks.model[0, slot]], float(blocks.scale[0, slot])
    return Lying(replace(solid, vertices=solid.vertices * scale), blocks.world_from_block[0, slot])
