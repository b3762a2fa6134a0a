"""Clutter: the catalogue of unit objects, a folder's meshes, and where objects are in scenes, by poses and bodies alone."""

import json
from dataclasses import replace
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from builders import recipe_of

from simgen.catalogue import World
from simgen.clutter import CLEARANCE, clear_of_blocks
from simgen.config import compose
from simgen.dataset.write import Sample
from simgen.draws import Draws
from simgen.errors import ConfigError, PlacementError, SceneError
from simgen.geometry import Array, project, transform_points
from simgen.pipeline import Pipeline, make_pipeline
from simgen.render import make_renderer
from simgen.scene import CLUTTER, ZONES, Scenes, from_json, to_json
from simgen.schema import Render
from simgen.shapes.bodies import CAPSULE, POLYTOPE, QUADRIC, Body, make_capsule
from simgen.shapes.clutter import KINDS, VARIANTS, object_of
from simgen.shapes.meshfolder import open_mesh_folder
from simgen.shapes.parts import mapped, tapered


@cache
def pipeline_of(*overrides: str) -> Pipeline:
    return make_pipeline(compose("render", Render, list(overrides)))


# ---- the catalogue


def surface_of(bodies: tuple[Body, ...]) -> Array:
    """(V, 3) points of an object's surface."""
    return np.concatenate([body.mesh.corners.reshape(-1, 3) for body in bodies])


def inside(body: Body, points: Array, slack: float) -> Array:
    """(P,) whether each of `points` is in the body as its planes and its curve define it, or nearer to it than `slack`."""
    if body.kind == CAPSULE:
        a, b = body.frame[:2, :3]
        share = np.clip(((points - a) @ (b - a)) / max(float((b - a) @ (b - a)), 1e-12), 0, 1)
        return np.linalg.norm(points - a - share[:, None] * (b - a), axis=1) <= body.curve[0] + slack
    within = np.all(points @ body.planes[:, :3].T <= body.planes[:, 3] + slack, axis=1)
    if body.kind == QUADRIC:
        x, y, z = (points @ body.frame[:, :3].T + body.frame[:, 3]).T
        a, b, c = body.curve
        within &= np.sqrt(x**2 + y**2 + c * z**2) <= np.abs(a + b * z) + slack / np.ptp(body.vertices, axis=0).min()
    return within


@pytest.mark.parametrize("kind", KINDS)
def test_a_unit_object_has_longest_edge_1_about_the_origin_and_is_the_hull_of_its_bodies(kind: str) -> None:
    assert set(KINDS) == set(CLUTTER) - {"mesh"}
    shapes = set()
    for variant in range(0, VARIANTS, 9):
        bodies = object_of(kind, variant)
        low, high = np.min([body.low for body in bodies], axis=0), np.max([body.high for body in bodies], axis=0)
        assert (high - low).max() == pytest.approx(1, abs=1e-9)
        assert np.abs(low + high).max() < 1e-9
        points = surface_of(bodies)  # the triangles of round parts lie within them
        assert np.abs(points.min(axis=0) - low).max() < 0.004 and np.abs(points.max(axis=0) - high).max() < 0.004
        assert 1 <= len(bodies) <= 48
        for body in bodies:
            assert body.kind in (POLYTOPE, QUADRIC, CAPSULE) and (body.tone is None or 0 <= body.tone <= 1)
            assert len(body.face) == len(body.planes) <= 64
            assert np.allclose(np.linalg.norm(body.planes[:, :3], axis=1), 1)
            corners = body.mesh.corners.reshape(-1, 3)
            assert inside(body, corners, 1e-6).all()
            assert not inside(body, body.center + 1.6 * (corners - body.center), 0).any()
            assert np.linalg.norm(corners - body.center, axis=1).max() <= body.radius + 1e-9
        shapes.add(np.round(np.concatenate([high, points.std(axis=0)]), 6).tobytes())
    assert len(shapes) >= 7


def test_an_object_is_a_function_of_kind_and_variant_modulo_their_number() -> None:
    def bits(bodies: tuple[Body, ...]) -> list[bytes]:
        return [body.planes.tobytes() + body.frame.tobytes() + body.vertices.tobytes() for body in bodies]

    for kind in ("polytope", "bottle", "hand"):
        first = bits(object_of(kind, 5))
        assert bits(object_of.__wrapped__(kind, 5)) == first == bits(object_of(kind, 5 + 3 * VARIANTS))
        assert bits(object_of(kind, 6)) != first
    with pytest.raises(KeyError):
        object_of("spoon", 0)


