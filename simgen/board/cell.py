"""`python -m simgen scene`: the scene file of a calibrated camera over a table, for renderings and training."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from simgen.board.schema import SceneConfig
from simgen.camera import Camera, read_camera
from simgen.catalogue import load_block_set
from simgen.config import compose
from simgen.distortion import BROWN, distort, is_fisheye, undistort
from simgen.errors import ConfigError, PlacementError
from simgen.files import write_file
from simgen.geometry import Array, inverse, look_at
from simgen.pipeline import CHUNK, make_resized_pipeline
from simgen.schema import Render

_DEVIATIONS = 3.0  # standard deviations on each side: the range of what a calibration does not know
_LEAST_FOCAL = 0.003  # relative: the least range of the focal length, which changes with focus and temperature
_LEAST_CENTER = 2.0  # px: that of the principal point
_LENS = 0.1, 0.003  # of a coefficient, relative and absolute: its range
_FITS = 0.5  # px: five coefficients may be farther than this from the lens nowhere
_ASPECT = 0.01  # relative difference of fx and fy that the scene's one field of view may hide
_MOST_BLOCKS = 6
_MIDDLE = 0.08, 0.92  # quantiles of the visible places: where blocks are
_BORDER = 0.03  # m: blocks lie so far inside the table
# Of distractors: never within 20% of a block's size, and smaller ones for a table on which the others find no place.
_SCALES = (
    "[choice, [loguniform, 0.5, 0.8], [loguniform, 1.2, 1.5]]",
    "[choice, [loguniform, 0.4, 0.8], [loguniform, 0.4, 0.8], [loguniform, 1.2, 1.3]]",
    "[loguniform, 0.4, 0.8]",
    "[loguniform, 0.25, 0.5]",
)
_OVERHEAD = 5e-4  # degrees from straight down: the file's digits state no difference
_FLAT = 0.5  # cosine of the elevation: of steeper cameras the azimuth varies no more, because it turns the picture, too
_TRIED = 64  # scenes that are sampled before a file counts as good


@dataclass(frozen=True)
class _Viewpoint:
    """A camera's pose as the factors of a scene state it: lengths in m, angles in degrees."""

    aim: Array
    distance: float
    azimuth: float
    elevation: float
    roll: float

    def reach(self, turns: float) -> tuple[float, float, float]:
        """For a direction that changes by `turns` degrees on each side: the range of the azimuth on each side, and by how
        much the direction then changes sideways and up, which is less for a steep camera."""
        flat = float(np.cos(np.radians(self.elevation)))
        around = turns / max(flat, _FLAT)
        return around, around * flat, min(turns, 90 - self.elevation)


def scene(config: SceneConfig) -> None:
    """Writes a scene file with the camera, the table and the blocks of `config`."""
    out = Path(config.out)
    if out.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"out: got {config.out}; expected the name of a .yaml file")
    if out.exists():
        raise ConfigError(f"out: {out} exists; name another file or move it")
    for key in ("moves_mm", "turns_deg"):
        value = getattr(config, key)
        if not 0 <= value < 1000:
            raise ConfigError(f"{key}: got {value}; expected at least 0")
    camera = read_camera(config.camera)
    camera.print_notices(config.camera, set())
    if camera.width is None or camera.height is None:
        raise ConfigError(f"camera: {config.camera}: states no width and height; add them, in px")
    if camera.camera_from_table is None:
        raise ConfigError(
            f"camera: {config.camera}: states no camera_from_table, so the camera's place is unknown; python -m simgen "
            "table finds it from one photograph"
        )
    blocks = Path(config.blocks)
    names = [solid.name for solid in load_block_set(blocks)]
    table = _table(camera, config)
    view = _viewpoint(camera.camera_from_table, config.camera)
    place = _visible(camera, table) if config.place is None else _box(config.place, "place")
    known = _calibration(config.camera)
    for scales in _SCALES:
        write_file(
            out, _text(camera, view, table, place, names, _relative(blocks, out), known, config, scales).encode()
        )
        try:
            _try_out(out)
            break
        except PlacementError as error:  # a small table: with smaller distractors
            out.unlink()
            if scales == _SCALES[-1]:
                raise ConfigError(
                    f"blocks: {config.blocks}: as many as randomize=full has slots for do not fit on a table of "
                    f"{' x '.join(f'{side:g}' for side in table[1] - table[0])} m, most of it in view; name a larger "
                    f"size or place, or smaller blocks ({error})"
                ) from error
        except BaseException:
            out.unlink()
            raise
    if missing := _missing(view, config.turns_deg):
        print(f"camera: {config.camera}: {missing}", file=sys.stderr)
    low, high = place
    scene = quote(f"scene={out}")
    print(
        f"{out}: a camera {view.distance:.2f} m from the table, {view.elevation:.0f} degrees above it; "
        f"{', '.join(names)} on X {low[0]:.2f} to {high[0]:.2f} m, Y {low[1]:.2f} to {high[1]:.2f} m"
    )
    print(f"look at it with: python -m simgen preview {scene}; train with: python -m train experiment=own {scene}")


