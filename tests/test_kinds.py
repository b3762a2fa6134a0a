"""The blocks of a keypoint model: written and read back, and blocks of other sizes."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from proposals import proposal_of
from scipy.spatial.transform import Rotation

from simgen.catalogue import load_world
from simgen.errors import ConfigError
from simgen.geometry import rigid
from simgen.shapes.solids import make_solid
from train.blocks.kinds import BlockSet, Kind
from train.blocks.stances import Stances
from train.data.targets import Targets
from train.detect.detector import Detector
from train.evaluate.matching import nearest_symmetric_pose
from train.metrics import adds, rotation_error
from train.nets.truth import candidates
from train.pose.view import View

TURNS = 12  # rotations that stand for a continuous symmetry

TOBIN, KUKA = load_world("tabletop").solids, load_world("kuka_table").solids
BLOCKS = BlockSet.of_worlds([TOBIN, KUKA])


def test_kinds_of_two_block_sets_are_each_there_once() -> None:
    assert BLOCKS.names == [solid.name for solid in TOBIN] + ["kuka_box"]
    assert [BLOCKS.names[k] for k in BLOCKS.classes_of(KUKA)] == [solid.name for solid in KUKA]
    other = make_solid("cube", "cube", np.array([0.06, 0.06, 0.06]))
    with pytest.raises(ConfigError, match="'cube' differs in shape or size"):
        BlockSet.of_worlds([TOBIN, [other]])
    with pytest.raises(ConfigError, match="has no block 'kuka_box'"):
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
    for member in kind.group_of(TURNS):
        moved = kind.corners @ member[:3, :3].T + member[:3, 3]
        gaps = np.linalg.norm(moved[:, None] - kind.corners, axis=2).min(axis=1)
        # A round block is drawn with 64 corners, which a turn puts between each other.
        assert gaps.max() < (1e-6 if kind.axis is None else 0.06 * kind.diameter)
    assert len(kind.group_of(TURNS)) == len(kind.symmetries) * (1 if kind.axis is None else TURNS)


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


STRETCHED = [
    ("pyramid", [0.06, 0.06, 0.055], [0.06, 0.06, 0.11]),
    ("triangular_prism", [0.06, 0.052, 0.05], [0.06, 0.08, 0.05]),
    ("cone", [0.06, 0.06, 0.07], [0.06, 0.06, 0.14]),
    ("rectangular_prism", [0.04, 0.08, 0.03], [0.02, 0.02, 0.08]),
    ("rectangular_prism", [0.04, 0.08, 0.03], [0.03, 0.03, 0.03]),
    ("cylinder", [0.05, 0.05, 0.06], [0.05, 0.06, 0.06]),
    ("cylinder", [0.05, 0.06, 0.06], [0.05, 0.05, 0.06]),
    ("tetrahedron", [0.06, 0.05196152, 0.04898979], [0.06, 0.05196152, 0.08]),
    ("sphere", [0.05, 0.05, 0.05], [0.06, 0.06, 0.06]),
]


@pytest.mark.parametrize(("shape", "size", "new"), STRETCHED, ids=lambda value: str(value))
def test_a_stretched_kind_is_the_kind_of_the_stretched_solid(shape: str, size: list, new: list) -> None:
    """Resting poses, symmetries and axis are those of a block that was made in the new size."""
    got = Kind.of(make_solid(shape, shape, np.array(size))).resized(np.array(new))
    expected = Kind.of(make_solid(shape, shape, np.array(new)))
    # What a network learned to call a corner stays one, where a round block gets another set of keypoints.
    same = len(got.keypoints) == len(expected.keypoints)
    for name in ("size", "corners", "diameter", *(["keypoints"] if same else [])):
        np.testing.assert_allclose(getattr(got, name), getattr(expected, name), atol=1e-9, err_msg=name)
    assert (got.axis is None, got.sphere) == (expected.axis is None, expected.sphere)
    assert len(got.symmetries) == len(expected.symmetries) and len(got.rests) == len(expected.rests)
    for mine, theirs in zip(got.symmetries, expected.symmetries, strict=True):
        assert min(np.abs(mine - other).max() for other in expected.symmetries) < 1e-6
        assert min(np.abs(theirs - other).max() for other in got.symmetries) < 1e-6

    def carrying(kind: Kind) -> list[int]:
        return sorted(int(np.sum(kind.corners @ rest[2, :3] + rest[2, 3] < 1e-6)) for rest in kind.rests)

    assert carrying(got) == carrying(expected)


def test_the_classes_of_a_network_hold_for_blocks_of_other_sizes() -> None:
    """A stance stands for rests at the size that the network learned; each rest of a stretched block belongs to one."""
    pyramid = Kind.of(make_solid("pyramid", "pyramid", np.array([0.06, 0.06, 0.055])))
    tall = pyramid.resized(np.array([0.06, 0.06, 0.11]))
    for number, rest in enumerate(pyramid.rests):
        (like,) = tall.rests_like(np.array([number]))
        down, stretched = -rest[2, :3], -like[2, :3]
        assert stretched @ (down / tall.size * pyramid.size) > 0.99 * np.linalg.norm(down / tall.size * pyramid.size)
    assert pyramid.resized(pyramid.size) is pyramid
    lying = pyramid.resized(2 * pyramid.size).rests_like(np.array([0, 3]))
    np.testing.assert_allclose(lying[:, 2, 3], 2 * pyramid.rests[[0, 3], 2, 3])


def test_a_sphere_has_one_orientation() -> None:
    ball = Kind.of(make_solid("ball", "sphere", np.full(3, 0.06)))
    blocks = BlockSet.from_json(json.loads(json.dumps(BlockSet([ball, TOBIN_CUBE]).to_json())))
    assert blocks.sphere.tolist() == [True, False] and blocks.kinds[0].sphere
    generator = np.random.default_rng(0)
    turns = Rotation.random(2, generator).as_matrix()
    found, truth = rigid(turns[0], np.array([0.01, 0, 0.5])), rigid(turns[1], np.array([0, 0, 0.5]))
    aligned = nearest_symmetric_pose(truth, ball, found)
    assert rotation_error(found, aligned, ball.group_of(315)) == 0
    assert np.array_equal(aligned[:3, 3], truth[:3, 3])
    same = adds(found, ball.facing(rigid(turns[1], found[:3, 3]), found), ball.corners)
    assert same == 0
    # Its training targets do not depend on the block's rotation.
    targets = [_targets_of(turn) for turn in turns]
    index = torch.zeros(1, dtype=torch.int64)
    seen, unlike = zip(*(candidates(one, index, index, index, blocks) for one in targets), strict=True)
    assert torch.equal(seen[0][:, :1], seen[1][:, :1])
    torch.testing.assert_close(unlike[0], unlike[1])  # the rotation in which it is placed
    # Its keypoints give its position, with the camera's pose known or not.
    view = View(targets[0].intrinsics[0].double().numpy(), np.zeros(5), _OVER_TABLE)
    pixels = seen[0][0, 0, : len(ball.keypoints)].double().numpy()
    net = SimpleNamespace(stances=Stances(blocks, True))
    detector = Detector(net, blocks)  # type: ignore[arg-type]
    (pose,) = detector._poses(proposal_of(0, pixels, 0.5), [(0, 0)], view)
    assert pose is not None
    np.testing.assert_allclose(pose.camera_from_block[:3, 3], [0.02, -0.01, 0.6], atol=1e-4)


TOBIN_CUBE = Kind.of(TOBIN[1])
# A camera straight above the table, 0.63 m high: a ball of 6 cm on the table has its center 0.6 m away.
_OVER_TABLE = np.array([[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 0.63], [0, 0, 0, 1]])


def _targets_of(turn: np.ndarray) -> Targets:
    pose = rigid(turn, np.array([0.02, -0.01, 0.6]))
    one = torch.ones((1, 1))
    return Targets(
        present=one.bool(),
        labelled=one.bool(),
        model=torch.zeros((1, 1), dtype=torch.int64),
        scale=one,
        camera_from_block=torch.tensor(pose)[None, None].float(),
        intrinsics=torch.tensor([[[500.0, 0, 160], [0, 500, 120], [0, 0, 1]]]),
        distortion=torch.zeros((1, 9)),
        camera_from_world=torch.tensor(_OVER_TABLE)[None].float(),
        box=torch.zeros((1, 1, 4)),
        seen=one.long(),
        share=one,
    )
