"""`renderer=raycast`: a ray caster in kernels of NVIDIA Warp, on the CPU or on a CUDA device.

For each 16 x 16 tile of a picture, or each of its pixels, in this order:

    lens        (tracing.py)    the rays' directions on a grid of the picture, through the lens
    candidates  (tracing.py)    which parts a tile's rays may meet: those whose bounding sphere meets the cone of the rays
    trace       (tracing.py)    the first hit of each pixel's ray: depth, part and face
    occluders   (occlusion.py)  which parts may shade what a tile shows, for each light, and darken its ambient light
    shade       (lighting.py)   each pixel's material, lights with shadows, ambient light with occlusion: linear rgb

No thread reads what another thread of the same kernel writes, so the bytes depend on no order. Counts of tiles start at
`first`, so that several CPU threads can share a batch.
"""

import math
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import warp as wp

from simgen import exact
from simgen.catalogue import World
from simgen.command.progress import announce
from simgen.distortion import padded
from simgen.errors import ConfigError, RenderError
from simgen.pictures import Image
from simgen.render import Frames
from simgen.render.buffers import Buffers, Shapes, buffers_of
from simgen.render.kernels import RAYS, kernels
from simgen.render.kernels.device import DIRECTIONS, LISTS, STEP, TILE
from simgen.scene import Scenes
from simgen.schema import Raycast
from simgen.textures.color import decode
from simgen.textures.grime import grime_of
from simgen.textures.images import ImageFolder
from simgen.textures.pool import MOST, SIDE, TEXELS, Key, Pool
from simgen.textures.procedural import lattice, picture

BATCH = {"cpu": 4, "cuda": 256}  # scenes in one call: more on a CPU only cost memory
SLICE = 128  # tiles at a time on a CPU
_SLOW = 2.0  # s: what takes longer than this to load is being compiled


