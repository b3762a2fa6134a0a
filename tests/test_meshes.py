"""Mesh files of many programs against known areas, volumes, symmetry groups and resting poses."""

import base64
import hashlib
import json
import math
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh
from builders import pipeline_of
from trimesh import creation as make

from simgen.catalogue import load_block_set, load_world
from simgen.dataset.write import write_models
from simgen.errors import SceneError
from simgen.files import sha256_of
from simgen.render import make_renderer
from simgen.shapes.meshfile import mesh_sha256, read_mesh
from simgen.shapes.polygons import triangulated
from simgen.shapes.solids import Solid, load_solid, make_solid

CUBE = [(x, y, z) for x in (0, 50) for y in (0, 50) for z in (0, 50)]
SIDES = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
HALVES = [half for a, b, c, d in SIDES for half in ([a, b, c], [a, c, d])]
TILTED = trimesh.transformations.rotation_matrix(0.83, [1, 2, 3])


def obj(corners: list, faces: list, *, first: str = "") -> str:
    lines = ["v {} {} {}".format(*corner) for corner in corners] + [
        "f " + " ".join(str(k + 1) for k in f) for f in faces
    ]
    return first + "\n".join(lines) + "\n"


def ply(corners: list, faces: list, *, binary: bool, comment: bytes = b"") -> bytes:
    kind = b"binary_big_endian" if binary else b"ascii"
    head = b"ply\nformat %s 1.0\n%selement vertex %d\n" % (kind, comment, len(corners))
    head += b"property float x\nproperty float y\nproperty float z\nproperty uchar red\n"
    head += b"element face %d\nproperty list uchar int vertex_indices\nend_header\n" % len(faces)
    if not binary:
        rows = ["{} {} {} 255".format(*corner) for corner in corners] + [
            f"{len(f)} {' '.join(map(str, f))}" for f in faces
        ]
        return head.replace(b"\n", b"\r\n") + "\r\n".join(rows).encode()
    body = b"".join(struct.pack(">fffB", *corner, 255) for corner in corners)
    return head + body + b"".join(struct.pack(f">B{len(face)}i", len(face), *face) for face in faces)


def interleaved() -> str:
    """Every face right after its own corners, which it counts from the end."""
    return "".join("".join("v {} {} {}\n".format(*CUBE[k]) for k in f) + "f -4 -3 -2 -1\n" for f in SIDES)


STL = trimesh.Trimesh(CUBE, HALVES).export(file_type="stl")
MIXED = [*SIDES[:3], *HALVES[6:]]
FILES: dict[str, bytes] = {
    "bom.obj": b"\xef\xbb\xbf" + obj(CUBE, SIDES).encode(),
    "latin.obj": "# Würfel für Müller\n".encode("latin-1") + obj(CUBE, SIDES).replace(" ", "\t").encode(),
    "utf16.obj": obj(CUBE, SIDES).encode("utf-16"),
    "crlf.obj": obj(CUBE, SIDES).replace("\n", "\r\n").encode(),
    "continued.obj": obj(CUBE, SIDES).replace("f 1 2 ", "f 1 2 \\\n ").encode(),
    "counted back.obj": interleaved().encode(),
    "no area.obj": obj(CUBE, [*SIDES, [0, 1, 1], [0, 4, 0]]).encode(),
    "twice.obj": obj(CUBE, [*HALVES, *HALVES[:4], HALVES[5][::-1]]).encode(),
    "on an edge.obj": obj([*CUBE, (0, 0, 25)], [[0, 8, 1, 3, 2], *SIDES[1:]]).encode(),
    "mixed winding.obj": obj(CUBE, [HALVES[0][::-1], *HALVES[1:5], HALVES[5][::-1], *HALVES[6:]]).encode(),
    "text.ply": ply(CUBE, MIXED, binary=False, comment="comment Größe\n".encode("latin-1")),
    "binary.ply": ply(CUBE, MIXED, binary=True),
    "cube.off": b"OFF\n# a cube\n8 6 0\n"
    + "\n".join(["{} {} {}".format(*c) for c in CUBE] + ["4 {} {} {} {} 255 0 0".format(*f) for f in SIDES]).encode(),
    "cube.stl": trimesh.Trimesh(CUBE, HALVES).export(file_type="stl"),
    "facets named in a binary header.stl": b"solid by CAD, facets".ljust(80)
    + trimesh.Trimesh(CUBE, HALVES * 11, process=False).export(file_type="stl")[80:],
    "bytes after the faces.stl": STL + bytes(20),
    "mac.obj": obj(CUBE, SIDES).replace("\n", "\r").encode(),
    "old.obj": obj(CUBE, SIDES).replace("f ", "fo ").encode(),
    "named solid.stl": b"solid facet" + bytes(69) + trimesh.Trimesh(CUBE, HALVES).export(file_type="stl")[80:],
    "latin.stl": trimesh.Trimesh(CUBE, HALVES)
    .export(file_type="stl_ascii")
    .replace("solid", "solid Ü", 1)
    .encode("latin-1"),
    "cube.glb": trimesh.Trimesh(CUBE, HALVES).export(file_type="glb"),
}


