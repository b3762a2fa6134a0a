"""Reads mesh files (OBJ, PLY, OFF, STL, GLB and glTF) as vertices and triangles.

OBJ, PLY and OFF have faces of any number of corners and are read here; STL, GLB and glTF, which have triangles only, are
read by trimesh. Textures and colors are not read, but `Surface.wears` states that the file has them.
"""

import hashlib
import io
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import trimesh
from numpy.typing import NDArray

from simgen.geometry import Array
from simgen.shapes.polygons import triangulated

FORMATS = (".obj", ".ply", ".stl", ".glb", ".gltf", ".off")
EXPORT = "export as OBJ, PLY, STL or GLB"
_COMPRESSED = ("KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_meshopt_compression")
_STL_HEAD, _STL_FACE = 84, 50  # bytes: an 80-byte header and the number of faces; a face
_PLY_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4", "double": "f8",
    "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4", "float32": "f4",
    "float64": "f8",
}  # fmt: skip


@dataclass(frozen=True)
class Surface:
    """The content of a mesh file: vertices (V, 3) in the file's unit and frame, triangles (T, 3), and `wears`, which is
    "texture" or "colors" if the file has one, else ""."""

    vertices: Array
    triangles: NDArray[np.int64]
    wears: str


def read_mesh(path: Path) -> Surface:
    """The surface in the file `path`, with all its objects in one. Raises ValueError for invalid content and OSError for a
    file that cannot be read."""
    kind = path.suffix.lower()
    if kind not in FORMATS:
        raise ValueError(f"{kind or 'a file without an ending'} is no mesh format that simgen reads; {EXPORT}")
    data = path.read_bytes()
    if not data.strip():
        raise ValueError("the file is empty")
    if data.startswith(b"version https://git-lfs"):
        raise ValueError("it is a Git LFS pointer, not the mesh itself; run `git lfs pull`")
    data = data.removeprefix(b"\xef\xbb\xbf")  # the byte order mark of a Windows editor
    if kind == ".obj":
        surface = _read_obj(_text(data), path)
    elif kind == ".ply":
        surface = _read_ply(data)
    elif kind == ".off":
        surface = _read_off(_text(data))
    else:
        surface = _read_triangles(data, kind[1:], path)
    if not len(surface.vertices):
        raise ValueError("the file holds no points")
    if not len(surface.triangles):
        raise ValueError(f"the file holds points, no faces; {EXPORT} with faces")
    used = surface.triangles
    if used.min() < 0 or used.max() >= len(surface.vertices):
        wrong = int(used.max() if used.min() >= 0 else used.min())
        raise ValueError(f"a face names vertex {wrong + 1}, but the file has {len(surface.vertices)}")
    if not np.isfinite(surface.vertices[used]).all():
        raise ValueError("it has coordinates that are not finite numbers")
    return surface


def mesh_sha256(path: Path) -> str:
    """The SHA-256, in hex, of the bytes of a mesh file and, of a glTF, of the files that hold its numbers after them. Raises
    ValueError and OSError as `read_mesh` does."""
    data = path.read_bytes()
    digest = hashlib.sha256(data)
    if path.suffix.lower() == ".gltf":
        for buffer in _gltf(data, "gltf").get("buffers", []):
            uri = str(buffer.get("uri", ""))
            if not uri.startswith("data:"):
                digest.update(_Beside(str(path)).get(uri))
    return digest.hexdigest()


def _text(data: bytes) -> str:
    """`data` as text. Only comments and names can be in another encoding; numbers are ASCII."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _numbers(words: list[str], line: int) -> list[float]:
    try:
        return [float(word) for word in words]
    except ValueError as error:
        raise ValueError(f"line {line}: got '{' '.join(words)}'; expected numbers with a decimal point") from error


def _read_obj(text: str, path: Path) -> Surface:
    """Wavefront OBJ. Negative vertex numbers in faces count back from the last vertex so far."""
    vertices: list[list[float]] = []
    polygons: list[list[int]] = []
    libraries: list[str] = []
    colors = False
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\\\n", " ").split("\n")
    for number, line in enumerate(lines, start=1):
        key, *words = line.partition("#")[0].split() or [""]
        if key == "v":
            if len(words) < 3:
                raise ValueError(f"line {number}: got '{line.strip()}'; expected a vertex's three coordinates")
            colors = colors or len(words) >= 6
            vertices.append(_numbers(words[:3], number))
        elif key in ("f", "fo"):  # fo: the older name
            try:
                places = [int(word.partition("/")[0]) for word in words]
            except ValueError as error:
                raise ValueError(f"line {number}: got '{line.strip()}'; expected a face's whole numbers") from error
            if 0 in places or min(places, default=1) < -len(vertices):
                raise ValueError(f"line {number}: got '{line.strip()}'; a vertex's number is 1 or more, or counts back")
            polygons.append([place - 1 if place > 0 else len(vertices) + place for place in places])
        elif key == "mtllib":
            libraries.append(line.partition("#")[0].strip()[len(key) :].strip())
    points = np.array(vertices, dtype=np.float64).reshape(-1, 3)
    wears = "texture" if any(_has_picture(path.parent / name) for name in libraries) else "colors" if colors else ""
    return _surface(points, polygons, wears)


def _has_picture(library: Path) -> bool:
    """Whether an OBJ's material file names a texture. False if the file is missing."""
    try:
        return b"map_kd" in library.read_bytes().lower()
    except (OSError, ValueError):
        return False