@pytest.mark.parametrize("kind", ["polytope", "mug", "bottle", "book", "keyboard", "screen"])
def test_objects_stand_on_several_points_below_their_middle(kind: str) -> None:
    """As on a table: the lowest points are not on one side of the middle of the object's hull alone."""
    tilted = 0
    for variant in range(0, VARIANTS, 7):
        points = surface_of(object_of(kind, variant))
        middle = trimesh.convex.convex_hull(points).center_mass
        foot = points[points[:, 2] < points[:, 2].min() + 0.01][:, :2] - middle[:2]
        tilted += (foot[:, 0].min() > 0.02) or (foot[:, 0].max() < -0.02)
    assert tilted <= (4 if kind == "screen" else 0)


def test_an_affine_image_of_a_body_is_the_image_of_its_points() -> None:
    """The mapped planes and curve hold what the map of the points gives, for a frustum under shear, turn and shift."""
    rng = np.random.default_rng(0)
    matrix, shift = rng.normal(size=(3, 3)), rng.normal(size=3)
    body = tapered(1.0, 0.5, 2.0, (0.1, 0.2, 0.3), tone=0.5)
    points = rng.uniform([-0.5, -0.4, 0.2], [0.7, 0.8, 2.4], size=(4000, 3))
    image = mapped(body, matrix, shift, 0.25)
    assert image.tone == 0.25
    held = inside(body, points, 0)
    assert 1000 < held.sum() < 3000
    assert np.array_equal(inside(image, points @ matrix.T + shift, 0), held)
    # A frustum is known in closed form: its diameter at a height, and its bounding box.
    x, y, z = (points - [0.1, 0.2, 0.3]).T
    assert np.array_equal(held, (z >= 0) & (z <= 2) & (np.hypot(x, y) <= 0.5 - 0.125 * z))
    assert np.allclose([body.low, body.high], [[-0.4, -0.3, 0.3], [0.6, 0.7, 2.3]])
    capsule = mapped(make_capsule(np.zeros(3), np.ones(3), 0.2), 2 * np.eye(3), (1, 0, 0))
    assert capsule.curve[0] == pytest.approx(0.4) and capsule.low == pytest.approx([0.6, -0.4, -0.4])


# ---- places


@cache
def sampled(scene: str, preset: str = "full", num: int = 40) -> tuple[Scenes, World]:
    made = pipeline_of(f"scene={scene}", f"randomize={preset}")
    return made.sampler.sample(3, range(num)), made.world


def zones_of(scenes: Scenes, scene: str) -> Array:
    """(B, C) the zone of each object, drawn again."""
    sampler = pipeline_of(f"scene={scene}").sampler
    draws = Draws(3, scenes.index).lanes(range(scenes.clutter.kind.shape[1])) / "clutter/where"
    return sampler.leaves["clutter/where"].sample(draws)[:, 0].reshape(-1, len(scenes)).T.astype(int)


def points_of(scenes: Scenes, row: int, slot: int, world: World) -> Array:
    clutter = scenes.clutter
    points = surface_of(world.clutter_of(int(clutter.kind[row, slot]), int(clutter.variant[row, slot])))
    return transform_points(clutter.world_from_object[row, slot], points[::7] * clutter.size[row, slot])


def separated(left: Array, right: Array) -> bool:
    """Whether a plane separates two sets of points: by the perceptron's rule on their convex hulls' nearest points
    (Gilbert's algorithm), down to 1 mm."""
    gap = left.mean(axis=0) - right.mean(axis=0)
    for _ in range(200):
        a, b = left[np.argmin(left @ gap)], right[np.argmax(right @ gap)]
        if (a - b) @ gap > 0:
            return True
        step = gap - (a - b)
        gap = gap - np.clip((gap @ step) / max(step @ step, 1e-18), 0, 1) * step
        if np.linalg.norm(gap) < 1e-3:
            return False
    return False


