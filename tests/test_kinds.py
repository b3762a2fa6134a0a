"""What a keypoint model knows of blocks: written and read back, and blocks of other sizes."""

import json

import numpy as np
import pytest

from simgen.catalogue import load_world
from simgen.errors import ConfigError
from simgen.shapes import make_solid
from train.blocks.kinds import TURNS, BlockSet, Kind

TOBIN, KUKA = load_world("tabletop").solids, load_world("kuka_table").solids
BLOCKS = BlockSet.of_worlds([TOBIN, KUKA])


def test_kinds_of_two_block_sets_are_each_there_once() -> None:
    assert BLOCKS.names == [solid.name for solid in TOBIN] + ["kuka_box"]
    assert [BLOCKS.names[k] for k in BLOCKS.classes_of(KUKA)] == [solid.name for solid in KUKA]
    other = make_solid("cube", "cube", np.array([0.06, 0.06, 0.06]))
    with pytest.raises(ConfigError, match="'cube' has another shape or size"):
        BlockSet.of_worlds([TOBIN, [other]])
    with pytest.raises(ConfigError, match="knows no 'kuka_box'"):
        BlockSet.of_worlds([TOBIN]).classes_of(KUKA)


def test_it_is_written_and_read_back() -> None:
    again = BlockSet.from_json(json.loads(json.dumps(BLOCKS.to_json())))
    for a, b in zip(again.kinds, BLOCKS.kinds, strict=True):
        for name, value in vars(b).items():
            if name in Kind.__dataclass_fields__:
                assert np.array_equal(getattr(a, name), value) or (value is None and getattr(a, name) is None), name
    assert again.keypoints.equal(BLOCKS.keypoints) and again.group.equal(BLOCKS.group)


@pytest.mark.parametrize("kind", BLOCKS.kinds, ids=lambda kind: kind.name)
def test_every_member_of_the_group_maps_the_block_onto_itself(kind: Kind) -> None:
    for member in kind.group:
        moved = kind.corners @ member[:3, :3].T + member[:3, 3]
        gaps = np.linalg.norm(moved[:, None] - kind.corners, axis=2).min(axis=1)
        # A round block is drawn with 64 corners, which a turn puts between each other.
        assert gaps.max() < (1e-6 if kind.axis is None else 0.06 * kind.diameter)
    assert len(kind.group) == len(kind.symmetries) * (1 if kind.axis is None else TURNS)


@pytest.mark.parametrize("solid", TOBIN, ids=lambda solid: solid.name)
def test_a_resized_kind_is_the_kind_of_the_resized_solid(solid: object) -> None:
    kind = Kind.of(solid)  # type: ignore[arg-type]
    larger = make_solid(kind.name, solid.shape, 1.3 * kind.size)  # type: ignore[attr-defined]
    expected, got = Kind.of(larger), kind.resized(1.3 * kind.size)
    # Which of the facets that its axis turns into each other a round block lies on is anybody's choice.
    np.testing.assert_allclose(got.rests[:, 2, 3], expected.rests[:, 2, 3], atol=1e-9)
    for name in ("size", "keypoints", "corners", *(["rests"] if kind.axis is None else [])):
        np.testing.assert_allclose(getattr(got, name), getattr(expected, name), atol=1e-9, err_msg=name)
    assert got.diameter == pytest.approx(expected.diameter)
    assert len(got.symmetries) == len(expected.symmetries)
    assert (got.axis is None) == (expected.axis is None)


def test_a_cube_stretched_to_a_cuboid_keeps_the_cuboids_symmetries() -> None:
    cube = BLOCKS.kinds[BLOCKS.names.index("cube")]
    assert len(cube.symmetries) == 24
    cuboid = cube.resized(np.array([0.02, 0.02, 0.08]))
    assert len(cuboid.symmetries) == 8
    assert len(cube.resized(np.array([0.02, 0.03, 0.08])).symmetries) == 4
    assert sorted(np.round(cuboid.rests[:, 2, 3], 6)) == [0.01] * 4 + [0.04] * 2
    cylinder = BLOCKS.kinds[BLOCKS.names.index("cylinder")]
    assert cylinder.resized(cylinder.size * [1, 1, 3]).axis is not None
    assert cylinder.resized(cylinder.size * [1, 2, 1]).axis is None
