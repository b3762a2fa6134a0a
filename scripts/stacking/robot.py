"""A Franka Panda on a table in PyBullet, with blocks: its kinematics, its motion and what its fingers hold.

The arm is moved by position control of its joints; all motion is counted in steps of STEP, and a trial has LIMIT of them.
The frame is the table's. `tip` is the place between the fingertips, from which the fingers point down.
"""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from simgen.catalogue import World
from simgen.engine import load_pybullet, silence
from simgen.geometry import Array, matrix_from_quaternion, quaternion_from_matrix, rigid, rotation_about
from stacking.lying import OPENING, Lying

STEP = 1 / 240  # s of simulated time
LIMIT = 40 * 240  # steps of a trial: more than twice what three blocks take
BASE = (-0.5, 0.0, 0.0)  # m, the robot's base on the table
HOME = np.array([0.0, -0.6, 0.0, -2.4, 0.0, 1.8, np.pi / 4])  # rad, the parked arm
# rad, of the arm's joints: the limits of Franka's data sheet.
LOW = np.array([-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973])
HIGH = np.array([2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973])
EFFORT = [87.0, 87, 87, 87, 12, 12, 12]  # N m, the same source
FAST, SLOW = 2.0, 0.6  # rad / s, the greatest speed of a joint; Franka's limit is 2.175
GRIP = 25.0  # N of each finger
DENSITY = 600.0  # kg / m^3: wood
FRICTION = 0.8  # of blocks and table
_ARM, _FINGERS, _TIP = list(range(7)), [9, 10], 11  # joints and the link between the fingertips in panda.urdf
_ROUNDS = 40  # calls of the solver before a place counts as out of reach
_NEAR, _TURNED = 1e-3, 0.02  # m and rad: the greatest error of a solution
_BLOCKED = 0.12  # rad: a joint that lags behind by more has met something


