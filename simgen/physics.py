"""Drops blocks onto the table until they rest, with PyBullet's rigid-body dynamics: the scenes of randomize.settle.

Collision shapes are spheres and convex hulls. Lengths are measured in the size of a typical block of the scene, because the
tolerances of the engine are absolute: a part of 1 mm and one of 1 m come to rest alike.
"""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simgen import exact
from simgen.catalogue import World
from simgen.engine import load_pybullet
from simgen.errors import PlacementError
from simgen.geometry import Array, matrix_from_quaternion, quaternion_from_matrix, rigid
from simgen.randomize import Sampler
from simgen.scene import Bools, Ints, Scenes, concatenate, take

ATTEMPTS = 20  # drops of one scene before an error
GRAVITY = 196.0  # block sizes / s^2: that of the earth for blocks of 5 cm
LIMIT = 6.0  # s of simulated time to come to rest
WINDOW = 40  # time steps between two measurements of the motion
# Blocks rest if none moves or rotates faster on average over a WINDOW: block sizes / s, rad / s.
CALM = 5e-3
# Settings of the engine until the motion is below CALM * SLOW, and then. The second are those of the final test: with fewer
# iterations or larger time steps, leaning blocks creep. contactERP is the share of an overlap that is corrected in a step: a
# large one would throw back a block that falls.
FALLING = {"fixedTimeStep": 1 / 240, "numSolverIterations": 50, "solverResidualThreshold": 1e-7, "contactERP": 0.2}
RESTING = {"fixedTimeStep": 1 / 480, "numSolverIterations": 120, "solverResidualThreshold": 1e-11, "contactERP": 0.8}
SLOW = 5.0
GAP = 0.02  # block sizes between blocks before the drop
MARGIN = 0.0002  # block sizes between blocks in contact
FRICTION = 0.7
# Block sizes, the lever arm of the resisting torque: stops rolling cylinders, but too small to balance a block on its edge.
ROLLING_FRICTION = 0.004
# Shares of the velocity and of the angular velocity that are lost in a second. What is at rest stays at rest, and what is
# unstable falls, so damping decides only how soon rolling and rocking end.
DAMPING = {"linearDamping": 0.2, "angularDamping": 0.9}


def sample_settled(sampler: Sampler, seed: int, index: NDArray[np.int64]) -> Scenes:
    """The scenes with the numbers `index`; in those that are `settled`, the blocks are at rest after a drop.

    A block that leaves the table is not `present`. Scenes whose blocks do not come to rest, or which lose all their labeled
    blocks, are sampled again with the next `attempt`, which is stored in the recipe. Raises PlacementError after ATTEMPTS
    attempts.
    """
    scenes = sampler.sample(seed, index)
    done: list[Scenes] = [take(scenes, ~scenes.settled)]
    pending = scenes.index[scenes.settled]
    for attempt in range(ATTEMPTS):
        if not len(pending):
            break
        dropped = take(scenes, scenes.settled) if not attempt else sampler.sample(seed, pending, attempt=attempt)
        rested, calm = settle(stack(dropped, sampler.world), sampler.world)
        had, has = (np.any(one.blocks.present & one.blocks.labelled, axis=1) for one in (dropped, rested))
        good = calm & (has | ~had)
        done.append(take(rested, good))
        pending = pending[~good]
    if len(pending):
        raise PlacementError(
            f"physics: sample {pending[0]} of seed {seed}: its blocks did not come to rest on the table in {ATTEMPTS} "
            "drops; lower randomize.blocks.count or distractors.count, move place away from the edge, or use physics=place"
        )
    together = concatenate(done)
    # Equal indices have equal scenes, so any of them will do.
    order = np.argsort(together.index, kind="stable")
    return take(together, order[np.searchsorted(together.index[order], scenes.index)])


def stack(scenes: Scenes, world: World) -> Scenes:
    """`scenes` with each block lifted, where necessary, until it is clear of the table and of all blocks in earlier slots.

    It is above those whose circle around the outline, as seen from above, meets its own.
    """
    poses = scenes.blocks.world_from_block.copy()
    for row in range(len(scenes)):
        placed: list[tuple[Array, float, float]] = []  # center, radius and top of the blocks so far
        unit = _unit(scenes, row, world)
        for slot in np.flatnonzero(scenes.blocks.present[row]):
            pose = poses[row, slot]
            corners = exact.product(_corners(scenes, row, slot, world), pose[:3, :3].T)
            center, radius = pose[:2, 3].copy(), float(exact.norm(corners[:, :2]).max())
            tops = [top for middle, reach, top in placed if exact.norm(middle - center) < reach + radius]
            pose[2, 3] = max(pose[2, 3], max(tops, default=0.0) + GAP * unit - corners[:, 2].min())
            placed.append((center, radius, float(pose[2, 3] + corners[:, 2].max())))
    return replace(scenes, blocks=replace(scenes.blocks, world_from_block=poses))


def settle(scenes: Scenes, world: World) -> tuple[Scenes, Bools]:
    """`scenes` after a drop of all present blocks, and (B,) whether those that are still on the table came to rest.

    Blocks that left the table are no longer present. The poses of these and of a scene without rest stay as they were.
    """
    poses, present = scenes.blocks.world_from_block.copy(), scenes.blocks.present.copy()
    calm = np.zeros(len(scenes), np.bool_)
    for row in range(len(scenes)):
        slots = np.flatnonzero(present[row])
        rest = _fall(scenes, row, slots, world)
        if rest is not None:
            kept, poses_at_rest = rest
            poses[row, slots[kept]] = poses_at_rest[kept]
            present[row, slots[~kept]] = False
            calm[row] = True
    return replace(scenes, blocks=replace(scenes.blocks, world_from_block=poses, present=present)), calm