@pytest.mark.parametrize("name", FILES)
def test_every_way_to_write_a_cube_is_a_cube(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FILES[name])
    solid = load_solid("part", tmp_path / name, 0.001)
    assert solid.convex
    assert solid.size == pytest.approx([0.05] * 3, rel=1e-6)
    assert trimesh.Trimesh(solid.vertices, solid.triangles).volume == pytest.approx(0.05**3, rel=1e-6)
    assert (len(solid.planes), len(solid.corners), len(solid.rests), len(solid.symmetries)) == (6, 8, 6, 24)
    assert solid.mesh_origin == pytest.approx([-0.025] * 3, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.obj", b" \n", "the file is empty"),
        ("a.obj", obj(CUBE, []).encode(), "holds points, no faces"),
        ("a.ply", ply(CUBE, [], binary=False), "holds points, no faces"),
        ("a.obj", obj(CUBE, [[0, 1, 9]]).encode(), "a face names vertex 10, but the file has 8"),
        ("a.obj", b"v 0,5 0 1\n", "line 1: got '0,5 0 1'; expected numbers with a decimal point"),
        ("a.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 0\n", "line 4"),
        ("a.ply", ply(CUBE, SIDES, binary=True)[:-9], "cut short"),
        ("a.ply", b"solid\n", "is no PLY file"),
        ("a.stl", bytes(range(200)), "is no STL file"),
        ("a.glb", b"glTF", "is no GLB file"),
        (
            "a.gltf",
            b'{"extensionsRequired": ["EXT_meshopt_compression"]}',
            "it is compressed (EXT_meshopt_compression)",
        ),
        ("a.stl", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n", "Git LFS pointer"),
        (
            "a.obj",
            obj([(0, 0, 0), (2, 0, 0), (0, 1, 0), (2, 1, 0), (1, 3, 0)], [[0, 1, 2, 3, 4]]).encode(),
            "crosses itself",
        ),
        *[
            (f"a.{kind}", b"x", "export as OBJ, PLY, STL or GLB")
            for kind in ("step", "STP", "3mf", "dae", "fbx", "usd")
        ],
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SceneError) as caught:
        load_solid("part", tmp_path / name, 0.001)
    text = str(caught.value)
    assert message in text and text.startswith(f"{tmp_path / name}: ") and "'part'" in text
    assert "\n" not in text and "No module" not in text


# An L, a comb and a star: concave outlines (counterclockwise) with their areas by the shoelace formula.
OUTLINES = {
    "L": [(0, 0), (6, 0), (6, 2), (2, 2), (2, 6), (0, 6)],
    "comb": [(0, 0), (9, 0), (9, 5), (7, 5), (7, 1), (5, 1), (5, 5), (3, 5), (3, 1), (1, 1), (1, 5), (0, 5)],
    "star": [(r * math.cos(math.pi * k / 5), r * math.sin(math.pi * k / 5)) for k, r in enumerate([4, 1.5] * 5)],
}


@pytest.mark.parametrize("inside", [False, True], ids=["beside", "inside"])
def test_the_hash_of_a_gltf_is_of_its_numbers_too(tmp_path: Path, inside: bool) -> None:
    """They may lie in a file beside it, whose name is percent-encoded."""
    path, numbers = tmp_path / "cube.gltf", tmp_path / "my cube.bin"
    made = trimesh.Trimesh(CUBE, HALVES).export(file_type="gltf", merge_buffers=True)
    content = json.loads(made["model.gltf"])
    (buffer,) = content["buffers"]
    data = made[buffer["uri"]]
    buffer["uri"] = (
        "data:application/octet-stream;base64," + base64.b64encode(data).decode() if inside else "my%20cube.bin"
    )
    path.write_text(json.dumps(content))
    numbers.write_bytes(data)
    assert len(read_mesh(path).triangles) == 12
    text, both = path.read_bytes(), mesh_sha256(path)
    assert both == hashlib.sha256(text if inside else text + data).hexdigest()
    numbers.write_bytes(data[::-1])
    assert (mesh_sha256(path) == both) == inside
    numbers.write_bytes(data)
    beside = numbers.name
    for uri, name in (("/my%20cube.bin", beside), ("export/my%20cube.bin", beside), ("a%20b.bin", "a%20b.bin")):
        (tmp_path / name).write_bytes(data)
        content["buffers"][0]["uri"] = uri
        path.write_text(json.dumps(content))
        assert len(read_mesh(path).triangles) == 12
        assert mesh_sha256(path) == hashlib.sha256(path.read_bytes() + data).hexdigest()
    (tmp_path / "cube.obj").write_text(obj(CUBE, SIDES))
    assert mesh_sha256(tmp_path / "cube.obj") == sha256_of(tmp_path / "cube.obj")


@pytest.mark.parametrize("turned", range(3))
@pytest.mark.parametrize("outline", OUTLINES)
def test_concave_polygons_keep_their_area_and_outline(outline: str, turned: int) -> None:
    flat = np.array(OUTLINES[outline], dtype=np.float64)
    flat = np.roll(flat, turned, axis=0)  # a fan about any of its corners would do something else
    points = np.column_stack([flat, np.zeros(len(flat))]) @ TILTED[:3, :3].T
    triangles = triangulated(points, [list(range(len(flat)))])
    assert len(triangles) == len(flat) - 2
    a, b, c = np.moveaxis(points[triangles], 1, 0)
    areas = np.cross(b - a, c - a) @ TILTED[:3, 2] / 2
    x, y = flat.T
    assert areas.min() > 0  # none turned over
    assert areas.sum() == pytest.approx((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)
    # Every inner edge is there in both directions, every outer one once: no overlap, no gap.
    edges = triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2).tolist()
    assert sorted(e for e in edges if e[::-1] not in edges) == sorted(
        [k, (k + 1) % len(flat)] for k in range(len(flat))
    )


def _prism_of(outline: list) -> str:
    n = len(outline)
    corners = [(x, y, z) for z in (0, 3) for x, y in outline]
    sides = [[k, (k + 1) % n, n + (k + 1) % n, n + k] for k in range(n)]
    return obj(corners, [list(range(n))[::-1], list(range(n, 2 * n)), *sides])


def test_an_l_bracket_of_polygons_has_its_notch(tmp_path: Path) -> None:
    (tmp_path / "l.obj").write_text(_prism_of(OUTLINES["L"]))
    solid = load_solid("part", tmp_path / "l.obj", 0.01)
    mesh = trimesh.Trimesh(solid.vertices, solid.triangles)
    assert mesh.is_watertight and not solid.convex
    assert mesh.volume == pytest.approx(20 * 3e-6)
    assert mesh.area == pytest.approx((2 * 20 + 24 * 3) * 1e-4)
    assert len(solid.symmetries) == 2 and len(solid.rests) == 5


PARTS: dict[str, tuple[Callable[[], trimesh.Trimesh], int, int, bool]] = {  # rotations, rests, round
    "tilted box": (lambda: make.box((50, 30, 20)), 4, 6, False),
    "tilted cube": (lambda: make.box((50, 50, 50)), 24, 6, False),
    "tilted ruler": (lambda: make.box((300, 12, 4)), 4, 6, False),
    "wire": (lambda: make.box((1000, 1, 0.5)), 4, 6, False),
    "hexagonal rod": (lambda: make.cylinder(2, 300, sections=6), 12, 8, False),
    "rod": (lambda: make.cylinder(2, 300, sections=200), 2, 3, True),
    "disc": (lambda: make.cylinder(50, 1, sections=100), 2, 3, True),
    "ring": (lambda: make.annulus(15, 20, 8, sections=64), 2, 3, True),
}


@pytest.mark.parametrize("scale", [2e-5, 1e-3, 0.03])
@pytest.mark.parametrize("part", PARTS)
def test_parts_of_any_size_and_tilt_have_their_symmetries_and_rests(tmp_path: Path, part: str, scale: float) -> None:
    """From a fraction of a millimeter to meters, turned out of their frame, with single-precision vertices (STL)."""
    build, rotations, rests, is_round = PARTS[part]
    mesh = build()
    mesh.apply_transform(TILTED)
    mesh.export(tmp_path / "part.stl")
    solid = load_solid("part", tmp_path / "part.stl", scale)
    assert (len(solid.symmetries), len(solid.rests), solid.axis is not None) == (rotations, rests, is_round)
    assert np.array_equal(solid.symmetries[0], np.eye(4))
    if is_round:
        assert abs(solid.axis @ TILTED[:3, 2]) == pytest.approx(1, abs=1e-5)
    for rest in solid.rests:
        assert abs((solid.vertices @ rest[2, :3] + rest[2, 3]).min()) < 1e-4 * solid.diameter


def test_rounded_and_subdivided_flat_sides_stay_flat(tmp_path: Path) -> None:
    mesh = make.box((50, 50, 50)).subdivide().subdivide()
    mesh.apply_transform(TILTED)
    mesh.vertices = np.round(mesh.vertices, 3)  # as a file of three decimals has them
    mesh.export(tmp_path / "part.ply")
    solid = load_solid("part", tmp_path / "part.ply", 0.001)
    assert (len(solid.planes), len(solid.corners), len(solid.rests), len(solid.symmetries)) == (6, 8, 6, 24)


@pytest.mark.parametrize("scale", [2e-5, 1e-3])
def test_a_scanned_hollow_part_keeps_the_identity(tmp_path: Path, scale: float) -> None:
    """Triangles far below a millimeter, on which distances in meters are imprecise, and one dent in an ellipsoid."""
    mesh = make.icosphere(subdivisions=3, radius=30)
    dent = np.linalg.norm(mesh.vertices - [30, 0, 0], axis=1)
    mesh.vertices *= [[1, 0.8, 0.6]]
    mesh.vertices[dent < 12] *= 0.8
    mesh.export(tmp_path / "scan.ply")
    solid = load_solid("scan", tmp_path / "scan.ply", scale)
    assert not solid.convex
    assert len(solid.rests)
    assert len(solid.symmetries) == 2  # the half turn about the axis through the dent
    assert abs(solid.symmetries[1][0, 0]) == pytest.approx(1, abs=1e-3)


def test_a_finely_meshed_ball_is_a_sphere(tmp_path: Path) -> None:
    for k, mesh in enumerate((make.icosphere(subdivisions=4, radius=20), make.uv_sphere(20, count=[32, 64]))):
        mesh.apply_transform(TILTED)
        mesh.export(tmp_path / f"{k}.stl")
        solid = load_solid("ball", tmp_path / f"{k}.stl", 0.001)
        assert solid.sphere and solid.axis is None and len(solid.rests) == len(solid.symmetries) == 1
        assert solid.size == pytest.approx([0.04] * 3, rel=5e-3)
        assert "sphere" in solid.notes[0]
    assert not load_solid("ball", tmp_path / "1.stl", 0.001, recognize=False).sphere
    make.icosahedron().export(tmp_path / "die.stl")
    die = load_solid("die", tmp_path / "die.stl", 0.02)
    assert (die.sphere, len(die.symmetries), len(die.rests)) == (False, 60, 20)


# ---- a sphere


def test_a_sphere_in_bop_terms(tmp_path: Path) -> None:
    ball = make_solid("ball", "sphere", np.full(3, 0.06))
    mesh = trimesh.Trimesh(ball.vertices, ball.triangles)
    assert mesh.is_watertight and mesh.volume == pytest.approx(math.pi * 0.06**3 / 6, rel=3e-3)
    assert np.linalg.norm(ball.vertices, axis=1) == pytest.approx(np.full(len(ball.vertices), 0.03))
    assert -ball.hull.equations[:, 3].max() > 0.03 * (1 - 0.0013)  # as near as a circle of 64 sides
    assert np.array_equal(ball.rests, [[[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0.03], [0, 0, 0, 1]]])
    (tmp_path / "sphere.stl").write_bytes(make.icosphere(radius=30).export(file_type="stl"))
    write_models(
        tmp_path, [ball, load_solid("other", tmp_path / "sphere.stl", 0.001), make_solid("c", "cube", np.ones(3))]
    )
    info = json.loads((tmp_path / "models_info.json").read_text())
    for key in "12":
        axes = np.array([one["axis"] for one in info[key]["symmetries_continuous"]])
        assert np.linalg.matrix_rank(axes) == 2 and "symmetries_discrete" not in info[key]
    assert info["1"]["diameter"] == pytest.approx(60)
    assert "mesh_origin_mm" not in info["3"]


@pytest.mark.parametrize("renderer", ["raycast", "tiny"])
def test_a_sphere_is_drawn_as_geometry_has_it(tmp_path: Path, renderer: str) -> None:
    (tmp_path / "set.yaml").write_text("ball: {shape: sphere, size: [0.08, 0.08, 0.08]}\n")
    scene = (Path(__file__).resolve().parent.parent / "scenes" / "tabletop.yaml").read_text()
    scene = scene.replace("blocks/tobin.yaml", "set.yaml").replace("model: cube", "model: ball")
    (tmp_path / "scene.yaml").write_text(scene)
    pipeline = pipeline_of(
        f"scene={tmp_path / 'scene.yaml'}", "width=96", "height=72", "randomize=none", f"renderer={renderer}",
        "randomize.camera.distance=0.4", "randomize.camera.distortion=[0,0,0,0,0]",
    )  # fmt: skip
    drawing = make_renderer(renderer, pipeline.world, pipeline.images, pipeline.source.raycast)
    sample = next(pipeline.samples(drawing, [0]))
    drawing.close()
    (label,) = sample.labels
    camera, center = sample.scene.cameras.intrinsics[0], label.camera_from_block[:3, 3]
    v, u = np.mgrid[:72, :96]
    rays = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(camera).T
    half = rays @ center
    root = half**2 - (rays**2).sum(-1) * (center @ center - 0.04**2)
    depth = (half - np.sqrt(np.maximum(root, 0))) / (rays**2).sum(-1)
    wrong = np.count_nonzero(label.visible != (root > 0))
    assert wrong <= (0 if renderer == "raycast" else 6), wrong  # of some 400: the polyhedron is a little smaller
    assert abs(label.visible_fraction - 1) < 0.02
    both = label.visible & (root > 0)
    assert np.abs(sample.depth - depth)[both].max() < (5e-5 if renderer == "raycast" else 3e-3)


# ---- what a user should know of the file


def _world(folder: Path, block: str) -> Path:
    (folder / "set.yaml").write_text(f"part: {block}\n")
    scene = (Path(__file__).resolve().parent.parent / "scenes" / "tabletop.yaml").read_text()
    (folder / "scene.yaml").write_text(
        scene.replace("blocks/tobin.yaml", "set.yaml").replace("model: cube", "model: part")
    )
    return folder / "scene.yaml"


def test_shift_texture_and_holes_are_stated(tmp_path: Path) -> None:
    corners = [(x + 275, y - 25, z) for x, y, z in CUBE]
    (tmp_path / "part.mtl").write_text("newmtl a\nmap_Kd stripes.png\n")
    (tmp_path / "part.obj").write_text(obj(corners, SIDES[:-1], first="mtllib part.mtl\n"))
    scene = _world(tmp_path, "{mesh: part.obj, scale: 0.001}")
    world = load_world(str(scene))
    shift, texture, holes = world.notes
    assert "[300, 0, 25] mm" in shift and "mesh_origin_mm" in shift
    assert (
        texture == "block 'part': its own texture is not drawn; all blocks have the material randomize.blocks.material"
    )
    assert "not watertight" in holes
    (solid,) = world.solids
    assert solid.mesh_origin == pytest.approx([-0.3, 0, -0.025])
    write_models(tmp_path / "models", world.solids)
    info = json.loads((tmp_path / "models" / "models_info.json").read_text())
    assert info["1"]["mesh_origin_mm"] == pytest.approx([-300, 0, -25])
    # The file's points, shifted so, are the block's.
    moved = np.array(corners) / 1000 + solid.mesh_origin
    assert sorted(moved.round(9).tolist()) == sorted(solid.vertices.round(9).tolist())
    frames = make_renderer("raycast", world).render(
        pipeline_of(f"scene={scene}", "randomize=none").sampler.sample(0, [0])
    )
    assert (frames.slot == 0).sum() > 10
    colored = obj(CUBE, SIDES).replace("\nv", " 1 0 0\nv").replace("50 50 50", "50 50 50 1 0 0")
    (tmp_path / "colored.obj").write_text(colored)
    assert read_mesh(tmp_path / "colored.obj").wears == "colors"


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("{mesh: cube.obj}", "measures 50 x 50 x 50 m; expected a longest edge from 1 mm to 5 m; scale: 0.001?"),
        ("{mesh: cube.obj, scale: 1e-6}", "measures 0.05 x 0.05 x 0.05 mm; expected a longest edge from 1 mm"),
        ("{mesh: cube.obj, scale: 0.05}", "measures 2.5 x 2.5 x 2.5 m, more than the table of 1.2 x 0.8 m; scale: 0.0005?"),
        ("{shape: cube, size: [50, 40, 30]}", "size is in meters: [0.05, 0.04, 0.03]?"),
        ("{shape: sphere, size: [0.05, 0.05, 0.04]}", "expected a sphere's diameter three times"),
        ("{mesh: cube.obj, scale: 1 mm}", "scale: got '1 mm'; expected a number"),
    ],
)  # fmt: skip
def test_implausible_sizes_are_refused_with_a_guess(tmp_path: Path, block: str, message: str) -> None:
    (tmp_path / "cube.obj").write_text(obj(CUBE, SIDES))
    with pytest.raises(SceneError) as caught:
        load_world(str(_world(tmp_path, block)))
    assert message in str(caught.value) and "block 'part'" in str(caught.value)