class TroubleError(Exception):
    """The robot cannot go on; `reason` is "unreachable", "blocked", "nothing in the gripper" or "step limit"."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Kinematics:
    """The arm alone, without physics: the joints at which the fingertips are at a place."""

    def __init__(self) -> None:
        self._p, self._client = _connect()
        self._robot = _load_arm(self._p, self._client)

    def close(self) -> None:
        self._p.disconnect(self._client)

    def joints(self, tip: Array, angle: float, start: Array) -> Array:
        """(7,) rad: joints near `start` at which the fingers point down at `tip` (3,) m and close along `angle` rad.

        PyBullet's damped least squares (Buss and Kim 2005), repeated until it converges. Raises TroubleError("unreachable").
        """
        p, client = self._p, self._client
        rotation = rotation_about(2, angle - np.pi / 2) @ np.diag([1.0, -1.0, -1.0])  # the fingers close along their Y
        w, x, y, z = quaternion_from_matrix(rotation)
        joints = np.asarray(start, dtype=np.float64)
        for _ in range(_ROUNDS):
            self._set(joints)
            found = p.calculateInverseKinematics(
                self._robot,
                _TIP,
                tip.tolist(),
                (x, y, z, w),
                maxNumIterations=20,
                residualThreshold=1e-6,
                physicsClientId=client,
            )
            joints = np.clip(np.array(found[:7]), LOW, HIGH)
            self._set(joints)
            place, turn = self._tip()
            off = np.arccos(np.clip((np.trace(rotation.T @ turn) - 1) / 2, -1, 1))
            if np.linalg.norm(place - tip) < _NEAR and off < _TURNED:
                return joints
        raise TroubleError("unreachable")

    def _set(self, joints: Array) -> None:
        for joint, value in zip(_ARM, joints, strict=True):
            self._p.resetJointState(self._robot, joint, value, physicsClientId=self._client)

    def _tip(self) -> tuple[Array, Array]:
        state = self._p.getLinkState(self._robot, _TIP, computeForwardKinematics=1, physicsClientId=self._client)
        x, y, z, w = state[5]
        return np.array(state[4]), matrix_from_quaternion(np.array([w, x, y, z]))


class Cell:
    """The robot, the table and blocks in motion. `watch` is called after each step."""

    def __init__(self, world: World, blocks: Sequence[Lying], watch: Callable[["Cell"], None] | None = None) -> None:
        self.p, self.client = _connect()
        self.steps = 0
        self._watch = watch
        p, client = self.p, self.client
        p.setPhysicsEngineParameter(
            fixedTimeStep=STEP,
            numSolverIterations=50,
            solverResidualThreshold=1e-5,
            deterministicOverlappingPairs=1,
            physicsClientId=client,
        )
        p.setGravity(0, 0, -9.81, physicsClientId=client)
        shape = p.createCollisionShape(p.GEOM_BOX, halfExtents=(world.table.size / 2).tolist(), physicsClientId=client)
        table = p.createMultiBody(0, shape, -1, world.table.center.tolist(), physicsClientId=client)
        p.changeDynamics(table, -1, lateralFriction=FRICTION, physicsClientId=client)
        self.robot = _load_arm(p, client)
        self.arm = HOME.copy()  # the joints' targets
        for joint, value in zip(_ARM, self.arm, strict=True):
            p.resetJointState(self.robot, joint, value, physicsClientId=client)
        for finger in _FINGERS:
            p.resetJointState(self.robot, finger, OPENING / 2, physicsClientId=client)
            p.changeDynamics(
                self.robot,
                finger,
                lateralFriction=1.0,
                spinningFriction=0.02,
                rollingFriction=0.001,
                physicsClientId=client,
            )
        # The two fingers of a Franka hand move together.
        gear = p.createConstraint(
            self.robot, 9, self.robot, 10, p.JOINT_GEAR, [1, 0, 0], [0, 0, 0], [0, 0, 0], physicsClientId=client
        )
        p.changeConstraint(gear, gearRatio=-1, erp=0.1, maxForce=50, physicsClientId=client)
        self.bodies = [self._add(block) for block in blocks]
        self._middles = [block.solid.center_of_mass for block in blocks]
        self._fingers(OPENING / 2)
        self._targets(np.zeros(7))

    def close(self) -> None:
        self.p.disconnect(self.client)

    def pose(self, number: int) -> Array:
        """(4, 4) table_from_block of block `number`."""
        place, (x, y, z, w) = self.p.getBasePositionAndOrientation(self.bodies[number], physicsClientId=self.client)
        turn = matrix_from_quaternion(np.array([w, x, y, z]))
        return rigid(turn, np.array(place) - turn @ self._middles[number])

    def speed(self, number: int) -> tuple[float, float]:
        """m / s and rad / s of block `number`."""
        linear, angular = self.p.getBaseVelocity(self.bodies[number], physicsClientId=self.client)
        return float(np.linalg.norm(linear)), float(np.linalg.norm(angular))

    def touched(self, number: int) -> bool:
        """Whether a finger touches block `number`."""
        return any(self._touches(finger, number) for finger in _FINGERS)

    def held(self, number: int) -> bool:
        """Whether both fingers touch block `number`."""
        return all(self._touches(finger, number) for finger in _FINGERS)

    def move(self, joints: Array, speed: float = FAST) -> None:
        """Moves the arm to `joints` (7,), the fastest of them at up to `speed` rad / s, and waits until it is there.

        Raises TroubleError("blocked") where something holds a joint back.
        """
        begin, change = self.arm, joints - self.arm
        # A quintic in time has 15/8 of its mean speed in the middle.
        count = max(int(np.ceil(15 / 8 * np.abs(change).max() / speed / STEP)), 12)
        for number in range(1, count + 1):
            s = number / count
            self.arm = begin + change * (10 * s**3 - 15 * s**4 + 6 * s**5)
            self._targets(change * 30 * (s**2 - 2 * s**3 + s**4) / (count * STEP))
            self.step()
        for _ in range(24):
            if np.abs(self._lag()).max() < 2e-3:
                break
            self.step()

    def grip(self) -> None:
        """Closes the fingers."""
        self._fingers(0.0)
        self.wait(0.5)

    def open(self) -> None:
        """Opens the fingers."""
        self._fingers(OPENING / 2)
        self.wait(0.4)

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP)):
            self.step()

    def step(self) -> None:
        """One step of the physics. Raises TroubleError at the step limit, and where something holds the arm back."""
        if self.steps >= LIMIT:
            raise TroubleError("step limit")
        self.p.stepSimulation(physicsClientId=self.client)
        self.steps += 1
        if self._watch is not None:
            self._watch(self)
        if np.abs(self._lag()).max() > _BLOCKED:
            raise TroubleError("blocked")

    def _lag(self) -> Array:
        states = self.p.getJointStates(self.robot, _ARM, physicsClientId=self.client)
        return self.arm - np.array([state[0] for state in states])

    def _targets(self, velocities: Array) -> None:
        self.p.setJointMotorControlArray(
            self.robot,
            _ARM,
            self.p.POSITION_CONTROL,
            targetPositions=self.arm.tolist(),
            targetVelocities=velocities.tolist(),
            forces=EFFORT,
            positionGains=[0.3] * 7,
            velocityGains=[1.0] * 7,
            physicsClientId=self.client,
        )

    def _fingers(self, each: float) -> None:
        for finger in _FINGERS:
            self.p.setJointMotorControl2(
                self.robot,
                finger,
                self.p.POSITION_CONTROL,
                targetPosition=each,
                force=GRIP,
                maxVelocity=0.1,
                physicsClientId=self.client,
            )

    def _touches(self, finger: int, number: int) -> bool:
        return bool(
            self.p.getContactPoints(self.robot, self.bodies[number], linkIndexA=finger, physicsClientId=self.client)
        )

    def _add(self, block: Lying) -> int:
        """A body with the convex hull of `block`."""
        p, middle = self.p, block.solid.center_of_mass
        points = (block.solid.corners - middle).tolist()
        shape = p.createCollisionShape(p.GEOM_MESH, vertices=points, physicsClientId=self.client)
        w, x, y, z = quaternion_from_matrix(block.pose[:3, :3])
        place = (block.pose @ np.append(middle, 1))[:3].tolist()
        mass = DENSITY * block.solid.hull.volume
        body = p.createMultiBody(mass, shape, self._look(block), place, (x, y, z, w), physicsClientId=self.client)
        p.changeDynamics(
            body,
            -1,
            lateralFriction=FRICTION,
            spinningFriction=0.002,
            rollingFriction=0.0005,
            collisionMargin=5e-4,
            physicsClientId=self.client,
        )
        return int(body)

    def _look(self, block: Lying) -> int:
        """A shape that pictures show, if anyone watches."""
        if self._watch is None:
            return -1
        points = block.solid.vertices - block.solid.center_of_mass
        triangles = block.solid.triangles
        # Each triangle has its own corners, whose normals are the triangle's: flat sides.
        corners = points[triangles]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals = np.repeat(normals / np.linalg.norm(normals, axis=1, keepdims=True), 3, axis=0)
        return int(
            self.p.createVisualShape(
                self.p.GEOM_MESH,
                vertices=corners.reshape(-1, 3).tolist(),
                indices=list(range(3 * len(triangles))),
                normals=normals.tolist(),
                uvs=[[0.0, 0.0]] * (3 * len(triangles)),
                physicsClientId=self.client,
            )
        )


def _connect() -> tuple[Any, int]:
    p = load_pybullet("stack_blocks", "a machine with PyBullet: the robot needs it")
    return p, p.connect(p.DIRECT)


def _load_arm(p: Any, client: int) -> int:
    found = find_spec("pybullet_data")  # part of the wheel; it is not imported
    assert found is not None and found.origin is not None
    path = Path(found.origin).parent / "franka_panda" / "panda.urdf"
    with silence():
        return int(p.loadURDF(str(path), BASE, useFixedBase=True, physicsClientId=client))
