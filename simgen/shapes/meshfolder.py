"""A folder of a user's own mesh files as clutter: each closed mesh as its convex hull."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import ConvexHull, QhullError

from simgen.errors import SceneError
from simgen.geometry import Array
from simgen.shapes.bodies import Body
from simgen.shapes.clutter import resting
from simgen.shapes.meshfile import FORMATS, read_mesh
from simgen.shapes.meshrepair import repaired
from simgen.shapes.parts import fitted

MOST_PLANES = 64
_CORNERS = (MOST_PLANES + 4) // 2  # a hull of V corners has at most 2 V - 4 faces


@dataclass(frozen=True)
class MeshFolder:
    """The unit objects `bodies` of the mesh files `paths` below `folder`. `notices` are lines for the user."""

    folder: Path = Path()
    paths: tuple[Path, ...] = ()
    bodies: tuple[Body, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The path of each file below the folder, with forward slashes."""
        return [path.relative_to(self.folder).as_posix() for path in self.paths]

    def object_of(self, variant: int) -> tuple[Body, ...]:
        """The unit object of file number `variant` modulo the number of files."""
        return (self.bodies[variant % len(self.bodies)],)


def open_mesh_folder(folder: Path, key: str) -> MeshFolder:
    """The meshes in `folder` and its sub-folders, in the order of their names. Each lies in that stable resting pose of its
    hull in which its Z axis is nearest to the vertical.

    Raises SceneError that begins with `key`, the configuration key that names the folder, if it is missing or holds no mesh,
    and if a mesh in it cannot be read, is flat, or is not closed.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "no such folder"
        raise SceneError(f"{key}: {folder}: {what}; expected a folder of mesh files ({', '.join(FORMATS)})")
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    paths = tuple(path for path in files if path.suffix.lower() in FORMATS)
    if not paths:
        beside = f"; it holds {len(files)} other files" if files else ""
        raise SceneError(f"{key}: {folder}: holds no mesh; expected at least one ({', '.join(FORMATS)}){beside}")
    bodies: list[Body] = []
    simplified = 0
    for path in paths:
        corners = _hull_corners(path, key)
        body = resting(corners)
        if len(body.planes) > MOST_PLANES:
            simplified += 1
            body = resting(_spread(corners, _CORNERS))
        bodies += fitted([body])
    notices = [f"{key}: {len(paths)} meshes in {folder}, each drawn as its convex hull"]
    if simplified:
        notices.append(f"{key}: {simplified} of these hulls are simplified to at most {MOST_PLANES} faces")
    return MeshFolder(folder, paths, tuple(bodies), tuple(notices))


def _hull_corners(path: Path, key: str) -> Array:
    """(V, 3) the corners of the hull of the mesh in `path`, with its longest edge 1."""
    try:
        surface = read_mesh(path)
        mesh = repaired(surface.vertices, surface.triangles)
        size = np.ptp(mesh.vertices, axis=0).max()
        points = (mesh.vertices - mesh.vertices.mean(axis=0)) / size
        corners = points[ConvexHull(points).vertices]
    except QhullError as error:
        raise SceneError(f"{key}: {path}: the mesh is flat; expected a solid, or remove it") from error
    except OSError as error:
        raise SceneError(f"{key}: {path}: cannot be read ({error.strerror}); remove it or mend it") from error
    except ValueError as error:
        raise SceneError(f"{key}: {path}: cannot be read as a mesh: {error}; or remove it") from error
    if not mesh.watertight:
        raise SceneError(f"{key}: {path}: the mesh is not closed (it has open edges); close it, or remove it")
    return np.asarray(corners)


def _spread(points: Array, count: int) -> Array:
    """`count` of `points` (V, 3) that lie far from each other: farthest point sampling."""
    chosen = [int(np.argmax(np.linalg.norm(points, axis=1)))]
    gap = np.full(len(points), np.inf)
    while len(chosen) < count:
        gap = np.minimum(gap, np.linalg.norm(points - points[chosen[-1]], axis=1))
        chosen.append(int(np.argmax(gap)))
    return np.asarray(points[np.sort(chosen)])
