"""Solids against closed formulas, group theory and a second library; mesh files against the built-in shapes."""

import math
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.spatial import ConvexHull, Delaunay

from simgen.errors import SceneError
from simgen.geometry import rotation_about
from simgen.shapes.solids import SEGMENTS, SHAPES, Solid, box_mapping, face_numbers, load_solid, make_solid

ROOT3 = math.sqrt(3)
RING = SEGMENTS / 2 * math.sin(2 * math.pi / SEGMENTS)  # the area of the polygon that stands for the unit circle

# name: shape, size, number of rotations, number of resting faces, volume in units of the bounding box
SOLIDS: dict[str, tuple[str, list[float], int, int, float]] = {
    "cube": ("cube", [0.05, 0.05, 0.05], 24, 6, 1),
    "square box": ("rectangular_prism", [0.05, 0.05, 0.08], 8, 6, 1),
    "square box on its side": ("rectangular_prism", [0.08, 0.05, 0.05], 8, 6, 1),
    "brick": ("rectangular_prism", [0.09, 0.06, 0.03], 4, 6, 1),
    "flat brick": ("rectangular_prism", [0.0900, 0.0901, 0.01], 4, 6, 1),
    "regular hexagonal prism": ("hexagonal_prism", [0.06, 0.03 * ROOT3, 0.045], 12, 8, 3 / 4),
    "stretched hexagonal prism": ("hexagonal_prism", [0.08, 0.03 * ROOT3, 0.045], 4, 8, 3 / 4),
    "square pyramid": ("pyramid", [0.06, 0.06, 0.055], 4, 5, 1 / 3),
    "oblong pyramid": ("pyramid", [0.06, 0.05, 0.055], 2, 5, 1 / 3),
    "regular tetrahedron": ("tetrahedron", [0.06, 0.03 * ROOT3, 0.06 * math.sqrt(2 / 3)], 12, 4, 1 / 6),
    "tall tetrahedron": ("tetrahedron", [0.06, 0.03 * ROOT3, 0.08], 3, 4, 1 / 6),
    "regular triangular prism": ("triangular_prism", [0.06, 0.03 * ROOT3, 0.05], 6, 5, 1 / 2),
    "isosceles triangular prism": ("triangular_prism", [0.06, 0.06, 0.05], 2, 5, 1 / 2),
    "cylinder": ("cylinder", [0.05, 0.05, 0.06], 2, 3, RING / 4),
    "oval cylinder": ("cylinder", [0.05, 0.06, 0.06], 4, 14, RING / 4),
    "cone": ("cone", [0.06, 0.06, 0.07], 1, 2, RING / 12),
    "oval cone": ("cone", [0.06, 0.05, 0.07], 2, 0, RING / 12),
}
ROUND = ("cylinder", "cone")

# An L of thickness 1: the square [0, 2]^2 without its upper right quarter.
L_OUTLINE = [(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)]
L_FACES = [
    *[face[::-1] for face in ([0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 5])],
    *[[k + 6 for k in face] for face in ([0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 5])],
    *[face for i in range(6) for j in [(i + 1) % 6] for face in ([i, j, j + 6], [i, j + 6, i + 6])],
]
L_CORNERS = [(x, y, z) for z in (0, 1) for x, y in L_OUTLINE]

# A cube of edge 50 whose sides are quadrilaterals, counterclockwise from outside, far from the origin.
CUBE_CORNERS = [(100 + 50 * x, 50 * y, 50 * z - 7) for x, y, z in product((0, 1), repeat=3)]
CUBE_FACES = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]


def solid_of(name: str) -> Solid:
    shape, size, *_ = SOLIDS[name]
    return make_solid(name, shape, np.array(size))


def write_obj(path: Path, corners: list, faces: list) -> Path:
    lines = ["v {} {} {}".format(*corner) for corner in corners]
    lines += ["f " + " ".join(str(k + 1) for k in face) for face in faces]
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
    return path


def mass_center(vertices: np.ndarray) -> np.ndarray:
    """Of the convex hull, by cutting it into tetrahedra."""
    corners = vertices[Delaunay(vertices).simplices]
    volume = np.abs(np.linalg.det(corners[:, 1:] - corners[:, :1]))
    return volume @ corners.mean(axis=1) / volume.sum()