def _read_off(text: str) -> Surface:
    """Object File Format: the numbers of vertices and faces, the vertices, then the faces, which may end with a color."""
    rows = [(k, line.partition("#")[0].split()) for k, line in enumerate(text.splitlines(), start=1)]
    rows = [(k, words) for k, words in rows if words]
    if not rows or not rows[0][1][0].upper().endswith("OFF"):
        raise ValueError("is no OFF file: its first word is not OFF")
    if len(rows[0][1]) == 1:
        rows = rows[1:]
    else:
        rows[0] = (rows[0][0], rows[0][1][1:])
    try:
        count, faces = int(rows[0][1][0]), int(rows[0][1][1])
        points = [_numbers(words[:3], k) for k, words in rows[1 : 1 + count]]
        polygons = [[int(w) for w in words[1 : 1 + int(words[0])]] for _, words in rows[1 + count : 1 + count + faces]]
        return _surface(np.array(points, dtype=np.float64).reshape(-1, 3), polygons, "")
    except IndexError as error:
        raise ValueError("the file is cut short") from error


def _surface(points: Array, polygons: list[list[int]], wears: str) -> Surface:
    places = [place for polygon in polygons for place in polygon]
    if places and not 0 <= min(places) <= max(places) < len(points):
        wrong = min(places) if min(places) < 0 else max(places)
        raise ValueError(f"a face names vertex {wrong + 1}, but the file has {len(points)}")
    return Surface(points, triangulated(np.nan_to_num(points), polygons), wears)


def _read_ply(data: bytes) -> Surface:
    """Stanford PLY, text or binary of either byte order."""
    head, body, elements, order = _ply_head(data)
    rows = _ply_text(body, elements) if order is None else _ply_binary(body, elements, order)
    vertex = rows.get("vertex", {})
    if not {"x", "y", "z"} <= set(vertex):
        raise ValueError("the file holds no points")
    points = np.stack([np.asarray(vertex[axis], dtype=np.float64) for axis in "xyz"], axis=1)
    faces = rows.get("face", {})
    polygons: Any = faces.get("vertex_indices", faces.get("vertex_index", []))
    wears = "texture" if b"texturefile" in head.lower() else ""
    if not wears and ("red" in vertex or "red" in faces):
        wears = "colors"
    return _surface(points, [[int(place) for place in polygon] for polygon in polygons], wears)


_Properties = list[tuple[str, str, str | None]]  # name, type, and of a list the type of its length
_Columns = dict[str, Any]


def _ply_head(data: bytes) -> tuple[bytes, bytes, list[tuple[str, int, _Properties]], str | None]:
    """The header, the bytes after it, the elements with their number and properties, and the byte order (None for text)."""
    if not data.startswith(b"ply"):
        raise ValueError("is no PLY file: it does not begin with 'ply'")
    place = data.find(b"end_header")
    if place < 0:
        raise ValueError("the file is cut short: it has no end_header")
    end = data.find(b"\n", place) + 1 or data.find(b"\r", place) + 1
    head = data[:place]
    elements: list[tuple[str, int, _Properties]] = []
    order: str | None = None
    for line in head.decode("latin-1").replace("\r", "\n").split("\n"):
        words = line.split()
        try:
            if words[:1] == ["format"]:
                order = {"ascii": None, "binary_little_endian": "<", "binary_big_endian": ">"}[words[1]]
            elif words[:1] == ["element"]:
                elements.append((words[1], int(words[2]), []))
            elif words[:2] == ["property", "list"]:
                elements[-1][2].append((words[4], _PLY_TYPES[words[3]], _PLY_TYPES[words[2]]))
            elif words[:1] == ["property"]:
                elements[-1][2].append((words[2], _PLY_TYPES[words[1]], None))
        except (IndexError, KeyError, ValueError) as error:
            raise ValueError(f"its header has the line '{line.strip()}', which PLY does not define") from error
    return head, data[end:], elements, order


