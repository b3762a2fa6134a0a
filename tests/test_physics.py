"""Blocks at rest, checked by their corners: they are on the table, do not overlap and are stable."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy.spatial import ConvexHull

pytest.importorskip("pybullet")

from test_randomize import assert_same, sampler_of, vertices_of, world_of

from simgen.errors import PlacementError
from simgen.geometry import Array, rigid, rotation_about
from simgen.physics import ATTEMPTS, sample_settled, settle
from simgen.scene import Scenes, concatenate, take

WORLD = world_of("tabletop")
NAMES = [solid.name for solid in WORLD.solids]


def scene_with(*placed: tuple[str, Array]) -> Scenes:
    """One scene with these blocks: a name of the block set and a pose each."""
    scenes = sampler_of("none", leaves={"blocks.count": len(placed)}, settle=True).sample(0, [0])
    pose, model = scenes.blocks.world_from_block.copy(), scenes.blocks.model.copy()
    for slot, (name, world_from_block) in enumerate(placed):
        model[0, slot], pose[0, slot] = NAMES.index(name), world_from_block
    return replace(scenes, blocks=replace(scenes.blocks, world_from_block=pose, model=model))


def at(x: float, y: float, z: float, rotation: Array | None = None) -> Array:
    return rigid(np.eye(3) if rotation is None else rotation, np.array([x, y, z]))


def overlap(left: tuple[Array, Array], right: tuple[Array, Array]) -> float:
    """How far in m two convex bodies (corners, directions of facets and edges) reach into each other, by the separating
    axis theorem: exact for polyhedra; negative if they are apart."""
    (a, (facets_a, edges_a)), (b, (facets_b, edges_b)) = left, right
    crossed = np.cross(edges_a[:, None], edges_b).reshape(-1, 3)
    length = np.linalg.norm(crossed, axis=1, keepdims=True)
    axes = np.concatenate([facets_a, facets_b, (crossed / np.maximum(length, 1e-12))[length[:, 0] > 1e-6]])
    on_a, on_b = a @ axes.T, b @ axes.T
    return float(np.minimum(on_a.max(0) - on_b.min(0), on_b.max(0) - on_a.min(0)).min())


def body_of(scenes: Scenes, row: int, slot: int) -> tuple[Array, tuple[Array, Array]]:
    corners = vertices_of(scenes, row, slot, WORLD)
    hull = ConvexHull(corners)
    edges = {tuple(sorted(pair)) for simplex in hull.simplices.tolist() for pair in combinations(simplex, 2)}
    lines = np.array([corners[i] - corners[j] for i, j in sorted(edges)])
    return corners, (
        np.unique(hull.equations[:, :3].round(9), axis=0),
        lines / np.linalg.norm(lines, axis=1, keepdims=True),
    )


def tilt(before: Array, after: Array) -> float:
    """Degrees between what was up and what is, in the block's frame."""
    return float(np.degrees(np.arccos(np.clip(before[2, :3] @ after[2, :3], -1, 1))))


def test_overlap_knows_two_cubes() -> None:
    scenes = scene_with(("cube", at(0, 0, 0.025)), ("cube", at(0.049, 0.01, 0.03)), ("cube", at(0.2, 0, 0.025)))
    bodies = [body_of(scenes, 0, slot) for slot in range(3)]
    assert overlap(bodies[0], bodies[1]) == pytest.approx(0.001)
    assert overlap(bodies[0], bodies[2]) == pytest.approx(-0.15)


