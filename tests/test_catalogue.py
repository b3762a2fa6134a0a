"""Scene files: those that come with simgen, a user's own, and every way to write one wrongly."""

import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
import yaml

from simgen.catalogue import Box, load_block_set, load_world, scene_names
from simgen.errors import ConfigError, SceneError, SimgenError
from simgen.files import sha256_of
from simgen.resources import resource_folder
from simgen.shapes.solids import SHAPES

TETRAHEDRON = "v 0 0 0\nv 30 0 0\nv 0 30 0\nv 0 0 30\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
SCENE: dict[str, Any] = {
    "table": {"center": [0.1, -0.2], "size": [1.0, 0.6], "thickness": 0.03},
    "room": {"floor": -0.7, "low": [-2, -3], "high": [2.5, 3], "height": 2.4},
    "blocks": "mine.yaml",
    "camera": {"width": 320, "height": 200},
    "fixtures": [
        {"size": [0.1, 0.2, 0.3], "centers": [[0, 0, 0.15], [0.5, 0, 0.15]]},
        {"size": [1, 1, 1], "centers": [[2, 2, 2]], "moves": [0.1, 0, 0.2], "grows": 0.5, "missing": 0.25},
    ],
    "nominal": {"camera": {"distance": 1.0}},
    "varied": {"camera": {"distance": ["uniform", 1, 2]}},
}
BLOCKS: dict[str, Any] = {
    "brick": {"shape": "rectangular_prism", "size": [0.09, 0.06, 0.03]},
    "corner": {"mesh": "corner.obj", "scale": 0.001},
    "can": {"shape": "cylinder", "size": [0.05, 0.05, 0.08]},
}


def write(folder: Path, scene: Any = None, blocks: Any = None) -> Path:
    """A scene of one's own in `folder`; its path."""
    text = yaml.safe_dump(BLOCKS if blocks is None else blocks, sort_keys=False)
    (folder / "mine.yaml").write_text(text, encoding="utf-8")
    (folder / "corner.obj").write_text(TETRAHEDRON, encoding="ascii")
    path = folder / "bench.yaml"
    path.write_text(yaml.safe_dump(SCENE if scene is None else scene), encoding="utf-8")
    return path


def refused(kind: type[SimgenError], call: Callable[[], object]) -> str:
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


# ---- what comes with simgen


def test_all_scenes_load() -> None:
    assert scene_names() == ["closeup", "cluster", "kuka_table", "stacking", "tabletop", "tea_box"]
    for name in scene_names():
        world = load_world(name)
        assert world.name == name
        assert (world.width, world.height) == (640, 480)
        assert len({solid.name for solid in world.solids}) == len(world.solids) == (1 if name == "tea_box" else 8)
        assert world.table.center[2] + world.table.size[2] / 2 == pytest.approx(0)  # the top is the plane z = 0
        assert world.room.floor < -world.table.size[2]
        assert (world.room.low < world.table.center[:2] - world.table.size[:2] / 2).all()
        assert (world.room.high > world.table.center[:2] + world.table.size[:2] / 2).all()


def test_the_eight_shapes_of_the_tabletop() -> None:
    world = load_world("tabletop")
    assert [solid.name for solid in world.solids] == sorted(set(SHAPES) - {"sphere"})
    assert [solid.shape for solid in world.solids] == sorted(set(SHAPES) - {"sphere"})
    assert world.fixtures == ()
    rotations = {solid.name: len(solid.symmetries) for solid in world.solids}
    assert rotations == {
        "cone": 1,
        "cube": 24,
        "cylinder": 2,
        "hexagonal_prism": 12,
        "pyramid": 4,
        "rectangular_prism": 4,
        "tetrahedron": 12,
        "triangular_prism": 6,
    }


