"""PyBullet's two renderers: `tiny` (CPU, on any machine) and `egl` (OpenGL, on a GPU or on Mesa).

Workarounds for faults of PyBullet, each found by measurement:
- EGL caches a mesh, with its scale and texture, by its FILE NAME: all bodies made from one file get the first one's scale
  and the last one's texture. So every body gets its own file name (a hard link).
- After resetSimulation, EGL shows old textures. So EGL removes nothing: bodies of earlier scenes are moved out of view, and
  the connection is replaced every few scenes.
- Both leak textures until the connection is closed. So the connection of tiny is replaced regularly, too.
- The first two pictures of a new EGL connection lack shadows. So they are drawn and discarded.
- A light argument that is omitted keeps its last value. So every call passes all of them.
- EGL segfaults on meshes given as arrays, and rounds GEOM_BOX. So all meshes are OBJ files with a normal for each face.
- EGL can crash the process that loads it. So it is first tried in a child process.
- Two open EGL connections in one process corrupt each other's pictures. So opening one closes the other.
- The EGL plugin writes to the C standard output, which is silenced while a connection opens.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from simgen.catalogue import World
from simgen.engine import load_pybullet, silence
from simgen.errors import RenderError
from simgen.geometry import Array, inverse, quaternion_from_matrix
from simgen.render import Frames
from simgen.render.meshes import write_fixtures, write_meshes
from simgen.render.pinhole import FAR, behind_lens, nearest_depth, projection
from simgen.scene import SURFACES, TEXTURES, Scenes
from simgen.textures.color import decode, encode
from simgen.textures.images import ImageFolder
from simgen.textures.procedural import paint

pybullet = load_pybullet("renderer", "renderer=raycast, which needs no pybullet")

GLOSS = 0.1  # PyBullet's specular coefficient for light.specular = 1
BLOCK_TEXTURE, WIDE_TEXTURE = 128, 256  # px
# Scenes for each connection: a new one costs 8 ms (tiny) or 0.3 s (EGL) and returns the memory of its textures.
SCENES_PER_CONNECTION = {"tiny": 50, "egl": 40}
EGL_WARM_UP = 2  # a connection's first two pictures lack their shadows
# Where in a pixel each backend takes its sample, from the pixel's top-left corner: found by shifting the camera until the
# drawn masks met the analytic ones (silhouette.py) exactly. OpenGL samples centres; TinyRenderer the bottom-left corner.
_SAMPLE = {"tiny": (0.0, 1.0), "egl": (0.5, 0.5)}
_OUT_OF_SIGHT = (0.0, 0.0, -1000.0)
# PyBullet has one light, without extent, and a white ambient; it knows no gloss.
_IGNORES = (
    "light.count",
    "light.kind",
    "light.size",
    "ambient.sky",
    "ambient.ground",
    "ambient.occlusion",
    *(f"material.{name}" for name in ("roughness", "metalness", "specular")),
)
_EGL_IGNORES = (
    *_IGNORES,
    *(f"light.{name}" for name in ("distance", "color", "intensity", "specular", "shadow")),
    "ambient.intensity",
)
_LEVELS = decode(np.arange(256) / 255).astype(np.float32)  # linear light of PyBullet's bytes, which are as displayed


class BulletRenderer:
    """A Renderer on PyBullet; `name` is tiny or egl. Raises RenderError where EGL does not work."""

    def __init__(self, name: str, world: World, images: ImageFolder) -> None:
        if name == "egl":
            probe_egl()
        self.name = name
        self.device, self.batch = torch.device("cpu"), 1
        self._world, self._images = world, images
        self._folder = Path(tempfile.mkdtemp(prefix=f"simgen-{os.getpid()}-", dir=_memory_folder()))
        self._meshes = write_meshes(self._folder, world)
        self._connection: _Connection | None = None
        self._close = weakref.finalize(self, _remove, self._folder)

    @property
    def ignored(self) -> tuple[str, ...]:
        return _EGL_IGNORES if self.name == "egl" else _IGNORES

    def render(self, scenes: Scenes) -> Frames:
        drawn = [self._render_one(scenes, row) for row in range(len(scenes))]
        rgb, depth, slot = (torch.from_numpy(np.stack(parts)) for parts in zip(*drawn, strict=True))
        return Frames(rgb, depth, slot)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._close()

    def _render_one(
        self, scenes: Scenes, row: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int16]]:
        connection = self._connection
        if connection is not None and connection.scenes >= SCENES_PER_CONNECTION[self.name]:
            connection.close()
        if connection is None or not connection.is_open:
            connection = self._connection = _Connection(self.name, self._folder)
        connection.clear()
        near = nearest_depth(scenes, row, self._world)
        slot_of_body = self._build(connection, scenes, row)

        cameras = scenes.cameras
        width, height, lens = cameras.width, cameras.height, cameras.distortion[row]
        pinhole, size, lookup = cameras.intrinsics[row], (width, height), None
        if np.any(lens):
            pinhole, size, lookup = behind_lens(pinhole, lens, width, height)
        if self.name == "egl" and connection.scenes == 1:
            with silence():  # its first picture names the graphics card
                for _ in range(EGL_WARM_UP):
                    connection.picture(scenes, row, pinhole, size, near)
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
        things = {SURFACES.index(name): path for name, path in self._meshes.items() if name in SURFACES}
        if not surfaces.walls[row]:
            del things[SURFACES.index("wall")]
        fixtures = write_fixtures(self._folder, self._world, scenes.fixtures, row)
        things |= {len(SURFACES) + number: path for number, path in fixtures.items()}
        for place, path in things.items():
            texture = paint(surfaces.material, (row, place), (WIDE_TEXTURE, WIDE_TEXTURE), self._images)
            slots[connection.add(path, texture, np.eye(4), 1.0)] = -1
        result = np.full(max(slots) + 1, -1, np.int16)
        result[list(slots)] = list(slots.values())
        return result


class _Connection:
    """One PyBullet client and the bodies in it."""

    _egl: ClassVar["_Connection | None"] = None  # the one that is open in this process

    def __init__(self, name: str, folder: Path) -> None:
        if name == "egl" and _Connection._egl is not None:
            _Connection._egl.close()
        self.scenes = 0
        self._name, self._folder = name, folder
        self._bodies: list[int] = []
        self._files = 0
        with silence():
            self._client = pybullet.connect(pybullet.DIRECT)
            if self._client < 0:
                raise RenderError("renderer: PyBullet did not connect; close other PyBullet clients of this process")
            if name == "egl":
                origin = _plugin_path()
                if pybullet.loadPlugin(origin, "_eglRendererPlugin", physicsClientId=self._client) < 0:
                    raise RenderError("renderer: egl: PyBullet could not load its EGL plugin")
        self._disconnect = weakref.finalize(self, _disconnect, self._client)
        if name == "egl":
            _Connection._egl = self
        pybullet.setPhysicsEngineParameter(enableFileCaching=0, physicsClientId=self._client)

    @property
    def is_open(self) -> bool:
        return self._disconnect.alive

    def clear(self) -> None:
        """Takes away the bodies of the scene before."""
        self.scenes += 1
        if self._name == "egl":
            for body in self._bodies:
                pybullet.resetBasePositionAndOrientation(
                    body, _OUT_OF_SIGHT, (0, 0, 0, 1), physicsClientId=self._client
                )
        else:
            pybullet.resetSimulation(physicsClientId=self._client)
        self._bodies = []

    def add(self, mesh: Path, texture: NDArray[np.uint8], world_from_body: Array, scale: float) -> int:
        """A new body with this mesh, texture and pose; its PyBullet number."""
        self._files += 1
        own_mesh = self._folder / f"body-{id(self)}-{self._files}.obj"
        own_texture = own_mesh.with_suffix(".bmp")
        os.link(mesh, own_mesh)
        cv2.imwrite(str(own_texture), np.ascontiguousarray(texture[..., ::-1]))
        client = {"physicsClientId": self._client}
        try:
            shape = pybullet.createVisualShape(
                pybullet.GEOM_MESH, fileName=str(own_mesh), meshScale=[scale] * 3, rgbaColor=[1, 1, 1, 1], **client
            )
            w, x, y, z = quaternion_from_matrix(world_from_body[:3, :3])
            body = pybullet.createMultiBody(0, -1, shape, world_from_body[:3, 3], (x, y, z, w), **client)
            image = pybullet.loadTexture(str(own_texture), **client)
            pybullet.changeVisualShape(body, -1, textureUniqueId=image, **client)
        except pybullet.error as error:
            raise RenderError(
                f"renderer: {self._name}: PyBullet could not load {mesh.name} or its texture ({error})"
            ) from error
        finally:
            own_mesh.unlink()
            own_texture.unlink(missing_ok=True)
        self._bodies.append(body)
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
            projectionMatrix=projection(pinhole, width, height, _SAMPLE[self._name], near).T.ravel().tolist(),
            lightDirection=lights.direction[row, light].tolist() if on else [0, 0, 1],
            lightColor=lights.color[row, light].tolist() if on else [1, 1, 1],
            lightDistance=float(lights.distance[row, light]) if on else 1.0,
            shadow=int(lights.shadow[row, light]) if on else 0,
            lightAmbientCoeff=ambient,
            lightDiffuseCoeff=full - ambient,
            lightSpecularCoeff=GLOSS * float(lights.specular[row, light]) if on else 0.0,
            renderer=pybullet.ER_BULLET_HARDWARE_OPENGL if self._name == "egl" else pybullet.ER_TINY_RENDERER,
            flags=0,
            physicsClientId=self._client,
        )
        # bytes() takes a third of the time of np.asarray where pybullet was built without numpy and returns tuples.
        rgb = np.frombuffer(bytes(rgba), dtype=np.uint8).reshape(height, width, 4)[..., :3]
        buffer = np.asarray(buffer, dtype=np.float64).reshape(height, width)
        depth = (FAR * near / (FAR - (FAR - near) * buffer)).astype(np.float32)
        return rgb, depth, np.asarray(segmentation, dtype=np.int64).reshape(height, width)

    def close(self) -> None:
        self._disconnect()


def _remove(folder: Path) -> None:
    # A thread that still renders may put a file there meanwhile: then once more. Without the folder it cannot.
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=True)


def _disconnect(client: int) -> None:
    with silence():
        pybullet.disconnect(client)


def _brightest(scenes: Scenes, row: int) -> int | None:
    """The light that PyBullet draws, as bright as all together: the one of greatest intensity. None if there is none."""
    intensity = np.where(scenes.lights.present[row], scenes.lights.intensity[row], 0.0)
    return int(np.argmax(intensity)) if intensity.any() else None


def probe_egl() -> None:
    """Tries PyBullet's EGL renderer in a child process, which it may crash; raises RenderError that says what to install."""
    global _egl_works
    if _egl_works:
        return
    _plugin_path()  # without it there is nothing that a driver could mend
    code = (
        "import pybullet, sys; from simgen.render.bullet import _plugin_path as path; "
        "c = pybullet.connect(pybullet.DIRECT); p = pybullet.loadPlugin(path(), '_eglRendererPlugin'); "
        "i = pybullet.getCameraImage(8, 8, lightDirection=[0, 0, 1], renderer=pybullet.ER_BULLET_HARDWARE_OPENGL); "
        "sys.exit(0 if p >= 0 and len(i[2]) else 3)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)
    if child.returncode != 0:
        output = (child.stderr.strip().splitlines() or child.stdout.strip().splitlines() or ["nothing"])[-1]
        raise RenderError(
            f"renderer: egl does not work here (the probe ended with status {child.returncode}; output: {output}); install "
            "the GPU's driver, or Mesa (Debian and Ubuntu: apt install libegl1 libgl1-mesa-dri), or use renderer=tiny"
        )
    _egl_works = True


_egl_works = False


def _plugin_path() -> str:
    plugin = importlib.util.find_spec("eglRenderer")
    if plugin is None or plugin.origin is None:
        raise RenderError(
            "renderer: egl: this build of pybullet has no EGL plugin (pybullet-arm64, which Python 3.12 and later need, has "
            "none); use Python 3.11, renderer=tiny or renderer=raycast"
        )
    return plugin.origin


def _memory_folder() -> Path | None:
    """A folder in memory where there is one: a scene's two dozen small files then never reach a disk."""
    shared = Path("/dev/shm")
    return shared if shared.is_dir() and os.access(shared, os.W_OK) else None
