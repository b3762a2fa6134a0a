"""Writes the meshes of a World as OBJ files for renderers that load them: solids, table, room and fixtures.

Every triangle has its own normal and texture coordinates; lengths are in meters.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from simgen.catalogue import Box, World
from simgen.geometry import Array
from simgen.pictures import Image
from simgen.scene import Fixtures
from simgen.shapes.bodies import Body
from simgen.shapes.solids import Mesh, Solid, box_mapping, face_numbers, make_solid
from simgen.textures.color import decode, encode
from simgen.textures.procedural import FACES, ROUND_FACE

TONES = 16  # colors between a material's two, for parts of clutter
SHARE = 0.8  # of the width of a clutter object's picture that shows its texture


def write_meshes(folder: Path, world: World) -> dict[str, Path]:
    """Writes the cell's meshes into `folder` and returns their files: solid-K, solid-K-faces that wears the texture `faces`,
    table, floor and wall. Fixtures may stand elsewhere in every scene: see `write_fixtures`."""
    meshes = {f"solid-{k}": solid.mesh for k, solid in enumerate(world.solids)}
    meshes |= {f"solid-{k}-faces": _faces_mesh(solid) for k, solid in enumerate(world.solids)}
    meshes["table"] = _boxes_mesh([world.table])
    room, (x0, y0), (x1, y1) = world.room, world.room.low, world.room.high
    z0, z1 = room.floor, room.floor + room.height
    meshes["floor"] = _quads_mesh([[[x0, y0, z0], [x1, y0, z0], [x1, y1, z0], [x0, y1, z0]]])
    corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]
    meshes["wall"] = _quads_mesh([[[*b, z0], [*a, z0], [*a, z1], [*b, z1]] for a, b in itertools.pairwise(corners)])
    return {name: _write(folder, name, mesh) for name, mesh in meshes.items()}


def write_fixtures(folder: Path, world: World, fixtures: Fixtures, row: int) -> dict[int, Path]:
    """Writes each group of fixtures as it stands in the scene `row` and returns their files by the group's number; a group
    of which nothing is there has none."""
    center, size, there = (values[row] for values in world.standing(fixtures))
    files, end = {}, 1  # the first is the table
    for number, group in enumerate(world.fixtures):
        first, end = end, end + len(group)
        boxes = [Box(center[k], size[k]) for k in range(first, end) if there[k]]
        if boxes:
            files[number] = _write(folder, f"fixture-{number}", _boxes_mesh(boxes))
    return files


def write_clutter(folder: Path, name: str, bodies: Sequence[Body]) -> Path:
    """Writes a unit object as one mesh with the texture coordinates of the picture that `clutter_texture` makes: the left
    SHARE of it is the material's texture, and right of it is a column for each tone."""
    parts = []
    for body in bodies:
        mesh = body.mesh
        if body.tone is None:
            places = mesh.texture * [SHARE, 1]
        else:
            column = (round(body.tone * (TONES - 1)) + 0.5) / TONES
            places = np.full_like(mesh.texture, 0.5)
            places[..., 0] = SHARE + (1 - SHARE) * column
        parts.append((mesh.corners, mesh.normals, places))
    return _write(folder, name, Mesh(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True))))


def clutter_texture(picture: Image, color: Array, color2: Array) -> Image:
    """The picture (H, W, 3) of a material, and beside it TONES columns from `color` to `color2`, (3,) sRGB each."""
    height, width = picture.shape[:2]
    right = round(width * (1 - SHARE) / SHARE)
    start, end = decode(color), decode(color2)
    tones = encode(start + (end - start) * np.linspace(0, 1, TONES)[:, None])
    columns = np.repeat((tones * 255 + 0.5).astype(np.uint8), right // TONES, axis=0)
    return np.concatenate([picture, np.broadcast_to(columns, (height, right, 3))], axis=1)


def _write(folder: Path, name: str, mesh: Mesh) -> Path:
    path = folder / f"{name}.obj"
    path.write_text(_obj(mesh), encoding="ascii")
    return path


def _faces_mesh(solid: Solid) -> Mesh:
    """The mesh of `solid` with all of each face at the middle of its column of textures.paint's picture."""
    mesh = solid.mesh
    number = np.full(len(mesh.normals), -1) if solid.sphere else face_numbers(mesh.normals, solid.slabs)
    number = np.where(number < 0, ROUND_FACE, number % FACES)
    places = np.stack([(number + 0.5) / FACES, np.full(len(number), 0.5)], axis=1)
    return Mesh(mesh.corners, mesh.normals, np.repeat(places[:, None], 3, axis=1))


def _boxes_mesh(boxes: list[Box]) -> Mesh:
    parts = []
    for box in boxes:
        mesh = make_solid("box", "cube", box.size).mesh
        parts.append((mesh.corners + box.center, mesh.normals, mesh.texture))
    return Mesh(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _quads_mesh(quads: list[list[list[float]]]) -> Mesh:
    """Quadrilaterals, anticlockwise as seen from where they are to be seen, each wearing its texture once."""
    corners = np.array([[quad[k] for k in half] for quad in quads for half in ((0, 1, 2), (0, 2, 3))])
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    flat = corners.reshape(-1, 3)
    size = np.maximum(np.ptp(flat, axis=0), 1e-9)
    return Mesh(corners, normals, box_mapping((corners - flat.min(axis=0)) / size, normals))


def _obj(mesh: Mesh) -> str:
    corners, triangles = 3 * len(mesh.normals), np.arange(len(mesh.normals))
    faces = np.stack([*(3 * triangles + k for k in (1, 1, 2, 2, 3, 3)), triangles + 1], axis=1)[
        :, [0, 1, 6, 2, 3, 6, 4, 5, 6]
    ]
    # One format of all lines is several times faster than one of each.
    return (
        ("v %.9g %.9g %.9g\n" * corners) % tuple(mesh.corners.ravel().tolist())
        + ("vt %.9g %.9g\n" * corners) % tuple(mesh.texture.ravel().tolist())
        + ("vn %.9g %.9g %.9g\n" * len(triangles)) % tuple(mesh.normals.ravel().tolist())
        + ("f %d/%d/%d %d/%d/%d %d/%d/%d\n" * len(triangles)) % tuple(faces.ravel().tolist())
    )
