"""Blocks at rest, checked by their corners: they are on the table, touch without overlap and are stable."""

import tracemalloc
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy.spatial import ConvexHull

pytest.importorskip("pybullet")

from samplers import assert_same, sampler_of, vertices_of, world_of

from simgen.errors import PlacementError
from simgen.geometry import Array, rigid, rotation_about
from simgen.physics import ATTEMPTS, sample_settled, settle, stack
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
    """A block alone is dropped from 1 mm; from 15 cm a cube may hop, but not off its place."""
    for yaw in (0.0, 0.7):
        scenes = scene_with(("cube", at(0.1, -0.05, height, rotation_about(2, yaw))))
        settled, calm = settle(scenes, WORLD)
        assert calm.tolist() == [True]
        pose = settled.blocks.world_from_block[0, 0]
        assert pose[2, 3] == pytest.approx(0.025, abs=5e-5)
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
        assert abs(vertices_of(settled, 0, 0, WORLD)[:, 2].min()) < 1e-4


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


def test_blocks_are_dropped_from_heights_without_overlap() -> None:
    leaves = {"blocks.count": 6, "distractors.count": 6, "gather": 0.95}
    scenes = stack(sampler_of("full", leaves=leaves, settle=True).sample(0, range(2)), WORLD)
    for row in range(2):
        bodies = [body_of(scenes, row, slot) for slot in np.flatnonzero(scenes.blocks.present[row])]
        assert max(overlap(*pair) for pair in combinations(bodies, 2)) < 0
        lowest = sorted(corners[:, 2].min() for corners, _ in bodies)
        assert 0 < lowest[0] < 2e-3
        assert lowest[-1] > 0.1
    assert_same(
        replace(scenes, blocks=replace(scenes.blocks, world_from_block=stack(scenes, WORLD).blocks.world_from_block)),
        scenes,
    )


def test_piles_are_at_rest_on_the_table_and_on_each_other() -> None:
    """No overlap; each block touches the table or another; some lie or lean on others; and dropped again from where they
    are, with the fine time steps from the start, they stay."""
    leaves = {"blocks.count": 5, "distractors.count": 3, "gather": 0.85}
    scenes = sample_settled(sampler_of("full", leaves=leaves, settle=True), 3, np.arange(4))
    touching = above = leaning = 0
    for row in range(4):
        slots = np.flatnonzero(scenes.blocks.present[row])
        bodies = [body_of(scenes, row, slot) for slot in slots]
        support = np.array([corners[:, 2].min() for corners, _ in bodies])
        assert support.min() > -1e-4
        above += int((support > 4e-3).sum())
        for (i, left), (j, right) in combinations(enumerate(bodies), 2):
            gap = -overlap(left, right)
            assert gap > -1e-4
            touching += gap < 2e-4
            support[[i, j]] = np.minimum(support[[i, j]], gap)
        assert support.max() < 2e-4
        for slot in slots:  # neither on a resting face nor, being round, on its side
            solid = WORLD.solids[scenes.blocks.model[row, slot]]
            up = scenes.blocks.world_from_block[row, slot, 2, :3]
            flat = max((up @ rest[2, :3] for rest in solid.rests), default=0)
            leaning += solid.axis is None and flat < np.cos(np.radians(3))
        again, calm = settle(take(scenes, [row]), WORLD)
        assert calm.all()
        moved = again.blocks.world_from_block[0, slots, :3, 3] - scenes.blocks.world_from_block[row, slots, :3, 3]
        assert np.linalg.norm(moved, axis=1).max() < 1e-3
    assert touching >= 4
    assert above >= 1
    assert leaning >= 1


def test_parts_of_any_size_come_to_rest_alike() -> None:
    """A scene scaled by 1/50 and by 20 has the same poses, scaled."""
    leaves = {"blocks.count": 4, "distractors.count": 2, "gather": 0.8}
    scenes = stack(sampler_of("full", leaves=leaves, settle=True).sample(1, [0]), WORLD)
    settled, calm = settle(scenes, WORLD)
    assert calm.all()
    for factor in (1 / 64, 16.0):  # powers of two: no number is rounded
        pose = scenes.blocks.world_from_block.copy()
        pose[..., :3, 3] *= factor
        table = replace(WORLD.table, center=WORLD.table.center * factor, size=WORLD.table.size * factor)
        blocks = replace(scenes.blocks, world_from_block=pose, scale=scenes.blocks.scale * factor)
        scaled, calm = settle(replace(scenes, blocks=blocks), replace(WORLD, table=table))
        assert calm.all()
        pose = scaled.blocks.world_from_block.copy()
        pose[..., :3, 3] /= factor
        assert np.abs(pose - settled.blocks.world_from_block).max() < 1e-9


def test_scenes_are_dropped_or_not_as_their_factor_states() -> None:
    """Those without a drop are the sampler's to the bit; the others are those of a sampler that drops all."""
    sampler, always = sampler_of("full"), sampler_of("full", settle=True)
    scenes = sample_settled(sampler, 2, np.arange(6))
    assert set(scenes.settled.tolist()) == {False, True}
    assert scenes.index.tolist() == list(range(6))
    apart = np.flatnonzero(~scenes.settled)
    assert_same(take(scenes, ~scenes.settled), sampler.sample(2, apart))
    assert_same(take(scenes, scenes.settled), sample_settled(always, 2, np.flatnonzero(scenes.settled)))


