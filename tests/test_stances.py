"""Classes by the side that is down: sides that are equivalent by symmetry are one class, all others are separate."""

import numpy as np
import pytest
import torch

from simgen.catalogue import load_world
from simgen.geometry import rigid, rotation_about
from train.blocks.kinds import BlockSet
from train.blocks.stances import Stances, alike

BLOCKS = BlockSet.of_worlds([load_world("tabletop").solids, load_world("kuka_table").solids])
APART = Stances(BLOCKS, apart=True)
# How many sides of each shape differ, counted by hand: a prism stands or lies, a cuboid has three, a cone two.
SIDES = {
    "cone": 2,
    "cube": 1,
    "cylinder": 2,
    "hexagonal_prism": 2,
    "pyramid": 2,
    "rectangular_prism": 3,
    "tetrahedron": 1,
    "triangular_prism": 2,
    "kuka_box": 3,
}


def test_as_many_classes_as_sides_that_differ() -> None:
    assert {kind.name: len(alike(kind)) for kind in BLOCKS.kinds} == SIDES
    assert len(APART) == sum(SIDES.values())
    assert APART.kind.tolist() == [k for k, kind in enumerate(BLOCKS.kinds) for _ in range(SIDES[kind.name])]


@pytest.mark.parametrize("apart", [False, True])
def test_each_rest_belongs_to_one_class_of_its_kind(apart: bool) -> None:
    stances = Stances(BLOCKS, apart)
    for number, kind in enumerate(BLOCKS.kinds):
        own = [stances.rests[k] for k in range(len(stances)) if stances.kind[k] == number]
        assert sorted(np.concatenate(own).tolist()) == list(range(len(kind.rests)))


def test_separate_classes_share_no_keypoint() -> None:
    counts = [len(BLOCKS.kinds[int(kind)].keypoints) for kind in APART.kind]
    rows = [row for own, count in zip(APART.rows.tolist(), counts, strict=True) for row in own[:count]]
    assert sorted(rows) == list(range(APART.total))
    kinds = Stances(BLOCKS, apart=False)
    assert len(kinds) == len(BLOCKS) and kinds.total == BLOCKS.keypoints.shape[1]
    assert (kinds.rows == torch.arange(kinds.total)).all()


def test_a_block_is_of_the_class_of_the_side_it_lies_on() -> None:
    """However it is turned on the table, leans a little, and by whichever symmetry its label is turned."""
    generator = np.random.default_rng(0)
    for number, kind in enumerate(BLOCKS.kinds):
        for rest in range(len(kind.rests)):
            expected = next(k for k in range(len(APART)) if APART.kind[k] == number and rest in APART.rests[k].tolist())
            for symmetry in kind.group:
                yaw, lean = rotation_about(2, generator.uniform(0, 6)), rotation_about(0, generator.uniform(-0.2, 0.2))
                table_from_block = rigid(yaw @ lean, np.zeros(3)) @ kind.rests[rest] @ symmetry
                up = torch.tensor(table_from_block[2, :3]).float()[None]
                assert int(APART.of(torch.tensor([number]), up)) == expected, (kind.name, rest)