def signed_volume(solid: Solid) -> float:
    a, b, c = np.moveaxis(solid.vertices[solid.triangles], 1, 0)
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


@pytest.fixture(params=SOLIDS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_shape_is_tested_here() -> None:
    assert {row[0] for row in SOLIDS.values()} | {"sphere"} == set(SHAPES)  # for the sphere see test_meshes.py


# ---- the surface


def test_size_origin_and_volume(name: str) -> None:
    shape, size, _, _, share = SOLIDS[name]
    solid = solid_of(name)
    assert solid.size == pytest.approx(size, rel=1e-12)
    assert solid.vertices.min(axis=0) == pytest.approx(-np.array(size) / 2, rel=1e-12)
    volume = share * math.prod(size)
    assert signed_volume(solid) == pytest.approx(volume, rel=1e-9)
    assert solid.hull.volume == pytest.approx(volume, rel=1e-9)
    mesh = trimesh.Trimesh(solid.vertices, solid.triangles, process=False)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(volume, rel=1e-9)
    if shape in ROUND:
        circle = math.pi / 4 if shape == "cylinder" else math.pi / 12
        assert volume == pytest.approx(circle * math.prod(size), rel=2e-3)


def test_radius_and_diameter(name: str) -> None:
    solid = solid_of(name)
    gaps = np.linalg.norm(solid.vertices[:, None] - solid.vertices, axis=2)
    assert solid.diameter == pytest.approx(gaps.max(), rel=1e-12)
    assert solid.radius == pytest.approx(max(math.hypot(*vertex) for vertex in solid.vertices.tolist()), rel=1e-12)
    if solid.shape in ("cube", "rectangular_prism"):
        assert solid.diameter == pytest.approx(math.hypot(*solid.size))
        assert solid.radius == pytest.approx(math.hypot(*solid.size) / 2)


def test_planes_are_the_facets(name: str) -> None:
    solid = solid_of(name)
    normals, offsets = solid.planes[:, :3], solid.planes[:, 3]
    assert np.linalg.norm(normals, axis=1) == pytest.approx(np.ones(len(normals)), abs=1e-12)
    height = solid.vertices @ normals.T - offsets
    assert height.max() < 1e-12
    assert (np.count_nonzero(height > -1e-9, axis=0) >= 3).all()  # each carries a facet
    corners = len(solid.vertices)
    edges = len(solid.triangles) * 3 // 2 - (len(solid.triangles) - len(solid.planes))  # without the diagonals
    if solid.shape == "cylinder":
        assert len(solid.planes) == SEGMENTS + 2
    assert corners - edges + len(solid.planes) == 2  # Euler
    assert (offsets > 0).all()


def test_mesh_normals_point_outward(name: str) -> None:
    solid = solid_of(name)
    mesh = solid.mesh
    assert np.array_equal(mesh.corners, solid.vertices[solid.triangles])
    assert np.linalg.norm(mesh.normals, axis=1) == pytest.approx(np.ones(len(mesh.normals)), abs=1e-12)
    match = mesh.normals @ solid.planes[:, :3].T
    assert match.max(axis=1) == pytest.approx(np.ones(len(match)), abs=1e-9)
    offset = np.einsum("tij,tj->ti", mesh.corners, mesh.normals)
    assert offset == pytest.approx(np.repeat(solid.planes[match.argmax(axis=1), 3][:, None], 3, 1), abs=1e-9)
    # The divergence theorem: the flux of the field x through the surface is three volumes.
    a, b = mesh.corners[:, 1] - mesh.corners[:, 0], mesh.corners[:, 2] - mesh.corners[:, 0]
    area = np.linalg.norm(np.cross(a, b), axis=1) / 2
    assert (area * offset[:, 0]).sum() == pytest.approx(3 * solid.hull.volume, rel=1e-9)


def test_a_texture_covers_each_side_of_a_box_once() -> None:
    mesh = solid_of("brick").mesh
    for axis in range(3):
        for sign in (-1, 1):
            side = mesh.normals[:, axis] * sign > 0.9
            assert np.count_nonzero(side) == 2
            texture = mesh.texture[side]
            assert sorted({tuple(corner) for corner in texture.reshape(-1, 2).round(12).tolist()}) == [
                (0, 0),
                (0, 1),
                (1, 0),
                (1, 1),
            ]
            a, b = texture[:, 1] - texture[:, 0], texture[:, 2] - texture[:, 0]
            assert np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / 2 == pytest.approx(1)


def test_box_mapping_drops_the_axis_of_the_normal() -> None:
    corners = np.array([[[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9]]] * 3)
    texture = box_mapping(corners, np.array([[-1.0, 0, 0], [0.1, 0.9, 0.1], [0, 0, 1]]))
    assert np.array_equal(texture[0], corners[0][:, [1, 2]])
    assert np.array_equal(texture[1], corners[1][:, [0, 2]])
    assert np.array_equal(texture[2], corners[2][:, [0, 1]])


# ---- resting faces


def test_rests_lie_on_the_table_and_carry_the_block(name: str) -> None:
    solid = solid_of(name)
    center = mass_center(solid.vertices)
    if number := SOLIDS[name][3]:
        assert len(solid.rests) == number
    for rest in solid.rests:
        assert np.allclose(rest[:3, :3] @ rest[:3, :3].T, np.eye(3), atol=1e-12)
        assert np.linalg.det(rest[:3, :3]) == pytest.approx(1)
        assert np.array_equal(rest[:2, 3], [0, 0])
        placed = solid.vertices @ rest[:3, :3].T + rest[:3, 3]
        assert abs(placed[:, 2].min()) < 1e-12
        foot = ConvexHull(placed[placed[:, 2] < 1e-9, :2])
        plumb = rest[:3, :3] @ center
        assert (foot.equations @ [plumb[0], plumb[1], 1]).max() < 0


def test_no_face_that_carries_the_block_is_missing(name: str) -> None:
    """Each facet with the plumb line over it is one of the rests, up to the turn about a round solid's axis."""
    solid = solid_of(name)
    center = mass_center(solid.vertices)
    downs = np.array([-rest[2, :3] for rest in solid.rests])
    for normal, offset in zip(solid.planes[:, :3], solid.planes[:, 3], strict=True):
        others = solid.planes[solid.planes[:, :3] @ normal < 1 - 1e-9]
        foot = center + normal * (offset - normal @ center)
        if (others[:, :3] @ foot - others[:, 3]).max() < -1e-6:
            same = downs[:, 2] - normal[2] if solid.axis is not None else np.abs(downs - normal).max(axis=1)
            assert np.count_nonzero(np.abs(same) < 1e-4) == 1


def test_the_first_rest_is_the_base_down(name: str) -> None:
    solid = solid_of(name)
    expected = np.eye(4)
    expected[2, 3] = solid.size[2] / 2
    assert np.allclose(solid.rests[0], expected, rtol=0, atol=1e-12)


def test_a_leaning_block_does_not_rest_on_the_face_that_it_would_fall_from(tmp_path: Path) -> None:
    corners = [(x + 6 * z, y, 3 * z) for z in (0, 1) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))]
    leaning = load_solid("leaning", write_obj(tmp_path / "leaning.obj", corners, _faces_of_hull(corners)), 0.02)
    assert leaning.convex
    downs = {tuple(np.round(-rest[2, :3], 6) + 0.0) for rest in leaning.rests}
    assert (0, 0, -1) not in downs
    assert (0, 0, 1) not in downs
    assert {(0, -1, 0), (0, 1, 0)} < downs