@pytest.mark.parametrize("scene", ["tabletop", "cluster"])
def test_objects_touch_neither_blocks_nor_each_other_nor_the_camera(scene: str) -> None:
    scenes, world = sampled(scene)
    zones, clutter = zones_of(scenes, scene), scenes.clutter
    pairs, seen = 0, set()
    for row in range(0, len(scenes), 4):
        slots = np.flatnonzero(clutter.present[row])
        things = {slot: points_of(scenes, row, slot, world) for slot in slots}
        eye = scenes.cameras.world_from_camera[row, :3, 3]
        for slot, points in things.items():
            zone = ZONES[zones[row, slot]]
            seen.add(zone)
            assert np.linalg.norm(points - eye, axis=1).min() >= CLEARANCE - 1e-9
            low, high = points.min(axis=0), points.max(axis=0)
            edge = world.table.size / 2
            if zone == "table":
                assert -1e-9 <= low[2] < 0.03 and np.all(
                    np.abs(clutter.world_from_object[row, slot, :2, 3]) <= edge[:2]
                )
                if (high - low)[:2].max() < edge[:2].min():
                    assert np.all(np.abs(points[:, :2]) <= edge[:2] + 1e-9)
            elif zone == "around":
                beside = np.any(np.abs(points[:, :2]) >= edge[:2], axis=1)
                assert np.all(beside | (points[:, 2] <= -2 * edge[2]))  # or below the table's top
                assert world.room.floor - 1e-9 <= low[2] and (points[:, :2] <= world.room.high).all()
            else:
                assert low[2] > 0
        blocks = {}
        for block in np.flatnonzero(scenes.blocks.present[row]):
            solid, scale = world.solids[scenes.blocks.model[row, block]], scenes.blocks.scale[row, block]
            blocks[block] = transform_points(scenes.blocks.world_from_block[row, block], solid.corners * scale)
        for points in things.values():
            for corners in blocks.values():
                assert separated(points, corners)
                pairs += 1
        for left, right in combinations(things.values(), 2):
            assert separated(left, right)
            pairs += 1
    assert pairs > 500 and seen == set(ZONES)


def test_an_object_in_front_hides_a_part_of_the_picture_only() -> None:
    scenes, world = sampled("tabletop")
    zones, cameras = zones_of(scenes, "tabletop"), scenes.cameras
    widths = []
    for row, slot in np.argwhere(scenes.clutter.present & (zones == ZONES.index("front"))):
        pose = np.linalg.inv(cameras.world_from_camera[row])
        pixels = project(transform_points(pose, points_of(scenes, row, slot, world)), cameras.intrinsics[row])
        assert np.isfinite(pixels).all()
        widths.append(np.ptp(pixels[:, 1]) / cameras.height)
    assert len(widths) > 40 and np.median(widths) > 0.1 and max(widths) < 0.75


def test_the_number_of_objects_moves_none_and_clutter_changes_no_block() -> None:
    all_of_them, _ = sampled("tabletop", num=12)
    sampler = pipeline_of("randomize.clutter.count=3").sampler
    few = sampler.sample(3, range(12))
    assert np.array_equal(few.clutter.present, np.tile(np.arange(25) < 3, (12, 1)))
    for name in ("kind", "variant", "size", "world_from_object"):
        assert np.array_equal(getattr(few.clutter, name), getattr(all_of_them.clutter, name))
    narrow = pipeline_of("randomize.clutter.count=3", "randomize.clutter.slots=3").sampler.sample(3, range(12))
    assert np.array_equal(narrow.clutter.world_from_object, few.clutter.world_from_object[:, :3])
    without = pipeline_of("randomize.clutter.count=0", "randomize.clutter.slots=0").sampler.sample(3, range(12))
    for part in ("blocks", "cameras"):
        name = f"world_from_{part.removesuffix('s')}"
        assert np.array_equal(getattr(getattr(without, part), name), getattr(getattr(few, part), name))
    alone = [sampler.sample(3, [i]).clutter.world_from_object for i in range(12)]
    assert np.array_equal(np.concatenate(alone), few.clutter.world_from_object)


def test_flat_objects_do_not_stand_on_their_edges_and_mugs_fall_over() -> None:
    fixed = (
        "randomize=clutter",
        "randomize.clutter.where=table",
        "randomize.clutter.count=8",
        "randomize.clutter.slots=8",
    )
    for kind, falls in (("sheet", False), ("bottle", True)):
        made = pipeline_of(*fixed, f"randomize.clutter.kind={kind}", "randomize.clutter.tilt_deg=80")
        up = made.sampler.sample(0, range(8)).clutter.world_from_object[..., 2, 2]
        assert np.allclose(up, 0 if falls else 1, atol=1e-12), kind


