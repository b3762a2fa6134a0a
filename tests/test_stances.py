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


def test_the_likeliest_class_is_of_the_likeliest_kind() -> None:
    """A cylinder that stands with 0.3 or lies with 0.3 is likelier than a cube with 0.4."""
    probability = torch.zeros(2, len(APART))
    cylinder, cube = ((APART.kind == BLOCKS.names.index(name)).nonzero()[:, 0] for name in ("cylinder", "cube"))
    probability[0, cylinder] = torch.tensor([0.29, 0.31])
    probability[:, cube[0]] = torch.tensor([0.4, 1])
    stance, share = APART.likeliest(probability)
    assert stance.tolist() == [int(cylinder[1]), int(cube[0])]
    torch.testing.assert_close(share, torch.tensor([0.6, 1.0]))
    kinds = Stances(BLOCKS, apart=False)
    assert len(kinds) == kinds.kinds == APART.kinds == len(BLOCKS)
    assert kinds.most == APART.most == max(len(kind.keypoints) for kind in BLOCKS.kinds)
    assert kinds.likeliest(torch.zeros(0, len(kinds)))[0].shape == (0,)


def test_a_block_whose_table_is_unknown_is_of_its_kind() -> None:
    kinds = Stances(BLOCKS, apart=False)
    every = torch.arange(len(BLOCKS))
    assert torch.equal(kinds.of(every, torch.full((len(BLOCKS), 3), torch.nan)), every)


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