def test_the_kuka_table() -> None:
    world = load_world("kuka_table")
    assert world.solids[0].name == "kuka_box"
    assert world.solids[0].size == pytest.approx([0.081, 0.078, 0.089])
    assert [len(group) for group in world.fixtures] == [2, 1, 54, 4, 2]
    tape = np.array([box.center for box in world.fixtures[2]])
    steps = np.array([[-0.5 - 0.15 * i, 0.61 - 0.15 * j] for i in range(6) for j in range(9)])
    assert tape[:, :2] == pytest.approx(steps)  # the 15 cm grid
    for box in world.fixtures[2]:  # on the table top, not in it
        assert box.center[2] - box.size[2] / 2 == pytest.approx(0)
        assert (np.abs(box.center[:2] - world.table.center[:2]) <= world.table.size[:2] / 2 + 1e-9).all()


def test_the_source_is_the_whole_file_with_its_blocks() -> None:
    for name in scene_names():
        data = yaml.safe_load((resource_folder("scenes") / f"{name}.yaml").read_text(encoding="utf-8"))
        blocks = yaml.safe_load((resource_folder("scenes") / data["blocks"]).read_text(encoding="utf-8"))
        assert load_world(name).source == {**data, "blocks": blocks}


# ---- a scene of one's own


def test_a_scene_of_ones_own(tmp_path: Path) -> None:
    world = load_world(str(write(tmp_path)))
    assert world.name == "bench"
    assert world.table.center == pytest.approx([0.1, -0.2, -0.015])
    assert world.table.size == pytest.approx([1, 0.6, 0.03])
    assert (world.room.floor, world.room.height) == (-0.7, 2.4)
    assert np.array_equal(world.room.low, [-2, -3])
    assert np.array_equal(world.room.high, [2.5, 3])
    assert (world.width, world.height) == (320, 200)
    assert [len(group) for group in world.fixtures] == [2, 1]
    assert isinstance(world.fixtures[0][1], Box)
    assert np.array_equal(world.fixtures[0][1].center, [0.5, 0, 0.15])
    assert np.array_equal(world.fixtures[0][1].size, [0.1, 0.2, 0.3])
    assert np.array_equal(world.fixtures[0][1].moves, [0, 0, 0])
    assert (world.fixtures[0][1].grows, world.fixtures[0][1].missing) == (0, 0)
    other = world.fixtures[1][0]
    assert (other.moves.tolist(), other.grows, other.missing) == ([0.1, 0, 0.2], 0.5, 0.25)
    assert world.loose == (*world.fixtures[0], other)
    assert world.boxes == (world.table, *world.loose)
    assert world.nominal == SCENE["nominal"]
    assert world.varied == SCENE["varied"]
    meshes = {"corner": sha256_of(tmp_path / "corner.obj")}
    assert world.source == {**SCENE, "blocks": BLOCKS, "block_meshes": meshes}
    brick, corner, can = world.solids
    assert brick.size == pytest.approx([0.09, 0.06, 0.03])
    assert corner.size == pytest.approx([0.03] * 3)
    assert corner.hull.volume == pytest.approx(0.03**3 / 6)
    assert len(corner.symmetries) == 3
    assert can.axis is not None


def test_fixtures_may_be_left_out_and_the_blocks_be_simgens(tmp_path: Path) -> None:
    scene = {**SCENE, "blocks": "blocks/tobin.yaml"}
    del scene["fixtures"]
    world = load_world(str(write(tmp_path, scene)))
    assert world.fixtures == ()
    assert [solid.name for solid in world.solids] == sorted(set(SHAPES) - {"sphere"})


def test_a_block_set_beside_the_scene_comes_first(tmp_path: Path) -> None:
    (tmp_path / "blocks").mkdir()
    (tmp_path / "blocks" / "tobin.yaml").write_text("dice: {shape: cube, size: [0.02, 0.02, 0.02]}\n", encoding="ascii")
    world = load_world(str(write(tmp_path, {**SCENE, "blocks": "blocks/tobin.yaml"})))
    assert [solid.name for solid in world.solids] == ["dice"]


def test_an_axis_is_made_a_unit_vector(tmp_path: Path) -> None:
    trimesh.creation.cylinder(radius=1, height=3, sections=64).export(tmp_path / "rod.obj")
    write(tmp_path, blocks={"rod": {"mesh": "rod.obj", "axis": [0, 0, -7]}})
    (solid,) = load_block_set(tmp_path / "mine.yaml")
    assert solid.axis == pytest.approx([0, 0, -1])
    assert solid.size == pytest.approx([2, 2, 3])  # without a scale the file is in metres