# ---- symmetries


def test_the_symmetries_form_the_known_group(name: str) -> None:
    solid = solid_of(name)
    group = solid.symmetries
    assert len(group) == SOLIDS[name][2]
    assert np.allclose(group[0], np.eye(4), rtol=0, atol=1e-12)
    for symmetry in group:
        assert np.allclose(symmetry[:3, :3] @ symmetry[:3, :3].T, np.eye(3), atol=1e-9)
        assert np.linalg.det(symmetry[:3, :3]) == pytest.approx(1)
        assert np.array_equal(symmetry[3], [0, 0, 0, 1])
        inverse = np.linalg.inv(symmetry)
        assert np.abs(group - inverse).max(axis=(1, 2)).min() < 1e-9
        for other in group:
            assert np.abs(group - symmetry @ other).max(axis=(1, 2)).min() < 1e-9
    gaps = np.abs(group[:, None] - group).max(axis=(2, 3))[~np.eye(len(group), dtype=bool)]
    assert gaps.size == 0 or gaps.min() > 0.1  # all different


def test_the_symmetries_map_the_block_onto_itself(name: str) -> None:
    solid = solid_of(name)
    for symmetry in solid.symmetries:
        moved = solid.vertices @ symmetry[:3, :3].T + symmetry[:3, 3]
        gaps = np.linalg.norm(moved[:, None] - solid.vertices, axis=2)
        nearest = gaps.argmin(axis=1)
        assert gaps.min(axis=1).max() < 1e-9
        assert sorted(nearest) == list(range(len(nearest)))  # one to one