def _ply_text(body: bytes, elements: list[tuple[str, int, _Properties]]) -> dict[str, _Columns]:
    words = iter(body.split())
    result: dict[str, _Columns] = {}
    try:
        for element, count, properties in elements:
            columns: _Columns = {name: [] for name, _, _ in properties}
            for _ in range(count):
                for name, _, length in properties:
                    if length is None:
                        columns[name].append(float(next(words)))
                    else:
                        columns[name].append([float(next(words)) for _ in range(int(next(words)))])
            result[element] = columns
    except StopIteration as error:
        raise ValueError("the file is cut short") from error
    return result


def _ply_binary(body: bytes, elements: list[tuple[str, int, _Properties]], order: str) -> dict[str, _Columns]:
    result: dict[str, _Columns] = {}
    place = 0
    try:
        for element, count, properties in elements:
            if all(length is None for _, _, length in properties):
                row = np.dtype([(name, order + kind) for name, kind, _ in properties])
                table = np.frombuffer(body, row, count, place)
                place += row.itemsize * count
                result[element] = {name: table[name] for name, _, _ in properties}
                continue
            columns: _Columns = {name: [] for name, _, _ in properties}
            for _ in range(count):
                for name, kind, length in properties:
                    number = 1
                    if length is not None:
                        number = int(np.frombuffer(body, order + length, 1, place)[0])
                        place += np.dtype(length).itemsize
                    values = np.frombuffer(body, order + kind, number, place)
                    place += values.nbytes
                    columns[name].append(values.tolist() if length is not None else values[0])
            result[element] = columns
    except ValueError as error:
        raise ValueError("the file is cut short") from error
    return result


def _read_triangles(data: bytes, kind: str, path: Path) -> Surface:
    wears = ""
    if kind in ("glb", "gltf"):
        content = _gltf(data, kind)
        packed = [name for name in content.get("extensionsRequired", []) if name in _COMPRESSED]
        if packed:
            raise ValueError(f"it is compressed ({packed[0]}), which simgen does not read; export without compression")
        meshes = [part for mesh in content.get("meshes", []) for part in mesh.get("primitives", [])]
        if content.get("textures"):
            wears = "texture"
        elif any("COLOR_0" in part.get("attributes", {}) for part in meshes):
            wears = "colors"
    else:
        data = _stl(data)
    beside = _Beside(str(path))
    try:
        loaded: Any = trimesh.load(
            io.BytesIO(data), file_type=kind, resolver=beside, force="mesh", process=False, skip_materials=True
        )
        vertices, triangles = np.asarray(loaded.vertices, dtype=np.float64), np.asarray(loaded.faces, dtype=np.int64)
    except Exception as error:  # trimesh raises errors of many kinds
        cause = type(error).__name__ if isinstance(error, ImportError) else f"{error}"
        raise ValueError(f"is no {kind.upper()} file that can be read ({cause}); {EXPORT}") from error
    return Surface(vertices.reshape(-1, 3), triangles.reshape(-1, 3), wears)


class _Beside(trimesh.resolvers.FilePathResolver):
    """Finds what a glTF file names beside it, also in percent-encoded names, which trimesh takes as they are."""

    def get(self, name: str) -> bytes:
        try:
            return bytes(super().get(unquote(name)))
        except OSError:
            return bytes(super().get(name))


def _stl(data: bytes) -> bytes:
    """An STL file without what its parser trips over: binary without bytes after its faces and without a header that begins
    with "solid", as many programs write it, or text in ASCII. Raises ValueError for what is neither.

    Only the length tells the two kinds apart: a binary file has room for the number of faces that it states; four letters of
    a text in that place state over 100 million.
    """
    stated = int.from_bytes(data[_STL_HEAD - 4 : _STL_HEAD], "little") if len(data) >= _STL_HEAD else 0
    length = _STL_HEAD + _STL_FACE * stated
    text = data.lstrip()[:5].lower() == b"solid" and b"facet" in data[:4096].lower()
    if stated and length <= len(data):
        return b"\0" * (_STL_HEAD - 4) + data[_STL_HEAD - 4 : length]
    if not text:
        raise ValueError(f"is no STL file, or is cut short; {EXPORT}")
    return _text(data).encode("ascii", "replace")


def _gltf(data: bytes, kind: str) -> dict[str, Any]:
    """The JSON part of a glTF file."""
    try:
        if kind == "glb":
            magic, length = data[:4], struct.unpack("<I", data[12:16])[0]
            if magic != b"glTF":
                raise ValueError("it does not begin with 'glTF'")
            data = data[20 : 20 + length]
        return dict(json.loads(data))
    except (ValueError, struct.error) as error:
        raise ValueError(f"is no {kind.upper()} file that can be read ({error}); {EXPORT}") from error
