"""Classes: ranges of angles of the sides that differ, so that one of a block's symmetric poses is to be predicted."""

import numpy as np
import pytest
import torch

from simgen.catalogue import load_world
from simgen.geometry import Array, inverse, look_at, rigid, rotation_about
from simgen.shapes.sides import alike
from train.blocks.kinds import BlockSet, turns_about
from train.blocks.stances import Stances
from train.data.targets import Targets
from train.nets.truth import truth_of

BLOCKS = BlockSet.of_worlds([load_world("tabletop").solids, load_world("kuka_table").solids])
APART = Stances(BLOCKS, sides=True)
# Of each shape the angles, in degrees, after which its sides look the same, derived by hand. A prism stands or lies, a
# cuboid has three sides. An upright cone or cylinder looks the same at every angle, which makes one class.
PERIODS = {
    "cone": [30, 360],
    "cube": [90],
    "cylinder": [30, 180],
    "hexagonal_prism": [60, 180],
    "pyramid": [90, 360],
    "rectangular_prism": [180, 180, 180],
    "tetrahedron": [120],
    "triangular_prism": [120, 180],
    "kuka_box": [180, 180, 180],
}
CASES = 48  # random poses of each kind


def predicted(
    name: str, table_from_block: Array, camera_from_table: Array, stances: Stances = APART
) -> tuple[torch.Tensor, torch.Tensor]:
    """The classes (P,) of blocks called `name` in the poses (P, 4, 4), one in each picture, and the keypoints (P, K, 2) px
    to be predicted, of which there must be one set."""
    count, number = len(table_from_block), BLOCKS.names.index(name)
    camera_from_table = np.broadcast_to(camera_from_table, (count, 4, 4))
    targets = Targets(
        present=torch.ones(count, 1, dtype=torch.bool),
        labelled=torch.ones(count, 1, dtype=torch.bool),
        model=torch.full((count, 1), number),
        scale=torch.ones(count, 1),
        camera_from_block=torch.tensor(camera_from_table @ table_from_block)[:, None].float(),
        intrinsics=torch.tensor([[600.0, 0, 319.5], [0, 600, 239.5], [0, 0, 1]]).expand(count, 3, 3),
        distortion=torch.zeros(count, 9),
        camera_from_world=torch.tensor(camera_from_table).float(),
        box=torch.zeros(count, 1, 4),
        seen=torch.full((count, 1), 1000),
        share=torch.ones(count, 1),
    )
    truth = truth_of(targets, BLOCKS, stances)
    if stances.sides:
        assert (truth.members.sum(1) == 1).all()
    chosen = truth.keypoints[torch.arange(count), truth.members.int().argmax(1)]
    return truth.stance, chosen[:, : len(BLOCKS.kinds[number].keypoints)]


def cameras(rng: np.random.Generator, count: int) -> Array:
    """(count, 4, 4) camera_from_table of cameras on all sides, 20 to 80 degrees above the table."""
    around, above = rng.uniform(0, 2 * np.pi, count), np.radians(rng.uniform(20, 80, count))
    eyes = 0.6 * np.stack([np.cos(around) * np.cos(above), np.sin(around) * np.cos(above), np.sin(above)], 1)
    return np.stack([inverse(look_at(eye, rng.uniform(-0.05, 0.05, 3))) for eye in eyes])


def poses(name: str, rng: np.random.Generator, count: int) -> Array:
    """(count, 4, 4) table_from_block: blocks at rest and, every fourth, in any rotation, as on other blocks."""
    kind = BLOCKS.kinds[BLOCKS.names.index(name)]
    made = []
    for k in range(count):
        placed = rigid(rotation_about(2, rng.uniform(0, 2 * np.pi)), np.array([*rng.uniform(-0.1, 0.1, 2), 0]))
        pose = placed @ kind.rests[rng.integers(len(kind.rests))]
        if k % 4 == 0:
            pose[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0]
            pose[:3, 0] *= np.linalg.det(pose[:3, :3])
        made.append(pose)
    return np.stack(made)


def test_as_many_classes_as_ranges_of_about_30_degrees() -> None:
    assert {kind.name: len(alike(kind)) for kind in BLOCKS.kinds} == {name: len(p) for name, p in PERIODS.items()}
    counts = APART.kind.bincount().tolist()
    expected = [round(sum(PERIODS[name]) / 30) for name in BLOCKS.names]
    assert counts == expected and counts[BLOCKS.names.index("cube")] == 3
    assert sum(counts) == len(APART) == len(APART.rests) == int(APART.ranges.sum())


@pytest.mark.parametrize("name", sorted(PERIODS))
def test_a_symmetric_label_has_the_same_class_and_keypoints(name: str) -> None:
    """Also one that is rotated about the axis of a round block, by any angle, and where a symmetry moves the origin, as of a
    tetrahedron. Without sides the class is the kind."""
    rng, kind = np.random.default_rng(0), BLOCKS.kinds[BLOCKS.names.index(name)]
    given, views = poses(name, rng, CASES), cameras(rng, CASES)
    stance, keypoints = predicted(name, given, views)
    assert (APART.kind[stance] == BLOCKS.names.index(name)).all()
    assert len(stance.unique()) > min(4, len(PERIODS[name]))
    plain = Stances(BLOCKS, sides=False)
    for symmetry in kind.symmetries:
        turned = given @ symmetry
        if kind.axis is not None:
            turned = turned @ turns_about(kind.axis, rng.uniform(0, 2 * np.pi, CASES))
        again, same = predicted(name, turned, views)
        assert torch.equal(again, stance)
        assert float((same - keypoints).norm(dim=-1).max()) < 0.05
        assert (predicted(name, turned, views, plain)[0] == BLOCKS.names.index(name)).all()


