"""Refuses cameras that stand inside something or behind it, and lenses that show nothing in the picture's corners."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simgen.catalogue import World
from simgen.distortion import distort, lens_reach, padded
from simgen.errors import ConfigError
from simgen.geometry import NEAR, Array
from simgen.scene import Cameras, Fixtures, Surfaces


def check_cameras(
    cameras: Cameras,
    surfaces: Surfaces,
    fixtures: Fixtures,
    world: World,
    seed: int,
    index: NDArray[np.int64],
    *,
    file: str = "",
) -> None:
    """Raises ConfigError with the first sample whose camera stands in or behind something, or has too strong a lens.

    `file` is randomize.camera.file, if the cameras are those of a file.
    """
    position = cameras.world_from_camera[:, :3, 3]
    center, size, there = world.standing(fixtures)
    # The three coordinates first: a reduction over a short last axis is slow.
    gap = np.abs(position.T[:, :, None] - np.moveaxis(center, 2, 0)) - np.moveaxis(size, 2, 0) / 2  # (3, B, boxes)
    inside = (np.logical_and.reduce(gap <= NEAR) & there).T
    for which, what in ((inside[0], "the table"), (np.logical_or.reduce(inside[1:]), "a fixture")):
        _raise_where(which, position, what, seed, index, file)
    _raise_where(position[:, 2] <= world.room.floor + NEAR, position, "the floor", seed, index, file)
    beyond = np.any((position[:, :2] <= world.room.low + NEAR) | (position[:, :2] >= world.room.high - NEAR), axis=1)
    _raise_where(beyond & surfaces.walls, position, "a wall", seed, index, file)
    _check_lenses(cameras, seed, index, file)


def _check_lenses(cameras: Cameras, seed: int, index: NDArray[np.int64], file: str) -> None:
    """Every pixel must be where some ray falls: the picture's corners within the lens's reach."""
    focal, center = cameras.intrinsics[:, [0, 1], [0, 1]], cameras.intrinsics[:, :2, 2]
    far = np.maximum(center, [cameras.width - 1, cameras.height - 1] - center) / focal
    corner = np.hypot(far[:, 0], far[:, 1])
    # The lens's reach takes an equation for each; most lenses plainly grow up to well beyond the corners.
    full = padded(cameras.distortion)
    k1, k2, _, _, k3 = full[:, :5].T
    radius = 1.35 * corner
    x = radius**2
    grows = 1 + x * (3 * np.minimum(k1, 0) + x * (5 * np.minimum(k2, 0) + x * 7 * np.minimum(k3, 0))) > 0
    plain = grows & (0.98 * radius * (1 + x * (k1 + x * (k2 + x * k3))) > corner) & (radius < 1e3)
    plain &= ~full[:, 5:].any(axis=1)  # rational and fisheye lenses are other functions
    for row in np.flatnonzero(~plain):
        lens = cameras.distortion[row]
        reach = min(lens_reach(lens), 1e3)
        radial = full[row] * ([1, 1, 1, 1, 1, 1, 1, 1, 1] if full[row, 8] else [1, 1, 0, 0, 1, 1, 1, 1, 1])
        edge = np.linalg.norm(distort(np.array([[reach, 0.0]]), radial))
        if corner[row] >= 0.98 * edge:
            if file:
                raise ConfigError(
                    f"randomize.camera.file: {file}: its lens {lens.tolist()} shows nothing in the corners of the picture of "
                    f"{cameras.width} x {cameras.height} px; give the camera of a crop in which it does"
                )
            raise ConfigError(
                f"randomize.camera.distortion: sample {index[row]} of seed {seed} has the lens {lens.tolist()}, which shows "
                "nothing in the picture's corners; lower its first number's size or randomize.camera.fov_deg"
            )


def _raise_where(inside: Any, position: Array, what: str, seed: int, index: NDArray[np.int64], file: str) -> None:
    if np.any(inside):
        row = int(np.argmax(inside))
        place = ", ".join(f"{value:.3f}" for value in position[row])
        if file:
            raise ConfigError(
                f"randomize.camera.file: sample {index[row]} of seed {seed} has the camera of {file} at ({place}) m, inside or "
                f"behind {what} of the scene, or within {NEAR} m of it; use a scene with room for the camera"
                + (", or randomize.walls=0" if what == "a wall" else "")
            )
        raise ConfigError(
            f"randomize.camera: sample {index[row]} of seed {seed} has its camera at ({place}) m, inside or behind {what}, "
            f"or within {NEAR} m of it; change randomize.camera.elevation_deg, distance or offset"
        )
