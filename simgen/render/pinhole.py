"""OpenGL's pinhole camera: projection matrix, depth buffer and lens distortion by resampling, for PyBullet."""

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen.catalogue import World
from simgen.distortion import is_fisheye
from simgen.errors import RenderError
from simgen.geometry import NEAR, Array, unproject
from simgen.scene import Scenes
from simgen.shapes.clutter import extent_of

FAR = 20.0  # m
_WIDEST = 8192  # px a side: what PyBullet surely draws


def nearest_depth(scenes: Scenes, row: int, world: World) -> float:
    """A depth in m that nothing seen falls short of, as large as is easy to prove.

    The depth buffer's step at depth z is about z^2 / (near 2^16), so the nearer the near plane, the coarser the
    depth: at 2 cm it is millimetres. No point of the cell is nearer to the camera than the nearest solid; what is seen at
    that distance is at least cos(corner's angle) of it deep.
    """
    cameras, blocks, room = scenes.cameras, scenes.blocks, world.room
    eye = cameras.world_from_camera[row, :3, 3]
    center, size, there = (values[row] for values in world.standing(scenes.fixtures))
    gaps: list[float] = np.linalg.norm(np.maximum(np.abs(eye - center) - size / 2, 0), axis=1)[there].tolist()
    gaps.append(float(eye[2] - room.floor))
    if scenes.surfaces.walls[row]:
        gaps += [float(np.min(eye[:2] - room.low)), float(np.min(room.high - eye[:2]))]
    for slot in np.flatnonzero(blocks.present[row]):
        reach = world.solids[blocks.model[row, slot]].radius * blocks.scale[row, slot]
        gaps.append(float(np.linalg.norm(blocks.world_from_block[row, slot, :3, 3] - eye) - reach))
    clutter = scenes.clutter
    for place in np.flatnonzero(clutter.present[row]):
        radius = extent_of(world.clutter_of(int(clutter.kind[row, place]), int(clutter.variant[row, place])))[3]
        reach = radius * float(clutter.size[row, place])
        gaps.append(float(np.linalg.norm(clutter.world_from_object[row, place, :3, 3] - eye) - reach))
    corners = np.array([[u, v] for u in (-0.5, cameras.width - 0.5) for v in (-0.5, cameras.height - 0.5)])
    steepest = np.linalg.norm(unproject(corners, cameras.intrinsics[row], cameras.distortion[row]), axis=1).max()
    return max(NEAR, 0.9 * min(gaps) / float(steepest))


def projection(pinhole: Array, width: int, height: int, near: float) -> Array:
    """OpenGL's projection (4, 4) for intrinsics whose pixel (0, 0) is the center of the top-left pixel.

    OpenGL counts from the picture's corner. TinyRenderer samples a pixel at its bottom-left corner: this was measured by
    shifting the camera until the drawn masks met the analytic ones (silhouette.py) exactly.
    """
    u, v = pinhole[0, 2], pinhole[1, 2] + 1
    matrix = np.zeros((4, 4))
    matrix[0, 0], matrix[0, 2] = 2 * pinhole[0, 0] / width, 1 - 2 * u / width
    matrix[1, 1], matrix[1, 2] = 2 * pinhole[1, 1] / height, 2 * v / height - 1
    matrix[2, 2], matrix[2, 3] = -(FAR + near) / (FAR - near), -2 * FAR * near / (FAR - near)
    matrix[3, 2] = -1
    return matrix


def behind_lens(
    pinhole: Array, lens: Array, width: int, height: int
) -> tuple[Array, tuple[int, int], tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """A pinhole camera that sees all that the lens shows: its intrinsics, its size, and where each pixel of the lens's
    picture lies in its picture (cv2.remap's maps)."""
    # The maps are smooth: a grid every 8 px, interpolated, is exact to about 1e-3 px and 60 times faster. Those of a fisheye
    # lens bend more, the more the wider it sees.
    step = 2 if is_fisheye(lens) else 8
    u, v = np.linspace(0, width - 1, width // step + 2), np.linspace(0, height - 1, height // step + 2)
    grid = np.stack(np.meshgrid(u, v), -1).reshape(-1, 2)
    straight = unproject(grid, pinhole, lens)[:, :2] @ pinhole[:2, :2].T + pinhole[:2, 2]
    low = np.minimum(np.floor(straight.min(axis=0)) - 1, 0)
    high = np.maximum(np.ceil(straight.max(axis=0)) + 2, [width, height])
    if max(high - low) > _WIDEST:
        raise RenderError(
            f"renderer: to distort it afterward, the undistorted picture of {width} x {height} px would have "
            f"{high[0] - low[0]:.0f} x {high[1] - low[1]:.0f} px; use renderer=raycast, which draws any lens"
        )
    wide = pinhole.copy()
    wide[:2, 2] -= low
    where = (straight - low).reshape(len(v), len(u), 2)
    across = np.linspace(0, len(u) - 1, width, dtype=np.float32)
    down = np.linspace(0, len(v) - 1, height, dtype=np.float32)
    steps = (np.tile(across, (height, 1)), np.tile(down[:, None], (1, width)))
    maps = [
        np.asarray(cv2.remap(where[..., k].astype(np.float32), *steps, cv2.INTER_LINEAR), dtype=np.float32)
        for k in range(2)
    ]
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    return wide, size, (maps[0], maps[1])
