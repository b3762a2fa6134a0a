"""`renderer=tiny`: PyBullet's TinyRenderer, a rasterizer on the CPU that runs on any machine.

Workarounds for faults of PyBullet, each found by measurement:
- It keeps the memory of textures until the connection is closed. So the connection is replaced regularly.
- A light argument that is omitted keeps its last value. So every call passes all of them.
"""

import os
import shutil
import tempfile
import weakref
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen.catalogue import World
from simgen.engine import load_pybullet
from simgen.errors import RenderError
from simgen.geometry import Array, inverse, quaternion_from_matrix
from simgen.render import Frames
from simgen.render.meshes import clutter_texture, write_clutter, write_fixtures, write_meshes
from simgen.render.pinhole import FAR, behind_lens, nearest_depth, projection
from simgen.scene import CLUTTER, SURFACES, TEXTURES, Scenes
from simgen.shapes.clutter import VARIANTS
from simgen.textures.color import decode, encode
from simgen.textures.images import ImageFolder
from simgen.textures.procedural import paint

pybullet = load_pybullet("renderer", "renderer=raycast, which needs no pybullet")

GLOSS = 0.1  # PyBullet's specular coefficient for light.specular = 1
BLOCK_TEXTURE, WIDE_TEXTURE = 128, 256  # px
SCENES_PER_CONNECTION = 50  # a new one costs 8 ms and returns the memory of its textures
# PyBullet has one light, without extent, and a white ambient; it knows no gloss.
_IGNORES = (
    "light.count",
    "light.kind",
    "light.size",
    "ambient.sky",
    "ambient.ground",
    *(f"ambient.{name}" for name in ("direction", "reflection", "occlusion")),
    *(
        f"material.{name}"
        for name in ("crop", "grime", "sides", "edge_mm", "wear", "roughness", "metalness", "specular")
    ),
)
_LEVELS = decode(np.arange(256) / 255).astype(np.float32)  # linear light of PyBullet's bytes, which are as displayed