def test_sheets_lie_on_top_of_tape() -> None:
    """The tape marks of the kuka_table are up to 1.4 mm thick, more than a sheet."""
    made = pipeline_of("scene=kuka_table", "randomize.clutter.kind=sheet", "randomize.clutter.where=table")
    scenes = made.sampler.sample(0, range(4))
    center, size, present = made.world.standing(scenes.fixtures)
    tape = present & (size[..., 2] < 0.003)
    tops = np.max(np.where(tape, center[..., 2] + size[..., 2] / 2, 0), axis=1)
    assert (tops > 0.0003).all()
    for row, slot in np.argwhere(scenes.clutter.present):
        assert points_of(scenes, row, slot, made.world)[:, 2].min() == pytest.approx(tops[row], abs=1e-9)


def test_objects_that_do_not_fit_are_refused_in_one_line() -> None:
    overrides = (
        "randomize=clutter",
        "randomize.clutter.size=5",
        "randomize.clutter.where=table",
        "randomize.clutter.kind=ball",
    )
    with pytest.raises(
        PlacementError, match=r"^randomize\.clutter\.place: sample 4 of seed 9: clutter\[\d\] \(ball, table\) "
    ) as e:
        pipeline_of(*overrides, "randomize.clutter.count=25").sampler.sample(9, [4])
    assert "\n" not in str(e.value) and "lower randomize.clutter.size" in str(e.value)


def test_an_object_that_finds_no_place_is_left_out() -> None:
    """Once in some 10,000 pictures: no reason to end a night's training."""
    overrides = ("scene=closeup", "physics=place", "width=64", "height=48")
    made = pipeline_of(*overrides)
    index, seed = 4559, 3 << 48  # clutter[10] has no place in front of the camera
    scenes = made.sampler.sample(seed, [index])
    wanted = int(made.sampler.leaves["clutter/count"].sample(Draws(seed, np.array([index])) / "clutter/count")[0, 0])
    slots = np.arange(scenes.clutter.present.shape[1])
    assert np.array_equal(scenes.clutter.present[0], (slots < wanted) & (slots != 10)) and wanted > 10


def test_clutter_that_a_dropped_block_reached_is_taken_out() -> None:
    scenes, world = sampled("tabletop", num=8)
    assert np.array_equal(clear_of_blocks(scenes, world).clutter.present, scenes.clutter.present)
    row, slot = np.argwhere(scenes.clutter.present)[0]
    pose = scenes.blocks.world_from_block.copy()
    block = int(np.flatnonzero(scenes.blocks.present[row])[0])
    pose[row, block, :3, 3] = scenes.clutter.world_from_object[row, slot, :3, 3]
    met = clear_of_blocks(replace(scenes, blocks=replace(scenes.blocks, world_from_block=pose)), world)
    gone = np.argwhere(scenes.clutter.present & ~met.clutter.present).tolist()
    assert [row, slot] in gone and {one[0] for one in gone} == {row}


# ---- a folder of meshes


def write_meshes(folder: Path) -> None:
    folder.mkdir()
    trimesh.creation.icosphere(3, 7.0).export(folder / "b_ball.stl")  # 1,280 faces, in an unknown unit
    trimesh.creation.box((1, 2, 4)).export(folder / "a_box.obj")
    (folder / "readme.txt").write_text("not a mesh")