# ---- names and files


@pytest.mark.parametrize("name", ["kitchen", "", "tabletop ", "../scenes/tabletop"])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    message = refused(ConfigError, lambda: load_world(name))
    assert message.startswith("scene: ")
    assert f"'{name}'" in message
    assert "kuka_table, stacking, tabletop" in message


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    message = refused(ConfigError, lambda: load_world(str(tmp_path / "bench.yaml")))
    assert message.startswith("scene: ")
    assert str(tmp_path / "bench.yaml") in message


@pytest.mark.parametrize(
    "content", [b"", b"- 1\n", b"table\n", b"{", b"a: b: c\n", b"\xff\xfe\x00", b"42\n", b"1: 2\nfoo: 3\n"]
)
def test_what_is_no_scene_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bench.yaml"
    path.write_bytes(content)
    assert refused(SceneError, lambda: load_world(str(path))).startswith(f"{path}: ")


@pytest.mark.parametrize("key", sorted(SCENE))
def test_a_missing_section_is_named(tmp_path: Path, key: str) -> None:
    scene = {name: value for name, value in SCENE.items() if name != key}
    path = write(tmp_path, scene)
    if key == "fixtures":
        load_world(str(path))
        return
    message = refused(SceneError, lambda: load_world(str(path)))
    assert message.startswith(f"{path}: ")
    assert f"missing key '{key}'" in message


DROP = object()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tabel", {}),
        ("table", None),
        ("table", [1, 2]),
        ("table.size", DROP),
        ("table.size", [1.0]),
        ("table.size", [1.0, 0.0]),
        ("table.size", [1.0, -1.0]),
        ("table.size", "big"),
        ("table.size", [1.0, "0.5"]),
        ("table.size", [1.0, True]),
        ("table.size", [1.0, float("nan")]),
        ("table.size", [1.0, float("inf")]),
        ("table.size", 1.0),
        ("table.center", DROP),
        ("table.center", [0, 0, 0]),
        ("table.center", [None, 0]),
        ("table.thickness", DROP),
        ("table.thickness", 0),
        ("table.thickness", "5 cm"),
        ("table.height", 0.7),
        ("room", 3),
        ("room.floor", DROP),
        ("room.floor", [0]),
        ("room.low", [0]),
        ("room.high", DROP),
        ("room.height", 0),
        ("room.height", -1),
        ("room.ceiling", 3),
        ("room.high", [-2.5, 3]),  # below room.low
        ("camera", []),
        ("camera.width", DROP),
        ("camera.width", 0),
        ("camera.width", "640"),
        ("camera.width", True),
        ("camera.width", 0.5),
        ("camera.width", 640.5),
        ("camera.height", -480),
        ("camera.fov_deg", 30),
        ("blocks", None),
        ("blocks", 3),
        ("blocks", ["a"]),
        ("nominal", None),
        ("nominal", [1]),
        ("varied", "x"),
        ("fixtures", 3),
        ("fixtures", {"size": [1, 1, 1], "centers": [[0, 0, 0]]}),
        ("fixtures", [3]),
        ("fixtures", [{"size": [1, 1, 1]}]),
        ("fixtures", [{"size": [1, 1, 1], "centers": [[0, 0, 0]], "color": 1}]),
        ("fixtures", [{"size": [1, 1], "centers": [[0, 0, 0]]}]),
        ("fixtures", [{"size": [1, 1, 0], "centers": [[0, 0, 0]]}]),
        ("fixtures", [{"size": [1, 1, 1], "centers": [[0, 0]]}]),
        ("fixtures", [{"size": [1, 1, 1], "centers": 3}]),
        ("fixtures", [{"size": [1, 1, 1], "centers": None}]),
        ("fixtures", [{"size": [1, 1, 1], "centers": []}]),
        ("fixtures", [{"size": [1, 1, 1], "centers": [[2, 2, 2]], "wobbles": 1}]),
    ],
    ids=lambda value: "left out" if value is DROP else str(value),
)
def test_a_malformed_value_is_refused_by_file_and_key(tmp_path: Path, key: str, value: Any) -> None:
    scene = deepcopy(SCENE)
    *parents, last = key.split(".")
    section = scene
    for name in parents:
        section = section[name]
    if value is DROP:
        del section[last]
    else:
        section[last] = value
    path = write(tmp_path, scene)
    message = refused(SceneError, lambda: load_world(str(path)))
    assert message.startswith(f"{path}: "), message
    assert key in message or (parents and parents[0] in message and last in message), message