def test_round_blocks_have_an_axis_and_others_none(name: str) -> None:
    solid = solid_of(name)
    if name not in ROUND:
        assert solid.axis is None
        return
    assert np.array_equal(solid.axis, [0, 0, 1])
    step = rotation_about(2, 2 * np.pi / SEGMENTS)
    gaps = np.linalg.norm((solid.vertices @ step.T)[:, None] - solid.vertices, axis=2).min(axis=1)
    assert gaps.max() < 1e-9


# ---- keypoints


def test_keypoints_lie_on_the_surface_and_apart(name: str) -> None:
    solid = solid_of(name)
    height = solid.keypoints @ solid.planes[:, :3].T - solid.planes[:, 3]
    assert np.abs(height.max(axis=1)).max() < 1e-9
    gaps = np.linalg.norm(solid.keypoints[:, None] - solid.keypoints, axis=2)
    assert gaps[~np.eye(len(gaps), dtype=bool)].min() > 0.005
    expected = {"cone": 6, "cylinder": 10, "oval cone": 12, "oval cylinder": 12}.get(name, len(solid.vertices))
    assert len(solid.keypoints) == expected
    if expected == len(solid.vertices):
        assert {tuple(k) for k in solid.keypoints.round(9)} == {tuple(v) for v in solid.vertices.round(9)}


# ---- mesh files


def _faces_of_hull(corners: list) -> list:
    hull = ConvexHull(np.array(corners, dtype=float))
    middle = hull.points.mean(axis=0)
    faces = []
    for simplex in hull.simplices:
        a, b, c = hull.points[simplex]
        outward = np.cross(b - a, c - a) @ (a - middle) > 0
        faces.append([int(k) for k in (simplex if outward else simplex[::-1])])
    return faces


def test_a_cube_from_a_file_is_the_built_in_cube(tmp_path: Path) -> None:
    built_in = solid_of("cube")
    loaded = load_solid("box", write_obj(tmp_path / "cube.obj", CUBE_CORNERS, CUBE_FACES), 0.001)
    assert (loaded.name, loaded.shape, loaded.axis, loaded.convex) == ("box", "mesh", None, True)
    assert loaded.size == pytest.approx(built_in.size, rel=1e-9)
    assert sorted(loaded.vertices.round(9).tolist()) == sorted(built_in.vertices.round(9).tolist())
    assert signed_volume(loaded) == pytest.approx(0.05**3, rel=1e-9)
    assert len(loaded.planes) == len(loaded.rests) == 6
    assert len(loaded.symmetries) == 24
    for symmetry in loaded.symmetries:
        assert np.abs(built_in.symmetries - symmetry).max(axis=(1, 2)).min() < 1e-9
    assert sorted(loaded.keypoints.round(9).tolist()) == sorted(built_in.keypoints.round(9).tolist())
    assert np.allclose(loaded.rests[0], built_in.rests[0], rtol=0, atol=1e-9)


