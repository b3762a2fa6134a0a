"""The losses: zero for the truth in every symmetric pose, and gradients for the targets alone."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from builders import OLD_TABLETOP, pipeline_of

from simgen.catalogue import load_world
from simgen.geometry import project, transform_points
from simgen.render import make_renderer
from train.blocks.kinds import BlockSet
from train.blocks.stances import Stances
from train.config import KeypointConfig
from train.data.targets import STRIDE, Targets, targets_of
from train.nets.detection_net import Maps, find_peaks, make_net
from train.nets.losses import Weights, _up, _upright, candidates, keypoint_losses

WORLD = load_world("tabletop")
BLOCKS = BlockSet.of_worlds([WORLD.solids])


def batch(seed: int = 0, number: int = 4) -> Targets:
    # Blocks that low cameras show behind each other, or clutter hides, have their centers in one cell.
    pipeline = pipeline_of(
        "renderer=raycast", *OLD_TABLETOP, "width=160", "height=120", "randomize.distractors.count=0"
    )
    renderer = make_renderer("raycast", pipeline.world, pipeline.images, pipeline.source.raycast)
    scenes = pipeline.sampler.sample(seed, range(number))
    return targets_of(scenes, renderer.render(scenes))


@pytest.fixture(scope="module")
def targets() -> Targets:
    return batch()


def read_from(keypoints: torch.Tensor, stances: Stances) -> Callable[..., torch.Tensor]:
    """Maps.keypoints of a network that predicts `keypoints` (B, h, w, T, 2) px."""
    return lambda stance, picture, row, column: keypoints[
        picture[..., None], row[..., None], column[..., None], stances.rows[stance]
    ]


@dataclass
class Perfect:
    """The maps of a perfect network, which predicts each block's keypoints in symmetric pose number `member`. Tensors may
    be changed before `maps` is read."""

    heat: torch.Tensor
    stance: torch.Tensor
    keypoints: torch.Tensor
    log_scale: torch.Tensor
    stances: Stances

    @staticmethod
    def of(targets: Targets, member: int = 0, *, apart: bool = False, size: tuple[int, int] = (160, 120)) -> "Perfect":
        stances = Stances(BLOCKS, apart)
        kind = targets.model
        width, height = (side // STRIDE for side in size)
        keypoints = torch.zeros(len(targets), height, width, stances.total, 2)
        heat = torch.full((len(targets), height, width), -20.0)
        names = torch.zeros(len(targets), len(stances), height, width)
        for picture, slot in (targets.present & (targets.seen > 0)).nonzero().tolist():
            one = torch.tensor([picture]), torch.tensor([slot])
            number = int(stances.of(kind[one], _up(targets, *one)))
            count = int(BLOCKS.real[kind[one]].sum())
            group = int(BLOCKS.members[kind[one]].sum())
            truth = candidates(targets, *one, kind[one], BLOCKS)[0][0, member % group]
            box = targets.box[picture, slot]
            u, v = (((box[:2] + box[2:]) / 2 + 0.5) / STRIDE - 0.5).round().int().tolist()
            around = slice(max(v - 1, 0), v + 2), slice(max(u - 1, 0), u + 2)
            keypoints[picture][around][:, :, stances.rows[number][:count]] = truth[:count]
            heat[picture, v, u] = 20
            names[picture, :, around[0], around[1]] = -20
            names[picture, number, around[0], around[1]] = 20
        log_scale = torch.full((len(targets), height, width, stances.rows.shape[1]), -3.0)
        return Perfect(heat, names, keypoints, log_scale, stances)

    @property
    def maps(self) -> Maps:
        keypoints = read_from(self.keypoints, self.stances)
        return Maps(self.heat, self.stance, keypoints, self.log_scale, self.stances)


def test_candidates_are_the_projections_of_all_symmetric_poses(targets: Targets) -> None:
    picture, slot = targets.present.nonzero(as_tuple=True)
    kind = targets.model[picture, slot]
    pixels, _ = candidates(targets, picture, slot, kind, BLOCKS)
    for row in range(len(picture)):
        block = BLOCKS.kinds[int(kind[row])]
        pose = targets.camera_from_block[picture[row], slot[row]].double().numpy()
        lens = targets.intrinsics[picture[row]].double().numpy(), targets.distortion[picture[row]].double().numpy()
        count = len(block.keypoints)
        for member, symmetry in enumerate(block.group):
            got = pixels[row, member, :count].double().numpy()
            if block.axis is None:
                expected = project(transform_points(pose @ symmetry, block.keypoints), *lens)
                np.testing.assert_allclose(got, expected, atol=2e-3)
            else:  # turned to the camera: the rim's keypoints lie on the rim, the axis' where they are
                on_axis = np.linalg.norm(block.keypoints[:, :2], axis=1) < 1e-9
                expected = project(transform_points(pose @ symmetry, block.keypoints), *lens)
                np.testing.assert_allclose(got[on_axis], expected[on_axis], atol=2e-3)


def test_the_upright_pose() -> None:
    """Right-handed; x to the right; z leans from the line of sight by 45 degrees, towards the camera and up."""
    shift = torch.tensor([[0.0, 0, 1], [0.3, -0.2, 0.8], [-0.4, 0.3, 0.6]]).double()
    turn, half = _upright(shift), 0.5**0.5
    torch.testing.assert_close(turn @ turn.mT, torch.eye(3).double().expand(3, 3, 3))
    torch.testing.assert_close(torch.linalg.det(turn), torch.ones(3).double())
    torch.testing.assert_close(turn[0], torch.tensor([[1, 0, 0], [0, -half, -half], [0, half, -half]]).double())
    away = shift / shift.norm(dim=1, keepdim=True)
    torch.testing.assert_close((turn[:, :, 2] * away).sum(1), torch.full((3,), -half).double())
    assert (turn[:, 1, 2] < 0).all()  # up in the picture
    assert (turn[:, 0, 0] > 0.8).all()


def test_of_symmetric_poses_the_upright_one_is_preferred(targets: Targets) -> None:
    """An untrained network gets the same target keypoints for every symmetric pose in the label."""
    one = torch.tensor([0]), torch.tensor([0])
    cube = BLOCKS.kinds[BLOCKS.names.index("cube")]
    preferred = []
    for symmetry in cube.symmetries:
        pose, model = targets.camera_from_block.clone(), targets.model.clone()
        pose[0, 0] = torch.eye(4)
        pose[0, 0, :3, 3] = torch.tensor([0.05, 0.02, 0.5])
        pose[0, 0, :3, :3] = _upright(pose[:1, 0, :3, 3])[0] @ torch.tensor(symmetry[:3, :3]).float()
        model[0, 0] = BLOCKS.names.index("cube")
        pixels, difference = candidates(replace(targets, camera_from_block=pose, model=model), *one, model[one], BLOCKS)
        real = difference[0, : len(cube.symmetries)]
        assert real.min() == pytest.approx(0, abs=1e-5) and real.max() == pytest.approx(1, abs=1e-5)
        assert (real < 0.1).sum() == 1
        preferred.append(pixels[0, int(real.argmin()), :9])
    for pixels in preferred:
        torch.testing.assert_close(pixels, preferred[0], atol=2e-2, rtol=0)


def test_rotating_a_round_block_about_its_axis_changes_no_candidate() -> None:
    solids = [solid for solid in WORLD.solids if solid.axis is not None]
    assert solids
    targets = batch(1)
    angle = 0.7
    turn = torch.eye(4)
    turn[:2, :2] = torch.tensor([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    picture, slot = targets.present.nonzero(as_tuple=True)
    kind = torch.full_like(picture, BLOCKS.names.index("cylinder"))
    before, _ = candidates(targets, picture, slot, kind, BLOCKS)
    turned = Targets(**{**vars(targets), "camera_from_block": targets.camera_from_block @ turn})
    assert torch.allclose(candidates(turned, picture, slot, kind, BLOCKS)[0], before, atol=2e-2)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("member", [0, 1, 5, 17])
def test_the_loss_of_the_truth_is_zero_in_any_symmetric_pose(targets: Targets, member: int, apart: bool) -> None:
    losses = keypoint_losses(Perfect.of(targets, member, apart=apart).maps, targets, BLOCKS, Weights())
    assert losses.keypoints < 1e-6
    assert losses.miss_px < 2e-2
    assert losses.kind < 1e-6


def test_an_error_costs_the_same_whatever_its_predicted_scale(targets: Targets) -> None:
    off = Perfect.of(targets)
    off.keypoints += torch.tensor([3.0, 0.0])
    certain = keypoint_losses(off.maps, targets, BLOCKS, Weights())
    off.log_scale += 4
    uncertain = keypoint_losses(off.maps, targets, BLOCKS, Weights())
    assert certain.keypoints == uncertain.keypoints > 0.02
    assert 2.0 < certain.miss_px <= 3.001  # another symmetric pose may be nearer
    assert certain.scale > uncertain.scale  # a wrong scale has a loss of its own


def test_near_and_far_blocks_have_equal_weight(targets: Targets) -> None:
    """The same scene at twice the resolution with twice the errors in pixels has the same loss."""
    double = torch.tensor([[2.0, 0, 0.5], [0, 2, 0.5], [0, 0, 1]])  # pixel centers are at whole numbers
    fine = replace(
        targets,
        intrinsics=double @ targets.intrinsics,
        box=2 * (targets.box + 0.5) - 0.5,
        seen=4 * targets.seen,
    )
    both = Perfect.of(targets), Perfect.of(fine, size=(320, 240))
    both[0].keypoints += torch.tensor([1.5, 1.0])
    both[1].keypoints += torch.tensor([3.0, 2.0])
    # The smallest blocks have enough visible pixels in the fine pictures only: the coarse pictures decide for both.
    seen = targets.present & (targets.seen >= 16)
    losses = [
        keypoint_losses(one.maps, replace(t, present=seen), BLOCKS, Weights())
        for one, t in zip(both, (targets, fine), strict=True)
    ]
    assert float(losses[0].keypoints) == pytest.approx(float(losses[1].keypoints), rel=1e-2)
    assert float(losses[1].miss_px) == pytest.approx(2 * float(losses[0].miss_px), rel=1e-2)
    assert losses[0].keypoints > 0.005


@pytest.mark.parametrize("apart", [False, True])
def test_only_the_targets_have_gradients(targets: Targets, apart: bool) -> None:
    perfect = Perfect.of(targets, apart=apart)
    leaf = perfect.keypoints = (perfect.keypoints + 1).requires_grad_()
    keypoint_losses(perfect.maps, targets, BLOCKS, Weights()).keypoints.backward()  # type: ignore[no-untyped-call]
    assert leaf.grad is not None
    touched = leaf.grad.abs().sum((3, 4)) > 0
    visible = targets.present & (targets.share >= 0.1) & (targets.seen >= 16)
    assert touched.any()
    assert touched.sum() <= 9 * visible.sum()
    if apart:  # only the rows of the classes in the pictures
        there = perfect.stances.of(targets.model[visible], _up(targets, *visible.nonzero(as_tuple=True)))
        rows = {row for k in there.tolist() for row in perfect.stances.rows[k].tolist()}
        assert {*leaf.grad.abs().sum((0, 1, 2, 4)).nonzero()[:, 0].tolist()} <= rows
        assert len(rows) < perfect.stances.total
    none = Targets(**{**vars(targets), "present": torch.zeros_like(targets.present)})
    empty = keypoint_losses(perfect.maps, none, BLOCKS, Weights())
    assert torch.isfinite(empty.total) and empty.keypoints == 0


def test_the_heat_peaks_at_the_center_of_the_visible_part(targets: Targets) -> None:
    good = keypoint_losses(Perfect.of(targets).maps, targets, BLOCKS, Weights()).heat
    cold = Perfect.of(targets)
    cold.heat.fill_(-20)
    assert good < 1e-3
    assert keypoint_losses(cold.maps, targets, BLOCKS, Weights()).heat > 15
    hot = Perfect.of(targets)
    hot.heat[:, 0, 0] = 20
    assert keypoint_losses(hot.maps, targets, BLOCKS, Weights()).heat > 3


@pytest.mark.parametrize("apart", [False, True])
def test_peaks_give_the_truth_back(targets: Targets, apart: bool) -> None:
    perfect = Perfect.of(targets, apart=apart)
    peaks = find_peaks(perfect.maps, 10)
    for picture in range(len(targets)):
        number = int((targets.present[picture] & (targets.seen[picture] > 0)).sum())
        scores = peaks.score[picture]
        assert (scores > 0.9).sum() <= number  # blocks with their centers in one cell give one peak
        assert (scores > 0.9).sum() >= number - 1
        slots = targets.present[picture].nonzero()[:, 0]
        pictures = torch.full_like(slots, picture)
        truth = candidates(targets, pictures, slots, targets.model[picture, slots], BLOCKS)[0][:, 0, 0]
        stances = perfect.stances.of(targets.model[picture, slots], _up(targets, pictures, slots))
        for k in range(int((scores > 0.9).sum())):
            error = (truth - peaks.keypoints[picture, k, 0]).norm(dim=1)
            assert error.min() < 0.05
            assert peaks.stance[picture, k] == stances[error.argmin()]
            assert peaks.share[picture, k] > 0.999


@pytest.mark.parametrize("apart", [False, True])
def test_the_keypoints_of_a_class_are_among_those_of_all_classes(apart: bool) -> None:
    torch.manual_seed(0)
    config = KeypointConfig(widths=[8, 8, 8, 8, 8], depths=[1, 1, 1, 1], features=8, stances=apart)
    net = make_net(config, BLOCKS)
    outputs = net(torch.rand(2, 3, 48, 64) * 255)
    every = net.all_keypoints(outputs[0])
    assert every.shape == (2, 12, 16, net.stances.total, 2)
    picture, row, column = torch.tensor([0, 1, 1]), torch.tensor([0, 11, 5]), torch.tensor([15, 0, 7])
    for stance in range(len(net.stances)):
        got = net.maps(outputs).keypoints(torch.tensor(stance), picture, row, column)
        torch.testing.assert_close(got, every[picture, row, column][:, net.stances.rows[stance]])