def test_a_fixture_error_names_its_place(tmp_path: Path) -> None:
    scene = deepcopy(SCENE)
    scene["fixtures"][0]["centers"][1] = [0, 0, "high"]
    path = write(tmp_path, scene)
    message = refused(SceneError, lambda: load_world(str(path)))
    assert message == f"{path}: fixtures[0].centers[1]: got 'high'; expected a number"


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("moves", [0.1, -0.1, 0], "got [0.1, -0.1, 0]; expected at least 0"),
        ("grows", -0.5, "got -0.5; expected at least 0"),
        ("missing", -0.1, "got -0.1; expected at least 0"),
        ("missing", 1.5, "got 1.5; expected a fraction from 0 to 1"),
        ("moves", [0.1, 0.1], "got [0.1, 0.1]; expected 3 numbers"),
    ],
)
def test_how_a_fixture_varies_is_checked(tmp_path: Path, key: str, value: Any, says: str) -> None:
    scene = deepcopy(SCENE)
    scene["fixtures"][1][key] = value
    path = write(tmp_path, scene)
    assert refused(SceneError, lambda: load_world(str(path))) == f"{path}: fixtures[1].{key}: {says}"


# ---- block sets


@pytest.mark.parametrize(
    ("block", "says"),
    [
        (None, "expected {shape, size} or {mesh, scale}"),
        ("cube", "expected {shape, size} or {mesh, scale}"),
        ({}, "expected shape and size, or mesh and scale"),
        ({"size": [1, 1, 1]}, "expected shape and size, or mesh and scale"),
        ({"shape": "cube", "mesh": "corner.obj"}, "expected shape and size, or mesh and scale"),
        ({"shape": "cube", "size": [1, 1, 1], "colour": "red"}, "expected shape and size, or mesh and scale"),
        ({"shape": "cube", "size": [1, 1, 1], "scale": 2}, "expected shape and size, or mesh and scale"),
        ({"mesh": "corner.obj", "size": [1, 1, 1]}, "expected shape and size, or mesh and scale"),
        ({"shape": "cube"}, "expected shape and size, or mesh and scale"),
        ({"shape": "cube", "size": [1, 1]}, "size: got [1, 1]; expected 3 numbers"),
        ({"shape": "cube", "size": [1, 1, 0]}, "size: got 0; expected a number above 0"),
        ({"shape": "cube", "size": [1, 1, "1"]}, "size: got '1'; expected a number"),
        ({"shape": "ball", "size": [1, 1, 1]}, "unknown shape 'ball'; expected one of cone, cube"),
        ({"shape": "ball", "size": [1, 1, 1]}, "; did you mean sphere?"),
        ({"shape": "Cuboid", "size": [1, 1, 1]}, "; did you mean rectangular_prism?"),
        ({"shape": "cylindre", "size": [1, 1, 1]}, "; did you mean cylinder?"),
        ({"shape": ["cube"], "size": [1, 1, 1]}, "unknown shape"),
        ({"mesh": None, "scale": 0.001}, "mesh: got None; expected the name of a mesh file"),
        ({"mesh": "corner.obj", "scale": 0}, "scale: got 0; expected a number above 0"),
        ({"mesh": "corner.obj", "scale": "0.001"}, "scale: got '0.001'; expected a number"),
        ({"mesh": "corner.obj", "axis": [0, 1]}, "axis: got [0, 1]; expected 3 numbers"),
        ({"mesh": "corner.obj", "axis": [0, 0, 0]}, "axis"),
    ],
    ids=str,
)
def test_a_malformed_block_is_refused_by_file_and_name(tmp_path: Path, block: Any, says: str) -> None:
    write(tmp_path, blocks={**BLOCKS, "odd": block})
    path = tmp_path / "mine.yaml"
    message = refused(SceneError, lambda: load_block_set(path))
    assert message.startswith(f"{path}: block 'odd': "), message
    assert says in message