def _missing(view: _Viewpoint, turns: float) -> str:
    """What a steep camera's direction lacks of the range of `turns` degrees on each side, for a message; "" if nothing."""
    _, sideways, up = view.reach(turns)
    if min(sideways, up) > turns - 1e-6:
        return ""
    angle = f"[uniform,{-turns:g},{turns:g}]"
    return (
        f"looks down steeply, {view.elevation:.1f} degrees: its direction varies by {sideways:.2f} degrees sideways and "
        f"by {up:.2f} up, not by {turns:g}; to vary it by that on each side, add "
        f"randomize.camera.pan_deg={angle} randomize.camera.tilt_deg={angle} to the commands"
    )


def _try_out(path: Path) -> None:
    """Samples scenes of the scene file `path`. Raises SimgenError."""
    pipeline = make_resized_pipeline(compose("render", Render, [f"scene={path}", "randomize=full", "physics=place"]))
    for start in range(0, _TRIED, CHUNK):
        pipeline.sampler.sample(0, range(start, start + CHUNK))


def _table(camera: Camera, config: SceneConfig) -> Array:
    """(2, 2) m: the table's least and greatest X and Y. Raises ConfigError."""
    if config.size is None:
        if camera.table is None:
            raise ConfigError(
                f"size: missing, and {config.camera} states no table; write size=[length, width] in m: the table then "
                "lies around the origin"
            )
        return camera.table
    try:
        size = np.array(config.size, dtype=np.float64)
    except (TypeError, ValueError):
        size = np.zeros(0)
    if size.shape != (2,) or not np.isfinite(size).all() or size.min() <= 0 or size.max() > 20:
        raise ConfigError(f"size: got {config.size}; expected [length, width] of the table in m")
    return np.stack([-size, size]) / 2


def _viewpoint(camera_from_table: Array, name: str) -> _Viewpoint:
    pose = inverse(camera_from_table)
    position, forward = pose[:3, 3], pose[:3, 2]
    if forward[2] >= -np.sin(np.radians(3)):
        raise ConfigError(
            f"camera: {name}: looks along or above the table, not onto it; a scene needs a camera that looks down"
        )
    distance = -position[2] / forward[2]
    elevation = float(np.degrees(np.arcsin(-forward[2])))
    azimuth = float(np.degrees(np.arctan2(-forward[1], -forward[0])))
    aim = position + distance * forward
    if 90 - elevation < _OVERHEAD:
        # It has no azimuth. From -90 degrees lower cameras have X to the right, as `look_at` has straight down.
        azimuth, elevation = -90.0, 90.0
    straight = look_at(_position(aim, distance, azimuth, elevation), aim)
    turn = straight[:3, :3].T @ pose[:3, :3]
    roll = float(np.degrees(np.arctan2(turn[1, 0], turn[0, 0])))
    return _Viewpoint(aim, float(distance), azimuth, elevation, roll)


def _position(aim: Array, distance: float, azimuth: float, elevation: float) -> Array:
    around, above = np.radians(azimuth), np.radians(elevation)
    away = np.array([np.cos(above) * np.cos(around), np.cos(above) * np.sin(around), np.sin(above)])
    return np.asarray(aim + distance * away)