def test_a_block_that_leaves_the_table_is_taken_out_and_no_other_changes() -> None:
    half = float(WORLD.table.size[0] / 2)
    beside, on = ("cube", at(half + 0.01, 0, 0.03)), ("cube", at(0.1, 0.1, 0.026))
    settled, calm = settle(scene_with(on, beside, on), WORLD)
    assert not calm.any() or not settled.blocks.present[0, 1]
    settled, calm = settle(scene_with(on, beside), WORLD)
    assert calm.all()
    assert settled.blocks.present[0, :2].tolist() == [True, False]
    alone, _ = settle(scene_with(on), WORLD)
    assert np.abs(settled.blocks.world_from_block[0, 0] - alone.blocks.world_from_block[0, 0]).max() < 1e-4
    assert np.array_equal(settled.blocks.world_from_block[0, 1], beside[1])  # where it began


def test_only_poses_of_present_blocks_change() -> None:
    scenes = sampler_of("full", settle=True).sample(0, range(3))
    before = scenes.blocks.world_from_block.copy()
    settled, calm = settle(stack(scenes, WORLD), WORLD)
    assert calm.all()
    assert np.array_equal(scenes.blocks.world_from_block, before)
    present = scenes.blocks.present
    assert np.array_equal(settled.blocks.world_from_block[~present], before[~present])
    assert np.any(settled.blocks.world_from_block != before, axis=(2, 3))[settled.blocks.present].all()
    assert_same(replace(settled, blocks=replace(settled.blocks, world_from_block=before, present=present)), scenes)


def test_the_same_bits_twice_and_in_any_batch() -> None:
    sampler = sampler_of("full", leaves={"settle": ["choice", 0, 1, 1], "gather": 0.7})
    whole = sample_settled(sampler, 1, np.arange(5))
    assert whole.index.tolist() == [0, 1, 2, 3, 4]
    assert 1 < whole.settled.sum() < 5
    assert_same(sample_settled(sampler, 1, np.arange(5)[::-1]), take(whole, slice(None, None, -1)))
    assert_same(concatenate([sample_settled(sampler, 1, np.array([i])) for i in range(5)]), whole)
    assert_same(sample_settled(sampler, 1, np.array([2, 0, 2])), take(whole, [2, 0, 2]))


EDGE = {"blocks.model": "triangular_prism", "blocks.yaw_deg": 90, "distractors.count": 0}


def test_a_scene_that_loses_all_its_labeled_blocks_is_dropped_again() -> None:
    """The attempt is in the recipe, and reproduces the scene. The middle of the prism's bounding box is on the table, its
    center of mass 9 mm farther out."""
    far = float(WORLD.table.size[0] / 2)
    leaves = {**EDGE, "blocks.count": 1, "blocks.place": ["uniform", [far - 0.02, -0.1], [far, 0.1]]}
    sampler = sampler_of("none", leaves=leaves, settle=True)
    scenes = sample_settled(sampler, 0, np.arange(6))
    assert 0 == scenes.attempt.min() < scenes.attempt.max()
    assert scenes.blocks.present[:, 0].all()
    for row, last in enumerate(scenes.attempt.tolist()):
        for attempt in range(last + 1):
            settled, calm = settle(stack(sampler.sample(0, [row], attempt=attempt), WORLD), WORLD)
            assert (calm & settled.blocks.present.any()).tolist() == [attempt == last]
        assert_same(settled, take(scenes, [row]))


def test_a_scene_that_cannot_come_to_rest_is_refused() -> None:
    sampler = sampler_of("none", leaves={**EDGE, "blocks.place": [float(WORLD.table.size[0] / 2), 0]}, settle=True)
    with pytest.raises(PlacementError) as caught:
        sample_settled(sampler, 5, np.array([12]))
    message = str(caught.value)
    assert message.startswith("physics: sample 12 of seed 5: ")
    for part in (f"{ATTEMPTS} drops", "randomize.blocks.count", "place", "physics=place"):
        assert part in message


def test_a_place_beside_the_table_is_refused_before_the_drop() -> None:
    sampler = sampler_of("none", leaves={"blocks.place": [float(WORLD.table.size[0] / 2) + 0.005, 0]}, settle=True)
    with pytest.raises(PlacementError, match=r"^randomize\.blocks\.place: sample 3 .* move or widen place$"):
        sampler.sample(0, [3])


def test_a_scene_without_blocks_is_at_rest() -> None:
    sampler = sampler_of("none", leaves={"blocks.count": 0}, settle=True)
    scenes = sample_settled(sampler, 0, np.array([0]))
    assert_same(scenes, sampler.sample(0, [0]))


def test_drops_leave_no_memory_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyBullet keeps a reference to each point that it is given, forever: 40 kB for each drop of blocks with round sides."""
    monkeypatch.setattr("simgen.physics.LIMIT", 0.0)  # built, and not dropped
    scenes = stack(scene_with(*(("cylinder", at(0.1 * k, 0.0, 0.05)) for k in range(4))), WORLD)
    settle(scenes, WORLD)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(10):
            settle(scenes, WORLD)
        assert tracemalloc.get_traced_memory()[0] - before < 20_000
    finally:
        tracemalloc.stop()