def test_an_axis_about_which_the_mesh_is_not_round_is_refused(tmp_path: Path) -> None:
    """The axis decides which poses count as equal: a wrong one would spoil every label of the block."""
    write(tmp_path, blocks={"corner": {"mesh": "corner.obj", "axis": [0, 0, 1]}})
    message = refused(SceneError, lambda: load_block_set(tmp_path / "mine.yaml"))
    assert "'corner'" in message
    assert "axis" in message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a:\n  shape: cube\n\tsize: [1, 1, 1]\n", "line 3: is not YAML: .*; indent with spaces: YAML allows no tabs"),
        (b"a: {shape: cube\nb: 1\n", "line 2: is not YAML"),
        ("W\u00fcrfel: {shape: cube}".encode("latin-1"), "is not YAML: it is not in UTF-8; save it in that encoding"),
        (b'"": {shape: cube, size: [1, 1, 1]}', "block '': expected a name"),
        (b"- {shape: cube}", "expected blocks as NAME: .*; got a list: begin each block with its name and a colon"),
    ],
    ids=["tab", "bracket", "encoding", "no name", "list"],
)
def test_a_block_set_that_yaml_cannot_read_is_refused_by_line(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    message = refused(SceneError, lambda: load_block_set(path))
    assert re.match(f"{re.escape(str(path))}: {says}", message) and "unicode string" not in message, message


def test_files_of_other_systems_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """UTF-16 of Windows' editors, backslashes, ~ for the home folder; and a name in the wrong case is named."""
    write(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "other.yaml"
    for name in (".\\corner.obj", "~/corner.obj", "corner.obj"):
        path.write_text(f"part: {{mesh: '{name}', scale: 0.001}}", encoding="utf-16")
        assert load_block_set(path)[0].size == pytest.approx([0.03] * 3)
    path.write_text("part: {mesh: Corner.OBJ, scale: 0.001}", encoding="ascii")
    if not (tmp_path / "Corner.OBJ").exists():
        assert refused(SceneError, lambda: load_block_set(path)).endswith("; did you mean corner.obj?")


@pytest.mark.parametrize("content", ["", "[]", "- cube", "cube", "3"])
def test_what_is_no_block_set_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content, encoding="ascii")
    message = refused(SceneError, lambda: load_block_set(path))
    assert message.startswith(f"{path}: expected blocks as NAME")


def test_a_missing_or_broken_mesh_is_named_where_it_was_looked_for(tmp_path: Path) -> None:
    write(tmp_path, blocks={"odd": {"mesh": "gone.obj"}})
    message = refused(SceneError, lambda: load_block_set(tmp_path / "mine.yaml"))
    assert str(tmp_path / "gone.obj") in message
    assert "'odd'" in message
    (tmp_path / "gone.obj").write_text("nonsense", encoding="ascii")
    message = refused(SceneError, lambda: load_block_set(tmp_path / "mine.yaml"))
    assert message.startswith(f"{tmp_path / 'gone.obj'}: ")
    assert "'odd'" in message


def test_a_missing_block_set_is_named_where_it_was_looked_for(tmp_path: Path) -> None:
    path = write(tmp_path, {**SCENE, "blocks": "nowhere.yaml"})
    message = refused(SceneError, lambda: load_world(str(path)))
    assert message == f"{tmp_path / 'nowhere.yaml'}: no such file; {path} names it in blocks"


def test_a_table_in_millimeters_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, {**SCENE, "table": {"center": [0, 0], "size": [1000, 600], "thickness": 30}})
    message = refused(SceneError, lambda: load_world(str(path)))
    assert message == (
        f"{path}: table.size: measures 1e+03 x 600 m; expected at most 50 m; size is in meters: [1, 0.6]?"
    )