@pytest.mark.parametrize(("height", "drift"), [(0.026, 0.5e-3), (0.0433, 5e-3), (0.15, 25e-3)])
def test_a_dropped_cube_comes_to_rest_flat_over_its_place(height: float, drift: float) -> None:
    """The sampler drops single blocks from their radius, 43 mm; from 15 cm a cube may hop, but not off its place."""
    for yaw in (0.0, 0.7):
        scenes = scene_with(("cube", at(0.1, -0.05, height, rotation_about(2, yaw))))
        settled, calm = settle(scenes, WORLD)
        assert calm.tolist() == [True]
        pose = settled.blocks.world_from_block[0, 0]
        assert pose[2, 3] == pytest.approx(0.025, abs=1e-3)
        assert np.linalg.norm(pose[:2, 3] - [0.1, -0.05]) < drift
        assert tilt(scenes.blocks.world_from_block[0, 0], pose) < 0.5
        assert np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_block_stays_on_each_of_its_resting_faces(name: str) -> None:
    """Two independent computations agree: Solid.rests and the simulation."""
    for rest in WORLD.solids[NAMES.index(name)].rests:
        start = rest.copy()
        start[2, 3] += 0.002
        settled, calm = settle(scene_with((name, start)), WORLD)
        assert calm.all()
        pose = settled.blocks.world_from_block[0, 0]
        if WORLD.solids[NAMES.index(name)].axis is None:
            assert tilt(rest, pose) < 0.5
            assert np.abs(pose[:3, 3] - rest[:3, 3]).max() < 1e-3
        else:  # what is round may roll a little
            assert pose[2, 2] == pytest.approx(rest[2, 2], abs=0.01)
            assert np.abs(pose[:3, 3] - rest[:3, 3]).max() < 5e-3
        assert abs(vertices_of(settled, 0, 0, WORLD)[:, 2].min()) < 1e-3


@pytest.mark.parametrize(("degrees", "falls"), [(-70, True), (-60, False), (60, False), (70, True)])
def test_a_leaning_pyramid_falls_to_the_side_of_its_center_of_mass(degrees: float, falls: bool) -> None:
    """It stands on an edge of its base, 30 mm from the axis; its center of mass is 55/4 mm high, so it tips over beyond
    atan(30 / 13.75) = 65.4 degrees."""
    rotation = rotation_about(0, np.radians(degrees))
    pyramid = WORLD.solids[NAMES.index("pyramid")]
    height = -(pyramid.vertices @ rotation.T)[:, 2].min()
    settled, calm = settle(scene_with(("pyramid", at(0, 0, height + 5e-4, rotation))), WORLD)
    assert calm.all()
    upright = settled.blocks.world_from_block[0, 0, 2, 2] > 0.99
    assert upright != falls


@pytest.mark.parametrize("degrees", [43, 44, 46])
def test_no_block_balances_on_an_edge(degrees: float) -> None:
    """At 45 degrees a cube's center is above its edge: a degree beside that it falls onto a face."""
    rotation = rotation_about(0, np.radians(degrees))
    height = 0.025 * np.abs(rotation[2]).sum()
    settled, calm = settle(scene_with(("cube", at(0, 0, height + 5e-4, rotation))), WORLD)
    assert calm.all()
    down = np.abs(settled.blocks.world_from_block[0, 0, 2, :3])
    assert down.max() > np.cos(np.radians(1))


def test_two_blocks_dropped_at_one_spot_end_in_contact_and_not_in_each_other() -> None:
    scenes = sampler_of("none", leaves={"blocks.count": 2, "blocks.yaw_deg": 20}, settle=True).sample(0, [0])
    settled, calm = settle(scenes, WORLD)
    assert calm.all()
    bodies = [body_of(settled, 0, slot) for slot in range(2)]
    assert -1.5e-3 < overlap(*bodies) < 1.5e-3
    assert min(corners[:, 2].min() for corners, _ in bodies) > -1e-3
    again, calm = settle(settled, WORLD)  # they are at rest: dropped again from where they are, they stay
    assert calm.all()
    moved = again.blocks.world_from_block - settled.blocks.world_from_block
    assert np.linalg.norm(moved[0, :2, :3, 3], axis=1).max() < 2e-3