def test_names_stay_as_they_are_written(tmp_path: Path) -> None:
    names = ["002", "010", "1_0", "no", "1e3", "2024-01-01", "~", "1:30"]
    lines = [f"{name}: {{shape: cube, size: [5e-2, 0.05, .05]}}" for name in names]
    path = tmp_path / "set.yaml"
    path.write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    solids: tuple[Solid, ...] = load_block_set(path)
    assert [solid.name for solid in solids] == names
    assert all(solid.size == pytest.approx([0.05] * 3) for solid in solids)
    scene = (Path(__file__).resolve().parent.parent / "scenes" / "tabletop.yaml").read_text()
    scene = scene.replace("blocks/tobin.yaml", "set.yaml").replace("model: cube", "model: 010")
    (tmp_path / "scene.yaml").write_text(scene)
    sampler = pipeline_of(f"scene={tmp_path / 'scene.yaml'}", "randomize=none").sampler
    assert set(sampler.sample(0, range(3)).blocks.model.ravel()) == {1}
    path.write_text("\n".join([*lines, lines[1]]), encoding="utf-8")
    with pytest.raises(SceneError, match=r"set.yaml: line 9: '010' stands here and in line 2; expected each name once"):
        load_block_set(path)
    (tmp_path / "scene.yaml").write_text(scene + "camera: {width: 8, height: 8}\n")
    with pytest.raises(SceneError, match="'camera' stands here and in line 6"):
        load_world(str(tmp_path / "scene.yaml"))