class BulletRenderer:
    """A Renderer on PyBullet."""

    name, device, batch, ignored = "tiny", "cpu", 1, _IGNORES

    def __init__(self, world: World, images: ImageFolder) -> None:
        self._world, self._images = world, images
        self._folder = Path(tempfile.mkdtemp(prefix=f"simgen-{os.getpid()}-", dir=_memory_folder()))
        self._meshes = write_meshes(self._folder, world)
        self._connection: _Connection | None = None
        self._close = weakref.finalize(self, _remove, self._folder)

    def render(self, scenes: Scenes) -> Frames:
        drawn = [self._render_one(scenes, row) for row in range(len(scenes))]
        return Frames(*(np.stack(parts) for parts in zip(*drawn, strict=True)))

    def close(self) -> None:
        self._close()  # first: another thread may still be drawing, and PyBullet then crashes below
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _render_one(
        self, scenes: Scenes, row: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int16]]:
        if self._connection is not None and self._connection.scenes >= SCENES_PER_CONNECTION:
            self._connection.close()
            self._connection = None
        if self._connection is None:
            self._connection = _Connection(self._folder)
        connection = self._connection
        connection.clear()
        near = nearest_depth(scenes, row, self._world)
        slot_of_body = self._build(connection, scenes, row)

        cameras = scenes.cameras
        width, height, lens = cameras.width, cameras.height, cameras.distortion[row]
        pinhole, size, lookup = cameras.intrinsics[row], (width, height), None
        if np.any(lens):
            pinhole, size, lookup = behind_lens(pinhole, lens, width, height)
        rgb, depth, body = connection.picture(scenes, row, pinhole, size, near)
        nothing = body < 0
        if nothing.any():
            place = (row, SURFACES.index("background"))
            background = paint(scenes.surfaces.material, place, (size[1], size[0]), self._images)
            rgb = np.where(nothing[..., None], background, rgb)
            depth = np.where(nothing, np.float32(0), depth)
        slot = np.where(nothing, np.int16(-1), slot_of_body[np.maximum(body, 0)])
        if lookup is not None:
            rgb = np.asarray(cv2.remap(rgb, *lookup, cv2.INTER_LINEAR), dtype=np.uint8)
            depth = np.asarray(cv2.remap(depth, *lookup, cv2.INTER_NEAREST), dtype=np.float32)
            slot = np.asarray(cv2.remap(slot, *lookup, cv2.INTER_NEAREST), dtype=np.int16)
        return _LEVELS[rgb], depth, slot

    def _build(self, connection: "_Connection", scenes: Scenes, row: int) -> NDArray[np.int16]:
        """Adds all bodies; the slot of each body number, -1 for what is no block."""
        blocks, surfaces = scenes.blocks, scenes.surfaces
        slots: dict[int, int] = {}
        for slot in np.flatnonzero(blocks.present[row]):
            solid = int(blocks.model[row, slot])
            texture = paint(blocks.material, (row, slot), (BLOCK_TEXTURE, BLOCK_TEXTURE), self._images)
            pose = blocks.world_from_block[row, slot]
            faces = "-faces" if TEXTURES[blocks.material.texture[row, slot]] == "faces" else ""
            body = connection.add(self._meshes[f"solid-{solid}{faces}"], texture, pose, float(blocks.scale[row, slot]))
            slots[body] = int(slot)
        clutter = scenes.clutter
        for place in np.flatnonzero(clutter.present[row]):
            picture = paint(clutter.material, (row, place), (BLOCK_TEXTURE, BLOCK_TEXTURE), self._images)
            colors = (values[row, place] for values in (clutter.material.color, clutter.material.color2))
            mesh = self._clutter_mesh(int(clutter.kind[row, place]), int(clutter.variant[row, place]))
            pose, size = clutter.world_from_object[row, place], float(clutter.size[row, place])
            slots[connection.add(mesh, clutter_texture(picture, *colors), pose, size)] = -1
        things = {SURFACES.index(name): path for name, path in self._meshes.items() if name in SURFACES}
        if not surfaces.walls[row]:
            del things[SURFACES.index("wall")]
        fixtures = write_fixtures(self._folder, self._world, scenes.fixtures, row)
        things |= {len(SURFACES) + number: path for number, path in fixtures.items()}
        for surface, path in things.items():
            texture = paint(surfaces.material, (row, surface), (WIDE_TEXTURE, WIDE_TEXTURE), self._images)
            slots[connection.add(path, texture, np.eye(4), 1.0)] = -1
        result = np.full(max(slots) + 1, -1, np.int16)
        result[list(slots)] = list(slots.values())
        return result

    def _clutter_mesh(self, kind: int, variant: int) -> Path:
        """The file of a unit object of clutter, written when it is needed first."""
        number = variant % (len(self._world.meshes.bodies) if CLUTTER[kind] == "mesh" else VARIANTS)
        name = f"clutter-{kind}-{number}"
        if name not in self._meshes:
            self._meshes[name] = write_clutter(self._folder, name, self._world.clutter_of(kind, variant))
        return self._meshes[name]