@pytest.mark.parametrize("name", sorted(PERIODS))
def test_in_a_turn_the_keypoints_jump_only_where_the_classes_begin_again(name: str) -> None:
    """A block on each of its sides, rotated about the vertical by one period, passes through all classes of this side in
    order, each 30 degrees wide, and ends with the class and the keypoints with which it began."""
    kind = BLOCKS.kinds[BLOCKS.names.index(name)]
    view = inverse(look_at(np.array([0.45, 0.0, 0.45]), np.zeros(3)))
    seen: list[int] = []
    for group, period in zip(alike(kind), PERIODS[name], strict=True):
        yaws = np.radians(7.3 + np.linspace(0, period, 2 * period + 1))  # between two classes rounding decides
        # About the center of all symmetries, which is not the origin of a triangular prism.
        lies = kind.rests[group[-1]] @ rigid(np.eye(3), kind.symmetries[:, :3, 3].mean(0))
        lies[:2, 3] = 0
        lies = lies @ rigid(np.eye(3), -kind.symmetries[:, :3, 3].mean(0))
        given = np.stack([rigid(rotation_about(2, yaw), np.zeros(3)) @ lies for yaw in yaws])
        stance, keypoints = predicted(name, given, view)
        count = len(stance.unique())
        assert count == period // 30
        if count > 1:  # in half degrees
            assert all(abs(width - 60) <= 1 for width in stance[:-1].unique(return_counts=True)[1].tolist())
        seen += stance.unique().tolist()
        place = stance - stance.min()
        moved = (keypoints[1:] - keypoints[:-1]).norm(dim=-1).amax(1)
        # px: four times the arc of its farthest corner, as a round block that is turned to the camera turns faster.
        reach = 4 * 600 / 0.5 * kind.diameter / 2 * float(yaws[1] - yaws[0])
        change = (place[1:] - place[:-1]) % count
        assert set(change.tolist()) in ({0}, {0, 1}, {0, count - 1})  # to the next class, always in one direction
        assert int((change != 0).sum()) == (count if count > 1 else 0)
        jumps = (moved > reach).nonzero()[:, 0].tolist()
        assert len(jumps) == (count > 1 and period < 360)
        assert all({int(place[k]), int(place[k + 1])} == {0, count - 1} for k in jumps)
        assert int(stance[0]) == int(stance[-1])
        torch.testing.assert_close(keypoints[0], keypoints[-1], rtol=0, atol=0.05)
    assert sorted(seen) == (APART.kind == BLOCKS.names.index(name)).nonzero()[:, 0].tolist()


def test_each_rest_belongs_to_one_class_of_its_kind() -> None:
    stances = Stances(BLOCKS, sides=False)
    for number, kind in enumerate(BLOCKS.kinds):
        own = [stances.rests[k] for k in range(len(stances)) if stances.kind[k] == number]
        assert sorted(np.concatenate(own).tolist()) == list(range(len(kind.rests)))


def test_the_likeliest_class_is_of_the_likeliest_kind() -> None:
    """A cylinder in two classes of 0.29 and 0.31 is likelier than a cube with 0.4."""
    probability = torch.zeros(2, len(APART))
    cylinder, cube = ((APART.kind == BLOCKS.names.index(name)).nonzero()[:, 0] for name in ("cylinder", "cube"))
    probability[0, cylinder[:2]] = torch.tensor([0.29, 0.31])
    probability[:, cube[0]] = torch.tensor([0.4, 1])
    assert APART.likeliest(probability).tolist() == [int(cylinder[1]), int(cube[0])]
    kinds = Stances(BLOCKS, sides=False)
    assert len(kinds) == kinds.kinds == APART.kinds == len(BLOCKS)
    assert kinds.most == APART.most == max(len(kind.keypoints) for kind in BLOCKS.kinds)
    assert kinds.likeliest(torch.zeros(0, len(kinds))).shape == (0,)


def test_of_a_mirror_image_the_kinds_count_but_not_the_angles() -> None:
    torch.manual_seed(0)
    straight, mirrored = torch.randn(2, 7, len(APART) + 1).softmax(2)
    straight[0] = torch.nn.functional.one_hot(torch.tensor(2), len(APART) + 1)  # the others are exactly 0
    averaged = APART.averaged(straight, mirrored)
    torch.testing.assert_close(averaged[1:].sum(1), torch.ones(6))
    kinds = [APART.of_kinds(one[:, :-1]) for one in (straight, mirrored, averaged)]
    torch.testing.assert_close(kinds[2][1:], (kinds[0] + kinds[1])[1:] / 2)
    torch.testing.assert_close(averaged[:, -1], (straight + mirrored)[:, -1] / 2)
    for kind in range(len(BLOCKS)):
        own = APART.kind == kind
        within = [one[1:, :-1][:, own] / one[1:, :-1][:, own].sum(1, keepdim=True) for one in (straight, averaged)]
        torch.testing.assert_close(*within)
    assert torch.isfinite(averaged).all() and APART.likeliest(averaged[:1, :-1]).tolist() == [2]
    torch.testing.assert_close(APART.averaged(straight, straight), straight)