def test_a_pile_is_at_rest_on_the_table_without_overlap() -> None:
    near = ["uniform", [-0.06, -0.06], [0.06, 0.06]]
    leaves = {"blocks.count": 5, "distractors.count": 3, "blocks.place": near, "distractors.place": near}
    scenes = sample_settled(sampler_of("full", leaves=leaves, settle=True), 3, range(2))
    touching = 0
    for row in range(2):
        slots = np.flatnonzero(scenes.blocks.present[row])
        assert len(slots) == 8
        bodies = [body_of(scenes, row, slot) for slot in slots]
        for corners, _ in bodies:
            assert corners[:, 2].min() > -1e-3
        for left, right in combinations(bodies, 2):
            gap = overlap(left, right)
            assert gap < 1.5e-3
            touching += gap > -1.5e-3
        # The lowest stand on the table: nothing floats above everything else.
        assert min(corners[:, 2].min() for corners, _ in bodies) < 1e-3
        again, calm = settle(take(scenes, [row]), WORLD)
        assert calm.all()
        moved = again.blocks.world_from_block[0, slots, :3, 3] - scenes.blocks.world_from_block[row, slots, :3, 3]
        assert np.linalg.norm(moved, axis=1).max() < 3e-3
    assert touching >= 2


def test_only_poses_of_present_blocks_change() -> None:
    sampler = sampler_of("full", settle=True)
    scenes = sampler.sample(0, range(3))
    before = scenes.blocks.world_from_block.copy()
    settled, calm = settle(scenes, WORLD)
    assert np.array_equal(scenes.blocks.world_from_block, before)
    present = scenes.blocks.present
    assert np.array_equal(settled.blocks.world_from_block[~present], before[~present])
    moved = np.any(settled.blocks.world_from_block != before, axis=(2, 3))
    assert np.array_equal(moved.any(axis=1), calm)
    assert moved[calm][present[calm]].all()
    same = replace(settled, blocks=replace(settled.blocks, world_from_block=before))
    assert_same(same, scenes)


def test_the_same_bits_twice_and_in_any_batch() -> None:
    sampler = sampler_of("full", settle=True)
    whole = sample_settled(sampler, 1, range(3))
    assert whole.index.tolist() == [0, 1, 2]
    assert_same(sample_settled(sampler, 1, [2, 1, 0]), take(whole, slice(None, None, -1)))
    assert_same(concatenate([sample_settled(sampler, 1, [i]) for i in range(3)]), whole)
    assert_same(sample_settled(sampler, 1, [2, 2]), take(whole, [2, 2]))


def test_a_drop_that_fails_is_repeated_and_its_attempt_recorded() -> None:
    """Near the edge most drops lose a block: the attempt that held is in the recipe, and reproduces the scene."""
    edge = ["uniform", [0.55, -0.3], [0.62, 0.3]]
    leaves = {"blocks.place": edge, "blocks.count": 2, "distractors.count": 0}
    sampler = sampler_of("blocks", leaves=leaves, settle=True)
    scenes = sample_settled(sampler, 0, range(6))
    attempts = scenes.attempt.tolist()
    assert max(attempts) > 0
    assert min(attempts) < max(attempts)
    for row, attempt in enumerate(attempts):
        settled, calm = settle(sampler.sample(0, [row], attempt=attempt), WORLD)
        assert calm.all()
        assert_same(settled, take(scenes, [row]))
        for earlier in range(attempt):
            assert not settle(sampler.sample(0, [row], attempt=earlier), WORLD)[1].any()
        assert (settled.blocks.world_from_block[0, :2, 2, 3] > 0).all()


def test_a_scene_that_cannot_come_to_rest_is_refused() -> None:
    edge = float(WORLD.table.size[0] / 2)
    sampler = sampler_of("none", leaves={"blocks.place": [edge + 0.005, 0]}, settle=True)
    with pytest.raises(PlacementError) as caught:
        sample_settled(sampler, 5, [12])
    message = str(caught.value)
    assert message.startswith("physics: sample 12 of seed 5: ")
    for part in (f"{ATTEMPTS} drops", "randomize.blocks.count", "place", "physics=place"):
        assert part in message


def test_a_scene_without_blocks_is_at_rest() -> None:
    sampler = sampler_of("none", leaves={"blocks.count": 0}, settle=True)
    scenes = sample_settled(sampler, 0, [0])
    assert_same(scenes, sampler.sample(0, [0]))