class RaycastRenderer:
    """A Renderer in Warp. Raises ConfigError for a setting out of range, RenderError where its device does not exist.

    `threads` is the number of CPU threads that share a batch, and `rays` the number of rays that a thread of the kernels
    follows, None for what is fast on the device.
    """

    name = "raycast"
    ignored: tuple[str, ...] = ()

    def __init__(
        self,
        world: World,
        images: ImageFolder,
        settings: Raycast,
        threads: int | None = None,
        rays: int | None = None,
    ) -> None:
        self.device = device_of(settings)
        self._side = math.isqrt(settings.light_samples)
        self._on_cpu = self.device == "cpu"
        self._kernels = kernels(rays or (RAYS if self._on_cpu else 1))
        self.batch = BATCH["cpu" if self._on_cpu else "cuda"]
        self._world, self._images, self._samples = world, images, settings.supersample
        self._shapes = Shapes(self.device)
        self._pool = Pool(lambda key: _picture_of(key, images))
        self._threads = (threads or len(os.sched_getaffinity(0))) if self._on_cpu else 1
        self._workers = ThreadPoolExecutor(self._threads) if self._threads > 1 else None
        self._scratch: dict[str, Any] = {}
        self._uploaded: tuple[int, int] = (-1, -1)
        self._texels: Any = None
        device = self._kernels.device
        self._tables, self._bodies, self._pictures = device.Tables(), device.Bodies(), device.Pictures()
        self._pictures.lattice = self._array(lattice(), float)
        turn = np.arange(DIRECTIONS) * (2 * np.pi / DIRECTIONS)
        self._tables.circle = self._array(np.stack(exact.sine_cosine(turn)[::-1], 1), wp.vec2)
        self._pictures.linear = self._array(decode(np.arange(256) / 255), float)
        room = world.room
        self._tables.room_low = wp.vec3(*room.low, room.floor)
        self._tables.room_high = wp.vec3(*room.high, room.floor + room.height)
        _load(self._kernels, self.device)

    def render(self, scenes: Scenes) -> Frames:
        try:
            return self._render(scenes)
        except RuntimeError as error:
            if "alloc" not in str(error).lower():
                raise
            raise RenderError(
                f"raycast.device: {len(scenes)} pictures of {scenes.cameras.width} x {scenes.cameras.height} px do not fit "
                f"into the memory of {self.device}; draw fewer at once (batch_size, or width and height)"
            ) from error

    def close(self) -> None:
        if self._workers is not None:
            self._workers.shutdown()

    def _render(self, scenes: Scenes) -> Frames:
        batch, height, width = len(scenes), scenes.cameras.height, scenes.cameras.width
        buffers = buffers_of(scenes, self._world, self._shapes, self._pool, len(self._images.paths))
        self._upload(width, height)
        slots = scenes.blocks.model.shape[1]
        # Rows are whole numbers of tiles long. All but the masks of blocks is written everywhere.
        lanes = self._kernels.lanes
        row = (batch, height, self._tables.across * self._kernels.device.ACROSS)
        rgb = wp.empty((batch, height, width), dtype=wp.vec3, device=self.device)
        depth, slot = (wp.empty(row, dtype=kind, device=self.device) for kind in (lanes.lanes, lanes.shorts))
        amodal = wp.zeros((batch, slots, height, width), dtype=wp.bool, device=self.device)
        self._draw(scenes, buffers, rgb, depth, slot, amodal)
        results: list[Any] = [rgb, depth, slot, amodal]
        arrays = [part.numpy() if self._on_cpu else wp.to_torch(part) for part in results]
        arrays[1:3] = (part.reshape(batch, height, -1)[..., :width] for part in arrays[1:3])
        return Frames(*arrays)

    def _draw(self, scenes: Scenes, buffers: Buffers, rgb: Any, depth: Any, slot: Any, amodal: Any) -> None:
        k = self._kernels
        batch, height = rgb.shape[:2]
        tiles = batch * self._tables.tiles
        rows = (-(-height // TILE) * TILE) // STEP + 1
        columns = self._tables.across * TILE // STEP + 1
        scene, part = self._array(buffers.scenes, k.device.Scene), self._array(buffers.parts, k.device.Part)
        light = self._array(buffers.lights, k.device.Light)
        material = self._array(buffers.materials, k.device.Material)
        spheres = self._array(buffers.spheres, wp.vec4)
        optics = self._array(buffers.intrinsics, wp.float64)
        glass = self._array(padded(scenes.cameras.distortion), wp.float64)
        most = 32 * -(-buffers.most // 32)
        count = self._kept("count", (tiles,), int)
        near = self._kept("near", (tiles, most), wp.int16)
        number = self._kept("number", (tiles, LISTS), int)
        shading = self._kept("shading", (tiles, LISTS, most), wp.int16)
        packets = (batch, -(-height // TILE) * TILE, self._tables.across * k.device.ACROSS)
        reach = self._kept("reach", packets, k.lanes.lanes)
        hit, face = (self._kept(name, packets, k.lanes.wholes) for name in ("hit", "face"))
        side = self._samples
        steps = [((j % side + 0.5) / side - 0.5, (j // side + 0.5) / side - 0.5) for j in range(side * side)]
        # Masks and depth are those of the pixels' centers; with an even number of samples that is a pass of its own.
        passes = steps if (0.0, 0.0) in steps else [(0.0, 0.0), *steps]
        nodes = [self._kept(f"nodes {j}", (batch, rows, columns), wp.vec2) for j in range(len(passes))]
        for (u, v), grid in zip(passes, nodes, strict=True):
            self._launch(k.tracing.lens, grid.shape, [optics, glass, rows, columns, u, v], [grid])

        def share(first: int, last: int) -> None:
            """All passes of the tiles `first` to `last`."""
            n, tables, bodies = last - first, self._tables, self._bodies
            packets = k.device.PACKETS
            each = packets if self._on_cpu else 1  # of a thread: to start one costs as much as a ray
            threads = n * packets // each
            middle = nodes[passes.index((0.0, 0.0))]
            self._launch(k.tracing.candidates, n, [first, tables, scene, middle, spheres], [count, near])
            for j, (step, grid) in enumerate(zip(passes, nodes, strict=True)):
                labels = int(step == (0.0, 0.0))
                seen = [first, each, tables, bodies, scene, grid, part, light, count, near, labels]
                self._launch(k.tracing.trace, threads, seen, [reach, hit, face, depth, slot, amodal])
                if step not in steps:
                    continue
                seen = [first, tables, bodies, scene, grid, part, spheres, light, reach, hit]
                self._launch(k.occlusion.occluders, n, seen, [number, shading])
                seen = [
                    first,
                    each,
                    tables,
                    bodies,
                    self._pictures,
                    scene,
                    grid,
                    part,
                    spheres,
                    material,
                    light,
                    reach,
                    hit,
                    face,
                    number,
                    shading,
                ]
                self._launch(
                    k.lighting.shade,
                    threads,
                    [*seen, self._side, j, self._samples, 1.0 / len(steps), int(step != steps[0])],
                    [rgb],
                )

        if not self._on_cpu:
            share(0, tiles)
            return
        # Slices whose buffers fit a core's cache, and more of them than threads: some take longer than others.
        ends = [*range(0, tiles, SLICE), tiles]
        list((self._workers.map if self._workers else map)(share, ends[:-1], ends[1:]))

    def _launch(self, kernel: Any, dim: Any, inputs: list[Any], outputs: list[Any]) -> None:
        wp.launch(kernel, dim=dim, inputs=inputs, outputs=outputs, device=self.device)

    def _array(self, values: Any, kind: Any) -> Any:
        """`values` on the device; on the CPU without a copy where the type allows."""
        if isinstance(values, np.ndarray) and values.dtype.kind == "f" and kind is not wp.float64:
            values = np.ascontiguousarray(values, np.float32)
        return wp.array(values, dtype=kind, device=self.device, copy=not self._on_cpu)

    def _kept(self, name: str, shape: tuple[int, ...], kind: Any) -> Any:
        """An array for a kernel's results, which holds whatever it held in the call before."""
        kept = self._scratch.get(name)
        if kept is None or kept.shape != shape:
            kept = self._scratch[name] = wp.empty(shape, dtype=kind, device=self.device)
        return kept

    def _upload(self, width: int, height: int) -> None:
        """Brings the tables up to date with the bodies and pictures that the scenes refer to."""
        tables, shapes, pool = self._tables, self._shapes, self._pool
        if self._uploaded != (shapes.version, pool.version):
            self._bodies.planes = self._array(shapes.planes, wp.vec4)
            self._bodies.faces = self._array(shapes.faces, int)
            self._bodies.meshes = self._array(shapes.meshes, wp.uint64)
            self._upload_pictures(self._uploaded[1])
            self._uploaded = (shapes.version, pool.version)
        tables.width, tables.height = width, height
        tables.across = -(-width // TILE)
        tables.tiles = tables.across * -(-height // TILE)

    def _upload_pictures(self, version: int) -> None:
        """Brings the pictures up to date, which were those of the pool's `version`. On a GPU only others are copied: all
        are 134 MB."""
        texels = self._pool.texels.reshape(-1, TEXELS, 3)
        if self._on_cpu or self._texels is None or len(self._texels) != len(texels):
            self._texels = self._pictures.pool = self._array(texels, wp.vec3ub)
            return
        for layer in self._pool.written_since(version):
            self._texels[layer].assign(texels[layer])


def _picture_of(key: Key, images: ImageFolder) -> Image:
    """The picture that the pool's `key` names."""
    name, number = key
    return images.square(number, SIDE) if name == "image" else _generated(name, number)


@lru_cache(maxsize=MOST)  # the renderers of a process make each once
def _generated(name: str, number: int) -> Image:
    if name == "grime":
        return np.repeat(grime_of(number, SIDE)[..., None], 3, axis=2)
    return picture(name, number)


def _load(modules: Any, device: str) -> None:
    """Compiles the kernels of `modules` for `device`, or loads them from the cache of an earlier run."""
    notice = threading.Timer(_SLOW, announce, ["compiling the ray caster, once on this machine: some 20 s"])
    notice.daemon = True
    notice.start()
    try:
        # Each module is compiled by itself; a compiler runs in C, so that two of them use two cores.
        with ThreadPoolExecutor() as pool:
            list(
                pool.map(
                    lambda module: wp.load_module(module, device=device),
                    (modules.lighting, modules.occlusion, modules.tracing),
                )
            )
    finally:
        notice.cancel()


def device_of(settings: Raycast) -> str:
    """Warp's name of the device of `settings`. Raises ConfigError for a setting out of range, RenderError where the device
    does not exist."""
    for key, value in (("supersample", settings.supersample), ("light_samples", settings.light_samples)):
        if not 1 <= value <= 64:
            raise ConfigError(f"raycast.{key}: got {value}; expected 1 to 64")
    if math.isqrt(settings.light_samples) ** 2 != settings.light_samples:
        raise ConfigError(
            f"raycast.light_samples: got {settings.light_samples}; expected a square number: 1, 4, 9, ..."
        )
    name = settings.device
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()) or (kind == "cpu" and number):
        raise ConfigError(f"raycast.device: got '{name}'; expected cpu, cuda or cuda:K")
    if kind == "cpu":
        return "cpu"
    count = int(wp.get_cuda_device_count())
    if int(number or 0) >= count:
        raise RenderError(
            f"raycast.device: '{name}' asked for, but Warp {wp.config.version} finds {count} CUDA devices; install a "
            "driver, or use raycast.device=cpu"
        )
    return f"cuda:{number or 0}"
