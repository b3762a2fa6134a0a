"""Frames, rigid transforms, and the projection of a pinhole camera whose lens is one of distortion.py.

Frames
    world    the table frame: origin on the table top, Z up, meters.
    camera   OpenCV axes: x right, y down, z forward, origin at the center of projection.
    block    origin at the center of the block's bounding box, axes along its edges (shapes/solids.py).
    image    pixels; (0, 0) is the center of the top-left pixel, u to the right, v down.

A transform is named `a_from_b`: it maps coordinates in b to coordinates in a, so equal neighbors in
a product cancel: `camera_from_block = inverse(world_from_camera) @ world_from_block`. Transforms are (..., 4, 4) float64.
Quaternions are wxyz; only the calls of PyBullet use xyzw. All functions accept leading batch axes.
"""

from typing import Any

import numpy as np

from simgen import exact
from simgen.distortion import Array as Array
from simgen.distortion import distort, undistort

NEAR = 0.02  # m, the least distance of the near plane: what is nearer to the camera's plane is not drawn


def rigid(rotation: Array, translation: Array) -> Array:
    """The transforms (..., 4, 4) with `rotation` (..., 3, 3) and `translation` (..., 3)."""
    shape = np.broadcast_shapes(rotation.shape[:-2], translation.shape[:-1])
    transform = np.zeros((*shape, 4, 4))
    transform[..., :3, :3] = rotation
    transform[..., :3, 3] = translation
    transform[..., 3, 3] = 1.0
    return transform


def inverse(a_from_b: Array) -> Array:
    """b_from_a of rigid transforms (..., 4, 4)."""
    rotation = np.swapaxes(a_from_b[..., :3, :3], -1, -2)
    return rigid(rotation, -exact.dot(rotation, a_from_b[..., None, :3, 3]))


def transform_points(a_from_b: Array, points: Array) -> Array:
    """`points` (..., P, 3) in b, as coordinates in a (..., P, 3)."""
    return np.asarray(exact.dot(points[..., None, :], a_from_b[..., None, :3, :3]) + a_from_b[..., None, :3, 3])


def rotation_about(axis: int, angle: Array | float) -> Array:
    """Rotations (..., 3, 3) by `angle` radians (...) about coordinate axis 0, 1 or 2, right-handed."""
    angle = np.asarray(angle, dtype=np.float64)
    sine, cosine = exact.sine_cosine(angle)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    rotation = np.zeros((*angle.shape, 3, 3))
    rotation[..., axis, axis] = 1.0
    rotation[..., i, i] = rotation[..., j, j] = cosine
    rotation[..., i, j] = -sine
    rotation[..., j, i] = sine
    return rotation


def rotation_between(a: Array, b: Array) -> Array:
    """The smallest rotation (3, 3) that turns unit vector `a` (3,) into unit vector `b` (3,); Rodrigues' formula."""
    cross, cosine = np.cross(a, b), float(exact.dot(a, b))
    if cosine < -1 + 1e-14:  # opposite: half a turn about any axis normal to a
        normal = np.cross(a, np.eye(3)[np.argmin(np.abs(a))])
        normal /= exact.norm(normal)
        return 2 * np.outer(normal, normal) - np.eye(3)
    skew = np.cross(np.eye(3), cross)  # the matrix [cross]_x
    # (1 - cos) / sin^2 and 1 / (1 + cos) are equal, but each loses precision where the other does not.
    factor = (1 - cosine) / float(exact.dot(cross, cross)) if cosine < 0 else 1 / (1 + cosine)
    return np.asarray(np.eye(3) + skew + exact.product(skew, skew) * factor)


def look_at(position: Array, target: Array, roll: Array | float = 0.0) -> Array:
    """world_from_camera (..., 4, 4) of cameras at `position` (..., 3) that look at `target` (..., 3), world Z up.

    `roll` (...) radians turns the camera about its optical axis, clockwise as seen in the direction of view, so that the
    picture turns counterclockwise. A camera that looks straight down or up has world X to its right.
    """
    position, target = np.broadcast_arrays(np.asarray(position, dtype=np.float64), np.asarray(target, dtype=np.float64))
    forward = target - position
    forward = forward / exact.norm(forward)[..., None]
    right = np.cross(forward, [0.0, 0.0, 1.0])
    length = exact.norm(right)[..., None]
    right = np.where(length > 1e-9, right / np.maximum(length, 1e-9), [1.0, 0.0, 0.0])
    down = np.cross(forward, right)
    rotation = exact.product(np.stack([right, down, forward], axis=-1), rotation_about(2, roll))
    return rigid(rotation, position)


