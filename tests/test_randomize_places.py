"""Numbers and kinds of lights, and the placement of blocks, from the drawn poses alone."""

import math
import re
from dataclasses import fields
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from samplers import SCENES, SLOTS, assert_same, changed, determined_by, sampler_of, vertices_of, world_of

from simgen.draws import Draws
from simgen.errors import PlacementError
from simgen.randomize import ROUNDS, Sampler
from simgen.scene import LIGHTS, concatenate, take

# ---- lights


def test_there_is_room_for_no_light_to_eight() -> None:
    """And a light is the same whatever the number of slots, and of lights."""
    wide = sampler_of("full", leaves={"light.slots": 8, "light.count": 8}).sample(0, range(20))
    assert wide.lights.present.shape == (20, 8)
    assert wide.lights.present.all()
    assert len({row.tobytes() for row in wide.lights.direction.reshape(-1, 3)}) == 160
    for slots in range(8):
        few = sampler_of("full", leaves={"light.slots": slots, "light.count": slots // 2}).sample(0, range(20))
        for item in fields(few.lights):
            if item.name != "present":
                value = getattr(wide.lights, item.name)[:, :slots]
                assert np.array_equal(getattr(few.lights, item.name), value), item.name
        assert (few.lights.present == ([True] * (slots // 2) + [False] * (slots - slots // 2))).all()
        assert {name for name in changed(few, wide) if not name.startswith("lights.")} == set()


def test_the_number_and_the_kind_of_lights_are_what_was_asked_for() -> None:
    leaves = {"light.count": ["integer", 0, 3], "light.kind": ["choice", "area", "point"]}
    lights = sampler_of("none", leaves=leaves).sample(0, range(400)).lights
    count = lights.present.sum(axis=1)
    assert (np.abs(np.bincount(count) - 100) < 40).all()
    assert len(np.bincount(count)) == 4
    assert (lights.present == (np.arange(4) < count[:, None])).all()  # the first ones
    assert {LIGHTS[k] for k in np.unique(lights.kind)} == {"area", "point"}
    assert (np.abs((lights.kind == LIGHTS.index("area")).mean(axis=0) - 0.5) < 0.1).all()  # in every slot
    for kind in LIGHTS:
        lights = sampler_of("none", leaves={"light.kind": kind}).sample(0, [0]).lights
        assert (lights.kind == LIGHTS.index(kind)).all()


# ---- placement


def plain_places(sampler: Sampler, seed: int, index: int) -> list[list[float]]:
    """The rule of placement for one sample, slot by slot and proposal by proposal; infinite where there is no place."""
    blocks = sampler.sample(seed, [index]).blocks
    radius = [sampler.world.solids[m].radius * s for m, s in zip(blocks.model[0], blocks.scale[0], strict=True)]
    middle, half = sampler.world.table.center[:2], sampler.world.table.size[:2] / 2
    taken: list[list[float]] = []
    for slot in range(sum(sampler.slots)):
        name, nth = ("blocks", slot) if slot < sampler.slots[0] else ("distractors", slot - sampler.slots[0])
        found = [math.inf, math.inf]
        for k in range(ROUNDS[-1]):
            draws = Draws(seed, np.array([index]), f"{name}/place").lanes([nth]).tries([k])
            spot = sampler.leaves[f"{name}/place"].sample(draws)[0]
            clear = [math.hypot(*(spot - other)) >= radius[slot] + r for other, r in zip(taken, radius, strict=False)]
            if all(clear) and (np.abs(spot - middle) <= half).all():
                found = spot.tolist()
                break
        taken.append(found)
    return taken


@pytest.mark.parametrize(
    ("preset", "scene", "leaves"),
    [
        ("full", "tabletop", {}),
        ("tobin2017", "kuka_table", {}),
        # a tight table: slots that need proposals of later rounds, and absent ones that find no place
        ("full", "tabletop", {"distractors.place": ["uniform", [-0.12, -0.12], [0.12, 0.12]], "distractors.count": 0}),
        ("full", "tabletop", {"distractors.place": ["uniform", [0.3, 0.2], [0.9, 0.6]], "distractors.count": 0}),
        ("full", "tabletop", {"blocks.place": [0.1, 0.1], "blocks.count": 1, "distractors.count": 0}),
    ],
)
def test_a_block_takes_its_first_proposal_that_is_free(preset: str, scene: str, leaves: dict[str, Any]) -> None:
    sampler = sampler_of(preset, scene, leaves, settle=False)
    placed = sampler.sample(4, range(12)).blocks.world_from_block[:, :, :2, 3]
    lost = 0
    for index in range(12):
        plain = np.array(plain_places(sampler, 4, index))
        some = np.isfinite(plain[:, 0])
        assert np.array_equal(placed[index, some], plain[some])
        lost += (~some).sum()
        for slot in np.flatnonzero(~some):  # an absent block without a place stays where it was first proposed
            name, nth = ("blocks", slot) if slot < SLOTS else ("distractors", slot - SLOTS)
            draws = Draws(4, np.array([index]), f"{name}/place").lanes([nth])
            assert np.array_equal(placed[index, slot], sampler.leaves[f"{name}/place"].sample(draws)[0])
    assert (lost > 0) == (len(leaves) > 1)


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("preset", ["full", "blocks", "distractors", "tobin2017"])
def test_blocks_stand_on_the_table_and_apart(preset: str, scene: str) -> None:
    """Two blocks are apart if the projections of their corners onto the line between them do not meet."""
    world = world_of(scene)
    scenes = sampler_of(preset, scene, settle=False).sample(7, range(25))
    pairs = 0
    for row in range(25):
        slots = np.flatnonzero(scenes.blocks.present[row])
        bodies = [vertices_of(scenes, row, slot, world) for slot in slots]
        for slot, body in zip(slots, bodies, strict=True):
            assert abs(body[:, 2].min()) < 1e-12
            spot = scenes.blocks.world_from_block[row, slot, :2, 3]
            assert (np.abs(spot - world.table.center[:2]) <= world.table.size[:2] / 2).all()
            rotation = scenes.blocks.world_from_block[row, slot, :3, :3]
            assert np.allclose(rotation @ rotation.T, np.eye(3), rtol=0, atol=1e-12)
            assert np.linalg.det(rotation) == pytest.approx(1)
        for (i, left), (j, right) in combinations(zip(slots, bodies, strict=True), 2):
            places = scenes.blocks.world_from_block[row, [i, j], :3, 3]
            line = places[1] - places[0]
            assert (left @ line).max() < (right @ line).min(), (row, i, j)
            pairs += 1
    assert pairs > (200 if preset in ("full", "tobin2017", "distractors") else 100 if scene == "tabletop" else -1)


def test_blocks_lie_on_each_of_their_faces() -> None:
    """`face` picks the resting face, equally likely: 0 is the base, and a cube shows all six."""
    leaves = {"blocks.model": "cube", "blocks.count": 6, "blocks.face": ["uniform", 0, 1], "blocks.yaw_deg": 0}
    scenes = sampler_of("blocks", leaves=leaves).sample(0, range(100))
    down = -scenes.blocks.world_from_block[:, :SLOTS, 2, :3].reshape(-1, 3)
    faces, counts = np.unique(down.round(6) + 0.0, axis=0, return_counts=True)
    assert len(faces) == 6
    assert (np.abs(counts - 100) < 45).all()
    base = sampler_of("blocks", leaves={**leaves, "blocks.face": 0}).sample(0, range(3))
    assert np.allclose(base.blocks.world_from_block[:, :SLOTS, :3, :3], np.eye(3), rtol=0, atol=1e-12)
    last = sampler_of("blocks", leaves={**leaves, "blocks.face": 1}).sample(0, range(3))
    assert np.allclose(last.blocks.world_from_block[:, :SLOTS, :3, 2] @ [0, 0, 1], -1)


def test_yaw_turns_from_x_towards_y() -> None:
    pose = sampler_of("none", leaves={"blocks.yaw_deg": 90}).sample(0, [0]).blocks.world_from_block[0, 0]
    assert pose[:3, 0] == pytest.approx([0, 1, 0], abs=1e-12)
    assert pose[:3, 3] == pytest.approx([0, 0, 0.025])


def test_scale_multiplies_the_size_and_keeps_the_block_on_the_table() -> None:
    world = world_of("tabletop")
    for model in (solid.name for solid in world.solids):
        for face in (0, 0.5, 0.99):
            leaves = {"blocks.model": model, "blocks.scale": 1.7, "blocks.face": face, "blocks.yaw_deg": 33}
            scenes = sampler_of("none", leaves=leaves).sample(0, [0])
            corners = vertices_of(scenes, 0, 0, world)
            assert abs(corners[:, 2].min()) < 1e-12
            solid = world.solids[scenes.blocks.model[0, 0]]
            assert np.linalg.norm(corners[0] - corners[-1]) == pytest.approx(
                1.7 * np.linalg.norm(solid.vertices[0] - solid.vertices[-1])
            )


def test_each_scene_is_placed_or_dropped_as_its_factor_states() -> None:
    """Scenes without a drop are those of a sampler that drops none; in the others, blocks take their first proposal on the
    table, gathered toward that of the first slot. All the rest is the same in both."""
    mixed, placed = sampler_of("full"), sampler_of("full", settle=False)
    index = np.arange(60)
    scenes, apart = mixed.sample(3, index), placed.sample(3, index)
    states = mixed.leaves["settle"].sample(Draws(3, index, "settle"))[:, 0]
    assert scenes.settled.tolist() == (states > 0.5).tolist()
    assert 10 < scenes.settled.sum() < 30  # a third
    assert_same(take(scenes, ~scenes.settled), take(apart, ~scenes.settled))
    dropped = take(scenes, scenes.settled)
    differ = changed(dropped, take(apart, scenes.settled))
    assert {"settled", "blocks.xy", "distractors.xy"} <= differ <= determined_by("settle")
    for row, number in enumerate(dropped.index):
        draws = Draws(3, np.array([number]))
        spots = np.concatenate(
            [
                placed.leaves[f"{name}/place"].sample((draws / f"{name}/place").lanes(range(n)))
                for name, n in zip(("blocks", "distractors"), mixed.slots, strict=True)
            ]
        )  # all are on this table
        share = mixed.leaves["gather"].sample(draws / "gather")[0, 0]
        got = dropped.blocks.world_from_block[row, :, :2, 3]
        assert got == pytest.approx(spots + share * (spots[0] - spots), abs=1e-12)


@pytest.mark.parametrize("group", ["blocks", "distractors"])
def test_too_many_blocks_are_refused_with_sample_seed_and_block(group: str) -> None:
    small = ["uniform", [-0.03, -0.03], [0.03, 0.03]]
    leaves = {"blocks.count": 0, "distractors.count": 0, f"{group}.count": 6, f"{group}.place": small}
    if group == "distractors":
        leaves["blocks.slots"] = 0  # an absent block keeps its place, too
    with pytest.raises(PlacementError) as caught:
        sampler_of("none", leaves=leaves).sample(17, [40, 41])
    message = str(caught.value)
    assert message.startswith(f"randomize.{group}.place: sample 4")
    assert " of seed 17" in message
    named = re.search(group + r"\[(\d)\]", message)
    assert named
    assert 1 <= int(named[1]) <= 5
    for remedy in (f"randomize.{group}.count", "scale", "place", "physics=settle"):
        assert remedy in message
    # The block that is named is the first that does not fit: with as many as come before it, the sample is found.
    sample = int(re.search(r"sample (\d+)", message)[1])
    fewer = {**leaves, f"{group}.count": int(named[1])}
    assert len(sampler_of("none", leaves=fewer).sample(17, [sample])) == 1


def test_blocks_that_find_no_place_do_not_depend_on_their_batch() -> None:
    leaves = {"blocks.count": ["integer", 1, 6], "blocks.place": ["uniform", [-0.09, -0.09], [0.09, 0.09]]}
    sampler = sampler_of("blocks", leaves=leaves)

    def fits(index: list[int]) -> bool:
        try:
            sampler.sample(0, index)
        except PlacementError:
            return False
        return True

    alone = {i: fits([i]) for i in range(13)}
    assert set(alone.values()) == {True, False}
    good = [i for i in alone if alone[i]]
    assert_same(sampler.sample(0, good), concatenate([sampler.sample(0, [i]) for i in good]))
    for bad in (i for i in alone if not alone[i]):
        with pytest.raises(PlacementError, match=f"sample {bad} of seed 0"):
            sampler.sample(0, [*good, bad])


def test_a_place_beside_the_table_is_refused() -> None:
    for place in ([0.61, 0], [0, -0.41], ["uniform", [1, 1], [2, 2]]):
        with pytest.raises(PlacementError, match=r"blocks\[0\]"):
            sampler_of("none", leaves={"blocks.place": place}).sample(0, [0])
    sampler_of("none", leaves={"blocks.place": [0.6, -0.4]}).sample(0, [0])
