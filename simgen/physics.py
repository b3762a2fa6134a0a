"""Drops blocks onto the table until they rest (physics=settle), with PyBullet's rigid-body dynamics.

The result is a pose for each block. Collision shapes are spheres and convex hulls.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from simgen.catalogue import World
from simgen.engine import load_pybullet
from simgen.errors import PlacementError
from simgen.geometry import Array, matrix_from_quaternion, quaternion_from_matrix, rigid
from simgen.randomize import Sampler
from simgen.scene import Scenes, concatenate, take

ATTEMPTS = 20  # drops of one scene before an error
STEP = 1 / 240  # s
LIMIT = 6.0  # s of simulated time to come to rest
CALM = 0.25  # s: blocks are at rest if they moved less than CALM_DISTANCE and rotated less than CALM_ANGLE in this time
CALM_DISTANCE, CALM_ANGLE = 1e-4, 2e-3  # m, rad
DENSITY = 600.0  # kg/m^3, light wood
FRICTION = 0.7
# m, the lever arm of the resisting torque: stops rolling cylinders, but is too small to balance a block on its edge.
ROLLING_FRICTION = 2e-4


def sample_settled(sampler: Sampler, seed: int, index: NDArray[np.int64]) -> Scenes:
    """The scenes with the numbers `index`, with blocks at rest after a drop.

    A scene whose blocks do not come to rest, or fall off the table, is sampled again with the next `attempt`, which is
    stored in its recipe. Raises PlacementError after ATTEMPTS attempts.
    """
    index = np.asarray(index, dtype=np.int64)
    rows: dict[int, Scenes] = {}
    for attempt in range(ATTEMPTS):
        pending = np.array([i for i in index if int(i) not in rows], dtype=np.int64)
        if not len(pending):
            break
        scenes, calm = settle(sampler.sample(seed, pending, attempt=attempt), sampler.world)
        rows.update({int(i): take(scenes, [row]) for row, i in enumerate(pending) if calm[row]})
    else:
        missing = next((int(i) for i in index if int(i) not in rows), None)
        if missing is not None:
            raise PlacementError(
                f"physics: sample {missing} of seed {seed}: its blocks did not come to rest on the table in {ATTEMPTS} "
                "drops; lower randomize.blocks.count or distractors.count, widen place, or use physics=place"
            )
    return concatenate([rows[int(i)] for i in index])


def settle(scenes: Scenes, world: World) -> tuple[Scenes, NDArray[np.bool_]]:
    """`scenes` with the resting pose of every present block, and (B,) whether all blocks of a scene came to rest on the
    table."""
    poses = scenes.blocks.world_from_block.copy()
    calm = np.zeros(len(scenes), np.bool_)
    for row in range(len(scenes)):
        slots = np.flatnonzero(scenes.blocks.present[row])
        rest = _fall(scenes, row, slots, world)
        if rest is not None:
            poses[row, slots] = rest
            calm[row] = True
    return replace(scenes, blocks=replace(scenes.blocks, world_from_block=poses)), calm


def _fall(scenes: Scenes, row: int, slots: NDArray[np.int64], world: World) -> Array | None:
    """world_from_block (S, 4, 4) at rest, or None if the blocks did not come to rest or one left the table."""
    p = load_pybullet("physics", "physics=place")
    # A new physics client for each scene, so that a scene does not depend on the one before.
    client = p.connect(p.DIRECT)
    try:
        p.setPhysicsEngineParameter(deterministicOverlappingPairs=1, fixedTimeStep=STEP, physicsClientId=client)
        p.setGravity(0, 0, -9.81, physicsClientId=client)
        half = (world.table.size / 2).tolist()
        table = p.createCollisionShape(p.GEOM_BOX, halfExtents=half, physicsClientId=client)
        fixed = [p.createMultiBody(0, table, -1, world.table.center.tolist(), physicsClientId=client)]
        bodies, middles = [], []
        for slot in slots:
            solid = world.solids[scenes.blocks.model[row, slot]]
            scale = float(scenes.blocks.scale[row, slot])
            # PyBullet's body frame has its origin at the center of mass, the block frame at the bounding box's middle.
            middle = solid.center_of_mass * scale
            if solid.sphere:
                radius = float(solid.size[2]) * scale / 2
                shape = p.createCollisionShape(p.GEOM_SPHERE, radius=radius, physicsClientId=client)
            else:
                corners = (solid.vertices[solid.hull.vertices] * scale - middle).tolist()
                shape = p.createCollisionShape(p.GEOM_MESH, vertices=corners, physicsClientId=client)
            pose = scenes.blocks.world_from_block[row, slot] @ rigid(np.eye(3), middle)
            middles.append(rigid(np.eye(3), -middle))
            w, x, y, z = quaternion_from_matrix(pose[:3, :3])
            mass = DENSITY * solid.hull.volume * scale**3
            bodies.append(p.createMultiBody(mass, shape, -1, pose[:3, 3], (x, y, z, w), physicsClientId=client))
        for body in fixed + bodies:
            p.changeDynamics(
                body,
                -1,
                lateralFriction=FRICTION,
                rollingFriction=ROLLING_FRICTION,
                spinningFriction=ROLLING_FRICTION,
                restitution=0.0,
                collisionMargin=0.0001,
                physicsClientId=client,
            )
        before = _poses(p, bodies, client)
        for _ in range(int(LIMIT / CALM)):
            for _ in range(round(CALM / STEP)):
                p.stepSimulation(physicsClientId=client)
            after = _poses(p, bodies, client)
            if np.any(after[:, 2, 3] < 0):
                return None  # a block fell off the table
            shift = np.linalg.norm(after[:, :3, 3] - before[:, :3, 3], axis=1)
            turn = np.linalg.norm(after[:, :3, :3] - before[:, :3, :3], axis=(1, 2)) / np.sqrt(2)
            if np.all(shift < CALM_DISTANCE) and np.all(turn < CALM_ANGLE):
                return np.asarray(after @ np.stack(middles)) if middles else after
            before = after
        return None
    finally:
        p.disconnect(client)


def _poses(p: object, bodies: list[int], client: int) -> Array:
    poses = []
    for body in bodies:
        place, (x, y, z, w) = p.getBasePositionAndOrientation(body, physicsClientId=client)  # type: ignore[attr-defined]
        poses.append(rigid(matrix_from_quaternion(np.array([w, x, y, z])), np.array(place)))
    return np.stack(poses) if poses else np.zeros((0, 4, 4))