def _visible(camera: Camera, table: Array) -> Array:
    """(2, 2) m: the box around most of what the camera sees of the table, inside its border."""
    assert camera.width is not None and camera.height is not None and camera.camera_from_table is not None
    pose = inverse(camera.camera_from_table)
    u, v = np.meshgrid(np.linspace(0, camera.width - 1, 33), np.linspace(0, camera.height - 1, 25))
    plane = (np.stack([u.ravel(), v.ravel()], 1) - camera.intrinsics[:2, 2]) / np.diag(camera.intrinsics)[:2]
    rays = np.pad(undistort(plane, camera.distortion), ((0, 0), (0, 1)), constant_values=1) @ pose[:3, :3].T
    down = rays[:, 2] < -1e-6
    at = pose[:2, 3] - rays[down, :2] * (pose[2, 3] / rays[down, 2:])
    inside = at[np.all((at >= table[0] + _BORDER) & (at <= table[1] - _BORDER), axis=1)]
    if len(inside) < 4 or np.ptp(inside, axis=0).min() < 0.02:
        raise ConfigError(
            "camera: sees hardly any of the table; is the table's size right, and its middle the origin? Or give place="
        )
    return np.asarray(
        np.quantile(inside, _MIDDLE, axis=0)
    )  # most of the box is then inside what the picture shows, a quadrangle


def _box(value: Any, key: str) -> Array:
    try:
        box = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        box = np.zeros(0)
    if box.shape != (2, 2) or not np.isfinite(box).all() or np.any(box[0] >= box[1]):
        raise ConfigError(f"{key}: got {value}; expected [[least X, least Y], [greatest X, greatest Y]] in m")
    return box


def _five(camera: Camera) -> Array:
    """(5,) OpenCV's k1, k2, p1, p2, k3, which are all that a scene varies: those of the lens, or those nearest to it. Raises
    ConfigError for a lens that has none."""
    if len(camera.distortion) == BROWN:
        return camera.distortion
    assert camera.width is not None and camera.height is not None
    u, v = np.meshgrid(np.linspace(0, camera.width - 1, 17), np.linspace(0, camera.height - 1, 13))
    seen = (np.stack([u.ravel(), v.ravel()], 1) - camera.intrinsics[:2, 2]) / np.diag(camera.intrinsics)[:2]
    rays = undistort(seen, camera.distortion)

    def off(lens: Array) -> Array:
        return np.asarray((distort(rays, lens) - seen) * camera.intrinsics[0, 0])

    fitted = least_squares(lambda lens: off(lens).ravel(), np.zeros(BROWN)).x
    worst = float(np.linalg.norm(off(fitted), axis=1).max())
    if is_fisheye(camera.distortion) or worst > _FITS:
        raise ConfigError(
            f"camera: its lens is {worst:.1f} px from the nearest with k1, k2, p1, p2 and k3, which are all that a scene "
            "varies; take a scene of yours and add randomize.camera.file=FILE, which uses the lens as it is"
        )
    return np.asarray(fitted)


def _calibration(name: str) -> Array:
    """(4,) px: the standard deviations of fx, fy, cx and cy that the camera's file states, 0 where it states none."""
    try:
        content = json.loads(Path(name).read_bytes())
        stated = content["calibration"]["deviations_px"]
        return np.array([float(stated[key]) for key in ("fx", "fy", "cx", "cy")])
    except (OSError, ValueError, TypeError, KeyError):
        return np.zeros(4)


def _relative(blocks: Path, out: Path) -> str:
    """The name of the file `blocks` as seen from the folder of `out`."""
    return Path(os.path.relpath(blocks.resolve(), out.resolve().parent)).as_posix()