def matrix_from_quaternion(quaternion: Array) -> Array:
    """Rotations (..., 3, 3) of unit quaternions (..., 4), wxyz."""
    w, x, y, z = np.moveaxis(quaternion, -1, 0)
    return np.stack(
        [
            np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
            np.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
            np.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
        ],
        -2,
    )


def quaternion_from_matrix(rotation: Array) -> Array:
    """Unit quaternions (..., 4), wxyz with w >= 0, of rotations (..., 3, 3).

    Shepperd's method: of the four equal formulas the one with the largest divisor, which never divides by nearly 0.
    """
    m = rotation
    trace = np.trace(m, axis1=-2, axis2=-1)
    diagonal = np.diagonal(m, axis1=-2, axis2=-1)
    squares = np.concatenate([(1 + trace)[..., None], 1 + 2 * diagonal - trace[..., None]], -1)  # 4 q_i^2
    i, j, k = (m[..., 2, 1] - m[..., 1, 2]), (m[..., 0, 2] - m[..., 2, 0]), (m[..., 1, 0] - m[..., 0, 1])
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    rows = np.stack(
        [
            np.stack([squares[..., 0], i, j, k], -1),
            np.stack([i, squares[..., 1], xy, xz], -1),
            np.stack([j, xy, squares[..., 2], yz], -1),
            np.stack([k, xz, yz, squares[..., 3]], -1),
        ],
        -2,
    )  # 4 q q^T
    best = np.argmax(squares, axis=-1)
    quaternion = np.take_along_axis(rows, best[..., None, None], axis=-2)[..., 0, :]
    quaternion /= exact.norm(quaternion)[..., None]
    return np.asarray(np.where(quaternion[..., :1] < 0, -quaternion, quaternion))


def intrinsics(focal: Any, center_u: Any, center_v: Any) -> Array:
    """Intrinsic matrices (..., 3, 3) of square pixels: `focal` length and principal point (...), all in px."""
    focal, center_u, center_v = np.broadcast_arrays(focal, center_u, center_v)
    matrix = np.zeros((*focal.shape, 3, 3))
    matrix[..., 0, 0] = matrix[..., 1, 1] = focal
    matrix[..., 0, 2], matrix[..., 1, 2], matrix[..., 2, 2] = center_u, center_v, 1.0
    return matrix


def project(points: Array, camera: Array, distortion: Array | None = None) -> Array:
    """Pixels (..., P, 2) of `points` (..., P, 3) m in the camera frame, with intrinsics `camera` (..., 3, 3) px and the lens
    `distortion` (..., up to 9) of distortion.py.

    Points at or behind the camera's plane give NaN, with a fisheye lens, too.
    """
    depth = points[..., 2:]
    plane = points[..., :2] / np.where(depth > 0, depth, np.nan)
    if distortion is not None:
        plane = distort(plane, distortion)
    return np.asarray(exact.dot(plane[..., None, :], camera[..., None, :2, :2]) + camera[..., None, :2, 2])


def unproject(pixels: Array, camera: Array, distortion: Array | None = None) -> Array:
    """Rays (..., P, 3) in the camera frame, with z = 1, through `pixels` (..., P, 2)."""
    plane = exact.dot(
        (pixels - camera[..., None, :2, 2])[..., None, :], np.linalg.inv(camera[..., :2, :2])[..., None, :, :]
    )
    if distortion is not None:
        plane = undistort(plane, distortion)
    return np.concatenate([plane, np.ones((*plane.shape[:-1], 1))], -1)


def frame_about(axis: Array) -> Array:
    """(3, 3) an orthonormal frame as rows: two directions normal to `axis` (3,), and the axis."""
    first = np.cross(axis, np.eye(3)[np.argmin(np.abs(axis))])
    first = first / exact.norm(first)
    return np.stack([first, np.cross(axis, first), axis])