def _with_normals(path: Path) -> Path:
    """An OBJ as modeling programs write it: vertex, texture coordinate and normal for each corner of each face."""
    lines, k = ["mtllib nowhere.mtl", "o cube", "usemtl white"], 0
    for face in CUBE_FACES:
        for corner in face:
            lines += ["v {} {} {}".format(*CUBE_CORNERS[corner]), "vt 0.5 0.5", "vn 0 0 1"]
        lines.append("f " + " ".join(f"{k + j}/{k + j}/{k + j}" for j in (1, 2, 3, 4)))
        k += 4
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
    return path


def _with_a_stray_vertex(path: Path) -> Path:
    return write_obj(path, [*CUBE_CORNERS, (9999, 9999, 9999)], CUBE_FACES)


def _inside_out(path: Path) -> Path:
    return write_obj(path, CUBE_CORNERS, [face[::-1] for face in CUBE_FACES])


def _with_two_parts(path: Path) -> Path:
    write_obj(path, CUBE_CORNERS, [])
    faces = ["f " + " ".join(str(k + 1) for k in face) for face in CUBE_FACES]
    path.write_text("\n".join([path.read_text(), "o one", *faces[:3], "o two", *faces[3:]]) + "\n", encoding="ascii")
    return path


def _as_stl(path: Path) -> Path:
    trimesh.Trimesh(CUBE_CORNERS, _faces_of_hull(CUBE_CORNERS)).export(path.with_suffix(".stl"))
    return path.with_suffix(".stl")


def _as_ply(path: Path) -> Path:
    trimesh.Trimesh(CUBE_CORNERS, _faces_of_hull(CUBE_CORNERS)).export(path.with_suffix(".ply"))
    return path.with_suffix(".ply")


@pytest.mark.parametrize("write", [_with_normals, _with_a_stray_vertex, _inside_out, _with_two_parts, _as_stl, _as_ply])
def test_every_way_to_write_a_cube_is_the_same_cube(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    loaded = load_solid("box", write(tmp_path / "cube.obj"), 0.001)
    assert loaded.size == pytest.approx([0.05] * 3, rel=1e-6)
    assert loaded.convex
    assert signed_volume(loaded) == pytest.approx(0.05**3, rel=1e-6)
    assert len(loaded.symmetries) == 24
    assert len(loaded.rests) == 6
    assert len(loaded.keypoints) == 8


@pytest.mark.parametrize("inside_out", [False, True])
def test_a_mesh_with_a_hollow_keeps_its_surface(tmp_path: Path, inside_out: bool) -> None:
    faces = [face[::-1] for face in L_FACES] if inside_out else L_FACES
    solid = load_solid("L", write_obj(tmp_path / "l.obj", L_CORNERS, faces), 0.05)
    assert not solid.convex
    assert solid.size == pytest.approx([0.1, 0.1, 0.05])
    assert signed_volume(solid) == pytest.approx(3 * 0.05**3)  # positive: counterclockwise from outside

    def inside(points: np.ndarray) -> np.ndarray:
        x, y, z = (points / 0.05 + [1, 1, 0.5]).T
        return (x > 0) & (y > 0) & (z > 0) & (x < 2) & (y < 2) & (z < 1) & ((x < 1) | (y < 1))

    middle = solid.mesh.corners.mean(axis=1)
    assert inside(middle - 1e-5 * solid.mesh.normals).all()
    assert not inside(middle + 1e-5 * solid.mesh.normals).any()
    assert len(solid.planes) == 7  # of the hull: the two inner sides make one slanting facet
    assert {tuple(k) for k in solid.keypoints.round(9)} <= {tuple(v) for v in solid.vertices.round(9)}


def test_symmetries_of_a_mesh_with_a_hollow(tmp_path: Path) -> None:
    """An L with equal arms has one half turn, about the diagonal between them; with unequal arms it has none. The
    hull alone gives the same result; a dent in one side of a cube is visible only in its surface."""
    even = load_solid("L", write_obj(tmp_path / "even.obj", L_CORNERS, L_FACES), 0.05)
    half_turn = np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]])
    assert np.allclose(even.symmetries, [np.eye(4), half_turn], rtol=0, atol=1e-6)
    stretched = [(x, 1.3 * y, z) for x, y, z in L_CORNERS]
    uneven = load_solid("L", write_obj(tmp_path / "uneven.obj", stretched, L_FACES), 0.05)
    assert len(uneven.symmetries) == 1


