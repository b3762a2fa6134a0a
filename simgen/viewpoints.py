"""The cameras of scenes, drawn from the factors or read from a file, and checks of them: no camera may be inside an object,
and no lens may leave the picture's corners empty."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simgen import exact
from simgen.camera import Camera, fit_camera, read_camera
from simgen.catalogue import World
from simgen.distortion import distort, lens_reach, padded
from simgen.errors import ConfigError
from simgen.geometry import NEAR, Array, intrinsics, inverse, look_at, rigid, rotation_about
from simgen.scene import Cameras, Fixtures, Surfaces

# The factors that a camera file replaces: the optics always, the viewpoint if the file states a pose.
_VIEWPOINT = ("aim", "distance", "azimuth_deg", "elevation_deg", "offset", "pan_deg", "tilt_deg", "roll_deg")
_OPTICS = ("fov_deg", "fov_scale", "principal_point", "distortion")
_FILE = "randomize.camera.file"

Draw = Callable[[str], Array]  # the numbers (B, dim) of a factor of the camera, by its name


def make_cameras(draw: Draw, batch: int, width: int, height: int, camera: Camera | None = None) -> Cameras:
    """The `batch` cameras of pictures of `width` x `height` px: of `camera` what it states, and the rest from `draw`."""
    if camera is None:
        matrix, lens = _optics(draw, width, height)
    else:
        matrix = np.broadcast_to(camera.intrinsics, (batch, 3, 3))
        lens = np.broadcast_to(camera.distortion, (batch, len(camera.distortion)))
    if camera is None or camera.camera_from_table is None:
        pose = _viewpoint(draw)
    else:
        pose = np.broadcast_to(inverse(camera.camera_from_table), (batch, 4, 4))
    return Cameras(intrinsics=matrix, distortion=lens, world_from_camera=pose, width=width, height=height)


def _viewpoint(draw: Draw) -> Array:
    """world_from_camera (B, 4, 4)."""

    def angle(name: str) -> Array:
        return np.radians(draw(f"{name}_deg")[:, 0])

    azimuth, elevation = angle("azimuth"), angle("elevation")
    aim = draw("aim")
    (sine, cosine), (up, flat) = (exact.sine_cosine(one) for one in (azimuth, elevation))
    away = np.stack([flat * cosine, flat * sine, up], -1)
    position = aim + draw("distance") * away + draw("offset")
    turn = exact.product(rotation_about(1, angle("pan")), rotation_about(0, -angle("tilt")))
    turn = exact.product(turn, rotation_about(2, angle("roll")))
    return np.asarray(exact.product(look_at(position, aim), rigid(turn, np.zeros(3))))


def _optics(draw: Draw, width: int, height: int) -> tuple[Array, Array]:
    """Intrinsics (B, 3, 3) px and lenses (B, 5)."""
    focal = height / 2 / exact.tangent(np.radians(draw("fov_deg")[:, 0]) * draw("fov_scale")[:, 0] / 2)
    shift = draw("principal_point") * height
    return intrinsics(focal, (width - 1) / 2 + shift[:, 0], (height - 1) / 2 + shift[:, 1]), draw("distortion")


def open_camera(file: str, world: World, width: int | None, height: int | None) -> Camera:
    """The camera of randomize.camera.file for pictures of `world`, with its size; `width` and `height` are the
    configuration's.

    Raises ConfigError if the file is not plausible, if its size is not the configuration's, or if the scene's table is not
    visible to its camera.
    """
    camera = read_camera(file, _FILE)
    if camera.width is None or camera.height is None:
        if width is None or height is None:
            raise ConfigError(f"{_FILE}: {file} does not state the pictures' size; set width= and height=")
        camera = fit_camera(camera, width, height, file, _FILE)
    for name, wanted, stated in (("width", width, camera.width), ("height", height, camera.height)):
        if wanted not in (None, stated):
            raise ConfigError(
                f"{name}: got {wanted}, but {_FILE}={file} is a camera of {camera.width} x {camera.height} px; leave width "
                "and height out, or give a camera file of that size"
            )
    if camera.camera_from_table is not None:
        half = world.table.size[:2] / 2
        table = np.stack([world.table.center[:2] - half, world.table.center[:2] + half])
        try:
            replace(camera, table=table)
        except ConfigError as error:
            raise ConfigError(f"{_FILE}: {file}: scene={world.name}: {error}") from error
    return camera


def notices_of(camera: Camera, file: str) -> tuple[str, ...]:
    """The notices for the user about the `camera` of randomize.camera.file, a line each; the last names the factors that it
    replaces."""
    replaced = _OPTICS if camera.camera_from_table is None else (*_VIEWPOINT, *_OPTICS)
    return (
        *(f"{_FILE}={file}: {notice}" for notice in camera.notices),
        f"{_FILE}={file} replaces randomize.camera's {', '.join(replaced)}",
    )


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
    """Raises ConfigError for the first sample whose camera is inside or behind an object, or whose lens is too strong.

    `file` is randomize.camera.file if the cameras are of a file.
    """
    position = cameras.world_from_camera[:, :3, 3]
    center, size, present = world.standing(fixtures)
    # The three coordinates first: a reduction over a short last axis is slow.
    gap = np.abs(position.T[:, :, None] - np.moveaxis(center, 2, 0)) - np.moveaxis(size, 2, 0) / 2  # (3, B, boxes)
    inside = (np.logical_and.reduce(gap <= NEAR) & present).T
    for which, what in ((inside[0], "the table"), (np.logical_or.reduce(inside[1:]), "a fixture")):
        _raise_where(which, position, what, seed, index, file)
    _raise_where(position[:, 2] <= world.room.floor + NEAR, position, "the floor", seed, index, file)
    beyond = np.any((position[:, :2] <= world.room.low + NEAR) | (position[:, :2] >= world.room.high - NEAR), axis=1)
    _raise_where(beyond & surfaces.walls, position, "a wall", seed, index, file)
    _check_lenses(cameras, seed, index, file)


def _check_lenses(cameras: Cameras, seed: int, index: NDArray[np.int64], file: str) -> None:
    """Every pixel must have a ray: the picture's corners must be within the lens's reach."""
    focal, center = cameras.intrinsics[:, [0, 1], [0, 1]], cameras.intrinsics[:, :2, 2]
    far = np.maximum(center, [cameras.width - 1, cameras.height - 1] - center) / focal
    corner = exact.norm(far)
    # The reach of a lens is the solution of an equation. Most lenses are clearly monotonic to well beyond the corners.
    full = padded(cameras.distortion)
    k1, k2, _, _, k3 = full[:, :5].T
    radius = 1.35 * corner
    x = radius**2
    grows = 1 + x * (3 * np.minimum(k1, 0) + x * (5 * np.minimum(k2, 0) + x * 7 * np.minimum(k3, 0))) > 0
    plain = grows & (0.98 * radius * (1 + x * (k1 + x * (k2 + x * k3))) > corner) & (radius < 1e3)
    plain &= ~full[:, 5:].any(axis=1)  # the test above is not for rational and fisheye lenses
    for row in np.flatnonzero(~plain):
        lens = cameras.distortion[row]
        reach = min(lens_reach(lens), 1e3)
        radial = full[row] * ([1, 1, 1, 1, 1, 1, 1, 1, 1] if full[row, 8] else [1, 1, 0, 0, 1, 1, 1, 1, 1])
        edge = np.linalg.norm(distort(np.array([[reach, 0.0]]), radial))
        if corner[row] >= 0.98 * edge:
            if file:
                raise ConfigError(
                    f"{_FILE}: {file}: its lens {lens.tolist()} shows nothing in the corners of the "
                    f"picture of {cameras.width} x {cameras.height} px; give the camera of a crop in which it does"
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
                f"{_FILE}: sample {index[row]} of seed {seed} has the camera of {file} at ({place}) m, "
                f"inside or behind {what} of the scene, or within {NEAR} m of it; use a scene with room for the camera"
                + (", or randomize.walls=0" if what == "a wall" else "")
            )
        raise ConfigError(
            f"randomize.camera: sample {index[row]} of seed {seed} has its camera at ({place}) m, inside or behind {what}, "
            f"or within {NEAR} m of it; change randomize.camera.elevation_deg, distance or offset"
        )