def test_meshes_of_a_folder_are_drawn_as_their_hulls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_meshes(tmp_path / "meshes")
    made = make_pipeline(
        compose(
            "render",
            Render,
            [
                *("randomize=none", "width=64", "height=48", "randomize.clutter.slots=2", "randomize.clutter.count=2"),
                *(
                    "randomize.clutter.kind=mesh",
                    "randomize.clutter.variant=[integer,0,9]",
                    f"randomize.clutter.meshes={tmp_path}/meshes",
                ),
                "randomize.clutter.place=[uniform,[0,0,0],[1,1,1]]",
            ],
        )
    )
    box, ball = (made.world.clutter_of(CLUTTER.index("mesh"), k)[0] for k in (2, 3))
    assert np.allclose(box.high - box.low, [0.25, 0.5, 1]) and len(box.planes) == 6
    assert 40 < len(ball.planes) <= 64 and np.linalg.norm(ball.vertices, axis=1).min() > 0.45
    assert [line.split(": ")[1] for line in made.world.notes] == [
        f"2 meshes in {tmp_path}/meshes, each drawn as its convex hull",
        "1 of these hulls are simplified to at most 64 faces",
    ]
    assert list(recipe_of(made)["meshes"]) == ["a_box.obj", "b_ball.stl"]
    (sample,) = made.samples(make_renderer("tiny", made.world), [0])
    assert isinstance(sample, Sample) and sample.rgb.std() > 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("", "", r"no such folder; expected a folder of mesh files"),
        ("note.txt", "x", r"holds no mesh; expected at least one .*; it holds 1 other files"),
        (
            "open.off",
            "OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 1\n3 0 1 2\n",
            r"open\.off: the mesh is flat|open\.off: the mesh is not closed",
        ),
        (
            "half.off",
            "OFF\n4 3 0\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n3 0 1 2\n3 0 1 3\n3 1 2 3\n",
            r"half\.off: the mesh is not closed",
        ),
        ("torn.obj", "v 0 0 zero\n", r"torn\.obj: cannot be read as a mesh: line 1"),
        ("empty.stl", "", r"empty\.stl: cannot be read as a mesh: the file is empty"),
    ],
)
def test_a_folder_that_is_no_folder_of_closed_meshes_is_refused(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    folder = tmp_path / "meshes"
    if name:
        folder.mkdir()
        (folder / name).write_text(content)
    with pytest.raises(SceneError, match=message) as caught:
        open_mesh_folder(folder, "randomize.clutter.meshes")
    assert str(caught.value).startswith(f"randomize.clutter.meshes: {folder}") and "\n" not in str(caught.value)


def test_meshes_without_folder_and_a_folder_without_meshes_are_refused(tmp_path: Path) -> None:
    for overrides, start in (
        (["randomize.clutter.kind=mesh"], "randomize.clutter.kind: 'mesh' needs a folder of mesh files"),
        ([f"randomize.clutter.meshes={tmp_path}"], "randomize.clutter.meshes: "),
    ):
        if tmp_path.is_dir():
            trimesh.creation.box((1, 2, 4)).export(tmp_path / "a.obj")
        with pytest.raises(ConfigError) as caught:
            make_pipeline(compose("render", Render, overrides))
        assert str(caught.value).startswith(start)


# ---- in pictures


def test_tiny_draws_clutter_where_it_is_and_it_hides_blocks() -> None:
    """A mug before a block: its pixels carry no block and its depth; without it the block is there."""
    same = ("randomize=none", "renderer=tiny", "width=160", "height=120", "randomize.clutter.slots=1")
    place = (
        "randomize.clutter.where=front",
        "randomize.clutter.kind=ball",
        "randomize.clutter.size=0.12",
        "randomize.clutter.variant=2",
    )
    frames, scenes = [], []
    for count in (0, 1):
        made = pipeline_of(*same, *place, f"randomize.clutter.count={count}")
        scenes.append(made.sampler.sample(0, [0]))
        renderer = make_renderer("tiny", made.world)
        frames.append(renderer.render(scenes[-1]))
        renderer.close()
    slots, depths = ([np.asarray(getattr(one, name))[0] for one in frames] for name in ("slot", "depth"))
    hidden = (slots[0] == 0) & (slots[1] == -1)
    assert (slots[0] == 0).sum() > 50 and hidden.sum() == (slots[0] == 0).sum()
    camera = scenes[1].cameras.world_from_camera[0]
    away = np.linalg.norm(scenes[1].clutter.world_from_object[0, 0, :3, 3] - camera[:3, 3])
    radius = scenes[1].clutter.size[0, 0] / 2
    middle = depths[1][60, 80]
    assert middle == pytest.approx(away - radius, abs=0.004)
    changed = np.abs(depths[1] - depths[0]) > 0.01
    focal = scenes[1].cameras.intrinsics[0, 0, 0]
    expected = np.pi * (focal * np.tan(np.arcsin(radius / away))) ** 2  # of the sphere's outline
    assert changed.sum() == pytest.approx(expected, rel=0.05)


def test_scenes_with_clutter_go_through_json() -> None:
    scenes, _ = sampled("tabletop", num=2)
    again = from_json(json.loads(json.dumps(to_json(scenes))))
    assert np.array_equal(again.clutter.world_from_object, scenes.clutter.world_from_object)
    assert np.array_equal(again.clutter.material.texture, scenes.clutter.material.texture)


def test_distractors_are_never_nearly_as_large_as_labelled_blocks() -> None:
    for scene in ("tabletop", "closeup", "cluster"):
        scale: Any = sampled(scene)[0].blocks.scale[:, 6:]
        assert np.all((scale <= 0.8) | (scale >= 1.2)) and (scale > 1).any() and (scale < 1).any()