class _Connection:
    """One PyBullet client and the bodies in it."""

    def __init__(self, folder: Path) -> None:
        self.scenes = 0
        self._texture = folder / "texture.bmp"
        self._client = pybullet.connect(pybullet.DIRECT)
        if self._client < 0:
            raise RenderError("renderer: PyBullet did not connect; close other PyBullet clients of this process")
        self.close = weakref.finalize(self, pybullet.disconnect, self._client)
        pybullet.setPhysicsEngineParameter(enableFileCaching=0, physicsClientId=self._client)

    def clear(self) -> None:
        """Removes the bodies of the last scene."""
        self.scenes += 1
        pybullet.resetSimulation(physicsClientId=self._client)

    def add(self, mesh: Path, texture: NDArray[np.uint8], world_from_body: Array, scale: float) -> int:
        """A new body with this mesh, texture and pose; its PyBullet number."""
        cv2.imwrite(str(self._texture), np.ascontiguousarray(texture[..., ::-1]))
        client = {"physicsClientId": self._client}
        try:
            shape = pybullet.createVisualShape(
                pybullet.GEOM_MESH, fileName=str(mesh), meshScale=[scale] * 3, rgbaColor=[1, 1, 1, 1], **client
            )
            w, x, y, z = quaternion_from_matrix(world_from_body[:3, :3])
            body = pybullet.createMultiBody(0, -1, shape, world_from_body[:3, 3], (x, y, z, w), **client)
            image = pybullet.loadTexture(str(self._texture), **client)
            pybullet.changeVisualShape(body, -1, textureUniqueId=image, **client)
        except pybullet.error as error:
            raise RenderError(f"renderer: PyBullet could not load {mesh.name} or its texture ({error})") from error
        return int(body)

    def picture(
        self, scenes: Scenes, row: int, pinhole: Array, size: tuple[int, int], near: float
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int64]]:
        """rgb, depth in m and body numbers (-1 for nothing) of a pinhole camera."""
        width, height = size
        view = np.diag([1.0, -1.0, -1.0, 1.0]) @ inverse(scenes.cameras.world_from_camera[row])
        lights, light = scenes.lights, _brightest(scenes, row)
        # PyBullet shades displayed values: its coefficients are those of a surface in shadow and of one in full light.
        dim = float(scenes.ambient.intensity[row])
        bright = dim + float(np.sum(lights.intensity[row], where=lights.present[row]))
        ambient, full = (float(encode(np.float64(min(light, 1.0)))) * max(light, 1.0) for light in (dim, bright))
        on = light is not None
        light = light or 0
        _, _, rgba, buffer, segmentation = pybullet.getCameraImage(
            width,
            height,
            viewMatrix=view.T.ravel().tolist(),
            projectionMatrix=projection(pinhole, width, height, near).T.ravel().tolist(),
            lightDirection=lights.direction[row, light].tolist() if on else [0, 0, 1],
            lightColor=lights.color[row, light].tolist() if on else [1, 1, 1],
            lightDistance=float(lights.distance[row, light]) if on else 1.0,
            shadow=int(lights.shadow[row, light]) if on else 0,
            lightAmbientCoeff=ambient,
            lightDiffuseCoeff=full - ambient,
            lightSpecularCoeff=GLOSS * float(lights.specular[row, light]) if on else 0.0,
            renderer=pybullet.ER_TINY_RENDERER,
            flags=0,
            physicsClientId=self._client,
        )
        # bytes() takes a third of the time of np.asarray where pybullet was built without numpy and returns tuples.
        rgb = np.frombuffer(bytes(rgba), dtype=np.uint8).reshape(height, width, 4)[..., :3]
        buffer = np.asarray(buffer, dtype=np.float64).reshape(height, width)
        depth = (FAR * near / (FAR - (FAR - near) * buffer)).astype(np.float32)
        return rgb, depth, np.asarray(segmentation, dtype=np.int64).reshape(height, width)


def _remove(folder: Path) -> None:
    # A thread that still renders may put a file there meanwhile: then once more. Without the folder it cannot.
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=True)


def _brightest(scenes: Scenes, row: int) -> int | None:
    """The light that PyBullet draws, as bright as all together: the one of greatest intensity. None if there is none."""
    intensity = np.where(scenes.lights.present[row], scenes.lights.intensity[row], 0.0)
    return int(np.argmax(intensity)) if intensity.any() else None


def _memory_folder() -> Path | None:
    """A folder in memory, if the system has one: a scene's small files then never reach a disk."""
    shared = Path("/dev/shm")
    return shared if shared.is_dir() and os.access(shared, os.W_OK) else None