def _text(
    camera: Camera,
    view: _Viewpoint,
    table: Array,
    place: Array,
    names: Sequence[str],
    blocks: str,
    deviations: Array,
    config: SceneConfig,
    scales: str,
) -> str:
    width, height = camera.width, camera.height
    assert width is not None and height is not None
    matrix, lens = camera.intrinsics, _five(camera)
    fx, fy = matrix[0, 0], matrix[1, 1]
    if abs(fx / fy - 1) > _ASPECT:
        raise ConfigError(
            f"camera: fx = {fx:g} and fy = {fy:g} differ by over {100 * _ASPECT:g}%, and a scene's cameras have square "
            "pixels; resize the pictures, or calibrate again"
        )
    focal = (fx + fy) / 2
    fov = np.degrees(2 * np.arctan(height / 2 / focal))
    change = max(_DEVIATIONS * deviations[:2].max() / focal, _LEAST_FOCAL)
    wide = [np.degrees(2 * np.arctan(height / 2 / (focal * factor))) for factor in (1 + change, 1 - change)]
    center = (matrix[:2, 2] - [(width - 1) / 2, (height - 1) / 2]) / height
    shift = np.maximum(_DEVIATIONS * deviations[2:], _LEAST_CENTER) / height
    spread = np.where(lens != 0, np.abs(lens) * _LENS[0] + _LENS[1], [*4 * [_LENS[1]], 0.0])
    moves, turns = config.moves_mm / 1e3, config.turns_deg
    around, sideways, up = view.reach(turns)
    middle, size = table.mean(0), table[1] - table[0]
    far = np.abs(np.stack([_position(view.aim, view.distance, view.azimuth, view.elevation)[:2], *table])).max(0)
    reach = float(np.ceil(10 * (far.max() + 1.0)) / 10)
    above = max(2.6, float(np.ceil(10 * (view.distance + 1.0)) / 10))
    # A block of every kind fits, and the scene is not crowded.
    count = min(_MOST_BLOCKS, max(2, len(names)))
    first = names[0] if names else ""
    return f"""# Written by `python -m simgen scene` from {Path(config.camera).name}; change what you like.
# World frame: the table frame of that file: origin and X and Y as there, Z up, Z = 0 on the table's top; meters.
table: {{center: {_list(middle)}, size: {_list(size)}, thickness: 0.04}}
room: {{floor: -0.75, low: {_list([-reach, -reach])}, high: {_list([reach, reach])}, height: {above}}}
blocks: {json.dumps(blocks)}
camera: {{width: {width}, height: {height}}}

# The values of `nominal` and `varied` in conf/randomize/ for this scene.
nominal:
  blocks: {{count: 1, model: {json.dumps(first)}, place: {_list(place.mean(0))}}}
  distractors: {{count: 0, model: {json.dumps(first)}, place: {_list(place[0])}}}
  light: {{distance: 3.0}}
  camera:
    aim: {_list(view.aim)}
    distance: {view.distance:.4f}
    azimuth_deg: {view.azimuth:.3f}
    elevation_deg: {view.elevation:.3f}
    roll_deg: {view.roll:.3f}
    fov_deg: {fov:.4f}
    principal_point: {_list(center, 5)}
    distortion: {_list(lens, 6)}
varied:
  blocks:
    count: [integer, 1, {count}]
    model: any
    place: {_uniform(*place)}
    yaw_deg: [uniform, 0, 360]
    face: [uniform, 0, 1]
  distractors:
    count: [integer, 0, {count + 2}]
    model: any
    place: {_uniform(table[0] + _BORDER, table[1] - _BORDER)}
    yaw_deg: [uniform, 0, 360]
    face: [uniform, 0, 1]
    # A distractor of a labeled kind is never within 20% of its size: nothing could tell the two apart.
    scale: {scales}
  # Its aim and distance within {config.moves_mm:g} mm, its roll within {turns:g} degrees; its direction within
  # {sideways:.2f} degrees sideways, {up:.2f} up and {turns:g} down; its lens as calibrated.
  camera:
    aim: {_uniform(view.aim - moves, view.aim + moves)}
    distance: {_uniform(view.distance - moves, view.distance + moves)}
    azimuth_deg: {_uniform(view.azimuth - around, view.azimuth + around, 3)}
    elevation_deg: {_uniform(view.elevation - turns, view.elevation + up, 3)}
    roll_deg: {_uniform(view.roll - turns, view.roll + turns, 3)}
    fov_deg: {_uniform(*wide)}
    principal_point: {_uniform(center - shift, center + shift, 5)}
    distortion: {_uniform(lens - spread, lens + spread, 6)}
"""


def _list(values: Any, digits: int = 4) -> str:
    return json.dumps([round(float(value), digits) + 0.0 for value in np.ravel(values)])


def _uniform(low: Any, high: Any, digits: int = 4) -> str:
    if np.ndim(low) == 0:
        return f"[uniform, {round(float(low), digits)}, {round(float(high), digits)}]"
    return f"[uniform, {_list(low, digits)}, {_list(high, digits)}]"