def _fall(scenes: Scenes, row: int, slots: Ints, world: World) -> tuple[Bools, Array] | None:
    """Which blocks are still on the table, (S,), and world_from_block (S, 4, 4) at rest; None without rest."""
    p = load_pybullet("physics", "physics=place")
    unit = _unit(scenes, row, world)
    # A new physics client for each scene, so that a scene does not depend on the one before.
    client = p.connect(p.DIRECT)
    try:
        p.setPhysicsEngineParameter(deterministicOverlappingPairs=1, physicsClientId=client)
        p.setGravity(0, 0, -GRAVITY, physicsClientId=client)
        bodies, middles = _build(p, client, scenes, row, slots, world)
        kept = np.ones(len(slots), np.bool_)
        poses, engine, time = _poses(p, client, bodies), FALLING, 0.0
        while time < LIMIT:
            p.setPhysicsEngineParameter(**engine, physicsClientId=client)
            for _ in range(WINDOW):
                p.stepSimulation(physicsClientId=client)
            span = WINDOW * engine["fixedTimeStep"]
            time += span
            before, poses = poses, poses.copy()
            poses[kept] = _poses(p, client, [bodies[k] for k in np.flatnonzero(kept)])
            left = kept & (poses[:, 2, 3] < 0)  # the center of mass is below the top of the table
            for k in np.flatnonzero(left):
                p.removeBody(bodies[k], physicsClientId=client)
            kept &= ~left
            shift = exact.norm(poses[:, :3, 3] - before[:, :3, 3])
            turn = exact.norm((poses[:, :3, :3] - before[:, :3, :3]).reshape(-1, 9)) / np.sqrt(2)
            motion = float(np.max([shift, turn], initial=0.0)) / span
            if motion < CALM and engine is RESTING:
                poses[:, :3, 3] *= unit
                return kept, exact.product(poses, middles)
            engine = RESTING if motion < CALM * SLOW else FALLING
        return None
    finally:
        p.disconnect(client)


def _build(p: Any, client: int, scenes: Scenes, row: int, slots: Ints, world: World) -> tuple[list[int], Array]:
    """Makes the table and a body for each block in `slots`: PyBullet's numbers of the blocks' bodies, and body_from_block
    (S, 4, 4) m, because the origin of a body is its center of mass."""
    unit = _unit(scenes, row, world)
    half = (world.table.size / 2 / unit).tolist()
    table = p.createCollisionShape(p.GEOM_BOX, halfExtents=half, physicsClientId=client)
    # useMaximalCoordinates: rigid bodies instead of articulated ones, which take three times as long.
    bodies = [
        p.createMultiBody(0, table, -1, world.table.center / unit, useMaximalCoordinates=1, physicsClientId=client)
    ]
    middles = np.tile(np.eye(4), (len(slots), 1, 1))
    for k, slot in enumerate(slots):
        solid = world.solids[scenes.blocks.model[row, slot]]
        scale = float(scenes.blocks.scale[row, slot])
        middle = solid.center_of_mass * scale
        middles[k, :3, 3] = -middle
        if solid.sphere:
            radius = float(solid.size[2]) * scale / 2 / unit
            shape = p.createCollisionShape(p.GEOM_SPHERE, radius=radius, physicsClientId=client)
        else:
            corners = _points((solid.corners - solid.center_of_mass).tobytes())
            # PyBullet never frees the points that it is given: these are given again, and scaled by it.
            shape = p.createCollisionShape(
                p.GEOM_MESH, vertices=corners, meshScale=[scale / unit] * 3, physicsClientId=client
            )
        pose = exact.product(scenes.blocks.world_from_block[row, slot], rigid(np.eye(3), middle))
        w, x, y, z = quaternion_from_matrix(pose[:3, :3])
        mass, place = solid.hull.volume * (scale / unit) ** 3, pose[:3, 3] / unit
        bodies.append(
            p.createMultiBody(mass, shape, -1, place, (x, y, z, w), useMaximalCoordinates=1, physicsClientId=client)
        )
    for body in bodies:
        p.changeDynamics(
            body,
            -1,
            lateralFriction=FRICTION,
            rollingFriction=ROLLING_FRICTION,
            spinningFriction=ROLLING_FRICTION,
            restitution=0.0,
            collisionMargin=MARGIN,
            **DAMPING,
            physicsClientId=client,
        )
    return bodies[1:], middles


@cache
def _points(data: bytes) -> tuple[tuple[float, ...], ...]:
    """The points (P, 3) of float64 in `data`."""
    return tuple(map(tuple, np.frombuffer(data).reshape(-1, 3).tolist()))


def _unit(scenes: Scenes, row: int, world: World) -> float:
    """m: the size of a typical block in the scene."""
    slots = np.flatnonzero(scenes.blocks.present[row])
    sizes = [world.solids[scenes.blocks.model[row, k]].size.max() * scenes.blocks.scale[row, k] for k in slots]
    return float(np.median(sizes)) if sizes else 1.0


def _corners(scenes: Scenes, row: int, slot: Any, world: World) -> Array:
    """(C, 3) m: the corners of the block's hull in the block frame."""
    return np.asarray(world.solids[scenes.blocks.model[row, slot]].corners * scenes.blocks.scale[row, slot])


def _poses(p: Any, client: int, bodies: list[int]) -> Array:
    """(S, 4, 4) world_from_body of `bodies`, in block sizes."""
    poses = np.tile(np.eye(4), (len(bodies), 1, 1))
    for pose, body in zip(poses, bodies, strict=True):
        pose[:3, 3], (x, y, z, w) = p.getBasePositionAndOrientation(body, physicsClientId=client)
        pose[:3, :3] = matrix_from_quaternion(np.array([w, x, y, z]))
    return poses
