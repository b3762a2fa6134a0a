"""Classes by the side that is down: sides that are equivalent by symmetry are one class, all others are separate."""

import numpy as np
import torch

from simgen.catalogue import load_world
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
    # Each side is divided into ranges of about 30 degrees of the angle after which it looks the same: a cube into three.
    counts = APART.kind.bincount().tolist()
    assert all(count >= SIDES[kind.name] for count, kind in zip(counts, BLOCKS.kinds, strict=True))
    assert counts[BLOCKS.names.index("cube")] == 3 and sum(counts) == len(APART) == len(APART.rests)
    assert int(APART.ranges.sum()) == len(APART) and len(APART.ranges) == sum(SIDES.values())


def test_each_rest_belongs_to_one_class_of_its_kind() -> None:
    stances = Stances(BLOCKS, apart=False)
    for number, kind in enumerate(BLOCKS.kinds):
        own = [stances.rests[k] for k in range(len(stances)) if stances.kind[k] == number]
        assert sorted(np.concatenate(own).tolist()) == list(range(len(kind.rests)))


def test_the_likeliest_class_is_of_the_likeliest_kind() -> None:
    """A cylinder in two classes of 0.29 and 0.31 is likelier than a cube with 0.4."""
    probability = torch.zeros(2, len(APART))
    cylinder, cube = ((APART.kind == BLOCKS.names.index(name)).nonzero()[:, 0] for name in ("cylinder", "cube"))
    probability[0, cylinder[:2]] = torch.tensor([0.29, 0.31])
    probability[:, cube[0]] = torch.tensor([0.4, 1])
    stance, share = APART.likeliest(probability)
    assert stance.tolist() == [int(cylinder[1]), int(cube[0])]
    torch.testing.assert_close(share, torch.tensor([0.6, 1.0]))
    kinds = Stances(BLOCKS, apart=False)
    assert len(kinds) == kinds.kinds == APART.kinds == len(BLOCKS)
    assert kinds.most == APART.most == max(len(kind.keypoints) for kind in BLOCKS.kinds)
    assert kinds.likeliest(torch.zeros(0, len(kinds)))[0].shape == (0,)