def test_symmetries_of_a_dented_cube(tmp_path: Path) -> None:
    """The top's middle is pressed in: the four turns about the vertical are left of the hull's 24."""
    corners = [*CUBE_CORNERS, (125, 25, 23)]
    top = CUBE_FACES[-1]
    faces = [*CUBE_FACES[:-1], *[[top[k], top[(k + 1) % 4], 8] for k in range(4)]]
    dented = load_solid("dented", write_obj(tmp_path / "dented.obj", corners, faces), 0.001)
    assert not dented.convex
    assert len(dented.symmetries) == 4
    assert np.allclose(dented.symmetries[:, 2, :3], [0, 0, 1], rtol=0, atol=1e-6)


def test_a_round_mesh_takes_the_stated_axis(tmp_path: Path) -> None:
    ring = [(math.cos(t), math.sin(t)) for t in np.linspace(0, 2 * math.pi, 48, endpoint=False)]
    lying = [(x, y, z) for y in (-1.5, 1.5) for x, z in ring]
    path = write_obj(tmp_path / "roll.obj", lying, _faces_of_hull(lying))
    solid = load_solid("roll", path, 0.02, np.array([0.0, 1.0, 0.0]))
    assert np.array_equal(solid.axis, [0, 1, 0])
    assert solid.size == pytest.approx([0.04, 0.06, 0.04], rel=1e-2)
    assert len(solid.symmetries) == 2
    assert solid.symmetries[1][:3, :3] @ [0, 1, 0] == pytest.approx([0, -1, 0])
    assert len(solid.rests) == 3  # on either end, and on its side


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "missing"),
        ("", "cannot be read"),
        ("what is this", "cannot be read"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "flat"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nv 1 1 0\nf 1 2 4 3\n", "flat"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\n", "cannot be read"),
    ],
)
def test_what_is_no_solid_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "thing.obj"
    if content is not None:
        path.write_text(content, encoding="ascii")
    with pytest.raises(SceneError, match=message) as caught:
        load_solid("thing", path, 1.0)
    assert str(caught.value).startswith(f"{path}: ")
    assert "'thing'" in str(caught.value)


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_mesh_with_a_number_that_is_not_finite_is_refused(tmp_path: Path, number: float) -> None:
    corners = [*CUBE_CORNERS, (125, 25, number)]
    top = CUBE_FACES[-1]
    faces = [*CUBE_FACES[:-1], *[[top[k], top[(k + 1) % 4], 8] for k in range(4)]]
    path = write_obj(tmp_path / "thing.obj", corners, faces)
    with pytest.raises(SceneError, match="finite") as caught:
        load_solid("thing", path, 1.0)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "thing.stl"
    path.write_bytes(bytes(range(256)) * 3)
    with pytest.raises(SceneError, match="thing"):
        load_solid("thing", path, 1.0)


@pytest.mark.parametrize("name", SOLIDS)
def test_triangles_of_one_plane_and_no_others_are_one_face(name: str) -> None:
    shape, size, *_ = SOLIDS[name]
    solid = make_solid(name, shape, np.array(size))
    number = face_numbers(solid.mesh.normals, solid.slabs)
    plane = np.einsum("tk,tk->t", solid.mesh.normals, solid.mesh.corners[:, 0])
    seen = np.round(np.column_stack([solid.mesh.normals, plane / solid.diameter]), 5)
    for one in np.unique(number[number >= 0]):
        assert len(np.unique(seen[number == one], axis=0)) == 1
    flat = np.abs(solid.mesh.normals[:, 2]) > 0.9999
    if solid.quadric is None:
        assert (number >= 0).all()
        assert len(np.unique(number)) == len(solid.planes)
    else:
        assert ((number >= 0) == flat).all()  # what is round has no number
    # The low side of a slab looks against its normal, the high side along it.
    for one, normal in zip(number[number >= 0], solid.mesh.normals[number >= 0], strict=True):
        assert solid.slabs[one // 2, :3] @ normal == pytest.approx(1 if one % 2 else -1, abs=1e-6)
